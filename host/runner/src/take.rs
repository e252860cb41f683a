//! Taking a run over: from its process that died, or from nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use windlass_engine::{Answer, Asked, Hold, Machine, Observation, Request, State, allowed};
use windlass_journal::artifacts::artifacts;
use windlass_journal::logs::RunLog;
use windlass_journal::{RunId, RunWriter};
use windlass_runbook::coerce::{coerce, coerce_record};
use windlass_runbook::model::{Invocation, Runbook, Step, StepBody};

use crate::audit_log::AuditSink;
use crate::clock::Clock;
use crate::driver::{Driver, Ears, Ending, Manner, Shared, Signals, identity_of};
use crate::error::RunError;
use crate::host::Host;
use crate::prepare::Prepared;
use crate::recorded::Recorded;
use crate::services::LogSink;
use crate::watch::Watcher;

/// A run that this process owns, ready to be driven.
pub(crate) struct Taken {
    pub(crate) machine: Machine,
    pub(crate) writer: RunWriter,
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) clock: Clock,
}

/// Takes a run over and goes on with it, as it was pinned. `requests` are what a person asks of it first.
///
/// # Errors
/// [`RunError::Ended`] where there is nothing to go on with, [`RunError::Refused`] where the run can't do what is asked,
/// the store's (busy among them), and what keeps the pinned runbook from being prepared here.
pub async fn take_up(
    host: &Host,
    id: &RunId,
    requests: Vec<Request>,
    watcher: Arc<dyn Watcher>,
    signals: Signals,
) -> Result<Ending, RunError> {
    let before = Recorded::read(&host.store, id.clone()).await?;
    unended(&before.state)?;
    let prepared = host.shelf.prepared(&host.store, before.created()?, &host.sandbox, &host.variable).await?;
    let requests = fit_all(&prepared.runbook, &before.state, requests)?;
    let (taken, state) = take(host, id, prepared).await?;
    let mut first = looked_at_again(&state, &taken.prepared).await;
    first.extend(requests.into_iter().map(|request| Observation::Asked(Asked::here(&host.who, request))));
    drive(host, taken, first, watcher, signals, Manner::Stay).await
}

/// Records what is asked of a run that nobody drives, and leaves it again. Nothing is called, so it takes neither
/// secrets nor plugins.
///
/// # Errors
/// As [`take_up`].
pub async fn note(
    host: &Host,
    id: &RunId,
    watcher: Arc<dyn Watcher>,
    signals: Signals,
) -> Result<Ending, RunError> {
    let before = Recorded::read(&host.store, id.clone()).await?;
    unended(&before.state)?;
    let pinned = host.shelf.pinned(&host.store, before.created()?).await?;
    let prepared = Arc::new(Prepared::to_note(Arc::clone(&pinned.runbook)));
    let (taken, _) = take(host, id, prepared).await?;
    drive(host, taken, Vec::new(), watcher, signals, Manner::Note).await
}

/// Goes on with a run for the daemon, until it is held, over, or rests for a while. `turn` is what it holds while it is
/// taken up.
pub(crate) async fn go_on(
    host: &Host,
    id: &RunId,
    watcher: Arc<dyn Watcher>,
    signals: Signals,
    turn: OwnedSemaphorePermit,
) -> Result<Ending, RunError> {
    let writer = host.store.take_over(id).await?;
    let run = Recorded::read(&host.store, id.clone()).await?;
    if let Some(ended) = run.state.ended() {
        return Ok(Ending::Ended { verdict: ended.verdict, finally_failed: ended.finally_failed });
    }
    let prepared = host.shelf.prepared(&host.store, run.created()?, &host.sandbox, &host.variable).await?;
    let clock = Clock::starting(run.state.last_at());
    let first = looked_at_again(&run.state, &prepared).await;
    let machine = Machine::new(Arc::clone(&prepared.runbook), run.state);
    drop(turn);
    drive(host, Taken { machine, writer, prepared, clock }, first, watcher, signals, Manner::Park).await
}

fn unended(state: &State) -> Result<(), RunError> {
    match state.ended() {
        Some(ended) => Err(RunError::Ended { verdict: ended.verdict }),
        None => Ok(()),
    }
}

/// Becomes the owner. Another process may have gone on with the run until its lock was ours, so it is read then.
async fn take(host: &Host, id: &RunId, prepared: Arc<Prepared>) -> Result<(Taken, State), RunError> {
    let writer = host.store.take_over(id).await?;
    let run = Recorded::read(&host.store, id.clone()).await?;
    let clock = Clock::starting(run.state.last_at());
    let machine = Machine::new(Arc::clone(&prepared.runbook), run.state.clone());
    Ok((Taken { machine, writer, prepared, clock }, run.state))
}

/// Where a run is held because a connection led somewhere else, nothing is called that would find it right again: so
/// what is pinned is looked at before. One that can't be looked at leaves the run held.
async fn looked_at_again(state: &State, prepared: &Prepared) -> Vec<Observation> {
    let mut seen = Vec::new();
    if state.is_held_for(Hold::Identity) {
        let pinned = prepared.connections.iter().filter(|(name, _)| state.connections().contains_key(name));
        for (name, connection) in pinned {
            if let Ok(Some(identity)) = identity_of(connection).await {
                seen.push(Observation::ConnectionSeen { connection: name.clone(), identity });
            }
        }
    }
    seen
}

