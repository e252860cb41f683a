//! Going back: how it begins, which undo comes next, and when it is over.
//!
//! From the moment it begins nothing starts forward any more. Reads are dropped; an effect under way may go on for its
//! grace, is then cut off, and its undo finds out what became of it. Undos take the edges that gated the start, in
//! reverse: one begins as soon as everything that came after it is taken back, whatever else still runs. Invariant: an
//! undo that is not done blocks those before it in that graph, and no other.

use std::collections::HashMap;
use std::sync::Arc;

use windlass_runbook::model::{OnExpiry, OnFailure, RollbackOrder, StepBody};

use super::{Machine, Unit, millis};
use crate::command::Command;
use crate::event::{Event, ParentKind, RollbackStarted};
use crate::horizon::{NEEDS_PAST_COMMIT, crosses, named};
use crate::identity::Millis;
use crate::layout::{Layout, Mirror, Node, Role};
use crate::state::Stand;
use crate::words::{Cause, Hold, Phase};

/// How long an effect under way may go on after a person or a failure turned the run back.
const GRACE_MS: u64 = 5_000;
/// Who lifts the holds that do not matter any more.
const ROLLBACK: &str = "the rollback";

/// What this process knows of a rollback under way.
#[derive(Debug)]
pub(super) struct Rollback {
    mirror: Mirror,
    /// By node: whether what came before it may be taken back.
    cleared: Vec<bool>,
    /// How many are not.
    left: usize,
    /// By node: whether it is to be taken back at all.
    scope: Option<Vec<bool>>,
    /// The calls of the way forward that have not ended, by step.
    busy: HashMap<usize, usize>,
    /// The rollback steps that come before the undos and are not over.
    before: usize,
    /// Those that come after; none before it is their turn.
    after: Option<usize>,
    /// When effects under way are cut off.
    interrupt_at: Option<Millis>,
}

impl Machine {
    /// A step failed, and something was applied: the run goes back, or is held where it must not by itself.
    pub(super) fn failed_step(&mut self, step: usize, message: String) {
        if self.state.cancelled().is_some() || self.state.terminated().is_some() {
            // It ends where it is.
            return;
        }
        let path = self.layout.path(step);
        let wanted = !self.expiry_holds(step)
            && match self.layout.step(step).map(|step| step.on_failure) {
                Some(OnFailure::Rollback) => true,
                Some(OnFailure::Auto) => self.state.has_applied(),
                _ => false,
            };
        if !wanted {
            return self.hold(Hold::Failure, message, Some(path));
        }
        if self.is_committed() {
            let message =
                format!("{message}; the run is past its commit, so nothing is rolled back by itself");
            return self.hold(Hold::Failure, message, Some(path));
        }
        self.begin_rollback(RollbackStarted {
            cause: Cause::Failure,
            who: path.to_string(),
            reason: message,
            only: Vec::new(),
            past_commit: false,
            grace_ms: Some(GRACE_MS),
        });
    }

    /// Whether it is an approval whose time ran out, which the runbook wants held and nothing more.
    fn expiry_holds(&self, step: usize) -> bool {
        let expired = self
            .state
            .approval(&self.layout.path(step))
            .is_some_and(|approval| approval.stand == Stand::Expired);
        expired
            && self.layout.step(step).is_some_and(|step| {
                matches!(&step.body, StepBody::Approve(approval) if approval.on_expiry == OnExpiry::Hold)
            })
    }

    /// A guard has seen enough.
    pub(super) fn roll_back_for_guard(&mut self, path: &Arc<str>, reason: String, grace_ms: Option<u64>) {
        self.begin_rollback(RollbackStarted {
            cause: Cause::Guard,
            who: path.to_string(),
            reason,
            only: Vec::new(),
            past_commit: false,
            grace_ms,
        });
    }

