//! A run as plain lines, and as JSON lines: two readers of the same events.

use serde_json::{Value, json};
use windlass_engine::{Band, Effect, Event, GuardAction, Hold, Millis, Phase, Span, State};
use windlass_journal::logs::LogLine;
use windlass_runner::record::Moment;
use windlass_runner::report::{Report, compared, detail, times, word};
use windlass_runner::rfc3339;
use windlass_runner::watch::{Look, Sample, Watcher};
use windlass_sandbox::plain_text;

use super::{Printer, Style};
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
        if let Some(text) = describe(at, event, state, self.printer.style()) {
            self.say(at, &text);
        }
    }

    fn sample(&self, sample: &Sample<'_>) {
        let open = if sample.open {
            format!("true for {} of {}", Span(sample.open_ms), Span(sample.hold_ms))
        } else {
            "false".to_owned()
        };
        let seen = compared(sample.measured, sample.compared, "wanted");
        let text = format!("  {}: {open}, {seen}", place(sample.step, sample.item));
        let _closed = self.printer.line(&self.printer.style().dim(&text));
    }

    // Looks of guards are not told one by one: what they see is an event whenever it changes.

    fn waiting(&self, reasons: &[Hold], state: &State) {
        // People who are asked, and times that are waited for, have been told when that began.
        if reasons.is_empty() && state.open_questions() == 0 {
            return;
        }
        for line in Report::new(state, None).next_steps() {
            let _closed = self.printer.line(&format!("  {line}"));
        }
        if let Some(line) = stays(state) {
            let _closed = self.printer.line(&format!("  {line}"));
        }
    }

    fn refused(&self, message: &str) {
        self.printer.talk(message);
    }
}

/// Why a process stays with a run that is paused, and how to leave it; none where it does not.
pub(crate) fn stays(state: &State) -> Option<String> {
    if !state.is_held_for(Hold::Operator) || state.goes_back() || state.verdict().is_some() {
        return None;
    }
    let watching = state.guards().iter().filter(|(_, guard)| guard.is_watching());
    let guards: Vec<String> = watching.map(|(path, _)| format!("`{path}`")).collect();
    let verb = if guards.len() == 1 { "watches" } else { "watch" };
    let told = format!(
        "{} still {verb} and can turn the run back, so this process stays; ctrl-c leaves it paused",
        guards.join(", ")
    );
    (!guards.is_empty()).then_some(told)
}

/// What a guard sees, in one line.
pub(crate) fn guard_told(look: &Look<'_>) -> String {
    let lasting = match look.band {
        Band::Good => String::new(),
        _ if look.for_ms == 0 => String::new(),
        _ => format!(" for {} of {}", Span(look.since_ms), Span(look.for_ms)),
    };
    let seen = compared(look.measured, look.compared, "trips at");
    let gap = if seen.is_empty() { "" } else { ", " };
    format!("{}: {}{lasting}{gap}{seen}", look.guard, look.band)
}

/// What an event is to a person; none for those that only machines need.
fn describe(at: Millis, event: &Event, state: &State, style: Style) -> Option<String> {
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
        Event::StepSucceeded { .. } if state.approval(step).is_some() => {
            let who = detail(state, step, None).unwrap_or_default();
            format!("{} {name} {who}", sign(Phase::Succeeded))
        }
        Event::StepSucceeded { .. } => {
            let took = work.and_then(|work| Some(work.ended_at? - work.started_at?)).unwrap_or(0);
            let took = Span(u64::try_from(took).unwrap_or(0));
            let came_to = match work.map(|work| word(step, work)) {
                None | Some("succeeded") => String::new(),
                Some(word) => format!(" {word}"),
            };
            format!("{} {name}{came_to} in {took}", sign(Phase::Succeeded))
        }
        Event::StepFailed { failure, .. } => {
            format!("{} {name}: {}", sign(Phase::Failed), plain_text(&failure.to_string()))
        }
        Event::StepSkipped { .. } => {
            let why = detail(state, step, item).unwrap_or_default();
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
        _ => return told(at, event, state, style),
    })
}

