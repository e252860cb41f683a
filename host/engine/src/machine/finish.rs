//! How steps end, what that opens or holds, and how the run ends.

use std::sync::Arc;

use serde_json::Value;
use windlass_runbook::model::OnFailure;

use super::{Machine, Unit};
use crate::command::Command;
use crate::event::Event;
use crate::failure::StepFailure;
use crate::scope::measured;
use crate::size::{CAP, json_bytes};
use crate::words::{Effect, Hold, Phase, SkipReason, Verdict};

impl Machine {
    /// The work is done: succeeds if every expectation is met. `stored` tells that the output stands in an event
    /// already.
    pub(super) fn finish(&mut self, unit: Unit, effect: Effect, output: Value, stored: bool) {
        let bytes = if stored { 0 } else { json_bytes(&output) };
        if bytes > CAP {
            return self.fail(unit, StepFailure::OutputTooLarge { bytes, limit: CAP });
        }
        if let Err(failure) = self.expectations(unit, &output) {
            return self.fail(unit, *failure);
        }
        let output = (!stored && !output.is_null()).then(|| Arc::new(output));
        self.succeed(unit, effect, output);
    }

    fn expectations(&self, unit: Unit, output: &Value) -> Result<(), Box<StepFailure>> {
        let layout = Arc::clone(&self.layout);
        let Some(step) = layout.step(unit.step) else { return Ok(()) };
        if step.expect.is_empty() {
            return Ok(());
        }
        let item = self.item_value(unit);
        let scope = self.scope(item.as_deref(), Some(output));
        for expression in &step.expect {
            match expression.evaluate_bool(&scope) {
                Ok(true) => (),
                Ok(false) => {
                    let measured = measured(expression, &scope);
                    let expression = expression.source().to_owned();
                    return Err(Box::new(StepFailure::Expectation { expression, measured }));
                }
                Err(error) => {
                    let (field, message) = ("expect".to_owned(), error.to_string());
                    return Err(Box::new(StepFailure::Expression { field, message }));
                }
            }
        }
        Ok(())
    }

    pub(super) fn succeed(&mut self, unit: Unit, effect: Effect, output: Option<Arc<Value>>) {
        let event = Event::StepSucceeded {
            step: self.layout.path(unit.step),
            item: self.item_key(unit),
            effect,
            output,
        };
        self.record(event);
        self.over(unit);
    }

    pub(super) fn fail(&mut self, unit: Unit, failure: StepFailure) {
        let effect = self.work(unit).map_or(Effect::None, crate::work::Work::effect_left);
        self.fail_with(unit, effect, failure);
    }

    pub(super) fn fail_with(&mut self, unit: Unit, effect: Effect, failure: StepFailure) {
        let (step, item) = (self.layout.path(unit.step), self.item_key(unit));
        let message = failure.to_string();
        self.record(Event::StepFailed { step: Arc::clone(&step), item, effect, failure });
        if unit.item.is_none() && !self.layout.is_finally(unit.step) && self.pauses(unit.step) {
            self.hold(Hold::Failure, format!("step `{step}` failed: {message}"), Some(step));
        }
        self.over(unit);
    }

    pub(super) fn pauses(&self, step: usize) -> bool {
        self.layout.step(step).is_some_and(|step| step.on_failure != OnFailure::Continue)
    }

    pub(super) fn skip(&mut self, unit: Unit, reason: SkipReason, because: Option<String>) {
        self.record(Event::StepSkipped {
            step: self.layout.path(unit.step),
            item: None,
            reason,
            because,
            who: None,
        });
        self.over(unit);
    }

    fn over(&mut self, unit: Unit) {
        self.live.remove(&unit);
        if unit.item.is_some() {
            self.item_over(unit);
        } else if self.layout.is_finally(unit.step) {
            self.finally_open = self.finally_open.saturating_sub(1);
        } else if self.satisfies(unit.step) {
            self.unsatisfied = self.unsatisfied.saturating_sub(1);
            self.open(unit.step);
        }
    }

