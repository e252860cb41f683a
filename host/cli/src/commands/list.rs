//! `windlass list`: the runs of the store, latest first.

use serde_json::json;
use windlass_engine::Span;
use windlass_runner::{Daemon, rfc3339};

use crate::app::App;
use crate::error::CliError;
use crate::exit::Exit;

pub(crate) async fn run(app: &App) -> Result<Exit, CliError> {
    let Some(store) = app.store_to_list().await? else {
        if app.printer.json() {
            app.printer.document(&json!({ "version": 1, "runs": [] }))?;
        } else {
            app.printer.talk("there is no store yet; `windlass run` makes one");
        }
        return Ok(Exit::Succeeded);
    };
    let mut runs = store.runs().await?;
    runs.sort_by_key(|run| std::cmp::Reverse(run.started_ms));
    let daemon = Daemon::is_there(&store).unwrap_or(false);
    for run in runs.iter_mut().filter(|run| run.ended_ms.is_none() && run.status != "held") {
        // A detached run that rests has no owner, and the daemon goes on with it.
        let resting = run.detached && daemon;
        // The word of a process that died is out of date.
        if !resting && store.owner(&run.id)?.is_none() {
            run.status = "interrupted".to_owned();
        }
    }
    if app.printer.json() {
        let rows: Vec<_> = runs
            .iter()
            .map(|run| {
                json!({
                    "run": run.id.as_str(), "name": run.name, "status": run.status,
                    "detached": run.detached, "started": rfc3339(run.started_ms),
                    "ended": run.ended_ms.map(rfc3339),
                })
            })
            .collect();
        app.printer.document(&json!({ "version": 1, "runs": rows }))?;
        return Ok(Exit::Succeeded);
    }
    if runs.is_empty() {
        app.printer.talk("the store has no runs yet");
    }
    for run in &runs {
        let took =
            run.ended_ms.map(|ended| Span(u64::try_from(ended - run.started_ms).unwrap_or(0)).to_string());
        let started = rfc3339(run.started_ms);
        app.printer.line(&format!(
            "{}  {:<12} {}  {:>8}  {}",
            run.id,
            run.status,
            started.get(..19).unwrap_or(&started),
            took.unwrap_or_default(),
            run.name,
        ))?;
    }
    Ok(Exit::Succeeded)
}
