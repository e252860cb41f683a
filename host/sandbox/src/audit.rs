//! The audit trail: one structured record for each thing a guest asked the host to do.
//!
//! It refuses to know what the capabilities are. Invariant: a record holds no credential, no query value, no statement
//! and no content, only what was addressed and what was decided.

use serde::{Deserialize, Serialize};

use crate::Mode;

/// What a guest asked for, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// `http`, `postgres`, `folder`, `program`, …
    pub capability: String,
    /// What was to be done: `GET`, `query`, `open`, `run`, …
    pub operation: String,
    /// What it was to be done to, normalised.
    pub target: String,
    /// The mode of the call.
    pub mode: Mode,
    /// Whether the host did it.
    pub allowed: bool,
    /// The grant line that allowed it, or the reason why it was denied.
    pub rule: Option<String>,
    /// Bytes that came from outside.
    pub bytes_in: u64,
    /// Bytes that went outside.
    pub bytes_out: u64,
    /// How long it took.
    pub elapsed_ms: u64,
}
