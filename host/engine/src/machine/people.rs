//! What people and processes do to a run: take it over, answer, resume, interrupt, cancel.

use std::sync::Arc;

use serde_json::Value;

use super::{Machine, Unit};
use crate::command::{CallId, Command};
use crate::event::{Answer, Event};
use crate::failure::CallPhase;
use crate::identity::Millis;
use crate::words::{Effect, Hold, Phase};
use crate::work::Work;

impl Machine {
    /// The process owns the run: whatever was under way in another is lost, and the queue is made again.
    pub(super) fn take_over(&mut self, epoch: u64, who: String) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        if self.state.events() > 1 && self.state.ended().is_none() {
            self.record(Event::OwnerChanged { epoch, who });
            self.lose_open_attempts();
        }
        let layout = Arc::clone(&self.layout);
        for node in layout.roots() {
            self.take_up(Unit::step(node));
        }
        for step in 0..layout.main_steps() {
            if self.satisfies(step) {
                self.unsatisfied = self.unsatisfied.saturating_sub(1);
                self.open(step);
            }
        }
        for step in layout.finally() {
            if self.work(Unit::step(step)).is_some_and(|work| work.phase.is_over()) {
                self.finally_open = self.finally_open.saturating_sub(1);
            }
        }
        if self.state.verdict().is_some() && self.state.ended().is_none() {
            self.ready.clear();
            self.live.clear();
            self.begin_finally();
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

    pub(super) fn answered(
        &mut self,
        path: &str,
        item: Option<&str>,
        answer: Answer,
        who: &str,
        reason: String,
    ) {
        let unit = match self.answerable(path, item) {
            Ok(unit) => unit,
            Err(message) => return self.batch.rest.push(Command::Refused { message }),
        };
        let step = self.layout.path(unit.step);
        let item = self.item_key(unit);
        let asked = self.work(unit).is_some_and(|work| work.phase == Phase::Asking);
        let answer = match answer {
            Answer::Applied { output } => {
                Answer::Applied { output: output.filter(|output| !output.is_null()) }
            }
            other => other,
        };
        self.record(Event::OperatorAnswered {
            step: Arc::clone(&step),
            item,
            answer: answer.clone(),
            who: who.to_owned(),
            reason,
        });
        self.commit();
        match answer {
            Answer::Applied { output } => self.succeed(unit, Effect::Accepted, output),
            Answer::NotApplied if asked => self.ready.push_back(unit),
            // A failed step begins anew when the run is resumed.
            Answer::NotApplied | Answer::Restore | Answer::Leave => (),
        }
        if self.state.open_questions() == 0 {
            self.release(Hold::Unknown, who);
        }
        if !self.paused_by_failure() {
            self.release(Hold::Failure, who);
        }
    }

    fn answerable(&self, path: &str, item: Option<&str>) -> Result<Unit, String> {
        let step = self.layout.find(path).ok_or_else(|| format!("the run has no step `{path}`"))?;
        let state = self.state.step(path).ok_or_else(|| format!("step `{path}` has not begun"))?;
        let index = match (item, &state.items) {
            (None, None) => None,
            (Some(key), Some(items)) => {
                Some(items.get_index_of(key).ok_or_else(|| format!("step `{path}` has no item `{key}`"))?)
            }
            (Some(_), None) => return Err(format!("step `{path}` has no items")),
            (None, Some(_)) => return Err(format!("step `{path}` has items; say which one with its key")),
        };
        let unit = Unit { step, item: index };
        let work: &Work = self.work(unit).ok_or_else(|| format!("step `{path}` has not begun"))?;
        let failed = work.phase == Phase::Failed && work.writes && item.is_none();
        let holds = failed && !self.layout.is_finally(step) && self.pauses(step);
        if self.state.verdict().is_some() {
            Err("the run's verdict is decided: there is nothing to say any more".to_owned())
        } else if work.phase == Phase::Asking || holds {
            Ok(unit)
        } else {
            Err(format!("step `{path}` is {}: there is nothing to say about it", work.phase))
        }
    }

    fn paused_by_failure(&self) -> bool {
        self.failed_steps().next().is_some()
    }

    /// The steps whose failure holds the run.
    fn failed_steps(&self) -> impl Iterator<Item = usize> {
        (0..self.layout.main_steps()).filter(|&step| {
            self.pauses(step) && self.work(Unit::step(step)).is_some_and(|work| work.phase == Phase::Failed)
        })
    }

    pub(super) fn resume(&mut self, who: &str) {
        if self.state.ended().is_some() {
            let message = "the run has ended".to_owned();
            return self.batch.rest.push(Command::Refused { message });
        }
        self.interrupts = 0;
        self.release(Hold::Operator, who);
        if self.state.verdict().is_none() && self.state.cancelled().is_none() {
            let failed: Vec<usize> = self.failed_steps().collect();
            for step in failed {
                self.record(Event::StepRestarted { step: self.layout.path(step), who: who.to_owned() });
                self.fans.remove(&step);
                self.take_up(Unit::step(step));
            }
            self.release(Hold::Failure, who);
        }
        self.commit();
    }

    pub(super) fn interrupt(&mut self, who: &str) {
        if self.state.ended().is_some() {
            return;
        }
        self.interrupts += 1;
        self.hold(Hold::Operator, format!("{who} stopped it"), None);
        self.commit();
        self.cut_off(self.interrupts > 1);
    }

    /// Cuts calls off: those that read, and in need those that write.
    fn cut_off(&mut self, writing_too: bool) {
        let mut calls: Vec<(CallId, Millis)> = self
            .live
            .values()
            .filter_map(|live| live.call)
            .filter(|(_, phase, _)| writing_too || !phase.writes())
            .map(|(call, _, began)| (call, began))
            .collect();
        calls.sort_unstable();
        self.batch.cancels.extend(calls.into_iter().map(|(call, _)| Command::Cancel { call }));
    }

    pub(super) fn cancel_run(&mut self, who: &str, reason: String) {
        if self.state.verdict().is_some() || self.state.cancelled().is_some() {
            let message = "the run is over, or was cancelled already".to_owned();
            return self.batch.rest.push(Command::Refused { message });
        }
        self.record(Event::CancelRequested { who: who.to_owned(), reason });
        for hold in [Hold::Operator, Hold::Failure, Hold::Unknown, Hold::Identity] {
            self.release(hold, who);
        }
        self.commit();
        self.cut_off(false);
    }
}
