//! What of a run is to be taken back, and how far that has come.
//!
//! The undo list holds attempts, not steps: every attempt that started, is not proven to be without effect, and was not
//! taken back since. That replanning found everything as before is no such proof: a late write can still land.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{ItemState, State, StepState};
use crate::event::{Inherited, InheritedAttempt, ParentKind, RollbackStarted};
use crate::identity::Millis;
use crate::words::{Cause, Effect, Phase, SkipReason, World};
use crate::work::{AttemptState, Work};

/// A rollback, begun and perhaps finished.
#[derive(Debug, Clone, PartialEq)]
pub struct RollbackState {
    /// What began it, and how far it goes.
    pub started: Arc<RollbackStarted>,
    /// When.
    pub at: Millis,
    /// Whether it was announced that it takes longer than the runbook wants.
    pub overdue: bool,
    /// Whether it is finished, and the run goes on.
    pub finished: bool,
}

/// The point after which nothing is rolled back by itself: the path of a step, or `stage/` and the name of a stage.
pub(super) fn horizon(step: Option<&Arc<str>>, stage: Option<&str>) -> Arc<str> {
    match (step, stage) {
        (Some(step), _) => Arc::clone(step),
        (None, Some(stage)) => format!("stage/{stage}").into(),
        (None, None) => "".into(),
    }
}

/// Whether a path is that of a step of the way forward.
pub(super) fn is_main(path: &str) -> bool {
    !path.contains('/')
}

impl State {
    pub(super) fn begin_rollback(&mut self, started: &RollbackStarted, at: Millis) {
        if started.cause == Cause::Operator {
            // Who wants it taken back does not want it to end where it is any more.
            self.cancelled = None;
        }
        self.rollback =
            Some(RollbackState { started: Arc::new(started.clone()), at, overdue: false, finished: false });
        let listed: Vec<Arc<str>> =
            self.undo_list().map(|(step, ..)| format!("undo/{step}").into()).collect();
        for (path, state) in &mut self.steps {
            if is_main(path) {
                for work in state.all_mut() {
                    self.questions -= usize::from(work.withdraw_question());
                }
            }
        }
        for path in listed {
            self.reset_undo(&path, false);
        }
    }

    /// An undo that is over, or was given up, is to be had again.
    fn reset_undo(&mut self, path: &str, all: bool) {
        let Some(state) = self.steps.get_mut(path) else { return };
        for work in state.all_mut() {
            self.questions -= usize::from(work.withdraw_question());
            work.restart();
            work.skipped = None;
            for attempt in work.attempts.iter_mut().filter(|attempt| all || !attempt.is_unknown()) {
                attempt.taken_back = true;
            }
        }
    }

    /// A step of the way forward begins anew: what had been taken back of it is done with.
    pub(super) fn forget_undo(&mut self, step: &str) {
        self.reset_undo(&format!("undo/{step}"), true);
    }

    /// The undo of a step or item is done.
    pub(super) fn take_back(&mut self, undo: &str, item: Option<&Arc<str>>) {
        let Some(step) = undo.strip_prefix("undo/") else { return };
        let Some(state) = self.steps.get_mut(step) else { return };
        let work = match item {
            None => Some(&mut state.work),
            Some(item) => {
                state.items.as_mut().and_then(|items| items.get_mut(item)).map(|item| &mut item.work)
            }
        };
        for attempt in work.into_iter().flat_map(|work| &mut work.attempts) {
            attempt.taken_back |= attempt.may_have_effect();
        }
    }

    pub(super) fn inherit(&mut self, entries: &[Inherited]) {
        let goes_back = self
            .created()
            .and_then(|created| created.parent.as_ref())
            .is_some_and(|parent| parent.kind == ParentKind::Rollback);
        for entry in entries {
            let work = inherited_work(entry, goes_back);
            let state = self.step_mut(&entry.step);
            match &entry.item {
                None => state.work = work,
                Some(item) => {
                    let value = entry.value.clone().unwrap_or_default();
                    let items = state.items.get_or_insert_with(IndexMap::new);
                    items.insert(Arc::clone(item), ItemState { value, work });
                }
            }
        }
    }

