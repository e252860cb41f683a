//! Playing a scenario: what a person types, one command after the other, until the run is over; with one command killed
//! somewhere on the way, after which the person looks and goes on.

use std::time::{Duration, Instant};

use windlass_engine::Event;
use windlass_tests::Running;
use windlass_tests::service::log::Entry;

use crate::points::Class;
use crate::stage::{Aim, Look, Stage};

/// What a person does next.
pub(crate) enum Move {
    /// Types this. Every word that begins with `@` stands for what [`Stage`] knows.
    Type(Vec<String>),
    /// Types this, and while it runs, does other things, one after the other.
    Besides(Vec<String>, Vec<(When, Then)>),
    /// It is over.
    Done,
}

/// When something is done while a command runs.
pub(crate) enum When {
    /// Once the service has had so many requests.
    Requests(usize),
    /// Once the run has so many events of a kind.
    Events(&'static str, usize),
}

/// What is done while a command runs.
pub(crate) enum Then {
    /// Types this in another terminal.
    Type(Vec<String>),
    /// Does this to the world.
    Do(fn(&Stage)),
}

impl Move {
    /// `windlass` and these words.
    pub(crate) fn line(line: &str) -> Self {
        Self::Type(words(line))
    }
}

/// A line's words; what is in single quotes is one.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// A run, what a person wants of it, and how it has to end.
pub(crate) struct Scenario {
    /// For messages.
    pub(crate) name: &'static str,
    /// What kind its effects are, if they are of one.
    pub(crate) class: Option<Class>,
    /// Whether each moment of it is a point to die at, and not only those that no other scenario has.
    pub(crate) every_moment: bool,
    /// Makes the place.
    pub(crate) stage: fn() -> Stage,
    /// What the person does who wants more than to go on; none where that is all.
    pub(crate) person: fn(&Stage, Option<&Look>) -> Option<Move>,
    /// The effects at which a process is killed before their answer is there.
    pub(crate) landed: &'static [Landing],
    /// What has to be true in the end, wherever a process died.
    pub(crate) check: fn(&Stage, &Look),
}

/// An effect: of which command, what the list of points calls it, and how the recorder tells that it is there.
pub(crate) type Landing = (usize, &'static str, fn(&[Entry]) -> bool);

/// Where a process dies.
#[derive(Clone)]
pub(crate) struct Death {
    /// Which command, from 0.
    pub(crate) command: usize,
    /// When.
    pub(crate) at: At,
}

/// When a process dies.
#[derive(Clone)]
pub(crate) enum At {
    /// When it comes to this, by its own hand.
    Point(Aim),
    /// Once the recorder has this.
    Recorded(fn(&[Entry]) -> bool),
}

/// What a play showed.
pub(crate) struct Played {
    /// How many commands there were.
    pub(crate) commands: usize,
    /// Whether the process died where it should.
    pub(crate) died: bool,
}

/// How every run is started that needs no more.
pub(crate) const RUN: &str = "run @runbook --env @environment";
/// No play takes more commands.
const COMMANDS: usize = 16;
/// How long something that is to happen may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Plays a scenario to its end, and checks it.
pub(crate) fn play(scenario: &Scenario, stage: &Stage, death: Option<&Death>) -> Played {
    let mut commands = 0;
    let mut died = false;
    loop {
        let look = stage.look();
        let (words, besides) = match next(scenario, stage, look.as_ref()) {
            Move::Done => {
                let Some(look) = look else { panic!("{}: there is no run", scenario.name) };
                let verified = stage.verify(&look.run);
                assert!(verified.is_none(), "{}: {verified:?}", scenario.name);
                (scenario.check)(stage, &look);
                return Played { commands, died };
            }
            Move::Type(words) => (words, Vec::new()),
            Move::Besides(words, others) => (words, others),
        };
        assert!(
            commands < COMMANDS,
            "{}: still {} after {commands} commands",
            scenario.name,
            look.map_or_else(|| "nothing".to_owned(), |look| look.summary())
        );
        let aimed = |number: usize| death.filter(|death| death.command == number).map(|death| &death.at);
        let number = commands;
        commands += 1;
        let mut terminal = Terminal::open(stage, scenario.name, number, &words, aimed(number));
        for (when, then) in besides {
            wait_until(|| when.holds(stage), scenario.name, &mut terminal.running);
            if terminal.running.is_over() {
                break;
            }
            match then {
                Then::Do(act) => act(stage),
                Then::Type(words) => {
                    let mut other = Terminal::open(stage, scenario.name, commands, &words, aimed(commands));
                    commands += 1;
                    // Whoever waits for a process that was killed is sent away.
                    while !(other.running.is_over() || terminal.running.is_over() && aimed(number).is_some())
                    {
                        std::thread::sleep(Duration::from_millis(3));
                    }
                    if !other.running.is_over() {
                        drop(other.running.kill());
                    } else if other.close() {
                        died = true;
                        // And whoever was killed types it again.
                        let again = Terminal::open(stage, scenario.name, COMMANDS, &words, None);
                        assert!(!again.close());
                    }
                }
            }
        }
        died |= terminal.close();
    }
}

impl When {
    fn holds(&self, stage: &Stage) -> bool {
        match self {
            Self::Requests(count) => stage.api.service.requests().len() >= *count,
            Self::Events(kind, count) => stage.look().is_some_and(|look| look.count(kind) >= *count),
        }
    }
}

/// A command that runs, to be killed or not.
struct Terminal<'a> {
    stage: &'a Stage,
    name: &'static str,
    words: Vec<String>,
    at: Option<&'a At>,
    running: Running,
}

impl<'a> Terminal<'a> {
    fn open(
        stage: &'a Stage,
        name: &'static str,
        number: usize,
        words: &[String],
        at: Option<&'a At>,
    ) -> Self {
        let aim = match at {
            Some(At::Point(aim)) => Some(aim),
            Some(At::Recorded(_)) | None => None,
        };
        let running = stage.start(number, words, aim);
        Self { stage, name, words: words.to_vec(), at, running }
    }

