//! `windlass run`: makes a run, and drives it or leaves it to the daemon.

use std::sync::Arc;

use windlass_runner::{Daemon, Leftovers, NewRunbook, RunError, create};

use super::{check, drive};
use crate::app::App;
use crate::args::Run;
use crate::error::CliError;
use crate::exit::Exit;

pub(crate) async fn run(app: &App, asked: &Run) -> Result<Exit, CliError> {
    let plugins = app.plugins();
    let project = check::open(app, &asked.planned.target, &plugins)?;
    let inputs = windlass_runbook::inputs::resolve_inputs(&project.runbook, &asked.planned.inputs)
        .map_err(|diagnostics| check::report(&app.printer, RunError::Check(diagnostics)))?;
    let store = Arc::new(app.store().await?);
    store.check_key()?;
    let leftovers = match (&asked.continued, &asked.ignored) {
        (Some(run), _) => Leftovers::Continue(app.run_id(&store, run).await?),
        (None, Some(run)) => Leftovers::Ignore {
            run: app.run_id(&store, run).await?,
            reason: asked.reason.clone().unwrap_or_default(),
        },
        (None, None) => Leftovers::Refuse,
    };
    let host = app.host(&store)?;
    let new = NewRunbook {
        project: &project,
        plugins: &plugins,
        inputs,
        at: asked.at,
        detached: asked.detach,
        leftovers,
    };
    let created = match create(&host, new).await {
        Ok(created) => created,
        Err(error) => return Err(check::report(&app.printer, error)),
    };
    if !asked.detach {
        return drive::created(app, &host, created, Some(&project.runbook)).await;
    }
    let id = created.id().clone();
    // Its lock must be free for the daemon before anybody knows of it.
    drop(created);
    if app.printer.json() {
        app.printer.record(&serde_json::json!({ "run": id.as_str() }))?;
    } else {
        app.printer.line(id.as_str())?;
    }
    if !Daemon::is_there(&store)? {
        app.printer.talk("no daemon drives the detached runs of this store; start one: windlass daemon");
    }
    store.close().await;
    Ok(Exit::Succeeded)
}