    /// Whether what comes after a step may begin.
    pub(super) fn satisfies(&self, step: usize) -> bool {
        match self.work(Unit::step(step)).map(|work| work.phase) {
            Some(Phase::Succeeded | Phase::Skipped) => true,
            Some(Phase::Failed) => !self.pauses(step),
            _ => false,
        }
    }

    /// Opens the edges of a node. A barrier is queued like a step, so that a long chain needs no deep stack.
    pub(super) fn open(&mut self, node: usize) {
        let layout = Arc::clone(&self.layout);
        for &dependent in layout.dependents(node) {
            let Some(count) = self.waits_for.get_mut(dependent) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.take_up(Unit::step(dependent));
            }
        }
    }

    /// Decides the verdict and ends the run, when it is time. True where something new is ready.
    pub(super) fn go_on(&mut self) -> bool {
        if self.state.ended().is_some() || !self.calls.is_empty() || self.awaiting_report {
            return false;
        }
        if self.state.verdict().is_some() {
            if self.finally_open == 0 {
                self.end();
            }
            return false;
        }
        let cancelled = self.state.cancelled().is_some();
        if !cancelled && (self.unsatisfied > 0 || !self.may_start()) {
            return false;
        }
        self.decide_verdict();
        self.begin_finally();
        true
    }

    fn decide_verdict(&mut self) {
        self.ready.clear();
        self.live.clear();
        let layout = Arc::clone(&self.layout);
        let main = || {
            (0..layout.main_steps())
                .filter_map(|index| self.state.step(&layout.path(index)).map(|step| (index, &step.work)))
        };
        let failed = main().filter(|(_, work)| work.phase == Phase::Failed).count();
        let first_failed = main().find(|(_, work)| work.phase == Phase::Failed);
        let missed = main()
            .filter(|(_, work)| {
                matches!(work.skipped, Some((SkipReason::Upstream | SkipReason::Operator, _)))
                    && work.phase == Phase::Skipped
            })
            .count();
        let first_failed = first_failed.map_or_else(String::new, |(index, work)| {
            let why = work.failure.as_ref().map_or_else(String::new, ToString::to_string);
            format!("step `{}` failed: {why}", layout.path(index))
        });
        let (verdict, reason) = match (self.state.cancelled(), failed, missed) {
            (Some(cancelled), 0, _) => {
                (Verdict::Cancelled, format!("{} ended it: {}", cancelled.who, cancelled.reason))
            }
            (Some(cancelled), ..) => {
                (Verdict::Failed, format!("{first_failed}; {} ended it: {}", cancelled.who, cancelled.reason))
            }
            (None, 0, 0) => (Verdict::Succeeded, String::new()),
            (None, 0, _) => (Verdict::Partial, format!("{missed} steps were left out")),
            (None, ..) => (Verdict::Partial, first_failed),
        };
        let world = self.state.world();
        self.record(Event::VerdictDecided { verdict, world, reason });
        self.commit();
    }

    /// Begins the finally steps, or asks for the report first where one of them has it.
    pub(super) fn begin_finally(&mut self) {
        let layout = Arc::clone(&self.layout);
        let wants_report = self.report.is_none()
            && layout
                .finally()
                .filter(|&step| !self.work(Unit::step(step)).is_some_and(|work| work.phase.is_over()))
                .any(|step| layout.step(step).is_some_and(crate::layout::uses_report));
        if wants_report {
            self.awaiting_report = true;
            self.batch.rest.push(Command::Report);
        } else {
            for step in layout.finally() {
                self.take_up(Unit::step(step));
            }
        }
    }

    fn end(&mut self) {
        let layout = Arc::clone(&self.layout);
        let finally_failed = layout
            .finally()
            .any(|step| self.work(Unit::step(step)).is_some_and(|work| work.phase == Phase::Failed));
        let Some(verdict) = self.state.verdict().map(|decided| decided.verdict) else { return };
        self.record(Event::RunEnded { verdict, finally_failed });
    }
}
