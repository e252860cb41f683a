//! `windlass plan`: what a run would change, step by step.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use serde_json::json;
use windlass_engine::plan::{PlanOutcome, PlanRow};
use windlass_engine::{Measured, Phase, SkipReason, Span};
use windlass_runbook::model::{Runbook, StepBody, Undo};
use windlass_runbook::outcome::Change;
use windlass_runbook::wit::ActionKind;
use windlass_runner::Clock;
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
use crate::output::safeguards::Safeguards;

pub(crate) async fn run(app: &App, asked: &args::Planned) -> Result<Exit, CliError> {
    let plugins = app.plugins();
    // The process ends with this command: taking ten thousand steps apart first would only make it later.
    let project = ManuallyDrop::new(check::open(app, &asked.target, &plugins)?);
    let inputs = windlass_runbook::inputs::resolve_inputs(&project.runbook, &asked.inputs)
        .map_err(|diagnostics| check::report(&app.printer, RunError::Check(diagnostics)))?;
    let sandbox = app.sandbox()?;
    let variable = |name: &str| std::env::var_os(name);
    let watcher = Arc::new(Unwatched);
    let planned = planning::plan(&project, &plugins, inputs, &sandbox, &variable, watcher).await?;
    let planned = ManuallyDrop::new(planned);
    let safeguards = Safeguards::of(&project.runbook, Clock::starting(0).now());
    if app.printer.json() {
        app.printer.document(&json!({
            "version": 1,
            "runbook": project.source.name,
            "steps": planned.rows.iter().map(machine_readable).collect::<Vec<_>>(),
            "summary": planned.summary,
            "safeguards": safeguards.json(),
            "taken_as_reading": planned.taken_as_reading,
        }))?;
    } else {
        app.printer.data(&text(&planned, &project.runbook, &safeguards, app.printer.style()))?;
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

/// Bytes that a row mostly takes.
const ROW: usize = 96;

fn text(planned: &Planned, runbook: &Runbook, safeguards: &Safeguards, style: Style) -> String {
    let mut page = Page { text: String::with_capacity(planned.rows.len() * ROW), style };
    let mut stage = None;
    for row in &planned.rows {
        let step = runbook.steps.iter().chain(&runbook.finally).nth(row.position);
        let name = step
            .and_then(|step| step.stage)
            .and_then(|stage| runbook.stages.get(stage))
            .map(|stage| stage.name.as_str())
            .or_else(|| row.step.starts_with("finally/").then_some("Finally"))
            .or_else(|| row.step.starts_with("rollback/").then_some("If it is rolled back"));
        if name != stage {
            if let Some(name) = name {
                page.line(&style.bold(name));
            }
            stage = name;
        }
        page.describe(row, || way_back(runbook, row));
    }
    for line in safeguards.lines(style) {
        page.line(&line);
    }
    if !planned.taken_as_reading.is_empty() {
        page.line("");
        page.line("taken as reading, since the operator says so:");
        for (plugin, line) in &planned.taken_as_reading {
            page.line(&format!("  {plugin}: {line}"));
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
    page.line("");
    let parts = if parts.is_empty() { "nothing to do for plugins".to_owned() } else { parts.join(", ") };
    page.line(&format!("{} {parts}; nothing was changed", style.bold("plan:")));
    page.text
}

/// How what a step changes would be taken back, where it is not by its action's own undo.
fn way_back(runbook: &Runbook, row: &PlanRow) -> String {
    let Some(step) = runbook.steps.get(row.position) else { return String::new() };
    match (&step.undo, &step.body) {
        (Undo::Own, StepBody::Call(call)) if call.kind == ActionKind::UndoableEffect => String::new(),
        (Undo::Own, _) => "; can't be taken back".to_owned(),
        (Undo::Never, _) => "; nothing to take back".to_owned(),
        (Undo::Call(call), _) => format!("; taken back by {}.{}", call.plugin, call.action),
    }
}

/// The plan as it is printed, one text: ten thousand steps are many lines.
struct Page {
    text: String,
    style: Style,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// The line of a row.
    fn row(&mut self, row: &PlanRow, sign: &str, what: &str) {
        const WIDTH: usize = 24;
        let name = place(&row.step, row.item.as_deref());
        // Much of it is a plugin's text.
        let what = plain_text(what);
        self.text.extend([indent(row), sign, " ", &name]);
        self.text.extend(std::iter::repeat_n(' ', WIDTH.saturating_sub(name.chars().count())));
        self.text.extend([" ", &what]);
        self.text.truncate(self.text.trim_end().len());
        self.text.push('\n');
    }

    fn describe(&mut self, row: &PlanRow, way_back: impl Fn() -> String) {
        let style = self.style;
        match &row.outcome {
            PlanOutcome::Changes { plan } => {
                let again = if plan.repeatable { "" } else { ", once only" };
                let what = format!("would change {}{again}{}", count(plan.changes.len()), way_back());
                self.row(row, &style.yellow("~"), &what);
                for change in &plan.changes {
                    self.line(&format!("{}    {}", indent(row), describe_change(change, style)));
                }
            }
            PlanOutcome::InProgress { .. } => self.row(row, &style.yellow("~"), "is on its way already"),
            PlanOutcome::Unchanged { .. } => self.row(row, &style.green("="), "in place, nothing to do"),
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
                self.row(row, &style.sign(Phase::Succeeded), &what);
            }
            PlanOutcome::Gate { until, open, measured, failure, every_ms, hold_ms } => {
                let now = match (failure, open) {
                    (Some(failure), _) => format!("not now: {failure}"),
                    (None, true) => format!("true now{}", measured_list(measured)),
                    (None, false) => format!("not yet{}", measured_list(measured)),
                };
                let hold = if *hold_ms > 0 { format!(" for {}", Span(*hold_ms)) } else { String::new() };
                let what = format!("waits until {until}{hold}, asking every {}; {now}", Span(*every_ms));
                self.row(row, &style.sign(Phase::Sampling), &what);
            }
            PlanOutcome::Approval { text, roles, each, any, expires_ms, covers } => {
                let who = match any {
                    Some(any) => format!("{any} of {}", roles.join(", ")),
                    None if *each > 1 => format!("{each} each of {}", roles.join(", ")),
                    None => roles.join(" and "),
                };
                let within = expires_ms.map(|ms| format!(" within {}", Span(ms))).unwrap_or_default();
                let covers = match covers.is_empty() {
                    true => "covers nothing that changes anything".to_owned(),
                    false => format!("covers {}", covers.join(", ")),
                };
                self.row(row, &style.sign(Phase::Approving), &format!("asks {who}{within}: {text}"));
                self.line(&format!("{}    {}", indent(row), style.dim(&plain_text(&covers))));
            }
            PlanOutcome::Wait { ms } => {
                self.row(row, &style.sign(Phase::Waiting), &format!("waits {}", Span(*ms)));
            }
            PlanOutcome::ForEach { items } => {
                self.row(row, &style.sign(Phase::Items), &format!("{items} items"));
            }
            PlanOutcome::Skipped { reason, because } => {
                let why = match (reason, because) {
                    (SkipReason::When, Some(when)) => format!("skipped: its `when` is false: {when}"),
                    (_, Some(step)) => format!("skipped: it needs the output of `{step}`"),
                    (reason, None) => format!("skipped: {reason}"),
                };
                self.row(row, &style.sign(Phase::Skipped), &why);
            }
            PlanOutcome::Deferred { reason } => {
                self.row(row, &style.dim("…"), &format!("deferred: {reason}"));
            }
            PlanOutcome::Failed { failure } => {
                self.row(row, &style.sign(Phase::Failed), &format!("would fail: {failure}"));
            }
        }
    }
}

fn indent(row: &PlanRow) -> &'static str {
    if row.item.is_some() { "    " } else { "  " }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(outcome: PlanOutcome) -> PlanRow {
        PlanRow { position: 0, step: "sign_off".into(), item: None, action: None, outcome }
    }

    #[test]
    fn an_approval_says_who_is_asked_and_what_is_covered() {
        let asks = |each, any, covers: &[&str]| {
            let outcome = PlanOutcome::Approval {
                text: "Send 10 % to green?".to_owned(),
                roles: vec!["product_owner".to_owned(), "security".to_owned()],
                each,
                any,
                expires_ms: Some(3_600_000),
                covers: covers.iter().map(|step| Arc::from(*step)).collect(),
            };
            let mut page = Page { text: String::new(), style: Style { color: false } };
            page.describe(&row(outcome), String::new);
            page.text
        };
        assert_eq!(
            asks(1, None, &["ten_percent", "tell"]),
            "  ? sign_off                 asks product_owner and security within 1h: Send 10 % to green?\n      \
             covers ten_percent, tell\n"
        );
        assert!(asks(2, None, &[]).contains("asks 2 each of product_owner, security within"));
        assert!(asks(1, Some(1), &[]).contains("asks 1 of product_owner, security within"));
        assert!(asks(1, None, &[]).ends_with("covers nothing that changes anything\n"));
    }
}
