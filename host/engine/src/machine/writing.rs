//! Steps that write: plan, apply, and finding out what became of an attempt that nobody knows about.
//!
//! Invariants: an attempt applies the plan that was made for it and no older one; nothing is applied that is not
//! recorded and committed before; an effect that may be there is not had again unless the plan says it is safe.

use std::sync::Arc;

use windlass_runbook::model::OnUnknown;
use windlass_runbook::outcome::{Plan, Status};

use super::reading::output_of;
use super::{APPLY_MS, Machine, PLAN_MS, POLL_MS, Unit, millis};
use crate::command::{CallKind, CallReport, Reads, Returned};
use crate::event::{AttemptRef, Event};
use crate::failure::{CallFailure, CallPhase, StepFailure};
use crate::identity::Millis;
use crate::layout::Role;
use crate::size::{CAP, json_bytes};
use crate::words::{Effect, Hold};
use crate::work::{AttemptState, Work};

impl Machine {
    /// Plans, unless the step's time is over and there is nothing to find out.
    pub(super) fn plan(&mut self, unit: Unit) {
        let Some(work) = self.work(unit) else { return };
        let (input, before, unknown) = (work.input.clone(), work.before(), work.has_unknown());
        if !unknown && self.is_past_deadline(unit) {
            return self.too_late(unit, None);
        }
        if self.is_undo(unit) {
            let kind = self.plan_of_undo(unit);
            return self.call(unit, kind, PLAN_MS);
        }
        let input = input.unwrap_or_default();
        self.call(unit, CallKind::Plan { input, before: Arc::new(before) }, PLAN_MS);
    }

    pub(super) fn plan_ended(&mut self, unit: Unit, report: CallReport) {
        let plan = match report.result {
            Ok(Returned::Plan(plan)) => Arc::new(plan),
            Ok(Returned::Output(_)) => {
                let message = "the call returned an output instead of a plan".to_owned();
                return self.plan_failed(unit, CallFailure::Fault { message }, report.elapsed_ms);
            }
            Err(failure) => return self.plan_failed(unit, failure, report.elapsed_ms),
        };
        let bytes = json_bytes(&*plan);
        let (unknown, has_before) = self.work(unit).map_or((false, false), |work| {
            (work.has_unknown(), work.attempts.iter().any(AttemptState::may_have_effect))
        });
        if bytes > CAP {
            let failure = StepFailure::PlanTooLarge { bytes, limit: CAP };
            if unknown {
                self.ask(unit, failure.to_string(), None);
            } else {
                self.fail(unit, failure);
            }
        } else if self.is_undo(unit) {
            self.undo_planned(unit, plan, report.reads);
        } else if has_before {
            self.resolve(unit, plan, report.reads);
        } else {
            self.planned(unit, plan, report.reads);
        }
    }

    fn plan_failed(&mut self, unit: Unit, failure: CallFailure, elapsed_ms: u64) {
        let unknown = self.work(unit).is_some_and(Work::has_unknown);
        self.record_plan_failed(unit, &failure, elapsed_ms);
        if unknown {
            self.keep_asking(unit, &failure);
        } else {
            let phase = self.planning_phase(unit);
            self.retry_or_fail(unit, phase, failure);
        }
    }

    fn record_plan_failed(&mut self, unit: Unit, failure: &CallFailure, elapsed_ms: u64) {
        let event = Event::PlanFailed {
            step: self.layout.path(unit.step),
            item: self.item_key(unit),
            failure: failure.clone(),
            elapsed_ms,
        };
        self.record(event);
    }

    /// Finding out failed: again later if that can help, else a person must say.
    fn keep_asking(&mut self, unit: Unit, failure: &CallFailure) {
        if failure.retryable() && self.poll(unit, failure.retry_after()) {
            return;
        }
        self.ask(unit, format!("planning again failed: {failure}"), None);
    }

