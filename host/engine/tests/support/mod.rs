//! Runbooks made in code, a scripted world, and a small runner that can crash between any two commands.
//!
//! This file is long on purpose: one stand-in world, shared by every suite of the engine, in one place.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test support")]

pub(crate) mod safety;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use windlass_engine::{
    Answer, Asked, CallFailure, CallId, CallKind, CallReport, CallRequest, Command, Event, Hold, Machine,
    Millis, Observation, PinnedText, Reads, Request, Returned, RunCreated, State, Verdict,
};
use windlass_runbook::expression::{Expression, Template, TextPart};
use windlass_runbook::model::{
    ForEach, Gate, Invocation, Late, OnFailure, OnUnknown, Plugin, PluginSource, Retry, Runbook, Stage, Step,
    StepBody, Undo,
};
use windlass_runbook::outcome::{Attempt, Change, Failure, Plan, Status};
use windlass_runbook::wit::{ActionKind, Field, Record, Signature, Type};

// --- runbooks ---

pub(crate) fn expression(source: &str) -> Expression {
    Expression::compile(source).unwrap()
}

/// `"${…}"` is an expression, other strings are literals.
pub(crate) fn template(value: &Value) -> Template {
    match value {
        Value::String(text) => match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            Some(source) => Template::Expression(expression(source)),
            None => match text.split_once("${") {
                Some((before, rest)) => {
                    let (source, after) = rest.split_once('}').unwrap();
                    Template::Text(vec![
                        TextPart::Literal(before.into()),
                        TextPart::Expression(expression(source)),
                        TextPart::Literal(after.into()),
                    ])
                }
                None => Template::Literal(value.clone()),
            },
        },
        Value::Array(items) => Template::List(items.iter().map(template).collect()),
        Value::Object(fields) => {
            Template::Table(fields.iter().map(|(name, value)| (name.clone(), template(value))).collect())
        }
        other => Template::Literal(other.clone()),
    }
}

fn input_record() -> Arc<Record> {
    let field = |name: &str| Field { name: name.into(), ty: Type::Option(Box::new(Type::Json)), docs: None };
    Arc::new(Record { name: "input".into(), fields: vec![field("value")] })
}

fn step(id: &str, kind: ActionKind, value: Option<Value>) -> Step {
    let input = value.map_or_else(|| json!({}), |value| json!({ "value": value }));
    Step {
        id: id.into(),
        title: None,
        stage: None,
        needs: Vec::new(),
        body: StepBody::Call(Box::new(Invocation {
            plugin: "fake".into(),
            interface: "windlass:test/fake@0.1.0".into(),
            action: if kind.has_effect() { "make" } else { "look" }.into(),
            kind,
            input: template(&input),
            input_type: input_record(),
            output_type: Some(Type::Json),
        })),
        when: None,
        for_each: None,
        gate: None,
        expect: Vec::new(),
        retry: Retry::default(),
        timeout_ms: None,
        on_failure: OnFailure::Pause,
        on_unknown: OnUnknown::Ask,
        undo: Undo::Own,
        commit: false,
        at: None,
        window: None,
        span: windlass_runbook::source::Span::new(windlass_runbook::source::FileId::Runbook, &(0..0)),
    }
}

pub(crate) fn read(id: &str) -> Step {
    step(id, ActionKind::Reading, None)
}

pub(crate) fn write(id: &str) -> Step {
    step(id, ActionKind::Effect, None)
}

/// A step whose action can be undone.
pub(crate) fn undoable(id: &str) -> Step {
    step(id, ActionKind::UndoableEffect, None)
}

pub(crate) fn wait(id: &str, duration: &str) -> Step {
    let mut step = read(id);
    step.body = StepBody::Wait { duration: template(&json!(duration)) };
    step
}

pub(crate) trait With: Sized {
    fn with(self, value: Value) -> Self;
    fn when(self, source: &str) -> Self;
    fn needs(self, needs: &[usize]) -> Self;
    fn expect(self, source: &str) -> Self;
    fn retry(self, attempts: u32) -> Self;
    fn timeout(self, ms: u64) -> Self;
    fn go_on(self) -> Self;
    fn on_failure(self, what: OnFailure) -> Self;
    fn undo(self, undo: Undo) -> Self;
    fn commits(self) -> Self;
    fn accept(self) -> Self;
    fn gate(self, until: &str, every_ms: u64, hold_ms: u64) -> Self;
    fn each(self, items: Value, max_parallel: usize, max_failures: usize) -> Self;
    fn key(self, source: &str) -> Self;
}

