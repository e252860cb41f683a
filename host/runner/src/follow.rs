//! Runs that follow others: whether one may, what it takes over, and that it is the only one to do so.
//!
//! Invariant: what an ended run has left is taken over by one run at most. Whether another one has done so is looked up,
//! and the run that does is made, while the ended run's lock is held; so of two that begin in the same instant the
//! second one sees the first.

use std::time::{Duration, Instant};

use windlass_engine::{Event, Inherited, Parent, ParentKind, World};
use windlass_journal::{Claim, RunId, Store};
use windlass_runbook::model::{Runbook, StepBody};

use crate::error::RunError;
use crate::recorded::Recorded;

/// So long it is waited for another process that is about to follow the same run.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// What keeps others from following a run that has ended.
///
/// # Errors
/// [`RunError::Refused`] where another run has taken over what it left; the store's, busy among them.
pub(crate) async fn alone(store: &Store, parent: &RunId) -> Result<Claim, RunError> {
    let patience = Instant::now() + PATIENCE;
    let claim = loop {
        match store.claim(parent).await {
            Err(windlass_journal::Error::Busy { .. }) if Instant::now() < patience => {
                tokio::time::sleep(PAUSE).await;
            }
            other => break other?,
        }
    };
    let parent = Recorded::read(store, parent.clone()).await?;
    if parent.state.ended().is_none() {
        return Err(RunError::NotEnded);
    }
    match taken_up_already(store, &parent).await? {
        Some(message) => Err(RunError::Refused { message }),
        None => Ok(claim),
    }
}

/// Why what an ended run has left is not its own any more, if another run has taken it over: undone twice, an effect
/// is undone once too often, and what a later run has done looks like this one's.
pub(crate) async fn taken_up_already(store: &Store, parent: &Recorded) -> Result<Option<String>, RunError> {
    let later = store.runs().await?.into_iter().filter(|run| run.started_ms >= parent.state.started_at());
    for row in later.filter(|run| run.id != parent.id) {
        let run = Recorded::read(store, row.id).await?;
        let Some(of) = run.created()?.parent.as_ref().filter(|of| of.run == parent.id.as_str()) else {
            continue;
        };
        let id = &run.id;
        return Ok(Some(match (of.kind, run.state.ended()) {
            (ParentKind::Ignore, _) => continue,
            (_, None) => {
                format!("run {id} has taken over what it left; to go on with it: windlass resume {id}")
            }
            (ParentKind::Rollback, Some(_)) if run.state.world() == World::Restored => {
                format!("run {id} has taken it back already: windlass show {id}")
            }
            (_, Some(_)) => {
                format!(
                    "run {id} has taken over what it left; to take back what that has: windlass rollback {id}"
                )
            }
        }));
    }
    Ok(None)
}

/// What a run takes over from the one that it follows.
pub(crate) async fn inherited(store: &Store, parent: &Parent) -> Result<Event, RunError> {
    let of = Recorded::read(store, RunId::parse(&parent.run)?).await?;
    Ok(Event::UndoListInherited { run: parent.run.clone(), entries: of.state.inheritance(parent.kind) })
}

/// Whether a runbook has all the steps whose effects it would take over: what it does not have, nobody would take back.
///
/// # Errors
/// [`RunError::Refused`], naming the steps.
pub(crate) fn has_all(runbook: &Runbook, parent: &Recorded) -> Result<(), RunError> {
    let mut missing: Vec<String> = Vec::new();
    for entry in parent.state.inheritance(ParentKind::Continue) {
        let name = format!("`{}`", entry.step);
        if !missing.contains(&name) && !has(runbook, &entry) {
            missing.push(name);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let (run, missing) = (&parent.id, missing.join(", "));
    Err(RunError::Refused {
        message: format!(
            "run {run} has left effects of steps that this runbook does not have, or has with another action: \
             {missing}; take them back with `windlass rollback {run}`, or leave them with `--ignore {run}`"
        ),
    })
}

fn has(runbook: &Runbook, entry: &Inherited) -> bool {
    let step = runbook.steps.iter().find(|step| *step.id == *entry.step);
    match (step.map(|step| &step.body), &entry.call) {
        (Some(StepBody::Call(call)), Some(was)) => {
            *call.action == *was.action && *call.interface == *was.interface
        }
        (found, _) => found.is_some(),
    }
}
