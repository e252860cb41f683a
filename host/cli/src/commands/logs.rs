//! `windlass logs`: what the steps of a run logged.

use windlass_journal::logs::{self, LogSource};
use windlass_runner::rfc3339;

use crate::app::App;
use crate::args::Logs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::lines::place;

pub(crate) async fn run(app: &App, asked: &Logs) -> Result<Exit, CliError> {
    let store = app.store_to_read().await?;
    let id = app.run_id(&store, &asked.name.run).await?;
    if asked.calls {
        return calls(app, &store, &id, asked.step.as_deref());
    }
    let lines = logs::read(store.state_dir(), &id)?;
    let lines = lines.iter().filter(|line| asked.step.is_none() || line.step == asked.step);
    let mut none = true;
    for line in lines {
        none = false;
        if app.printer.json() {
            app.printer.record(line)?;
            continue;
        }
        let style = app.printer.style();
        let name = place(line.step.as_deref().unwrap_or("run"), line.item.as_deref());
        let source = match line.source {
            LogSource::Plugin => "",
            LogSource::Stdout => " out",
            LogSource::Stderr => " err",
            LogSource::Host => " host",
        };
        let level = match line.level.as_str() {
            "error" => style.red("error"),
            "warn" => style.yellow("warn "),
            other => style.dim(&format!("{other:<5}")),
        };
        let fields: String = line.fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        let time = rfc3339(line.time_ms);
        app.printer.line(&format!(
            "{} {level} {}{source}: {}{}",
            style.dim(time.get(11..23).unwrap_or(&time)),
            style.bold(&name),
            line.message,
            style.dim(&fields),
        ))?;
    }
    if let Some(step) = asked.step.as_ref().filter(|_| none) {
        app.printer.talk(&format!("no step `{step}` of this run has logged anything"));
    }
    Ok(Exit::Succeeded)
}

/// What the plugins asked of the host, and what came of it.
fn calls(
    app: &App,
    store: &windlass_journal::Store,
    id: &windlass_journal::RunId,
    step: Option<&str>,
) -> Result<Exit, CliError> {
    let lines = windlass_runner::audit_log::read(store.state_dir(), id.as_str())
        .map_err(|error| CliError::new(Exit::Fault, format!("the audit trail can't be read: {error}")))?;
    for line in lines.iter().filter(|line| step.is_none_or(|step| line.step == step)) {
        if app.printer.json() {
            app.printer.record(line)?;
            continue;
        }
        let style = app.printer.style();
        let decision = if line.call.allowed { style.green("allowed") } else { style.red("denied ") };
        let time = rfc3339(line.time_ms);
        app.printer.line(&format!(
            "{} {decision} {} {} {} {}{}",
            style.dim(time.get(11..23).unwrap_or(&time)),
            style.bold(&place(&line.step, line.item.as_deref())),
            line.call.capability,
            line.call.operation,
            line.call.target,
            style.dim(&line.call.rule.as_deref().map(|rule| format!("  by `{rule}`")).unwrap_or_default()),
        ))?;
    }
    Ok(Exit::Succeeded)
}
