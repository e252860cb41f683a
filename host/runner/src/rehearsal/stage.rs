//! What the played plugins say: what the story has for a call, or else what follows from what has happened.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use windlass_engine::{
    CallFailure, CallKind, CallReport, CallRequest, Denied, Millis, Reads, Returned, State,
};
use windlass_runbook::model::{Invocation, Runbook, Step, StepBody, Undo};
use windlass_runbook::outcome::{Change, Failure, Plan, Status};

use super::made_up::{self, Readings};
use super::read::millis;
use super::script::{Fail, Said, Script};

/// A call takes so long where the story does not say, milliseconds.
const TAKES: Millis = 100;

/// A step or item, by path and key.
type Place = (String, Option<String>);

/// How a call will end.
pub(super) struct Ending {
    pub(super) report: CallReport,
    pub(super) takes: Millis,
    /// Whether its effect is there in the end.
    pub(super) lands: bool,
}

/// The played plugins, and the world that they act on.
pub(super) struct Stage<'s> {
    runbook: &'s Runbook,
    scripts: &'s HashMap<String, Script>,
    readings: Arc<Readings>,
    /// Effects that are there.
    there: HashMap<Place, bool>,
    calls: HashMap<(Place, &'static str), usize>,
    failed: HashMap<Place, u32>,
}

/// What a failure means for the effect.
struct Fault {
    failure: CallFailure,
    sent: bool,
    lands: bool,
}

impl<'s> Stage<'s> {
    pub(super) fn new(
        runbook: &'s Runbook,
        scripts: &'s HashMap<String, Script>,
        readings: Arc<Readings>,
    ) -> Self {
        Self {
            runbook,
            scripts,
            readings,
            there: HashMap::new(),
            calls: HashMap::new(),
            failed: HashMap::new(),
        }
    }

    /// What becomes of a call that begins now, `since` milliseconds after the story.
    pub(super) fn begin(
        &mut self,
        path: &str,
        item: Option<&str>,
        request: &CallRequest,
        since: Millis,
        state: &State,
    ) -> Ending {
        let place: Place = (path.to_owned(), item.map(str::to_owned));
        let script = self.script(&place);
        let takes = script.takes.as_ref().map_or(TAKES, millis);
        let writes = matches!(request.phase, CallKind::Apply { write: true, .. } | CallKind::Undo { .. });
        let deadline = Millis::try_from(request.timeout_ms).unwrap_or(Millis::MAX);
        let plans = matches!(request.phase, CallKind::Plan { .. } | CallKind::PlanUndo { .. });
        // What fails is the effect, where there is one, and reading it otherwise; a plan only says what it is told to.
        let fault = if plans { None } else { self.fault(&place, &script, request, since) };
        let fault = fault.or_else(|| {
            (takes >= deadline).then(|| Fault { failure: too_long(), sent: writes, lands: false })
        });
        let (result, sent, lands) = match fault {
            Some(fault) => (Err(fault.failure), fault.sent && writes, fault.lands && writes),
            None => (Ok(self.answer(&place, &script, request, since, state)), writes, writes),
        };
        let takes = takes.min(deadline);
        let reads = Reads { succeeded: 1, failed: 0, denied: 0 };
        let elapsed_ms = u64::try_from(takes).unwrap_or_default();
        Ending { report: CallReport { result, sent, reads, elapsed_ms }, takes, lands }
    }

    /// The effect of a call is there now, or gone.
    pub(super) fn landed(&mut self, path: &str, item: Option<&str>) {
        let of = path.strip_prefix("undo/");
        let place = (of.unwrap_or(path).to_owned(), item.map(str::to_owned));
        self.there.insert(place, of.is_none());
    }

    /// Whether the effect of a step or item is there.
    pub(super) fn is_there(&self, place: &Place) -> bool {
        self.there.get(place).copied().unwrap_or_default()
    }

    fn script(&self, (path, item): &Place) -> Script {
        let Some(script) = self.scripts.get(path) else { return Script::default() };
        let of_item = item.as_ref().and_then(|item| script.items.get(item));
        of_item.unwrap_or(script).clone()
    }

    fn fault(
        &mut self,
        place: &Place,
        script: &Script,
        request: &CallRequest,
        since: Millis,
    ) -> Option<Fault> {
        if matches!(request.phase, CallKind::Apply { write: false, .. }) {
            return None;
        }
        let from = script.values.iter().rev().find(|value| millis(&value.after) <= since);
        if let Some(from) = from {
            return from.fail.as_ref().map(|fail| fault_of(fail.get_ref()));
        }
        let fail = script.fail.as_ref()?;
        let failed = self.failed.entry(place.clone()).or_default();
        if script.times.is_some_and(|times| *failed >= times) {
            return None;
        }
        *failed += 1;
        Some(fault_of(fail.get_ref()))
    }

