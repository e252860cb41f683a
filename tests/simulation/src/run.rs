//! One run in a made-up world: virtual time, one process after another, and whatever the seed has in store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;
use windlass_engine::{
    Asked, CallId, CallKind, CallRequest, Command, Event, FORMAT, Machine, Millis, Observation, PinnedText,
    Request, RunCreated, State,
};
use windlass_runbook::model::Runbook;

use crate::fate::{self, Faults, Flying, Handle};
use crate::people;
use crate::random::Random;
use crate::rules::{Broken, Checked, Rules, SLOW_STORE, WAKES_LATE, broken};
use crate::world::{Place, World, Write};

/// When every run begins.
const START: Millis = 1_790_000_000_000;
/// A run that does not end within so many steps is stuck.
const STEPS: u32 = 20_000;

/// What happens at a time of its own.
#[derive(Debug, Clone)]
enum Happening {
    /// A program of a call is about to start, or a receipt to be left.
    Midway(Handle),
    Lands(Handle),
    Ends(Handle),
    /// A program whose host died.
    Ghost(u64),
    Person(Person),
    Stranger,
    GroupFree,
    Step(Millis),
    Interrupt,
}

#[derive(Debug, Clone, Copy)]
enum Person {
    Helps,
    Whim,
    Approves,
    AsksTwice,
}

/// A program that goes on without its host.
#[derive(Debug, Clone)]
struct Ghost {
    place: Place,
    request: CallRequest,
    write: Write,
    process: u64,
}

pub(crate) struct Run {
    pub(crate) random: Random,
    runbook: Arc<Runbook>,
    machine: Machine,
    rules: Rules,
    world: World,
    faults: Faults,
    crashes: u32,
    pub(crate) now: Millis,
    epoch: u64,
    /// The fold of everything recorded, durable or not, after its way through JSON.
    shadow: State,
    durable: State,
    journal: Vec<(Event, Millis)>,
    buffer: Vec<(Event, Millis)>,
    agenda: BTreeMap<(Millis, u64), Happening>,
    last: u64,
    flying: Vec<Flying>,
    ghosts: BTreeMap<u64, Ghost>,
    processes: u64,
    wake: Option<Millis>,
    rests: bool,
    waits_for_people: bool,
    patience: u32,
    inbox: BTreeMap<String, Asked>,
    asked: u32,
    consumed: Vec<String>,
    locks: BTreeSet<String>,
    wants: Option<String>,
    /// Given back with the next commit.
    returns: Vec<String>,
    /// Another run that has the group.
    other: bool,
    fence: u64,
    followed: Vec<Observation>,
    pub(crate) over: bool,
    pub(crate) told: Option<Vec<String>>,
}

impl Run {
    pub(crate) fn new(mut random: Random, runbook: Arc<Runbook>, told: bool) -> Self {
        let t = random.chance(60).then(|| START + random.span(-600_000, 1_200_000));
        let created = Event::RunCreated(Box::new(RunCreated {
            format: FORMAT,
            run: "sim".into(),
            name: runbook.name.clone(),
            runbook: PinnedText { name: "simulated.toml".into(), ..PinnedText::default() },
            started_by: "ada".into(),
            tool_version: "0".into(),
            t,
            ..RunCreated::default()
        }));
        let journal = vec![(created, START)];
        let state = replay(&journal);
        let world = World::new(&mut random, START);
        let faults = Faults { left: random.pick(&[0, 0, 2, 5, 9]), percent: random.pick(&[8, 20, 40]) };
        let mut run = Self {
            rules: Rules::new(Arc::clone(&runbook)),
            machine: Machine::new(Arc::clone(&runbook), state.clone()),
            world,
            faults,
            crashes: random.pick(&[0, 0, 0, 1, 1, 2, 4]),
            now: START,
            epoch: 0,
            shadow: state.clone(),
            durable: state,
            journal,
            buffer: Vec::new(),
            agenda: BTreeMap::new(),
            last: 0,
            flying: Vec::new(),
            ghosts: BTreeMap::new(),
            processes: 0,
            wake: None,
            rests: false,
            waits_for_people: false,
            patience: 60,
            inbox: BTreeMap::new(),
            asked: 0,
            consumed: Vec::new(),
            locks: BTreeSet::new(),
            wants: None,
            returns: Vec::new(),
            other: random.chance(25),
            fence: 0,
            followed: Vec::new(),
            over: false,
            told: told.then(Vec::new),
            runbook,
            random,
        };
        run.plot();
        run
    }

