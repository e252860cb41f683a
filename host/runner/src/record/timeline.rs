//! What happened, as sentences in order, with who did it and why where a person did.

use serde::Serialize;
use windlass_engine::{
    Answer, Covered, Decision, Effect, Event, GuardAction, Millis, ParentKind, ScheduledFor, SkipReason, Span,
};
use windlass_sandbox::plain_text;

use super::series::told as measured_told;
use crate::clock::rfc3339;
use crate::report::{times, without_name};

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Moment {
    /// RFC 3339.
    pub at: String,
    /// The kind of the event.
    pub kind: &'static str,
    /// The step's or guard's path, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What happened, in one sentence.
    pub what: String,
    /// Who did it, where a person did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Why, in that person's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What an event says to a person.
struct Told<'e> {
    what: String,
    who: Option<&'e str>,
    why: Option<&'e str>,
}

impl<'e> Told<'e> {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), who: None, why: None }
    }

    fn by(mut self, who: &'e str, why: &'e str) -> Self {
        self.who = Some(who).filter(|who| !who.is_empty());
        self.why = Some(why).filter(|why| !why.is_empty());
        self
    }
}

impl Moment {
    /// What an event says to a person; none for one that only machines need.
    #[must_use]
    pub fn of(at: Millis, event: &Event) -> Option<Self> {
        let told = told(event)?;
        Some(Self {
            at: rfc3339(at),
            kind: event.kind(),
            step: event.place().map(|(step, item)| place(step, item.map(|item| &**item))),
            what: plain_text(&told.what),
            who: told.who.map(plain_text),
            why: told.why.map(plain_text),
        })
    }
}

pub(super) fn of(events: &[(Millis, Event)]) -> Vec<Moment> {
    events.iter().filter_map(|(at, event)| Moment::of(*at, event)).collect()
}

fn place(step: &str, item: Option<&str>) -> String {
    item.map_or_else(|| step.to_owned(), |item| format!("{step}[{}]", plain_text(item)))
}

/// A step that an approval covers, in one line.
pub(super) fn covered(covered: &Covered) -> String {
    let name = place(&covered.step, covered.item.as_deref());
    let Some(changes) = covered.changes.as_ref().filter(|_| covered.deferred.is_none()) else {
        let why = covered.deferred.as_deref().unwrap_or("its changes are not known yet");
        return format!("{name}: deferred, {}", plain_text(why));
    };
    let changes: Vec<String> =
        changes.iter().map(|change| plain_text(&format!("{} {}", change.kind, change.target))).collect();
    match changes.is_empty() {
        true => format!("{name}: nothing to change"),
        false => format!("{name}: {}", changes.join(", ")),
    }
}

/// None for what only machines need.
fn told(event: &Event) -> Option<Told<'_>> {
    work(event).or_else(|| people(event)).or_else(|| safety(event)).or_else(|| run(event))
}

