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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
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
    Differs,
    InPlace,
    InProgress,
    Conflict(String),
    Unknown(String),
}

/// One thing that applying a plan would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub target: String,
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What an effect would do, found out without doing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub status: Status,
    #[serde(default)]
    pub changes: Vec<Change>,
    #[serde(default)]
    pub repeatable: bool,
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
    pub input: Value,
    pub plan: Plan,
    #[serde(default)]
    pub receipts: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}
