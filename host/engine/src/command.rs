//! What the machine is told, and what it wants done.
//!
//! The runner carries commands out in the order they stand in and tells what it saw. Invariant: the commands of one
//! decision stand in the order records, what goes with them into the commit, one commit if any, cancellations, calls,
//! cancellations of these very calls, the rest; so no call is made before everything that was decided before it is
//! durable, where it has to be.

use std::sync::Arc;

use serde_json::Value;
use windlass_runbook::outcome::{Attempt, Plan};

use crate::compare::Compared;
use crate::event::Event;
use crate::failure::{CallFailure, CallPhase, Measured};
use crate::identity::Millis;
use crate::request::Asked;
use crate::words::{Band, Hold, Verdict};

/// A call under way. Counts from 1 in each process; not in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What the runner tells the machine.
#[derive(Debug, Clone)]
pub enum Observation {
    /// This process owns the run now. Always the first observation; the run may be new or taken over.
    Started {
        /// The owner's epoch.
        epoch: u64,
        /// Who runs the process.
        who: String,
    },
    /// Time has passed, perhaps a `WakeAt`.
    Tick,
    /// A call ended. Every call that was asked for ends with exactly one of these, a cancelled one too.
    Called {
        /// Which.
        call: CallId,
        /// How.
        report: CallReport,
    },
    /// An attempt leaves a receipt; the plugin is answered after the commit.
    Receipt {
        /// The call it runs in.
        call: CallId,
        /// The plugin's text.
        text: String,
    },
    /// An attempt is about to start a program, which is let go after the commit.
    ProcessStarted {
        /// The call it runs in.
        call: CallId,
        /// What proves later that it is gone.
        identity: Value,
    },
    /// What a connection leads to, seen before its first use in this process.
    ConnectionSeen {
        /// Its name in the environment.
        connection: String,
        /// Its identity.
        identity: Value,
    },
    /// A person asks for something. What comes of it is recorded, or refused; either way its message is consumed.
    Asked(Asked),
    /// A person pressed ctrl-c. Reads are dropped, applies end, and the run is held. The second time applies are cut
    /// off too, and their effects are unknown.
    Interrupt {
        /// Who.
        who: String,
    },
    /// The lock of a group is the run's, by the commit that `Command::Lock` was a part of.
    Locked {
        /// The group.
        group: String,
        /// Greater than that of every holder before.
        fence: u64,
    },
    /// The lock of a group is another run's.
    LockBusy {
        /// The group.
        group: String,
        /// The run that has it.
        by: String,
    },
    /// The wall clock stepped against the one that only runs forward.
    ClockStepped {
        /// By how much, milliseconds; negative where it went back.
        by_ms: Millis,
    },
    /// The report that was asked for with `Command::Report`.
    Report {
        /// Its text, which `run.report` is in finally steps.
        text: String,
    },
}

/// How a call ended.
#[derive(Debug, Clone)]
pub struct CallReport {
    /// What it returned, or why not.
    pub result: Result<Returned, CallFailure>,
    /// Whether anything may have been sent that writes. Only ever true in write mode.
    pub sent: bool,
    /// The host calls that read.
    pub reads: Reads,
    /// Milliseconds.
    pub elapsed_ms: u64,
}

/// What a call returned.
#[derive(Debug, Clone, PartialEq)]
pub enum Returned {
    /// Of a reading action or `apply-`; null for nothing.
    Output(Value),
    /// Of `plan-`.
    Plan(Plan),
}

/// How many host calls that read there were in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reads {
    /// They gave an answer.
    pub succeeded: u32,
    /// They did not.
    pub failed: u32,
    /// The host denied them.
    pub denied: u32,
}

impl Reads {
    /// Whether a plan made with these can prove anything about the world.
    #[must_use]
    pub const fn prove(self) -> bool {
        self.succeeded > 0 && self.failed == 0 && self.denied == 0
    }

    /// Why a plan made with these does not prove that all is in place, if it does not.
    pub(crate) fn no_proof(self) -> Option<String> {
        (!self.prove()).then(|| {
            format!(
                "the plan says it is in place, but proves nothing: {} reads succeeded, {} failed, {} were denied",
                self.succeeded, self.failed, self.denied
            )
        })
    }

    /// Whether nothing was asked at all.
    pub(crate) const fn is_none(self) -> bool {
        self.succeeded == 0 && self.failed == 0 && self.denied == 0
    }

    /// Why a plan made with these can't say that an effect is in place, if it can't: something it asked was not
    /// answered. None where it asked nothing, since what is in place may follow from the input alone.
    pub(crate) fn doubt(self) -> Option<String> {
        (self.failed > 0 || self.denied > 0).then(|| {
            format!(
                "it says that the effect is in place, but of what it asked {} failed and {} were denied",
                self.failed, self.denied
            )
        })
    }
}