    /// The plan of an effect that has had no attempt yet, or only such as had no effect.
    fn planned(&mut self, unit: Unit, plan: Arc<Plan>, reads: Reads) {
        match &plan.status {
            Status::Differs => self.apply(unit, plan),
            Status::InPlace => match reads.doubt() {
                Some(message) => self.fail(unit, StepFailure::CannotTell { message }),
                None => self.read_output(unit, plan),
            },
            Status::InProgress => {
                if !self.poll(unit, None) {
                    self.too_late(unit, Some(CallPhase::Plan));
                }
            }
            Status::Conflict(message) => {
                let message = message.clone();
                self.fail(unit, StepFailure::Conflict { message });
            }
            Status::Unknown(message) => {
                let message = message.clone();
                self.fail(unit, StepFailure::CannotTell { message });
            }
        }
    }

    /// The plan of an effect that may be there already.
    fn resolve(&mut self, unit: Unit, plan: Arc<Plan>, reads: Reads) {
        let Some(work) = self.work(unit) else { return };
        let unknown = work.has_unknown();
        match &plan.status {
            Status::InPlace if reads.prove() || !unknown => self.read_output(unit, plan),
            Status::InPlace => {
                self.ask(unit, reads.no_proof().unwrap_or_default(), Some(plan));
            }
            Status::Differs => self.still_differs(unit, plan, reads),
            Status::InProgress => {
                if !self.poll(unit, None) {
                    let message = "it is still on its way, and the time to wait for it is over".to_owned();
                    self.ask(unit, message, Some(plan));
                }
            }
            Status::Conflict(message) => {
                let message = format!("someone else changed it: {message}");
                self.ask(unit, message, Some(plan));
            }
            Status::Unknown(message) => {
                let message = message.clone();
                self.ask(unit, message, Some(plan));
            }
        }
    }

    /// The effect is still to be had, after attempts that may have had it.
    pub(super) fn still_differs(&mut self, unit: Unit, plan: Arc<Plan>, reads: Reads) {
        let Some(work) = self.work(unit) else { return };
        let last = work.attempts.iter().rev().find(|attempt| attempt.is_unknown());
        let unknown = last.is_some();
        // Everything stands exactly as before the attempt: then it had no effect, not even a part of one.
        let untouched = reads.prove()
            && last.is_some_and(|attempt| attempt.plan.changes == plan.changes)
            && plan.repeatable;
        let retry_due = work.retry_at.is_some_and(|at| at <= self.now);
        let failure = last
            .filter(|attempt| work.tries > 0 && attempt.ended_by_itself() && !retry_due)
            .and_then(|attempt| attempt.failure.clone());
        if unknown && !retry_due {
            let event = Event::AttemptsResolved {
                step: self.layout.path(unit.step),
                item: self.item_key(unit),
                effect: if untouched { Effect::None } else { Effect::Unknown },
                plan: Arc::clone(&plan),
            };
            self.record(event);
        }
        if !plan.repeatable {
            let message = "the effect seems not to be there, but repeating it may do harm".to_owned();
            return self.ask(unit, message, Some(plan));
        }
        match failure {
            // It was cut off, or the host was lost: nothing says that it would fail again.
            None => self.apply(unit, plan),
            // It failed, and now it is known with what effect: whether to try again is a matter of `retry`.
            Some(failure) => {
                let phase = self.undo_phase(unit);
                self.retry_or_fail(unit, phase, failure);
            }
        }
    }

    /// Starts an attempt with this plan.
    pub(super) fn apply(&mut self, unit: Unit, plan: Arc<Plan>) {
        if !self.may_start() {
            // No effect begins while the run is held; it is planned again when it goes on.
            self.ready.push_back(unit);
            return;
        }
        if self.is_past_deadline(unit) {
            return self.too_late(unit, Some(CallPhase::Plan));
        }
        // Whoever waits here is planned again before its effect.
        let watched = !self.is_undo(unit);
        if (watched && !self.is_proven(unit))
            || !self.is_within_window(unit)
            || !self.is_approved(unit, &plan)
        {
            return;
        }
        let (Some(work), Some(name)) = (self.work(unit), self.name(unit)) else { return };
        let input = work.input.clone().unwrap_or_default();
        let effect = self.effect_id(unit, work.next_attempt());
        let attempt = AttemptRef { effect, plugin: name.plugin, digest: name.digest, action: name.action };
        let key = self.key(unit);
        self.record(Event::AttemptStarted { attempt, key, plan: Arc::clone(&plan) });
        self.commit();
        let kind = if self.is_undo(unit) {
            self.apply_of_undo(unit, plan)
        } else {
            CallKind::Apply { input, plan, write: true }
        };
        self.call(unit, kind, APPLY_MS);
    }

