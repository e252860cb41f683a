//! `windlass plan`: what a run would do now, found out without doing any of it.
//!
//! Drives the same calls as the machine, all of them in read mode and with no attempts before, and journals nothing.
//! What a step would give is used by the steps after it as far as it is known: a step that would change something is
//! taken to succeed, and whatever needs its output is *deferred*. Invariant: no call made here may write.

mod aside;
mod items;
mod rows;
mod taken;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use windlass_runbook::coerce::coerce_record;
use windlass_runbook::expression::ExpressionError;
use windlass_runbook::model::{Invocation, Runbook, Step, StepBody};
use windlass_runbook::outcome::{Plan, Status};
use windlass_runbook::units::duration_of;

use crate::command::{CallId, CallKind, CallReport, CallRequest, Reads, Returned};
use crate::event::{Event, RunCreated};
use crate::failure::{CallFailure, CallPhase, StepFailure};
use crate::identity::{Direction, EffectId, Millis};
use crate::layout::{Layout, Role, uses_report};
use crate::machine::{PLAN_MS, READ_MS, items_of};
use crate::scope::{RunScope, measured};
use crate::size::{CAP, json_bytes};
use crate::state::State;
use crate::words::{SkipReason, StepStatus};
use crate::work::Work;

use items::Fan;
use taken::{PlanScope, Taken};

pub use rows::{Expectation, PlanCommand, PlanOutcome, PlanRow, PlanSummary};

#[derive(Debug, Clone, Copy)]
struct Place {
    step: usize,
    item: Option<usize>,
}

#[derive(Debug)]
struct Calling {
    place: Place,
    input: Arc<Value>,
    plan: Option<Arc<Plan>>,
}

/// The driver of `windlass plan`.
#[derive(Debug)]
pub struct Planner {
    layout: Arc<Layout>,
    /// What the run has come to; of `windlass plan` nothing yet.
    state: State,
    /// What the steps planned so far are taken to have come to, by step.
    taken: Vec<Option<Taken>>,
    now: Millis,
    waits_for: Vec<usize>,
    /// By node: whether something before it would change, is deferred, or fails.
    moved: Vec<bool>,
    anything_moved: bool,
    ready: VecDeque<usize>,
    calls: HashMap<CallId, Calling>,
    last_call: u64,
    fans: HashMap<usize, Fan>,
    left: usize,
    finally_begun: bool,
    summary: PlanSummary,
    commands: Vec<PlanCommand>,
    /// Where only some steps of a run are planned.
    part: Option<Part>,
}

/// Some steps of a run.
#[derive(Debug)]
struct Part {
    steps: BTreeSet<usize>,
    /// What was resolved, by step and item.
    inputs: HashMap<(usize, Option<Arc<str>>), Arc<Value>>,
}

impl Planner {
    /// `created` is what a run would pin; its id is empty.
    #[must_use]
    pub fn new(runbook: Arc<Runbook>, created: RunCreated) -> Self {
        let layout = Arc::new(Layout::new(runbook));
        let mut state = State::default();
        state.fold(&Event::RunCreated(Box::new(created)), 0);
        let waits_for = layout.waits_for();
        Self {
            taken: vec![None; waits_for.len()],
            moved: vec![false; waits_for.len()],
            waits_for,
            left: layout.main_steps(),
            layout,
            state,
            now: 0,
            anything_moved: false,
            ready: VecDeque::new(),
            calls: HashMap::new(),
            last_call: 0,
            fans: HashMap::new(),
            finally_begun: false,
            summary: PlanSummary::default(),
            commands: Vec::new(),
            part: None,
        }
    }

    /// For these steps of a run that stands at `state`. None of the others is called; one that has yet to change
    /// something counts as moving what comes after it.
    pub(crate) fn part_of(layout: Arc<Layout>, state: State, steps: BTreeSet<usize>) -> Self {
        let waits_for = layout.waits_for();
        Self {
            taken: vec![None; waits_for.len()],
            moved: vec![false; waits_for.len()],
            waits_for,
            left: steps.len(),
            layout,
            state,
            now: 0,
            anything_moved: false,
            ready: VecDeque::new(),
            calls: HashMap::new(),
            last_call: 0,
            fans: HashMap::new(),
            finally_begun: true,
            summary: PlanSummary::default(),
            commands: Vec::new(),
            part: Some(Part { steps, inputs: HashMap::new() }),
        }
    }

