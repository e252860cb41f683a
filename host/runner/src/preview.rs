//! `windlass rollback RUN --plan`: what a rollback would take back, found out without taking anything back.
//!
//! A machine of its own goes back over what the run has recorded. Plans are made for real, in read mode; undos and other
//! writes are only said to have been done, so that what comes after them is planned too. Nothing is journalled.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;
use windlass_engine::{
    Asked, CallFailure, CallKind, CallReport, CallRequest, Command, Event, Machine, Millis, Observation,
    Parent, ParentKind, Reads, Request, Returned, RunCreated, SkipReason, State, allowed,
};
use windlass_journal::RunId;
use windlass_runbook::outcome::Plan;

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
    /// It could not be planned.
    Failed(CallFailure),
    /// The effect would stay: there is no way to take it back.
    NoUndo,
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
        follower(&recorded, created, only, past_commit, clock.now())
    } else {
        let request = Request::Rollback { reason: String::new(), only, past_commit };
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
    /// Goes back until nothing more would be taken back, or something would need a person or time.
    async fn go_back(&mut self) -> Result<(), RunError> {
        while let Some(observation) = self.pending.pop_front() {
            for command in self.machine.decide(observation, self.clock.now()) {
                match command {
                    Command::Call { call, step, item, request } => {
                        let report = self.call(&step, item.as_deref(), &request).await;
                        self.row(&step, item, &request, &report);
                        self.pending.push_back(Observation::Called { call, report });
                    }
                    Command::Record {
                        event: Event::StepSkipped { step, item, reason: SkipReason::NoUndo, .. },
                        ..
                    } => {
                        self.rows.push(UndoRow { step, item, outcome: UndoOutcome::NoUndo });
                    }
                    // The rollback is over; what follows it is not a part of it.
                    Command::Record {
                        event: Event::VerdictDecided { .. } | Event::RollbackFinished, ..
                    } => {
                        return Ok(());
                    }
                    Command::Refused { message } => return Err(RunError::Refused { message }),
                    _ => (),
                }
            }
        }
        Ok(())
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

    fn row(&mut self, step: &Arc<str>, item: Option<Arc<str>>, request: &CallRequest, report: &CallReport) {
        if !matches!(request.phase, CallKind::Plan { .. } | CallKind::PlanUndo { .. }) {
            return;
        }
        let outcome = match &report.result {
            Ok(Returned::Plan(plan)) => UndoOutcome::Planned(self.shown(plan.clone())),
            Ok(Returned::Output(_)) => return,
            Err(failure) => UndoOutcome::Failed(failure.clone()),
        };
        self.rows.push(UndoRow { step: Arc::clone(step), item, outcome });
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
