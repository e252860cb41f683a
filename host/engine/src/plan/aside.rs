//! What of a plan is no call of the way forward: asking people, finally steps and rollback steps.

use std::sync::Arc;

use serde_json::Value;
use windlass_runbook::model::{Approval, RollbackOrder, StepBody};

use super::{Place, PlanOutcome, Planner};
use crate::layout::Layout;

impl Planner {
    /// Begins with the steps that come after all others: those of the end, and those of a rollback. Whatever a rollback
    /// step needs may be there only after something was done, so none of them can be found to fail now.
    pub(super) fn begin_aside(&mut self) {
        let layout = Arc::clone(&self.layout);
        let finally = layout.finally().map(|step| (step, self.anything_moved));
        let of_order = |order| layout.rollback(order).map(|step| (step, true));
        let aside: Vec<(usize, bool)> =
            finally.chain(of_order(RollbackOrder::Before)).chain(of_order(RollbackOrder::After)).collect();
        self.left = aside.len();
        for (step, moves) in aside {
            if let Some(moved) = self.moved.get_mut(step) {
                *moved = moves;
            }
            self.ready.push_back(step);
        }
    }

    /// People would be asked this.
    pub(super) fn ask(&mut self, place: Place, approval: &Approval, item: Option<&Value>) {
        let text = match approval.text.resolve(&self.scope(item, None)) {
            Ok(Value::String(text)) => text,
            Ok(other) => other.to_string(),
            Err(error) => return self.unresolved(place, "approve", &error),
        };
        let outcome = PlanOutcome::Approval {
            text,
            roles: approval.roles.clone(),
            each: approval.each,
            any: approval.any,
            expires_ms: approval.expires_ms,
            covers: covered(&self.layout, place.step, approval),
        };
        self.settle(place, outcome);
    }
}

/// The steps with an effect that an approval covers.
fn covered(layout: &Layout, step: usize, approval: &Approval) -> Vec<Arc<str>> {
    let body = |step: usize| layout.step(step).map(|step| &step.body);
    let steps = match &approval.covers {
        Some(covers) => covers.clone(),
        None => layout.covered_after(step, |step| matches!(body(step), Some(StepBody::Approve(_)))),
    };
    let writes = |step: &usize| matches!(body(*step), Some(StepBody::Call(call)) if call.kind.has_effect());
    steps.into_iter().filter(writes).map(|step| layout.path(step)).collect()
}
