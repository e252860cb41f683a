//! `windlass pause`, `cancel`, `terminate`, `rollback` and `resume`: what a person asks of a run that exists.
//!
//! Where another process drives the run it is asked through the run's inbox; where none does, this one takes the run
//! over if that is what was asked, or records what was asked and leaves it again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use windlass_engine::{Answer, Request};
use windlass_journal::{RunId, Store};
use windlass_runner::{Daemon, Fate, Host, Message, Recorded, RunError};

use super::{drive, preview};
use crate::app::App;
use crate::args::{Resume, Rollback, RunName, Stop};
use crate::error::CliError;
use crate::exit::Exit;
use crate::signals;

/// What this process does with a run that nobody drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alone {
    /// It drives the run from then on.
    Drive,
    /// It records what was asked and leaves.
    Note,
}

/// `windlass pause`.
pub(crate) async fn pause(app: &App, asked: &Stop) -> Result<Exit, CliError> {
    let reason = asked.reason.clone().unwrap_or_default();
    ask(app, &asked.name, vec![Request::Pause { reason }], Alone::Note, asked.wait).await
}

/// `windlass cancel`.
pub(crate) async fn cancel(app: &App, asked: &Stop) -> Result<Exit, CliError> {
    let reason = asked.reason.clone().unwrap_or_default();
    ask(app, &asked.name, vec![Request::Cancel { reason }], Alone::Drive, asked.wait).await
}

/// `windlass terminate`.
pub(crate) async fn terminate(app: &App, asked: &Stop) -> Result<Exit, CliError> {
    let reason = asked.reason.clone().unwrap_or_default();
    ask(app, &asked.name, vec![Request::Terminate { reason }], Alone::Drive, asked.wait).await
}

/// `windlass rollback`.
pub(crate) async fn rollback(app: &App, asked: &Rollback) -> Result<Exit, CliError> {
    let (only, past_commit) = (asked.only.clone(), asked.past_commit);
    let reason = asked.reason.clone().unwrap_or_default();
    let store = app.existing_store().await?;
    let id = app.run_id(&store, &asked.name.run).await?;
    let recorded = Recorded::read(&store, id.clone()).await?;
    if asked.plan {
        return preview::run(app, store, &recorded, asked).await;
    }
    if recorded.state.ended().is_some() {
        return drive::child(app, store, &recorded, reason, only, past_commit).await;
    }
    let request = Request::Rollback { reason: reason.clone(), only: only.clone(), past_commit };
    let asked_for = ask_of(app, store, recorded, vec![request], Alone::Drive, asked.wait).await;
    // It may have ended before it heard of it, as what was cancelled does; then a run of its own takes it back.
    let store = app.existing_store().await?;
    let now = Recorded::read(&store, id).await?;
    if now.state.ended().is_some() && now.state.rollback().is_none() {
        return drive::child(app, store, &now, reason, only, past_commit).await;
    }
    asked_for
}

/// `windlass resume`.
pub(crate) async fn resume(app: &App, asked: &Resume) -> Result<Exit, CliError> {
    let mut requests: Vec<Request> = asked.step.as_ref().map(|step| about(asked, step)).into_iter().collect();
    requests.push(Request::Resume);
    ask(app, &asked.name, requests, Alone::Drive, asked.wait).await
}

/// What is asked about a step.
fn about(asked: &Resume, step: &str) -> Request {
    let (step, item) = (step.to_owned(), asked.item.clone());
    let reason = asked.reason.clone().unwrap_or_default();
    let fate = &asked.fate;
    if fate.retry {
        let input = (!asked.inputs.is_empty()).then(|| Value::Object(fields(&asked.inputs)));
        return Request::Retry { step, item, input, reason };
    }
    if fate.skip {
        return Request::Skip { step, item, reason };
    }
    if fate.done {
        return Request::Done { step, item, output: asked.result.clone(), reason };
    }
    let answer = if fate.applied {
        Answer::Applied { output: asked.result.clone().map(Arc::new) }
    } else if fate.not_applied {
        Answer::NotApplied
    } else if fate.restore {
        Answer::Restore
    } else {
        Answer::Leave
    };
    Request::Answer { step, item, answer, reason }
}

/// The fields of an input as a person types them: JSON where it is some, else text.
fn fields(given: &[(String, String)]) -> Map<String, Value> {
    let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    given.iter().map(|(name, text)| (name.clone(), value(text))).collect()
}

