//! The pure state machine of a run. No I/O, no async, no clock, no randomness.
//!
//! Events are the only state: [`State`] is what folding them gives, and [`Machine`] decides what happens next, as
//! commands that the runner carries out. [`plan`] does the same for `windlass plan`, which journals nothing.

mod approval;
mod calendar;
mod command;
mod compare;
mod event;
mod failure;
mod horizon;
mod identity;
mod layout;
mod machine;
pub mod plan;
mod request;
mod scope;
mod size;
mod state;
mod verbs;
mod words;
mod work;

pub use approval::{ApprovalStatement, approval_text};
pub use calendar::{Slot, default_t, feasibility};
pub use command::{CallId, CallKind, CallReport, CallRequest, Command, Observation, Reads, Returned};
pub use compare::Compared;
pub use event::{
    Answer, ApprovalGiven, ApprovalRequest, AttemptRef, Binding, CallName, Covered, CoveredChange, Decision,
    Event, FORMAT, GuardSampled, Inherited, InheritedAttempt, Item, Parent, ParentKind, PinnedPlugin,
    PinnedText, Prepared, RollbackStarted, RunCreated, Samples,
};
pub use failure::{CallFailure, CallPhase, Denied, Measured, Span, StepFailure};
pub use horizon::may_be_taken_back;
pub use identity::{Direction, EffectId, Millis};
pub use machine::Machine;
pub use request::{ASKED_VERSION, Asked, Request};
pub use state::{
    ApprovalState, Cancelled, Decided, Ended, GuardState, Held, ItemState, LockState, RollbackState,
    Scheduled, Stand, State, StepState, Tripped,
};
pub use verbs::{Line, Refusal, Rule, RunStand, StepStand, Verb, allowed, table};
pub use words::{
    Band, Cause, Effect, GuardAction, Hold, Phase, ScheduledFor, SkipReason, StepStatus, Verdict, World,
    exit_code,
};
pub use work::{AttemptState, GateState, Question, Work};
