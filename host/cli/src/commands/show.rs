//! `windlass show`: the record of a run.

use windlass_engine::Span;
use windlass_runner::report::Report;
use windlass_runner::{Recorded, rfc3339};
use windlass_sandbox::plain_text;

use super::drive::pinned_runbook;
use crate::app::App;
use crate::args::RunName;
use crate::error::CliError;
use crate::exit::Exit;

pub(crate) async fn run(app: &App, asked: &RunName) -> Result<Exit, CliError> {
    let store = app.store_to_read().await?;
    let id = app.run_id(&store, &asked.run).await?;
    let recorded = Recorded::read(&store, id).await?;
    let runbook = pinned_runbook(&store, &recorded).await;
    let driven = store.owner(&recorded.id)?.is_some();
    let report = Report::new(&recorded.state, runbook.as_deref()).driven(driven);
    if app.printer.json() {
        app.printer.document(&report.json())?;
        return Ok(Exit::Succeeded);
    }
    app.printer.data(&text(&recorded, &report, app)?)?;
    Ok(Exit::Succeeded)
}

/// An input can be a list of ten thousand hosts; `--output json` has the whole of it.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 200;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => {
            format!("{}… ({} characters)", text.get(..end).unwrap_or(text), text.chars().count())
        }
        None => text.to_owned(),
    }
}

fn text(recorded: &Recorded, report: &Report<'_>, app: &App) -> Result<String, CliError> {
    let style = app.printer.style();
    let created = recorded.created()?;
    let mut lines = vec![
        format!(
            "{} {}",
            style.bold(&plain_text(created.title.as_deref().unwrap_or(&created.name))),
            style.dim(&created.run)
        ),
        format!("  {} after {}", report.headline(), Span(report.took_ms())),
        format!("  started {} by {}", rfc3339(recorded.state.started_at()), created.started_by),
    ];
    lines.push(match &created.environment {
        Some(environment) => format!("  {} in {}", created.runbook.name, environment.name),
        None => format!("  {}", created.runbook.name),
    });
    for (name, value) in &created.inputs {
        lines.push(format!("  {name} = {}", shortened(&plain_text(&value.to_string()))));
    }
    let mut stage = None;
    lines.push(String::new());
    for row in report.rows() {
        if row.stage != stage {
            if let Some(name) = &row.stage {
                lines.push(style.bold(name));
            }
            stage.clone_from(&row.stage);
        }
        let took = row.took_ms.map(|ms| Span(ms).to_string()).unwrap_or_default();
        let detail = row.detail.as_deref().unwrap_or_default();
        let name =
            row.title.as_deref().map_or_else(|| row.name.clone(), |title| format!("{} – {title}", row.name));
        let indent = "  ".repeat(row.depth + 1);
        lines.push(format!("{indent}{} {:<10} {took:>7}  {name}", style.sign(row.phase), row.word));
        if !detail.is_empty() {
            lines.push(format!("{indent}                      {}", style.dim(detail)));
        }
    }
    let next = report.next_steps();
    if !next.is_empty() {
        lines.push(String::new());
        lines.extend(next);
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}
