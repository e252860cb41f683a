//! What a run has come to: the fold of its events.
//!
//! Evaluates nothing and asks nobody, so that a replay gives what the live run had. Invariant: folding an event costs
//! the same however many steps and items there are.

mod approvals;
mod guards;
mod safety;
mod timeline;
mod undo;

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::event::{Answer, AttemptRef, Event, Item, RunCreated};
use crate::identity::{Direction, Millis};
use crate::words::{Effect, Hold, Phase, Verdict, World};
use crate::work::{AttemptState, GateState, Question, Work};

pub use approvals::{ApprovalState, Stand};
pub use guards::{GuardState, Tripped};
use timeline::Timeline;
pub use timeline::{LockState, Scheduled};
pub use undo::RollbackState;

/// The state of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    created: Option<Arc<RunCreated>>,
    started_at: Millis,
    last_at: Millis,
    events: u64,
    epoch: u64,
    steps: IndexMap<Arc<str>, StepState>,
    connections: IndexMap<String, Value>,
    holds: Vec<Held>,
    questions: usize,
    cancelled: Option<Cancelled>,
    terminated: Option<Cancelled>,
    rollback: Option<RollbackState>,
    horizons: Vec<Arc<str>>,
    /// Attempts of the way forward that have started and not ended.
    applying: usize,
    verdict: Option<Decided>,
    ended: Option<Ended>,
    guards: IndexMap<Arc<str>, GuardState>,
    approvals: IndexMap<Arc<str>, ApprovalState>,
    timeline: Timeline,
}

/// Why a run is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The word for it.
    pub reason: Hold,
    /// In one sentence.
    pub message: String,
    /// The step it is about.
    pub step: Option<Arc<str>>,
    /// Since when.
    pub since: Millis,
}

/// Who ended the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    /// Who.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The word for it.
    pub verdict: Verdict,
    /// What is left in the world.
    pub world: World,
    /// In one sentence.
    pub reason: String,
    /// When.
    pub at: Millis,
}

/// How the run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The verdict.
    pub verdict: Verdict,
    /// Whether a finally step failed.
    pub finally_failed: bool,
    /// When.
    pub at: Millis,
}

/// A step: its own work, or that of its items.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepState {
    /// Of the step itself; of a `for_each` what its items come to.
    pub work: Work,
    /// The items of a `for_each`, once they are known.
    pub items: Option<IndexMap<Arc<str>, ItemState>>,
}

/// An item of a `for_each`.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemState {
    /// What `item` is in its expressions.
    pub value: Arc<Value>,
    /// What became of it.
    pub work: Work,
}

