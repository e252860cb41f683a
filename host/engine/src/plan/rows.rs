//! What `windlass plan` says: a row per step and item, and a summary.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_runbook::outcome::Plan;

use crate::command::{CallId, CallRequest};
use crate::failure::{CallFailure, Measured, StepFailure};
use crate::words::{SkipReason, exit_code};

/// What the planner wants done or has found out.
#[derive(Debug, Clone, PartialEq)]
pub enum PlanCommand {
    /// Make this call and tell its end with [`super::Planner::called`].
    Call {
        /// What its end is told by.
        call: CallId,
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        item: Option<Arc<str>>,
        /// What to call; never in write mode.
        request: CallRequest,
    },
    /// A step or an item has been planned.
    Row(Box<PlanRow>),
    /// All have.
    Done(PlanSummary),
}

/// What a run would do with a step or an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRow {
    /// The step's place in the runbook, finally steps after the others and rollback steps last.
    pub position: usize,
    /// The step's path.
    pub step: Arc<str>,
    /// The item's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Arc<str>>,
    /// What it calls, as `plugin.action`; absent for `wait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What came of planning it.
    #[serde(flatten)]
    pub outcome: PlanOutcome,
}

/// What came of planning a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum PlanOutcome {
    /// It would change something.
    Changes {
        /// What.
        plan: Plan,
    },
    /// It is on its way already, by someone else.
    InProgress {
        /// What the plan says.
        plan: Plan,
    },
    /// It is in place.
    Unchanged {
        /// What the step would return.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Value>>,
    },
    /// It only reads, and was read.
    Read {
        /// What it returned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Value>>,
        /// Its expectations, all met.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        expectations: Vec<Expectation>,
    },
    /// A gate, sampled once.
    Gate {
        /// The source of `until`.
        until: String,
        /// Whether it is true now.
        open: bool,
        /// What it looked at.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        measured: Vec<Measured>,
        /// How the sample failed, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<CallFailure>,
        /// Milliseconds between samples.
        every_ms: u64,
        /// For how long it must stay true, milliseconds.
        hold_ms: u64,
    },
    /// It lets time pass.
    Wait {
        /// Milliseconds.
        ms: u64,
    },
    /// It asks people.
    Approval {
        /// The question.
        text: String,
        /// Who may answer.
        roles: Vec<String>,
        /// So many of each role; counts only where `any` is absent.
        each: u32,
        /// So many in all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        any: Option<u32>,
        /// How long they may take, milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_ms: Option<u64>,
        /// The paths of the steps with an effect that it covers.
        covers: Vec<Arc<str>>,
    },
    /// A `for_each`; its items have rows of their own.
    ForEach {
        /// How many items there are.
        items: u64,
    },
    /// It would be skipped.
    Skipped {
        /// Why.
        reason: SkipReason,
        /// Because of what.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<String>,
    },
    /// It can't be planned before something else was done.
    Deferred {
        /// Why.
        reason: String,
    },
    /// It would fail.
    Failed {
        /// Why.
        failure: StepFailure,
    },
}

/// An expectation and what it looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// Its source.
    pub expression: String,
    /// What it looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<Measured>,
}

/// How many rows came out how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanSummary {
    /// Would change something, or are on their way.
    pub changes: u64,
    /// Are in place.
    pub unchanged: u64,
    /// Were read, gates included.
    pub read: u64,
    /// Can't be planned yet.
    pub deferred: u64,
    /// Would be skipped.
    pub skipped: u64,
    /// Would fail.
    pub failed: u64,
}

impl PlanSummary {
    /// The exit code of `windlass plan`: 1 if something would fail, 10 if something would change or can't be known
    /// yet, else 0.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        if self.failed > 0 {
            exit_code::FAILED
        } else if self.changes > 0 || self.deferred > 0 {
            exit_code::PLAN_CHANGES
        } else {
            exit_code::SUCCEEDED
        }
    }

    pub(super) const fn count(&mut self, outcome: &PlanOutcome) {
        match outcome {
            PlanOutcome::Changes { .. } | PlanOutcome::InProgress { .. } => self.changes += 1,
            PlanOutcome::Unchanged { .. } => self.unchanged += 1,
            PlanOutcome::Read { .. } | PlanOutcome::Gate { .. } => self.read += 1,
            PlanOutcome::Wait { .. } | PlanOutcome::Approval { .. } | PlanOutcome::ForEach { .. } => (),
            PlanOutcome::Skipped { .. } => self.skipped += 1,
            PlanOutcome::Deferred { .. } => self.deferred += 1,
            PlanOutcome::Failed { .. } => self.failed += 1,
        }
    }
}
