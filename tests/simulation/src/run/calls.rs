//! Calls of a run: what they do to the world, how they end, and what those still do whose host has died.

use serde_json::json;
use windlass_engine::{CallId, CallKind, CallRequest, Observation, Returned};
use windlass_runbook::outcome::Status;

use super::{Ghost, Happening, Run};
use crate::fate::{self, Flying, Handle};
use crate::rules::{Checked, broken};
use crate::world::{Place, Write};

impl Run {
    /// What a call whose host died still does.
    pub(super) fn orphan(&mut self, flying: Flying) {
        let Some(write) = flying.write.clone().filter(|_| !flying.landed && flying.arrives) else { return };
        match flying.program {
            Some((process, true)) => {
                let ghost = Ghost { place: flying.place, request: flying.request, write, process };
                self.ghosts.insert(process, ghost);
                let at = flying.ends + self.random.span(0, 30_000);
                self.at(at, Happening::Ghost(process));
            }
            // It was never let go.
            Some(_) => (),
            None if self.random.chance(50) => {
                self.landed(&flying.place, &flying.request, &write);
            }
            None => (),
        }
    }

    pub(super) fn haunt(&mut self, process: u64) {
        let Some(ghost) = self.ghosts.remove(&process) else { return };
        self.tell(|_| format!("the orphan of {:?} lands", ghost.place));
        self.landed(&ghost.place, &ghost.request, &ghost.write);
    }

    pub(super) fn begin(
        &mut self,
        id: CallId,
        step: &str,
        item: Option<&str>,
        request: CallRequest,
    ) -> Checked {
        let call = Handle { process: self.epoch, id };
        let place: Place = (step.to_owned(), item.map(str::to_owned));
        for identity in &request.require_gone {
            self.ghosts.remove(&identity["process"].as_u64().unwrap_or_default());
        }
        let haunted = |ghost: &&Ghost| of(&ghost.place.0) == of(&place.0) && ghost.place.1 == place.1;
        let plans = matches!(request.phase, CallKind::Plan { .. } | CallKind::PlanUndo { .. });
        if let Some(ghost) = self.ghosts.values().find(haunted).filter(|_| plans) {
            return broken(
                "a lost program is gone before anyone plans",
                format!("{:?}, {}", ghost.place, ghost.process),
            );
        }
        let begun = fate::begin(
            &mut self.random,
            &mut self.faults,
            call,
            place.clone(),
            request,
            self.now,
            &mut self.processes,
        );
        self.rules.call(&begun, &self.durable, &self.world, &self.flying)?;
        if let Some(write) = &begun.write {
            self.let_loose(&place, &begun.request, write)?;
        }
        let ends = begun.ends;
        if begun.write.is_some() && (begun.program.is_some() || begun.leaves_receipt) {
            self.at(self.now + (ends - self.now) / 3, Happening::Midway(call));
        }
        if begun.arrives {
            self.at(self.now + (ends - self.now) * 2 / 3, Happening::Lands(call));
        }
        self.at(ends, Happening::Ends(call));
        self.flying.push(begun);
        Ok(())
    }

    /// A call in write mode begins: whatever becomes of it is on the world's account.
    pub(super) fn let_loose(&mut self, place: &Place, request: &CallRequest, write: &Write) -> Checked {
        let has_lock = !self.locks.is_empty();
        if self.rules.needs_lock(&place.0) && !has_lock {
            return broken("a lock is exclusive", format!("{place:?} writes without it"));
        }
        if place.0.starts_with("undo/") {
            if let (Write::Set { cell, .. }, CallKind::Apply { .. }) = (write, &request.phase) {
                // What the runbook has in the place of an undo leaves something else than was there before.
                self.world.strange.insert(cell.clone());
            }
            return Ok(());
        }
        let stays = self.runbook.steps.iter().position(|step| step.id == place.0);
        let stays = stays.is_none_or(|step| self.rules.stays(step));
        let truth = self.world.truth.entry(place.clone()).or_default();
        truth.stays = stays;
        truth.waived = false;
        if let Write::Set { cell, .. } = write {
            truth.cell = Some(cell.clone());
        }
        truth.attempts.push((request.idempotency_key.to_string(), request.attempt, false));
        Ok(())
    }