    /// The rollback that was begun last, if any was.
    #[must_use]
    pub const fn rollback(&self) -> Option<&RollbackState> {
        self.rollback.as_ref()
    }

    /// Whether the run goes back now.
    #[must_use]
    pub fn goes_back(&self) -> bool {
        self.verdict().is_none() && self.rollback.as_ref().is_some_and(|rollback| !rollback.finished)
    }

    /// Whether effects of the way forward are still under way.
    #[must_use]
    pub const fn is_settling(&self) -> bool {
        self.applying > 0
    }

    /// The points passed after which nothing is rolled back by itself: paths of steps, and `stage/` with the name of a
    /// stage.
    #[must_use]
    pub fn horizons(&self) -> &[Arc<str>] {
        &self.horizons
    }

    /// What is to be taken back: steps and items of which an attempt may have had its effect, in the order in which
    /// they began.
    pub fn undo_list(&self) -> impl Iterator<Item = (&str, Option<&str>, &Work)> {
        self.works().filter(|(step, _, work)| is_main(step) && work.is_listed())
    }

    /// Whether anything was applied, or may have been. An attempt after which everything was found as before counts as
    /// nothing here, though it is undone if the run goes back.
    #[must_use]
    pub fn has_applied(&self) -> bool {
        self.undo_list().any(|(_, _, work)| work.effect_left() != Effect::None)
    }

    /// Whether a step was done, and it or any of its items taken back since: it is no success any more.
    #[must_use]
    pub fn is_undone(&self, step: &str) -> bool {
        self.steps.get(step).is_some_and(|state| state.all().any(Work::was_taken_back))
    }

    /// The undo of a step or item; of an item whose step is undone as a whole, or not at all, that of the step.
    fn undo_of(&self, step: &str, item: Option<&str>) -> Option<&Work> {
        let path = format!("undo/{step}");
        self.work(&path, item).or_else(|| self.work(&path, None))
    }

    /// What was applied and not taken back, where it was to be.
    pub fn left_behind(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let waived = |undo: &Work| matches!(undo.skipped, Some((SkipReason::NotNeeded, _)));
        self.undo_list()
            .filter(move |(step, item, work)| {
                work.effect_left() != Effect::None && !self.undo_of(step, *item).is_some_and(waived)
            })
            .map(|(step, item, _)| (step, item))
    }

    /// Whether there was nothing to take back when the run turned.
    pub(crate) fn undid_nothing(&self) -> bool {
        self.steps.keys().all(|path| !path.starts_with("undo/"))
    }

    /// Whether the commit of this step or stage was passed.
    pub(crate) fn has_passed(&self, step: Option<&Arc<str>>, stage: Option<&str>) -> bool {
        let path = horizon(step, stage);
        self.horizons.contains(&path)
    }

    /// What the steps have left in the world, as far as is known now.
    #[must_use]
    pub fn world(&self) -> World {
        let (mut unknown, mut left, mut restored) = (false, false, false);
        for (step, item, work) in self.works().filter(|(step, _, _)| is_main(step)) {
            let undo = self.rollback.as_ref().and_then(|_| self.undo_of(step, item));
            let waived = undo
                .and_then(|undo| undo.skipped.as_ref())
                .is_some_and(|(reason, _)| *reason == SkipReason::NotNeeded);
            let effect = work.effect_left();
            restored |= work.was_taken_back() || (waived && effect != Effect::None);
            if waived {
                continue;
            }
            unknown |= effect == Effect::Unknown || undo.is_some_and(Work::has_unknown);
            left |= effect != Effect::None;
        }
        match (unknown, left, restored) {
            (true, ..) => World::Unknown,
            (false, false, false) => World::Untouched,
            (false, true, false) => World::Changed,
            (false, false, true) => World::Restored,
            (false, true, true) => World::Mixed,
        }
    }

