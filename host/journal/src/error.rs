//! What can go wrong with the store, told apart by what a person would do about it.
//!
//! No message holds a key or a payload: the messages name files, runs, positions and columns only.

use std::io;
use std::path::{Path, PathBuf};

use crate::id::RunId;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no store at that path.
    #[error("there is no store at `{}`", path.display())]
    NoStore {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("`{}` is not a windlass store: {what}", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What was seen.
        what: String,
    },
    /// A newer windlass wrote the store.
    #[error("the store `{}` has format {found}; this windlass knows formats up to {supported}: use a newer one", path.display())]
    NewerStore {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format known here.
        supported: i64,
    },
    /// The linked SQLite has a known way to corrupt a store.
    #[error("SQLite {found} can corrupt a store in WAL mode; 3.51.3 or newer is needed")]
    OldSqlite {
        /// The version that is linked.
        found: String,
    },
    /// The store was opened for reading.
    #[error("the store was opened for reading only")]
    ReadOnly,
    /// The key is not there: metadata can be read, but no run can be started, taken over or opened.
    #[error("the store's key `{id}` is not at `{}`: no run can be started, resumed or opened without it", path.display())]
    NoKey {
        /// The key's id.
        id: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The key file could be read or replaced by others, or is no plain file.
    #[error("the key file `{}` is not safe: {what}", path.display())]
    UnsafeKey {
        /// The file or its folder.
        path: PathBuf,
        /// What is wrong with it and how to repair it.
        what: String,
    },
    /// The key file does not hold the key that its name says.
    #[error("the key file `{}` is damaged: {what}", path.display())]
    DamagedKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The run's own key does not open with the store's key.
    #[error(
        "run `{run}` does not open with key `{id}`: the run's row was changed or sealed with another key"
    )]
    WrongKey {
        /// The run.
        run: RunId,
        /// The key's id.
        id: String,
    },
    /// Another process owns the run.
    #[error("run `{run}` is busy: {}", owner_text(*owner))]
    Busy {
        /// The run.
        run: RunId,
        /// The process that owns it, if its lock file says so.
        owner: Option<u32>,
    },
    /// Somebody else took the run over since; nothing was written.
    #[error("run `{run}` was taken over by another process; nothing was written")]
    Fenced {
        /// The run.
        run: RunId,
    },
    /// A commit failed earlier, or the store was closed. Nothing is written any more.
    #[error("the store has stopped writing: {why}")]
    StoreStopped {
        /// What stopped it.
        why: String,
    },
    /// Another process kept the store's write lock for too long; nothing was written, and it may be tried again.
    #[error("another process holds the store's write lock; nothing was written")]
    Contended,
    /// No run has that id or an id that begins so.
    #[error("there is no run `{given}`{}", list("; the latest are", known))]
    UnknownRun {
        /// What was asked for.
        given: String,
        /// The latest runs, newest first.
        known: Vec<RunId>,
    },
    /// Several runs' ids begin so.
    #[error("several runs begin with `{given}`{}", list(":", candidates))]
    AmbiguousRun {
        /// What was asked for.
        given: String,
        /// The runs that fit.
        candidates: Vec<RunId>,
    },
    /// The run has ended: nobody takes messages for it any more.
    #[error("run `{run}` has ended")]
    RunEnded {
        /// The run.
        run: RunId,
    },
    /// Another run holds the lock of the group; nothing was written.
    #[error("run `{by}` holds the lock of group `{group}`; nothing was written")]
    GroupBusy {
        /// The group.
        group: String,
        /// The run that holds its lock.
        by: RunId,
    },
    /// A message in a run's inbox is not what was posted.
    #[error("message `{id}` to run `{run}` is not what was posted")]
    BadMessage {
        /// The run.
        run: RunId,
        /// The message.
        id: String,
    },
    /// Not the shape of a run id.
    #[error("`{given}` is not a run id: {what}")]
    BadRunId {
        /// What was given.
        given: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A run of that id exists.
    #[error("a run `{run}` exists already")]
    RunExists {
        /// The run.
        run: RunId,
    },
    /// What is stored is not what was written.
    #[error("run `{run}` is broken at event {seq}: {what}")]
    Broken {
        /// The run.
        run: RunId,
        /// The first event that does not hold.
        seq: u64,
        /// What does not hold.
        what: String,
    },
    /// The store's chain of starts and ends is not what was written.
    #[error("the store's chain is broken at entry {entry}: {what}")]
    BrokenChain {
        /// The first entry that does not hold; 0 is the store's own row.
        entry: u64,
        /// What does not hold.
        what: String,
    },
    /// The payload was erased on purpose; the chain still holds.
    #[error("event {seq} of run `{run}` was erased")]
    Erased {
        /// The run.
        run: RunId,
        /// The event.
        seq: u64,
    },
    /// The caller asked for something that an event or run can't be.
    #[error("this can't be stored: {what}")]
    BadEvent {
        /// What is wrong with it.
        what: String,
    },
    /// No such plugin is stored.
    #[error("the store holds no plugin `{digest}`")]
    UnknownComponent {
        /// The SHA-256 that was asked for.
        digest: String,
    },
    /// The bytes of a plugin are not those of its digest.
    #[error("the bytes stored for plugin `{digest}` have another SHA-256")]
    BrokenComponent {
        /// The SHA-256 that was asked for.
        digest: String,
    },
    /// A blob is not there or is not what was written.
    #[error("blob `{blob}` of run `{run}` {what}")]
    BadBlob {
        /// The run.
        run: RunId,
        /// The blob.
        blob: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A file or folder could not be used.
    #[error("can't {what} `{}`", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(getrandom::Error),
    /// The database refused; what was asked did not happen.
    #[error("the store's database refused")]
    Database(#[from] sqlx::Error),
}

impl Error {
    /// For `map_err` on file calls.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }

    pub(crate) fn broken(run: &RunId, seq: u64, what: impl Into<String>) -> Self {
        Self::Broken { run: run.clone(), seq, what: what.into() }
    }
}

fn owner_text(owner: Option<u32>) -> String {
    match owner {
        Some(pid) => format!("process {pid} owns it"),
        None => "another process owns it".to_owned(),
    }
}

fn list(lead: &str, runs: &[RunId]) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let names: Vec<_> = runs.iter().map(|run| format!("`{run}`")).collect();
    format!("{lead} {}", names.join(", "))
}