/// What steps do.
fn work(event: &Event) -> Option<Told<'_>> {
    Some(match event {
        Event::StepStarted { generation: 1, .. } => Told::new("begins"),
        Event::StepStarted { generation, .. } => Told::new(format!("begins, for the {generation}. time")),
        Event::ItemsExpanded { items, .. } => Told::new(format!("has {} items", items.len())),
        Event::StepSkipped { reason, because, who, .. } => {
            let because = because.as_deref().unwrap_or_default();
            match reason {
                SkipReason::When => Told::new(format!("is skipped: its `when` was false: {because}")),
                SkipReason::Upstream => Told::new(format!("is skipped: `{because}` has no output")),
                SkipReason::Operator => {
                    Told::new("is skipped").by(who.as_deref().unwrap_or_default(), because)
                }
                SkipReason::NoUndo => Told::new("can't be taken back: its action has no undo"),
                SkipReason::NotNeeded => Told::new("has nothing to take back"),
            }
        }
        Event::WaitStarted { until, .. } => Told::new(format!("waits until {}", rfc3339(*until))),
        Event::Scheduled { until, why, .. } => {
            let what = match why {
                ScheduledFor::Time => "waits for its time",
                ScheduledFor::Window => "waits for its window",
            };
            Told::new(format!("{what}, {}", rfc3339(*until)))
        }
        Event::ReadFailed { failure, .. } => Told::new(format!("a try failed: {failure}")),
        Event::PlanFailed { failure, .. } => Told::new(format!("planning failed: {failure}")),
        Event::GateSampled { open, samples, measured, .. } => Told::new(format!(
            "the gate is {} after {} more samples, {}",
            if *open { "open" } else { "closed" },
            samples.count,
            measured_told(measured)
        )),
        Event::Unchanged { .. } => Told::new("is so already"),
        Event::AttemptStarted { attempt, plan, .. } => {
            let changes: Vec<String> =
                plan.changes.iter().map(|change| format!("{} {}", change.kind, change.target)).collect();
            Told::new(format!("attempt {}: {}", attempt.effect.attempt, changes.join(", ")))
        }
        Event::AttemptFinished { effect: Effect::Unknown, failure, .. } => Told::new(match failure {
            Some(failure) => format!("nobody knows whether it took effect: {failure}"),
            None => "nobody knows whether it took effect: its process ended".to_owned(),
        }),
        Event::AttemptFinished { effect, failure: Some(failure), .. } => {
            Told::new(format!("failed with effect {effect}: {failure}"))
        }
        Event::AttemptsResolved { effect, .. } => Told::new(format!("turns out to be {effect}")),
        Event::Accepted { message, .. } => Told::new(format!("is taken as done: {message}")),
        Event::RetryScheduled { at, tries, .. } => {
            Told::new(format!("has failed {}; again at {}", times(*tries), rfc3339(*at)))
        }
        Event::StepSucceeded { effect, .. } => Told::new(format!("succeeded, {}", effect_word(*effect))),
        Event::StepFailed { effect, failure, .. } => {
            Told::new(format!("failed, {}: {failure}", effect_word(*effect)))
        }
        _ => return None,
    })
}

const fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::None => "no effect",
        other => other.as_str(),
    }
}

/// What people do.
fn people(event: &Event) -> Option<Told<'_>> {
    Some(match event {
        Event::QuestionAsked { message, .. } => Told::new(format!("a person must say: {message}")),
        Event::OperatorAnswered { answer, who, reason, .. } => {
            let what = match answer {
                Answer::Applied { .. } => "it is done",
                Answer::NotApplied => "it is not done",
                Answer::Restore => "put back what was there before",
                Answer::Leave => "leave what is there now",
            };
            Told::new(format!("the answer: {what}")).by(who, reason)
        }
        Event::StepRestarted { who, .. } => Told::new("begins anew").by(who, ""),
        Event::InputChanged { who, reason, .. } => Told::new("is given another input").by(who, reason),
        Event::ApprovalRequested { request, .. } => {
            Told::new(format!("asks {} to approve: {}", request.roles.join(", "), request.text))
        }
        Event::ApprovalGiven(given) => {
            let what = match given.decision {
                Decision::Approve => "approved",
                Decision::Reject => "rejected",
            };
            let role = given.role.as_deref().map(|role| format!(" as {role}")).unwrap_or_default();
            Told::new(format!("{what}{role}")).by(&given.who, &given.reason)
        }
        Event::ApprovalVoided { covered, difference, .. } => {
            Told::new(format!("the approval is void: `{covered}` would change something else: {difference}"))
        }
        Event::ApprovalExpired { .. } => Told::new("the approval expired"),
        Event::CancelRequested { who, reason } => Told::new("the run is cancelled").by(who, reason),
        Event::TerminateRequested { who, reason } => Told::new("the run is terminated").by(who, reason),
        Event::RunReleased { reason, who, .. } => {
            Told::new(format!("the hold `{reason}` is lifted")).by(who, "")
        }
        _ => return None,
    })
}