    /// The input that a step or item was planned with; none where it is not known yet. Only of a plan over some steps.
    pub(crate) fn input_of(&self, step: usize, item: Option<&str>) -> Option<Arc<Value>> {
        self.part.as_ref()?.inputs.get(&(step, item.map(Arc::from))).cloned()
    }

    /// Passes a step by that is not to be planned. True where that is so.
    fn pass_by(&mut self, node: usize) -> bool {
        let layout = Arc::clone(&self.layout);
        let (Some(part), Some(step)) = (&self.part, layout.step(node)) else { return false };
        if part.steps.contains(&node) {
            return false;
        }
        let is_over = self.state.step(&layout.path(node)).is_some_and(|state| state.work.phase.is_over());
        let writes = matches!(&step.body, StepBody::Call(invocation) if invocation.kind.has_effect());
        if writes
            && !is_over
            && let Some(moved) = self.moved.get_mut(node)
        {
            *moved = true;
        }
        self.open(node);
        true
    }

    /// The first commands. `now` is what `run.now` and `run.started` are.
    pub fn begin(&mut self, now: Millis) -> Vec<PlanCommand> {
        self.now = now;
        self.ready = self.layout.roots().collect();
        self.go_on()
    }

    /// A call ended.
    pub fn called(&mut self, call: CallId, report: CallReport, now: Millis) -> Vec<PlanCommand> {
        self.now = self.now.max(now);
        if let Some(calling) = self.calls.remove(&call) {
            self.ended(calling, report);
        }
        self.go_on()
    }

    fn go_on(&mut self) -> Vec<PlanCommand> {
        loop {
            while let Some(node) = self.ready.pop_front() {
                self.begin_step(node);
            }
            if self.left > 0 || !self.calls.is_empty() {
                break;
            }
            if std::mem::replace(&mut self.finally_begun, true) {
                self.commands.push(PlanCommand::Done(self.summary));
                break;
            }
            self.begin_aside();
        }
        std::mem::take(&mut self.commands)
    }

    fn begin_step(&mut self, node: usize) {
        let layout = Arc::clone(&self.layout);
        let Some(step) = layout.step(node) else {
            return self.open(node);
        };
        if self.pass_by(node) {
            return;
        }
        let place = Place { step: node, item: None };
        if self.layout.is_aside(node) && uses_report(step) {
            let reason = "the report is written when the run ends".to_owned();
            return self.settle(place, PlanOutcome::Deferred { reason });
        }
        if let Some(when) = &step.when {
            match when.evaluate_bool(&self.scope(None, None)) {
                Ok(true) => (),
                Ok(false) => {
                    let because = Some(when.source().to_owned());
                    return self.settle(place, PlanOutcome::Skipped { reason: SkipReason::When, because });
                }
                Err(error) => return self.unresolved(place, "when", &error),
            }
        }
        match &step.for_each {
            None => self.begin_body(place, step, None),
            Some(fan_out) => {
                let value = match fan_out.items.resolve(&self.scope(None, None)) {
                    Ok(value) => value,
                    Err(error) => return self.unresolved(place, "for_each", &error),
                };
                let made = items_of(fan_out, value, |item| match &fan_out.key {
                    Some(key) => key.evaluate(&self.scope(Some(item), None)),
                    None => Ok(Value::Null),
                });
                match made {
                    Ok(items) => self.begin_items(place, items),
                    Err(failure) => self.failed(place, *failure),
                }
            }
        }
    }

