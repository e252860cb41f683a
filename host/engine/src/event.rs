//! What happened: the only thing a run leaves behind, and the only thing its state is made of.
//!
//! An event says what was decided or observed, never why it might be so; replaying it evaluates no expression and asks
//! no clock. The JSON is for ever: a reader ignores fields it does not know, an absent field has its default, and a
//! kind or a word is never given another meaning. Invariant: everything that a later decision depends on is in here.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use windlass_runbook::outcome::Plan;

use crate::failure::{CallFailure, Measured, StepFailure};
use crate::identity::{EffectId, Millis};
use crate::words::{Effect, Hold, SkipReason, Verdict, World};

/// The version of the event format that this build writes.
pub const FORMAT: u32 = 1;

/// A text that the run pins, such as the runbook as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedText {
    /// As the person who started the run wrote it, such as `runbooks/staging.toml`.
    pub name: String,
    /// The absolute folder that relative paths in it start at.
    #[serde(default)]
    pub folder: String,
    /// The whole file.
    pub text: Arc<str>,
}

/// A plugin as the run pins it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PinnedPlugin {
    /// Where it came from, such as `builtin:http`.
    pub source: String,
    /// SHA-256 of its bytes, as `sha256:` and hex; the journal keeps the bytes.
    pub digest: String,
    /// What `configure` is given, resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// Its grant lines, with their placeholders replaced.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Which connection each slot is bound to.
    #[serde(default)]
    pub connections: IndexMap<String, String>,
}

/// Everything about a run that never changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunCreated {
    /// The version of the event format.
    pub format: u32,
    /// The run's id.
    pub run: String,
    /// `[runbook] name`.
    pub name: String,
    /// `[runbook] title`, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The runbook, whole.
    pub runbook: PinnedText,
    /// The environment, whole; secrets stand in it by name only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PinnedText>,
    /// The inputs, resolved.
    #[serde(default)]
    pub inputs: Map<String, Value>,
    /// The environment's vars.
    #[serde(default)]
    pub vars: Map<String, Value>,
    /// The plugins by their names in the runbook.
    #[serde(default)]
    pub plugins: IndexMap<String, PinnedPlugin>,
    /// The lock file, whole, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<PinnedText>,
    /// The digest of the policies in force, where there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Who started it.
    pub started_by: String,
    /// The version of windlass that started it.
    pub tool_version: String,
}

impl Default for PinnedText {
    fn default() -> Self {
        Self { name: String::new(), folder: String::new(), text: "".into() }
    }
}

/// An attempt with what its envelope is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRef {
    /// Which attempt of which effect.
    pub effect: EffectId,
    /// The plugin's name in the runbook.
    pub plugin: Arc<str>,
    /// The digest of its bytes.
    pub digest: Arc<str>,
    /// The action, such as `send`.
    pub action: Arc<str>,
}

/// What a step calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallName {
    /// The plugin's name in the runbook.
    pub plugin: Arc<str>,
    /// The digest of its bytes.
    pub digest: Arc<str>,
    /// The interface in full, such as `windlass:contracts/health@0.1.0`.
    pub interface: Arc<str>,
    /// The action, such as `check`.
    pub action: Arc<str>,
}

/// An item of a `for_each`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What tells it apart: its `key`, or its value as text.
    pub key: Arc<str>,
    /// What `item` is in its expressions.
    pub value: Arc<Value>,
}

/// Who says what became of an effect that can't be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum Answer {
    /// It took effect.
    Applied {
        /// What it returned, as far as the person knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Value>>,
    },
    /// It did not.
    NotApplied,
}