    pub(super) fn apply_ended(&mut self, unit: Unit, report: CallReport) {
        let (result, sent, elapsed_ms) = (output_of(report.result), report.sent, report.elapsed_ms);
        let Some(attempt) = self.work(unit).and_then(|work| work.attempts.last()) else { return };
        let attempt = attempt.attempt.clone();
        self.commit();
        match result {
            Ok(output) => {
                let bytes = json_bytes(&output);
                let kept = bytes <= CAP;
                let output = Some(Arc::new(output)).filter(|output| kept && !output.is_null());
                self.record(Event::AttemptFinished {
                    attempt,
                    effect: Effect::Applied,
                    output: output.clone(),
                    failure: None,
                    elapsed_ms,
                });
                if self.is_undo(unit) {
                    self.succeed(unit, Effect::Applied, None);
                } else if kept {
                    let value = output.map(|output| (*output).clone()).unwrap_or_default();
                    self.finish(unit, Effect::Applied, value, true);
                } else {
                    self.fail(unit, StepFailure::OutputTooLarge { bytes, limit: CAP });
                }
            }
            Err(failure) => {
                let effect = if sent { Effect::Unknown } else { Effect::None };
                self.record(Event::AttemptFinished {
                    attempt,
                    effect,
                    output: None,
                    failure: Some((*failure).clone()),
                    elapsed_ms,
                });
                if self.state.goes_back() && self.layout.role(unit.step) == Role::Main {
                    // Its undo finds out what became of it.
                    return;
                }
                if sent || (*failure == CallFailure::Cancelled && !self.may_start()) {
                    // Planning again finds out what became of it, or begins anew; once the run may go on.
                    self.ready.push_back(unit);
                } else {
                    let phase = self.undo_phase(unit);
                    self.retry_or_fail(unit, phase, *failure);
                }
            }
        }
    }

    /// It is in place: the apply in read mode gives the output as if it had just done it.
    fn read_output(&mut self, unit: Unit, plan: Arc<Plan>) {
        if !self.may_start() {
            self.ready.push_back(unit);
            return;
        }
        let input = self.work(unit).and_then(|work| work.input.clone()).unwrap_or_default();
        self.live(unit).plan = Some(Arc::clone(&plan));
        self.call(unit, CallKind::Apply { input, plan, write: false }, PLAN_MS.max(super::READ_MS));
    }

    pub(super) fn output_ended(&mut self, unit: Unit, report: CallReport) {
        let Some(plan) = self.live(unit).plan.take() else { return };
        let (step, item) = (self.layout.path(unit.step), self.item_key(unit));
        let (unknown, had_before) = self.work(unit).map_or((false, false), |work| {
            (work.has_unknown(), work.attempts.iter().any(AttemptState::may_have_effect))
        });
        match output_of(report.result) {
            Ok(output) if had_before => {
                if unknown {
                    self.record(Event::AttemptsResolved { step, item, effect: Effect::Adopted, plan });
                }
                self.finish(unit, Effect::Adopted, output, false);
            }
            Ok(output) => {
                self.record(Event::Unchanged { step, item, plan });
                self.finish(unit, Effect::Unchanged, output, false);
            }
            Err(failure) => {
                self.record_plan_failed(unit, &failure, report.elapsed_ms);
                if unknown {
                    self.keep_asking(unit, &failure);
                } else {
                    self.retry_or_fail(unit, CallPhase::Output, *failure);
                }
            }
        }
    }

    /// Asks again in a while; false when there is no time left for it.
    pub(super) fn poll(&mut self, unit: Unit, retry_after: Option<u64>) -> bool {
        let now = self.now;
        let layout = Arc::clone(&self.layout);
        let Some(step) = Self::step_of(&layout, unit) else { return false };
        let live = self.live(unit);
        let until = match live.deadline {
            Some(deadline) => deadline,
            None => *live.poll_until.get_or_insert(now.saturating_add(millis(POLL_MS))),
        };
        let pause = backoff(step.retry.min_ms, step.retry.max_ms, live.polls).max(retry_after.unwrap_or(0));
        live.polls += 1;
        let at = now.saturating_add(millis(pause.max(1)));
        if now >= until {
            return false;
        }
        self.sleep(unit, at.min(until));
        true
    }