    /// What a run that follows this one takes over: for one that goes back everything that has begun, for one that
    /// continues what has still an effect.
    #[must_use]
    pub fn inheritance(&self, kind: ParentKind) -> Vec<Inherited> {
        self.steps
            .iter()
            .filter(|(path, _)| is_main(path))
            .flat_map(|(path, state)| {
                let undo = self.steps.get(&*format!("undo/{path}"));
                let own = inherited(path, None, &state.work, undo.map(|undo| &undo.work));
                let items = state.items.iter().flatten().map(move |(key, item)| {
                    let undo = undo.and_then(|undo| undo.items.as_ref()?.get(key)).map(|undo| &undo.work);
                    inherited(path, Some((key, item)), &item.work, undo)
                });
                std::iter::once(own).chain(items)
            })
            .filter(|entry| kind == ParentKind::Rollback || !entry.attempts.is_empty())
            .collect()
    }
}

impl StepState {
    /// Whether anything of it is to be taken back.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.all().any(Work::is_listed)
    }

    /// The work of the step and of each of its items.
    fn all(&self) -> impl Iterator<Item = &Work> {
        std::iter::once(&self.work).chain(self.items.iter().flat_map(IndexMap::values).map(|item| &item.work))
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Work> {
        let items = self.items.iter_mut().flat_map(IndexMap::values_mut).map(|item| &mut item.work);
        std::iter::once(&mut self.work).chain(items)
    }
}

fn inherited(
    step: &Arc<str>,
    item: Option<(&Arc<str>, &ItemState)>,
    work: &Work,
    undo: Option<&Work>,
) -> Inherited {
    let lost = undo.into_iter().flat_map(|undo| &undo.attempts).filter(|attempt| attempt.is_unknown());
    Inherited {
        step: Arc::clone(step),
        item: item.map(|(key, _)| Arc::clone(key)),
        value: item.map(|(_, item)| Arc::clone(&item.value)),
        phase: work.phase,
        effect: work.effect,
        generation: work.generation,
        call: work.call.clone(),
        writes: work.writes,
        input: work.input.clone(),
        output: work.output.clone(),
        failure: work.failure.clone(),
        undo: work.prepared.clone(),
        attempts: work
            .attempts
            .iter()
            .filter(|attempt| attempt.may_have_effect())
            .map(inherited_attempt)
            .collect(),
        processes: lost.flat_map(|attempt| attempt.processes.iter().cloned()).collect(),
    }
}

fn inherited_attempt(attempt: &AttemptState) -> InheritedAttempt {
    InheritedAttempt {
        attempt: attempt.attempt.clone(),
        key: Arc::clone(&attempt.key),
        input: attempt.input.clone(),
        plan: Arc::clone(&attempt.plan),
        receipts: attempt.receipts.clone(),
        processes: attempt.processes.clone(),
        started_at: attempt.started_at,
        // What nobody saw the end of is unknown to whoever comes after. What seemed to be without effect still may.
        effect: match attempt.effect {
            None | Some(Effect::None) => Effect::Unknown,
            Some(effect) => effect,
        },
        output: attempt.output.clone(),
    }
}

fn inherited_work(entry: &Inherited, goes_back: bool) -> Work {
    let attempts = entry.attempts.iter().map(|attempt| AttemptState {
        attempt: attempt.attempt.clone(),
        key: Arc::clone(&attempt.key),
        input: attempt.input.clone(),
        plan: Arc::clone(&attempt.plan),
        receipts: attempt.receipts.clone(),
        processes: attempt.processes.clone(),
        started_at: attempt.started_at,
        ended_at: Some(attempt.started_at),
        effect: Some(attempt.effect),
        output: attempt.output.clone(),
        failure: None,
        seemed_none: false,
        taken_back: false,
    });
    let work = Work {
        generation: entry.generation,
        call: entry.call.clone(),
        writes: entry.writes,
        input: entry.input.clone(),
        attempts: attempts.collect(),
        prepared: entry.undo.clone(),
        // Programs of lost undo attempts must be gone even where every attempt of the step is known.
        inherited_processes: entry.processes.clone(),
        ..Work::default()
    };
    if !goes_back {
        return work;
    }
    Work {
        phase: if entry.phase == Phase::Asking { Phase::Resolving } else { entry.phase },
        effect: entry.effect,
        output: entry.output.clone(),
        failure: entry.failure.clone(),
        ..work
    }
}
