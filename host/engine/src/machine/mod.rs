//! The machine: what is observed goes in, what shall be done comes out.
//!
//! It owns the run's state and, beside it, what only lives as long as the process: calls under way, timers, the queue
//! of what is ready. All of that can be made again from the state. Invariants: the state changes only by folding an
//! event that is recorded; an effect's call comes after a commit that holds its intention; an observation costs the
//! same however many steps and items there are.

mod approvals;
mod baselines;
mod begin;
mod calls;
mod finish;
mod forward;
mod guards;
mod items;
mod locks;
mod people;
mod reading;
mod requests;
mod rollback;
mod streak;
mod timeline;
mod undo;
mod verdict;
mod writing;

pub(crate) use items::items_of;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use windlass_runbook::model::{Runbook, Step};
use windlass_runbook::outcome::Plan;

use crate::command::{CallId, Command, Observation};
use crate::compare::Comparison;
use crate::event::{CallName, Event, Samples};
use crate::failure::{CallFailure, CallPhase, Measured, StepFailure};
use crate::identity::{Direction, EffectId, Millis};
use crate::layout::Layout;
use crate::scope::RunScope;
use crate::state::State;
use crate::words::Hold;
use crate::work::Work;

/// The longest that a reading call may take where the step has no timeout.
pub(crate) const READ_MS: u64 = 60_000;
/// The same of `plan-X`.
pub(crate) const PLAN_MS: u64 = 30_000;
/// The same of `apply-X`.
pub(crate) const APPLY_MS: u64 = 600_000;
/// How long something is asked that says it is on its way, where the step has no timeout.
const POLL_MS: u64 = 600_000;
/// A pause longer than this is not begun with events that are not durable.
const PAUSE_MS: Millis = 1_000;

/// A step, or an item of one, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Unit {
    step: usize,
    item: Option<usize>,
}

impl Unit {
    const fn step(step: usize) -> Self {
        Self { step, item: None }
    }
}

/// What only this process knows of a unit that has begun and is not over.
#[derive(Debug, Default)]
struct Live {
    /// The call under way, and when it began.
    call: Option<(CallId, CallPhase, Millis)>,
    /// The number of the timer that wakes it.
    timer: Option<u64>,
    /// When the step's timeout is over. Counts from the step's start, or from when this process took it over: the
    /// time that a dead host was away is not the step's fault.
    deadline: Option<Millis>,
    /// When asking after something on its way is given up.
    poll_until: Option<Millis>,
    /// How often it was asked.
    polls: u32,
    /// The in-place plan whose output is being read.
    plan: Option<Arc<Plan>>,
    gate: Option<GateLive>,
}

/// The samples of a gate in this process.
#[derive(Debug, Default)]
struct GateLive {
    open_since: Option<Millis>,
    shut_since: Option<Millis>,
    last_at: Option<Millis>,
    /// What the last event about it said: open, and since when.
    announced: Option<(bool, Millis)>,
    samples: Samples,
    measured: Vec<Measured>,
    failure: Option<CallFailure>,
    /// How many samples in a row have failed.
    failures: u32,
    /// How `until` compares, once that was looked at.
    comparison: Option<Option<Comparison>>,
}

/// The items of a `for_each` in this process.
#[derive(Debug, Default)]
struct Fan {
    /// The first item that was not looked at yet.
    next: usize,
    running: usize,
    /// Items of an undo that wait for a person, and keep no other from its turn.
    asking: usize,
    failed: usize,
}

/// The commands of one decision, by kind.
#[derive(Debug, Default)]
struct Batch {
    records: Vec<Command>,
    /// What goes into the commit with the records.
    within: Vec<Command>,
    commit: bool,
    cancels: Vec<Command>,
    calls: Vec<Command>,
    rest: Vec<Command>,
}