    pub(super) fn midway(&mut self, call: Handle) -> Checked {
        let Some(flying) = self.flying.iter_mut().find(|flying| flying.call == call) else { return Ok(()) };
        let process = flying.program.map(|(process, _)| process);
        let leaves = flying.leaves_receipt;
        if let Some(process) = process {
            let identity = json!({ "process": process });
            let before = self.epoch;
            self.observe(Observation::ProcessStarted { call: call.id, identity })?;
            if self.epoch == before
                && let Some(flying) = self.flying.iter_mut().find(|flying| flying.call == call)
            {
                flying.program = Some((process, true));
            }
        }
        if leaves && call.process == self.epoch {
            self.observe(Observation::Receipt { call: call.id, text: "receipt".to_owned() })?;
        }
        Ok(())
    }

    pub(super) fn land(&mut self, call: Handle) {
        let Some(at) = self.flying.iter().position(|flying| flying.call == call) else { return };
        let flying = self.flying[at].clone();
        let Some(write) = &flying.write else { return };
        let landed = self.landed(&flying.place, &flying.request, write);
        self.flying[at].landed = landed;
    }

    pub(super) fn landed(&mut self, place: &Place, request: &CallRequest, write: &Write) -> bool {
        if !self.world.land(write, &request.idempotency_key) {
            return false;
        }
        match place.0.strip_prefix("undo/") {
            Some(of) => self.taken_back(&(of.to_owned(), place.1.clone())),
            None => {
                for truth in self.world.truth.get_mut(place).into_iter() {
                    for attempt in &mut truth.attempts {
                        attempt.2 |= attempt.0 == *request.idempotency_key && attempt.1 == request.attempt;
                    }
                }
            }
        }
        true
    }

    pub(super) fn taken_back(&mut self, place: &Place) {
        if let Some(truth) = self.world.truth.get_mut(place) {
            truth.attempts.iter_mut().for_each(|attempt| attempt.2 = false);
        }
    }

    pub(super) fn cancel(&mut self, id: CallId) -> Checked {
        let call = Handle { process: self.epoch, id };
        let Some(at) = self.flying.iter().position(|flying| flying.call == call) else {
            return broken("only what runs is cut off", format!("{call:?}"));
        };
        if self.flying[at].cancelled {
            return Ok(());
        }
        // What was on its way may still arrive before the call's end is told; a program is killed.
        if !self.flying[at].landed
            && self.flying[at].arrives
            && self.flying[at].program.is_none()
            && self.random.chance(40)
        {
            self.land(call);
        }
        self.flying[at].cancelled = true;
        self.flying[at].arrives = false;
        self.agenda.retain(|_, happening| {
            !matches!(happening, Happening::Midway(c) | Happening::Lands(c) | Happening::Ends(c) if *c == call)
        });
        let at = self.now + self.random.span(0, 40);
        self.at(at, Happening::Ends(call));
        Ok(())
    }

    pub(super) fn call_ends(&mut self, call: Handle) -> Checked {
        let Some(at) = self.flying.iter().position(|flying| flying.call == call) else { return Ok(()) };
        let flying = self.flying.remove(at);
        let report = fate::report(&flying, &mut self.world, self.now);
        if let Ok(Returned::Plan(plan)) = &report.result {
            self.rules.planned(&flying, plan);
            let not_needed = plan.status == Status::InPlace;
            if not_needed && matches!(flying.request.phase, CallKind::PlanUndo { .. }) {
                self.taken_back(&(of(&flying.place.0).to_owned(), flying.place.1.clone()));
            }
        }
        self.rules.call_ended(&flying, self.now);
        let twice = self.random.chance(2).then(|| report.clone());
        let (id, process) = (call.id, self.epoch);
        self.observe(Observation::Called { call: id, report })?;
        match twice.filter(|_| process == self.epoch && !self.over) {
            Some(report) => self.observe(Observation::Called { call: id, report }),
            None => Ok(()),
        }
    }
}

fn of(path: &str) -> &str {
    path.strip_prefix("undo/").unwrap_or(path)
}
