//! What people ask of a run: the same whether it comes from the process that drives it or through the inbox.
//!
//! The JSON is what lies in the inbox between two processes, which may be of different versions: `Asked` carries the
//! version of its form, and a reader refuses a later one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{Answer, ApprovalGiven};

/// The version of the form that this build writes.
pub const ASKED_VERSION: u32 = 1;

/// A request with who makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The version of this form.
    #[serde(default = "version")]
    pub version: u32,
    /// The message's id in the inbox, which is consumed together with what came of it; empty for a request that came
    /// by no inbox.
    #[serde(default)]
    pub id: String,
    /// Who asks.
    pub who: String,
    /// What for.
    pub request: Request,
}

const fn version() -> u32 {
    ASKED_VERSION
}

impl Asked {
    /// A request that came by no inbox.
    #[must_use]
    pub fn here(who: impl Into<String>, request: Request) -> Self {
        Self { version: ASKED_VERSION, id: String::new(), who: who.into(), request }
    }
}

/// What a person asks for. Steps are named by their paths, which an undo has too: `undo/ID`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    /// Nothing new starts. Reads are dropped, applies end.
    Pause {
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// The holds of people and failures are lifted, and failed steps begin anew.
    Resume,
    /// The run ends where it is, its effects listed; finally steps run.
    Cancel {
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// The run ends at once: calls are cut off, and no finally step runs.
    Terminate {
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// The run goes back.
    Rollback {
        /// Why.
        #[serde(default)]
        reason: String,
        /// Only these steps, with everything applied that depends on them; empty for all. The run is held afterwards.
        #[serde(default)]
        only: Vec<String>,
        /// Past the commit horizon.
        #[serde(default)]
        past_commit: bool,
    },
    /// A failed step, or one that was undone, begins anew; a failed undo too.
    Retry {
        /// The step's path.
        step: String,
        /// The item's key, for one item only.
        #[serde(default)]
        item: Option<String>,
        /// Another input; then it is a new generation.
        #[serde(default)]
        input: Option<Value>,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// A step, or an undo, is left out.
    Skip {
        /// The step's path.
        step: String,
        /// The item's key, for one item only.
        #[serde(default)]
        item: Option<String>,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// A person has done it by hand.
    Done {
        /// The step's path.
        step: String,
        /// The item's key, for one item only.
        #[serde(default)]
        item: Option<String>,
        /// What it would have returned, as far as the person knows.
        #[serde(default)]
        output: Option<Value>,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// What became of an effect, or is to become of an undo, that can't be told.
    Answer {
        /// The step's path.
        step: String,
        /// The item's key, where the step has items.
        #[serde(default)]
        item: Option<String>,
        /// What.
        answer: Answer,
        /// Why that is known.
        #[serde(default)]
        reason: String,
    },
    /// A word on an approval; verified already.
    Approve {
        /// The word.
        given: Box<ApprovalGiven>,
    },
}