impl With for Step {
    fn with(mut self, value: Value) -> Self {
        if let StepBody::Call(invocation) = &mut self.body {
            invocation.input = template(&json!({ "value": value }));
        }
        self
    }
    fn when(mut self, source: &str) -> Self {
        self.when = Some(expression(source));
        self
    }
    fn needs(mut self, needs: &[usize]) -> Self {
        self.needs = needs.to_vec();
        self
    }
    fn expect(mut self, source: &str) -> Self {
        self.expect.push(expression(source));
        self
    }
    fn retry(mut self, attempts: u32) -> Self {
        self.retry = Retry { attempts, min_ms: 1000, max_ms: 8000 };
        self
    }
    fn timeout(mut self, ms: u64) -> Self {
        self.timeout_ms = Some(ms);
        self
    }
    fn go_on(mut self) -> Self {
        self.on_failure = OnFailure::Continue;
        self
    }
    fn on_failure(mut self, what: OnFailure) -> Self {
        self.on_failure = what;
        self
    }
    fn undo(mut self, undo: Undo) -> Self {
        self.undo = undo;
        self
    }
    fn commits(mut self) -> Self {
        self.commit = true;
        self
    }
    fn accept(mut self) -> Self {
        self.on_unknown = OnUnknown::Accept;
        self
    }
    fn gate(mut self, until: &str, every_ms: u64, hold_ms: u64) -> Self {
        self.gate = Some(Gate { until: expression(until), every_ms, hold_ms });
        self
    }
    fn each(mut self, items: Value, max_parallel: usize, max_failures: usize) -> Self {
        self.for_each = Some(ForEach { items: template(&items), key: None, max_parallel, max_failures });
        self
    }
    fn key(mut self, source: &str) -> Self {
        self.for_each.as_mut().unwrap().key = Some(expression(source));
        self
    }
}

/// Steps in order, each after the one before it unless it names its needs.
pub(crate) fn chain(mut steps: Vec<Step>) -> Runbook {
    for (index, step) in steps.iter_mut().enumerate().skip(1) {
        if step.needs.is_empty() {
            step.needs = vec![index - 1];
        }
    }
    runbook(steps, Vec::new())
}

/// Steps with the needs that they name.
pub(crate) fn runbook(steps: Vec<Step>, finally: Vec<Step>) -> Runbook {
    let signature = Arc::new(Signature {
        digest: "sha256:fa".into(),
        interfaces: Vec::new(),
        config: None,
        slots: Vec::new(),
    });
    let plugin = Plugin {
        name: "fake".into(),
        source: PluginSource::Builtin("fake".into()),
        contract: None,
        connections: IndexMap::new(),
        config: None,
        allow: Vec::new(),
        signature,
    };
    Runbook {
        sources: windlass_runbook::Sources {
            runbook: Arc::new(windlass_runbook::SourceFile {
                name: "test.toml".into(),
                folder: "/".into(),
                text: "".into(),
            }),
            environment: None,
        },
        name: "test".into(),
        title: None,
        inputs: IndexMap::new(),
        vars: Map::new(),
        plugins: [("fake".to_owned(), plugin)].into_iter().collect(),
        connections: IndexMap::new(),
        secrets: IndexMap::new(),
        stages: Vec::new(),
        steps,
        finally,
        rollback: Vec::new(),
        rollback_within_ms: None,
        late: Late::Shift,
        guards: Vec::new(),
        baselines: IndexMap::new(),
        criteria: Vec::new(),
        concurrency: None,
    }
}

/// Stages of parallel steps.
pub(crate) fn staged(stages: Vec<Vec<Step>>) -> Runbook {
    let mut all = Vec::new();
    let mut ranges = Vec::new();
    for (number, steps) in stages.into_iter().enumerate() {
        let from = all.len();
        for mut step in steps {
            step.stage = Some(number);
            all.push(step);
        }
        ranges.push(Stage {
            name: format!("stage {number}"),
            steps: from..all.len(),
            at: None,
            window: None,
            commit: false,
        });
    }
    let mut runbook = runbook(all, Vec::new());
    runbook.stages = ranges;
    runbook
}

// --- the world ---

pub(crate) fn ok(value: Value) -> CallReport {
    report(Ok(Returned::Output(value)), false)
}