    /// A person must say what became of it; unless the runbook takes it as done, or nobody is there to be asked.
    pub(super) fn ask(&mut self, unit: Unit, message: String, plan: Option<Arc<Plan>>) {
        self.ask_once(unit, message, plan, false);
    }

    /// The same; `blind` tells that planning again would give the same answer.
    pub(super) fn ask_once(&mut self, unit: Unit, message: String, plan: Option<Arc<Plan>>, blind: bool) {
        let message = match self.seen_to_fail(unit) {
            Some(failure) => format!("it failed: {failure}; {message}"),
            None => message,
        };
        let layout = Arc::clone(&self.layout);
        let Some(settings) = Self::step_of(&layout, unit) else { return };
        let (step, item) = (layout.path(unit.step), self.item_key(unit));
        self.commit();
        if settings.on_unknown == OnUnknown::Accept && !self.is_undo(unit) {
            self.record(Event::Accepted { step, item, message });
            return self.succeed(unit, Effect::Accepted, None);
        }
        if layout.is_aside(unit.step) {
            return self.fail(unit, StepFailure::Unresolved { message });
        }
        self.live.remove(&unit);
        self.record(Event::QuestionAsked {
            step: Arc::clone(&step),
            item,
            message: message.clone(),
            plan,
            blind,
        });
        let why = if self.is_undo(unit) {
            format!("`{step}` needs a person's word: {message}")
        } else {
            format!("whether `{step}` took effect can't be told: {message}")
        };
        self.hold(Hold::Unknown, why, Some(step));
        self.item_asks(unit);
    }

    /// How the last attempt ended of which nobody knows whether it took effect, where that was seen.
    fn seen_to_fail(&self, unit: Unit) -> Option<&CallFailure> {
        let last = self.work(unit)?.attempts.iter().rev().find(|attempt| attempt.is_unknown())?;
        last.failure.as_ref().filter(|_| last.ended_by_itself())
    }

    /// Schedules another try where that is allowed, else the step fails.
    pub(super) fn retry_or_fail(&mut self, unit: Unit, phase: CallPhase, failure: CallFailure) {
        let layout = Arc::clone(&self.layout);
        let Some(step) = Self::step_of(&layout, unit) else { return };
        let tries = self.work(unit).map_or(1, |work| work.tries.max(1));
        let late = self.is_past_deadline(unit);
        if !late && failure.retryable() && tries < step.retry.attempts {
            let at = self.retry_at(unit, tries, failure.retry_after());
            if self.live(unit).deadline.is_none_or(|deadline| at < deadline) {
                let event = Event::RetryScheduled {
                    step: layout.path(unit.step),
                    item: self.item_key(unit),
                    at,
                    tries,
                };
                self.record(event);
                return self.sleep(unit, at);
            }
        }
        if late {
            self.too_late(unit, Some(phase));
        } else {
            self.fail(unit, StepFailure::Call { phase, failure, tries });
        }
    }

    /// When to try again: twice as long each time, half of it by chance, never before the other side wants it.
    fn retry_at(&self, unit: Unit, tries: u32, retry_after: Option<u64>) -> Millis {
        let retry = self.layout.step(unit.step).map(|step| step.retry).unwrap_or_default();
        let pause = backoff(retry.min_ms, retry.max_ms, tries.saturating_sub(1));
        let half = pause / 2;
        let chance = crate::identity::jitter(&self.key(unit), tries);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a fraction of a pause; a millisecond more or less is nothing"
        )]
        let jittered = half + ((pause - half) as f64 * chance) as u64;
        let pause = jittered.max(retry.min_ms.min(pause)).max(retry_after.unwrap_or(0));
        self.now.saturating_add(millis(pause))
    }
}

/// `min` doubled so many times, at most `max`.
fn backoff(min: u64, max: u64, doublings: u32) -> u64 {
    min.saturating_mul(1_u64.checked_shl(doublings.min(40)).unwrap_or(u64::MAX)).min(max.max(min))
}
