//! How a step begins: its `when`, its input, and the first call.

use std::sync::Arc;

use serde_json::Value;
use windlass_runbook::coerce::coerce_record;
use windlass_runbook::expression::ExpressionError;
use windlass_runbook::model::{Step, StepBody};
use windlass_runbook::units::duration_of;

use super::{Machine, Unit, millis};
use crate::event::Event;
use crate::failure::StepFailure;
use crate::layout::{Layout, Role};
use crate::words::{Effect, Phase, SkipReason};

impl Machine {
    /// Does what is next for a unit that is ready.
    pub(super) fn advance(&mut self, unit: Unit) {
        self.looked_at += 1;
        let layout = Arc::clone(&self.layout);
        let role = layout.role(unit.step);
        let other_way = match role {
            Role::Main | Role::Barrier => self.state.goes_back(),
            Role::Undo | Role::Rollback => !self.state.goes_back(),
            Role::Finally => false,
        };
        if other_way {
            return;
        }
        let Some(step) = layout.step(unit.step) else {
            self.open_stage(unit);
            return;
        };
        let busy = self.live.get(&unit).is_some_and(|live| live.call.is_some() || live.timer.is_some());
        let after_the_verdict = self.state.verdict().is_some() && !layout.is_finally(unit.step);
        if busy || after_the_verdict {
            return;
        }
        let phase = self.work(unit).map_or(Phase::Pending, |work| work.phase);
        match (phase, unit.item) {
            (Phase::Pending, None) if role == Role::Undo => self.begin_undo(unit, step),
            (Phase::Pending, Some(_)) if role == Role::Undo => self.start_undo(unit, step),
            (Phase::Pending | Phase::Scheduled, None) => self.begin_step(unit, step, &layout),
            (Phase::Pending, Some(_)) => self.start(unit, step),
            (Phase::Items, _) => self.open_fan(unit.step),
            (Phase::Asking | Phase::Succeeded | Phase::Failed | Phase::Skipped, _) => (),
            _ => self.proceed(unit, step),
        }
    }

    /// The barrier before a stage: nothing to do but to let the stage begin, once its time has come.
    fn open_stage(&mut self, unit: Unit) {
        let asleep = self.live.get(&unit).is_some_and(|live| live.timer.is_some());
        if asleep || self.state.verdict().is_some() || !self.stage_may_open(unit.step) {
            return;
        }
        let layout = Arc::clone(&self.layout);
        if let Some((_, stage)) = layout.stage_of(unit.step) {
            if stage.at.is_some() {
                self.unsatisfied = self.unsatisfied.saturating_sub(1);
            }
            if stage.commit {
                self.pass_horizon(None, Some(&stage.name));
            }
        }
        self.open(unit.step);
    }

    fn begin_step(&mut self, unit: Unit, step: &Step, layout: &Layout) {
        if !self.step_may_begin(unit, step) {
            return;
        }
        if let Some(when) = &step.when {
            match when.evaluate_bool(&self.scope(None, None)) {
                Ok(true) => (),
                Ok(false) => return self.skip(unit, SkipReason::When, Some(when.source().to_owned())),
                Err(ExpressionError::NoOutput { step, .. }) => {
                    return self.skip(unit, SkipReason::Upstream, Some(step));
                }
                Err(error) => return self.fail_expression(unit, "when", &error),
            }
        }
        match &step.for_each {
            Some(fan_out) => self.expand(unit, step, fan_out, layout),
            None => self.start(unit, step),
        }
    }

    /// Resolves the input and begins.
    pub(super) fn start(&mut self, unit: Unit, step: &Step) {
        let StepBody::Call(invocation) = &step.body else {
            return self.proceed(unit, step);
        };
        let input = match self.resolve_input(unit, step) {
            Ok(input) => Arc::new(input),
            Err(Unresolved::Upstream(from)) if unit.item.is_none() => {
                return self.skip(unit, SkipReason::Upstream, Some(from));
            }
            Err(Unresolved::Upstream(from)) => {
                return self.fail_expression(unit, "with", &format!("step `{from}` has no output"));
            }
            Err(Unresolved::Failed(failure)) => return self.fail(unit, *failure),
        };
        let generation = self.work(unit).map_or(1, |work| match &work.input {
            Some(before) if *before != input => work.generation + 1,
            _ => work.generation.max(1),
        });
        let event = Event::StepStarted {
            step: self.layout.path(unit.step),
            item: self.item_key(unit),
            generation,
            call: self.name(unit),
            writes: invocation.kind.has_effect(),
            gate: step.gate.is_some(),
            input: Some(input),
        };
        self.record(event);
        self.live.remove(&unit);
        self.proceed(unit, step);
    }

    pub(super) fn resolve_input(&self, unit: Unit, step: &Step) -> Result<Value, Unresolved> {
        let StepBody::Call(invocation) = &step.body else { return Ok(Value::Null) };
        if let Some(given) = self.work(unit).and_then(|work| work.given.as_deref()) {
            return Ok(given.clone());
        }
        let item = self.item_value(unit);
        let value = match invocation.input.resolve(&self.scope(item.as_deref(), None)) {
            Ok(value) => value,
            Err(ExpressionError::NoOutput { step, .. }) => return Err(Unresolved::Upstream(step)),
            Err(error) => {
                let (field, message) = ("with".to_owned(), error.to_string());
                return Err(Unresolved::Failed(Box::new(StepFailure::Expression { field, message })));
            }
        };
        coerce_record(value, &invocation.input_type).map_err(|mismatch| {
            Unresolved::Failed(Box::new(StepFailure::Input { message: mismatch.to_string() }))
        })
    }

    /// Goes on with a unit that has begun, from wherever its events say it stands.
    pub(super) fn proceed(&mut self, unit: Unit, step: &Step) {
        match &step.body {
            _ if self.is_undo(unit) => self.plan(unit),
            StepBody::Wait { duration } => self.wait(unit, duration),
            StepBody::Call(invocation) if invocation.kind.has_effect() => self.plan(unit),
            StepBody::Call(_) => self.read(unit),
            StepBody::Approve(approval) => self.approve_step(unit, approval),
        }
    }

    fn wait(&mut self, unit: Unit, duration: &windlass_runbook::expression::Template) {
        let until = match self.work(unit).and_then(|work| work.wait_until) {
            Some(until) => until,
            None => {
                let item = self.item_value(unit);
                let value = match duration.resolve(&self.scope(item.as_deref(), None)) {
                    Ok(value) => value,
                    Err(ExpressionError::NoOutput { step, .. }) if unit.item.is_none() => {
                        return self.skip(unit, SkipReason::Upstream, Some(step));
                    }
                    Err(error) => return self.fail_expression(unit, "wait", &error),
                };
                let span = match duration_of(&value) {
                    Ok(span) => span,
                    Err(message) => return self.fail_expression(unit, "wait", &message),
                };
                let until = self.now.saturating_add(millis(span));
                let event = Event::WaitStarted {
                    step: self.layout.path(unit.step),
                    item: self.item_key(unit),
                    until,
                };
                self.record(event);
                until
            }
        };
        if until <= self.now {
            self.succeed(unit, Effect::None, None);
        } else {
            self.sleep(unit, until);
        }
    }
}

/// Why an input has no value.
pub(super) enum Unresolved {
    /// A step that it reads has no output.
    Upstream(String),
    /// The step fails.
    Failed(Box<StepFailure>),
}
