//! `windlass run` and `windlass resume`: drive a run until it is held or over, with ctrl-c listened to.

use std::sync::Arc;

use tokio::sync::mpsc;
use windlass_engine::{Answer, Phase, State};
use windlass_journal::{Error, RunId, Store};
use windlass_runbook::model::Runbook;
use windlass_runner::report::Report;
use windlass_runner::watch::Watcher;
use windlass_runner::{Clock, Ending, Host, Project, Recorded, RunError, Said, resume, rfc3339, start};
use windlass_sandbox::Sandbox;

use super::check;
use crate::app::App;
use crate::args::{Planned, Resume};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::lines::{JsonLines, PlainLines};
use crate::output::tree::Tree;

/// `windlass run`.
pub(crate) async fn begin(app: &App, planned: &Planned) -> Result<Exit, CliError> {
    let plugins = app.plugins();
    let project = check::open(app, &planned.target, &plugins)?;
    let inputs = windlass_runbook::inputs::resolve_inputs(&project.runbook, &planned.inputs)
        .map_err(|diagnostics| check::report(&app.printer, RunError::Check(diagnostics)))?;
    let sandbox = app.sandbox()?;
    let store = app.store().await?;
    store.check_key()?;
    let screen = Screen::new(app, Some(&project.runbook), &State::default());
    let host = host(&store, &sandbox, &screen);
    let mut run = None;
    let started = |id: &RunId| run = Some(id.clone());
    let ended = start(&host, &project, &plugins, inputs, started, interrupts()).await;
    screen.end();
    finish(app, &store, run.as_ref(), Some(&project.runbook), ended).await
}

/// `windlass resume`.
pub(crate) async fn go_on(app: &App, asked: &Resume) -> Result<Exit, CliError> {
    let store = app.existing_store().await?;
    let id = app.run_id(&store, &asked.name.run).await?;
    let sandbox = app.sandbox()?;
    let recorded = Recorded::read(&store, id.clone()).await?;
    let runbook = pinned_runbook(&store, &recorded).await;
    let screen = Screen::new(app, runbook.as_deref(), &recorded.state);
    let host = host(&store, &sandbox, &screen);
    let said = asked.step.as_ref().map(|step| Said {
        step: step.clone(),
        item: asked.item.clone(),
        answer: match asked.answer.applied {
            true => Answer::Applied { output: asked.result.clone().map(Arc::new) },
            false => Answer::NotApplied,
        },
        reason: asked.reason.clone().unwrap_or_default(),
    });
    let ended = resume(&host, &id, said, interrupts()).await;
    screen.end();
    finish(app, &store, Some(&id), runbook.as_deref(), ended).await
}

fn host<'a>(store: &'a Store, sandbox: &'a Sandbox, screen: &Screen) -> Host<'a> {
    Host {
        store,
        sandbox,
        variable: &|name| std::env::var_os(name),
        who: App::who(),
        watcher: screen.watcher(),
    }
}

/// Says how it stands, and what to type next.
async fn finish(
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
async fn sum_up(app: &App, store: &Store, id: &RunId, runbook: Option<&Runbook>) -> Result<(), CliError> {
    let recorded = Recorded::read(store, id.clone()).await?;
    let report = Report::new(&recorded.state, runbook);
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
    use windlass_engine::Verdict;
    match ending {
        Ending::Held { .. } => Exit::Held,
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
        if printer.json() {
            Self::Lines(Arc::new(JsonLines { printer }))
        } else {
            Self::Lines(Arc::new(PlainLines { printer }))
        }
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

/// Ctrl-c and a polite end: the first pauses the run, the second cuts off what is under way.
fn interrupts() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
        loop {
            tokio::select! {
                pressed = tokio::signal::ctrl_c() => if pressed.is_err() { return },
                _ = terminate.recv() => (),
            }
            if sender.send(App::who()).await.is_err() {
                return;
            }
        }
    });
    receiver
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