/// The samples of a gate since the last event about it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Samples {
    /// How many there were.
    pub count: u64,
    /// How many of them failed instead of giving a value.
    #[serde(default)]
    pub failed: u64,
    /// When the first of them was taken.
    pub first_at: Millis,
    /// When the last was.
    pub last_at: Millis,
}

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// The run exists. Always the first.
    RunCreated(Box<RunCreated>),
    /// Another process took the run over; whatever was being called then is lost.
    OwnerChanged {
        /// The owner's epoch.
        epoch: u64,
        /// Who took it over.
        who: String,
    },
    /// What a connection leads to, seen for the first time.
    ConnectionPinned {
        /// Its name in the environment.
        connection: String,
        /// Its identity: a Postgres system identifier, an origin.
        identity: Value,
    },
    /// A connection leads somewhere else than it did at first.
    ConnectionChanged {
        /// Its name in the environment.
        connection: String,
        /// What was pinned.
        pinned: Value,
        /// What was seen now.
        seen: Value,
    },
    /// A step, or an item of one, begins: its `when` held and its input is known.
    StepStarted {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// The generation of its effect.
        generation: u32,
        /// What it calls; absent for `wait`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<CallName>,
        /// Whether the action can have an effect.
        #[serde(default)]
        writes: bool,
        /// Whether it is a gate.
        #[serde(default)]
        gate: bool,
        /// The resolved input, in normal form.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Arc<Value>>,
    },
    /// What a `for_each` has to do, in the order given. Happens once.
    ItemsExpanded {
        /// The step's path.
        step: Arc<str>,
        /// The items.
        items: Vec<Item>,
    },
    /// A step won't run.
    StepSkipped {
        /// The step's path.
        step: Arc<str>,
        /// Why.
        reason: SkipReason,
        /// The step whose output is missing, or the `when` that was false.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<String>,
    },
    /// A `wait` begins.
    WaitStarted {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// When it is over.
        until: Millis,
    },
    /// A reading call failed.
    ReadFailed {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// How.
        failure: CallFailure,
        /// How long it took, milliseconds.
        #[serde(default)]
        elapsed_ms: u64,
    },
    /// A gate opened or closed, or its last samples are put on record.
    GateSampled {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// Whether `until` is true now.
        open: bool,
        /// Since when it has been so without a break.
        since: Millis,
        /// The samples since the last such event.
        samples: Samples,
        /// What the last one had.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        measured: Vec<Measured>,
        /// How the last one failed, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<CallFailure>,
    },
    /// Planning failed, or reading the output of what was in place.
    PlanFailed {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// How.
        failure: CallFailure,
        /// How long it took, milliseconds.
        #[serde(default)]
        elapsed_ms: u64,
    },
    /// Nothing was to be done.
    Unchanged {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// The plan that says so.
        plan: Arc<Plan>,
    },
    /// An attempt begins. Durable before the effect can be.
    AttemptStarted {
        /// Which.
        attempt: AttemptRef,
        /// Its idempotency key.
        key: Arc<str>,
        /// What it is going to do.
        plan: Arc<Plan>,
    },
    /// The plugin learned something halfway that must not be lost.
    ReceiptLeft {
        /// Of which attempt.
        attempt: AttemptRef,
        /// The plugin's text.
        text: String,
    },
    /// The attempt started a program.
    ProcessStarted {
        /// Which attempt.
        attempt: AttemptRef,
        /// What proves later that it is gone: process group, start time, boot id.
        identity: Value,
    },
    /// An attempt ended.
    AttemptFinished {
        /// Which.
        attempt: AttemptRef,
        /// `applied`, `none` or `unknown`.
        effect: Effect,
        /// What it returned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Value>>,
        /// How it failed; absent with `unknown` where the host itself was lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<CallFailure>,
        /// How long it took, milliseconds; 0 where that was lost.
        #[serde(default)]
        elapsed_ms: u64,
    },
    /// Planning again told what had become of the attempts nobody knew about.
    AttemptsResolved {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// `adopted`: the effect is there. `none`: everything is exactly as before. `unknown`: neither is proven, but
        /// the effect is still to be had.
        effect: Effect,
        /// The plan that says so.
        plan: Arc<Plan>,
    },
    /// Nobody knows what became of it, and the runbook takes it as done.
    Accepted {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// What was found out.
        message: String,
    },
    /// A person must say what became of it.
    QuestionAsked {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// What was found out.
        message: String,
        /// The plan that could not tell, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Arc<Plan>>,
    },
    /// A person said what became of it.
    OperatorAnswered {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// What.
        answer: Answer,
        /// Who.
        who: String,
        /// Why that is known.
        reason: String,
    },
    /// It will be tried again.
    RetryScheduled {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// When, jitter included.
        at: Millis,
        /// How often it has failed so far.
        tries: u32,
    },
    /// A failed step begins anew, with its failed items if it has any.
    StepRestarted {
        /// The step's path.
        step: Arc<str>,
        /// Who wanted it.
        who: String,
    },
    /// A step or item is done.
    StepSucceeded {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// How it came about; the worst of its items.
        effect: Effect,
        /// What it returned. Absent where it returned nothing, where it is in `AttemptFinished`, and for a step with
        /// items.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Value>>,
    },
    /// A step or item ended without success.
    StepFailed {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// What of its effect there is: `none`, `applied` or `unknown`.
        effect: Effect,
        /// Why.
        failure: StepFailure,
    },
    /// Nothing new starts until this is lifted.
    RunHeld {
        /// Why.
        reason: Hold,
        /// In one sentence.
        #[serde(default)]
        message: String,
        /// The step it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<Arc<str>>,
    },
    /// A hold is lifted.
    RunReleased {
        /// Which.
        reason: Hold,
        /// Who lifted it.
        who: String,
    },
    /// A person ended the run where it is.
    CancelRequested {
        /// Who.
        who: String,
        /// Why.
        reason: String,
    },
    /// How the run ends; the finally steps come after.
    VerdictDecided {
        /// The verdict.
        verdict: Verdict,
        /// What is left in the world.
        world: World,
        /// In one sentence.
        #[serde(default)]
        reason: String,
    },
    /// Nothing more happens.
    RunEnded {
        /// As decided.
        verdict: Verdict,
        /// Whether a finally step failed.
        #[serde(default)]
        finally_failed: bool,
    },
}

