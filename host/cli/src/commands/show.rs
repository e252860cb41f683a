//! `windlass show`: the record of a run.

use windlass_engine::{Phase, RunCreated, Span, State, Verdict};
use windlass_runner::report::Report;
use windlass_runner::{Clock, Daemon, Recorded, rfc3339};
use windlass_sandbox::plain_text;

use super::drive::pinned_runbook;
use crate::app::App;
use crate::args::RunName;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Style;

/// More than this of what a rollback would take back is told by its number; `--output json` has all.
const LISTED: usize = 20;

pub(crate) async fn run(app: &App, asked: &RunName) -> Result<Exit, CliError> {
    let store = app.store_to_read().await?;
    let id = app.run_id(&store, &asked.run).await?;
    let recorded = Recorded::read(&store, id).await?;
    let runbook = pinned_runbook(&store, &recorded).await;
    // A detached run that rests has no owner, and the daemon goes on with it.
    let driven = store.owner(&recorded.id)?.is_some()
        || (store.run(&recorded.id).await?.detached && Daemon::is_there(&store).unwrap_or(false));
    let now = Clock::starting(recorded.state.last_at()).now();
    let report = Report::new(&recorded.state, runbook.as_deref()).driven(driven).at(now);
    if app.printer.json() {
        app.printer.document(&report.json())?;
        return Ok(Exit::Succeeded);
    }
    let created = recorded.created()?;
    app.printer.data(&text(created, &recorded.state, &report, app.printer.style()))?;
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

fn text(created: &RunCreated, state: &State, report: &Report<'_>, style: Style) -> String {
    let mut lines = vec![
        format!(
            "{} {}",
            style.bold(&plain_text(created.title.as_deref().unwrap_or(&created.name))),
            style.dim(&created.run)
        ),
        format!("  {} after {}", report.headline(), Span(report.took_ms())),
        format!("  started {} by {}", rfc3339(state.started_at()), created.started_by),
    ];
    lines.push(match &created.environment {
        Some(environment) => format!("  {} in {}", created.runbook.name, environment.name),
        None => format!("  {}", created.runbook.name),
    });
    for (name, value) in &created.inputs {
        lines.push(format!("  {name} = {}", shortened(&plain_text(&value.to_string()))));
    }
    lines.extend(report.circumstances().into_iter().map(|line| format!("  {line}")));
    steps(&mut lines, report, style);
    guards(&mut lines, report, style);
    if state.ended().is_none_or(|ended| ended.verdict != Verdict::Succeeded) {
        undo_list(&mut lines, report, style);
    }
    let next = report.next_steps();
    if !next.is_empty() {
        lines.push(String::new());
        lines.extend(next);
    }
    lines.push(String::new());
    lines.join("\n")
}

fn steps(lines: &mut Vec<String>, report: &Report<'_>, style: Style) {
    let mut stage = None;
    lines.push(String::new());
    for row in report.rows() {
        if row.stage != stage {
            if let Some(name) = &row.stage {
                let note = report.stage_note(name).map(|note| format!(": {note}")).unwrap_or_default();
                lines.push(format!("{}{note}", style.bold(name)));
            }
            stage.clone_from(&row.stage);
        }
        let took = row.took_ms.map(|ms| Span(ms).to_string()).unwrap_or_default();
        let detail = row.detail.as_deref().unwrap_or_default();
        let name =
            row.title.as_deref().map_or_else(|| row.name.clone(), |title| format!("{} – {title}", row.name));
        let indent = "  ".repeat(row.depth + 1);
        let phase = if row.word == "stopped" { Phase::Pending } else { row.phase };
        lines.push(format!("{indent}{} {:<10} {took:>7}  {name}", style.sign(phase), row.word));
        if !detail.is_empty() {
            lines.push(format!("{indent}                      {}", style.dim(detail)));
        }
    }
}

fn guards(lines: &mut Vec<String>, report: &Report<'_>, style: Style) {
    let rows = report.guards();
    if !rows.is_empty() {
        lines.push(style.bold("Guards"));
    }
    for row in rows {
        let title = row.title.map(|title| format!(" – {title}")).unwrap_or_default();
        lines.push(format!("  {} {:<18}  {}{title}", style.band(row.band), row.word, row.name));
        if !row.detail.is_empty() {
            lines.push(format!("                        {}", style.dim(&row.detail)));
        }
    }
}

fn undo_list(lines: &mut Vec<String>, report: &Report<'_>, style: Style) {
    let listed = report.undo_list();
    if listed.is_empty() {
        return;
    }
    lines.push(style.bold("A rollback would take back"));
    for one in listed.iter().take(LISTED) {
        let unknown = if one.unknown { ", if it happened at all" } else { "" };
        lines.push(format!("  {}: {}{unknown}", one.name, one.changes));
    }
    if listed.len() > LISTED {
        lines.push(format!("  and {} more", listed.len() - LISTED));
    }
}
