//! Plays a story: one run of the engine's machine in virtual time, with its commits kept in memory, so that a crash
//! loses just what it would.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use toml::Spanned;
use windlass_engine::{
    Answer, ApprovalGiven, Asked, CallFailure, CallId, CallReport, Command, Decision, Event, FORMAT, Machine,
    Millis, Observation, PinnedPlugin, Reads, Request, RunCreated, State,
};

use super::made_up::Readings;
use super::read::{Story, millis};
use super::script::Then;
use super::stage::Stage;
use crate::project::Project;

/// A story that is not over after so many observations goes round in circles.
const OBSERVATIONS: u32 = 2_000_000;
/// Nor does one that lasts longer than this: 400 days.
const LASTS: Millis = 400 * 86_400_000;

/// How a story went.
pub(super) struct Played {
    pub(super) state: State,
    pub(super) began: Millis,
    pub(super) ended: Millis,
    /// Each durable event, in words.
    pub(super) lines: Vec<(Millis, String)>,
    /// What people asked for in vain.
    pub(super) refused: Vec<String>,
    /// It was still going on when it was given up.
    pub(super) endless: bool,
    held: bool,
}

impl Played {
    /// A verdict, `held` or `waiting`.
    pub(super) fn outcome(&self) -> String {
        match (self.state.ended(), self.endless) {
            (Some(ended), _) => ended.verdict.to_string(),
            (None, true) => "endless".to_owned(),
            (None, false) if self.held && !self.state.holds().is_empty() => "held".to_owned(),
            (None, false) => "waiting".to_owned(),
        }
    }

    pub(super) fn took_ms(&self) -> u64 {
        u64::try_from(self.ended - self.began).unwrap_or_default()
    }
}

/// What is to come, at its time.
enum Due<'s> {
    Lands { process: u32, path: Arc<str>, item: Option<Arc<str>> },
    Ends { process: u32, call: CallId, report: Box<CallReport> },
    Then(&'s Then),
}

struct Play<'s> {
    story: &'s Story<'s>,
    project: &'s Project,
    stage: Stage<'s>,
    machine: Machine,
    durable: Vec<(Event, Millis)>,
    buffer: Vec<(Event, Millis)>,
    lines: Vec<(Millis, String)>,
    due: BTreeMap<(Millis, u64), Due<'s>>,
    last: u64,
    now: Millis,
    process: u32,
    wake: Option<Millis>,
    held: bool,
    over: bool,
    /// What waits for an event: its number in the story.
    waiting: Vec<usize>,
    follow: Vec<Observation>,
    refused: Vec<String>,
}

/// Plays a story to its end: until the run has ended, or waits for a person of whom the story knows nothing.
pub(super) fn play(story: &Story<'_>, project: &Project, readings: &Arc<Readings>) -> Played {
    let created = Event::RunCreated(Box::new(created(story, project)));
    let durable = vec![(created, story.begins)];
    let mut play = Play {
        story,
        project,
        stage: Stage::new(&project.runbook, &story.scripts, Arc::clone(readings)),
        machine: Machine::new(Arc::clone(&project.runbook), replay(&durable)),
        durable,
        buffer: Vec::new(),
        lines: Vec::new(),
        due: BTreeMap::new(),
        last: 0,
        now: story.begins,
        process: 0,
        wake: None,
        held: false,
        over: false,
        waiting: Vec::new(),
        follow: Vec::new(),
        refused: Vec::new(),
    };
    let endless = play.run();
    let all = play.durable.iter().chain(&play.buffer);
    let state = State::replay(all.map(|(event, at)| (event, *at)));
    Played {
        state,
        began: story.begins,
        ended: play.now,
        lines: play.lines,
        refused: play.refused,
        endless,
        held: play.held,
    }
}