/// What an event's envelope is bound to, beside the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The step's path.
    pub step: &'a str,
    /// The item's key.
    pub item: Option<&'a str>,
    /// The attempt's number within its generation.
    pub attempt: u32,
    /// The digest of the plugin's bytes.
    pub plugin_digest: &'a str,
    /// The action.
    pub action: &'a str,
}

impl Event {
    /// The word that tells the kind, as it stands in the JSON.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RunCreated(_) => "run_created",
            Self::OwnerChanged { .. } => "owner_changed",
            Self::ConnectionPinned { .. } => "connection_pinned",
            Self::ConnectionChanged { .. } => "connection_changed",
            Self::StepStarted { .. } => "step_started",
            Self::ItemsExpanded { .. } => "items_expanded",
            Self::StepSkipped { .. } => "step_skipped",
            Self::WaitStarted { .. } => "wait_started",
            Self::ReadFailed { .. } => "read_failed",
            Self::GateSampled { .. } => "gate_sampled",
            Self::PlanFailed { .. } => "plan_failed",
            Self::Unchanged { .. } => "unchanged",
            Self::AttemptStarted { .. } => "attempt_started",
            Self::ReceiptLeft { .. } => "receipt_left",
            Self::ProcessStarted { .. } => "process_started",
            Self::AttemptFinished { .. } => "attempt_finished",
            Self::AttemptsResolved { .. } => "attempts_resolved",
            Self::Accepted { .. } => "accepted",
            Self::QuestionAsked { .. } => "question_asked",
            Self::OperatorAnswered { .. } => "operator_answered",
            Self::RetryScheduled { .. } => "retry_scheduled",
            Self::StepRestarted { .. } => "step_restarted",
            Self::StepSucceeded { .. } => "step_succeeded",
            Self::StepFailed { .. } => "step_failed",
            Self::RunHeld { .. } => "run_held",
            Self::RunReleased { .. } => "run_released",
            Self::CancelRequested { .. } => "cancel_requested",
            Self::VerdictDecided { .. } => "verdict_decided",
            Self::RunEnded { .. } => "run_ended",
        }
    }

    /// The attempt that the envelope is bound to, for events that are about one.
    #[must_use]
    pub fn binding(&self) -> Option<Binding<'_>> {
        let (Self::AttemptStarted { attempt, .. }
        | Self::ReceiptLeft { attempt, .. }
        | Self::ProcessStarted { attempt, .. }
        | Self::AttemptFinished { attempt, .. }) = self
        else {
            return None;
        };
        Some(Binding {
            step: &attempt.effect.step,
            item: attempt.effect.item.as_deref(),
            attempt: attempt.effect.attempt,
            plugin_digest: &attempt.digest,
            action: &attempt.action,
        })
    }

    /// The step and item that the event is about, if it is about one.
    #[must_use]
    pub fn place(&self) -> Option<(&Arc<str>, Option<&Arc<str>>)> {
        match self {
            Self::StepStarted { step, item, .. }
            | Self::WaitStarted { step, item, .. }
            | Self::ReadFailed { step, item, .. }
            | Self::GateSampled { step, item, .. }
            | Self::PlanFailed { step, item, .. }
            | Self::Unchanged { step, item, .. }
            | Self::AttemptsResolved { step, item, .. }
            | Self::Accepted { step, item, .. }
            | Self::QuestionAsked { step, item, .. }
            | Self::OperatorAnswered { step, item, .. }
            | Self::RetryScheduled { step, item, .. }
            | Self::StepSucceeded { step, item, .. }
            | Self::StepFailed { step, item, .. } => Some((step, item.as_ref())),
            Self::ItemsExpanded { step, .. }
            | Self::StepSkipped { step, .. }
            | Self::StepRestarted { step, .. } => Some((step, None)),
            Self::AttemptStarted { attempt, .. }
            | Self::ReceiptLeft { attempt, .. }
            | Self::ProcessStarted { attempt, .. }
            | Self::AttemptFinished { attempt, .. } => {
                Some((&attempt.effect.step, attempt.effect.item.as_ref()))
            }
            Self::RunHeld { step, .. } => step.as_ref().map(|step| (step, None)),
            Self::RunCreated(_)
            | Self::OwnerChanged { .. }
            | Self::ConnectionPinned { .. }
            | Self::ConnectionChanged { .. }
            | Self::RunReleased { .. }
            | Self::CancelRequested { .. }
            | Self::VerdictDecided { .. }
            | Self::RunEnded { .. } => None,
        }
    }
}