pub(crate) fn report(result: Result<Returned, CallFailure>, sent: bool) -> CallReport {
    CallReport { result, sent, reads: Reads { succeeded: 1, failed: 0, denied: 0 }, elapsed_ms: 1 }
}

pub(crate) fn plan_of(status: Status, repeatable: bool) -> Plan {
    let changes =
        vec![Change { target: "thing".into(), kind: "create".into(), from: None, to: Some("there".into()) }];
    let changes = if status == Status::InPlace { Vec::new() } else { changes };
    Plan { status, changes, repeatable, memo: "m".into() }
}

pub(crate) fn planned(status: Status, repeatable: bool) -> CallReport {
    report(Ok(Returned::Plan(plan_of(status, repeatable))), false)
}

pub(crate) fn failing(code: &str, retryable: bool) -> CallFailure {
    CallFailure::plugin(Failure {
        code: code.into(),
        message: format!("it is {code}"),
        detail: None,
        retryable,
        retry_after: None,
    })
}

pub(crate) fn failed(code: &str, retryable: bool, sent: bool) -> CallReport {
    report(Err(failing(code, retryable)), sent)
}

const HANGS: u64 = u64::MAX;

/// A call that does not end before it is cut off.
pub(crate) fn hangs() -> CallReport {
    CallReport { elapsed_ms: HANGS, ..ok(Value::Null) }
}

/// A call as a script sees it.
pub(crate) struct Seen<'a> {
    pub(crate) step: &'a str,
    pub(crate) item: Option<&'a str>,
    pub(crate) request: &'a CallRequest,
    pub(crate) now: Millis,
    /// How often this effect has been had so far.
    pub(crate) had: u32,
    /// How many calls of this kind the step has had, this one included.
    pub(crate) count: u32,
}

impl Seen<'_> {
    pub(crate) fn before(&self) -> &[Attempt] {
        match &self.request.phase {
            CallKind::Plan { before, .. } => before,
            _ => &[],
        }
    }
    pub(crate) fn is_plan(&self) -> bool {
        matches!(self.request.phase, CallKind::Plan { .. })
    }
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.request.phase, CallKind::Read { .. })
    }
    pub(crate) fn writes(&self) -> bool {
        matches!(self.request.phase, CallKind::Apply { write: true, .. } | CallKind::Undo { .. })
    }
}

