//! Ends this process by SIGKILL at a chosen moment of a write, so that a test finds out what a crash there leaves.
//!
//! Compiled in with the feature `kill-points` only, which no normal build has. Two variables of the environment say
//! what is wanted. `WINDLASS_KILL_POINT` is `WHAT@PHASE:N`: the N-th time in this process that something of this name is
//! in this phase, the process dies. `WINDLASS_KILL_LOG` is a file that every moment is appended to, as one line of the
//! phase and all names, before the process goes on or dies; so its last line is where a process died.
//!
//! `WINDLASS_CLOCK_STEP` is how many milliseconds the wall clock shall seem to have stepped since the process began.
//!
//! A write has the names of its events' kinds, with `:undo` behind those that are about an undo, and is passed in the
//! phases `before`, `inside` (every statement but `COMMIT` is done) and `after` (durable, and nobody knows yet).

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::writer::{Append, Change, Member};

const POINT: &str = "WINDLASS_KILL_POINT";
const LOG: &str = "WINDLASS_KILL_LOG";

/// How often each name was passed in each phase.
static PASSED: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);
/// Whether the commit under way is to be left open for good.
static DIES_INSIDE: AtomicBool = AtomicBool::new(false);

/// The name of an event, from its kind and its payload: the JSON of an event says which step it is about.
pub(crate) fn name(kind: &str, payload: &[u8]) -> String {
    let undo = br#""step":"undo/"#;
    let direction = if payload.windows(undo.len()).any(|bytes| bytes == undo) { ":undo" } else { "" };
    format!("{kind}{direction}")
}

/// What a commit writes, by name.
pub(crate) struct Moment(Vec<String>);

impl Moment {
    pub(crate) fn of(members: &[Member]) -> Self {
        Self(members.iter().flat_map(names).collect())
    }

    /// Before the first statement. A commit that is to stay open for good is remembered for [`dies_inside`].
    pub(crate) fn begins(&self) {
        self.dies_in("before");
        let dies = self.passes("inside");
        DIES_INSIDE.store(dies, Ordering::SeqCst);
    }

    /// After the last statement, and before anybody is told that it is durable.
    pub(crate) fn ends(&self) {
        if dies_inside() {
            die();
        }
        self.dies_in("after");
    }

    fn dies_in(&self, phase: &str) {
        if self.passes(phase) {
            die();
        }
    }

    /// Whether this is the chosen moment.
    fn passes(&self, phase: &str) -> bool {
        if self.0.is_empty() {
            // A writer that only closes writes nothing.
            return false;
        }
        log(phase, &self.0);
        let point = std::env::var(POINT).unwrap_or_default();
        let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = passed.get_or_insert_default();
        let mut chosen = false;
        for (index, name) in self.0.iter().enumerate() {
            // A commit is one moment, however many events of a kind it has.
            if self.0.iter().take(index).any(|other| other == name) {
                continue;
            }
            let name = format!("{name}@{phase}");
            let count = passed.entry(name.clone()).or_default();
            *count += 1;
            chosen |= point == format!("{name}:{count}");
        }
        chosen
    }
}

/// A moment outside of the journal: `what` is in `phase`. Does not come back if it is the chosen one.
pub fn reach(what: &str, phase: &str) {
    Moment(vec![what.to_owned()]).dies_in(phase);
}

/// By how much the wall clock shall seem to have stepped.
#[must_use]
pub fn clock_step() -> Duration {
    let step = std::env::var("WINDLASS_CLOCK_STEP").ok();
    Duration::from_millis(step.and_then(|step| step.parse().ok()).unwrap_or(0))
}

fn names(member: &Member) -> Vec<String> {
    match member {
        Member::Post(_) => vec!["message_posted".to_owned()],
        Member::Append(append) if append.events.is_empty() => {
            vec![if is_taken_over(append) { "run_taken_over" } else { "status_set" }.to_owned()]
        }
        Member::Append(append) => append.events.iter().map(|event| event.name.clone()).collect(),
    }
}

fn is_taken_over(append: &Append) -> bool {
    matches!(&append.change, Change::From(from) if from.epoch != append.to.epoch)
}

/// Whether the commit under way is to end before its `COMMIT`.
pub(crate) fn dies_inside() -> bool {
    DIES_INSIDE.load(Ordering::SeqCst)
}

/// Ends this process here and now.
fn die() -> ! {
    loop {
        // Nothing is left to be done about a signal that can't be sent, and it always can be to oneself.
        let _sent = kill_process(getpid(), Signal::KILL);
    }
}

fn log(phase: &str, names: &[String]) {
    let Some(path) = std::env::var_os(LOG) else { return };
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
        // In one write, so that two threads don't mix their lines. The suite sees a line that is missing.
        let _written = file.write_all(format!("{phase} {}\n", names.join(" ")).as_bytes());
    }
}
