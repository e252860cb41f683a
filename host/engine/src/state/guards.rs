//! Where guards stand, as their events say.

use std::sync::Arc;

use crate::event::{Event, GuardSampled};
use crate::failure::{CallFailure, Measured};
use crate::identity::Millis;
use crate::words::{Band, GuardAction};

/// Where a guard stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GuardState {
    /// When it began to watch.
    pub started_at: Millis,
    /// What its samples say; none before the first.
    pub band: Option<Band>,
    /// Since when, without a break.
    pub since: Millis,
    /// How many samples are on record.
    pub samples: u64,
    /// When the last of them was taken.
    pub last_at: Millis,
    /// What it had.
    pub measured: Vec<Measured>,
    /// How it failed, if it did.
    pub failure: Option<CallFailure>,
    /// What it did last to the run.
    pub tripped: Option<Tripped>,
    /// When it ended.
    pub ended_at: Option<Millis>,
}

/// What a guard did to the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Tripped {
    /// Held it or rolled it back.
    pub action: GuardAction,
    /// In one sentence.
    pub message: String,
    /// What it saw.
    pub measured: Vec<Measured>,
    /// When.
    pub at: Millis,
}

impl GuardState {
    pub(super) fn fold(&mut self, event: &Event, at: Millis) {
        match event {
            Event::GuardStarted { .. } => *self = Self { started_at: at, ..Self::default() },
            Event::GuardSampled(sampled) => self.sampled(sampled),
            Event::GuardTripped { action, message, measured, .. } => {
                self.tripped = Some(Tripped {
                    action: *action,
                    message: message.clone(),
                    measured: measured.clone(),
                    at,
                });
            }
            Event::GuardEnded { .. } => self.ended_at = Some(at),
            _ => (),
        }
    }

    fn sampled(&mut self, sampled: &GuardSampled) {
        self.band = Some(sampled.band);
        self.since = sampled.since;
        self.samples += sampled.samples.count;
        self.last_at = sampled.samples.last_at;
        self.measured.clone_from(&sampled.measured);
        self.failure.clone_from(&sampled.failure);
    }

    /// Whether it watches.
    #[must_use]
    pub const fn is_watching(&self) -> bool {
        self.ended_at.is_none()
    }
}

/// The path of the guard that an event is about.
pub(super) fn guard_of(event: &Event) -> Option<&Arc<str>> {
    match event {
        Event::GuardStarted { guard } | Event::GuardTripped { guard, .. } | Event::GuardEnded { guard } => {
            Some(guard)
        }
        Event::GuardSampled(sampled) => Some(&sampled.guard),
        _ => None,
    }
}
