//! Baselines: values that are taken once, as soon as what they are taken from is there.

use std::sync::Arc;

use windlass_runbook::expression::Expression;

use super::Machine;
use crate::event::Event;

impl Machine {
    /// Takes the baselines whose steps are done. One that can't be taken is absent, and a guard that needs it has no
    /// data.
    pub(super) fn take_baselines(&mut self) {
        let layout = Arc::clone(&self.layout);
        let baselines = &layout.runbook().baselines;
        if self.state.baselines().len() == baselines.len() || self.state.verdict().is_some() {
            return;
        }
        for (name, expression) in baselines {
            if self.state.baselines().contains_key(name) || !self.is_known(expression) {
                continue;
            }
            let value = expression.evaluate(&self.scope(None, None));
            if let Ok(value) = value
                && !value.is_null()
            {
                self.record(Event::BaselineRecorded { name: name.clone(), value: Arc::new(value) });
            }
        }
    }

    /// Whether every step that it is about is over.
    fn is_known(&self, expression: &Expression) -> bool {
        expression
            .references()
            .iter()
            .filter_map(|reference| reference.step())
            .all(|step| self.state.step(step).is_some_and(|state| state.work.phase.is_over()))
    }
}
