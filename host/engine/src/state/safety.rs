//! What watches a run, who is asked, and what it waits for by the clock: folding it, and looking it up.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::State;
use super::approvals::{ApprovalState, Stand};
use super::guards::{GuardState, guard_of};
use super::timeline::{LockState, Scheduled};
use crate::event::Event;
use crate::failure::StepFailure;
use crate::identity::Millis;
use crate::words::{Hold, Phase};

impl State {
    /// Takes in what is not about the work of a step alone. True where nothing else is to be done with the event.
    pub(super) fn fold_safety(&mut self, event: &Event, at: Millis) -> bool {
        if let Some(path) = guard_of(event) {
            self.guards.entry(Arc::clone(path)).or_default().fold(event, at);
            return true;
        }
        self.timeline.fold(event);
        match event {
            Event::ApprovalRequested { step, request } => {
                let approval = self.approvals.entry(Arc::clone(step)).or_default();
                approval.requested(request, at);
                let work = &mut self.step_mut(step).work;
                work.phase = Phase::Approving;
                work.started_at = Some(at);
                true
            }
            Event::ApprovalGiven(given) => {
                if let Some(approval) = self.approvals.get_mut(&given.step) {
                    approval.given.push(((**given).clone(), at));
                }
                true
            }
            Event::ApprovalVoided { step, covered, difference } => {
                if let Some(approval) = self.approvals.get_mut(step) {
                    approval.stand = Stand::Void(Arc::clone(covered), difference.clone());
                }
                self.step_mut(step).work.phase = Phase::Approving;
                true
            }
            Event::ApprovalExpired { step } => {
                if let Some(approval) = self.approvals.get_mut(step) {
                    approval.stand = Stand::Expired;
                }
                true
            }
            Event::StepSucceeded { step, item: None, .. } => {
                if let Some(approval) = self.approvals.get_mut(step) {
                    approval.granted();
                }
                false
            }
            Event::StepFailed { step, item: None, failure: StepFailure::Rejected { .. }, .. } => {
                if let Some(approval) = self.approvals.get_mut(step) {
                    approval.stand = Stand::Rejected;
                }
                false
            }
            Event::Scheduled { step, .. } => {
                if !step.starts_with("stage/") {
                    self.step_mut(step).work.phase = Phase::Scheduled;
                }
                true
            }
            _ => false,
        }
    }

    /// The guards that have begun to watch, by path.
    #[must_use]
    pub const fn guards(&self) -> &IndexMap<Arc<str>, GuardState> {
        &self.guards
    }

    /// A guard by its path, `guard/ID`; none before it began to watch.
    #[must_use]
    pub fn guard(&self, path: &str) -> Option<&GuardState> {
        self.guards.get(path)
    }

    /// The approvals that were asked for, by the path of their step.
    #[must_use]
    pub const fn approvals(&self) -> &IndexMap<Arc<str>, ApprovalState> {
        &self.approvals
    }

    /// The approval of a step; none before it was asked for.
    #[must_use]
    pub fn approval(&self, step: &str) -> Option<&ApprovalState> {
        self.approvals.get(step)
    }

    /// Where T is now.
    #[must_use]
    pub fn t(&self) -> Millis {
        let pinned = || self.created().and_then(|created| created.t);
        self.timeline.t.or_else(pinned).unwrap_or_else(|| self.started_at())
    }

    /// Until when a step, or with `stage/` and its name a stage, was last scheduled.
    #[must_use]
    pub fn scheduled(&self, path: &str) -> Option<Scheduled> {
        self.timeline.scheduled.get(path).copied()
    }

    /// How the run stands to the lock of its group; none where it never asked or was never answered.
    #[must_use]
    pub const fn lock(&self) -> Option<&LockState> {
        self.timeline.lock.as_ref()
    }

    /// Whether the run has the lock of its group.
    #[must_use]
    pub fn has_lock(&self) -> bool {
        self.lock().is_some_and(|lock| lock.fence.is_some())
    }

    /// Whether it waits for another run of its group.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.lock().is_some_and(|lock| lock.by.is_some())
    }

    /// The baselines that are taken, by name.
    #[must_use]
    pub const fn baselines(&self) -> &IndexMap<String, Arc<Value>> {
        &self.timeline.baselines
    }

    /// Whether it is held for this reason and this step or guard.
    #[must_use]
    pub fn is_held_by(&self, reason: Hold, path: &str) -> bool {
        self.holds().iter().any(|held| held.reason == reason && held.step.as_deref() == Some(path))
    }
}
