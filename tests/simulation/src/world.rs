//! The world that the runs act on, and what really happened in it: kept apart from anything the engine says.
//!
//! Cells hold texts. `put` and `launch` set a cell, their undo puts back what was there; a `launch` runs as a program
//! of its own, whose effect can land after its host has died; a `post` can be neither seen nor taken back. Strangers
//! write into cells too.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use windlass_engine::{CallKind, CallRequest};
use windlass_runbook::outcome::{Attempt, Change, Plan, Status};

use crate::random::Random;

/// A step, or an item of one, by path and key.
pub(crate) type Place = (String, Option<String>);

/// What a call writes, once it does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Write {
    Set { cell: String, from: Option<String>, to: Option<String> },
    Post,
}

/// What really became of a step's effects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Truth {
    /// The attempts that were let loose since the step was last taken back: key, number, and whether it landed.
    pub(crate) attempts: Vec<(String, u32, bool)>,
    /// The cell that its effect is in.
    pub(crate) cell: Option<String>,
    /// A person said that it need not be taken back, or that it is theirs to do.
    pub(crate) waived: bool,
    /// It can't be taken back, or is not to be.
    pub(crate) stays: bool,
}

impl Truth {
    pub(crate) fn is_there(&self) -> bool {
        self.attempts.iter().any(|(.., landed)| *landed)
    }
}

/// The world.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    cells: BTreeMap<String, Option<String>>,
    start: BTreeMap<String, Option<String>>,
    /// Cells that someone else wrote into, so that nobody can say what they should hold.
    pub(crate) strange: BTreeSet<String>,
    pub(crate) truth: BTreeMap<Place, Truth>,
    /// How often each key was posted.
    pub(crate) posts: BTreeMap<String, u32>,
    /// How often anything of ours was written.
    pub(crate) writes: u64,
    nonce: u64,
    gauges: [Gauge; 3],
}

/// A figure that changes with time.
#[derive(Debug, Clone, Default)]
struct Gauge {
    segments: Vec<(i64, f64, bool)>,
}

impl Gauge {
    fn new(random: &mut Random, start: i64) -> Self {
        let mut segments = Vec::new();
        let mut at = start;
        for _ in 0..random.below(5) {
            let n = random.pick(&[10.0, 20.0, 60.0, 80.0, 95.0, 10.0]);
            segments.push((at, n, !random.chance(10)));
            at += random.span(2_000, 60_000);
        }
        // In the end all is well, or no run would come to an end.
        segments.push((at, 5.0, true));
        Self { segments }
    }

    fn at(&self, now: i64) -> (f64, bool) {
        let current = self.segments.iter().rev().find(|(from, ..)| *from <= now);
        current.map_or((5.0, true), |(_, n, fresh)| (*n, *fresh))
    }
}

pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

impl World {
    pub(crate) fn new(random: &mut Random, start: i64) -> Self {
        let mut world = Self::default();
        for gauge in &mut world.gauges {
            *gauge = Gauge::new(random, start);
        }
        for number in 0..8 {
            if random.chance(25) {
                let text = if random.chance(60) { "old".to_owned() } else { format!("v{number}") };
                world.cells.insert(format!("c{number}"), Some(text));
            }
        }
        world.start = world.cells.clone();
        world
    }

    pub(crate) fn cell(&self, cell: &str) -> Option<&String> {
        self.cells.get(cell).and_then(Option::as_ref)
    }

    fn at_start(&self, cell: &str) -> Option<&String> {
        self.start.get(cell).and_then(Option::as_ref)
    }

    /// Whether a cell is as it was before the run.
    pub(crate) fn is_as_before(&self, cell: &str) -> bool {
        self.cell(cell) == self.at_start(cell)
    }

    /// Whether every cell that nobody else wrote into is as it was before the run.
    pub(crate) fn changed_cells(&self) -> impl Iterator<Item = &String> {
        self.cells.keys().filter(|cell| !self.strange.contains(*cell) && !self.is_as_before(cell))
    }

    pub(crate) fn gauge(&self, name: &str, now: i64) -> Value {
        let gauge = name.trim_start_matches('g').parse::<usize>().ok().and_then(|n| self.gauges.get(n));
        let (n, fresh) = gauge.map_or((5.0, true), |gauge| gauge.at(now));
        json!({ "n": n, "fresh": fresh })
    }

    /// A stranger writes into a cell that is in use.
    pub(crate) fn meddle(&mut self, random: &mut Random) {
        let cells: Vec<String> = self.cells.keys().cloned().collect();
        let Some(cell) = random.pick_of(&cells).cloned() else { return };
        let value = if random.chance(70) { Some("a stranger's".to_owned()) } else { None };
        self.strange.insert(cell.clone());
        self.cells.insert(cell, value);
    }

