//! `windlass rollback RUN --plan`: what going back would do now, found out without doing any of it.
//!
//! Plans the undo of every step and item on the undo list, in the order in which they would be taken back, and journals
//! nothing. Invariant: no call made here may write.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_runbook::model::{Runbook, Step, StepBody, Undo};
use windlass_runbook::outcome::{Plan, Status};
use windlass_runbook::wit::ActionKind;

use crate::command::{CallId, CallKind, CallReport, CallRequest, Returned};
use crate::failure::CallFailure;
use crate::horizon::named;
use crate::identity::{Direction, EffectId};
use crate::layout::{Layout, Role};
use crate::machine::PLAN_MS;
use crate::state::State;
use crate::verbs::Refusal;
use crate::work::Work;

/// So many undos are planned at once.
const PARALLEL: usize = 8;

/// What the preview wants done or has found out.
#[derive(Debug, Clone, PartialEq)]
pub enum UndoPreviewCommand {
    /// Make this call and tell its end with [`UndoPreview::called`].
    Call {
        /// What its end is told by.
        call: CallId,
        /// The path of the undo, `undo/ID`.
        step: Arc<str>,
        /// The item's key.
        item: Option<Arc<str>>,
        /// What to call; never in write mode.
        request: CallRequest,
    },
    /// An undo has been planned.
    Row(Box<UndoRow>),
    /// All have.
    Done,
}

/// What going back would do with a step or an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UndoRow {
    /// Its place in the order in which they would be taken back, from 0; what may be at once stands side by side.
    pub position: usize,
    /// The path of the step that is taken back, without `undo/`.
    pub step: Arc<str>,
    /// The item's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Arc<str>>,
    /// What came of planning it.
    #[serde(flatten)]
    pub outcome: UndoOutcome,
}

/// What came of planning an undo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum UndoOutcome {
    /// Its plan; the status tells whether it would be restored, is not needed, or needs a person's word.
    Planned {
        /// The plan.
        plan: Plan,
    },
    /// Its action has no undo: the effect would stay.
    NoUndo,
    /// The runbook says that there is nothing to take back.
    NotNeeded,
    /// What it is called with is not known: the step was never finished.
    Deferred,
    /// Planning it failed.
    Failed {
        /// How.
        failure: CallFailure,
    },
}

impl UndoOutcome {
    /// Whether going back would get past it without a person, with nothing left.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        match self {
            Self::Planned { plan } => matches!(plan.status, Status::Differs | Status::InPlace),
            Self::NotNeeded => true,
            Self::NoUndo | Self::Deferred | Self::Failed { .. } => false,
        }
    }
}

#[derive(Debug)]
struct Entry {
    step: usize,
    item: Option<Arc<str>>,
}

/// The driver of `windlass rollback RUN --plan`.
#[derive(Debug)]
pub struct UndoPreview {
    layout: Layout,
    state: State,
    entries: Vec<Entry>,
    left: VecDeque<usize>,
    calls: HashMap<CallId, usize>,
    last_call: u64,
}

impl UndoPreview {
    /// For a run that stands at `state`, whether it has ended or not. `only` is as in a request to roll back; empty for
    /// all.
    ///
    /// # Errors
    /// Where a step is not there, or nothing of it is to be taken back.
    pub fn new(runbook: Arc<Runbook>, state: State, only: &[String]) -> Result<Self, Refusal> {
        let layout = Layout::new(runbook);
        let named = named(&layout, &state, only).map_err(|message| Refusal { message })?;
        let scope = (!named.is_empty()).then(|| layout.downstream(&named));
        let entries: Vec<Entry> = backwards(&layout)
            .into_iter()
            .filter(|step| scope.as_ref().is_none_or(|scope| scope.get(*step) == Some(&true)))
            .flat_map(|step| entries_of(&layout, &state, step))
            .collect();
        Ok(Self {
            left: (0..entries.len()).collect(),
            layout,
            state,
            entries,
            calls: HashMap::new(),
            last_call: 0,
        })
    }

    /// The first commands.
    pub fn begin(&mut self) -> Vec<UndoPreviewCommand> {
        self.go_on(Vec::new())
    }

    /// A call ended.
    pub fn called(&mut self, call: CallId, report: CallReport) -> Vec<UndoPreviewCommand> {
        let mut commands = Vec::new();
        if let Some(position) = self.calls.remove(&call) {
            let outcome = match report.result {
                Ok(Returned::Plan(plan)) => UndoOutcome::Planned { plan },
                Ok(Returned::Output(_)) => UndoOutcome::Failed {
                    failure: CallFailure::Fault {
                        message: "the call returned an output instead of a plan".to_owned(),
                    },
                },
                Err(failure) => UndoOutcome::Failed { failure },
            };
            commands.extend(self.row(position, outcome));
        }
        self.go_on(commands)
    }

