//! The audit trail of a run's host calls: one JSON object a line, in a file beside the run's log.
//!
//! It is what happened at the border of the sandbox. Who *may* do what is `windlass audit`, which needs no run.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use windlass_sandbox::AuditRecord;

/// A host call with who made it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditLine {
    /// Milliseconds since 1970 UTC, when it was over.
    pub time_ms: i64,
    /// The run's id.
    pub run: String,
    /// The step's path.
    pub step: String,
    /// The item's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// From 1.
    pub attempt: u32,
    /// The plugin's name in the runbook.
    pub plugin: String,
    /// The digest of its bytes.
    pub digest: String,
    /// The action that was called.
    pub action: String,
    /// What it asked of the host, and what came of it.
    pub call: AuditRecord,
}

/// Appends to the trail of one run. The file is made with the first record.
pub(crate) struct AuditSink {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl AuditSink {
    pub(crate) fn new(state_dir: &Path, run: &str) -> Self {
        Self { path: path_of(state_dir, run), file: Mutex::new(None) }
    }

    pub(crate) fn write(&self, line: &AuditLine) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        if let Err(error) = self.append(&text) {
            tracing::warn!(%error, "the audit trail could not be written");
        }
    }

    fn append(&self, text: &[u8]) -> std::io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &mut *file {
            Some(file) => file,
            empty => {
                if let Some(folder) = self.path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                let opened = File::options().append(true).create(true).mode(0o600).open(&self.path)?;
                empty.insert(opened)
            }
        };
        file.write_all(text)
    }
}

/// The whole trail of a run; empty where no plugin asked for anything.
///
/// # Errors
/// Where the file is there and can't be read.
pub fn read(state_dir: &Path, run: &str) -> std::io::Result<Vec<AuditLine>> {
    match std::fs::read_to_string(path_of(state_dir, run)) {
        Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn path_of(state_dir: &Path, run: &str) -> PathBuf {
    state_dir.join("logs").join(format!("{run}.audit.jsonl"))
}
