//! The work of one step or one item: where it stands, its attempts, and what came of it.
//!
//! Plain data with the transitions that events cause. Knows nothing of other steps.

use std::sync::Arc;

use serde_json::Value;
use windlass_runbook::outcome::{Attempt, Plan, Status};

use crate::event::{AttemptRef, CallName, Prepared};
use crate::failure::{CallFailure, Measured, StepFailure};
use crate::identity::{EffectId, Millis};
use crate::words::{Effect, Phase, SkipReason, StepStatus};

/// The work of one step or one item.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Work {
    /// What it is busy with.
    pub phase: Phase,
    /// The generation of its effect; 0 before it has begun.
    pub generation: u32,
    /// What it calls.
    pub call: Option<CallName>,
    /// Whether the action can have an effect.
    pub writes: bool,
    /// When it began, the last time it did.
    pub started_at: Option<Millis>,
    /// When it was over.
    pub ended_at: Option<Millis>,
    /// The resolved input.
    pub input: Option<Arc<Value>>,
    /// Every attempt that started, oldest first, of all generations.
    pub attempts: Vec<AttemptState>,
    /// How many calls and attempts have failed since it began.
    pub tries: u32,
    /// How the last of them did.
    pub last_failure: Option<CallFailure>,
    /// When it is tried again.
    pub retry_at: Option<Millis>,
    /// When its `wait` is over.
    pub wait_until: Option<Millis>,
    /// Where its gate stands.
    pub gate: Option<GateState>,
    /// What its effect has come to.
    pub effect: Effect,
    /// What it returned.
    pub output: Option<Arc<Value>>,
    /// Why it failed.
    pub failure: Option<StepFailure>,
    /// Why it was skipped, and because of what.
    pub skipped: Option<(SkipReason, Option<String>)>,
    /// What a person must say.
    pub question: Option<Question>,
    /// What takes it back, in place of its action's own undo.
    pub prepared: Option<Prepared>,
    /// The input that a person gave it, with which it begins.
    pub given: Option<Arc<Value>>,
    /// Of an undo: a person wants what was there before, whatever is there now.
    pub restore: bool,
    /// Programs of undos in another run of which nobody knows what became.
    pub inherited_processes: Vec<Value>,
}

/// An attempt that started.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptState {
    /// Which.
    pub attempt: AttemptRef,
    /// Its idempotency key.
    pub key: Arc<str>,
    /// The input it ran with.
    pub input: Option<Arc<Value>>,
    /// What it was going to do.
    pub plan: Arc<Plan>,
    /// What the plugin left, oldest first.
    pub receipts: Vec<String>,
    /// The programs it started.
    pub processes: Vec<Value>,
    /// When it started.
    pub started_at: Millis,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// What became of its effect; none while it runs.
    pub effect: Option<Effect>,
    /// What it returned.
    pub output: Option<Arc<Value>>,
    /// How it failed; none with an unknown effect means that the host was lost.
    pub failure: Option<CallFailure>,
    /// Its effect is `none` because everything was found as before, which proves nothing about a write that is late.
    pub seemed_none: bool,
    /// Its effect was taken back. Of an attempt of an undo: it belongs to one that is over.
    pub taken_back: bool,
}

/// Where a gate stands.
#[derive(Debug, Clone, PartialEq)]
pub struct GateState {
    /// Whether `until` was true at the last event about it.
    pub open: bool,
    /// Since when.
    pub since: Millis,
    /// How many samples are on record.
    pub samples: u64,
    /// When the last of them was taken.
    pub last_at: Millis,
    /// What it had.
    pub measured: Vec<Measured>,
    /// How it failed, if it did.
    pub failure: Option<CallFailure>,
}

/// What a person must say: whether an effect is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// What was found out.
    pub message: String,
    /// The plan that could not tell.
    pub plan: Option<Arc<Plan>>,
    /// Since when it is asked.
    pub since: Millis,
    /// Whether the plan looked at nothing, so that another one would say the same.
    pub blind: bool,
}

