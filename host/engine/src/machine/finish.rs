//! How steps end, what that opens or holds, and how the run ends.

use std::sync::Arc;

use serde_json::Value;
use windlass_runbook::model::{OnFailure, StepBody};

use super::rollback::Advance;
use super::{Machine, Unit};
use crate::command::Command;
use crate::event::Event;
use crate::failure::StepFailure;
use crate::layout::Role;
use crate::scope::measured;
use crate::size::{CAP, json_bytes};
use crate::words::{Effect, Hold, Phase, SkipReason};

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
        if unit.item.is_none() && !self.state.goes_back() {
            if self.layout.role(unit.step) == Role::Main && self.pauses(unit.step) {
                self.failed_step(unit.step, format!("step `{step}` failed: {message}"));
            }
        } else if self.is_undo(unit) {
            self.hold(Hold::Failure, format!("`{step}` failed: {message}"), Some(step));
        }
        self.over(unit);
    }

    /// Whether nothing may follow the step when it fails. An approval that was not given is never passed over.
    pub(super) fn pauses(&self, step: usize) -> bool {
        self.layout.step(step).is_some_and(|step| {
            step.on_failure != OnFailure::Continue || matches!(step.body, StepBody::Approve(_))
        })
    }

    pub(super) fn skip(&mut self, unit: Unit, reason: SkipReason, because: Option<String>) {
        self.record(Event::StepSkipped {
            step: self.layout.path(unit.step),
            item: self.item_key(unit),
            reason,
            because,
            who: None,
        });
        self.over(unit);
    }

    pub(super) fn over(&mut self, unit: Unit) {
        self.live.remove(&unit);
        if unit.item.is_some() {
            self.item_over(unit);
            return;
        }
        match self.layout.role(unit.step) {
            Role::Finally => self.finally_open = self.finally_open.saturating_sub(1),
            Role::Rollback => self.rollback_step_is_over(),
            Role::Undo => self.undo_is_over(unit.step),
            Role::Main | Role::Barrier => self.step_is_over(unit.step),
        }
    }

    fn step_is_over(&mut self, step: usize) {
        self.prepare_undo(step);
        if self.state.goes_back() {
            return;
        }
        let commits = self.layout.step(step).is_some_and(|step| step.commit);
        if commits && self.work(Unit::step(step)).is_some_and(|work| work.phase == Phase::Succeeded) {
            let path = self.layout.path(step);
            self.pass_horizon(Some(&path), None);
        }
        if self.satisfies(step) {
            self.unsatisfied = self.unsatisfied.saturating_sub(1);
            self.open(step);
        }
    }

    /// From here on nothing is rolled back by itself. Happens once for each step and stage.
    pub(super) fn pass_horizon(&mut self, step: Option<&Arc<str>>, stage: Option<&str>) {
        if !self.state.has_passed(step, stage) {
            self.record(Event::Committed { step: step.cloned(), stage: stage.map(str::to_owned) });
        }
    }

    /// Whether what comes after a step may begin.
    pub(super) fn satisfies(&self, step: usize) -> bool {
        match self.work(Unit::step(step)).map(|work| work.phase) {
            Some(Phase::Succeeded | Phase::Skipped | Phase::Failed) if self.was_undone(step) => false,
            Some(Phase::Succeeded | Phase::Skipped) => true,
            Some(Phase::Failed) => !self.pauses(step),
            // Asked again: what it gates has begun, and its effects wait one by one.
            Some(Phase::Approving) => {
                self.state.approval(&self.layout.path(step)).is_some_and(|approval| approval.opened)
            }
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
        let terminated = self.state.terminated().is_some();
        if terminated && self.state.verdict().is_none() {
            self.decide_verdict();
        }
        if self.state.verdict().is_some() {
            if self.finally_open == 0 || terminated {
                self.end();
            }
            return false;
        }
        let cancelled = self.state.cancelled().is_some();
        if !cancelled && !self.may_start() {
            return false;
        }
        if !cancelled && self.state.goes_back() {
            match self.rollback_goes_on() {
                Advance::Waits => return false,
                Advance::Ready => return true,
                Advance::Verdict => (),
            }
        } else if !cancelled && self.unsatisfied > 0 {
            return false;
        }
        self.decide_verdict();
        self.begin_finally();
        true
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
}
