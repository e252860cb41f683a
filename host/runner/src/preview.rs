//! `windlass rollback RUN --plan`: what a rollback would take back, found out without taking anything back.
//!
//! A machine of its own goes back over what the run has recorded. Plans are made for real, in read mode, and shown as they
//! are; the machine is told of each that it can be carried out, and of each write that it was made, so that everything is
//! planned whatever stands in the way of what came before it. Nothing is journalled.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;
use windlass_engine::{
    Asked, CallKind, CallReport, CallRequest, Command, Event, Machine, Millis, Observation, Parent,
    ParentKind, Reads, Request, Returned, RunCreated, SkipReason, State, allowed, may_be_taken_back,
};
use windlass_journal::RunId;
use windlass_runbook::outcome::{Plan, Status};

use crate::clock::Clock;
use crate::error::RunError;
use crate::host::Host;
use crate::prepare::Prepared;
use crate::recorded::Recorded;
use crate::services::{CallServices, LogSink};
use crate::session::Caller;
use crate::watch::Unwatched;

/// What a rollback would do about one thing.
#[derive(Debug)]
pub struct UndoRow {
    /// The path: `undo/ID` or `rollback/ID`.
    pub step: Arc<str>,
    /// The item's key.
    pub item: Option<Arc<str>>,
    /// What would come of it.
    pub outcome: UndoOutcome,
}

/// What would come of an undo.
#[derive(Debug)]
pub enum UndoOutcome {
    /// It was planned.
    Planned(Plan),
    /// It could not be planned: why.
    Failed(String),
    /// The effect would stay: there is no way to take it back.
    NoUndo,
    /// The runbook says that there is nothing to take back.
    NotNeeded,
}

/// Plans the rollback of a run, ended or not, whoever drives it.
///
/// # Errors
/// [`RunError::Refused`] where the run can't be rolled back as it stands; what keeps the pinned runbook from being
/// prepared here; the store's.
pub async fn preview_rollback(
    host: &Host,
    id: &RunId,
    only: Vec<String>,
    past_commit: bool,
) -> Result<Vec<UndoRow>, RunError> {
    let recorded = Recorded::read(&host.store, id.clone()).await?;
    let created = recorded.created()?;
    let prepared = host.shelf.prepared(&host.store, created, &host.sandbox, &host.variable).await?;
    let clock = Clock::starting(recorded.state.last_at());
    let mut first = vec![Observation::Started { epoch: u64::MAX, who: host.who.clone() }];
    let state = if recorded.state.ended().is_some() {
        may_be_taken_back(Arc::clone(&prepared.runbook), &recorded.state, &only, past_commit)
            .map_err(|refusal| RunError::Refused { message: refusal.to_string() })?;
        follower(&recorded, created, only, past_commit, clock.now())
    } else {
        let request = Request::Rollback { reason: "looking".to_owned(), only, past_commit };
        allowed(&recorded.state, &request)
            .map_err(|refusal| RunError::Refused { message: refusal.to_string() })?;
        first.push(Observation::Asked(Asked::here(&host.who, request)));
        recorded.state
    };
    let log =
        LogSink { file: None, redactor: Arc::clone(&prepared.redactor), watcher: Arc::new(Unwatched), clock };
    let mut preview = Preview {
        machine: Machine::new(Arc::clone(&prepared.runbook), state),
        prepared,
        log: Arc::new(log),
        clock,
        run: id.to_string(),
        pending: first.into(),
        rows: Vec::new(),
    };
    preview.go_back().await?;
    Ok(preview.rows)
}

/// A plan that says that there is nothing to do, and was not answered when it looked, says nothing.
fn believed(plan: Plan, reads: Reads) -> Plan {
    let status = match plan.status {
        Status::InPlace if reads.failed > 0 || reads.denied > 0 => Status::Unknown(format!(
            "of what it asked {} failed and {} were denied",
            reads.failed, reads.denied
        )),
        status => status,
    };
    Plan { status, ..plan }
}

/// The state of the run that would take an ended one back.
fn follower(of: &Recorded, created: &RunCreated, only: Vec<String>, past_commit: bool, at: Millis) -> State {
    let parent = Parent {
        run: of.id.to_string(),
        kind: ParentKind::Rollback,
        reason: String::new(),
        only,
        past_commit,
    };
    let events = [
        Event::RunCreated(Box::new(RunCreated { parent: Some(parent), ..created.clone() })),
        Event::UndoListInherited {
            run: of.id.to_string(),
            entries: of.state.inheritance(ParentKind::Rollback),
        },
    ];
    State::replay(events.iter().map(|event| (event, at)))
}

