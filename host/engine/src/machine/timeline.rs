//! Times around T and windows: what waits for its time, and what a run does that is late.
//!
//! Times of a runbook are of the wall clock, timers of the clock that never steps; this module knows how far the two
//! are apart. Invariant: whatever waits looks again when it wakes, so a T that moved or a clock that stepped makes
//! nothing start early.

use std::collections::BTreeSet;
use std::sync::Arc;

use windlass_runbook::model::{At, Late, Step, Window};

use super::{Machine, Unit};
use crate::calendar::{ABORT_MS, Door, ON_TIME_MS, door};
use crate::event::Event;
use crate::failure::Span;
use crate::identity::Millis;
use crate::layout::Layout;
use crate::state::Scheduled;
use crate::words::{Hold, Phase, ScheduledFor};

/// A clock that steps by less is kept in step by its machine; nobody need know.
const STEP_MS: Millis = 5_000;
/// Who lifts a hold that ends by itself.
const SCHEDULE: &str = "the schedule";

/// What this process knows of the wall clock, and who sleeps by it.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// How far the wall clock is ahead of the run's.
    ahead: Millis,
    asleep: BTreeSet<Unit>,
}

/// What a run that is late does.
enum Lateness {
    GoesOn,
    Waits,
}

impl Machine {
    fn wall(&self) -> Millis {
        self.now.saturating_add(self.timeline.ahead)
    }

    /// Whether the time of a step has come; if not, it waits for it.
    pub(super) fn step_may_begin(&mut self, unit: Unit, step: &Step) -> bool {
        if self.layout.is_extra(unit.step) {
            return true;
        }
        let layout = Arc::clone(&self.layout);
        let path = layout.path(unit.step);
        self.its_time(unit, &path, step.at, window_of(&layout, step))
    }

    /// Whether the time of a stage has come; if not, its barrier waits for it. A stage that has begun is not late.
    pub(super) fn stage_may_open(&mut self, node: usize) -> bool {
        let layout = Arc::clone(&self.layout);
        let Some((number, stage)) = layout.stage_of(node) else { return true };
        let path: Arc<str> = format!("stage/{}", stage.name).into();
        stage.at.is_none()
            || self.has_begun(&layout, number)
            || self.its_time(Unit::step(node), &path, stage.at, None)
    }

    /// Whether anything of a stage or of a later one has begun.
    fn has_begun(&self, layout: &Layout, stage: usize) -> bool {
        let first = layout.runbook().stages.get(stage).map_or(0, |stage| stage.steps.start);
        (first..layout.main_steps()).any(|step| {
            self.work(Unit::step(step))
                .is_some_and(|work| !matches!(work.phase, Phase::Pending | Phase::Scheduled))
        })
    }

    fn its_time(&mut self, unit: Unit, path: &Arc<str>, at: Option<At>, window: Option<&Window>) -> bool {
        let wall = self.wall();
        if let Some(at) = at {
            let due = self.state.t().saturating_add(at.offset_ms);
            if due > wall {
                self.schedule(unit, path, due, ScheduledFor::Time);
                return false;
            }
            if let Lateness::Waits = self.late(unit, path, wall - due) {
                return false;
            }
        }
        if let Some(Door::Closed(until)) = window.map(|window| door(window, wall)) {
            self.schedule(unit, path, until, ScheduledFor::Window);
            return false;
        }
        true
    }

    fn schedule(&mut self, unit: Unit, path: &Arc<str>, until: Millis, why: ScheduledFor) {
        if self.state.scheduled(path) != Some(Scheduled { until, why }) {
            self.record(Event::Scheduled { step: Arc::clone(path), until, why });
        }
        self.timeline.asleep.insert(unit);
        self.sleep(unit, until.saturating_sub(self.timeline.ahead));
    }

