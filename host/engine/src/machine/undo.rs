//! The undo of one step or item: what takes it back, and with what.
//!
//! It is driven by the same calls as an effect: planned, made durable, applied, and resolved when nobody knows what
//! became of it. What differs is that it has no output, and that whatever someone else changed is a person's to decide.

use std::sync::Arc;

use serde_json::Value;
use windlass_runbook::coerce::coerce_record;
use windlass_runbook::model::{Invocation, Step, StepBody, Undo};
use windlass_runbook::outcome::{Plan, Status};
use windlass_runbook::wit::ActionKind;

use super::{Machine, Unit};
use crate::command::{CallKind, Reads};
use crate::event::{CallName, Event, Item, Prepared};
use crate::failure::{CallPhase, StepFailure};
use crate::layout::Role;
use crate::words::{Effect, SkipReason};
use crate::work::Work;

impl Machine {
    pub(super) fn is_undo(&self, unit: Unit) -> bool {
        self.layout.role(unit.step) == Role::Undo
    }

    /// What an undo takes back: the work of the step or item itself.
    pub(super) fn undone(&self, unit: Unit) -> Option<&Work> {
        let step = self.layout.undone_by(unit.step)?;
        let path = self.layout.path(step);
        match unit.item {
            None => self.state.work(&path, None),
            Some(_) => self.state.work(&path, Some(&self.item_key(unit)?)),
        }
    }

    /// Whether the action's own undo is called, instead of an action of its own.
    fn is_own_undo(&self, unit: Unit) -> bool {
        self.layout.step(unit.step).is_some_and(|step| matches!(step.undo, Undo::Own))
    }

    /// Begins the undo of a step.
    pub(super) fn begin_undo(&mut self, unit: Unit, step: &Step) {
        let undoable = matches!(&step.body, StepBody::Call(call) if call.kind == ActionKind::UndoableEffect);
        match &step.undo {
            Undo::Never => return self.skip(unit, SkipReason::NotNeeded, None),
            Undo::Own if !undoable => return self.skip(unit, SkipReason::NoUndo, None),
            Undo::Own | Undo::Call(_) => (),
        }
        let Some(done) = self.layout.undone_by(unit.step) else { return };
        let items = self.state.step(&self.layout.path(done)).and_then(|state| state.items.as_ref());
        let Some(items) = items else { return self.start_undo(unit, step) };
        let items: Vec<Item> = items
            .iter()
            .filter(|(_, item)| item.work.is_listed())
            .map(|(key, item)| Item { key: Arc::clone(key), value: Arc::clone(&item.value) })
            .collect();
        self.record(Event::ItemsExpanded { step: self.layout.path(unit.step), items });
        self.open_fan(unit.step);
    }

    /// Finds the input and begins.
    pub(super) fn start_undo(&mut self, unit: Unit, step: &Step) {
        let input = match self.undo_input(unit, step) {
            Ok(input) => input,
            Err(failure) => return self.fail(unit, *failure),
        };
        let generation = self.undone(unit).map_or(1, |work| work.generation.max(1));
        let event = Event::StepStarted {
            step: self.layout.path(unit.step),
            item: self.item_key(unit),
            generation,
            call: self.name(unit),
            writes: true,
            gate: false,
            // Null is told like absent: the journal's JSON does not keep them apart.
            input: Some(input).filter(|input| !input.is_null()),
        };
        self.record(event);
        self.live.remove(&unit);
        self.plan(unit);
    }

    fn undo_input(&self, unit: Unit, step: &Step) -> Result<Arc<Value>, Box<StepFailure>> {
        let done = self.undone(unit);
        match &step.undo {
            Undo::Call(invocation) => {
                let given = self.work(unit).and_then(|work| work.given.clone());
                let prepared =
                    done.and_then(|work| work.prepared.as_ref()).map(|undo| Arc::clone(&undo.input));
                match given.or(prepared) {
                    Some(input) => Ok(input),
                    None => self.resolve_undo(invocation, self.item_value(unit).as_deref()),
                }
            }
            Undo::Own | Undo::Never => Ok(done.map(Work::last_input).unwrap_or_default()),
        }
    }

    fn resolve_undo(
        &self,
        invocation: &Invocation,
        item: Option<&Value>,
    ) -> Result<Arc<Value>, Box<StepFailure>> {
        let value = invocation.input.resolve(&self.scope(item, None)).map_err(|error| {
            let (field, message) = ("undo".to_owned(), error.to_string());
            Box::new(StepFailure::Expression { field, message })
        })?;
        coerce_record(value, &invocation.input_type)
            .map(Arc::new)
            .map_err(|mismatch| Box::new(StepFailure::Input { message: mismatch.to_string() }))
    }