    /// A person puts a cell back by hand.
    pub(crate) fn by_hand(&mut self, place: &Place) {
        let Some(truth) = self.truth.get_mut(place) else { return };
        truth.waived = true;
        for attempt in &mut truth.attempts {
            attempt.2 = false;
        }
        if let Some(cell) = truth.cell.clone() {
            let before = self.at_start(&cell).cloned();
            self.strange.insert(cell.clone());
            self.cells.insert(cell, before);
        }
    }

    fn memo(&mut self, now: Option<&String>) -> String {
        self.nonce += 1;
        json!({ "was": now, "nonce": self.nonce }).to_string()
    }

    /// What `plan-X` finds.
    pub(crate) fn plan(&mut self, action: &str, input: &Value, before: &[Attempt]) -> Plan {
        let (cell, want) = (text(input, "cell"), text(input, "value"));
        let now = self.cell(&cell).cloned();
        let memo = self.memo(now.as_ref());
        if action == "post" {
            let status = match before {
                [] => Status::Differs,
                _ => Status::Unknown("nobody can see a post".to_owned()),
            };
            return Plan { status, changes: change("post", None, Some(want)), repeatable: false, memo };
        }
        let first = before.first().map(|first| was(&first.plan));
        let ours = |text: &Option<String>| {
            first.as_ref() == Some(text)
                || before.iter().any(|attempt| Some(self::text(&attempt.input, "value")) == *text)
        };
        let status = match () {
            () if now.as_ref() == Some(&want) => Status::InPlace,
            () if before.is_empty() || ours(&now) => Status::Differs,
            () => Status::Conflict(format!("{cell} holds {now:?}")),
        };
        let changes = if status == Status::InPlace { Vec::new() } else { change(&cell, now, Some(want)) };
        Plan { status, changes, repeatable: true, memo }
    }

    /// What `plan-undo-X` finds.
    pub(crate) fn plan_undo(&mut self, done: &[Attempt]) -> Plan {
        let cell = done.first().map(|first| text(&first.input, "cell")).unwrap_or_default();
        let before = done.first().and_then(|first| was(&first.plan));
        let now = self.cell(&cell).cloned();
        let ours = done.iter().any(|attempt| Some(text(&attempt.input, "value")) == now);
        let status = match () {
            () if now == before => Status::InPlace,
            () if ours => Status::Differs,
            () => Status::Conflict(format!("{cell} holds {now:?}")),
        };
        let memo = self.memo(now.as_ref());
        let changes = if status == Status::InPlace { Vec::new() } else { change(&cell, now, before) };
        Plan { status, changes, repeatable: true, memo }
    }

    /// What a call in write mode is going to write.
    pub(crate) fn write_of(request: &CallRequest) -> Option<Write> {
        match &request.phase {
            CallKind::Apply { write: true, .. } if &*request.action == "post" => Some(Write::Post),
            CallKind::Apply { input, plan, write: true } => Some(Write::Set {
                cell: text(input, "cell"),
                from: was(plan),
                to: Some(text(input, "value")),
            }),
            CallKind::Undo { done, plan, .. } => Some(Write::Set {
                cell: done.first().map(|first| text(&first.input, "cell")).unwrap_or_default(),
                from: was(plan),
                to: done.first().and_then(|first| was(&first.plan)),
            }),
            _ => None,
        }
    }

    /// Writes, if what it is about is still as it was when it was planned. False where it is not.
    pub(crate) fn land(&mut self, write: &Write, key: &str) -> bool {
        match write {
            Write::Post => {
                *self.posts.entry(key.to_owned()).or_default() += 1;
                self.writes += 1;
                true
            }
            Write::Set { cell, from, to } => {
                let now = self.cell(cell).cloned();
                if now != *from && now != *to {
                    return false;
                }
                self.writes += 1;
                self.cells.insert(cell.clone(), to.clone());
                true
            }
        }
    }
}

/// What a plan of the world found in its cell.
pub(crate) fn was(plan: &Plan) -> Option<String> {
    memo_of(plan)["was"].as_str().map(str::to_owned)
}

/// The number of a plan, which no other plan has.
pub(crate) fn nonce(plan: &Plan) -> u64 {
    memo_of(plan)["nonce"].as_u64().unwrap_or_default()
}

fn memo_of(plan: &Plan) -> Value {
    serde_json::from_str(&plan.memo).unwrap_or_default()
}

fn change(target: &str, from: Option<String>, to: Option<String>) -> Vec<Change> {
    vec![Change { target: target.to_owned(), kind: "set".to_owned(), from, to }]
}
