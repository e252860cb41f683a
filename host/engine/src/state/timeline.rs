//! Times, the group's lock and baselines, as their events say.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use crate::event::Event;
use crate::identity::Millis;
use crate::words::ScheduledFor;

/// What a run waits for by the clock, and what it has from others.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Timeline {
    /// Where T is, if it has moved.
    pub(super) t: Option<Millis>,
    pub(super) scheduled: IndexMap<Arc<str>, Scheduled>,
    pub(super) lock: Option<LockState>,
    pub(super) baselines: IndexMap<String, Arc<Value>>,
}

/// A step or stage that waits, or has waited, for its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduled {
    /// Until when.
    pub until: Millis,
    /// What for.
    pub why: ScheduledFor,
}

/// How the run stands to its group's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockState {
    /// The group.
    pub group: String,
    /// The lock's number, while the run has it.
    pub fence: Option<u64>,
    /// The run that has it, while this one waits.
    pub by: Option<String>,
}

impl Timeline {
    pub(super) fn fold(&mut self, event: &Event) {
        match event {
            Event::Shifted { at, .. } => self.t = Some(*at),
            Event::Scheduled { step, until, why } => {
                self.scheduled.insert(Arc::clone(step), Scheduled { until: *until, why: *why });
            }
            Event::LockAwaited { group, by } => {
                self.lock = Some(LockState { group: group.clone(), fence: None, by: Some(by.clone()) });
            }
            Event::LockAcquired { group, fence } => {
                self.lock = Some(LockState { group: group.clone(), fence: Some(*fence), by: None });
            }
            Event::LockReleased { group } => {
                self.lock = Some(LockState { group: group.clone(), fence: None, by: None });
            }
            Event::BaselineRecorded { name, value } => {
                self.baselines.insert(name.clone(), Arc::clone(value));
            }
            _ => (),
        }
    }
}