    /// What the seed has in store beside the runbook.
    fn plot(&mut self) {
        let somewhen = |run: &mut Self| run.now + run.random.span(0, 90_000);
        for _ in 0..self.random.pick(&[0, 0, 0, 1, 2]) {
            let at = somewhen(self);
            self.at(at, Happening::Person(Person::Whim));
        }
        for (percent, happening) in [
            (10, Happening::Stranger),
            (6, Happening::Interrupt),
            (3, Happening::Interrupt),
            (5, Happening::Person(Person::AsksTwice)),
        ] {
            if self.random.chance(percent) {
                let at = somewhen(self);
                self.at(at, happening);
            }
        }
        if self.random.chance(8) {
            let at = somewhen(self);
            let by = self.random.pick(&[-60_000, -3_000, 2_000, 30_000, 600_000]);
            self.at(at, Happening::Step(by));
        }
        if self.other {
            let at = somewhen(self);
            self.at(at, Happening::GroupFree);
        }
    }

    fn at(&mut self, at: Millis, happening: Happening) {
        self.last += 1;
        self.agenda.insert((at, self.last), happening);
    }

    fn tell(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.told.is_some() {
            let line = format!("{:>9} {}", self.now - START, line(self));
            self.told.iter_mut().for_each(|told| told.push(line.clone()));
        }
    }

    /// Runs to the end.
    pub(crate) fn drive(&mut self) -> Checked {
        self.started()?;
        for _ in 0..STEPS {
            if self.over {
                return self.last_look();
            }
            if !self.followed.is_empty() {
                let observation = self.followed.remove(0);
                self.observe(observation)?;
                continue;
            }
            self.next()?;
        }
        broken("a run ends", format!("{STEPS} steps were not enough"))
    }

    fn last_look(&self) -> Checked {
        if self.shadow.ended().is_none() {
            return broken("a run ends", "the machine says so, its state does not");
        }
        if replay(&self.journal) != self.shadow {
            return broken("the end is durable", "a replay of the journal gives another state");
        }
        match self.locks.first() {
            Some(group) => broken("a lock is given back", group.clone()),
            None => Ok(()),
        }
    }

    fn next(&mut self) -> Checked {
        let agenda = self.agenda.first_key_value().map(|((at, _), _)| *at);
        // People come when nothing else is about to happen by itself.
        if self.waits_for_people && agenda.is_none_or(|at| at > self.now + 5_000) {
            self.waits_for_people = false;
            let at = self.now + self.random.span(100, 4_000);
            let approves = self.shadow.approvals().values().any(|approval| approval.is_open());
            let person = if approves && self.random.chance(85) { Person::Approves } else { Person::Helps };
            self.at(at, Happening::Person(person));
            return Ok(());
        }
        let wake = self.wake.filter(|wake| agenda.is_none_or(|at| *wake <= at));
        if let Some(at) = wake {
            // A machine that is busy wakes a little late.
            let late = if self.random.chance(10) { self.random.span(0, WAKES_LATE) } else { 0 };
            self.wake = None;
            self.pass(at.max(self.now) + late)?;
            return self.observe(Observation::Tick);
        }
        let Some(((at, _), happening)) = self.agenda.pop_first() else {
            if self.rests {
                self.waits_for_people = true;
                self.rests = self.patience > 0;
                return Ok(());
            }
            return broken("a run ends or waits for a person", "nothing is under way, and nobody was asked");
        };
        self.pass(at.max(self.now))?;
        self.happen(&happening)
    }

    fn pass(&mut self, to: Millis) -> Checked {
        self.rules.time(to, &self.flying, &self.shadow)?;
        self.now = to;
        Ok(())
    }

    fn happen(&mut self, happening: &Happening) -> Checked {
        match happening {
            Happening::Midway(call) => self.midway(*call),
            Happening::Lands(call) => {
                self.land(*call);
                Ok(())
            }
            Happening::Ends(call) => self.call_ends(*call),
            Happening::Ghost(process) => {
                self.haunt(*process);
                Ok(())
            }
            Happening::Person(person) => self.person(*person),
            Happening::Stranger => {
                self.tell(|_| "a stranger writes".to_owned());
                self.world.meddle(&mut self.random);
                Ok(())
            }
            Happening::GroupFree => {
                self.other = false;
                Ok(())
            }
            Happening::Step(by_ms) => self.observe(Observation::ClockStepped { by_ms: *by_ms }),
            Happening::Interrupt => self.observe(Observation::Interrupt { who: "ada".to_owned() }),
        }
    }

    // --- the machine ---

    fn started(&mut self) -> Checked {
        self.epoch += 1;
        self.rules.restarted(self.now);
        let who = "ada".to_owned();
        self.observe(Observation::Started { epoch: self.epoch, who })?;
        for asked in self.inbox.values().cloned().collect::<Vec<_>>() {
            self.followed.push(Observation::Asked(asked));
        }
        Ok(())
    }

