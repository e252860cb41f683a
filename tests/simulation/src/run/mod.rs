//! One run in a made-up world: virtual time, one process after another, and whatever the seed has in store.

mod calls;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use windlass_engine::{
    Asked, CallRequest, Event, FORMAT, Machine, Millis, Observation, PinnedText, Request, RunCreated, State,
};
use windlass_runbook::model::Runbook;

use process::replay;

use crate::fate::{Faults, Flying, Handle};
use crate::people;
use crate::random::Random;
use crate::rules::{Checked, Rules, WAKES_LATE, broken};
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

    /// How often each kind of event was recorded.
    pub(crate) fn kinds(&self) -> BTreeMap<&'static str, u64> {
        let mut kinds = BTreeMap::new();
        for (event, _) in &self.journal {
            *kinds.entry(event.kind()).or_default() += 1;
        }
        kinds
    }
}