    fn begin_body(&mut self, place: Place, step: &Step, item: Option<&Value>) {
        match &step.body {
            StepBody::Wait { duration } => match duration.resolve(&self.scope(item, None)) {
                Ok(value) => match duration_of(&value) {
                    Ok(ms) => self.settle(place, PlanOutcome::Wait { ms }),
                    Err(message) => self.failed(
                        place,
                        StepFailure::Expression { field: "wait".to_owned(), message: message.clone() },
                    ),
                },
                Err(error) => self.unresolved(place, "wait", &error),
            },
            StepBody::Call(invocation) => match invocation.input.resolve(&self.scope(item, None)) {
                Ok(value) => match coerce_record(value, &invocation.input_type) {
                    Ok(input) => self.call_first(place, step, invocation, Arc::new(input)),
                    Err(mismatch) => {
                        self.failed(place, StepFailure::Input { message: mismatch.to_string() });
                    }
                },
                Err(error) => self.unresolved(place, "with", &error),
            },
            StepBody::Approve(approval) => self.ask(place, approval, item),
        }
    }

    fn call_first(&mut self, place: Place, step: &Step, invocation: &Invocation, input: Arc<Value>) {
        let item = self.item_key(place);
        // Empty in `windlass plan`, which knows no run.
        let before = self.state.work(&self.layout.path(place.step), item.as_deref()).map(Work::before);
        if let Some(part) = &mut self.part {
            part.inputs.insert((place.step, item), Arc::clone(&input));
        }
        let (kind, cap) = if invocation.kind.has_effect() {
            (
                CallKind::Plan { input: Arc::clone(&input), before: Arc::new(before.unwrap_or_default()) },
                PLAN_MS,
            )
        } else {
            (CallKind::Read { input: Arc::clone(&input) }, READ_MS)
        };
        self.call(step, Calling { place, input, plan: None }, kind, cap);
    }

    fn call(&mut self, step: &Step, calling: Calling, kind: CallKind, cap_ms: u64) {
        let Some(name) = self.layout.call(calling.place.step).cloned() else { return };
        let path = self.layout.path(calling.place.step);
        let item = self.item_key(calling.place);
        let effect = EffectId {
            step: Arc::clone(&path),
            item: item.clone(),
            generation: 1,
            direction: Direction::Do,
            attempt: 1,
        };
        self.last_call += 1;
        let call = CallId(self.last_call);
        let timeout_ms = match step.timeout_ms {
            Some(timeout) if step.gate.is_none() => timeout,
            Some(timeout) => timeout.min(cap_ms),
            None => cap_ms,
        };
        let request = CallRequest {
            plugin: name.plugin,
            interface: name.interface,
            action: name.action,
            phase: kind,
            attempt: 1,
            idempotency_key: effect
                .idempotency_key(self.state.created().map_or("", |created| &created.run))
                .into(),
            timeout_ms,
            require_gone: Vec::new(),
        };
        self.calls.insert(call, calling);
        self.commands.push(PlanCommand::Call { call, step: path, item, request });
    }

    fn ended(&mut self, calling: Calling, report: CallReport) {
        let layout = Arc::clone(&self.layout);
        let place = calling.place;
        let Some(step) = layout.step(place.step) else { return };
        self.call_ended(step, calling, report);
        if place.item.is_some() {
            self.feed(place.step);
        }
    }

    fn call_ended(&mut self, step: &Step, calling: Calling, report: CallReport) {
        let place = calling.place;
        match (report.result, calling.plan) {
            (Ok(Returned::Plan(plan)), None) => self.planned(step, place, calling.input, plan, report.reads),
            (Ok(Returned::Output(output)), Some(_)) => self.output(step, place, output, true),
            (Ok(Returned::Output(output)), None) => match &step.gate {
                Some(_) => self.sampled(step, place, Ok(output)),
                None => self.output(step, place, output, false),
            },
            (Ok(Returned::Plan(_)), Some(_)) => {
                let message = "the call returned a plan instead of an output".to_owned();
                self.call_failed(place, CallPhase::Output, CallFailure::Fault { message });
            }
            (Err(failure), _) if step.gate.is_some() && failure.retryable() => {
                self.sampled(step, place, Err(failure));
            }
            (Err(failure), plan) => {
                let writes = matches!(&step.body, StepBody::Call(invocation) if invocation.kind.has_effect());
                let phase = match (writes, plan) {
                    (false, _) => CallPhase::Read,
                    (true, None) => CallPhase::Plan,
                    (true, Some(_)) => CallPhase::Output,
                };
                self.call_failed(place, phase, failure);
            }
        }
    }