    fn observe(&mut self, observation: Observation) -> Checked {
        self.tell(|_| format!("> {}", brief(&format!("{observation:?}"))));
        let commands = self.machine.decide(observation, self.now);
        Rules::order(&commands)?;
        for command in commands {
            if self.crashes > 0 && self.random.chance(2) {
                return self.crash();
            }
            if !self.carry_out(command)? {
                return self.crash();
            }
        }
        if self.shadow != *self.machine.state() {
            return broken("a replay gives the same state", difference(&self.shadow, self.machine.state()));
        }
        Ok(())
    }

    /// False where the process dies of it.
    fn carry_out(&mut self, command: Command) -> Result<bool, Broken> {
        self.tell(|_| format!("  < {}", brief(&format!("{command:?}"))));
        match command {
            Command::Record { event, at } => {
                self.rules.event(&event, at, &self.shadow, &self.world)?;
                let text = serde_json::to_string(&event).unwrap();
                let event: Event = match serde_json::from_str(&text) {
                    Ok(event) => event,
                    Err(error) => return broken("an event survives the journal", format!("{error}: {text}")),
                };
                self.note(&event);
                self.shadow.fold(&event, at);
                self.buffer.push((event, at));
            }
            Command::Consumed { id } => self.consumed.push(id),
            Command::Lock { group } => self.wants = Some(group),
            Command::Unlock { group } => self.returns.push(group),
            Command::Commit => return self.commit(),
            Command::Cancel { call } => self.cancel(call)?,
            Command::Call { call, step, item, request } => {
                self.begin(call, &step, item.as_deref(), request)?;
            }
            Command::WakeAt { at } => {
                self.wake = Some(at);
                self.rests = false;
            }
            Command::Report => {
                self.followed.push(Observation::Report { text: "the report".to_owned() });
            }
            Command::Held { .. } | Command::Waiting { .. } => {
                self.rests = true;
                self.waits_for_people = true;
            }
            Command::Ended { .. } => self.over = true,
            Command::Sampled { .. } | Command::Watched { .. } | Command::Refused { .. } => (),
        }
        Ok(true)
    }

    /// What the world has to know of an event.
    fn note(&mut self, event: &Event) {
        if let Event::StepSkipped { step, item, who: Some(_), .. } = event
            && let Some(of) = step.strip_prefix("undo/")
        {
            people::waive(&mut self.world, &(of.to_owned(), item.as_deref().map(str::to_owned)));
        }
        if let Event::Unchanged { step, item, .. } = event
            && let Some(of) = step.strip_prefix("undo/")
        {
            self.taken_back(&(of.to_owned(), item.as_deref().map(str::to_owned)));
        }
        if let Event::StepSucceeded { step, item, effect, .. } = event
            && *effect == windlass_engine::Effect::Unchanged
            && let Some(of) = step.strip_prefix("undo/")
        {
            self.taken_back(&(of.to_owned(), item.as_deref().map(str::to_owned)));
        }
    }

    fn commit(&mut self) -> Result<bool, Broken> {
        // A slow store.
        if self.random.chance(4) {
            self.now += self.random.span(1, SLOW_STORE);
        }
        if let Some(group) = self.wants.take() {
            if self.other {
                self.followed.push(Observation::LockBusy { group, by: "another".to_owned() });
                return Ok(true);
            }
            self.locks.insert(group.clone());
            self.fence += 1;
            self.followed.push(Observation::Locked { group, fence: self.fence });
        }
        for group in self.returns.drain(..) {
            self.locks.remove(&group);
        }
        for id in self.consumed.drain(..) {
            self.inbox.remove(&id);
        }
        for (event, at) in self.buffer.drain(..) {
            self.durable.fold(&event, at);
            self.journal.push((event, at));
        }
        let dies = self.crashes > 0 && self.random.chance(3);
        Ok(!dies)
    }

    fn crash(&mut self) -> Checked {
        self.crashes = self.crashes.saturating_sub(1);
        self.tell(|_| "-- crash --".to_owned());
        for flying in std::mem::take(&mut self.flying) {
            self.orphan(flying);
        }
        self.agenda.retain(|_, happening| {
            !matches!(happening, Happening::Midway(_) | Happening::Lands(_) | Happening::Ends(_))
        });
        self.buffer.clear();
        self.consumed.clear();
        self.wants = None;
        self.returns.clear();
        self.wake = None;
        self.followed.clear();
        self.rests = false;
        self.waits_for_people = false;
        self.over = false;
        let state = replay(&self.journal);
        if state != self.durable {
            return broken("a replay gives the same state", difference(&self.durable, &state));
        }
        self.shadow = state.clone();
        self.rules.after_crash(&state);
        self.machine = Machine::new(Arc::clone(&self.runbook), state);
        self.now += self.random.pick(&[0, 50, 4_000, 60_000, 900_000]);
        self.started()
    }