/// The state machine of one run.
#[derive(Debug)]
pub struct Machine {
    layout: Arc<Layout>,
    state: State,
    now: Millis,
    started: bool,
    /// How many edges each node still waits for.
    waits_for: Vec<usize>,
    ready: VecDeque<Unit>,
    live: HashMap<Unit, Live>,
    calls: HashMap<CallId, Unit>,
    last_call: u64,
    timers: BinaryHeap<Reverse<(Millis, u64, Unit)>>,
    last_timer: u64,
    fans: HashMap<usize, Fan>,
    /// Main steps that nothing may follow yet, and stages whose time has yet to come.
    unsatisfied: usize,
    finally_open: usize,
    interrupts: u32,
    /// Whether whoever drives the run wants to be rid of it, paused as it is.
    leaves: bool,
    report: Option<String>,
    awaiting_report: bool,
    uncommitted: bool,
    batch: Batch,
    rollback: Option<rollback::Rollback>,
    guards: guards::Guards,
    approvals: approvals::Approvals,
    timeline: timeline::Timeline,
    locking: locks::Locking,
    /// What the runner was last told that the run waits for.
    waiting: Option<Vec<Hold>>,
    /// Units looked at; what a test of cost counts.
    looked_at: u64,
}

impl Machine {
    /// A machine for a run with at least its first event folded. `runbook` is what `check` makes of the pinned texts.
    #[must_use]
    pub fn new(runbook: Arc<Runbook>, state: State) -> Self {
        let guards = guards::Guards::new(&runbook.guards);
        let layout = Layout::new(runbook);
        let mut machine = Self {
            waits_for: layout.waits_for(),
            unsatisfied: layout.unsatisfied(),
            finally_open: layout.finally().len(),
            layout: Arc::new(layout),
            now: state.last_at(),
            state,
            started: false,
            ready: VecDeque::new(),
            live: HashMap::new(),
            calls: HashMap::new(),
            last_call: 0,
            timers: BinaryHeap::new(),
            last_timer: 0,
            fans: HashMap::new(),
            interrupts: 0,
            leaves: false,
            report: None,
            awaiting_report: false,
            uncommitted: false,
            batch: Batch::default(),
            rollback: None,
            guards,
            approvals: approvals::Approvals::default(),
            timeline: timeline::Timeline::default(),
            locking: locks::Locking::default(),
            waiting: None,
            looked_at: 0,
        };
        machine.find_approvals();
        machine
    }

    /// The run as it stands now, with everything that has been recorded.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// How many calls are under way.
    #[must_use]
    pub fn calls_under_way(&self) -> usize {
        self.calls.len()
    }

    /// How many times a step or item was looked at so far: what shows that the cost per event does not grow.
    #[must_use]
    pub const fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// What shall be done after this observation. `now` is the wall clock; it may step back, the run's time does not.
    pub fn decide(&mut self, observation: Observation, now: Millis) -> Vec<Command> {
        self.now = self.now.max(now);
        match observation {
            Observation::Started { epoch, who } => self.take_over(epoch, who),
            Observation::Tick => (),
            Observation::Called { call, report } => self.called(call, report),
            Observation::Receipt { call, text } => self.receipt(call, text),
            Observation::ProcessStarted { call, identity } => self.process_started(call, identity),
            Observation::ConnectionSeen { connection, identity } => {
                self.connection_seen(connection, identity);
            }
            Observation::Asked(asked) => self.asked(asked),
            Observation::Locked { group, fence } => self.locked(group, fence),
            Observation::LockBusy { group, by } => self.lock_busy(group, by),
            Observation::ClockStepped { by_ms } => self.clock_stepped(by_ms),
            Observation::Interrupt { who } => self.interrupt(&who),
            Observation::Report { text } => {
                self.report = Some(text);
                if std::mem::take(&mut self.awaiting_report) {
                    self.ready.extend(self.layout.finally().map(Unit::step));
                }
            }
        }
        if self.started {
            self.fire_timers();
            self.settle();
        }
        self.take_batch()
    }

