//! What verifying found: plain records, and the words for them.

use std::fmt;

use serde::Serialize;

use crate::id::RunId;

/// How much can be said for what was verified, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All is as it was written, signed by a key that is known from outside the store.
    Anchored,
    /// Nothing contradicts anything, but something that would prove it is not there.
    Unanchored,
    /// Something was changed, cut or dropped.
    Broken,
}

/// What was found about a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The store's id.
    pub store: String,
    /// The id of the key that signs.
    pub engine: String,
    /// What outside of the store says that this is the right key, if anything does.
    pub vouched_by: Option<Voucher>,
    /// How many entries the store's chain of starts and ends has.
    pub entries: u64,
    /// What is wrong with the store's chain, if anything is.
    pub chain: Option<Broken>,
    /// The runs, those that were dropped included.
    pub runs: Vec<RunReport>,
}

/// What says which key signs for a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Voucher {
    /// The engine's key file on this machine.
    KeyFile,
    /// The anchor that was given.
    Anchor,
}

/// What was found about one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// The run.
    pub run: RunId,
    /// What can be said for it.
    pub outcome: Outcome,
    /// How many events there are.
    pub events: u64,
    /// The events whose payload was erased on purpose.
    pub erased: Vec<u64>,
    /// The last event that a signature vouches for, with all before it.
    pub signed: u64,
    /// Whether the store's key was there, so that payloads and the columns beside them were checked too.
    pub opened: bool,
}

/// What can be said for a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Each event is as it was written, and signatures of a known key say so.
    Anchored,
    /// Nothing contradicts anything, but not all is vouched for.
    Unanchored(Vec<Gap>),
    /// Something does not hold.
    Broken(Broken),
}

/// Why something is not anchored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Gap {
    /// Nothing outside of the store says that its key is the engine's.
    UnknownEngine,
    /// The store's chain is broken, so it does not say all that it said about the run.
    BrokenChain,
    /// The events from this one on are not signed yet, as in a run that goes on.
    Unsigned {
        /// The first of them.
        from: u64,
    },
}

/// The first thing that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The event of a run, or the entry of the store's chain; 0 is the row of the run or of the store.
    pub at: u64,
    /// What is wrong there.
    pub fault: Fault,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// Something of it is not what was written.
    Changed {
        /// What.
        what: String,
    },
    /// It and all after it are gone.
    Cut {
        /// How many there were.
        known: u64,
    },
    /// It, and perhaps others before it, were written anew: its hash is not the one that was signed.
    Rewritten,
    /// It is of another run.
    Swapped {
        /// The run that it is of.
        with: RunId,
    },
    /// The signature that is there for it does not hold.
    BadSignature,
    /// It must have a signature and has none.
    NoSignature,
    /// The store's chain has the run's start, and the store does not have the run.
    Dropped,
    /// The store has the run, and the store's chain does not have its start.
    Stray,
    /// The store names another key than the one that is known to sign for it.
    OtherEngine,
    /// The anchor is of another store.
    OtherStore,
}

impl VerifyReport {
    /// The worst that was found.
    #[must_use]
    pub fn state(&self) -> State {
        let chain = match (&self.chain, self.vouched_by) {
            (Some(_), _) => State::Broken,
            (None, None) => State::Unanchored,
            (None, Some(_)) => State::Anchored,
        };
        self.runs.iter().map(|run| run.outcome.state()).fold(chain, State::max)
    }
}

impl Outcome {
    /// In one word.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Anchored => State::Anchored,
            Self::Unanchored(_) => State::Unanchored,
            Self::Broken(_) => State::Broken,
        }
    }
}

impl Broken {
    pub(crate) fn new(at: i64, fault: Fault) -> Self {
        Self { at: at.unsigned_abs(), fault }
    }

    pub(crate) fn changed(at: i64, what: impl Into<String>) -> Self {
        Self::new(at, Fault::Changed { what: what.into() })
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Anchored => "anchored",
            Self::Unanchored => "intact but unanchored",
            Self::Broken => "broken",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anchored => write!(out, "{}", self.state()),
            Self::Unanchored(gaps) => {
                let gaps: Vec<_> = gaps.iter().map(Gap::to_string).collect();
                write!(out, "{}: {}", self.state(), gaps.join("; "))
            }
            Self::Broken(broken) => write!(out, "broken at {broken}"),
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownEngine => {
                out.write_str("nothing outside of the store vouches for the key that signed it")
            }
            Self::BrokenChain => out.write_str("the store's chain is broken"),
            Self::Unsigned { from } => write!(out, "the events from {from} on are not signed yet"),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.at, self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { what } => out.write_str(what),
            Self::Cut { known } => write!(out, "it is missing: the last of {known} were cut off"),
            Self::Rewritten => out.write_str("it was written anew: its hash is not the one that was signed"),
            Self::Swapped { with } => write!(out, "it is of run `{with}`"),
            Self::BadSignature => out.write_str("its signature does not hold"),
            Self::NoSignature => out.write_str("its signature is missing"),
            Self::Dropped => out.write_str("the run was dropped: only the store's chain knows it"),
            Self::Stray => out.write_str("the run's start does not stand in the store's chain"),
            Self::OtherEngine => {
                out.write_str("the store names another engine key than the one that is known")
            }
            Self::OtherStore => out.write_str("the anchor is of another store"),
        }
    }
}