    /// A step is done: what is to take it back is settled now, by what is known now. Where that can't be told yet, it
    /// is tried once more when the run goes back.
    pub(super) fn prepare_undo(&mut self, step: usize) {
        let layout = Arc::clone(&self.layout);
        let Some(Undo::Call(invocation)) = layout.step(step).map(|step| &step.undo) else { return };
        let Some(call) = layout.call(layout.undo(step)).cloned() else { return };
        let path = layout.path(step);
        let Some(state) = self.state.step(&path) else { return };
        let own = state.work.is_listed().then_some((None, None)).into_iter();
        let items = state.items.iter().flatten().filter(|(_, item)| item.work.is_listed());
        let listed = items.map(|(key, item)| (Some(Arc::clone(key)), Some(Arc::clone(&item.value))));
        let places: Vec<_> = own.chain(listed).collect();
        for (item, value) in places {
            if let Ok(input) = self.resolve_undo(invocation, value.as_deref()) {
                let undo = Prepared { call: CallName::clone(&call), input };
                self.record(Event::UndoPrepared { step: Arc::clone(&path), item, undo });
            }
        }
    }

    /// What plans the undo.
    pub(super) fn plan_of_undo(&self, unit: Unit) -> CallKind {
        let work = self.work(unit);
        let input = work.and_then(|work| work.input.clone()).unwrap_or_default();
        if self.is_own_undo(unit) {
            CallKind::PlanUndo { input, done: self.done(unit) }
        } else {
            CallKind::Plan { input, before: Arc::new(work.map(Work::before).unwrap_or_default()) }
        }
    }

    /// What carries the undo out.
    pub(super) fn apply_of_undo(&self, unit: Unit, plan: Arc<Plan>) -> CallKind {
        let input = self.work(unit).and_then(|work| work.input.clone()).unwrap_or_default();
        if self.is_own_undo(unit) {
            CallKind::Undo { input, done: self.done(unit), plan }
        } else {
            CallKind::Apply { input, plan, write: true }
        }
    }

    fn done(&self, unit: Unit) -> Arc<Vec<windlass_runbook::outcome::Attempt>> {
        Arc::new(self.undone(unit).map(Work::before).unwrap_or_default())
    }

    /// The programs that must be gone before an undo is planned: those of every attempt that nobody saw the end of.
    pub(super) fn programs_of_undone(&self, unit: Unit) -> Vec<Value> {
        let Some(work) = self.undone(unit) else { return Vec::new() };
        let lost = work.attempts.iter().filter(|attempt| attempt.is_unknown());
        lost.flat_map(|attempt| &attempt.processes).chain(&work.inherited_processes).cloned().collect()
    }

    /// What the plan of an undo says comes next.
    pub(super) fn undo_planned(&mut self, unit: Unit, plan: Arc<Plan>, reads: Reads) {
        let Some(work) = self.work(unit) else { return };
        let lost = work.has_unknown();
        let restore = work.restore;
        let unproven = lost || self.undone(unit).is_some_and(Work::has_unknown);
        match &plan.status {
            Status::InPlace => match reads.doubt().or_else(|| unproven.then(|| reads.no_proof()).flatten()) {
                Some(message) => self.ask(unit, message, Some(plan)),
                None => self.not_needed(unit, plan, lost),
            },
            Status::Differs => self.undo_differs(unit, plan, reads),
            // A person has seen what is there, and wants back what was there before.
            Status::Conflict(_) if restore => {
                let plan = Arc::new(Plan { status: Status::Differs, ..(*plan).clone() });
                self.undo_differs(unit, plan, reads);
            }
            Status::InProgress => {
                if !self.poll(unit, None) {
                    let message = "it is still on its way, and the time to wait for it is over".to_owned();
                    self.ask(unit, message, Some(plan));
                }
            }
            Status::Conflict(message) => {
                let message = format!("someone else changed it: {message}");
                self.ask(unit, message, Some(plan));
            }
            Status::Unknown(message) => {
                let message = message.clone();
                // What is known of an undo that was lost changes what the next plan is told.
                let blind = reads.is_none() && !lost;
                self.ask_once(unit, message, Some(plan), blind);
            }
        }
    }

    /// It is to be undone: for the first time, or after undos of which it is not certain that they did nothing.
    fn undo_differs(&mut self, unit: Unit, plan: Arc<Plan>, reads: Reads) {
        if self.work(unit).is_some_and(Work::is_listed) {
            self.still_differs(unit, plan, reads);
        } else {
            self.apply(unit, plan);
        }
    }

    fn not_needed(&mut self, unit: Unit, plan: Arc<Plan>, lost: bool) {
        let (step, item) = (self.layout.path(unit.step), self.item_key(unit));
        if lost {
            self.record(Event::AttemptsResolved { step, item, effect: Effect::Adopted, plan });
            self.succeed(unit, Effect::Adopted, None);
        } else {
            self.record(Event::Unchanged { step, item, plan });
            self.succeed(unit, Effect::Unchanged, None);
        }
    }

    /// The phase in which an undo is carried out.
    pub(super) fn undo_phase(&self, unit: Unit) -> CallPhase {
        if self.is_undo(unit) && self.is_own_undo(unit) { CallPhase::Undo } else { CallPhase::Apply }
    }

    /// The phase in which it is planned.
    pub(super) fn planning_phase(&self, unit: Unit) -> CallPhase {
        if self.is_undo(unit) && self.is_own_undo(unit) { CallPhase::PlanUndo } else { CallPhase::Plan }
    }

    /// Whether a step was done and taken back since.
    pub(super) fn was_undone(&self, step: usize) -> bool {
        self.state.is_undone(&self.layout.path(step))
    }
}
