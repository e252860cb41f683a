//! What the steps of a plan are taken to have come to, and what expressions see of it.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;
use windlass_runbook::expression::Scope;

use super::PlanOutcome;
use crate::layout::Layout;
use crate::scope::RunScope;
use crate::words::{Effect, StepStatus};

/// What a planned step is taken for.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    status: StepStatus,
    effect: Effect,
    output: Option<Arc<Value>>,
}

impl Taken {
    /// `output` is what is known of what it would return.
    pub(super) fn of(outcome: &PlanOutcome, output: Option<Arc<Value>>) -> Self {
        match outcome {
            PlanOutcome::Skipped { .. } => {
                Self { status: StepStatus::Skipped, effect: Effect::None, output: None }
            }
            PlanOutcome::Failed { .. } => Self::failed(),
            PlanOutcome::Unchanged { .. } => Self::succeeded(Effect::Unchanged, output),
            PlanOutcome::Changes { .. } => Self::succeeded(Effect::Applied, None),
            _ => Self::succeeded(Effect::None, output),
        }
    }

    pub(super) const fn succeeded(effect: Effect, output: Option<Arc<Value>>) -> Self {
        Self { status: StepStatus::Succeeded, effect, output }
    }

    pub(super) const fn failed() -> Self {
        Self { status: StepStatus::Failed, effect: Effect::None, output: None }
    }
}

/// The scope of one evaluation in a plan: what was planned, and before that what the run has come to.
pub(super) struct PlanScope<'a> {
    pub(super) run: RunScope<'a>,
    pub(super) layout: &'a Layout,
    pub(super) taken: &'a [Option<Taken>],
}

impl PlanScope<'_> {
    fn taken(&self, step: &str) -> Option<&Taken> {
        self.taken.get(self.layout.find(step)?)?.as_ref()
    }

    /// The status of a step; none where nothing has become of it.
    pub(super) fn status(&self, step: &str) -> Option<StepStatus> {
        let of_run = || self.run.state.step(step).map(|state| state.work.status());
        self.taken(step).map(|taken| taken.status).or_else(of_run)
    }
}

impl Scope for PlanScope<'_> {
    fn input(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.run.input(name)
    }

    fn var(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.run.var(name)
    }

    fn step_status(&self, id: &str) -> Option<Cow<'_, str>> {
        match self.taken(id) {
            Some(taken) => Some(Cow::Borrowed(taken.status.as_str())),
            None => self.run.step_status(id),
        }
    }

    fn step_effect(&self, id: &str) -> Option<Cow<'_, str>> {
        match self.taken(id) {
            Some(taken) => Some(Cow::Borrowed(taken.effect.as_str())),
            None => self.run.step_effect(id),
        }
    }

    fn step_output(&self, id: &str) -> Option<Cow<'_, Value>> {
        match self.taken(id) {
            Some(taken) => taken.output.as_deref().map(Cow::Borrowed),
            None => self.run.step_output(id),
        }
    }

    fn item(&self) -> Option<Cow<'_, Value>> {
        self.run.item()
    }

    fn result(&self) -> Option<Cow<'_, Value>> {
        self.run.result()
    }

    fn run(&self, field: &str) -> Option<Cow<'_, Value>> {
        self.run.run(field)
    }

    fn baseline(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.run.baseline(name)
    }
}
