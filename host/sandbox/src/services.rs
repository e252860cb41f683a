//! What a run offers to the calls made for it: a place for logs, receipts and artifacts.
//!
//! The runner implements [`RunServices`]; this crate refuses to know of journals and stores. Invariant: what returns
//! `Ok` from an asynchronous method is durable.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::AuditRecord;

/// The run that a call belongs to.
pub trait RunServices: Send + Sync {
    /// Leaves a line in the run's log. The message has no control characters and is limited in size; secrets are for
    /// the implementor to take out.
    fn log(&self, level: LogLevel, message: String, fields: Vec<(String, Value)>);

    /// Takes down what the plugin asked of the host and what came of it, when it is known and not when the call ends: a
    /// call that is cut off has done what it did. The call's report has the records too.
    fn audit(&self, record: &AuditRecord) {
        let _ = record;
    }

    /// Tells how far the call is. `total` is none where it can't be known.
    fn progress(&self, done: u64, total: Option<u64>, note: String);

    /// Keeps a text with the attempt, durably before it returns.
    fn receipt(&self, text: String) -> BoxFuture<'_, Result<(), ServiceError>>;

    /// Keeps a file or bytes with the run, by the hash of the content.
    fn keep(
        &self,
        name: String,
        media_type: String,
        content: ArtifactContent,
    ) -> BoxFuture<'_, Result<KeptArtifact, ServiceError>>;

    /// Takes note of a child process, durably before it returns; only then does the child start its program.
    fn process_started(&self, process: ProcessIdentity) -> BoxFuture<'_, Result<(), ServiceError>>;
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// For those who write the plugin.
    Debug,
    /// For those who read the log.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something went wrong.
    Error,
}

/// What is to be kept.
#[derive(Debug)]
pub enum ArtifactContent {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The content of this file, open for reading, which lies in a folder that the plugin was granted. It is an open
    /// file and not a path, so that nothing can be put in its place between the check and the copy.
    File(std::fs::File),
}

/// What was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptArtifact {
    /// A label, not a path.
    pub name: String,
    /// SHA-256 in lower-case hex.
    pub digest: String,
    /// In bytes.
    pub size: u64,
}

/// Which process a child is, for telling after a crash whether it still runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The id of its process group.
    pub group: u32,
    /// When its leader started, in clock ticks since the machine's boot.
    pub start_time: u64,
    /// The id of that boot.
    pub boot_id: String,
}

/// Why the run could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ServiceError {
    /// A stable word for the plugin, such as `limit` or `store-failed`.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
}
