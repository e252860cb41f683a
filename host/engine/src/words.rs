//! The words that events, screens and exit codes share: statuses, effects, holds, verdicts.
//!
//! Plain data. Invariant: the words are part of the journal's format and never change.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$case_meta:meta])* $case:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$case_meta])* #[serde(rename = $word)] $case,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$case,)+];

            /// The word as it stands in the journal and on screen.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$case => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(crate) use words;

words! {
    /// What a step is to an expression. The order is from good to bad, so that of many the worst is the greatest.
    StepStatus {
        /// Skipped, for whatever reason.
        Skipped = "skipped",
        /// Done; `effect` tells how.
        Succeeded = "succeeded",
        /// Not begun.
        Pending = "pending",
        /// Begun and not ended.
        Running = "running",
        /// Ended without success.
        Failed = "failed",
    }
}

words! {
    /// What a step's, item's or attempt's effect has come to.
    Effect {
        /// Nothing happened, and that is certain; also a step that only reads.
        None = "none",
        /// It was so already.
        Unchanged = "unchanged",
        /// It was done.
        Applied = "applied",
        /// An attempt whose result was lost turned out to have had it.
        Adopted = "adopted",
        /// Nobody knows, and the runbook or a person takes it as done.
        Accepted = "accepted",
        /// It can't be told.
        Unknown = "unknown",
    }
}

words! {
    /// What a step or item is busy with, in more detail than its status.
    Phase {
        /// Not begun.
        Pending = "pending",
        /// A reading action is called.
        Reading = "reading",
        /// `plan-X` is called.
        Planning = "planning",
        /// An attempt has started and not ended.
        Applying = "applying",
        /// An attempt ended and nobody knows how; planning again will tell.
        Resolving = "resolving",
        /// A person must say what became of an attempt.
        Asking = "asking",
        /// Waiting before trying again.
        Retrying = "retrying",
        /// A `wait` step is waiting.
        Waiting = "waiting",
        /// A gate is being sampled.
        Sampling = "sampling",
        /// Its items are at work.
        Items = "items",
        /// People are asked to approve.
        Approving = "approving",
        /// Waiting for its time or its window.
        Scheduled = "scheduled",
        /// Done.
        Succeeded = "succeeded",
        /// Ended without success.
        Failed = "failed",
        /// Skipped.
        Skipped = "skipped",
    }
}

impl Phase {
    /// The status that expressions see.
    #[must_use]
    pub const fn status(self) -> StepStatus {
        match self {
            Self::Pending => StepStatus::Pending,
            Self::Succeeded => StepStatus::Succeeded,
            Self::Failed => StepStatus::Failed,
            Self::Skipped => StepStatus::Skipped,
            _ => StepStatus::Running,
        }
    }

    /// Whether nothing more happens to it by itself.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped)
    }
}

words! {
    /// Why a step was skipped.
    SkipReason {
        /// Its `when` was false.
        When = "when",
        /// It needs the output of a step that has none.
        Upstream = "upstream",
        /// A person said so.
        Operator = "operator",
        /// Of an undo: the action has none.
        NoUndo = "no_undo",
        /// Of an undo: the runbook says that there is nothing to take back.
        NotNeeded = "not_needed",
    }
}

words! {
    /// Why nothing new may start.
    Hold {
        /// A person stopped it.
        Operator = "operator",
        /// A step failed.
        Failure = "failure",
        /// A question about an unknown effect is open.
        Unknown = "unknown",
        /// A connection leads somewhere else than it did at first.
        Identity = "identity",
        /// A guard saw something that is not good.
        Guard = "guard",
        /// It is later than the timeline has it.
        Late = "late",
        /// The window in which work may start is shut.
        Window = "window",
    }
}

words! {
    /// How a run ended.
    Verdict {
        /// Every step succeeded or was skipped by its `when`.
        Succeeded = "succeeded",
        /// Done, with a step that failed and was allowed to, or that could not run because of one.
        Partial = "partial",
        /// Every effect was taken back or was not needed.
        RolledBack = "rolled_back",
        /// Stopped by a person without a failure.
        Cancelled = "cancelled",
        /// All else.
        Failed = "failed",
    }
}

words! {
    /// What began a rollback.
    Cause {
        /// A person.
        Operator = "operator",
        /// A step failed.
        Failure = "failure",
        /// A guard tripped.
        Guard = "guard",
    }
}

words! {
    /// What a guard's samples say.
    Band {
        /// All is well.
        Good = "good",
        /// Nothing new should start.
        Hold = "hold",
        /// The run should go back.
        Rollback = "rollback",
        /// Nothing can be said.
        NoData = "no_data",
    }
}

words! {
    /// What a guard does to the run.
    GuardAction {
        /// Nothing new starts until it is good again.
        Hold = "hold",
        /// The run goes back.
        Rollback = "rollback",
    }
}

words! {
    /// What a scheduled step waits for.
    ScheduledFor {
        /// Its time.
        Time = "time",
        /// Its window to open.
        Window = "window",
    }
}

words! {
    /// What the run has left in the world.
    World {
        /// No effect.
        Untouched = "untouched",
        /// Effects, all of them known.
        Changed = "changed",
        /// All effects were taken back.
        Restored = "restored",
        /// Some effects were taken back.
        Mixed = "mixed",
        /// At least one effect can't be told.
        Unknown = "unknown",
    }
}

/// The exit codes of `windlass run`, `resume` and `rollback` that follow from how the run stands. Usage (2), store
/// faults (8) and busy (9) never reach the engine.
pub mod exit_code {
    use super::Verdict;

    /// Succeeded.
    pub const SUCCEEDED: u8 = 0;
    /// Failed.
    pub const FAILED: u8 = 1;
    /// Held, or waiting for an answer.
    pub const HELD: u8 = 3;
    /// Partial.
    pub const PARTIAL: u8 = 4;
    /// Rolled back.
    pub const ROLLED_BACK: u8 = 5;
    /// Cancelled.
    pub const CANCELLED: u8 = 6;
    /// As the verdict says, but a finally step failed.
    pub const FINALLY_FAILED: u8 = 7;
    /// `windlass plan`: something would change.
    pub const PLAN_CHANGES: u8 = 10;

    /// The code of a run that has ended.
    #[must_use]
    pub const fn of_end(verdict: Verdict, finally_failed: bool) -> u8 {
        match verdict {
            _ if finally_failed => FINALLY_FAILED,
            Verdict::Succeeded => SUCCEEDED,
            Verdict::Failed => FAILED,
            Verdict::Partial => PARTIAL,
            Verdict::RolledBack => ROLLED_BACK,
            Verdict::Cancelled => CANCELLED,
        }
    }
}