    /// A person wants it.
    pub(super) fn roll_back_for_operator(
        &mut self,
        who: &str,
        reason: String,
        only: &[String],
        past_commit: bool,
    ) -> Result<(), String> {
        let only = named(&self.layout, &self.state, only)?;
        if !past_commit && crosses(&self.layout, &self.state, &only) {
            return Err(NEEDS_PAST_COMMIT.to_owned());
        }
        if past_commit && reason.trim().is_empty() {
            return Err("rolling back past the commit needs a reason".to_owned());
        }
        // The way back is stopped as the way forward is, from the first word on.
        self.interrupts = 0;
        self.begin_rollback(RollbackStarted {
            cause: Cause::Operator,
            who: who.to_owned(),
            reason,
            only: only.iter().map(|step| self.layout.path(*step)).collect(),
            past_commit,
            grace_ms: Some(GRACE_MS),
        });
        Ok(())
    }

    fn begin_rollback(&mut self, started: RollbackStarted) {
        let (cause, grace_ms) = (started.cause, started.grace_ms);
        self.record(Event::RollbackStarted(Box::new(started)));
        for hold in [Hold::Failure, Hold::Unknown, Hold::Guard, Hold::Late, Hold::Window] {
            self.release(hold, ROLLBACK);
        }
        if cause == Cause::Operator {
            self.release(Hold::Operator, ROLLBACK);
        }
        self.commit();
        self.stop_forward();
        let interrupt_at = grace_ms.map(|grace| self.now.saturating_add(millis(grace)));
        self.go_back(interrupt_at);
    }

    /// Drops everything that is not an effect under way.
    fn stop_forward(&mut self) {
        self.drop_drafts();
        self.ready.clear();
        self.fans.clear();
        self.live.retain(|_, live| live.call.is_some());
        for live in self.live.values_mut() {
            live.timer = None;
        }
        self.cut_off(false);
    }

    /// The run goes back, from wherever it stands: begun now, or before this process took it over.
    pub(super) fn go_back(&mut self, interrupt_at: Option<Millis>) {
        let Some(started) = self.state.rollback().map(|rollback| Arc::clone(&rollback.started)) else {
            return;
        };
        let layout = Arc::clone(&self.layout);
        let mirror = layout.mirror();
        let cleared: Vec<bool> = (0..mirror.waits_for.len()).map(|node| layout.is_extra(node)).collect();
        let mut busy = HashMap::new();
        for unit in self.calls.values().filter(|unit| layout.role(unit.step) == Role::Main) {
            *busy.entry(unit.step).or_default() += 1;
        }
        let only: Vec<usize> = started.only.iter().filter_map(|path| layout.find(path)).collect();
        let before: Vec<usize> = layout.rollback(RollbackOrder::Before).collect();
        let open = |steps: &[usize]| steps.iter().filter(|step| !self.is_over(**step)).count();
        self.rollback = Some(Rollback {
            left: cleared.iter().filter(|cleared| !**cleared).count(),
            cleared,
            mirror,
            // Steps that are not there are no reason to take back all the others.
            scope: (!started.only.is_empty()).then(|| layout.downstream(&only)),
            busy,
            before: open(&before),
            after: None,
            interrupt_at,
        });
        for step in before {
            self.take_up(Unit::step(step));
        }
        self.open_undos();
    }

    fn is_over(&self, step: usize) -> bool {
        self.work(Unit::step(step)).is_some_and(|work| work.phase.is_over())
    }

    /// Begins with the undos that wait for nothing, once the steps before them are over.
    fn open_undos(&mut self) {
        let Some(rollback) = self.rollback.as_ref().filter(|rollback| rollback.before == 0) else { return };
        let open = rollback.mirror.waits_for.iter().zip(&rollback.cleared).enumerate();
        let open: Vec<Node> =
            open.filter(|(_, (count, cleared))| **count == 0 && !**cleared).map(|(node, _)| node).collect();
        self.look_at_undos(open);
    }