    fn call_failed(&mut self, place: Place, phase: CallPhase, failure: CallFailure) {
        self.failed(place, StepFailure::Call { phase, failure, tries: 1 });
    }

    fn planned(&mut self, step: &Step, place: Place, input: Arc<Value>, plan: Plan, reads: Reads) {
        let bytes = json_bytes(&plan);
        if bytes > CAP {
            return self.failed(place, StepFailure::PlanTooLarge { bytes, limit: CAP });
        }
        match &plan.status {
            Status::Differs => self.settle(place, PlanOutcome::Changes { plan }),
            Status::InProgress => self.settle(place, PlanOutcome::InProgress { plan }),
            Status::Conflict(message) => {
                let message = message.clone();
                self.failed(place, StepFailure::Conflict { message });
            }
            Status::Unknown(message) => {
                let message = message.clone();
                self.failed(place, StepFailure::CannotTell { message });
            }
            Status::InPlace => {
                if let Some(message) = reads.doubt() {
                    return self.failed(place, StepFailure::CannotTell { message });
                }
                let plan = Arc::new(plan);
                let kind =
                    CallKind::Apply { input: Arc::clone(&input), plan: Arc::clone(&plan), write: false };
                self.call(step, Calling { place, input, plan: Some(plan) }, kind, READ_MS);
            }
        }
    }

    fn output(&mut self, step: &Step, place: Place, output: Value, in_place: bool) {
        let bytes = json_bytes(&output);
        if bytes > CAP {
            return self.failed(place, StepFailure::OutputTooLarge { bytes, limit: CAP });
        }
        let item = self.item_value(place);
        let mut expectations = Vec::new();
        for expression in &step.expect {
            let scope = self.scope(item.as_deref(), Some(&output));
            let found = measured(expression, &scope);
            match expression.evaluate_bool(&scope) {
                Ok(true) => expectations
                    .push(Expectation { expression: expression.source().to_owned(), measured: found }),
                Ok(false) => {
                    let expression = expression.source().to_owned();
                    return self.failed(place, StepFailure::Expectation { expression, measured: found });
                }
                Err(error) => return self.unresolved(place, "expect", &error),
            }
        }
        let output = (!output.is_null()).then(|| Arc::new(output));
        let outcome = if in_place {
            PlanOutcome::Unchanged { output }
        } else {
            PlanOutcome::Read { output, expectations }
        };
        self.settle(place, outcome);
    }

    fn sampled(&mut self, step: &Step, place: Place, result: Result<Value, CallFailure>) {
        let Some(gate) = &step.gate else { return };
        let item = self.item_value(place);
        let (open, seen, failure) = match &result {
            Err(failure) => (false, Vec::new(), Some(failure.clone())),
            Ok(value) => {
                let scope = self.scope(item.as_deref(), Some(value));
                match gate.until.evaluate_bool(&scope) {
                    Ok(open) => (open, measured(&gate.until, &scope), None),
                    Err(error) => return self.unresolved(place, "until", &error),
                }
            }
        };
        let outcome = PlanOutcome::Gate {
            until: gate.until.source().to_owned(),
            open,
            measured: seen,
            failure,
            every_ms: gate.every_ms,
            hold_ms: gate.hold_ms,
        };
        let output = result.ok().filter(|_| open).map(Arc::new);
        self.settle_with(place, outcome, output);
    }

    /// An expression had no value. With a step before it that has yet to run, that may be the reason.
    fn unresolved(&mut self, place: Place, field: &str, error: &ExpressionError) {
        let outcome = match error {
            ExpressionError::NoOutput { step, .. } => {
                if self.scope(None, None).status(step) == Some(StepStatus::Skipped) {
                    PlanOutcome::Skipped { reason: SkipReason::Upstream, because: Some(step.clone()) }
                } else {
                    let reason = format!("`{field}` needs the output of `{step}`, which is not known yet");
                    PlanOutcome::Deferred { reason }
                }
            }
            error => {
                let failure = StepFailure::Expression { field: field.to_owned(), message: error.to_string() };
                return self.failed(place, failure);
            }
        };
        self.settle(place, outcome);
    }

