//! How a run ends: its verdict, what is left in the world, and the end itself.
//!
//! Invariant: the verdict is decided once, from the state alone, and before any finally step begins.

use std::sync::Arc;

use windlass_runbook::model::{Criterion, MetBy, RollbackOrder};

use super::{Machine, Unit};
use crate::event::Event;
use crate::words::{Phase, SkipReason, Verdict};

impl Machine {
    pub(super) fn decide_verdict(&mut self) {
        self.end_guards();
        self.drop_drafts();
        let (verdict, reason) = match (self.ended_by(), self.state.goes_back()) {
            (Some(by), _) => self.verdict_of_a_stop(by),
            (None, true) => self.verdict_of_a_rollback(),
            (None, false) => self.verdict_of_going_forward(),
        };
        self.ready.clear();
        self.live.clear();
        self.rollback = None;
        let world = self.state.world();
        self.record(Event::VerdictDecided { verdict, world, reason });
        self.commit();
    }

    /// The person who ended the run before its time, with the reason.
    fn ended_by(&self) -> Option<String> {
        let ended = self.state.terminated().or_else(|| self.state.cancelled())?;
        let how = if self.state.terminated().is_some() { "ended it at once" } else { "ended it" };
        Some(format!("{} {how}: {}", ended.who, ended.reason))
    }

    fn verdict_of_a_stop(&self, by: String) -> (Verdict, String) {
        match (self.state.rollback().filter(|_| self.state.goes_back()), self.first_failure()) {
            (Some(rollback), _) => {
                (Verdict::Failed, format!("{}; {by}, before all was taken back", rollback.started.reason))
            }
            (None, Some((_, failed))) => (Verdict::Failed, format!("{failed}; {by}")),
            (None, None) => (Verdict::Cancelled, by),
        }
    }

    fn verdict_of_a_rollback(&self) -> (Verdict, String) {
        let why = self.state.rollback().map_or("", |rollback| &rollback.started.reason);
        let mut reason = why.to_owned();
        let mut add = |text: String| {
            if !reason.is_empty() {
                reason.push_str("; ");
            }
            reason.push_str(&text);
        };
        let (spared, left): (Vec<&str>, Vec<&str>) =
            self.left_behind().partition(|step| self.is_spared(step));
        let verdict = if !left.is_empty() || (!spared.is_empty() && self.state.undid_nothing()) {
            add(format!("not taken back: {}", named(&[left, spared].concat())));
            Verdict::Failed
        } else if !spared.is_empty() {
            add(format!("taken back in part, as asked for; left as it is: {}", named(&spared)));
            Verdict::Partial
        } else {
            if self.state.undid_nothing() {
                add("nothing to undo".to_owned());
            }
            Verdict::RolledBack
        };
        let failed: Vec<Arc<str>> = [RollbackOrder::Before, RollbackOrder::After]
            .into_iter()
            .flat_map(|order| self.layout.rollback(order))
            .filter(|step| self.phase_of(*step) == Some(Phase::Failed))
            .map(|step| self.layout.path(step))
            .collect();
        if !failed.is_empty() {
            let failed: Vec<&str> = failed.iter().map(|path| &**path).collect();
            add(format!("failed beside the undos: {}", named(&failed)));
        }
        (verdict, reason)
    }

    /// The steps of which something was to be taken back and was not, each once.
    fn left_behind(&self) -> impl Iterator<Item = &str> {
        let mut last = "";
        self.state
            .left_behind()
            .map(|(step, _)| step)
            .filter(move |step| std::mem::replace(&mut last, step) != *step)
    }

    fn verdict_of_going_forward(&self) -> (Verdict, String) {
        let missed = (0..self.layout.main_steps())
            .filter_map(|index| self.work(Unit::step(index)))
            .filter(|work| {
                matches!(work.skipped, Some((SkipReason::Upstream | SkipReason::Operator, _)))
                    && work.phase == Phase::Skipped
            })
            .count();
        let unmet: Vec<&str> = self
            .layout
            .runbook()
            .criteria
            .iter()
            .filter(|one| !self.is_met(one))
            .map(|one| &*one.text)
            .collect();
        match (self.first_failure(), missed, unmet.is_empty()) {
            (Some((_, failed)), ..) => (Verdict::Partial, failed),
            (None, 0, true) => (Verdict::Succeeded, String::new()),
            (None, 0, false) => (Verdict::Partial, format!("not met: {}", unmet.join("; "))),
            (None, ..) => (Verdict::Partial, format!("{missed} steps were left out")),
        }
    }

    fn first_failure(&self) -> Option<(usize, String)> {
        let failed =
            (0..self.layout.main_steps()).find(|step| self.phase_of(*step) == Some(Phase::Failed))?;
        let why = self
            .work(Unit::step(failed))
            .and_then(|work| work.failure.as_ref())
            .map_or_else(String::new, ToString::to_string);
        Some((failed, format!("step `{}` failed: {why}", self.layout.path(failed))))
    }

    fn phase_of(&self, step: usize) -> Option<Phase> {
        self.work(Unit::step(step)).map(|work| work.phase)
    }

    /// Whether the step succeeded, or the guard never tripped.
    fn is_met(&self, criterion: &Criterion) -> bool {
        match criterion.met_by {
            MetBy::Step(step) => self.phase_of(step) == Some(Phase::Succeeded),
            MetBy::Guard(guard) => self
                .layout
                .guard_path(guard)
                .and_then(|path| self.state.guard(path))
                .is_none_or(|guard| guard.tripped.is_none()),
        }
    }

    /// Nothing more happens.
    pub(super) fn end(&mut self) {
        let terminated = self.state.terminated().is_some();
        let finally_failed = self.layout.finally().any(|step| match self.phase_of(step) {
            Some(Phase::Failed) => true,
            // Begun, and cut off.
            Some(phase) => terminated && !phase.is_over() && phase != Phase::Pending,
            None => false,
        });
        let Some(verdict) = self.state.verdict().map(|decided| decided.verdict) else { return };
        self.record(Event::RunEnded { verdict, finally_failed });
        self.unlock();
    }
}

/// Some names for a sentence, not all of many.
fn named(names: &[&str]) -> String {
    const MOST: usize = 5;
    let shown: Vec<String> = names.iter().take(MOST).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(MOST) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