/// Guards and the way back.
fn safety(event: &Event) -> Option<Told<'_>> {
    Some(match event {
        Event::BaselineRecorded { name, value } => Told::new(format!("the baseline {name} is {value}")),
        Event::GuardStarted { guard } => Told::new(format!("`{guard}` watches")),
        Event::GuardSampled(sampled) => Told::new(format!(
            "`{}` sees {}: {}",
            sampled.guard,
            sampled.band,
            sampled.failure.as_ref().map_or_else(|| measured_told(&sampled.measured), ToString::to_string)
        )),
        Event::GuardTripped { guard, action, message, .. } => {
            let what = match action {
                GuardAction::Hold => "holds the run",
                GuardAction::Rollback => "takes the run back",
            };
            Told::new(format!("`{guard}` {what}: {}", without_name(message, guard)))
        }
        Event::GuardEnded { guard } => Told::new(format!("`{guard}` has done its part")),
        Event::RollbackStarted(started) => {
            let only = match started.only.is_empty() {
                true => String::new(),
                false => format!(", only {}", started.only.join(", ")),
            };
            Told::new(format!("the rollback begins{only}"))
                .by(&started.who, without_name(&started.reason, &started.who))
        }
        Event::RollbackOverdue { limit_ms } => {
            Told::new(format!("the rollback takes longer than {}", Span(*limit_ms)))
        }
        Event::RollbackFinished => Told::new("the rollback of those steps is done"),
        Event::Committed { step, stage } => {
            let after = step.as_deref().or(stage.as_deref()).unwrap_or_default();
            Told::new(format!("committed: nothing before `{after}` is taken back by itself any more"))
        }
        Event::UndoListInherited { run, entries } => {
            let left = entries.iter().filter(|entry| !entry.attempts.is_empty()).count();
            Told::new(match left {
                0 => format!("takes over from run {run}, which has left nothing"),
                1 => format!("takes over what run {run} has left: 1 step or item"),
                more => format!("takes over what run {run} has left: {more} steps and items"),
            })
        }
        _ => return None,
    })
}

/// What the run as a whole does.
fn run(event: &Event) -> Option<Told<'_>> {
    Some(match event {
        Event::RunCreated(created) => {
            let what = match &created.parent {
                None => "the run is created".to_owned(),
                Some(parent) => match parent.kind {
                    ParentKind::Rollback => format!("the run is created to take run {} back", parent.run),
                    ParentKind::Ignore => {
                        format!("the run is created beside what run {} has left", parent.run)
                    }
                    ParentKind::Continue => {
                        format!("the run is created to go on where run {} ended", parent.run)
                    }
                },
            };
            Told::new(what).by(&created.started_by, "")
        }
        Event::OwnerChanged { epoch, who } => {
            Told::new(format!("another process takes the run over, epoch {epoch}")).by(who, "")
        }
        Event::ConnectionChanged { connection, .. } => {
            Told::new(format!("connection `{connection}` leads somewhere else than at first"))
        }
        Event::LockAwaited { group, by } => {
            Told::new(format!("waits for group `{group}`, which run {by} has"))
        }
        Event::LockAcquired { group, fence } => Told::new(format!("has group `{group}`, fence {fence}")),
        Event::LockReleased { group } => Told::new(format!("gives group `{group}` free")),
        Event::Shifted { at, by_ms } => {
            Told::new(format!("is late: T moves by {} to {}", Span(by_ms.unsigned_abs()), rfc3339(*at)))
        }
        Event::ClockStepped { by_ms } => Told::new(format!(
            "the clock stepped {} by {}",
            if *by_ms < 0 { "back" } else { "forward" },
            Span(by_ms.unsigned_abs())
        )),
        Event::RunHeld { reason, message, .. } => Told::new(format!("held ({reason}): {message}")),
        Event::VerdictDecided { verdict, world, reason } => {
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            Told::new(format!("the verdict is {verdict}, the world is {world}{why}"))
        }
        Event::RunEnded { finally_failed, .. } => Told::new(match finally_failed {
            true => "the run has ended; a finally step failed",
            false => "the run has ended",
        }),
        _ => return None,
    })
}