    /// Takes up the undos of these nodes, for which everything that came after is taken back; and of those that are
    /// next where there is nothing to do.
    fn look_at_undos(&mut self, mut nodes: Vec<Node>) {
        let layout = Arc::clone(&self.layout);
        while let Some(node) = nodes.pop() {
            let Some(rollback) = self.rollback.as_ref().filter(|rollback| rollback.before == 0) else {
                return;
            };
            let ready = rollback.mirror.waits_for.get(node) == Some(&0)
                && rollback.cleared.get(node) == Some(&false)
                && !rollback.busy.contains_key(&node);
            if !ready {
                continue;
            }
            self.looked_at += 1;
            if self.is_taken_back(node, &layout) {
                self.clear(node, &mut nodes);
            } else if !self.is_over(layout.undo(node)) {
                self.take_up(Unit::step(layout.undo(node)));
            }
        }
    }

    /// Whether there is nothing to take back of a node, or not any more.
    fn is_taken_back(&self, node: Node, layout: &Layout) -> bool {
        if layout.role(node) == Role::Barrier {
            return true;
        }
        let within = self
            .rollback
            .as_ref()
            .and_then(|rollback| rollback.scope.as_ref())
            .is_none_or(|scope| scope.get(node) == Some(&true));
        match self.work(Unit::step(layout.undo(node))).map(|work| work.phase) {
            _ if !within => true,
            Some(Phase::Succeeded | Phase::Skipped) => true,
            None | Some(Phase::Pending) => {
                !self.state.step(&layout.path(node)).is_some_and(crate::state::StepState::is_listed)
            }
            Some(_) => false,
        }
    }

