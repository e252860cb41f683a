//! Driving a run in the foreground until it is held or over, and saying how it stands then.

use std::sync::Arc;

use windlass_engine::{Phase, Request, State, Verdict};
use windlass_journal::{Error, RunId, Store};
use windlass_runbook::model::Runbook;
use windlass_runner::report::Report;
use windlass_runner::watch::Watcher;
use windlass_runner::{Clock, Created, Ending, Host, Project, Recorded, RunError, rfc3339};

use super::check;
use crate::app::App;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::tree::Tree;
use crate::signals;

/// Drives a run that was just made.
pub(crate) async fn created(
    app: &App,
    host: &Host,
    created: Created,
    runbook: Option<&Runbook>,
) -> Result<Exit, CliError> {
    let id = created.id().clone();
    let screen = Screen::new(app, runbook, &State::default());
    let ended = created.drive(host, screen.watcher(), signals::of_run(app.printer)).await;
    screen.end();
    finish(app, &host.store, Some(&id), runbook, ended).await
}

/// Takes a run over and drives it.
pub(crate) async fn go_on(
    app: &App,
    host: &Host,
    recorded: &Recorded,
    requests: Vec<Request>,
) -> Result<Exit, CliError> {
    let runbook = pinned_runbook(&host.store, recorded).await;
    let screen = Screen::new(app, runbook.as_deref(), &recorded.state);
    let signals = signals::of_run(app.printer);
    let ended = windlass_runner::take_up(host, &recorded.id, requests, screen.watcher(), signals).await;
    screen.end();
    finish(app, &host.store, Some(&recorded.id), runbook.as_deref(), ended).await
}

/// Takes back what an ended run has left, in a run of its own.
pub(crate) async fn child(
    app: &App,
    store: Store,
    of: &Recorded,
    reason: String,
    only: Vec<String>,
    past_commit: bool,
) -> Result<Exit, CliError> {
    let store = Arc::new(store);
    let host = app.host(&store)?;
    let made = windlass_runner::create_rollback(&host, &of.id, reason, only, past_commit).await?;
    app.printer.talk(&format!("run {} has ended; run {} takes back what it has left", of.id, made.id()));
    let runbook = pinned_runbook(&store, of).await;
    created(app, &host, made, runbook.as_deref()).await
}

/// Says how it stands, and what to type next.
pub(crate) async fn finish(
    app: &App,
    store: &Store,
    id: Option<&RunId>,
    runbook: Option<&Runbook>,
    ended: Result<Ending, RunError>,
) -> Result<Exit, CliError> {
    let ending = match ended {
        Ok(ending) => ending,
        Err(error) => {
            // Neither can be gone on with now, whatever is typed.
            let futile = matches!(
                error,
                RunError::Ended { .. } | RunError::Store(Error::Busy { .. } | Error::Contended)
            );
            let told = check::report(&app.printer, error);
            return Err(match id.filter(|_| !futile) {
                Some(id) => told.hint(format!("the run is {id}; go on with `windlass resume {id}`")),
                None => told,
            });
        }
    };
    if let Some(id) = id.filter(|_| !app.printer.json())
        && let Err(error) = sum_up(app, store, id, runbook).await
    {
        // The exit code is that of the run, whether or not its end could be told.
        app.printer.talk(&error.to_string());
    }
    store.close().await;
    Ok(exit_of(&ending))
}

/// How the run stands, in a few lines.
pub(crate) async fn sum_up(
    app: &App,
    store: &Store,
    id: &RunId,
    runbook: Option<&Runbook>,
) -> Result<(), CliError> {
    let recorded = Recorded::read(store, id.clone()).await?;
    let now = Clock::starting(recorded.state.last_at()).now();
    let report = Report::new(&recorded.state, runbook).at(now);
    let took = windlass_engine::Span(report.took_ms());
    app.printer.line(&format!(
        "{} {id}: {} after {took}, started {}",
        app.printer.style().bold("run"),
        report.headline(),
        rfc3339(recorded.state.started_at()),
    ))?;
    if app.printer.live() {
        // The tree has room for the beginning of a reason only.
        for row in report.rows().iter().filter(|row| row.phase == Phase::Failed) {
            let reason = row.detail.as_deref().unwrap_or_default();
            app.printer.line(&format!("  {} {}: {reason}", app.printer.style().sign(row.phase), row.name))?;
        }
    }
    for line in report.next_steps() {
        app.printer.line(&format!("  {line}"))?;
    }
    app.printer.line(&app.printer.style().dim(&format!("  the record: windlass show {id}")))?;
    Ok(())
}

fn exit_of(ending: &Ending) -> Exit {
    match ending {
        // What is left by this process waits for another one, as what is held waits for a person.
        Ending::Held { .. } | Ending::Parked { .. } | Ending::Left => Exit::Held,
        Ending::Ended { finally_failed: true, .. } => Exit::FinallyFailed,
        Ending::Ended { verdict, .. } => match verdict {
            Verdict::Succeeded => Exit::Succeeded,
            Verdict::Partial => Exit::Partial,
            Verdict::RolledBack => Exit::RolledBack,
            Verdict::Cancelled => Exit::Cancelled,
            Verdict::Failed => Exit::Failed,
        },
    }
}

/// The exit code of a run as it stands in its journal.
pub(crate) fn exit_of_state(state: &State) -> Exit {
    match state.ended() {
        None => Exit::Held,
        Some(ended) => {
            exit_of(&Ending::Ended { verdict: ended.verdict, finally_failed: ended.finally_failed })
        }
    }
}

/// What a person sees of the run, by the form of output that was asked for.
enum Screen {
    Live(Arc<Tree>, tokio::task::JoinHandle<()>),
    Lines(Arc<dyn Watcher>),
}

impl Screen {
    fn new(app: &App, runbook: Option<&Runbook>, state: &State) -> Self {
        let printer = app.printer;
        if let Some(runbook) = runbook.filter(|_| printer.live()) {
            let tree = Tree::new(runbook, state, Clock::starting(state.last_at()), printer.style());
            let drawing = tree.animate();
            return Self::Live(tree, drawing);
        }
        Self::Lines(app.lines())
    }

    fn watcher(&self) -> Arc<dyn Watcher> {
        match self {
            Self::Live(tree, _) => tree.clone(),
            Self::Lines(lines) => Arc::clone(lines),
        }
    }

    fn end(&self) {
        if let Self::Live(tree, drawing) = self {
            tree.end();
            drawing.abort();
        }
    }
}

/// The runbook of a run as it was pinned, for titles and steps that have not begun; none where it can't be read.
pub(crate) async fn pinned_runbook(store: &Store, recorded: &Recorded) -> Option<Arc<Runbook>> {
    let created = recorded.state.created()?;
    let plugins = windlass_runner::pinned_plugins(store, created).await.ok()?;
    let environment = created.environment.as_ref().map(Project::unpinned);
    Project::check(Project::unpinned(&created.runbook), environment, &plugins)
        .ok()
        .map(|project| project.runbook)
}
