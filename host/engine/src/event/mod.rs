//! What happened: the only thing a run leaves behind, and the only thing its state is made of.
//!
//! An event says what was decided or observed, never why it might be so; replaying it evaluates no expression and asks
//! no clock. The JSON is for ever: a reader ignores fields it does not know, an absent field has its default, and a
//! kind or a word is never given another meaning. Invariant: everything that a later decision depends on is in here.

mod kinds;
mod parts;
mod people;
mod safety;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_runbook::outcome::Plan;

use crate::failure::{CallFailure, Measured, StepFailure};
use crate::identity::Millis;
use crate::words::{Effect, GuardAction, Hold, ScheduledFor, SkipReason, Verdict, World};

pub use kinds::Binding;
pub use parts::{AttemptRef, CallName, Item, PinnedPlugin, PinnedText, RunCreated, Samples};
pub use people::{
    Answer, ApprovalGiven, ApprovalRequest, Covered, CoveredChange, Decision, Parent, ParentKind,
};
pub use safety::{GuardSampled, Inherited, InheritedAttempt, Prepared, RollbackStarted};

/// The version of the event format that this build writes.
pub const FORMAT: u32 = 1;

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
        /// The item's key, where a person skips one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// Why.
        reason: SkipReason,
        /// The step whose output is missing, the `when` that was false, or a person's reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<String>,
        /// Who wanted it, where a person did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        who: Option<String>,
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
        /// Whether that plan looked at nothing, so that another one would say the same.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        blind: bool,
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
    /// A step that failed or was taken back begins anew, with those of its items if it has any.
    StepRestarted {
        /// The step's path.
        step: Arc<str>,
        /// The item's key, where only that one begins anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
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
        /// Only where it is about this, such as `guard/ID`; absent for all with this reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<Arc<str>>,
        /// Who lifted it.
        who: String,
    },
    /// From now on the run goes back.
    RollbackStarted(Box<RollbackStarted>),
    /// Going back takes longer than the runbook wants. It goes on.
    RollbackOverdue {
        /// The runbook's limit, milliseconds.
        limit_ms: u64,
    },
    /// What was to be taken back of a run that goes on is taken back.
    RollbackFinished,
    /// A step is done, and this is what would take it back.
    UndoPrepared {
        /// The path of the step itself, without `undo/`.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// The call with its input.
        undo: Prepared,
    },
    /// The point after which nothing is rolled back by itself. One of both is there.
    Committed {
        /// The path of the step that is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<Arc<str>>,
        /// The name of the stage that is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stage: Option<String>,
    },
    /// What another run has left is this run's now. Directly after the run's creation.
    UndoListInherited {
        /// The other run's id.
        run: String,
        /// What it left.
        entries: Vec<Inherited>,
    },
    /// A person gave a step another input; it begins with that.
    InputChanged {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Arc<str>>,
        /// In normal form.
        input: Arc<Value>,
        /// Who.
        who: String,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// A person ended the run at once: calls are cut off, and nothing runs after it.
    TerminateRequested {
        /// Who.
        who: String,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// Another run has the group's lock.
    LockAwaited {
        /// The group.
        group: String,
        /// The run that has it.
        by: String,
    },
    /// The run has the group's lock.
    LockAcquired {
        /// The group.
        group: String,
        /// Greater than that of every holder before.
        fence: u64,
    },
    /// The run gave the group's lock back.
    LockReleased {
        /// The group.
        group: String,
    },
    /// What a baseline is from now on.
    BaselineRecorded {
        /// Its name.
        name: String,
        /// Its value.
        value: Arc<Value>,
    },
    /// A guard begins to watch.
    GuardStarted {
        /// Its path, `guard/ID`.
        guard: Arc<str>,
    },
    /// A guard's reading changed its band, or its last samples are put on record.
    GuardSampled(Box<GuardSampled>),
    /// A guard has seen enough.
    GuardTripped {
        /// Its path, `guard/ID`.
        guard: Arc<str>,
        /// What it does to the run.
        action: GuardAction,
        /// In one sentence.
        #[serde(default)]
        message: String,
        /// What it saw.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        measured: Vec<Measured>,
    },
    /// A guard watches no longer.
    GuardEnded {
        /// Its path, `guard/ID`.
        guard: Arc<str>,
    },
    /// A step or stage waits for its time.
    Scheduled {
        /// The step's path; of a stage, `stage/` and its name.
        step: Arc<str>,
        /// Until when.
        until: Millis,
        /// What it waits for.
        why: ScheduledFor,
    },
    /// The run was late, and its T moved.
    Shifted {
        /// Where T is now.
        at: Millis,
        /// By how much it moved, milliseconds.
        by_ms: Millis,
    },
    /// People are asked to approve.
    ApprovalRequested {
        /// The path of the approval step.
        step: Arc<str>,
        /// What they are asked.
        request: Box<ApprovalRequest>,
    },
    /// A person approved or rejected.
    ApprovalGiven(Box<ApprovalGiven>),
    /// What is to be done is no longer what was approved; it is asked again.
    ApprovalVoided {
        /// The path of the approval step.
        step: Arc<str>,
        /// The covered step that differs.
        covered: Arc<str>,
        /// In what, for people.
        #[serde(default)]
        difference: String,
    },
    /// An approval was not given in time.
    ApprovalExpired {
        /// The path of the approval step.
        step: Arc<str>,
    },
    /// The wall clock stepped.
    ClockStepped {
        /// By how much, milliseconds; negative where it went back.
        by_ms: Millis,
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
