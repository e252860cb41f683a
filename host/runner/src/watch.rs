//! What a screen, a pipe or a test sees of a run while it goes on: the events themselves, and what is not journalled.

use windlass_engine::{Band, Compared, Event, Hold, Measured, Millis, State};
use windlass_journal::logs::LogLine;

/// A sample of a gate.
#[derive(Debug)]
pub struct Sample<'a> {
    /// The step's path.
    pub step: &'a str,
    /// The item's key.
    pub item: Option<&'a str>,
    /// Whether `until` is true.
    pub open: bool,
    /// What it looked at.
    pub measured: &'a [Measured],
    /// Value, comparator and limit, where `until` is one comparison.
    pub compared: Option<&'a Compared>,
    /// For how long it has been true without a break, milliseconds.
    pub open_ms: u64,
    /// For how long it has to be.
    pub hold_ms: u64,
}

/// A look of a guard.
#[derive(Debug)]
pub struct Look<'a> {
    /// Its path, `guard/ID`.
    pub guard: &'a str,
    /// What it saw.
    pub band: Band,
    /// What it looked at.
    pub measured: &'a [Measured],
    /// Value, comparator and limit, where its condition is one comparison.
    pub compared: Option<&'a Compared>,
    /// For how long the band has been the same, milliseconds.
    pub since_ms: u64,
    /// For how long it must be for anything to come of it.
    pub for_ms: u64,
}

/// Sees a run go on. Called from the driver and from calls; must not block.
pub trait Watcher: Send + Sync {
    /// Something happened; `state` has it already.
    fn event(&self, at: Millis, event: &Event, state: &State) {
        let _ = (at, event, state);
    }

    /// A gate was sampled.
    fn sample(&self, sample: &Sample<'_>) {
        let _ = sample;
    }

    /// A guard has looked.
    fn look(&self, look: &Look<'_>) {
        let _ = look;
    }

    /// Nothing is at work, and the process stays: something ends by itself, or is watched.
    fn waiting(&self, reasons: &[Hold], state: &State) {
        let _ = (reasons, state);
    }

    /// A line was logged; secrets are out of it already.
    fn log(&self, line: &LogLine) {
        let _ = line;
    }

    /// A call tells how far it is.
    fn progress(&self, step: &str, item: Option<&str>, done: u64, total: Option<u64>, note: &str) {
        let _ = (step, item, done, total, note);
    }

    /// The machine refused what a person asked for.
    fn refused(&self, message: &str) {
        let _ = message;
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watcher for Unwatched {}