/// What is told in the words that the record has for it.
fn told(at: Millis, event: &Event, state: &State, style: Style) -> Option<String> {
    let (sign, names_itself) = match event {
        Event::OperatorAnswered { .. }
        | Event::Accepted { .. }
        | Event::StepRestarted { .. }
        | Event::InputChanged { .. } => (" ".to_owned(), false),
        Event::Scheduled { .. } => (style.sign(Phase::Scheduled), false),
        Event::ApprovalRequested { .. }
        | Event::ApprovalGiven(_)
        | Event::ApprovalVoided { .. }
        | Event::ApprovalExpired { .. } => (style.sign(Phase::Approving), false),
        Event::GuardStarted { .. } => (style.band(None), true),
        Event::GuardSampled(sampled) => (style.band(Some(sampled.band)), true),
        Event::GuardTripped { action: GuardAction::Hold, .. } => (style.band(Some(Band::Hold)), true),
        Event::GuardTripped { .. } => (style.band(Some(Band::Rollback)), true),
        Event::RollbackStarted(_) | Event::RollbackOverdue { .. } | Event::RollbackFinished => {
            (style.back(), true)
        }
        Event::RunReleased { .. }
        | Event::Committed { .. }
        | Event::UndoListInherited { .. }
        | Event::BaselineRecorded { .. }
        | Event::LockAwaited { .. }
        | Event::LockAcquired { .. }
        | Event::Shifted { .. }
        | Event::ClockStepped { .. }
        | Event::ConnectionChanged { .. }
        | Event::CancelRequested { .. }
        | Event::TerminateRequested { .. } => (" ".to_owned(), true),
        _ => return None,
    };
    let moment = Moment::of(at, event)?;
    let name = moment.step.filter(|_| !names_itself).map(|name| format!("{name} ")).unwrap_or_default();
    let who = moment.who.map(|who| format!(", by {who}")).unwrap_or_default();
    let why = moment.why.map(|why| format!(": {why}")).unwrap_or_default();
    let mut text = format!("{sign} {name}{}{who}{why}", moment.what);
    if let Event::ApprovalRequested { step, .. } = event {
        let run = state.created().map_or("RUN", |created| created.run.as_str());
        for verb in ["approve", "reject"] {
            text.extend(["\n           windlass ", verb, " ", run, " ", step, " --reason '…'"]);
        }
    }
    Some(text)
}

