//! Which parts of a runbook the stories of a file have been through.

use std::collections::{BTreeMap, BTreeSet};

use windlass_engine::{Phase, State};
use windlass_runbook::model::{Runbook, StepBody, Undo};
use windlass_runbook::wit::ActionKind;

/// What the stories of a file have been through.
#[derive(Debug, Default)]
pub struct Coverage {
    /// The steps, in the order of the runbook.
    pub steps: Vec<String>,
    /// Those that have an undo.
    pub undos: Vec<String>,
    ran: BTreeSet<String>,
    failed: BTreeSet<String>,
    undone: BTreeSet<String>,
    guards: BTreeMap<String, bool>,
}

impl Coverage {
    pub(super) fn new(runbook: &Runbook) -> Self {
        let undoes = |step: &&windlass_runbook::model::Step| match (&step.undo, &step.body) {
            (Undo::Call(_), _) => true,
            (Undo::Own, StepBody::Call(call)) => call.kind == ActionKind::UndoableEffect,
            _ => false,
        };
        let main = runbook.steps.iter().map(|step| step.id.clone());
        let finally = runbook.finally.iter().map(|step| format!("finally/{}", step.id));
        let rollback = runbook.rollback.iter().map(|rollback| format!("rollback/{}", rollback.step.id));
        Self {
            steps: main.chain(finally).chain(rollback).collect(),
            undos: runbook.steps.iter().filter(undoes).map(|step| step.id.clone()).collect(),
            guards: runbook.guards.iter().map(|guard| (guard.id.clone(), false)).collect(),
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, state: &State) {
        for (path, step) in state.steps() {
            let begun = !matches!(step.work.phase, Phase::Pending | Phase::Skipped | Phase::Scheduled);
            match path.strip_prefix("undo/") {
                Some(of) if step.work.phase == Phase::Succeeded => {
                    self.undone.insert(of.to_owned());
                }
                None if begun => {
                    self.ran.insert(path.to_string());
                    let troubled = step.work.phase == Phase::Failed || step.work.last_failure.is_some();
                    let items = step.items.iter().flatten();
                    if troubled || items.into_iter().any(|(_, item)| item.work.phase == Phase::Failed) {
                        self.failed.insert(path.to_string());
                    }
                }
                _ => (),
            }
        }
        for (path, guard) in state.guards() {
            if let Some(tripped) = path.strip_prefix("guard/").and_then(|id| self.guards.get_mut(id)) {
                *tripped |= guard.tripped.is_some();
            }
        }
    }

    /// Steps that no story ran.
    pub fn never_ran(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(|step| !self.ran.contains(*step)).map(String::as_str)
    }

    /// Steps that failed in no story.
    pub fn never_failed(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(|step| !self.failed.contains(*step)).map(String::as_str)
    }

    /// Steps with an undo that no story has taken back.
    pub fn never_undone(&self) -> impl Iterator<Item = &str> {
        self.undos.iter().filter(|step| !self.undone.contains(*step)).map(String::as_str)
    }

    /// Guards that tripped in no story.
    pub fn never_tripped(&self) -> impl Iterator<Item = &str> {
        self.guards.iter().filter(|(_, tripped)| !**tripped).map(|(guard, _)| guard.as_str())
    }

    /// How many guards there are.
    #[must_use]
    pub fn guards(&self) -> usize {
        self.guards.len()
    }
}