    fn clear(&mut self, node: Node, nodes: &mut Vec<Node>) {
        let Some(rollback) = &mut self.rollback else { return };
        if let Some(cleared) = rollback.cleared.get_mut(node) {
            *cleared = true;
            rollback.left = rollback.left.saturating_sub(1);
        }
        for &gate in rollback.mirror.gates.get(node).into_iter().flatten() {
            if let Some(count) = rollback.mirror.waits_for.get_mut(gate) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    nodes.push(gate);
                }
            }
        }
    }

    /// A call of the way forward ended after the run had turned back.
    pub(super) fn call_is_over(&mut self, step: usize) {
        let Some(rollback) = &mut self.rollback else { return };
        let Some(count) = rollback.busy.get_mut(&step) else { return };
        *count -= 1;
        if *count == 0 {
            rollback.busy.remove(&step);
            self.look_at_undos(vec![step]);
        }
    }

    /// The undo of a step is over, well or not.
    pub(super) fn undo_is_over(&mut self, undo: usize) {
        if let Some(step) = self.layout.undone_by(undo) {
            self.look_at_undos(vec![step]);
        }
    }

    /// A rollback step is over, however it ended.
    pub(super) fn rollback_step_is_over(&mut self) {
        let Some(rollback) = &mut self.rollback else { return };
        if let Some(after) = &mut rollback.after {
            *after = after.saturating_sub(1);
            return;
        }
        rollback.before = rollback.before.saturating_sub(1);
        if rollback.before == 0 {
            self.open_undos();
        }
    }

    /// Goes on when every undo is over. True where the run is not held back any more: something is ready, or it is
    /// time for the verdict.
    pub(super) fn rollback_goes_on(&mut self) -> Advance {
        let layout = Arc::clone(&self.layout);
        let Some(rollback) = &mut self.rollback else { return Advance::Waits };
        if rollback.left > 0 || rollback.before > 0 {
            return Advance::Waits;
        }
        match rollback.after {
            None => {
                let after: Vec<usize> = layout.rollback(RollbackOrder::After).collect();
                let open = after.iter().filter(|step| !self.is_over(**step)).count();
                if let Some(rollback) = &mut self.rollback {
                    rollback.after = Some(open);
                }
                for step in after {
                    self.take_up(Unit::step(step));
                }
                Advance::Ready
            }
            Some(0) => self.end_rollback(),
            Some(_) => Advance::Waits,
        }
    }

    fn end_rollback(&mut self) -> Advance {
        let partial = self.state.rollback().is_some_and(|rollback| !rollback.started.only.is_empty());
        if !partial || self.is_rollback_run() {
            return Advance::Verdict;
        }
        self.record(Event::RollbackFinished);
        self.release(Hold::Failure, ROLLBACK);
        self.hold(Hold::Operator, "what was to be taken back is taken back".to_owned(), None);
        self.commit();
        self.rollback = None;
        self.lay_out_again();
        Advance::Waits
    }

    /// Whether a step was not to be taken back, since the rollback was limited to others.
    pub(super) fn is_spared(&self, path: &str) -> bool {
        let scope = self.rollback.as_ref().and_then(|rollback| rollback.scope.as_ref());
        let step = self.layout.find(path);
        scope.is_some_and(|scope| step.is_some_and(|step| scope.get(step) != Some(&true)))
    }

    /// Whether the run is there only to take back what another has left.
    pub(super) fn is_rollback_run(&self) -> bool {
        let parent = self.state.created().and_then(|created| created.parent.as_ref());
        parent.is_some_and(|parent| parent.kind == ParentKind::Rollback)
    }

    /// A run that takes back what another has left begins with that.
    pub(super) fn begin_rollback_run(&mut self) {
        let Some(created) = self.state.created() else { return };
        let Some(parent) = created.parent.clone() else { return };
        let started = RollbackStarted {
            cause: Cause::Operator,
            who: created.started_by.clone(),
            reason: parent.reason,
            only: parent.only.iter().map(|step| Arc::from(step.as_str())).collect(),
            past_commit: parent.past_commit,
            grace_ms: Some(GRACE_MS),
        };
        self.begin_rollback(started);
    }

    /// Cuts effects off that have used up their grace, and says when the whole takes too long.
    pub(super) fn look_at_rollback(&mut self) {
        if !self.state.goes_back() {
            return;
        }
        let now = self.now;
        if let Some(rollback) = &mut self.rollback
            && rollback.interrupt_at.is_some_and(|at| at <= now)
        {
            rollback.interrupt_at = None;
            let mut late: Vec<_> =
                self.calls.iter().filter(|(_, unit)| self.layout.role(unit.step) == Role::Main).collect();
            late.sort_unstable();
            let cancels: Vec<Command> = late
                .into_iter()
                .filter(|(_, unit)| {
                    let call = self.live.get(unit).and_then(|live| live.call);
                    call.is_some_and(|(_, phase, _)| phase.writes())
                })
                .map(|(call, _)| Command::Cancel { call: *call })
                .collect();
            self.batch.cancels.extend(cancels);
        }
        if let Some(at) = self.overdue_at()
            && at <= now
        {
            let limit_ms = self.layout.runbook().rollback_within_ms.unwrap_or_default();
            self.record(Event::RollbackOverdue { limit_ms });
            self.commit();
        }
    }

    fn overdue_at(&self) -> Option<Millis> {
        let within = self.layout.runbook().rollback_within_ms?;
        let rollback = self.state.rollback().filter(|rollback| !rollback.overdue)?;
        self.state.goes_back().then(|| rollback.at.saturating_add(millis(within)))
    }

    /// When a rollback needs a look by the clock. Only asked while it is at work: one that waits for a person waits as
    /// long as that takes.
    pub(super) fn rollback_wake(&self) -> Option<Millis> {
        let interrupt = self
            .rollback
            .as_ref()
            .and_then(|rollback| rollback.interrupt_at.filter(|_| !rollback.busy.is_empty()));
        interrupt.into_iter().chain(self.overdue_at()).min()
    }
}

/// How a rollback goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advance {
    /// For a call, a person, or the clock.
    Waits,
    /// Something is ready to be done.
    Ready,
    /// Everything is done.
    Verdict,
}
