//! The exit codes, documented and stable. Every code that leaves the program is named here.

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The run succeeded; `check` found nothing; `plan` has nothing to change.
    Succeeded = 0,
    /// The run or the plan failed.
    Failed = 1,
    /// The command line or the runbook is wrong.
    Usage = 2,
    /// The run is held, or waits for an answer.
    Held = 3,
    /// The run is done, with a step that failed or was skipped by a person.
    Partial = 4,
    /// Every effect of the run was undone.
    RolledBack = 5,
    /// A person stopped the run.
    Cancelled = 6,
    /// As the verdict says, but a `finally` step failed.
    FinallyFailed = 7,
    /// The store, its key or the host has a fault.
    Fault = 8,
    /// Another process has the run.
    Busy = 9,
    /// `plan`: something would change.
    Changes = 10,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