    /// What a call whose host died still does.
    fn orphan(&mut self, flying: Flying) {
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

    fn haunt(&mut self, process: u64) {
        let Some(ghost) = self.ghosts.remove(&process) else { return };
        self.tell(|_| format!("the orphan of {:?} lands", ghost.place));
        self.landed(&ghost.place, &ghost.request, &ghost.write);
    }

    // --- calls ---

    fn begin(&mut self, id: CallId, step: &str, item: Option<&str>, request: CallRequest) -> Checked {
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
    fn let_loose(&mut self, place: &Place, request: &CallRequest, write: &Write) -> Checked {
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

    fn midway(&mut self, call: Handle) -> Checked {
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

    fn land(&mut self, call: Handle) {
        let Some(at) = self.flying.iter().position(|flying| flying.call == call) else { return };
        let flying = self.flying[at].clone();
        let Some(write) = &flying.write else { return };
        let landed = self.landed(&flying.place, &flying.request, write);
        self.flying[at].landed = landed;
    }

    fn landed(&mut self, place: &Place, request: &CallRequest, write: &Write) -> bool {
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

    fn taken_back(&mut self, place: &Place) {
        if let Some(truth) = self.world.truth.get_mut(place) {
            truth.attempts.iter_mut().for_each(|attempt| attempt.2 = false);
        }
    }

    fn cancel(&mut self, id: CallId) -> Checked {
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

    fn call_ends(&mut self, call: Handle) -> Checked {
        let Some(at) = self.flying.iter().position(|flying| flying.call == call) else { return Ok(()) };
        let flying = self.flying.remove(at);
        let report = fate::report(&flying, &mut self.world, self.now);
        if let Ok(windlass_engine::Returned::Plan(plan)) = &report.result {
            self.rules.planned(&flying, plan);
            let not_needed = plan.status == windlass_runbook::outcome::Status::InPlace;
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

    // --- people ---

    fn person(&mut self, person: Person) -> Checked {
        let request = match person {
            Person::Approves => people::word(&mut self.random, &self.shadow),
            Person::Whim => Some(people::whim(&mut self.random, &self.shadow)),
            Person::AsksTwice => Some(Request::Resume),
            Person::Helps => {
                if self.patience == 0 {
                    return broken(
                        "a run ends",
                        format!("nothing that people do helps; held for {:?}", self.shadow.holds()),
                    );
                }
                self.patience -= 1;
                Some(people::help(
                    &mut self.random,
                    &self.shadow,
                    &mut self.world,
                    &mut self.rules,
                    self.patience,
                ))
            }
        };
        self.rests = true;
        let Some(request) = request else {
            self.waits_for_people = true;
            return Ok(());
        };
        self.asked += 1;
        let asked = Asked {
            version: windlass_engine::ASKED_VERSION,
            id: format!("m{}", self.asked),
            who: self.random.pick(&["ada", "bob"]).to_owned(),
            request,
        };
        self.inbox.insert(asked.id.clone(), asked.clone());
        let again = matches!(person, Person::AsksTwice).then(|| asked.clone());
        let process = self.epoch;
        self.waits_for_people = true;
        self.observe(Observation::Asked(asked.clone()))?;
        if process == self.epoch && !self.over && self.inbox.contains_key(&asked.id) {
            return broken("what was asked is consumed", format!("{asked:?}"));
        }
        match again.filter(|_| process == self.epoch && !self.over) {
            Some(again) => self.observe(Observation::Asked(again)),
            None => Ok(()),
        }
    }

    /// The run's steps and events, for whoever reads about a finding.
    pub(crate) fn steps(&self) -> u64 {
        self.journal.len() as u64
    }
}

fn of(path: &str) -> &str {
    path.strip_prefix("undo/").unwrap_or(path)
}

fn replay(journal: &[(Event, Millis)]) -> State {
    State::replay(journal.iter().map(|(event, at)| (event, *at)))
}

fn brief(text: &str) -> String {
    const LONGEST: usize = 420;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The first lines in which two states differ.
fn difference(one: &State, other: &State) -> String {
    let (one, other) = (format!("{one:#?}"), format!("{other:#?}"));
    let differing: Vec<String> = one
        .lines()
        .zip(other.lines())
        .filter(|(a, b)| a != b)
        .take(6)
        .map(|(a, b)| format!("{} | {}", a.trim(), b.trim()))
        .collect();
    differing.join("\n")
}