    fn take_batch(&mut self) -> Vec<Command> {
        let mut batch = std::mem::take(&mut self.batch);
        let mut commands = batch.records;
        let within = !batch.within.is_empty();
        commands.append(&mut batch.within);
        if within || (batch.commit && self.uncommitted) {
            commands.push(Command::Commit);
            self.uncommitted = false;
        }
        // What was begun and is not wanted any more, all in one decision: it has to be made before it can be cut off.
        let begun = |cancel: &Command| {
            matches!(cancel, Command::Cancel { call } if batch.calls.iter().any(|begun| {
                matches!(begun, Command::Call { call: begun, .. } if begun == call)
            }))
        };
        let (mut at_once, cancels): (Vec<_>, Vec<_>) = batch.cancels.into_iter().partition(begun);
        commands.extend(cancels);
        commands.append(&mut batch.calls);
        commands.append(&mut at_once);
        commands.append(&mut batch.rest);
        commands
    }

    fn record(&mut self, event: Event) {
        self.state.fold(&event, self.now);
        self.batch.records.push(Command::Record { event, at: self.now });
        self.uncommitted = true;
    }

    const fn commit(&mut self) {
        self.batch.commit = true;
    }

    /// Does all that can be done without an observation.
    fn settle(&mut self) {
        self.look_at_lock();
        self.look_at_window();
        self.look_at_approvals();
        self.look_at_rollback();
        loop {
            while self.may_start() {
                let Some(unit) = self.ready.pop_front() else { break };
                self.advance(unit);
            }
            if !self.go_on() {
                break;
            }
        }
        self.take_baselines();
        self.look_at_guards();
        self.look_at_lock();
        self.rest();
    }

    /// Whether new work may start now.
    fn may_start(&self) -> bool {
        let over = self.state.ended().is_some() || self.state.terminated().is_some();
        if over || self.awaiting_report || self.waits_for_lock() {
            return false;
        }
        let wanted = !self.state.is_held_for(Hold::Operator) && !self.state.is_held_for(Hold::Identity);
        match self.state.verdict() {
            // Whatever held the run, the finally steps run; but not against a person's word or in a strange place.
            Some(_) => wanted,
            // The same is true of going back.
            None if self.state.goes_back() => wanted && self.state.cancelled().is_none(),
            None => self.state.cancelled().is_none() && self.state.holds().is_empty(),
        }
    }