impl State {
    /// The state after these events.
    pub fn replay<'e>(events: impl IntoIterator<Item = (&'e Event, Millis)>) -> Self {
        let mut state = Self::default();
        for (event, at) in events {
            state.fold(event, at);
        }
        state
    }

    /// Takes one event in.
    pub fn fold(&mut self, event: &Event, at: Millis) {
        self.events += 1;
        self.last_at = self.last_at.max(at);
        match event {
            Event::RunCreated(created) => {
                self.created = Some(Arc::new((**created).clone()));
                self.started_at = at;
            }
            Event::OwnerChanged { epoch, .. } => self.epoch = *epoch,
            Event::ConnectionPinned { connection, identity } => {
                self.connections.insert(connection.clone(), identity.clone());
            }
            Event::ConnectionChanged { .. } => (),
            Event::RunHeld { reason, message, step } => {
                self.holds.push(Held {
                    reason: *reason,
                    message: message.clone(),
                    step: step.clone(),
                    since: at,
                });
            }
            Event::RunReleased { reason, step, .. } => {
                self.holds.retain(|held| held.reason != *reason || (step.is_some() && held.step != *step));
            }
            Event::CancelRequested { who, reason } => {
                self.cancelled = Some(Cancelled { who: who.clone(), reason: reason.clone() });
            }
            Event::TerminateRequested { who, reason } => {
                self.terminated = Some(Cancelled { who: who.clone(), reason: reason.clone() });
            }
            Event::RollbackStarted(started) => self.begin_rollback(started, at),
            Event::RollbackOverdue { .. } => {
                if let Some(rollback) = &mut self.rollback {
                    rollback.overdue = true;
                }
            }
            Event::RollbackFinished => {
                if let Some(rollback) = &mut self.rollback {
                    rollback.finished = true;
                }
            }
            Event::Committed { step, stage } => {
                self.horizons.push(undo::horizon(step.as_ref(), stage.as_deref()));
            }
            Event::UndoListInherited { entries, .. } => self.inherit(entries),
            Event::VerdictDecided { verdict, world, reason } => {
                self.verdict = Some(Decided { verdict: *verdict, world: *world, reason: reason.clone(), at });
            }
            Event::RunEnded { verdict, finally_failed } => {
                self.ended = Some(Ended { verdict: *verdict, finally_failed: *finally_failed, at });
            }
            Event::ItemsExpanded { step, items } => self.expand(step, items, at),
            Event::StepRestarted { step, item, .. } => self.restart(step, item.as_ref()),
            Event::StepSucceeded { step, item: None, effect, output } => {
                self.step_mut(step).succeed(*effect, output.clone(), at);
                self.take_back(step, None);
                self.fold_safety(event, at);
            }
            _ => {
                if !self.fold_safety(event, at) {
                    self.fold_work(event, at);
                }
            }
        }
    }

    fn fold_work(&mut self, event: &Event, at: Millis) {
        let Some((step, item)) = event.place() else { return };
        let asking_before =
            self.work(step, item.map(|item| &**item)).is_some_and(|work| work.question.is_some());
        let Some(work) = self.work_mut(step, item) else { return };
        match event {
            Event::StepStarted { generation, call, writes, gate, input, .. } => {
                work.start(*generation, call.clone(), *writes, *gate, input.clone(), at);
            }
            Event::StepSkipped { reason, because, .. } => {
                work.phase = Phase::Skipped;
                work.question = None;
                work.retry_at = None;
                work.skipped = Some((*reason, because.clone()));
                work.ended_at = Some(at);
            }
            Event::WaitStarted { until, .. } => {
                work.phase = Phase::Waiting;
                work.started_at = Some(at);
                work.wait_until = Some(*until);
            }
            // Finding out what became of an attempt is no try of its own.
            Event::PlanFailed { failure, .. } if work.has_unknown() => {
                work.last_failure = Some(failure.clone());
            }
            Event::ReadFailed { failure, .. } | Event::PlanFailed { failure, .. } => work.failed_try(failure),
            Event::GateSampled { open, since, samples, measured, failure, .. } => {
                let before = work.gate.take().map_or(0, |gate| gate.samples);
                work.gate = Some(GateState {
                    open: *open,
                    since: *since,
                    samples: before + samples.count,
                    last_at: samples.last_at,
                    measured: measured.clone(),
                    failure: failure.clone(),
                });
            }
            Event::AttemptStarted { attempt, key, plan } => {
                work.phase = Phase::Applying;
                work.retry_at = None;
                work.attempts.push(AttemptState {
                    attempt: attempt.clone(),
                    key: Arc::clone(key),
                    input: work.input.clone(),
                    plan: Arc::clone(plan),
                    receipts: Vec::new(),
                    processes: Vec::new(),
                    started_at: at,
                    ended_at: None,
                    effect: None,
                    output: None,
                    failure: None,
                    seemed_none: false,
                    taken_back: false,
                });
                work.restore = false;
            }
            Event::ReceiptLeft { attempt, text } => {
                if let Some(attempt) = work.attempt_mut(&attempt.effect) {
                    attempt.receipts.push(text.clone());
                }
            }
            Event::ProcessStarted { attempt, identity } => {
                if let Some(attempt) = work.attempt_mut(&attempt.effect) {
                    attempt.processes.push(identity.clone());
                }
            }
            Event::AttemptFinished { attempt, effect, output, failure, .. } => {
                work.finish_attempt(&attempt.effect, *effect, output.clone(), failure.as_ref(), at);
            }
            Event::AttemptsResolved { effect: Effect::None, .. } => work.seem_none(),
            Event::AttemptsResolved { effect, .. } => work.resolve(*effect),
            Event::UndoPrepared { undo, .. } => work.prepared = Some(undo.clone()),
            Event::InputChanged { input, .. } => work.given = Some(Arc::clone(input)),
            Event::Unchanged { .. } => work.retry_at = None,
            Event::Accepted { .. } => work.resolve(Effect::Accepted),
            Event::QuestionAsked { message, plan, blind, .. } => {
                work.phase = Phase::Asking;
                work.question =
                    Some(Question { message: message.clone(), plan: plan.clone(), since: at, blind: *blind });
            }
            Event::OperatorAnswered { answer, .. } => {
                work.question = None;
                match answer {
                    Answer::Applied { .. } => work.resolve(Effect::Accepted),
                    Answer::NotApplied => work.answered_not_applied(),
                    Answer::Restore => {
                        work.phase = Phase::Planning;
                        work.restore = true;
                    }
                    // Directly after it the undo is skipped.
                    Answer::Leave => (),
                }
            }
            Event::RetryScheduled { at, .. } => {
                work.phase = Phase::Retrying;
                work.retry_at = Some(*at);
            }
            Event::StepSucceeded { effect, output, .. } => work.succeed(*effect, output.clone(), at),
            Event::StepFailed { effect, failure, .. } => work.fail(*effect, failure.clone(), at),
            _ => (),
        }
        match event {
            Event::AttemptStarted { attempt, .. } if is_forward(attempt) => self.applying += 1,
            Event::AttemptFinished { attempt, .. } if is_forward(attempt) => {
                self.applying = self.applying.saturating_sub(1);
            }
            Event::StepSucceeded { .. } => self.take_back(step, item),
            _ => (),
        }
        let asking = self.work(step, item.map(|item| &**item)).is_some_and(|work| work.question.is_some());
        self.questions = self.questions + usize::from(asking) - usize::from(asking_before);
    }

    fn expand(&mut self, step: &Arc<str>, items: &[Item], at: Millis) {
        let state = self.step_mut(step);
        state.work.phase = Phase::Items;
        state.work.started_at = Some(at);
        // Only what another run has left can be there before; an item that is no longer wanted stays to be undone.
        let mut inherited = state.items.take().unwrap_or_default();
        let mut known: IndexMap<Arc<str>, ItemState> = items
            .iter()
            .map(|item| {
                let work = inherited.swap_remove(&item.key).map(|item| item.work).unwrap_or_default();
                (Arc::clone(&item.key), ItemState { value: Arc::clone(&item.value), work })
            })
            .collect();
        // An undo has the items that have something to take back, and no other of an earlier time.
        let left = if undo::is_main(step) { inherited } else { IndexMap::new() };
        for (key, mut item) in left {
            item.work.phase = Phase::Skipped;
            known.insert(key, item);
        }
        state.items = Some(known);
    }

    fn restart(&mut self, step: &Arc<str>, only: Option<&Arc<str>>) {
        if self.is_undone(step) {
            self.forget_undo(step);
        }
        let is_main = undo::is_main(step);
        let state = self.step_mut(step);
        let undone = state.work.was_taken_back();
        state.work.restart();
        if state.items.is_some() {
            state.work.phase = Phase::Items;
        }
        for (key, item) in state.items.iter_mut().flatten() {
            let meant = match only {
                Some(only) => key == only,
                None => {
                    item.work.phase == Phase::Failed || (is_main && (undone || item.work.was_taken_back()))
                }
            };
            if meant {
                item.work.restart();
            }
        }
    }

    fn step_mut(&mut self, step: &Arc<str>) -> &mut StepState {
        self.steps.entry(Arc::clone(step)).or_default()
    }

    fn work_mut(&mut self, step: &Arc<str>, item: Option<&Arc<str>>) -> Option<&mut Work> {
        match item {
            None => Some(&mut self.step_mut(step).work),
            Some(item) => self.steps.get_mut(step)?.items.as_mut()?.get_mut(item).map(|item| &mut item.work),
        }
    }

    /// What the run pins; none before the first event.
    #[must_use]
    pub fn created(&self) -> Option<&RunCreated> {
        self.created.as_deref()
    }

    /// When the run was created.
    #[must_use]
    pub const fn started_at(&self) -> Millis {
        self.started_at
    }

    /// When the last event happened.
    #[must_use]
    pub const fn last_at(&self) -> Millis {
        self.last_at
    }

    /// How many events there were.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The steps that have any event, by path, in the order of their first.
    #[must_use]
    pub const fn steps(&self) -> &IndexMap<Arc<str>, StepState> {
        &self.steps
    }

    /// A step by its path: its id, or `finally/ID`.
    #[must_use]
    pub fn step(&self, path: &str) -> Option<&StepState> {
        self.steps.get(path)
    }

    /// The work of a step or of one of its items.
    #[must_use]
    pub fn work(&self, step: &str, item: Option<&str>) -> Option<&Work> {
        let state = self.steps.get(step)?;
        match item {
            None => Some(&state.work),
            Some(item) => state.items.as_ref()?.get(item).map(|item| &item.work),
        }
    }

    /// What connections lead to.
    #[must_use]
    pub const fn connections(&self) -> &IndexMap<String, Value> {
        &self.connections
    }

    /// Why nothing new starts; empty where it does.
    #[must_use]
    pub fn holds(&self) -> &[Held] {
        &self.holds
    }

    /// Whether it is held for this reason.
    #[must_use]
    pub fn is_held_for(&self, reason: Hold) -> bool {
        self.holds.iter().any(|held| held.reason == reason)
    }

    /// How many questions wait for a person.
    #[must_use]
    pub const fn open_questions(&self) -> usize {
        self.questions
    }

    /// The questions that wait for a person, by step and item.
    pub fn questions(&self) -> impl Iterator<Item = (&str, Option<&str>, &Question)> {
        self.works().filter_map(|(step, item, work)| Some((step, item, work.question.as_ref()?)))
    }

    /// All work: of each step, and after it of each of its items.
    pub fn works(&self) -> impl Iterator<Item = (&str, Option<&str>, &Work)> {
        self.steps.iter().flat_map(|(path, step)| {
            let items = step.items.iter().flatten().map(|(key, item)| (&**path, Some(&**key), &item.work));
            std::iter::once((&**path, None, &step.work)).chain(items)
        })
    }

    /// Who ended the run before its time, if anyone did.
    #[must_use]
    pub const fn cancelled(&self) -> Option<&Cancelled> {
        self.cancelled.as_ref()
    }

    /// The verdict, once it is decided.
    #[must_use]
    pub const fn verdict(&self) -> Option<&Decided> {
        self.verdict.as_ref()
    }

    /// How it ended, once nothing more happens.
    #[must_use]
    pub const fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Who ended the run at once, if anyone did.
    #[must_use]
    pub const fn terminated(&self) -> Option<&Cancelled> {
        self.terminated.as_ref()
    }

    /// One word for lists: the verdict's once it has ended, else `held`, `closing` or `running`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match (&self.ended, &self.verdict) {
            (Some(ended), _) => ended.verdict.as_str(),
            (None, _) if !self.holds.is_empty() => "held",
            (None, Some(_)) => "closing",
            (None, None) if self.goes_back() && self.applying > 0 => "settling",
            (None, None) if self.goes_back() => "undoing",
            (None, None) if self.is_queued() => "queued",
            (None, None) => "running",
        }
    }
}

/// Whether it is an attempt of the way forward.
fn is_forward(attempt: &AttemptRef) -> bool {
    attempt.effect.direction == Direction::Do && undo::is_main(&attempt.effect.step)
}

impl StepState {
    fn succeed(&mut self, effect: Effect, output: Option<Arc<Value>>, at: Millis) {
        let output = match &self.items {
            Some(items) => Some(Arc::new(Value::Object(outputs_by_key(items)))),
            None => output,
        };
        self.work.succeed(effect, output, at);
    }
}

fn outputs_by_key(items: &IndexMap<Arc<str>, ItemState>) -> Map<String, Value> {
    items
        .iter()
        .map(|(key, item)| (key.to_string(), item.work.output.as_deref().cloned().unwrap_or_default()))
        .collect()
}