    /// Waits for the end; whether that was the death that was wanted.
    fn close(mut self) -> bool {
        let ended = match self.at {
            Some(At::Recorded(holds)) => {
                wait_until(|| holds(&self.stage.api.service.requests()), self.name, &mut self.running);
                self.running.kill()
            }
            Some(At::Point(_)) | None => self.running.wait(),
        };
        match ended.code {
            None if self.at.is_some() => true,
            None | Some(2 | 8) => {
                panic!("{}: {:?} ended with {:?}\n{}", self.name, self.words, ended.code, ended.all())
            }
            Some(_) => false,
        }
    }
}

/// Waits for something, or for the end of a process.
fn wait_until(holds: impl Fn() -> bool, name: &str, running: &mut Running) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() && !running.is_over() {
        assert!(Instant::now() < deadline, "{name}: waited in vain\n{}", running.stdout());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What the person does: what the scenario wants, else answer what is asked as the recorder has it, else go on.
fn next(scenario: &Scenario, stage: &Stage, look: Option<&Look>) -> Move {
    if let Some(wanted) = (scenario.person)(stage, look) {
        return wanted;
    }
    let Some(look) = look else { return Move::line(RUN) };
    if look.state.ended().is_some() {
        return Move::Done;
    }
    if let Some((step, item, question)) = look.state.questions().next() {
        let answer = if settled(stage, look, step, question.blind) { "--applied" } else { "--not-applied" };
        let item = item.map(|item| format!(" --item {item}")).unwrap_or_default();
        return Move::line(&format!(
            "resume @run --step {step}{item} {answer} --reason 'the recorder has it so'"
        ));
    }
    Move::line("resume @run")
}

/// Whether what is asked about is done. An undo that has been said not to be, and is asked about again, can't be found
/// out about by the plugin either: then the person does it.
fn settled(stage: &Stage, look: &Look, step: &str, blind: bool) -> bool {
    if stage.has_effect(step) {
        return true;
    }
    let Some(taken_back) = step.strip_prefix("undo/") else { return false };
    let asked = |event: &Event| matches!(event, Event::QuestionAsked { step: asked, .. } if **asked == *step);
    // To look once more is not to be had where nothing is looked at.
    if !blind && look.events.iter().filter(|(_, event)| asked(event)).count() < 2 {
        return false;
    }
    stage.take_back(taken_back);
    true
}
