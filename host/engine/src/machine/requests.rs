//! What people ask for: taken, or refused with the reason; and the message it came in consumed with it.
//!
//! Whether something may be asked is the table's to say; here stands what comes of it. A step that a person has spoken
//! about goes on by itself, and takes the hold along that was there because of it.

use std::sync::Arc;

use serde_json::Value;
use windlass_runbook::coerce::coerce_record;
use windlass_runbook::model::{StepBody, Undo};

use super::{Machine, Unit};
use crate::command::Command;
use crate::event::{Answer, Event};
use crate::layout::Role;
use crate::request::{ASKED_VERSION, Asked, Request};
use crate::verbs::allowed;
use crate::words::{Effect, Hold, Phase, SkipReason};

impl Machine {
    /// Deals with a request, and has its message consumed in the same commit as what came of it.
    pub(super) fn asked(&mut self, asked: Asked) {
        let Asked { version, id, who, request } = asked;
        let done = if version > ASKED_VERSION {
            Err("a later version of windlass asked this: use that one to drive the run".to_owned())
        } else {
            allowed(&self.state, &request)
                .map_err(|refusal| refusal.message)
                .and_then(|()| self.carry_out(&who, request))
        };
        if let Err(message) = done {
            self.batch.rest.push(Command::Refused { message });
        }
        self.commit();
        if !id.is_empty() {
            self.batch.within.push(Command::Consumed { id });
        }
    }

    fn carry_out(&mut self, who: &str, request: Request) -> Result<(), String> {
        match request {
            Request::Pause { reason } => self.pause(who, &reason),
            Request::Resume => self.resume(who),
            Request::Cancel { reason } => return self.cancel_run(who, reason),
            Request::Terminate { reason } => self.terminate(who, reason),
            Request::Rollback { reason, only, past_commit } => {
                return self.roll_back_for_operator(who, reason, &only, past_commit);
            }
            Request::Approve { given } => return self.approval_given(*given),
            Request::Retry { step, item, input, reason } => {
                let unit = self.unit_of(&step, item.as_deref())?;
                return self.retry(unit, input, who, reason);
            }
            Request::Skip { step, item, reason } => {
                let unit = self.unit_of(&step, item.as_deref())?;
                self.no_approval(unit)?;
                return self.skip_for(unit, who, reason);
            }
            Request::Done { step, item, output, reason } => {
                let unit = self.unit_of(&step, item.as_deref())?;
                self.no_approval(unit)?;
                let output = output.map(Arc::new);
                self.answer(unit, Answer::Applied { output }, who, &reason);
            }
            Request::Answer { step, item, answer, reason } => {
                let unit = self.unit_of(&step, item.as_deref())?;
                let asked = self.work(unit).is_some_and(|work| work.phase == Phase::Asking);
                if !asked && !self.work(unit).is_some_and(|work| work.writes) {
                    return Err(format!("`{step}` has no effect of which anything could be said"));
                }
                self.answer(unit, answer, who, &reason);
            }
        }
        Ok(())
    }

    /// The step or item that a person names. One whose failure the run has passed over is past being spoken about.
    fn unit_of(&self, path: &str, item: Option<&str>) -> Result<Unit, String> {
        let step = self.layout.find(path).ok_or_else(|| format!("the run has no step `{path}`"))?;
        if self.layout.is_aside(step) {
            return Err(format!("`{path}` runs once, and nothing waits for it"));
        }
        let state = self.state.step(path).ok_or_else(|| format!("`{path}` has not begun"))?;
        let index = match (item, &state.items) {
            (None, _) => None,
            (Some(key), Some(items)) => {
                Some(items.get_index_of(key).ok_or_else(|| format!("`{path}` has no item `{key}`"))?)
            }
            (Some(_), None) => return Err(format!("`{path}` has no items")),
        };
        let unit = Unit { step, item: index };
        // What comes after it has begun, and begins once.
        if self.layout.role(step) == Role::Main && self.satisfies(step) {
            return Err(format!("`{path}` is {}, and the run went on after it", state.work.phase));
        }
        Ok(unit)
    }

    /// Nobody goes round an approval, one that could not even be asked for included.
    fn no_approval(&self, unit: Unit) -> Result<(), String> {
        let asks = self.layout.step(unit.step).is_some_and(|step| matches!(step.body, StepBody::Approve(_)));
        let path = self.layout.path(unit.step);
        if asks && !self.is_undo(unit) {
            Err(format!("`{path}` is an approval: it is given by those who may, and by nobody else"))
        } else {
            Ok(())
        }
    }

    /// Begins something anew that failed or was taken back.
    fn retry(&mut self, unit: Unit, input: Option<Value>, who: &str, reason: String) -> Result<(), String> {
        let (step, item) = (self.layout.path(unit.step), self.item_key(unit));
        let has_items = self.state.step(&step).is_some_and(|state| state.items.is_some());
        if let Some(input) = input {
            if has_items && item.is_none() {
                return Err(format!("`{step}` has items; say which one is to have another input"));
            }
            let input = Arc::new(self.fitting(unit, input)?);
            let (step, item, who) = (Arc::clone(&step), item.clone(), who.to_owned());
            self.record(Event::InputChanged { step, item, input, who, reason });
        }
        let was = self.work(unit).map_or(Phase::Pending, |work| work.phase);
        self.begin_anew(unit, was, who);
        self.lift_what_is_settled(who);
        Ok(())
    }