impl Question {
    /// Whether what was there before can be put back over what is there now: only a conflict tells both.
    #[must_use]
    pub fn may_be_restored(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| matches!(plan.status, Status::Conflict(_)))
    }
}

#[expect(clippy::derivable_impls, reason = "a macro makes the enum")]
impl Default for Phase {
    fn default() -> Self {
        Self::Pending
    }
}

#[expect(clippy::derivable_impls, reason = "a macro makes the enum")]
impl Default for Effect {
    fn default() -> Self {
        Self::None
    }
}

impl AttemptState {
    /// Whether its effect may be there: it is not proven that it had none, and it was not taken back.
    #[must_use]
    pub fn may_have_effect(&self) -> bool {
        !self.taken_back && (self.effect != Some(Effect::None) || self.seemed_none)
    }

    /// Whether nobody knows what became of it.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        !self.taken_back && matches!(self.effect, None | Some(Effect::Unknown))
    }

    /// Whether it ended by itself, instead of with the host or by being cut off.
    pub(crate) fn ended_by_itself(&self) -> bool {
        !matches!(self.failure, None | Some(CallFailure::Cancelled))
    }
}

impl Work {
    /// The status that expressions see.
    #[must_use]
    pub const fn status(&self) -> StepStatus {
        self.phase.status()
    }

    /// Whether the outcome of an attempt is yet to be found out.
    #[must_use]
    pub fn has_unknown(&self) -> bool {
        self.attempts.iter().any(AttemptState::is_unknown)
    }

    /// The input of the last attempt that is to be taken back.
    pub(crate) fn last_input(&self) -> Arc<Value> {
        let last = self.attempts.iter().rev().find(|attempt| attempt.may_have_effect());
        last.and_then(|attempt| attempt.input.clone()).unwrap_or_default()
    }

    /// The attempts that planning is given: started, and not proven without effect.
    pub(crate) fn before(&self) -> Vec<Attempt> {
        self.attempts
            .iter()
            .filter(|attempt| attempt.may_have_effect())
            .map(|attempt| Attempt {
                key: attempt.key.to_string(),
                number: attempt.attempt.effect.attempt,
                input: attempt.input.as_deref().cloned().unwrap_or_default(),
                plan: (*attempt.plan).clone(),
                receipts: attempt.receipts.clone(),
                output: attempt.output.as_deref().cloned(),
            })
            .collect()
    }

    /// The number that the next attempt has.
    pub(crate) fn next_attempt(&self) -> u32 {
        self.attempts
            .iter()
            .map(|attempt| &attempt.attempt.effect)
            .filter(|effect| effect.generation == self.generation)
            .map(|effect| effect.attempt)
            .max()
            .unwrap_or(0)
            + 1
    }

    /// What of an effect there is, for a step that fails now: `none`, `applied` or `unknown`.
    pub(crate) fn effect_left(&self) -> Effect {
        let standing = self.attempts.iter().filter(|attempt| !attempt.taken_back);
        standing.fold(Effect::None, |left, attempt| match attempt.effect {
            None | Some(Effect::Unknown) => Effect::Unknown,
            Some(Effect::None | Effect::Unchanged) => left,
            Some(_) => left.max(Effect::Applied),
        })
    }

    pub(crate) fn attempt_mut(&mut self, effect: &EffectId) -> Option<&mut AttemptState> {
        self.attempts.iter_mut().rev().find(|attempt| attempt.attempt.effect == *effect)
    }

    pub(crate) fn start(
        &mut self,
        generation: u32,
        call: Option<CallName>,
        writes: bool,
        gate: bool,
        input: Option<Arc<Value>>,
        at: Millis,
    ) {
        self.phase = match (&call, writes, gate) {
            (None, ..) => Phase::Waiting,
            (Some(_), true, _) => Phase::Planning,
            (Some(_), false, true) => Phase::Sampling,
            (Some(_), false, false) => Phase::Reading,
        };
        self.generation = generation;
        self.call = call;
        self.writes = writes;
        self.input = input;
        self.given = None;
        self.started_at = Some(at);
    }