    fn go_on(&mut self, mut commands: Vec<UndoPreviewCommand>) -> Vec<UndoPreviewCommand> {
        while self.calls.len() < PARALLEL {
            let Some(position) = self.left.pop_front() else { break };
            commands.extend(self.plan(position));
        }
        if self.calls.is_empty() && self.left.is_empty() {
            commands.push(UndoPreviewCommand::Done);
        }
        commands
    }

    fn row(&self, position: usize, outcome: UndoOutcome) -> Option<UndoPreviewCommand> {
        let entry = self.entries.get(position)?;
        let step = self.layout.path(entry.step);
        let row = UndoRow { position, step, item: entry.item.clone(), outcome };
        Some(UndoPreviewCommand::Row(Box::new(row)))
    }

    fn plan(&mut self, position: usize) -> Option<UndoPreviewCommand> {
        let entry = self.entries.get(position)?;
        let step = self.layout.step(entry.step)?;
        let path = self.layout.path(entry.step);
        let undo_path = self.layout.path(self.layout.undo(entry.step));
        let done = self.state.work(&path, entry.item.as_deref())?;
        let undo = self.state.work(&undo_path, entry.item.as_deref());
        let phase = match call_of(step, done, undo) {
            Ok(phase) => phase,
            Err(outcome) => return self.row(position, *outcome),
        };
        let name = self.layout.call(self.layout.undo(entry.step))?;
        let effect = EffectId {
            step: Arc::clone(&undo_path),
            item: entry.item.clone(),
            generation: done.generation.max(1),
            direction: Direction::Undo,
            attempt: 1,
        };
        let run = self.state.created().map_or("", |created| &created.run);
        let request = CallRequest {
            plugin: Arc::clone(&name.plugin),
            interface: Arc::clone(&name.interface),
            action: Arc::clone(&name.action),
            phase,
            attempt: 1,
            idempotency_key: effect.idempotency_key(run).into(),
            timeout_ms: PLAN_MS,
            require_gone: Vec::new(),
        };
        let item = entry.item.clone();
        self.last_call += 1;
        let call = CallId(self.last_call);
        self.calls.insert(call, position);
        Some(UndoPreviewCommand::Call { call, step: undo_path, item, request })
    }
}

/// What plans the undo, or what is to be said without a call.
fn call_of(step: &Step, done: &Work, undo: Option<&Work>) -> Result<CallKind, Box<UndoOutcome>> {
    match &step.undo {
        Undo::Never => Err(Box::new(UndoOutcome::NotNeeded)),
        Undo::Call(_) => match &done.prepared {
            Some(prepared) => Ok(CallKind::Plan {
                input: Arc::clone(&prepared.input),
                before: Arc::new(undo.map(Work::before).unwrap_or_default()),
            }),
            None => Err(Box::new(UndoOutcome::Deferred)),
        },
        Undo::Own => match &step.body {
            StepBody::Call(call) if call.kind == ActionKind::UndoableEffect => {
                Ok(CallKind::PlanUndo { input: done.last_input(), done: Arc::new(done.before()) })
            }
            _ => Err(Box::new(UndoOutcome::NoUndo)),
        },
    }
}

/// The steps in an order in which they could be taken back one by one.
fn backwards(layout: &Layout) -> Vec<usize> {
    let mut mirror = layout.mirror();
    let mut open: VecDeque<usize> = (0..layout.nodes())
        .rev()
        .filter(|node| !layout.is_extra(*node) && mirror.waits_for.get(*node) == Some(&0))
        .collect();
    let mut order = Vec::with_capacity(layout.main_steps());
    while let Some(node) = open.pop_front() {
        if layout.role(node) == Role::Main {
            order.push(node);
        }
        for &gate in mirror.gates.get(node).into_iter().flatten() {
            if let Some(count) = mirror.waits_for.get_mut(gate) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    open.push_back(gate);
                }
            }
        }
    }
    order
}

fn entries_of(layout: &Layout, state: &State, step: usize) -> Vec<Entry> {
    let Some(of_step) = state.step(&layout.path(step)) else { return Vec::new() };
    let own = of_step.work.is_listed().then_some(Entry { step, item: None });
    let items = of_step.items.iter().flatten().filter(|(_, item)| item.work.is_listed());
    own.into_iter().chain(items.map(|(key, _)| Entry { step, item: Some(Arc::clone(key)) })).collect()
}

impl Work {
    /// The input of the last attempt that is to be taken back.
    pub(crate) fn last_input(&self) -> Arc<Value> {
        let last = self.attempts.iter().rev().find(|attempt| attempt.may_have_effect());
        last.and_then(|attempt| attempt.input.clone()).unwrap_or_default()
    }
}