impl Watcher for JsonLines {
    fn event(&self, at: Millis, event: &Event, state: &State) {
        let mut value = serde_json::to_value(event).unwrap_or_default();
        strip(&mut value);
        if let Value::Object(members) = &mut value {
            match event {
                // What people are asked is there to be read.
                Event::ApprovalRequested { request, .. } => {
                    members.insert("text".to_owned(), plain_text(&request.text).into());
                }
                Event::UndoListInherited { entries, .. } => {
                    members.insert("entries".to_owned(), entries.len().into());
                }
                _ => (),
            }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use windlass_engine::{
        ApprovalGiven, ApprovalRequest, Cause, Compared, Decision, GuardSampled, Measured, RollbackStarted,
        RunCreated, Samples, ScheduledFor, SkipReason, Verdict, World,
    };

    use super::*;

    const RUN: &str = "k3n9q2h7m4wz";

    fn started(step: &str) -> Event {
        Event::StepStarted {
            step: step.into(),
            item: None,
            generation: 1,
            call: None,
            writes: true,
            gate: false,
            input: None,
        }
    }

    fn succeeded(step: &str, effect: Effect) -> Event {
        Event::StepSucceeded { step: step.into(), item: None, effect, output: None }
    }

    fn measured() -> Vec<Measured> {
        vec![Measured { name: "result.value".to_owned(), value: Some(json!(0.07)) }]
    }

    fn sampled(band: Band) -> Event {
        Event::GuardSampled(Box::new(GuardSampled {
            guard: "guard/error_rate".into(),
            band,
            since: 0,
            samples: Samples { count: 1, ..Samples::default() },
            measured: measured(),
            failure: None,
        }))
    }

    fn a_release_that_goes_back() -> Vec<Event> {
        let request = ApprovalRequest {
            text: "Send 10 % to green?".to_owned(),
            roles: vec!["product_owner".to_owned()],
            ..ApprovalRequest::default()
        };
        let given = ApprovalGiven {
            step: "sign_off".into(),
            request: String::new(),
            who: "ben".to_owned(),
            key: "SHA256:xyz".to_owned(),
            roles: vec!["product_owner".to_owned()],
            role: Some("product_owner".to_owned()),
            decision: Decision::Approve,
            reason: "figures look good".to_owned(),
            evidence: None,
            head: String::new(),
            signature: String::new(),
        };
        let message = "`guard/error_rate`: `result.value > 0.05` for 30s".to_owned();
        vec![
            Event::LockAwaited { group: "production".to_owned(), by: "a1b2c3d4e5f6".to_owned() },
            Event::LockAcquired { group: "production".to_owned(), fence: 7 },
            Event::Scheduled { step: "stage/Traffic".into(), until: 60_000, why: ScheduledFor::Time },
            Event::ApprovalRequested { step: "sign_off".into(), request: Box::new(request) },
            Event::ApprovalGiven(Box::new(given)),
            succeeded("sign_off", Effect::None),
            started("ten_percent"),
            succeeded("ten_percent", Effect::Applied),
            Event::GuardStarted { guard: "guard/error_rate".into() },
            sampled(Band::Good),
            sampled(Band::Rollback),
            Event::GuardTripped {
                guard: "guard/error_rate".into(),
                action: GuardAction::Rollback,
                message: message.clone(),
                measured: measured(),
            },
            Event::RollbackStarted(Box::new(RollbackStarted {
                cause: Cause::Guard,
                who: "guard/error_rate".to_owned(),
                reason: message,
                only: Vec::new(),
                past_commit: false,
                grace_ms: Some(5_000),
            })),
            Event::StepSkipped {
                step: "undo/post".into(),
                item: None,
                reason: SkipReason::NoUndo,
                because: None,
                who: None,
            },
            started("undo/ten_percent"),
            succeeded("undo/ten_percent", Effect::Applied),
            Event::RollbackOverdue { limit_ms: 300_000 },
            Event::TerminateRequested { who: "ana".to_owned(), reason: "enough".to_owned() },
            Event::ClockStepped { by_ms: -7_000 },
            Event::VerdictDecided {
                verdict: Verdict::RolledBack,
                world: World::Restored,
                reason: String::new(),
            },
        ]
    }

    fn told(events: &[Event]) -> String {
        let created = RunCreated { run: RUN.to_owned(), ..RunCreated::default() };
        let mut state = State::default();
        state.fold(&Event::RunCreated(Box::new(created)), 0);
        let mut lines = Vec::new();
        for (at, event) in (1..).zip(events) {
            state.fold(event, at * 1_000);
            lines.extend(describe(at * 1_000, event, &state, Style { color: false }));
        }
        lines.join("\n")
    }

    #[test]
    fn a_run_that_waits_asks_and_goes_back_is_told_line_by_line() {
        insta::assert_snapshot!(told(&a_release_that_goes_back()));
    }

    #[test]
    fn a_guard_is_told_with_its_value_and_limit() {
        let compared =
            Compared { value: Some(json!(0.07)), comparator: ">".to_owned(), limit: Some(json!(0.05)) };
        let look = Look {
            guard: "guard/error_rate",
            band: Band::Rollback,
            measured: &measured(),
            compared: Some(&compared),
            since_ms: 5_000,
            for_ms: 30_000,
        };
        assert_eq!(
            guard_told(&look),
            "guard/error_rate: rollback for 5s of 30s, result.value = 0.07, trips at > 0.05"
        );
    }

    #[test]
    fn what_is_sealed_does_not_leave_in_json_either() {
        let covered = windlass_engine::Covered {
            step: "ten_percent".into(),
            item: None,
            action: "windlass:contracts/traffic@0.1.0#split".to_owned(),
            input: Some(Arc::new(json!({ "token": "hunter22" }))),
            changes: None,
            deferred: None,
        };
        let request = ApprovalRequest { covers: vec![covered], ..ApprovalRequest::default() };
        let mut value =
            serde_json::to_value(Event::ApprovalRequested { step: "ask".into(), request: Box::new(request) })
                .unwrap();
        strip(&mut value);
        assert!(!value.to_string().contains("hunter22"), "{value}");
    }
}
