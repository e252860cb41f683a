//! What the work of a step is to a person, in one word and in one line.

use windlass_engine::{Compared, Effect, Measured, Phase, SkipReason, State, Work};
use windlass_sandbox::plain_text;

use super::advice::{approval_told, schedule_told};
use crate::clock::rfc3339;

/// The effect where there is one, else the phase. Of an undo, what it came to.
#[must_use]
pub fn word(path: &str, work: &Work) -> &'static str {
    let is_undo = path.starts_with("undo/");
    match (work.phase, work.effect) {
        (Phase::Succeeded, Effect::Unchanged) if is_undo => "not needed",
        (Phase::Succeeded, Effect::Accepted) if is_undo => "by hand",
        (Phase::Succeeded, _) if is_undo => "undone",
        (Phase::Applying, _) if is_undo => "undoing",
        (Phase::Skipped, _) if is_undo => match work.skipped {
            Some((SkipReason::NoUndo, _)) => "no undo",
            Some((SkipReason::NotNeeded, _)) => "not needed",
            _ => Phase::Skipped.as_str(),
        },
        (Phase::Succeeded, effect) if effect != Effect::None => effect.as_str(),
        (phase, _) => phase.as_str(),
    }
}

/// Whether a step of the way forward has begun and won't go on: the run goes back or is over.
#[must_use]
pub fn is_stopped(state: &State, path: &str, phase: Phase) -> bool {
    let forward = !state.goes_back() && state.verdict().is_none();
    if forward || path.contains('/') {
        return false;
    }
    match phase {
        Phase::Reading
        | Phase::Planning
        | Phase::Retrying
        | Phase::Waiting
        | Phase::Sampling
        | Phase::Approving
        | Phase::Scheduled => true,
        // Effects of some of them may not have ended.
        Phase::Items => state.status() != "settling",
        _ => false,
    }
}

/// A message of a guard or step without the name that it begins with, for where that is told already.
pub(crate) fn without_name<'m>(message: &'m str, path: &str) -> &'m str {
    let rest = message.strip_prefix('`').and_then(|rest| rest.strip_prefix(path));
    rest.and_then(|rest| rest.strip_prefix("`: ")).unwrap_or(message)
}

/// What changed, why it failed, what it waits for, fit to be shown: much of it is a plugin's text.
#[must_use]
pub fn detail(state: &State, step: &str, item: Option<&str>) -> Option<String> {
    let work = state.work(step, item)?;
    let text = match work.phase {
        Phase::Scheduled => schedule_told(state, step, state.last_at()),
        Phase::Approving => approval_told(state, step),
        // Who approved says more than that nothing was changed.
        Phase::Succeeded if item.is_none() => approval_told(state, step).or_else(|| told(work)),
        _ => told(work),
    };
    text.map(|text| plain_text(&text))
}

fn told(work: &Work) -> Option<String> {
    if let Some(failure) = &work.failure {
        return Some(failure.to_string());
    }
    if let Some(question) = &work.question {
        return Some(question.message.clone());
    }
    if let Some((reason, because)) = &work.skipped {
        return Some(match (reason, because) {
            (SkipReason::When, Some(when)) => format!("its `when` was false: {when}"),
            (SkipReason::Upstream, Some(step)) => format!("it needs the output of `{step}`, which has none"),
            (SkipReason::Operator, Some(why)) => format!("skipped by a person: {why}"),
            (SkipReason::NoUndo, _) => "its action has no undo".to_owned(),
            (SkipReason::NotNeeded, _) => "there is nothing to take back".to_owned(),
            (reason, None) => reason.as_str().to_owned(),
        });
    }
    match work.phase {
        Phase::Retrying => {
            if let Some(failure) = &work.last_failure {
                return Some(format!("failed {}, trying again: {failure}", times(work.tries)));
            }
        }
        Phase::Waiting => {
            if let Some(until) = work.wait_until {
                return Some(format!("until {}", rfc3339(until)));
            }
        }
        _ => (),
    }
    if let Some(gate) = work.gate.as_ref().filter(|_| !work.phase.is_over()) {
        return Some(format!(
            "{} samples, the gate is {}",
            gate.samples,
            if gate.open { "open" } else { "closed" }
        ));
    }
    let plan = &work.attempts.last()?.plan;
    let first = plan.changes.first()?;
    let more = plan.changes.len() - 1;
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("{} {}{more}", first.kind, first.target))
}

/// What was measured, in one line.
#[must_use]
pub fn measured(measured: &[Measured]) -> String {
    let told: Vec<String> = measured
        .iter()
        .map(|measured| match &measured.value {
            Some(value) => format!("{} = {value}", measured.name),
            None => format!("{} absent", measured.name),
        })
        .collect();
    plain_text(&told.join(", "))
}

/// What was measured beside the limit that it is held against, where there is one.
#[must_use]
pub fn compared(seen: &[Measured], against: Option<&Compared>, verb: &str) -> String {
    let seen = measured(seen);
    match against.and_then(|compared| Some((&compared.comparator, compared.limit.as_ref()?))) {
        Some((comparator, limit)) => plain_text(&format!("{seen}, {verb} {comparator} {limit}")),
        None => seen,
    }
}

/// `once`, `twice` or `N times`.
#[must_use]
pub fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
