//! Steps that only read: once, again after a failure, or as a gate until it holds.

use std::sync::Arc;

use serde_json::Value;
use windlass_runbook::model::Gate;

use super::{GateLive, Machine, READ_MS, Unit, millis};
use crate::command::{CallKind, CallReport, Command, Returned};
use crate::compare::{Compared, Comparison};
use crate::event::Event;
use crate::failure::{CallFailure, CallPhase, StepFailure};
use crate::identity::Millis;
use crate::scope::measured;
use crate::words::Effect;

impl Machine {
    /// Calls the reading action, unless its time is over.
    pub(super) fn read(&mut self, unit: Unit) {
        if self.is_past_deadline(unit) {
            return self.too_late(unit, None);
        }
        let input = self.work(unit).and_then(|work| work.input.clone()).unwrap_or_default();
        self.call(unit, CallKind::Read { input }, READ_MS);
    }

    pub(super) fn read_ended(&mut self, unit: Unit, report: CallReport, began: Millis) {
        let layout = Arc::clone(&self.layout);
        let Some(step) = Self::step_of(&layout, unit) else { return };
        let result = output_of(report.result);
        if let Some(gate) = &step.gate {
            return self.sampled(unit, gate, result, began, report.elapsed_ms);
        }
        match result {
            Ok(output) => self.finish(unit, Effect::None, output, false),
            Err(failure) => {
                self.read_failed(unit, &failure, report.elapsed_ms);
                self.retry_or_fail(unit, CallPhase::Read, *failure);
            }
        }
    }

    fn read_failed(&mut self, unit: Unit, failure: &CallFailure, elapsed_ms: u64) {
        let event = Event::ReadFailed {
            step: self.layout.path(unit.step),
            item: self.item_key(unit),
            failure: failure.clone(),
            elapsed_ms,
        };
        self.record(event);
    }

    fn sampled(
        &mut self,
        unit: Unit,
        gate: &Gate,
        result: Result<Value, Box<CallFailure>>,
        began: Millis,
        elapsed_ms: u64,
    ) {
        let (open, seen, failure, value) = match result {
            Err(failure) if !failure.retryable() => {
                self.read_failed(unit, &failure, elapsed_ms);
                self.record_samples(unit);
                let (tries, failure) = (self.work(unit).map_or(1, |work| work.tries), *failure);
                return self.fail(unit, StepFailure::Call { phase: CallPhase::Read, failure, tries });
            }
            // A failure that may pass is a sample in which the gate is shut.
            Err(failure) => (false, Vec::new(), Some(*failure), Value::Null),
            Ok(value) => {
                let item = self.item_value(unit);
                let scope = self.scope(item.as_deref(), Some(&value));
                match gate.until.evaluate_bool(&scope) {
                    Ok(open) => (open, measured(&gate.until, &scope), None, value),
                    Err(error) => return self.fail_expression(unit, "until", &error),
                }
            }
        };
        let now = self.now;
        let retry_after = failure.as_ref().and_then(CallFailure::retry_after);
        let compared = self.compared(unit, gate, &value);
        let attempts = self.layout.step(unit.step).map_or(1, |step| step.retry.attempts);
        let live = self.live(unit);
        let deadline = live.deadline;
        let state = live.gate.get_or_insert_with(GateLive::default);
        let seen_value = compared.as_ref().and_then(|compared| compared.value.as_ref());
        state.take(now, gate, open, failure.is_some(), seen_value);
        let tries = state.failures;
        if let Some(failure) = failure.as_ref().filter(|_| attempts > 1 && tries >= attempts) {
            // Only where the runbook says how often: without that a failure that may pass is a shut gate.
            let failure = failure.clone();
            self.read_failed(unit, &failure, elapsed_ms);
            self.record_samples(unit);
            return self.fail(unit, StepFailure::Call { phase: CallPhase::Read, failure, tries });
        }
        let state = self.live(unit).gate.get_or_insert_with(GateLive::default);
        state.measured = seen;
        state.failure = failure;
        let since = state.since(open).unwrap_or(now);
        let changed = state.announced != Some((open, since));
        let open_ms = if open { u64::try_from(now - since).unwrap_or(0) } else { 0 };
        let shown = state.measured.clone();
        if changed || state.samples.are_enough() {
            self.record_samples(unit);
        }
        self.batch.rest.push(Command::Sampled {
            step: self.layout.path(unit.step),
            item: self.item_key(unit),
            open,
            measured: shown,
            compared,
            open_ms,
            hold_ms: gate.hold_ms,
        });
        if open && open_ms >= gate.hold_ms {
            self.record_samples(unit);
            return self.finish(unit, Effect::None, value, false);
        }
        let next = began.saturating_add(millis(gate.every_ms)).max(now + 1);
        let next = next.max(now.saturating_add(millis(retry_after.unwrap_or(0))));
        self.sleep(unit, deadline.map_or(next, |deadline| next.min(deadline)));
    }