    fn late(&mut self, unit: Unit, path: &Arc<str>, by: Millis) -> Lateness {
        match self.layout.runbook().late {
            Late::Shift if by > ON_TIME_MS => {
                self.shift(by);
                Lateness::GoesOn
            }
            Late::Abort if by > ABORT_MS => {
                let message = format!("`{path}` is late by {}", Span(u64::try_from(by).unwrap_or_default()));
                if self.state.has_applied() {
                    self.hold(Hold::Late, message, Some(Arc::clone(path)));
                    self.commit();
                    self.ready.push_back(unit);
                } else {
                    self.give_up(message);
                }
                Lateness::Waits
            }
            Late::Shift | Late::Compress | Late::Abort => Lateness::GoesOn,
        }
    }

    fn shift(&mut self, by_ms: Millis) {
        let at = self.state.t().saturating_add(by_ms);
        self.record(Event::Shifted { at, by_ms });
    }

    /// A person lets a run that is late go on: T moves so that it is not.
    pub(super) fn forgive_lateness(&mut self) {
        let late = self.state.holds().iter().find(|held| held.reason == Hold::Late);
        let Some(path) = late.and_then(|held| held.step.clone()) else { return };
        let layout = Arc::clone(&self.layout);
        let at = match path.strip_prefix("stage/") {
            Some(name) => layout.runbook().stages.iter().find(|stage| stage.name == name).and_then(|s| s.at),
            None => layout.find(&path).and_then(|step| layout.step(step)).and_then(|step| step.at),
        };
        let by = at.map_or(0, |at| self.wall() - self.state.t().saturating_add(at.offset_ms));
        if by > 0 {
            self.shift(by);
        }
    }

    /// Whether a step that has begun may have another effect now; outside its window the run is held until it opens.
    pub(super) fn is_within_window(&mut self, unit: Unit) -> bool {
        let layout = Arc::clone(&self.layout);
        let Some(step) = layout.step(unit.step) else { return true };
        if layout.is_extra(unit.step) {
            return true;
        }
        let Some(Door::Closed(until)) = window_of(&layout, step).map(|window| door(window, self.wall()))
        else {
            return true;
        };
        let path = layout.path(unit.step);
        let message = format!(
            "the window of `{path}` has shut before it was done; it opens at {}",
            crate::scope::timestamp(until)
        );
        self.hold(Hold::Window, message, Some(path));
        self.commit();
        self.ready.push_back(unit);
        false
    }

    /// The window that the run is held for, while it is shut: when it opens.
    fn window_opens(&self) -> Option<Millis> {
        let held = self.state.holds().iter().find(|held| held.reason == Hold::Window)?;
        let layout = &self.layout;
        let step = layout.step(layout.find(held.step.as_deref()?)?)?;
        match door(window_of(layout, step)?, self.wall()) {
            Door::Open => None,
            Door::Closed(until) => Some(until),
        }
    }

    /// Lifts the hold of a window that is open again.
    pub(super) fn look_at_window(&mut self) {
        if self.state.is_held_for(Hold::Window) && self.window_opens().is_none() {
            self.release(Hold::Window, SCHEDULE);
        }
    }

    /// When to look at the window again.
    pub(super) fn window_wake(&self) -> Option<Millis> {
        self.window_opens().map(|at| at.saturating_sub(self.timeline.ahead))
    }

    pub(super) fn clock_stepped(&mut self, by_ms: Millis) {
        self.timeline.ahead = self.timeline.ahead.saturating_add(by_ms);
        if by_ms.abs() > STEP_MS {
            self.record(Event::ClockStepped { by_ms });
        }
        if by_ms > 0 {
            // A machine that was asleep sees the same: nobody looked meanwhile.
            self.doubt_guards(Some(by_ms));
        }
        for unit in std::mem::take(&mut self.timeline.asleep) {
            if let Some(live) = self.live.get_mut(&unit)
                && live.call.is_none()
                && live.timer.take().is_some()
            {
                self.ready.push_back(unit);
            }
        }
    }
}

/// A step's own window, or that of its stage.
fn window_of<'l>(layout: &'l Layout, step: &'l Step) -> Option<&'l Window> {
    let stage = || layout.runbook().stages.get(step.stage?)?.window.as_ref();
    step.window.as_ref().or_else(stage)
}
