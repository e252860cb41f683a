//! The common types of `windlass:plugin/outcome`, as the host has them.
//!
//! They stand here, above engine and sandbox, since both speak them: the sandbox makes them from WIT values, the
//! engine stores them in events. Field names in JSON are snake_case and are part of the journal's format.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why an action did not do what it was asked, in the plugin's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable word, such as `zone-not-found`.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
    /// Facts for a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
    /// Whether the same call can succeed later without anybody changing anything.
    #[serde(default)]
    pub retryable: bool,
    /// Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// How the world stands to the effect that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The effect is still to be had.
    Differs,
    /// Nothing to do: it is so already.
    InPlace,
    /// It is on its way: ask again.
    InProgress,
    /// Someone else changed it; what was found.
    Conflict(String),
    /// It can't be told; why.
    Unknown(String),
}

/// One thing that applying a plan would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What is changed; the same from plan to plan.
    pub target: String,
    /// `create`, `update`, `delete`, `run`, or the plugin's own word.
    pub kind: String,
    /// As it is now; none where there is nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// As it will be; none where it will be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What an effect would do, found out without doing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Whether there is anything to do.
    pub status: Status,
    /// What applying would change.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// Whether applying may be repeated when it can't be told if it had its effect.
    #[serde(default)]
    pub repeatable: bool,
    /// The plugin's own: the state before, say.
    #[serde(default)]
    pub memo: String,
}

/// One started attempt of an effect, as `plan-` and `undo-` are given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The idempotency key.
    pub key: String,
    /// From 1, within the generation.
    pub number: u32,
    /// What it ran with.
    pub input: Value,
    /// What it applied.
    pub plan: Plan,
    /// What it left while it ran, oldest first.
    #[serde(default)]
    pub receipts: Vec<String>,
    /// What it returned, if it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}