/// A call into a plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRequest {
    /// The plugin's name in the runbook.
    pub plugin: Arc<str>,
    /// The interface in full.
    pub interface: Arc<str>,
    /// The action.
    pub action: Arc<str>,
    /// What of it is called, and with what.
    pub phase: CallKind,
    /// From 1, within the generation.
    pub attempt: u32,
    /// The same for all attempts of one effect; also given to reading calls.
    pub idempotency_key: Arc<str>,
    /// When the host must have cut it off, milliseconds from its start.
    pub timeout_ms: u64,
    /// Programs that earlier attempts started: each must be proven gone, or made so, before this call is made. If that
    /// can't be had, the call ends in a retryable failure.
    pub require_gone: Vec<Value>,
}

/// What of an action is called.
#[derive(Debug, Clone, PartialEq)]
pub enum CallKind {
    /// The reading action.
    Read {
        /// In normal form.
        input: Arc<Value>,
    },
    /// `plan-X`, in read mode.
    Plan {
        /// In normal form.
        input: Arc<Value>,
        /// The attempts that started and are not proven without effect, oldest first.
        before: Arc<Vec<Attempt>>,
    },
    /// `apply-X`.
    Apply {
        /// In normal form.
        input: Arc<Value>,
        /// What to do.
        plan: Arc<Plan>,
        /// Write mode; false to get the output of what is in place.
        write: bool,
    },
    /// `plan-undo-X`, in read mode.
    PlanUndo {
        /// The step's input.
        input: Arc<Value>,
        /// The attempts that are to be taken back, oldest first.
        done: Arc<Vec<Attempt>>,
    },
    /// `undo-X`, in write mode.
    Undo {
        /// The step's input.
        input: Arc<Value>,
        /// The attempts that are to be taken back, oldest first.
        done: Arc<Vec<Attempt>>,
        /// What to do.
        plan: Arc<Plan>,
    },
}

impl CallKind {
    /// The word for it.
    #[must_use]
    pub const fn name(&self) -> CallPhase {
        match self {
            Self::Read { .. } => CallPhase::Read,
            Self::Plan { .. } => CallPhase::Plan,
            Self::Apply { write: true, .. } => CallPhase::Apply,
            Self::Apply { write: false, .. } => CallPhase::Output,
            Self::PlanUndo { .. } => CallPhase::PlanUndo,
            Self::Undo { .. } => CallPhase::Undo,
        }
    }
}

/// What the machine wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Keep this event, to be committed with the next `Commit` at the latest. The machine has folded it already.
    Record {
        /// What happened.
        event: Event,
        /// When; never before the event before it.
        at: Millis,
    },
    /// The message of the inbox has been dealt with: it is taken out in the next commit.
    Consumed {
        /// Its id.
        id: String,
    },
    /// The lock of the group is to be had in the next commit, or nothing of that is to be written. Answered by
    /// `Observation::Locked` or `LockBusy`.
    Lock {
        /// The group.
        group: String,
    },
    /// The lock of the group is given back in the next commit.
    Unlock {
        /// The group.
        group: String,
    },
    /// Everything recorded so far must be durable before the next command is carried out.
    Commit,
    /// Cut a call off; it still ends with `Called`.
    Cancel {
        /// Which.
        call: CallId,
    },
    /// Call a plugin.
    Call {
        /// What its end is told by.
        call: CallId,
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        item: Option<Arc<str>>,
        /// What to call.
        request: CallRequest,
    },
    /// A sample of a gate was taken. For the screen; the journal only has changes.
    Sampled {
        /// The step's path.
        step: Arc<str>,
        /// The item's key.
        item: Option<Arc<str>>,
        /// Whether `until` is true.
        open: bool,
        /// What it looked at.
        measured: Vec<Measured>,
        /// Value, comparator and limit, where `until` is one comparison.
        compared: Option<Compared>,
        /// For how long it has been true without a break, milliseconds.
        open_ms: u64,
        /// For how long it has to be.
        hold_ms: u64,
    },
    /// A guard has looked. For the screen; the journal only has changes of band.
    Watched {
        /// Its path, `guard/ID`.
        guard: Arc<str>,
        /// What it saw.
        band: Band,
        /// What it looked at.
        measured: Vec<Measured>,
        /// Value, comparator and limit, where its condition is one comparison.
        compared: Option<Compared>,
        /// For how long the band has been the same, milliseconds.
        since_ms: u64,
        /// For how long it must be for anything to come of it.
        for_ms: u64,
    },
    /// Write the report of the run as it stands and tell it with `Observation::Report`.
    Report,
    /// Send a `Tick` at this time at the latest; replaces the one asked for before.
    WakeAt {
        /// When.
        at: Millis,
    },
    /// What a person asked for can't be done.
    Refused {
        /// Why, in one sentence.
        message: String,
    },
    /// Nothing more happens without a person.
    Held {
        /// Why, in order.
        reasons: Vec<Hold>,
    },
    /// Nothing is at work, but the process is to stay: a guard watches, or something ends by itself. Once for each
    /// change.
    Waiting {
        /// What holds the run, in order; empty where it waits for people or time only.
        reasons: Vec<Hold>,
    },
    /// Nothing more happens at all.
    Ended {
        /// The verdict.
        verdict: Verdict,
        /// Whether a finally step failed.
        finally_failed: bool,
    },
}