    /// What the runner is to wait for.
    fn rest(&mut self) {
        if let Some(ended) = self.state.ended() {
            self.commit();
            self.batch
                .rest
                .push(Command::Ended { verdict: ended.verdict, finally_failed: ended.finally_failed });
            return;
        }
        let busy = !self.calls.is_empty() || self.awaiting_report || self.is_drafting();
        let may_start = self.may_start();
        let timer = if may_start { self.next_timer() } else { None };
        let back = self.rollback_wake().filter(|_| busy || timer.is_some());
        let others = [back, self.lock_wake(), self.window_wake(), self.approvals_wake(), self.guards_wake()];
        let wake = others.into_iter().flatten().chain(timer).min();
        if let Some(at) = wake {
            if !busy && at - self.now > PAUSE_MS {
                self.commit();
            }
            self.batch.rest.push(Command::WakeAt { at });
        }
        let stands =
            !busy && timer.is_none() && (!may_start || self.is_asking_people() || self.state.goes_back());
        if !stands || self.is_asking_for_lock() {
            self.waiting = None;
            return;
        }
        let mut reasons: Vec<Hold> = self.state.holds().iter().map(|held| held.reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        self.commit();
        if self.leaves || (wake.is_none() && !self.is_watched()) {
            self.batch.rest.push(Command::Held { reasons });
        } else if self.waiting.as_ref() != Some(&reasons) {
            self.waiting = Some(reasons.clone());
            self.batch.rest.push(Command::Waiting { reasons });
        }
    }

    // --- looking things up ---

    fn step_of(layout: &Layout, unit: Unit) -> Option<&Step> {
        layout.step(unit.step)
    }

    fn work(&self, unit: Unit) -> Option<&Work> {
        let state = self.state.step(&self.layout.path(unit.step))?;
        match unit.item {
            None => Some(&state.work),
            Some(item) => state.items.as_ref()?.get_index(item).map(|(_, item)| &item.work),
        }
    }

    fn item_key(&self, unit: Unit) -> Option<Arc<str>> {
        let items = self.state.step(&self.layout.path(unit.step))?.items.as_ref()?;
        items.get_index(unit.item?).map(|(key, _)| Arc::clone(key))
    }

    fn item_value(&self, unit: Unit) -> Option<Arc<Value>> {
        let items = self.state.step(&self.layout.path(unit.step))?.items.as_ref()?;
        items.get_index(unit.item?).map(|(_, item)| Arc::clone(&item.value))
    }

    /// What this process knows of a unit; the clock of its timeout starts with the first question.
    fn live(&mut self, unit: Unit) -> &mut Live {
        let now = self.now;
        let layout = &self.layout;
        self.live.entry(unit).or_insert_with(|| Live {
            deadline: layout
                .step(unit.step)
                .and_then(|step| step.timeout_ms)
                .or_else(|| layout.is_aside(unit.step).then_some(APPLY_MS))
                .map(|timeout| now.saturating_add(millis(timeout))),
            ..Live::default()
        })
    }

    fn is_gate(&self, unit: Unit) -> bool {
        self.layout.step(unit.step).is_some_and(|step| step.gate.is_some())
    }

    fn is_past_deadline(&mut self, unit: Unit) -> bool {
        let now = self.now;
        self.live(unit).deadline.is_some_and(|deadline| now >= deadline)
    }

    /// The timeout that the deadline was made of.
    fn timeout_ms(&self, unit: Unit) -> u64 {
        self.layout.step(unit.step).and_then(|step| step.timeout_ms).unwrap_or(APPLY_MS)
    }

    fn effect_id(&self, unit: Unit, attempt: u32) -> EffectId {
        EffectId {
            step: self.layout.path(unit.step),
            item: self.item_key(unit),
            generation: self.work(unit).map_or(1, |work| work.generation.max(1)),
            direction: if self.is_undo(unit) { Direction::Undo } else { Direction::Do },
            attempt,
        }
    }

    fn key(&self, unit: Unit) -> Arc<str> {
        let run = self.state.created().map_or("", |created| &created.run);
        self.effect_id(unit, 1).idempotency_key(run).into()
    }

    fn scope<'a>(&'a self, item: Option<&'a Value>, result: Option<&'a Value>) -> RunScope<'a> {
        RunScope { state: &self.state, item, result, report: self.report.as_deref(), now: self.now }
    }

    fn hold(&mut self, reason: Hold, message: String, step: Option<Arc<str>>) {
        if !self.state.is_held_for(reason) {
            self.record(Event::RunHeld { reason, message, step });
        }
    }

    fn release(&mut self, reason: Hold, who: &str) {
        if self.state.is_held_for(reason) {
            self.record(Event::RunReleased { reason, step: None, who: who.to_owned() });
        }
    }

    /// Lifts the hold that is about this step or guard, and no other.
    fn release_of(&mut self, reason: Hold, path: &Arc<str>, who: &str) {
        if self.state.is_held_by(reason, path) {
            self.record(Event::RunReleased { reason, step: Some(Arc::clone(path)), who: who.to_owned() });
        }
    }

    fn name(&self, unit: Unit) -> Option<CallName> {
        self.layout.call(unit.step).cloned()
    }

    fn fail_expression(&mut self, unit: Unit, field: &str, message: &impl ToString) {
        let failure = StepFailure::Expression { field: field.to_owned(), message: message.to_string() };
        self.fail(unit, failure);
    }
}

/// Milliseconds of a span as they are added to a point in time.
pub(crate) fn millis(span: u64) -> Millis {
    Millis::try_from(span).unwrap_or(Millis::MAX)
}