/// What a call does: its report, and whether the effect is had.
pub(crate) type Script = Box<dyn FnMut(&Seen<'_>) -> Option<(CallReport, bool)>>;

/// A well-behaved, resolvable effect and a reading that works.
pub(crate) fn usual(seen: &Seen<'_>) -> (CallReport, bool) {
    match &seen.request.phase {
        CallKind::Read { input } => (ok(json!({ "seen": input["value"] })), false),
        CallKind::Plan { .. } if seen.had > 0 => (planned(Status::InPlace, true), false),
        CallKind::Plan { .. } => (planned(Status::Differs, true), false),
        CallKind::Apply { input, write, .. } => {
            (CallReport { sent: *write, ..ok(json!({ "made": input["value"] })) }, *write)
        }
        CallKind::PlanUndo { .. } if seen.had > 0 => (planned(Status::Differs, true), false),
        CallKind::PlanUndo { .. } => (planned(Status::InPlace, true), false),
        CallKind::Undo { .. } => (CallReport { sent: true, ..ok(Value::Null) }, true),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Held(Vec<Hold>),
    Ended(Verdict, bool),
    Crashed,
    /// It would wait for longer than the test wants.
    TimeUp,
}

type Pending = (CallId, Arc<str>, Option<Arc<str>>, CallRequest);

/// The smallest runner: one call at a time, in the order asked for, with virtual time.
pub(crate) struct Driver {
    pub(crate) runbook: Arc<Runbook>,
    pub(crate) journal: Vec<(Event, Millis)>,
    pub(crate) buffer: Vec<(Event, Millis)>,
    pub(crate) machine: Machine,
    pub(crate) now: Millis,
    pub(crate) epoch: u64,
    pub(crate) commits: usize,
    pub(crate) script: Script,
    pub(crate) effects: BTreeMap<(String, Option<String>), u32>,
    pub(crate) counts: BTreeMap<(String, Option<String>, &'static str), u32>,
    pub(crate) pending: VecDeque<Pending>,
    /// Calls that end only when they are cut off: see `hangs`.
    pub(crate) hanging: Vec<Pending>,
    pub(crate) wake: Option<Millis>,
    pub(crate) calls: Vec<String>,
    pub(crate) refused: Vec<String>,
    pub(crate) consumed: Vec<String>,
    /// Crash when this many points have been passed; a point lies before each command and after each effect.
    pub(crate) crash_at: Option<usize>,
    pub(crate) points: usize,
    /// Observations to make when so many calls have been answered.
    pub(crate) plot: Vec<(usize, Observation)>,
    /// Observations to make at so many milliseconds after the start.
    pub(crate) timed: Vec<(Millis, Observation)>,
    /// Nothing later than this is waited for, milliseconds after the start.
    pub(crate) time_up: Option<Millis>,
    /// Answers and ends that the driver itself has for the machine.
    pub(crate) due: VecDeque<Observation>,
    /// What the group's lock answers; empty for that it is had.
    pub(crate) locks: VecDeque<Observation>,
    pub(crate) unlocked: usize,
    is_time_up: bool,
    /// Every `Waiting` and `Watched`.
    pub(crate) shown: Vec<Command>,
    pub(crate) answered: usize,
}

pub(crate) fn created(runbook: &Runbook) -> Event {
    Event::RunCreated(Box::new(RunCreated {
        format: windlass_engine::FORMAT,
        run: "k3n9".into(),
        name: runbook.name.clone(),
        runbook: PinnedText { name: "test.toml".into(), ..PinnedText::default() },
        inputs: json!({ "names": ["a", "b", "c"], "limit": 20 }).as_object().unwrap().clone(),
        vars: json!({ "place": "here" }).as_object().unwrap().clone(),
        started_by: "ada".into(),
        tool_version: "0.1.0".into(),
        ..RunCreated::default()
    }))
}

pub(crate) const START: Millis = 1_790_000_000_000;

impl Driver {
    pub(crate) fn new(runbook: Runbook) -> Self {
        Self::scripted(runbook, |_| None)
    }

    pub(crate) fn scripted(
        runbook: Runbook,
        mut script: impl FnMut(&Seen<'_>) -> Option<(CallReport, bool)> + 'static,
    ) -> Self {
        let runbook = Arc::new(runbook);
        let journal = vec![(created(&runbook), START)];
        let state = replay(&journal);
        Self {
            machine: Machine::new(Arc::clone(&runbook), state),
            runbook,
            journal,
            buffer: Vec::new(),
            now: START,
            epoch: 0,
            commits: 0,
            script: Box::new(move |seen| script(seen)),
            effects: BTreeMap::new(),
            counts: BTreeMap::new(),
            pending: VecDeque::new(),
            hanging: Vec::new(),
            wake: None,
            calls: Vec::new(),
            refused: Vec::new(),
            consumed: Vec::new(),
            crash_at: None,
            points: 0,
            plot: Vec::new(),
            timed: Vec::new(),
            time_up: None,
            due: VecDeque::new(),
            locks: VecDeque::new(),
            unlocked: 0,
            is_time_up: false,
            shown: Vec::new(),
            answered: 0,
        }
    }

    /// A new process over what is in the journal.
    pub(crate) fn restart(&mut self) {
        self.buffer.clear();
        self.pending.clear();
        self.hanging.clear();
        self.due.clear();
        self.wake = None;
        self.machine = Machine::new(Arc::clone(&self.runbook), replay(&self.journal));
    }

    pub(crate) fn start(&mut self) -> Outcome {
        self.epoch += 1;
        self.observe(Observation::Started { epoch: self.epoch, who: "ada".into() })
    }

    /// What ada asks for.
    pub(crate) fn ask(&mut self, request: Request) -> Outcome {
        self.observe(Observation::Asked(Asked::here("ada", request)))
    }

    pub(crate) fn resume(&mut self) -> Outcome {
        self.ask(Request::Resume)
    }

    pub(crate) fn answer(&mut self, step: &str, item: Option<&str>, answer: Answer) -> Outcome {
        self.ask(Request::Answer {
            step: step.into(),
            item: item.map(Into::into),
            answer,
            reason: "looked".into(),
        })
    }

    fn crashes_here(&mut self) -> bool {
        self.points += 1;
        self.crash_at == Some(self.points)
    }

    /// Feeds an observation and goes on until the run is held, has ended, or crashes.
    pub(crate) fn observe(&mut self, observation: Observation) -> Outcome {
        let mut next = Some(observation);
        for _ in 0..1_000_000 {
            let observation = match next.take() {
                Some(observation) => observation,
                None => match self.wait() {
                    Some(observation) => observation,
                    None if std::mem::take(&mut self.is_time_up) => return Outcome::TimeUp,
                    None => return Outcome::Crashed,
                },
            };
            let commands = self.machine.decide(observation, self.now);
            self.check_order(&commands);
            match self.carry_out(commands) {
                Next::Go(observation) => next = observation.map(|observation| *observation),
                Next::Stop(outcome) => return outcome,
            }
        }
        panic!("the run does not end; last calls: {:?}", self.calls.iter().rev().take(5).collect::<Vec<_>>());
    }

    fn carry_out(&mut self, commands: Vec<Command>) -> Next {
        let mut stop = None;
        let mut next = None;
        for command in commands {
            if self.crashes_here() {
                return Next::Stop(Outcome::Crashed);
            }
            match command {
                Command::Record { event, at } => self.buffer.push((event, at)),
                Command::Commit => {
                    self.commits += 1;
                    let mut buffer = std::mem::take(&mut self.buffer);
                    // The journal holds JSON: what does not survive it must not be relied on.
                    for (event, _) in &mut buffer {
                        let text = serde_json::to_string(event).unwrap();
                        *event = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
                    }
                    self.journal.append(&mut buffer);
                }
                Command::Call { call, step, item, request } => {
                    self.pending.push_back((call, step, item, request));
                }
                Command::Cancel { call } => {
                    let waiting = self.pending.iter().position(|(id, ..)| *id == call);
                    let (.., request) = match waiting {
                        Some(at) => self.pending.remove(at).unwrap(),
                        None => {
                            let at = self.hanging.iter().position(|(id, ..)| *id == call).unwrap();
                            self.hanging.remove(at)
                        }
                    };
                    let report = report(Err(CallFailure::Cancelled), request.phase.name().writes());
                    self.due.push_back(Observation::Called { call, report });
                }
                Command::WakeAt { at } => self.wake = Some(at),
                Command::Sampled { .. } => (),
                Command::Waiting { .. } | Command::Watched { .. } => self.shown.push(command),
                Command::Consumed { id } => self.consumed.push(id),
                Command::Lock { group } => {
                    let had = Observation::Locked { group, fence: 1 };
                    let answer = self.locks.pop_front().unwrap_or(had);
                    self.due.push_back(answer);
                }
                Command::Unlock { .. } => self.unlocked += 1,
                Command::Report => next = Some(Observation::Report { text: "the report".into() }),
                Command::Refused { message } => self.refused.push(message),
                Command::Held { reasons } => stop = Some(Outcome::Held(reasons)),
                Command::Ended { verdict, finally_failed } => {
                    stop = Some(Outcome::Ended(verdict, finally_failed));
                }
            }
        }
        let all = self.journal.iter().chain(&self.buffer);
        let again = State::replay(all.map(|(event, at)| (event, *at)));
        assert_eq!(&again, self.machine.state(), "a replay gives another state");
        match stop {
            Some(outcome) => Next::Stop(outcome),
            None => Next::Go(next.map(Box::new)),
        }
    }

    fn wait(&mut self) -> Option<Observation> {
        if let Some(observation) = self.due.pop_front() {
            return Some(observation);
        }
        if let Some(at) = self.timed.iter().position(|(at, _)| START + at <= self.now) {
            return Some(self.timed.remove(at).1);
        }
        if let Some(at) = self.plot.iter().position(|(after, _)| *after <= self.answered) {
            return Some(self.plot.remove(at).1);
        }
        if let Some((call, step, item, request)) = self.pending.pop_front() {
            return self.execute(call, &step, item.as_deref(), &request);
        }
        let next = self.timed.iter().map(|(at, _)| START + at).min();
        let at = match (self.wake.take(), next) {
            (Some(wake), Some(next)) => wake.min(next),
            (wake, next) => {
                wake.or(next).unwrap_or_else(|| panic!("nothing to wait for: {:#?}", self.machine))
            }
        };
        if self.time_up.is_some_and(|up| at > START + up) {
            self.is_time_up = true;
            return None;
        }
        self.now = self.now.max(at);
        Some(Observation::Tick)
    }

    fn execute(
        &mut self,
        call: CallId,
        step: &str,
        item: Option<&str>,
        request: &CallRequest,
    ) -> Option<Observation> {
        // What an action's own undo takes back is the effect of the step.
        let takes_back = matches!(request.phase, CallKind::PlanUndo { .. } | CallKind::Undo { .. });
        let of = if takes_back { step.strip_prefix("undo/").unwrap() } else { step };
        let place = (of.to_owned(), item.map(str::to_owned));
        let kind = match &request.phase {
            CallKind::Read { .. } => "read",
            CallKind::Plan { .. } => "plan",
            CallKind::Apply { write: true, .. } => "apply",
            CallKind::Apply { write: false, .. } => "output",
            CallKind::PlanUndo { .. } => "plan-undo",
            CallKind::Undo { .. } => "undo",
        };
        let name = item.map_or_else(|| step.to_owned(), |item| format!("{step}[{item}]"));
        self.calls.push(format!("{kind} {name}"));
        let count = self.counts.entry((place.0.clone(), place.1.clone(), kind)).or_default();
        *count += 1;
        let seen = Seen {
            step,
            item,
            request,
            now: self.now,
            had: self.effects.get(&place).copied().unwrap_or(0),
            count: *count,
        };
        let durable = replay(&self.journal);
        let work = durable.work(step, item);
        assert!(!work.is_some_and(|work| work.phase.is_over()), "{name} was over, and is called again");
        if seen.writes() {
            let open = work.is_some_and(|work| {
                work.attempts.iter().any(|attempt| {
                    attempt.effect.is_none()
                        && attempt.key == request.idempotency_key
                        && attempt.attempt.effect.attempt == request.attempt
                })
            });
            assert!(open, "{name} is applied without a durable attempt");
        }
        let (report, had) = (self.script)(&seen).unwrap_or_else(|| usual(&seen));
        if report.elapsed_ms == HANGS {
            if had {
                *self.effects.entry(place).or_default() += 1;
            }
            self.hanging.push((call, step.into(), item.map(Into::into), request.clone()));
            return self.wait();
        }
        if had {
            assert!(seen.writes(), "{name} has an effect in read mode");
            let had = self.effects.entry(place).or_default();
            *had = if takes_back { had.saturating_sub(1) } else { *had + 1 };
        }
        if self.crashes_here() {
            return None;
        }
        self.answered += 1;
        self.now += Millis::try_from(report.elapsed_ms).unwrap();
        Some(Observation::Called { call, report })
    }

    /// Records, one commit, cancellations, calls, cancellations of these, the rest: and a durable intention before each
    /// effect.
    fn check_order(&self, commands: &[Command]) {
        let begins =
            |id| commands.iter().any(|command| matches!(command, Command::Call { call, .. } if *call == id));
        let rank = |command: &Command| match command {
            Command::Cancel { call } if begins(*call) => 5,
            Command::Record { .. } => 0,
            Command::Consumed { .. } | Command::Lock { .. } | Command::Unlock { .. } => 1,
            Command::Commit => 2,
            Command::Cancel { .. } => 3,
            Command::Call { .. } => 4,
            _ => 6,
        };
        assert!(commands.windows(2).all(|pair| rank(&pair[0]) <= rank(&pair[1])), "{commands:?}");
        assert!(commands.iter().filter(|command| matches!(command, Command::Commit)).count() <= 1);
    }

    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        self.journal.iter().map(|(event, _)| event.kind()).collect()
    }

    pub(crate) fn state(&self) -> &State {
        self.machine.state()
    }

    pub(crate) fn status(&self, step: &str) -> String {
        let work = &self.state().step(step).unwrap_or_else(|| panic!("no step {step}")).work;
        format!("{} ({})", work.phase, work.effect)
    }

    pub(crate) fn failure(&self, step: &str) -> String {
        self.state().step(step).unwrap().work.failure.as_ref().unwrap().to_string()
    }

    pub(crate) fn had(&self, step: &str) -> u32 {
        self.effects.get(&(step.to_owned(), None)).copied().unwrap_or(0)
    }
}

enum Next {
    Go(Option<Box<Observation>>),
    Stop(Outcome),
}

pub(crate) fn replay(journal: &[(Event, Millis)]) -> State {
    State::replay(journal.iter().map(|(event, at)| (event, *at)))
}

pub(crate) const SUCCEEDED: Outcome = Outcome::Ended(Verdict::Succeeded, false);
