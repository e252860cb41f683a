//! A run as plain lines, and as JSON lines: two readers of the same events.

use serde_json::{Value, json};
use windlass_engine::{Effect, Event, Millis, Phase, Span, State};
use windlass_journal::logs::LogLine;
use windlass_runner::report::{detail, times};
use windlass_runner::rfc3339;
use windlass_runner::watch::{Sample, Watcher};
use windlass_sandbox::plain_text;

use super::Printer;
use crate::commands::check::plural;

/// One line for each thing that a person would want to know, when it happens.
pub(crate) struct PlainLines {
    pub(crate) printer: Printer,
}

/// One JSON object for each event.
pub(crate) struct JsonLines {
    pub(crate) printer: Printer,
}

impl PlainLines {
    fn say(&self, at: Millis, text: &str) {
        // A closed pipe must not stop a release.
        let _closed = self.printer.line(&format!("{} {text}", self.printer.style().dim(&clock(at))));
    }
}

/// The time of day in UTC.
fn clock(at: Millis) -> String {
    rfc3339(at).get(11..19).unwrap_or_default().to_owned()
}

/// A step or one of its items, as it is written everywhere.
pub(crate) fn place(step: &str, item: Option<&str>) -> String {
    // An item's key may come from anywhere, a plugin's answer included.
    item.map_or_else(|| step.to_owned(), |item| format!("{step}[{}]", plain_text(item)))
}

impl Watcher for PlainLines {
    fn event(&self, at: Millis, event: &Event, state: &State) {
        if let Some(text) = describe(event, state, &self.printer) {
            self.say(at, &text);
        }
    }

    fn sample(&self, sample: &Sample<'_>) {
        let measured: Vec<String> = sample
            .measured
            .iter()
            .map(|measured| match &measured.value {
                Some(value) => format!("{} = {value}", measured.name),
                None => format!("{} absent", measured.name),
            })
            .collect();
        let open = if sample.open {
            format!("true for {} of {}", Span(sample.open_ms), Span(sample.hold_ms))
        } else {
            "false".to_owned()
        };
        let measured = plain_text(&measured.join(", "));
        let text = format!("  {}: {open}, {measured}", place(sample.step, sample.item));
        let _closed = self.printer.line(&self.printer.style().dim(&text));
    }

    fn refused(&self, message: &str) {
        self.printer.talk(message);
    }
}

/// What an event is to a person; none for those that only machines need.
fn describe(event: &Event, state: &State, printer: &Printer) -> Option<String> {
    let style = printer.style();
    let (step, item) = event.place().map_or(("", None), |(step, item)| (&**step, item.map(|item| &**item)));
    let name = place(step, item);
    let work = state.work(step, item);
    let sign = |phase| style.sign(phase);
    Some(match event {
        Event::StepStarted { .. } => format!("{} {name}", sign(Phase::Reading)),
        Event::ItemsExpanded { items, .. } => {
            format!("{} {name}: {} {}", sign(Phase::Items), items.len(), plural(items.len(), "item"))
        }
        Event::AttemptStarted { plan, attempt, .. } => {
            let changes: Vec<String> = plan
                .changes
                .iter()
                .take(3)
                .map(|change| plain_text(&format!("{} {}", change.kind, change.target)))
                .collect();
            let more = match plan.changes.len().saturating_sub(3) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let attempt = match attempt.effect.attempt {
                1 => String::new(),
                number => format!(" (attempt {number})"),
            };
            format!("  {name}{attempt}: {}{more}", changes.join(", "))
        }
        Event::StepSucceeded { effect, .. } => {
            let took = work.and_then(|work| Some(work.ended_at? - work.started_at?)).unwrap_or(0);
            let effect = if *effect == Effect::None { String::new() } else { format!(" {effect}") };
            format!("{} {name}{effect} in {}", sign(Phase::Succeeded), Span(u64::try_from(took).unwrap_or(0)))
        }
        Event::StepFailed { failure, .. } => {
            format!("{} {name}: {}", sign(Phase::Failed), plain_text(&failure.to_string()))
        }
        Event::StepSkipped { .. } => {
            let why = work.and_then(detail).unwrap_or_default();
            format!("{} {name} skipped: {why}", sign(Phase::Skipped))
        }
        Event::ReadFailed { failure, .. } | Event::PlanFailed { failure, .. } => {
            format!("  {name}: {}", plain_text(&failure.to_string()))
        }
        Event::RetryScheduled { at, tries, .. } => {
            let wait = u64::try_from(at - state.last_at()).unwrap_or(0);
            format!("{} {name}: failed {}, again in {}", sign(Phase::Retrying), times(*tries), Span(wait))
        }
        Event::AttemptFinished { effect: Effect::Unknown, .. } => {
            format!("{} {name}: nobody knows whether it took effect", sign(Phase::Resolving))
        }
        Event::AttemptsResolved { effect, .. } => format!("  {name}: resolved as {effect}"),
        Event::QuestionAsked { message, .. } => {
            format!("{} {name}: {}", sign(Phase::Asking), plain_text(message))
        }
        Event::OperatorAnswered { who, reason, .. } => format!("  {name}: {who} says so: {reason}"),
        Event::WaitStarted { until, .. } => {
            format!("{} {name} until {}", sign(Phase::Waiting), rfc3339(*until))
        }
        Event::RunHeld { message, .. } => {
            format!("{} {}", style.yellow("held:"), plain_text(message))
        }
        Event::VerdictDecided { verdict, world, reason } => {
            let reason = if reason.is_empty() { String::new() } else { format!(": {}", plain_text(reason)) };
            format!("{} {verdict}, the world is {world}{reason}", style.bold("verdict:"))
        }
        _ => return None,
    })
}

impl Watcher for JsonLines {
    fn event(&self, at: Millis, event: &Event, state: &State) {
        let mut value = serde_json::to_value(event).unwrap_or_default();
        strip(&mut value);
        if let Value::Object(members) = &mut value {
            members.insert("version".to_owned(), 1.into());
            members.insert("run".to_owned(), json!(state.created().map(|created| &created.run)));
            members.insert("time".to_owned(), rfc3339(at).into());
        }
        let _closed = self.printer.line(&value.to_string());
    }

    fn log(&self, line: &LogLine) {
        let mut value = serde_json::to_value(line).unwrap_or_default();
        if let Value::Object(members) = &mut value {
            members.insert("version".to_owned(), 1.into());
            members.insert("kind".to_owned(), "log".into());
            members.insert("time".to_owned(), rfc3339(line.time_ms).into());
            members.remove("time_ms");
        }
        let _closed = self.printer.line(&value.to_string());
    }

    fn refused(&self, message: &str) {
        self.printer.talk(message);
    }
}

/// Takes out what a run keeps sealed: a value that one step captured for another may be a token. What is left says
/// what happened.
fn strip(value: &mut Value) {
    const SEALED: [&str; 7] = ["input", "output", "memo", "text", "items", "config", "runbook"];
    match value {
        Value::Object(members) => {
            for name in SEALED {
                members.remove(name);
            }
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => (),
    }
}