fn created(story: &Story<'_>, project: &Project) -> RunCreated {
    let runbook = &project.runbook;
    let plugins = runbook.plugins.iter().map(|(name, plugin)| {
        let pinned = PinnedPlugin {
            source: plugin.source.to_string(),
            digest: plugin.signature.digest.clone(),
            ..PinnedPlugin::default()
        };
        (name.clone(), pinned)
    });
    RunCreated {
        format: FORMAT,
        run: "test".to_owned(),
        name: runbook.name.clone(),
        title: runbook.title.clone(),
        runbook: Project::pinned(&project.source),
        environment: project.environment.as_ref().map(Project::pinned),
        inputs: story.inputs.clone(),
        vars: runbook.vars.clone(),
        plugins: plugins.collect(),
        t: story.t,
        started_by: story.started_by.clone(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..RunCreated::default()
    }
}

fn replay(journal: &[(Event, Millis)]) -> State {
    State::replay(journal.iter().map(|(event, at)| (event, *at)))
}

impl<'s> Play<'s> {
    /// True where it went on and on.
    fn run(&mut self) -> bool {
        for (number, then) in self.story.then.iter().enumerate() {
            let then = then.get_ref();
            match (&then.on, &then.after) {
                (Some(_), _) => self.waiting.push(number),
                (None, after) => self.at(self.now + after.as_ref().map_or(0, millis), Due::Then(then)),
            }
        }
        self.start();
        for _ in 0..OBSERVATIONS {
            if self.over || self.now - self.story.begins > LASTS {
                return !self.over;
            }
            if !self.follow.is_empty() {
                let observation = self.follow.remove(0);
                self.observe(observation);
            } else if !self.next() {
                return false;
            }
        }
        true
    }

    fn at(&mut self, at: Millis, due: Due<'s>) {
        self.last += 1;
        self.due.insert((at, self.last), due);
    }

    fn start(&mut self) {
        self.process += 1;
        let who = self.story.started_by.clone();
        self.observe(Observation::Started { epoch: u64::from(self.process), who });
    }

    /// False where nothing more happens by itself.
    fn next(&mut self) -> bool {
        let due = self.due.first_key_value().map(|((at, _), _)| *at);
        if let Some(wake) = self.wake.filter(|wake| due.is_none_or(|at| *wake <= at)) {
            self.wake = None;
            self.now = self.now.max(wake);
            self.observe(Observation::Tick);
            return true;
        }
        let Some(((at, _), due)) = self.due.pop_first() else { return false };
        self.now = self.now.max(at);
        match due {
            Due::Lands { process, path, item } if process == self.process => {
                self.stage.landed(&path, item.as_deref());
            }
            Due::Ends { process, call, report } if process == self.process => {
                self.observe(Observation::Called { call, report: *report });
            }
            Due::Lands { .. } | Due::Ends { .. } => (),
            Due::Then(then) => self.act(then),
        }
        true
    }

    fn observe(&mut self, observation: Observation) {
        for command in self.machine.decide(observation, self.now) {
            self.carry_out(command);
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Record { event, at } => {
                // People see an event when it is recorded, durable or not.
                self.react(&line_of(&event));
                self.buffer.push((event, at));
            }
            Command::Commit => self.commit(),
            Command::Lock { group } => self.follow.push(Observation::Locked { group, fence: 1 }),
            Command::Call { call, step, item, request } => {
                self.held = false;
                let since = self.now - self.story.begins;
                let ending = self.stage.begin(&step, item.as_deref(), &request, since, self.machine.state());
                let (process, at) = (self.process, self.now + ending.takes);
                if ending.lands {
                    self.at(at, Due::Lands { process, path: step, item });
                }
                self.at(at, Due::Ends { process, call, report: Box::new(ending.report) });
            }
            Command::Cancel { call } => self.cancel(call),
            Command::WakeAt { at } => self.wake = Some(at),
            Command::Report => {
                self.follow.push(Observation::Report { text: "the report of the run".to_owned() });
            }
            Command::Refused { message } => self.refused.push(message),
            Command::Held { .. } | Command::Waiting { .. } => {
                self.held = true;
                if matches!(command, Command::Held { .. }) {
                    self.wake = None;
                }
            }
            Command::Ended { .. } => self.over = true,
            Command::Consumed { .. }
            | Command::Unlock { .. }
            | Command::Sampled { .. }
            | Command::Watched { .. } => (),
        }
    }

    fn commit(&mut self) {
        for (event, at) in std::mem::take(&mut self.buffer) {
            self.lines.push((at, line_of(&event)));
            self.durable.push((event, at));
        }
    }

    /// What the story has for an event comes once, in its order.
    fn react(&mut self, line: &str) {
        let story = self.story;
        let names = |number: &usize| {
            let then = story.then.get(*number).map(Spanned::get_ref);
            then.and_then(|then| then.on.as_ref()).is_some_and(|on| names(on.get_ref(), line))
        };
        let Some(at) = self.waiting.iter().position(names) else { return };
        let number = self.waiting.remove(at);
        if let Some(then) = story.then.get(number).map(Spanned::get_ref) {
            let after = then.after.as_ref().map_or(0, millis);
            // Nobody is quicker than what was decided together with it.
            self.at(self.now + after.max(1), Due::Then(then));
        }
    }

    fn cancel(&mut self, call: CallId) {
        let process = self.process;
        let ends = |due: &Due<'_>| matches!(due, Due::Ends { process: of, call: other, .. } if *other == call && *of == process);
        let known = self.due.iter().find(|(_, due)| ends(due)).map(|(key, _)| *key);
        let Some(Due::Ends { report, .. }) = known.and_then(|key| self.due.remove(&key)) else { return };
        let report = CallReport {
            result: Err(CallFailure::Cancelled),
            sent: report.sent,
            reads: Reads::default(),
            elapsed_ms: 0,
        };
        self.at(self.now + 1, Due::Ends { process, call, report: Box::new(report) });
    }

    // --- people and fate ---

    fn act(&mut self, then: &Then) {
        match then.act.get_ref().as_str() {
            "crash" => self.crash(then),
            "interrupt" => self.observe(Observation::Interrupt { who: who(then) }),
            "clock" => {
                let by = then.by.as_ref().map_or(0, |by| match by.get_ref().strip_prefix('-') {
                    Some(back) => -millis(&Spanned::new(by.span(), back.to_owned())),
                    None => millis(by),
                });
                self.observe(Observation::ClockStepped { by_ms: by });
            }
            _ => {
                if let Some(request) = self.request(then) {
                    self.held = false;
                    self.observe(Observation::Asked(Asked::here(who(then), request)));
                }
            }
        }
    }

    fn crash(&mut self, then: &Then) {
        self.buffer.clear();
        self.follow.clear();
        self.wake = None;
        self.now += then.by.as_ref().map_or(1_000, millis);
        self.machine = Machine::new(Arc::clone(&self.project.runbook), replay(&self.durable));
        self.start();
    }

    fn request(&mut self, then: &Then) -> Option<Request> {
        let step = then.step.as_ref().map(|step| step.get_ref().clone()).unwrap_or_default();
        let item = then.item.clone();
        let reason = then.reason.clone().unwrap_or_else(|| "the story has it so".to_owned());
        let answer = |answer| Request::Answer {
            step: step.clone(),
            item: item.clone(),
            answer,
            reason: reason.clone(),
        };
        Some(match then.act.get_ref().as_str() {
            "pause" => Request::Pause { reason },
            "resume" => Request::Resume,
            "cancel" => Request::Cancel { reason },
            "terminate" => Request::Terminate { reason },
            "rollback" => {
                Request::Rollback { reason, only: then.only.clone(), past_commit: then.past_commit }
            }
            "retry" => Request::Retry { step, item, input: then.input.clone(), reason },
            "skip" => Request::Skip { step, item, reason },
            "done" => Request::Done { step, item, output: then.output.clone(), reason },
            "applied" => answer(Answer::Applied { output: then.output.clone().map(Arc::new) }),
            "not-applied" => answer(Answer::NotApplied),
            "restore" => answer(Answer::Restore),
            "leave" => answer(Answer::Leave),
            "approve" => return self.word(then, &step, Decision::Approve),
            "reject" => return self.word(then, &step, Decision::Reject),
            _ => return None,
        })
    }

    /// A word on the request that is open; somebody who comes too early finds nothing to sign.
    fn word(&mut self, then: &Then, step: &str, decision: Decision) -> Option<Request> {
        let request = self.machine.state().approval(step).and_then(|approval| approval.request.clone());
        let Some(request) = request else {
            self.refused.push(format!("`{step}` does not ask for approval now"));
            return None;
        };
        let given = ApprovalGiven {
            step: step.into(),
            request: request.digest.clone(),
            who: who(then),
            head: String::new(),
            key: "SHA256:played".to_owned(),
            roles: then.roles.clone().unwrap_or_else(|| request.roles.clone()),
            role: then.role.clone(),
            decision,
            reason: then.reason.clone().unwrap_or_else(|| "the story has it so".to_owned()),
            evidence: then.evidence.clone(),
            signature: String::new(),
        };
        Some(Request::Approve { given: Box::new(given) })
    }
}

fn who(then: &Then) -> String {
    then.who.clone().unwrap_or_else(|| "somebody".to_owned())
}

/// An event in words: its kind, its path and item, and whatever words stand in it.
fn line_of(event: &Event) -> String {
    let mut words = vec![event.kind().to_owned()];
    if let Some((path, item)) = event.place() {
        words.push(path.to_string());
        words.extend(item.map(ToString::to_string));
    }
    let json = serde_json::to_value(event).unwrap_or_default();
    for member in [
        "reason", "verdict", "world", "effect", "action", "band", "cause", "decision", "answer", "who",
        "name", "group", "why",
    ] {
        match json.get(member) {
            // Sentences are for people; nobody wants to expect them.
            Some(Value::String(word)) if !word.contains(char::is_whitespace) => words.push(word.clone()),
            Some(Value::Object(inner)) => {
                words.extend(inner.get("word").and_then(Value::as_str).map(str::to_owned));
            }
            _ => (),
        }
    }
    words.join(" ")
}

/// Whether the words of an expectation are those of an event, in their order. `guard/` and the like may be left out.
pub(super) fn names(expected: &str, line: &str) -> bool {
    let mut line = line.split_whitespace();
    expected.split_whitespace().all(|word| {
        line.by_ref().any(|found| found == word || found.split_once('/').is_some_and(|(_, id)| id == word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_by_some_of_its_words() {
        let line = "guard_tripped guard/error_rate rollback";
        for named in ["guard_tripped", "guard_tripped error_rate", "guard_tripped guard/error_rate rollback"]
        {
            assert!(names(named, line), "{named}");
        }
        for other in ["guard_tripped hold", "rollback guard_tripped", "guard_ended error_rate"] {
            assert!(!names(other, line), "{other}");
        }
    }
}
