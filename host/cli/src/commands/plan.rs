//! `windlass plan`: what a run would change, step by step.

use std::sync::Arc;

use serde_json::json;
use windlass_engine::plan::{PlanOutcome, PlanRow};
use windlass_engine::{Measured, Phase, SkipReason, Span};
use windlass_runbook::model::Runbook;
use windlass_runbook::outcome::Change;
use windlass_runner::RunError;
use windlass_runner::planning::{self, Planned};
use windlass_runner::watch::Unwatched;
use windlass_sandbox::plain_text;

use super::check;
use crate::app::App;
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Style;
use crate::output::lines::place;

pub(crate) async fn run(app: &App, asked: &args::Planned) -> Result<Exit, CliError> {
    let plugins = app.plugins();
    let project = check::open(app, &asked.target, &plugins)?;
    let inputs = windlass_runbook::inputs::resolve_inputs(&project.runbook, &asked.inputs)
        .map_err(|diagnostics| check::report(&app.printer, RunError::Check(diagnostics)))?;
    let sandbox = app.sandbox()?;
    let variable = |name: &str| std::env::var_os(name);
    let planned =
        planning::plan(&project, &plugins, inputs, &sandbox, &variable, Arc::new(Unwatched)).await?;
    if app.printer.json() {
        app.printer.document(&json!({
            "version": 1,
            "runbook": project.source.name,
            "steps": planned.rows.iter().map(machine_readable).collect::<Vec<_>>(),
            "summary": planned.summary,
            "taken_as_reading": planned.taken_as_reading,
        }))?;
    } else {
        app.printer.data(&text(&planned, &project.runbook, app.printer.style()))?;
    }
    Ok(match planned.summary.exit_code() {
        0 => Exit::Succeeded,
        10 => Exit::Changes,
        _ => Exit::Failed,
    })
}

/// The row without what only machines of the same run need: outputs may hold tokens, memos are the plugin's own.
fn machine_readable(row: &PlanRow) -> serde_json::Value {
    let mut value = serde_json::to_value(row).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.remove("output");
        if let Some(plan) = members.get_mut("plan").and_then(serde_json::Value::as_object_mut) {
            plan.remove("memo");
        }
    }
    value
}

fn text(planned: &Planned, runbook: &Runbook, style: Style) -> String {
    let mut lines = Vec::new();
    let mut stage = None;
    for row in &planned.rows {
        let step = runbook.steps.iter().chain(&runbook.finally).nth(row.position);
        let name = step
            .and_then(|step| step.stage)
            .and_then(|stage| runbook.stages.get(stage))
            .map(|stage| stage.name.as_str())
            .or_else(|| row.step.starts_with("finally/").then_some("Finally"));
        if name != stage {
            lines.extend(name.map(|name| style.bold(name)));
            stage = name;
        }
        lines.extend(describe(row, style));
    }
    if !planned.taken_as_reading.is_empty() {
        lines.push(String::new());
        lines.push("taken as reading, since the operator says so:".to_owned());
        for (plugin, line) in &planned.taken_as_reading {
            lines.push(format!("  {plugin}: {line}"));
        }
    }
    let summary = &planned.summary;
    let parts: Vec<String> = [
        (summary.changes, "would change something"),
        (summary.unchanged, "in place"),
        (summary.read, "read"),
        (summary.deferred, "deferred"),
        (summary.skipped, "skipped"),
        (summary.failed, "would fail"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    lines.push(String::new());
    lines.push(format!("{} {}; nothing was changed", style.bold("plan:"), parts.join(", ")));
    lines.push(String::new());
    lines.join("\n")
}

fn describe(row: &PlanRow, style: Style) -> Vec<String> {
    let name = place(&row.step, row.item.as_deref());
    let indent = if row.item.is_some() { "    " } else { "  " };
    let line = |sign: String, what: String| {
        // Much of it is a plugin's text.
        format!("{indent}{sign} {name:<24} {}", plain_text(&what)).trim_end().to_owned()
    };
    match &row.outcome {
        PlanOutcome::Changes { plan } => {
            let again = if plan.repeatable { "" } else { ", once only" };
            let mut lines =
                vec![line(style.yellow("~"), format!("would change {}{again}", count(plan.changes.len())))];
            lines.extend(
                plan.changes.iter().map(|change| format!("{indent}    {}", describe_change(change, style))),
            );
            lines
        }
        PlanOutcome::InProgress { .. } => vec![line(style.yellow("~"), "is on its way already".to_owned())],
        PlanOutcome::Unchanged { .. } => vec![line(style.green("="), "in place, nothing to do".to_owned())],
        PlanOutcome::Read { expectations, .. } => {
            let met: Vec<String> = expectations
                .iter()
                .map(|met| format!("{}{}", met.expression, measured_list(&met.measured)))
                .collect();
            let what = if met.is_empty() {
                "read".to_owned()
            } else {
                format!("read, as expected: {}", met.join("; "))
            };
            vec![line(style.sign(Phase::Succeeded), what)]
        }
        PlanOutcome::Gate { until, open, measured, failure, every_ms, hold_ms } => {
            let now = match (failure, open) {
                (Some(failure), _) => format!("not now: {failure}"),
                (None, true) => format!("true now{}", measured_list(measured)),
                (None, false) => format!("not yet{}", measured_list(measured)),
            };
            let hold = if *hold_ms > 0 { format!(" for {}", Span(*hold_ms)) } else { String::new() };
            vec![line(
                style.sign(Phase::Sampling),
                format!("waits until {until}{hold}, asking every {}; {now}", Span(*every_ms)),
            )]
        }
        PlanOutcome::Wait { ms } => vec![line(style.sign(Phase::Waiting), format!("waits {}", Span(*ms)))],
        PlanOutcome::ForEach { items } => vec![line(style.sign(Phase::Items), format!("{items} items"))],
        PlanOutcome::Skipped { reason, because } => {
            let why = match (reason, because) {
                (SkipReason::When, Some(when)) => format!("skipped: its `when` is false: {when}"),
                (_, Some(step)) => format!("skipped: it needs the output of `{step}`"),
                (reason, None) => format!("skipped: {reason}"),
            };
            vec![line(style.sign(Phase::Skipped), why)]
        }
        PlanOutcome::Deferred { reason } => vec![line(style.dim("…"), format!("deferred: {reason}"))],
        PlanOutcome::Failed { failure } => {
            vec![line(style.sign(Phase::Failed), format!("would fail: {failure}"))]
        }
    }
}

fn describe_change(change: &Change, style: Style) -> String {
    let sign = match (&change.from, &change.to) {
        (None, Some(_)) => style.green("+"),
        (Some(_), None) => style.red("-"),
        _ => style.yellow("~"),
    };
    let values = match (&change.from, &change.to) {
        (None, None) => String::new(),
        (None, Some(to)) => format!(": {to}"),
        (Some(from), None) => format!(": was {from}"),
        (Some(from), Some(to)) => format!(": {from} → {to}"),
    };
    let what = plain_text(&format!("{} {}", change.kind, change.target));
    format!("{sign} {what}{}", style.dim(&plain_text(&values)))
}

fn measured_list(measured: &[Measured]) -> String {
    let values: Vec<String> = measured
        .iter()
        .filter_map(|measured| Some(format!("{} = {}", measured.name, measured.value.as_ref()?)))
        .collect();
    if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) }
}

fn count(number: usize) -> String {
    format!("{number} {}", check::plural(number, "thing"))
}
