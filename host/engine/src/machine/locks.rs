//! The lock of the run's group: nothing starts before the run has it, and it is given back with the last event.
//!
//! Invariant: going back needs it too, so a run that rolls back past its horizon, where it gave the lock back, asks
//! for it again.

use windlass_runbook::model::{Concurrency, WhenBusy};

use super::{Machine, millis};
use crate::command::Command;
use crate::event::Event;
use crate::identity::Millis;
use crate::words::Hold;

/// So often a busy lock is asked for.
const AGAIN_MS: u64 = 2_000;

/// How this process stands to the lock.
#[derive(Debug, Default)]
pub(super) enum Locking {
    #[default]
    Idle,
    /// Asked for, not answered.
    Asked,
    /// It was busy; asked for again then.
    Busy(Millis),
}

impl Machine {
    fn concurrency(&self) -> Option<&Concurrency> {
        self.layout.runbook().concurrency.as_ref()
    }

    /// Whether nothing may start before the lock is had.
    pub(super) fn waits_for_lock(&self) -> bool {
        self.concurrency().is_some()
            && !self.state.has_lock()
            && self.state.verdict().is_none()
            && self.state.cancelled().is_none()
            && (self.state.goes_back() || !self.is_committed())
    }

    /// Asks for the lock where it is wanted, and gives it back past the horizon.
    pub(super) fn look_at_lock(&mut self) {
        let Some(concurrency) = self.concurrency() else { return };
        let group = concurrency.group.clone();
        if self.waits_for_lock() {
            // Nothing starts while a person holds the run, so others may have their turn.
            let due = !self.state.is_held_for(Hold::Operator)
                && match self.locking {
                    Locking::Idle => true,
                    Locking::Asked => false,
                    Locking::Busy(at) => at <= self.now,
                };
            if due {
                self.locking = Locking::Asked;
                self.batch.within.push(Command::Lock { group });
            }
        } else if self.state.has_lock() && self.is_committed() && !self.state.goes_back() {
            self.unlock();
        }
    }

    /// When a busy lock is asked for again.
    pub(super) fn lock_wake(&self) -> Option<Millis> {
        match self.locking {
            Locking::Busy(at) if self.waits_for_lock() && !self.state.is_held_for(Hold::Operator) => Some(at),
            _ => None,
        }
    }

    /// Whether an answer about the lock is on its way.
    pub(super) fn is_asking_for_lock(&self) -> bool {
        matches!(self.locking, Locking::Asked)
    }

    pub(super) fn locked(&mut self, group: String, fence: u64) {
        self.locking = Locking::Idle;
        if !self.state.has_lock() {
            self.record(Event::LockAcquired { group, fence });
        }
        if !self.waits_for_lock() && (self.state.verdict().is_some() || self.state.cancelled().is_some()) {
            // It came too late to be of use.
            self.unlock();
        }
    }

    pub(super) fn lock_busy(&mut self, group: String, by: String) {
        self.locking = Locking::Busy(self.now.saturating_add(millis(AGAIN_MS)));
        if !self.waits_for_lock() {
            return;
        }
        if self.concurrency().is_some_and(|concurrency| concurrency.when_busy == WhenBusy::Reject) {
            return self.give_up(format!("the group `{group}` is busy with run {by}"));
        }
        let known = self.state.lock().is_some_and(|lock| lock.by.as_deref() == Some(&*by));
        if !known {
            self.record(Event::LockAwaited { group, by });
            self.commit();
        }
    }

    /// Gives the lock back in the same commit as what was just recorded.
    pub(super) fn unlock(&mut self) {
        if !self.state.has_lock() {
            return;
        }
        let Some(concurrency) = self.concurrency() else { return };
        let group = concurrency.group.clone();
        self.record(Event::LockReleased { group: group.clone() });
        self.batch.within.push(Command::Unlock { group });
        self.commit();
    }
}