async fn ask(
    app: &App,
    name: &RunName,
    requests: Vec<Request>,
    alone: Alone,
    wait: bool,
) -> Result<Exit, CliError> {
    let store = app.existing_store().await?;
    let id = app.run_id(&store, &name.run).await?;
    let recorded = Recorded::read(&store, id).await?;
    ask_of(app, store, recorded, requests, alone, wait).await
}

/// Asks a run, whoever drives it. With `wait` the answer is how the run stands when it stands still, not that it was
/// heard.
pub(crate) async fn ask_of(
    app: &App,
    store: Store,
    recorded: Recorded,
    mut requests: Vec<Request>,
    alone: Alone,
    wait: bool,
) -> Result<Exit, CliError> {
    if let Some(ended) = recorded.state.ended() {
        return Err(RunError::Ended { verdict: ended.verdict }.into());
    }
    let store = Arc::new(store);
    let id = recorded.id.clone();
    let host = app.host(&store)?;
    if driven(&store, &id).await? {
        while !requests.is_empty() {
            let request = requests.remove(0);
            match tell(&host, &recorded, request).await? {
                Fate::Done => (),
                Fate::Refused(message) => return Err(RunError::Refused { message }.into()),
                // Its process died before it heard of it; whoever goes on does.
                Fate::Waits => break,
            }
            if requests.is_empty() || Recorded::read(&store, id.clone()).await?.state.ended().is_some() {
                return heard(app, &store, &id, wait).await;
            }
        }
    } else if alone == Alone::Note {
        for request in requests.drain(..) {
            post(&host, &recorded, request).await?;
        }
    }
    match alone {
        Alone::Drive => drive::go_on(app, &host, &recorded, requests).await,
        Alone::Note => {
            windlass_runner::note(&host, &id, app.lines(), signals::none()).await?;
            app.printer.talk(&format!(
                "no process drives the run; this is recorded, and `windlass resume {id}` goes on with it"
            ));
            Ok(Exit::Succeeded)
        }
    }
}

/// What was asked is done by the process that drives the run: says so, or waits until the run stands still.
async fn heard(app: &App, store: &Store, id: &RunId, wait: bool) -> Result<Exit, CliError> {
    if wait {
        app.printer.talk(&format!("asked; waiting until run {id} stands still"));
        while driven(store, id).await? && !rests(store, id).await? {
            tokio::time::sleep(LOOK).await;
        }
    } else {
        app.printer.talk(&format!(
            "asked, and heard by the process that drives run {id}; how it ends is that process's to answer, or that of \
             the same command with --wait"
        ));
    }
    let stands = Recorded::read(store, id.clone()).await?;
    if !app.printer.json() {
        drive::sum_up(app, store, id, None).await?;
    }
    Ok(if wait { drive::exit_of_state(&stands.state) } else { Exit::Succeeded })
}

/// How often it is looked whether a run stands still.
const LOOK: Duration = Duration::from_millis(100);

/// Whether nothing more happens to a run without a person, also while its process stays.
async fn rests(store: &Store, id: &RunId) -> Result<bool, CliError> {
    let row = store.run(id).await?;
    Ok(row.ended_ms.is_some() || (row.detached && store.owner(id)?.is_none() && row.status == "held"))
}

/// Whether a process drives the run, or would on hearing of it.
async fn driven(store: &Store, id: &RunId) -> Result<bool, CliError> {
    if store.owner(id)?.is_some() {
        return Ok(true);
    }
    Ok(store.run(id).await?.detached && Daemon::is_there(store)?)
}

/// Puts a request into the inbox and waits for what becomes of it.
async fn tell(host: &Host, recorded: &Recorded, request: Request) -> Result<Fate, CliError> {
    let message = post(host, recorded, request).await?;
    let detached = host.store.run(&recorded.id).await?.detached;
    let alive =
        || Ok(host.store.owner(&recorded.id)?.is_some() || (detached && Daemon::is_there(&host.store)?));
    Ok(message.heard(&host.store, alive).await?)
}

async fn post(host: &Host, recorded: &Recorded, mut request: Request) -> Result<Message, CliError> {
    windlass_runner::fit_pinned(host, recorded, &mut request).await?;
    Ok(Message::post(&host.store, &recorded.id, &host.who, request).await?)
}
