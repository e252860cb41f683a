//! Why a run could not be started or could not go on. That a step failed is no error: it is how the run ended.

use windlass_runbook::Diagnostics;

use crate::connect::ConnectError;

/// What can go wrong around a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file can't be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The runbook, its environment or its inputs are wrong.
    #[error("the runbook has mistakes")]
    Check(Diagnostics),
    /// A plugin can't be loaded.
    #[error("plugin `{plugin}`: {message}")]
    Plugin {
        /// Its name in the runbook.
        plugin: String,
        /// What is wrong.
        message: String,
        /// What to do.
        help: Option<String>,
    },
    /// A connection can't be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The store or its key failed.
    #[error(transparent)]
    Store(#[from] windlass_journal::Error),
    /// The host itself failed.
    #[error(transparent)]
    Host(#[from] windlass_sandbox::HostFault),
    /// An event of the journal can't be understood.
    #[error("event {seq} of the run can't be read")]
    Event {
        /// Its number.
        seq: u64,
        /// Why not.
        source: serde_json::Error,
    },
    /// The run has no first event that says what it is.
    #[error("the run's first event is missing")]
    NoBeginning,
    /// The run is over.
    #[error("the run has ended: {verdict}")]
    Ended {
        /// How.
        verdict: windlass_engine::Verdict,
    },
    /// The run is not over, so what it has done is taken back by itself.
    #[error("the run has not ended")]
    NotEnded,
    /// Another run has the group, and the runbook says not to wait for it.
    #[error("group `{group}` is busy: run {by} has it")]
    GroupBusy {
        /// The group.
        group: String,
        /// The run that has it.
        by: windlass_journal::RunId,
    },
    /// The last run of the group has left effects that neither succeeded nor were undone.
    #[error(
        "run {run}, the last of group `{group}`, has left effects that neither succeeded nor were undone"
    )]
    Leftovers {
        /// The group.
        group: String,
        /// The run.
        run: windlass_journal::RunId,
    },
    /// What was to be taken over or ignored is not of the run that comes before.
    #[error("the last run of group `{group}` is {last}")]
    NotLast {
        /// The group.
        group: String,
        /// The run.
        last: windlass_journal::RunId,
    },
    /// The runbook is in no group, so no run comes before.
    #[error("the runbook has no [concurrency] group, so there is no run before this one")]
    NoGroup,
    /// There is a daemon already.
    #[error("a daemon drives the detached runs of this store already")]
    DaemonRuns,
    /// Somebody's word on an approval could not be looked at.
    #[error(transparent)]
    Approval(#[from] crate::approvals::ApprovalError),
    /// The driver ended without an answer. What it had committed is safe.
    #[error("the run was lost in this process: {reason}")]
    Lost {
        /// What is known.
        reason: String,
    },
    /// The machine refused what a person asked for.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
    },
}