    /// What `until` compared, for people, where it is one comparison.
    fn compared(&mut self, unit: Unit, gate: &Gate, value: &Value) -> Option<Compared> {
        let live = self.live(unit).gate.get_or_insert_with(GateLive::default);
        let comparison = live.comparison.get_or_insert_with(|| Comparison::of(&gate.until)).clone()?;
        let item = self.item_value(unit);
        Some(comparison.look(&self.scope(item.as_deref(), Some(value).filter(|value| !value.is_null()))))
    }

    /// Puts the samples since the last event about the gate on record, if there are any.
    pub(super) fn record_samples(&mut self, unit: Unit) {
        let Some(state) = self.live.get_mut(&unit).and_then(|live| live.gate.as_mut()) else { return };
        if state.samples.count == 0 {
            return;
        }
        let samples = std::mem::take(&mut state.samples);
        let open = state.open_since.is_some();
        let since = state.since(open).unwrap_or(samples.last_at);
        state.announced = Some((open, since));
        let (measured, failure) = (state.measured.clone(), state.failure.clone());
        let event = Event::GateSampled {
            step: self.layout.path(unit.step),
            item: self.item_key(unit),
            open,
            since,
            samples,
            measured,
            failure,
        };
        self.record(event);
    }

    /// The step's timeout is over.
    pub(super) fn too_late(&mut self, unit: Unit, phase: Option<CallPhase>) {
        let after_ms = self.timeout_ms(unit);
        let layout = Arc::clone(&self.layout);
        let gate = Self::step_of(&layout, unit).and_then(|step| step.gate.as_ref());
        self.record_samples(unit);
        let failure = match gate {
            Some(gate) => {
                let now = self.now;
                let state = self.live.get(&unit).and_then(|live| live.gate.as_ref());
                StepFailure::Gate {
                    expression: gate.until.source().to_owned(),
                    measured: state.map(|state| state.measured.clone()).unwrap_or_default(),
                    failure: state.and_then(|state| state.failure.clone()),
                    after_ms,
                    open_ms: state
                        .and_then(|state| state.open_since)
                        .and_then(|since| u64::try_from(now - since).ok()),
                }
            }
            None => StepFailure::Timeout {
                after_ms,
                phase,
                failure: self.work(unit).and_then(|work| work.last_failure.clone()),
            },
        };
        self.fail(unit, failure);
    }
}

impl GateLive {
    /// Takes a sample in. A gap of more than two periods breaks the window: nobody saw what was in it.
    fn take(&mut self, now: Millis, gate: &Gate, open: bool, failed: bool, value: Option<&Value>) {
        let longest = millis(gate.every_ms.saturating_mul(2));
        if self.last_at.is_some_and(|last| now - last > longest) {
            self.open_since = None;
        }
        if open {
            self.open_since.get_or_insert(now);
            self.shut_since = None;
        } else {
            self.shut_since.get_or_insert(now);
            self.open_since = None;
        }
        self.last_at = Some(now);
        self.failures = if failed { self.failures + 1 } else { 0 };
        self.samples.add(now, failed, value);
    }

    const fn since(&self, open: bool) -> Option<Millis> {
        if open { self.open_since } else { self.shut_since }
    }
}

/// The output that a call must have had; a plan in its place is a fault of the host.
pub(super) fn output_of(result: Result<Returned, CallFailure>) -> Result<Value, Box<CallFailure>> {
    match result {
        Ok(Returned::Output(value)) => Ok(value),
        Ok(Returned::Plan(_)) => {
            let message = "the call returned a plan instead of an output".to_owned();
            Err(Box::new(CallFailure::Fault { message }))
        }
        Err(failure) => Err(Box::new(failure)),
    }
}