struct Preview {
    machine: Machine,
    prepared: Arc<Prepared>,
    log: Arc<LogSink>,
    clock: Clock,
    run: String,
    pending: VecDeque<Observation>,
    rows: Vec<UndoRow>,
}

impl Preview {
    /// Goes back until nothing more would be taken back.
    async fn go_back(&mut self) -> Result<(), RunError> {
        while let Some(observation) = self.pending.pop_front() {
            for command in self.machine.decide(observation, self.clock.now()) {
                match command {
                    Command::Call { call, step, item, request } => {
                        let report = self.call(&step, item.as_deref(), &request).await;
                        let report = self.row(&step, item, &request, report);
                        self.pending.push_back(Observation::Called { call, report });
                    }
                    // The rollback is over; what follows it is not a part of it.
                    Command::Record {
                        event: Event::VerdictDecided { .. } | Event::RollbackFinished, ..
                    } => {
                        return Ok(());
                    }
                    Command::Record { event, .. } => self.recorded(event),
                    // It is looked what a rollback would do, not whether it would have to wait for its turn.
                    Command::Lock { group } => {
                        self.pending.push_back(Observation::Locked { group, fence: 0 });
                    }
                    Command::Refused { message } => return Err(RunError::Refused { message }),
                    _ => (),
                }
            }
        }
        match self.machine.state().holds().first() {
            Some(held) => Err(RunError::Refused { message: held.message.clone() }),
            None => Ok(()),
        }
    }

    /// What comes of an undo without a call.
    fn recorded(&mut self, event: Event) {
        let (step, item, outcome) = match event {
            Event::StepSkipped { step, item, reason: SkipReason::NoUndo, .. } => {
                (step, item, UndoOutcome::NoUndo)
            }
            Event::StepSkipped { step, item, reason: SkipReason::NotNeeded, .. } => {
                (step, item, UndoOutcome::NotNeeded)
            }
            Event::StepFailed { step, item, failure, .. } if step.starts_with("undo/") => {
                // Left out here, so that what came before it is looked at too.
                let (of, key) = (step.to_string(), item.as_ref().map(ToString::to_string));
                let skip = Request::Skip { step: of, item: key, reason: String::new() };
                self.pending.push_back(Observation::Asked(Asked::here(&self.run, skip)));
                (step, item, UndoOutcome::Failed(failure.to_string()))
            }
            _ => return,
        };
        self.rows.push(UndoRow { step, item, outcome });
    }

    /// Makes a call that reads; says of one that writes that it was made.
    async fn call(&self, step: &Arc<str>, item: Option<&str>, request: &CallRequest) -> CallReport {
        if request.phase.name().writes() {
            let result = Ok(Returned::Output(Value::Null));
            return CallReport { result, sent: true, reads: Reads::default(), elapsed_ms: 0 };
        }
        let services = Arc::new(CallServices {
            call: windlass_engine::CallId(0),
            step: Arc::clone(step),
            item: item.map(Into::into),
            attempt: request.attempt,
            log: Arc::clone(&self.log),
            driver: None,
            artifacts: None,
            trail: None,
        });
        let caller = Caller { run: &self.run, step, item };
        self.prepared.session.call(caller, request, services, &self.log.redactor).await
    }

    /// Keeps what came of planning, and has the machine go on as if it could be carried out.
    fn row(
        &mut self,
        step: &Arc<str>,
        item: Option<Arc<str>>,
        request: &CallRequest,
        report: CallReport,
    ) -> CallReport {
        if !matches!(request.phase, CallKind::Plan { .. } | CallKind::PlanUndo { .. }) {
            return report;
        }
        let plan = match &report.result {
            Ok(Returned::Plan(plan)) => plan.clone(),
            Ok(Returned::Output(_)) => return report,
            Err(_) => {
                Plan { status: Status::Differs, changes: Vec::new(), repeatable: true, memo: String::new() }
            }
        };
        let outcome = match &report.result {
            Err(failure) => UndoOutcome::Failed(failure.to_string()),
            Ok(_) => UndoOutcome::Planned(self.shown(believed(plan.clone(), report.reads))),
        };
        self.rows.push(UndoRow { step: Arc::clone(step), item, outcome });
        let plan = Plan { status: Status::Differs, repeatable: true, ..plan };
        CallReport { result: Ok(Returned::Plan(plan)), ..report }
    }

    /// A plan without secrets. Nothing of it is kept, so all of it is for reading.
    fn shown(&self, mut plan: Plan) -> Plan {
        for change in &mut plan.changes {
            let texts =
                [Some(&mut change.kind), Some(&mut change.target), change.from.as_mut(), change.to.as_mut()];
            for text in texts.into_iter().flatten() {
                *text = self.log.redactor.text(text).into_owned();
            }
        }
        plan
    }
}
