//! The events of getting back: rollbacks, what later runs inherit, guards.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_runbook::outcome::Plan;

use super::parts::{AttemptRef, CallName, Samples};
use crate::failure::{CallFailure, Measured, StepFailure};
use crate::identity::Millis;
use crate::words::{Band, Cause, Effect, Phase};

/// From now on the run goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackStarted {
    /// What began it.
    pub cause: Cause,
    /// The person, or the path of the step or guard.
    #[serde(default)]
    pub who: String,
    /// In one sentence; `run.reason` in rollback steps.
    #[serde(default)]
    pub reason: String,
    /// The steps that are taken back, with everything applied that depends on them; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Arc<str>>,
    /// Whether it may go past the commit horizon.
    #[serde(default)]
    pub past_commit: bool,
    /// How long a running apply may go on before it is interrupted, milliseconds; none for until its own deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
}

/// What a run takes over from another: a step or an item that had begun there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// The step's path.
    pub step: Arc<str>,
    /// The item's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Arc<str>>,
    /// What `item` was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Arc<Value>>,
    /// What it was busy with.
    pub phase: Phase,
    /// What its effect had come to.
    #[serde(default)]
    pub effect: Effect,
    /// The generation of its effect.
    pub generation: u32,
    /// What it calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallName>,
    /// Whether the action can have an effect.
    #[serde(default)]
    pub writes: bool,
    /// What it ran with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<Value>>,
    /// What it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Arc<Value>>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<StepFailure>,
    /// What was prepared to take it back with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Prepared>,
    /// The attempts that are still to be taken back, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<InheritedAttempt>,
    /// The programs of undo attempts of which nobody knows what became.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Value>,
}

/// An attempt of another run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InheritedAttempt {
    /// Which.
    pub attempt: AttemptRef,
    /// Its idempotency key, of that run.
    pub key: Arc<str>,
    /// The input it ran with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<Value>>,
    /// What it was going to do.
    pub plan: Arc<Plan>,
    /// What the plugin left, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<String>,
    /// The programs it started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Value>,
    /// When it started.
    pub started_at: Millis,
    /// What became of its effect.
    pub effect: Effect,
    /// What it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Arc<Value>>,
}

/// The call that takes a step back in place of its own undo, with its input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// What is called.
    pub call: CallName,
    /// With what.
    pub input: Arc<Value>,
}

/// A guard's reading changed its band, or its last samples are put on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardSampled {
    /// The guard's path, `guard/ID`.
    pub guard: Arc<str>,
    /// The band it is in now.
    pub band: Band,
    /// Since when, without a break.
    pub since: Millis,
    /// The samples since the last such event.
    pub samples: Samples,
    /// What the last one had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<Measured>,
    /// How the last one failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<CallFailure>,
}
