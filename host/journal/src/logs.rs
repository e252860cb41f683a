//! What plugins and programs said while a run went on: one file of JSON lines per run.
//!
//! Owns the folder `logs` of the state folder. Refuses to know secrets: lines come here already redacted. Not part of
//! the journal: lines are not durable before an answer, and a torn last line is left out when read.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::files;
use crate::id::RunId;

/// A line that was logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Milliseconds since 1970 UTC.
    pub time_ms: i64,
    /// Its weight: `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The step's path, if it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The key of the item, for a step that runs once per item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// The attempt, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Who said it.
    pub source: LogSource,
    /// What was said.
    pub message: String,
    /// What was said beside it.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// Who said a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    /// A plugin, through its log function.
    Plugin,
    /// A plugin's or program's standard output.
    Stdout,
    /// A plugin's or program's standard error.
    Stderr,
    /// The host.
    Host,
}

/// Appends lines to the log of one run. Opening makes no file: the first line does.
#[derive(Debug)]
pub struct RunLog {
    path: PathBuf,
    file: Option<File>,
}

impl RunLog {
    /// The log of a run.
    #[must_use]
    pub fn new(state_dir: &Path, run: &RunId) -> Self {
        Self { path: path_of(state_dir, run), file: None }
    }

    /// Appends one line.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, line: &LogLine) -> Result<(), Error> {
        let mut text = serde_json::to_vec(line)
            .map_err(|error| Error::io("write", &self.path)(std::io::Error::other(error)))?;
        text.push(b'\n');
        // One write per line, so that lines of several processes don't mix.
        self.file()?.write_all(&text).map_err(Error::io("write", &self.path))
    }

    fn file(&mut self) -> Result<&mut File, Error> {
        match &mut self.file {
            Some(file) => Ok(file),
            empty => {
                if let Some(folder) = self.path.parent() {
                    files::private_folder(folder)?;
                }
                let file = files::private()
                    .append(true)
                    .create(true)
                    .open(&self.path)
                    .map_err(Error::io("open the log", &self.path))?;
                Ok(empty.insert(file))
            }
        }
    }
}

/// All lines of a run's log; none if nothing was logged. A line that can't be read is left out.
///
/// # Errors
/// [`Error::Io`].
pub fn read(state_dir: &Path, run: &RunId) -> Result<Vec<LogLine>, Error> {
    let path = path_of(state_dir, run);
    let file = match files::private().read(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("open the log", &path)(error)),
    };
    let mut lines = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line.map_err(Error::io("read the log", &path))?;
        lines.extend(serde_json::from_slice::<LogLine>(&line));
    }
    Ok(lines)
}

fn path_of(state_dir: &Path, run: &RunId) -> PathBuf {
    state_dir.join("logs").join(format!("{run}.jsonl"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn line(message: &str) -> LogLine {
        LogLine {
            time_ms: 1_790_000_000_123,
            level: "info".to_owned(),
            step: Some("deploy.migrate".to_owned()),
            item: None,
            attempt: Some(1),
            source: LogSource::Stderr,
            message: message.to_owned(),
            fields: serde_json::Map::new(),
        }
    }

    #[test]
    fn lines_come_back_in_order_and_a_torn_one_is_left_out() {
        let state = tempfile::tempdir().unwrap();
        let run = RunId::random().unwrap();
        assert_eq!(read(state.path(), &run).unwrap(), []);
        let mut log = RunLog::new(state.path(), &run);
        log.append(&line("one\ntwo")).unwrap();
        log.append(&line("three")).unwrap();
        let path = path_of(state.path(), &run);
        let mut file = files::private().append(true).open(&path).unwrap();
        file.write_all(br#"{"time_ms":17900"#).unwrap();
        assert_eq!(read(state.path(), &run).unwrap(), [line("one\ntwo"), line("three")]);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        insta::assert_snapshot!(std::fs::read_to_string(&path).unwrap().lines().next().unwrap(), @r#"{"time_ms":1790000000123,"level":"info","step":"deploy.migrate","attempt":1,"source":"stderr","message":"one\ntwo"}"#);
    }
}