/// Brings the values that a person gives into the form that the runbook has pinned; see [`take_up`], which does so too.
///
/// # Errors
/// [`RunError::Refused`]; where the pinned runbook can't be read.
pub async fn fit_pinned(host: &Host, recorded: &Recorded, request: &mut Request) -> Result<(), RunError> {
    let has_value = matches!(
        request,
        Request::Answer { answer: Answer::Applied { output: Some(_) }, .. }
            | Request::Done { output: Some(_), .. }
            | Request::Retry { input: Some(_), .. }
    );
    if has_value {
        let pinned = host.shelf.pinned(&host.store, recorded.created()?).await?;
        fit(&pinned.runbook, &recorded.state, request)?;
    }
    Ok(())
}

/// Brings the values that a person gives into the form of the step's types. One that does not fit would fail every step
/// that reads it, and can't be said again.
///
/// # Errors
/// [`RunError::Refused`].
fn fit(runbook: &Runbook, state: &State, request: &mut Request) -> Result<(), RunError> {
    match request {
        Request::Answer { step, answer: Answer::Applied { output: Some(output) }, .. } => {
            let value = (**output).clone();
            *output = Arc::new(output_of(runbook, step, value)?);
        }
        Request::Done { step, output: Some(output), .. } => {
            *output = output_of(runbook, step, output.take())?;
        }
        Request::Retry { step, item, input: Some(input), .. } => {
            let work = state.work(step, item.as_deref());
            let before = work.and_then(|work| work.input.as_deref());
            *input = input_of(runbook, step, before, input)?;
        }
        _ => (),
    }
    Ok(())
}

fn fit_all(runbook: &Runbook, state: &State, mut requests: Vec<Request>) -> Result<Vec<Request>, RunError> {
    for request in &mut requests {
        fit(runbook, state, request)?;
        // Before anything is touched: the run must not go on, with effects, where what was asked of it was a slip.
        allowed(state, request).map_err(|refusal| RunError::Refused { message: refusal.to_string() })?;
    }
    Ok(requests)
}

fn output_of(runbook: &Runbook, path: &str, output: Value) -> Result<Value, RunError> {
    let refused = |message: String| RunError::Refused { message };
    let ty = call_of(runbook, path).and_then(|call| call.output_type.as_ref());
    let ty = ty.ok_or_else(|| refused(format!("step `{path}` returns nothing; leave --result out")))?;
    coerce(output, ty)
        .map_err(|mismatch| refused(format!("--result does not fit what step `{path}` returns: {mismatch}")))
}

/// The input that the step had, with the fields that a person gives in place of its own.
fn input_of(
    runbook: &Runbook,
    path: &str,
    before: Option<&Value>,
    given: &mut Value,
) -> Result<Value, RunError> {
    let refused = |message: String| RunError::Refused { message };
    let call = call_of(runbook, path)
        .ok_or_else(|| refused(format!("step `{path}` calls nothing; leave --input out")))?;
    let mut input = before.and_then(Value::as_object).cloned().unwrap_or_default();
    if let Value::Object(fields) = given.take() {
        for (name, value) in fields {
            input.insert(name.replace('-', "_"), value);
        }
    }
    coerce_record(Value::Object(input), &call.input_type)
        .map_err(|mismatch| refused(format!("--input does not fit step `{path}`: {mismatch}")))
}

fn call_of<'a>(runbook: &'a Runbook, path: &str) -> Option<&'a Invocation> {
    let find = |steps: &'a [Step], id: &str| steps.iter().find(|step| step.id == id);
    let step = match path.split_once('/') {
        None => find(&runbook.steps, path),
        Some(("finally", id)) => find(&runbook.finally, id),
        Some(("rollback", id)) => runbook.rollback.iter().map(|step| &step.step).find(|step| step.id == id),
        Some(_) => None,
    };
    match &step?.body {
        StepBody::Call(call) => Some(call),
        _ => None,
    }
}

/// Drives a run that this process owns.
pub(crate) async fn drive(
    host: &Host,
    taken: Taken,
    then: Vec<Observation>,
    watcher: Arc<dyn Watcher>,
    signals: Signals,
    manner: Manner,
) -> Result<Ending, RunError> {
    let Taken { machine, writer, prepared, clock } = taken;
    let id = writer.run_id().clone();
    let state_dir = host.store.state_dir();
    let log = LogSink {
        file: Some(Mutex::new(RunLog::new(state_dir, &id))),
        redactor: Arc::clone(&prepared.redactor),
        watcher: Arc::clone(&watcher),
        clock,
    };
    let shared = Shared {
        run: id.to_string(),
        prepared,
        store: Arc::clone(&host.store),
        signers: host.signers.clone(),
        log: Arc::new(log),
        artifacts: Arc::new(artifacts(state_dir)),
        audit: Arc::new(AuditSink::new(state_dir, id.as_str())),
        clock,
        seen: Mutex::new(HashMap::new()),
    };
    let mut first = vec![Observation::Started { epoch: writer.epoch(), who: host.who.clone() }];
    first.extend(then);
    let ears = Ears { mail: host.mail.clone(), steps: host.steps.since_now() };
    let driver = Driver::new(machine, writer, Arc::new(shared), watcher, ears, manner, first);
    // A task of the runtime's own: awaiting commits from outside of it costs two thread hops each.
    match tokio::spawn(driver.drive(signals)).await {
        Ok(ending) => ending,
        Err(lost) => Err(RunError::Lost { reason: lost.to_string() }),
    }
}
