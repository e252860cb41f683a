//! `windlass plan`: drives the engine's planner with the sandbox in read mode. Opens no store and needs no key.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::mpsc;
use windlass_engine::plan::{PlanCommand, PlanOutcome, PlanRow, PlanSummary, Planner};
use windlass_engine::{CallId, CallReport, FORMAT, RunCreated};
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
    let shared = Arc::new((session, Arc::new(log)));
    let (done, mut ended) = mpsc::channel::<(CallId, CallReport)>(64);
    let mut commands: VecDeque<PlanCommand> = planner.begin(clock.now()).into();
    loop {
        while let Some(command) = commands.pop_front() {
            match command {
                PlanCommand::Call { call, step, item, request } => {
                    let (shared, done) = (Arc::clone(&shared), done.clone());
                    tokio::spawn(async move {
                        let (session, log) = &*shared;
                        let services = Arc::new(CallServices {
                            call,
                            step: Arc::clone(&step),
                            item: item.clone(),
                            attempt: request.attempt,
                            log: Arc::clone(log),
                            driver: None,
                            artifacts: None,
                            trail: None,
                        });
                        let caller = Caller { run: "", step: &step, item: item.as_deref() };
                        let report = session.call(caller, &request, services, &log.redactor).await;
                        // Nobody listens any more only when planning was given up.
                        let _gone = done.send((call, report)).await;
                    });
                }
                PlanCommand::Row(mut row) => {
                    redact(&mut row.outcome, &shared.1.redactor);
                    rows.push(*row);
                }
                PlanCommand::Done(summary) => {
                    rows.sort_by_key(|row: &PlanRow| row.position);
                    return Ok(Planned { rows, summary, taken_as_reading });
                }
            }
        }
        // `done` is held here, so this waits for a call that is under way; the planner always has one then.
        if let Some((call, report)) = ended.recv().await {
            commands.extend(planner.called(call, report, clock.now()));
        }
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