    fn answer(
        &mut self,
        place: &Place,
        script: &Script,
        request: &CallRequest,
        since: Millis,
        state: &State,
    ) -> Returned {
        match &request.phase {
            CallKind::Read { .. } | CallKind::Apply { .. } => {
                Returned::Output(self.result(place, script, since, state))
            }
            CallKind::Undo { .. } => Returned::Output(Value::Null),
            CallKind::Plan { input, .. } => {
                let done = match place.0.strip_prefix("undo/") {
                    Some(of) => !self.is_there(&(of.to_owned(), place.1.clone())),
                    None => self.is_there(place),
                };
                Returned::Plan(plan(place, script, done, Some(input)))
            }
            CallKind::PlanUndo { .. } => {
                let of = place.0.strip_prefix("undo/").unwrap_or(&place.0).to_owned();
                let done = !self.is_there(&(of, place.1.clone()));
                Returned::Plan(plan(place, script, done, None))
            }
        }
    }

    fn result(&mut self, place: &Place, script: &Script, since: Millis, state: &State) -> Value {
        if let Some(from) = script.values.iter().rev().find(|value| millis(&value.after) <= since)
            && let Some(result) = &from.result
        {
            return result.clone();
        }
        let calls = self.calls.entry((place.clone(), "result")).or_default();
        let call = *calls;
        *calls += 1;
        if let Some(result) = script.results.get(call).or(script.results.last()).or(script.result.as_ref()) {
            return result.clone();
        }
        self.made_up(&place.0, state)
    }

    fn made_up(&self, path: &str, state: &State) -> Value {
        if let Some(guard) = path.strip_prefix("guard/") {
            let Some(guard) = self.runbook.guards.iter().find(|known| known.id == guard) else {
                return Value::Null;
            };
            let mut result = self.readings.result("", guard.call.output_type.as_ref());
            made_up::adapt(&mut result, &made_up::well_of(guard), state);
            return result;
        }
        let Some((step, invocation)) = self.step(path) else { return Value::Null };
        let mut result = self.readings.result(path, invocation.output_type.as_ref());
        if !path.starts_with("undo/") {
            made_up::adapt(&mut result, &made_up::wanted_of(step), state);
        }
        result
    }

    fn step(&self, path: &str) -> Option<(&Step, &Invocation)> {
        let runbook = self.runbook;
        let (step, undoes) = match path.split_once('/') {
            Some(("finally", id)) => (runbook.finally.iter().find(|step| step.id == id)?, false),
            Some(("rollback", id)) => {
                (&runbook.rollback.iter().find(|rollback| rollback.step.id == id)?.step, false)
            }
            Some(("undo", id)) => (runbook.steps.iter().find(|step| step.id == id)?, true),
            _ => (runbook.steps.iter().find(|step| step.id == path)?, false),
        };
        match (&step.undo, &step.body) {
            (Undo::Call(invocation), _) if undoes => Some((step, invocation)),
            (_, StepBody::Call(invocation)) => Some((step, invocation)),
            _ => None,
        }
    }
}

fn plan(place: &Place, script: &Script, done: bool, input: Option<&Arc<Value>>) -> Plan {
    let told = || "the story says so".to_owned();
    let status = match script.plan.as_ref().map(|plan| plan.get_ref().as_str()) {
        Some("differs") => Status::Differs,
        Some("in-place") => Status::InPlace,
        Some("in-progress") => Status::InProgress,
        Some("conflict") => Status::Conflict(told()),
        Some("unknown") => Status::Unknown(told()),
        _ if done => Status::InPlace,
        _ => Status::Differs,
    };
    let target = place.1.as_ref().map_or_else(|| place.0.clone(), |item| format!("{}[{item}]", place.0));
    let change = Change {
        target,
        kind: if input.is_some() { "update" } else { "restore" }.to_owned(),
        from: None,
        to: input.map(|input| input.to_string()),
    };
    let changes = if status == Status::InPlace { Vec::new() } else { vec![change] };
    Plan { status, changes, repeatable: true, memo: String::new() }
}

fn too_long() -> CallFailure {
    CallFailure::Limit { limit: "deadline".to_owned(), message: "the story has it take too long".to_owned() }
}

fn said(code: &str, message: &str, retryable: bool) -> CallFailure {
    CallFailure::plugin(Failure {
        code: code.to_owned(),
        message: message.to_owned(),
        detail: None,
        retryable,
        retry_after: None,
    })
}

fn fault_of(fail: &Fail) -> Fault {
    match fail {
        Fail::Said(Said { code, message, retryable, effect }) => {
            let message = message.clone().unwrap_or_else(|| "the story has it fail".to_owned());
            let effect = effect.as_deref().unwrap_or("none");
            Fault {
                failure: said(code, &message, *retryable),
                sent: effect != "none",
                lands: effect == "applied",
            }
        }
        Fail::Word(word) => {
            let (failure, sent, lands) = match word.as_str() {
                "busy" => (said("busy", "it is busy", true), false, false),
                "lost-reply" => (said("reply-lost", "the reply was lost", true), true, true),
                "timeout" => (too_long(), true, false),
                "denied" => (denied(), false, false),
                "trap" => (CallFailure::Fault { message: "it trapped".to_owned() }, true, false),
                _ => (said("refused", "it is refused", false), false, false),
            };
            Fault { failure, sent, lands }
        }
    }
}

fn denied() -> CallFailure {
    CallFailure::Denied(Denied {
        capability: "http".to_owned(),
        target: "somewhere".to_owned(),
        reason: "the story has it denied".to_owned(),
        allow: None,
        plugin: "played".to_owned(),
        failure: None,
    })
}