    /// Failed, or deferred where something before it is yet to change.
    fn failed(&mut self, place: Place, failure: StepFailure) {
        let outcome = if self.moved.get(place.step).copied().unwrap_or(false) {
            PlanOutcome::Deferred {
                reason: format!("fails as things stand before the steps ahead of it have run: {failure}"),
            }
        } else {
            PlanOutcome::Failed { failure }
        };
        self.settle(place, outcome);
    }

    fn settle(&mut self, place: Place, outcome: PlanOutcome) {
        let output = match &outcome {
            PlanOutcome::Unchanged { output } | PlanOutcome::Read { output, .. } => output.clone(),
            _ => None,
        };
        self.settle_with(place, outcome, output);
    }

    fn settle_with(&mut self, place: Place, outcome: PlanOutcome, output: Option<Arc<Value>>) {
        let moves = matches!(
            outcome,
            PlanOutcome::Changes { .. }
                | PlanOutcome::InProgress { .. }
                | PlanOutcome::Deferred { .. }
                | PlanOutcome::Gate { open: false, .. }
        );
        let fails = matches!(outcome, PlanOutcome::Failed { .. });
        if let Some(item) = place.item {
            self.row(place, outcome);
            let Some(fan) = self.fans.get_mut(&place.step) else { return };
            fan.open = fan.open.saturating_sub(1);
            fan.moved |= moves;
            fan.failed += usize::from(fails);
            if let Some(slot) = fan.outputs.get_mut(item) {
                *slot = output;
            }
            // What comes next is up to `feed`: from here it would have to be called once per item, one in the other.
            return;
        }
        self.take(place.step, Taken::of(&outcome, output));
        self.row(place, outcome);
        self.over(place.step, moves || fails);
    }

    /// Lets the steps after it see what a planned step is taken for.
    fn take(&mut self, step: usize, taken: Taken) {
        if let Some(slot) = self.taken.get_mut(step) {
            *slot = Some(taken);
        }
    }

    fn row(&mut self, place: Place, outcome: PlanOutcome) {
        if self.layout.role(place.step) != Role::Rollback {
            self.summary.count(&outcome);
        }
        let row = PlanRow {
            position: place.step,
            step: self.layout.path(place.step),
            item: self.item_key(place),
            action: self.layout.call(place.step).map(|call| [&*call.plugin, ".", &*call.action].concat()),
            outcome,
        };
        self.commands.push(PlanCommand::Row(Box::new(row)));
    }

    fn over(&mut self, step: usize, moves: bool) {
        self.anything_moved |= moves;
        if moves && let Some(moved) = self.moved.get_mut(step) {
            *moved = true;
        }
        self.left = self.left.saturating_sub(1);
        self.open(step);
    }

    fn open(&mut self, node: usize) {
        let moves = self.moved.get(node).copied().unwrap_or(false);
        for &dependent in self.layout.dependents(node) {
            if moves && let Some(moved) = self.moved.get_mut(dependent) {
                *moved = true;
            }
            if let Some(count) = self.waits_for.get_mut(dependent) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.ready.push_back(dependent);
                }
            }
        }
    }

    fn item_key(&self, place: Place) -> Option<Arc<str>> {
        Some(Arc::clone(&self.fans.get(&place.step)?.items.get(place.item?)?.key))
    }

    fn item_value(&self, place: Place) -> Option<Arc<Value>> {
        Some(Arc::clone(&self.fans.get(&place.step)?.items.get(place.item?)?.value))
    }

    fn scope<'a>(&'a self, item: Option<&'a Value>, result: Option<&'a Value>) -> PlanScope<'a> {
        let run = RunScope { state: &self.state, item, result, report: None, now: self.now };
        PlanScope { run, layout: &self.layout, taken: &self.taken }
    }
}