    /// The input in normal form, where another one can be given at all.
    fn fitting(&self, unit: Unit, input: Value) -> Result<Value, String> {
        let step = self.layout.step(unit.step).ok_or("there is no such step")?;
        let invocation = match (&step.body, &step.undo) {
            (_, Undo::Call(invocation)) if self.is_undo(unit) => invocation,
            (StepBody::Call(invocation), _) if !self.is_undo(unit) => invocation,
            _ => return Err("what it works with can't be changed".to_owned()),
        };
        coerce_record(input, &invocation.input_type)
            .map_err(|mismatch| format!("the input does not fit the action: {mismatch}"))
    }

    /// The step, the item, or the step because of an item, begins anew.
    pub(super) fn begin_anew(&mut self, unit: Unit, was: Phase, who: &str) {
        let (step, item) = (self.layout.path(unit.step), self.item_key(unit));
        if unit.item.is_some() && self.fans.contains_key(&unit.step) {
            self.record(Event::StepRestarted { step, item, who: who.to_owned() });
            self.item_goes_on(unit, was);
            return self.ready.push_back(unit);
        }
        self.record(Event::StepRestarted { step, item, who: who.to_owned() });
        self.live.remove(&unit);
        self.fans.remove(&unit.step);
        self.take_up(Unit::step(unit.step));
    }

    fn skip_for(&mut self, unit: Unit, who: &str, reason: String) -> Result<(), String> {
        let was = self.work(unit).map_or(Phase::Pending, |work| work.phase);
        self.item_goes_on(unit, was);
        self.record(Event::StepSkipped {
            step: self.layout.path(unit.step),
            item: self.item_key(unit),
            reason: SkipReason::Operator,
            because: Some(reason),
            who: Some(who.to_owned()),
        });
        self.spoken_about(unit, who);
        Ok(())
    }

    /// What a person says of an effect or an undo.
    fn answer(&mut self, unit: Unit, answer: Answer, who: &str, reason: &str) {
        let (step, item) = (self.layout.path(unit.step), self.item_key(unit));
        let was = self.work(unit).map_or(Phase::Pending, |work| work.phase);
        let answer = match answer {
            Answer::Applied { output } => {
                Answer::Applied { output: output.filter(|output| !output.is_null()) }
            }
            other => other,
        };
        let event = Event::OperatorAnswered {
            step: Arc::clone(&step),
            item: item.clone(),
            answer: answer.clone(),
            who: who.to_owned(),
            reason: reason.to_owned(),
        };
        self.record(event);
        match answer {
            Answer::Applied { output } => {
                self.item_goes_on(unit, was);
                let writes = self.work(unit).is_some_and(|work| work.writes);
                let effect = if writes { Effect::Accepted } else { Effect::None };
                self.record(Event::StepSucceeded { step, item, effect, output });
                self.spoken_about(unit, who);
            }
            Answer::Leave => {
                self.item_goes_on(unit, was);
                self.record(Event::StepSkipped {
                    step,
                    item,
                    reason: SkipReason::Operator,
                    because: Some(format!("left as it is: {reason}")),
                    who: Some(who.to_owned()),
                });
                self.spoken_about(unit, who);
            }
            Answer::NotApplied | Answer::Restore if was == Phase::Asking => {
                self.item_goes_on(unit, was);
                self.ready.push_back(unit);
                self.lift_what_is_settled(who);
            }
            Answer::NotApplied | Answer::Restore if self.is_undo(unit) => {
                self.begin_anew(unit, was, who);
                self.lift_what_is_settled(who);
            }
            // A failed step begins anew when the run is resumed.
            Answer::NotApplied | Answer::Restore => (),
        }
    }

    /// A person has ended a step or an item. A step that had failed because of its items goes on with the rest of
    /// them once none is left that failed.
    fn spoken_about(&mut self, unit: Unit, who: &str) {
        let was_closed = unit.item.is_some() && !self.fans.contains_key(&unit.step);
        let path = self.layout.path(unit.step);
        if was_closed {
            self.live.remove(&unit);
            let failed = self
                .state
                .step(&path)
                .and_then(|state| state.items.as_ref())
                .is_some_and(|items| items.values().any(|item| item.work.phase == Phase::Failed));
            let whole = self.work(Unit::step(unit.step)).map(|work| work.phase);
            if !failed && whole == Some(Phase::Failed) {
                self.begin_anew(Unit::step(unit.step), Phase::Failed, who);
            }
        } else {
            self.over(unit);
        }
        self.lift_what_is_settled(who);
    }

    /// Lifts the holds that were there because of questions and failures, once none is left.
    pub(super) fn lift_what_is_settled(&mut self, who: &str) {
        if self.state.open_questions() == 0 {
            self.release(Hold::Unknown, who);
        }
        let undo_failed = || self.failed_undos().next().is_some();
        let failed = if self.state.goes_back() { undo_failed() } else { self.paused_by_failure() };
        if !failed {
            self.release(Hold::Failure, who);
        }
    }

    fn terminate(&mut self, who: &str, reason: String) {
        self.record(Event::TerminateRequested { who: who.to_owned(), reason });
        for hold in Hold::ALL {
            self.release(*hold, who);
        }
        self.ready.clear();
        self.drop_drafts();
        self.cut_off(true);
    }
}
