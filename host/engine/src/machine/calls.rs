//! Timers and calls: what wakes a unit, what is asked of a plugin for it, and whose answer that is.
//!
//! Invariant: a unit has at most one timer and one call; a timer that was set again rings once.

use std::cmp::Reverse;
use std::sync::Arc;

use super::{Machine, Unit};
use crate::command::{CallId, CallKind, CallReport, CallRequest, Command};
use crate::failure::{CallFailure, CallPhase};
use crate::identity::Millis;
use crate::layout::Role;
use crate::work::Work;

impl Machine {
    // --- timers ---

    pub(super) fn sleep(&mut self, unit: Unit, until: Millis) {
        self.last_timer += 1;
        let number = self.last_timer;
        self.live(unit).timer = Some(number);
        self.timers.push(Reverse((until, number, unit)));
    }

    pub(super) fn is_set(&self, unit: Unit, number: u64) -> bool {
        self.live.get(&unit).is_some_and(|live| live.timer == Some(number))
    }

    pub(super) fn fire_timers(&mut self) {
        while let Some(&Reverse((at, number, unit))) = self.timers.peek() {
            let set = self.is_set(unit, number);
            if set && at > self.now {
                break;
            }
            self.timers.pop();
            if set {
                self.live(unit).timer = None;
                self.ready.push_back(unit);
            }
        }
    }

    pub(super) fn next_timer(&mut self) -> Option<Millis> {
        while let Some(&Reverse((at, number, unit))) = self.timers.peek() {
            if self.is_set(unit, number) {
                return Some(at);
            }
            self.timers.pop();
        }
        None
    }

    // --- calls ---

    /// Asks for a call. The step's timeout bounds it; without one the call's own cap does.
    pub(super) fn call(&mut self, unit: Unit, kind: CallKind, cap_ms: u64) {
        let layout = Arc::clone(&self.layout);
        let Some(name) = layout.call(unit.step) else { return };
        let phase = kind.name();
        let timeout_ms = self.call_timeout(unit, phase, cap_ms);
        let (attempt, require_gone) = self.work(unit).map_or((1, Vec::new()), |work| match phase {
            CallPhase::Read => (work.tries + 1, Vec::new()),
            CallPhase::Apply | CallPhase::Undo => {
                (work.attempts.last().map_or(1, |attempt| attempt.attempt.effect.attempt), Vec::new())
            }
            CallPhase::Plan | CallPhase::PlanUndo | CallPhase::Output => (
                work.next_attempt(),
                work.attempts
                    .iter()
                    .filter(|attempt| attempt.is_unknown())
                    .flat_map(|attempt| attempt.processes.iter().cloned())
                    .chain(self.programs_of_undone(unit))
                    .collect(),
            ),
        });
        let request = CallRequest {
            plugin: Arc::clone(&name.plugin),
            interface: Arc::clone(&name.interface),
            action: Arc::clone(&name.action),
            phase: kind,
            attempt,
            idempotency_key: self.key(unit),
            timeout_ms,
            require_gone,
        };
        let call = self.next_call();
        self.calls.insert(call, unit);
        let now = self.now;
        self.live(unit).call = Some((call, phase, now));
        let item = self.item_key(unit);
        self.batch.calls.push(Command::Call { call, step: layout.path(unit.step), item, request });
    }

    pub(super) const fn next_call(&mut self) -> CallId {
        self.last_call += 1;
        CallId(self.last_call)
    }

    pub(super) fn call_timeout(&mut self, unit: Unit, phase: CallPhase, cap_ms: u64) -> u64 {
        let resolving = self.work(unit).is_some_and(Work::has_unknown);
        let now = self.now;
        let Some(deadline) = self.live(unit).deadline else { return cap_ms };
        let left = u64::try_from(deadline - now).unwrap_or(0).max(1);
        match phase {
            // A hanging sample must not eat the whole gate.
            CallPhase::Read if self.is_gate(unit) => left.min(cap_ms),
            // What became of an effect is found out even when the step's time is over.
            CallPhase::Plan | CallPhase::PlanUndo | CallPhase::Output if resolving => left.max(cap_ms),
            // The deadline of a finally step without a timeout is no reason to let a read take that long.
            _ if self.layout.step(unit.step).is_some_and(|step| step.timeout_ms.is_none()) => {
                left.min(cap_ms)
            }
            _ => left,
        }
    }

    pub(super) fn called(&mut self, call: CallId, report: CallReport) {
        let mut report = Some(report);
        if self.guard_called(call, &mut report) || self.draft_called(call, &mut report) {
            return;
        }
        let (Some(unit), Some(report)) = (self.calls.remove(&call), report) else { return };
        let Some((_, phase, began)) = self.live(unit).call.take() else { return };
        self.looked_at += 1;
        let dropped = self.state.goes_back() && self.layout.role(unit.step) == Role::Main;
        if dropped {
            if phase.writes() {
                self.apply_ended(unit, report);
            }
            self.live.remove(&unit);
            return self.call_is_over(unit.step);
        }
        let cut_off = matches!(report.result, Err(CallFailure::Cancelled)) && !self.may_start();
        match phase {
            // Nothing happened and nobody is to know: it is called again when the run goes on.
            phase if cut_off && !phase.writes() => self.ready.push_back(unit),
            CallPhase::Read => self.read_ended(unit, report, began),
            CallPhase::Plan | CallPhase::PlanUndo => self.plan_ended(unit, report),
            CallPhase::Apply | CallPhase::Undo => self.apply_ended(unit, report),
            CallPhase::Output => self.output_ended(unit, report),
        }
    }
}
