//! `windlass plan`: drives the engine's planner with the sandbox in read mode. Opens no store and needs no key.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::mpsc;
use windlass_engine::plan::{PlanCommand, PlanOutcome, PlanRow, PlanSummary, Planner};
use windlass_engine::{CallId, CallReport, CallRequest, FORMAT, RunCreated};
use windlass_sandbox::Sandbox;

use crate::catalog::Plugins;
use crate::clock::Clock;
use crate::connect::Connections;
use crate::error::RunError;
use crate::project::{Project, Settings};
use crate::redact::Redactor;
use crate::services::{CallServices, LogSink};
use crate::session::{Caller, Session};
use crate::watch::Watcher;

/// What a run would do.
#[derive(Debug)]
pub struct Planned {
    /// A row for each step and item, in the order of the runbook.
    pub rows: Vec<PlanRow>,
    /// How many came out how.
    pub summary: PlanSummary,
    /// Grant lines that the operator marked as reading though their kind writes: the only ways in which this plan could
    /// have changed anything. By plugin.
    pub taken_as_reading: Vec<(String, String)>,
}

/// Plans a runbook.
///
/// # Errors
/// Everything that would keep a run from starting.
pub async fn plan(
    project: &Project,
    plugins: &Plugins,
    inputs: Map<String, Value>,
    sandbox: &Sandbox,
    variable: &dyn Fn(&str) -> Option<OsString>,
    watcher: Arc<dyn Watcher>,
) -> Result<Planned, RunError> {
    let runbook = &project.runbook;
    let connections = Connections::resolve(runbook, Path::new(""), variable)?;
    let settings = Settings { inputs: &inputs, vars: &runbook.vars };
    let session = Session::prepare(runbook, plugins, &connections, sandbox, &settings).await?;
    let taken_as_reading = session.taken_as_reading();
    let clock = Clock::starting(0);
    let log = LogSink { file: None, redactor: Arc::new(connections.into_redactor()), watcher, clock };
    let created = RunCreated {
        format: FORMAT,
        name: runbook.name.clone(),
        title: runbook.title.clone(),
        inputs,
        vars: runbook.vars.clone(),
        ..RunCreated::default()
    };
    let mut planner = Planner::new(Arc::clone(runbook), created);
    let mut rows = Vec::new();
    let mut calls = Calls::new(Arc::new(Shared { session, log: Arc::new(log) }));
    let mut commands = planner.begin(clock.now());
    loop {
        for command in commands {
            match command {
                PlanCommand::Call { call, step, item, request } => {
                    calls.waiting.push_back(Wanted { call, step, item, request });
                }
                PlanCommand::Row(mut row) => {
                    redact(&mut row.outcome, &calls.shared.log.redactor);
                    rows.push(*row);
                }
                PlanCommand::Done(summary) => {
                    rows.sort_by_key(|row: &PlanRow| row.position);
                    return Ok(Planned { rows, summary, taken_as_reading });
                }
            }
        }
        let lost = || RunError::Lost { reason: "a call of the plan came to no end".to_owned() };
        let (call, report) = calls.next().await.ok_or_else(lost)?;
        commands = planner.called(call, report, clock.now());
    }
}

/// How many calls of a plan are made at one time at the most. They are mostly waits for somebody's answer, so it is more
/// than a machine has cores; it is no more than the sandbox lets run of big components.
const AT_ONCE: usize = 32;

/// What all calls of a plan share.
struct Shared {
    session: Session,
    log: Arc<LogSink>,
}

/// A call that the planner wants made.
struct Wanted {
    call: CallId,
    step: Arc<str>,
    item: Option<Arc<str>>,
    request: CallRequest,
}

/// The calls of a plan: those that wait for their turn, and those under way.
struct Calls {
    shared: Arc<Shared>,
    waiting: VecDeque<Wanted>,
    under_way: usize,
    done: mpsc::Sender<(CallId, CallReport)>,
    ended: mpsc::Receiver<(CallId, CallReport)>,
}

impl Calls {
    fn new(shared: Arc<Shared>) -> Self {
        let (done, ended) = mpsc::channel(AT_ONCE);
        Self { shared, waiting: VecDeque::new(), under_way: 0, done, ended }
    }

    /// The end of the next call that ends. None where no call is wanted.
    async fn next(&mut self) -> Option<(CallId, CallReport)> {
        if self.under_way == 0 && self.waiting.len() == 1 {
            // In a chain of steps each call waits for the one before it. A task of its own would cost a change of
            // thread there and back, which is as much as a small call.
            let wanted = self.waiting.pop_front()?;
            return Some(self.shared.call(wanted).await);
        }
        while self.under_way < AT_ONCE
            && let Some(wanted) = self.waiting.pop_front()
        {
            let (shared, done) = (Arc::clone(&self.shared), self.done.clone());
            self.under_way += 1;
            tokio::spawn(async move {
                let ended = shared.call(wanted).await;
                // Nobody listens any more only when planning was given up.
                let _gone = done.send(ended).await;
            });
        }
        if self.under_way == 0 {
            return None;
        }
        self.under_way -= 1;
        self.ended.recv().await
    }
}

impl Shared {
    async fn call(&self, wanted: Wanted) -> (CallId, CallReport) {
        let Wanted { call, step, item, request } = wanted;
        let services = Arc::new(CallServices {
            call,
            step: Arc::clone(&step),
            item: item.clone(),
            attempt: request.attempt,
            log: Arc::clone(&self.log),
            driver: None,
            artifacts: None,
            trail: None,
        });
        let caller = Caller { run: "", step: &step, item: item.as_deref() };
        (call, self.session.call(caller, &request, services, &self.log.redactor).await)
    }
}

/// Takes secrets out of what a plan says it would change. Nothing of it is kept, so all of it is for reading.
fn redact(outcome: &mut PlanOutcome, redactor: &Redactor) {
    let (PlanOutcome::Changes { plan } | PlanOutcome::InProgress { plan }) = outcome else { return };
    for change in &mut plan.changes {
        let texts =
            [Some(&mut change.kind), Some(&mut change.target), change.from.as_mut(), change.to.as_mut()];
        for text in texts.into_iter().flatten() {
            *text = redactor.text(text).into_owned();
        }
    }
}
