//! What people and processes do to a run: take it over, answer, resume, interrupt, cancel.

use std::sync::Arc;

use serde_json::Value;

use super::{Machine, Unit};
use crate::command::{CallId, Command};
use crate::event::Event;
use crate::failure::CallPhase;
use crate::identity::Millis;
use crate::state::ItemState;
use crate::words::{Effect, Hold, Phase};

impl Machine {
    /// The process owns the run: whatever was under way in another is lost, and the queue is made again.
    pub(super) fn take_over(&mut self, epoch: u64, who: String) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let follows = self.state.created().is_some_and(|created| created.parent.is_some());
        // What it takes over from another run stands in its beginning.
        let beginning = 1 + u64::from(follows);
        if self.state.events() > beginning && self.state.ended().is_none() {
            self.record(Event::OwnerChanged { epoch, who });
            self.lose_open_attempts();
            self.doubt_guards(None);
        }
        if self.state.ended().is_some() {
            return;
        }
        for step in self.layout.finally() {
            if self.work(Unit::step(step)).is_some_and(|work| work.phase.is_over()) {
                self.finally_open = self.finally_open.saturating_sub(1);
            }
        }
        if self.state.verdict().is_some() {
            self.begin_finally();
        } else if self.state.goes_back() {
            self.go_back(None);
        } else if self.is_rollback_run() {
            self.begin_rollback_run();
        } else {
            self.lay_out_again();
        }
    }

    /// Makes the queue of the way forward from where the steps stand.
    pub(super) fn lay_out_again(&mut self) {
        let layout = Arc::clone(&self.layout);
        self.waits_for = layout.waits_for();
        self.unsatisfied = layout.unsatisfied();
        self.ready.clear();
        self.live.clear();
        self.fans.clear();
        for node in layout.roots() {
            self.take_up(Unit::step(node));
        }
        for step in 0..layout.main_steps() {
            if self.satisfies(step) {
                self.unsatisfied = self.unsatisfied.saturating_sub(1);
                self.open(step);
            }
        }
    }

    /// Attempts that had not ended with their host are unknown, always: what it knew is gone with it.
    fn lose_open_attempts(&mut self) {
        let open: Vec<_> = self
            .state
            .works()
            .flat_map(|(_, _, work)| &work.attempts)
            .filter(|attempt| attempt.effect.is_none())
            .map(|attempt| attempt.attempt.clone())
            .collect();
        for attempt in open {
            self.record(Event::AttemptFinished {
                attempt,
                effect: Effect::Unknown,
                output: None,
                failure: None,
                elapsed_ms: 0,
            });
        }
    }

    /// Puts a unit whose edges are open where it belongs: in the queue, or to sleep until it is tried again.
    pub(super) fn take_up(&mut self, unit: Unit) {
        let (phase, retry_at) =
            self.work(unit).map_or((Phase::Pending, None), |work| (work.phase, work.retry_at));
        match (phase, retry_at) {
            (Phase::Succeeded | Phase::Failed | Phase::Skipped | Phase::Asking, _) => (),
            (_, Some(at)) if at > self.now => self.sleep(unit, at),
            _ => self.ready.push_back(unit),
        }
    }

    fn call_of(&self, call: CallId) -> Option<(Unit, CallPhase)> {
        let unit = *self.calls.get(&call)?;
        let (_, phase, _) = self.live.get(&unit)?.call?;
        Some((unit, phase))
    }

    pub(super) fn receipt(&mut self, call: CallId, text: String) {
        let Some((unit, CallPhase::Apply | CallPhase::Undo)) = self.call_of(call) else { return };
        let Some(attempt) = self.work(unit).and_then(|work| work.attempts.last()) else { return };
        let attempt = attempt.attempt.clone();
        self.record(Event::ReceiptLeft { attempt, text });
        self.commit();
    }

    pub(super) fn process_started(&mut self, call: CallId, identity: Value) {
        // A program that only reads leaves nothing that a repeat could meet.
        let Some((unit, CallPhase::Apply | CallPhase::Undo)) = self.call_of(call) else { return };
        let Some(attempt) = self.work(unit).and_then(|work| work.attempts.last()) else { return };
        let attempt = attempt.attempt.clone();
        self.record(Event::ProcessStarted { attempt, identity });
        self.commit();
    }

    pub(super) fn connection_seen(&mut self, connection: String, identity: Value) {
        match self.state.connections().get(&connection) {
            None => self.record(Event::ConnectionPinned { connection, identity }),
            Some(pinned) if *pinned == identity => {
                let about = format!("connection `{connection}`");
                let was_about_it = self
                    .state
                    .holds()
                    .iter()
                    .any(|held| held.reason == Hold::Identity && held.message.starts_with(&about));
                if was_about_it {
                    self.release(Hold::Identity, &about);
                }
            }
            Some(pinned) => {
                let pinned = pinned.clone();
                let message = format!(
                    "connection `{connection}` leads somewhere else than it did when it was first used: \
                     {identity} instead of {pinned}"
                );
                self.record(Event::ConnectionChanged { connection, pinned, seen: identity });
                self.hold(Hold::Identity, message, None);
                self.commit();
                // What is read or planned there would be of another place.
                self.cut_off(false);
            }
        }
    }

    pub(super) fn paused_by_failure(&self) -> bool {
        self.failed_steps().next().is_some()
    }

    /// The steps whose failure holds the run.
    fn failed_steps(&self) -> impl Iterator<Item = usize> {
        (0..self.layout.main_steps()).filter(|&step| {
            self.pauses(step) && self.work(Unit::step(step)).is_some_and(|work| work.phase == Phase::Failed)
        })
    }

    /// The undos that failed.
    pub(super) fn failed_undos(&self) -> impl Iterator<Item = usize> {
        (0..self.layout.main_steps())
            .map(|step| self.layout.undo(step))
            .filter(|undo| self.work(Unit::step(*undo)).is_some_and(|work| work.phase == Phase::Failed))
    }

    /// Lifts what people and failures hold, and begins anew what failed or, of the way forward, was taken back.
    pub(super) fn resume(&mut self, who: &str) {
        self.interrupts = 0;
        self.leaves = false;
        self.release(Hold::Operator, who);
        self.forgive_lateness();
        self.release(Hold::Late, who);
        if self.state.verdict().is_none() && self.state.cancelled().is_none() {
            let again: Vec<usize> = if self.state.goes_back() {
                self.failed_undos().collect()
            } else {
                let stale = self.stale_steps();
                let failed =
                    self.failed_steps().filter(|step| stale.get(*step) != Some(&true)).collect::<Vec<_>>();
                self.begin_stale_anew(&stale, who);
                failed
            };
            for step in again {
                self.begin_anew(Unit::step(step), Phase::Failed, who);
            }
            self.release(Hold::Failure, who);
        }
        self.commit();
    }

    /// What was taken back while the run goes on, with everything that came after it: what that found or did rests on
    /// an effect that is there no more.
    fn stale_steps(&self) -> Vec<bool> {
        // While anything is under way the queue is not made anew; and what was taken back began anew before that.
        let rolled_back = self.state.rollback().is_some_and(|rollback| rollback.finished);
        if !rolled_back || !self.calls.is_empty() {
            return Vec::new();
        }
        let undone: Vec<usize> =
            (0..self.layout.main_steps()).filter(|step| self.was_undone(*step)).collect();
        self.layout.downstream(&undone)
    }

    fn begin_stale_anew(&mut self, stale: &[bool], who: &str) {
        if !stale.contains(&true) {
            return;
        }
        for step in (0..self.layout.main_steps()).filter(|step| stale.get(*step) == Some(&true)) {
            let path = self.layout.path(step);
            let Some(state) = self.state.step(&path).filter(|state| state.work.phase != Phase::Pending)
            else {
                continue;
            };
            // What items found rests on it too; what they did and still stands is theirs.
            let found =
                |(_, item): &(&Arc<str>, &ItemState)| !item.work.writes && item.work.phase != Phase::Pending;
            let items = state.items.iter().flatten().filter(found).map(|(key, _)| Some(Arc::clone(key)));
            let places: Vec<Option<Arc<str>>> = std::iter::once(None).chain(items).collect();
            for item in places {
                self.record(Event::StepRestarted { step: Arc::clone(&path), item, who: who.to_owned() });
            }
        }
        self.lay_out_again();
    }

    pub(super) fn pause(&mut self, who: &str, reason: &str) {
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        self.hold(Hold::Operator, format!("{who} stopped it{why}"), None);
        self.cut_off(false);
    }

    /// The first time the run is paused, the second time cancelled, with effects cut off. Where it is paused and nothing
    /// is under way any more, the second time the process only leaves it: guards were all that kept it.
    pub(super) fn interrupt(&mut self, who: &str) {
        if self.state.ended().is_some() {
            return;
        }
        self.interrupts += 1;
        self.commit();
        let drained = self.calls.is_empty() && !self.awaiting_report && !self.is_drafting();
        if self.interrupts > 1 && drained && self.state.is_held_for(Hold::Operator) {
            self.leaves = true;
        } else if self.interrupts > 1 && self.cancel_run(who, "interrupted twice".to_owned()).is_ok() {
            self.cut_off(true);
        } else {
            self.pause(who, "");
        }
    }

    /// Cuts calls off: those that read, and in need those that write. No call is cut off twice.
    pub(super) fn cut_off(&mut self, writing_too: bool) {
        let already = |call: CallId| self.batch.cancels.iter().any(|cut| *cut == Command::Cancel { call });
        let mut calls: Vec<(CallId, Millis)> = self
            .live
            .values()
            .filter_map(|live| live.call)
            .filter(|(call, phase, _)| (writing_too || !phase.writes()) && !already(*call))
            .map(|(call, _, began)| (call, began))
            .collect();
        calls.sort_unstable();
        self.batch.cancels.extend(calls.into_iter().map(|(call, _)| Command::Cancel { call }));
    }

    pub(super) fn cancel_run(&mut self, who: &str, reason: String) -> Result<(), String> {
        if self.state.verdict().is_some() || self.state.cancelled().is_some() {
            return Err("the run is over, or was cancelled already".to_owned());
        }
        self.record(Event::CancelRequested { who: who.to_owned(), reason });
        for hold in Hold::ALL {
            self.release(*hold, who);
        }
        self.commit();
        self.cut_off(false);
        Ok(())
    }
}
