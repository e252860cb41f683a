//! The commit horizon: which rollbacks cross the point after which nothing goes back by itself.
//!
//! Pure, and the same for a run that goes back and for a run of its own that takes an ended one back.

use std::sync::Arc;

use windlass_runbook::model::Runbook;

use crate::layout::{Layout, Node, Role};
use crate::state::State;
use crate::verbs::Refusal;

/// What is said to whoever did not ask for it in so many words.
pub(crate) const NEEDS_PAST_COMMIT: &str = "the run is past its commit: rolling back needs --past-commit";

/// Whether a run that has ended may be taken back so far. `only` is as in a request to roll back.
///
/// # Errors
/// Where it crosses the commit of the run and that was not asked for; where a step is not there, or nothing of it is to
/// be taken back.
pub fn may_be_taken_back(
    runbook: Arc<Runbook>,
    state: &State,
    only: &[String],
    past_commit: bool,
) -> Result<(), Refusal> {
    let layout = Layout::new(runbook);
    let steps = named(&layout, state, only).map_err(|message| Refusal { message })?;
    if !past_commit && crosses(&layout, state, &steps) {
        return Err(Refusal { message: NEEDS_PAST_COMMIT.to_owned() });
    }
    Ok(())
}

/// The numbers of the steps that a rollback is limited to.
pub(crate) fn named(layout: &Layout, state: &State, only: &[String]) -> Result<Vec<usize>, String> {
    let mut steps = Vec::with_capacity(only.len());
    for path in only {
        let step = layout
            .find(path)
            .filter(|step| layout.role(*step) == Role::Main)
            .ok_or_else(|| format!("the run has no step `{path}`"))?;
        if !state.step(path).is_some_and(crate::state::StepState::is_listed) {
            return Err(format!("there is nothing of step `{path}` to take back"));
        }
        steps.push(step);
    }
    Ok(steps)
}

/// Whether anything that would be taken back came before the commit.
pub(crate) fn crosses(layout: &Layout, state: &State, only: &[usize]) -> bool {
    let passed: Vec<Node> = state.horizons().iter().filter_map(|path| layout.find_node(path)).collect();
    if passed.is_empty() {
        return false;
    }
    let after = layout.downstream(&passed);
    // A step that is the commit itself came before it; the steps of a stage come after the stage's start.
    let is_after = |step: usize| after.get(step) == Some(&true) && !passed.contains(&step);
    if only.is_empty() {
        return state.undo_list().any(|(path, ..)| layout.find(path).is_some_and(|step| !is_after(step)));
    }
    only.iter().any(|step| !is_after(*step))
}