    pub(crate) fn failed_try(&mut self, failure: &CallFailure) {
        self.tries += 1;
        self.retry_at = None;
        self.last_failure = Some(failure.clone());
    }

    pub(crate) fn finish_attempt(
        &mut self,
        which: &EffectId,
        effect: Effect,
        output: Option<Arc<Value>>,
        failure: Option<&CallFailure>,
        at: Millis,
    ) {
        if let Some(attempt) = self.attempt_mut(which) {
            attempt.ended_at = Some(at);
            attempt.effect = Some(effect);
            attempt.output = output;
            attempt.failure = failure.cloned();
        }
        self.phase = if effect == Effect::Unknown { Phase::Resolving } else { Phase::Planning };
        match failure {
            Some(CallFailure::Cancelled) | None => (),
            Some(failure) => self.failed_try(failure),
        }
    }

    /// Gives every attempt that nobody knew about this effect.
    pub(crate) fn resolve(&mut self, effect: Effect) {
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.is_unknown()) {
            attempt.effect = Some(effect);
        }
    }

    /// Everything is as it was before the attempts that nobody knew about.
    pub(crate) fn seem_none(&mut self) {
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.is_unknown()) {
            attempt.effect = Some(Effect::None);
            attempt.seemed_none = true;
        }
    }

    /// Whether any of its attempts is to be taken back.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.attempts.iter().any(AttemptState::may_have_effect)
    }

    /// Whether it was had in its present generation and taken back since.
    #[must_use]
    pub fn was_taken_back(&self) -> bool {
        self.attempts
            .iter()
            .any(|attempt| attempt.taken_back && attempt.attempt.effect.generation == self.generation)
    }

    /// Nobody need say any more what became of it. True where somebody was asked.
    pub(crate) fn withdraw_question(&mut self) -> bool {
        if self.phase == Phase::Asking {
            self.phase = Phase::Resolving;
        }
        self.question.take().is_some()
    }

    pub(crate) fn answered_not_applied(&mut self) {
        self.resolve(Effect::None);
        for attempt in &mut self.attempts {
            attempt.seemed_none = false;
        }
        if self.phase == Phase::Failed {
            self.effect = self.effect_left();
        } else {
            self.phase = Phase::Planning;
            self.tries = 0;
            self.retry_at = None;
        }
    }

    pub(crate) fn succeed(&mut self, effect: Effect, output: Option<Arc<Value>>, at: Millis) {
        self.phase = Phase::Succeeded;
        self.effect = effect;
        self.output = match (output, effect) {
            (None, Effect::Applied) => self.attempts.last().and_then(|attempt| attempt.output.clone()),
            (output, _) => output,
        };
        self.failure = None;
        self.question = None;
        self.retry_at = None;
        self.ended_at = Some(at);
    }

    pub(crate) fn fail(&mut self, effect: Effect, failure: StepFailure, at: Millis) {
        self.phase = Phase::Failed;
        self.effect = effect;
        self.failure = Some(failure);
        self.retry_at = None;
        self.ended_at = Some(at);
    }

    /// Back to the beginning; attempts and input stay, since what was done was done. After an undo it is a new
    /// generation.
    pub(crate) fn restart(&mut self) {
        if self.was_taken_back() {
            self.generation += 1;
        }
        self.phase = Phase::Pending;
        self.effect = Effect::None;
        self.failure = None;
        self.output = None;
        self.skipped = None;
        self.restore = false;
        self.tries = 0;
        self.last_failure = None;
        self.retry_at = None;
        self.wait_until = None;
        self.gate = None;
        self.ended_at = None;
    }
}
