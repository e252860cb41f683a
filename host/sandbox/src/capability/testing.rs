//! What the tests of capabilities share: a run that remembers what it was told, and calls made for it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::state::{CallContext, CallParts};
use crate::{
    ArtifactContent, Bindings, Bound, Connection, Grants, KeptArtifact, Launcher, Limits, LogLevel, Mode,
    ProcessIdentity, RunServices, ServiceError, StepContext,
};

/// Level, message and fields.
pub(crate) type LogLine = (LogLevel, String, Vec<(String, Value)>);

/// A run that remembers.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) logs: Mutex<Vec<LogLine>>,
    pub(crate) processes: Mutex<Vec<ProcessIdentity>>,
    /// Makes `process_started` fail.
    pub(crate) store_is_full: bool,
}

impl RunServices for Recorder {
    fn log(&self, level: LogLevel, message: String, fields: Vec<(String, Value)>) {
        self.logs.lock().unwrap().push((level, message, fields));
    }

    fn progress(&self, _: u64, _: Option<u64>, _: String) {}

    fn receipt(&self, _: String) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(async { Ok(()) })
    }

    fn keep(
        &self,
        _: String,
        _: String,
        _: ArtifactContent,
    ) -> BoxFuture<'_, Result<KeptArtifact, ServiceError>> {
        Box::pin(async {
            Err(ServiceError { code: "none".to_owned(), message: "no artifacts here".to_owned() })
        })
    }

    fn process_started(&self, process: ProcessIdentity) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(async move {
            if self.store_is_full {
                return Err(ServiceError {
                    code: "store-failed".to_owned(),
                    message: "the disk is full".to_owned(),
                });
            }
            self.processes.lock().unwrap().push(process);
            Ok(())
        })
    }
}

/// A call to make.
pub(crate) struct Scene {
    pub(crate) mode: Mode,
    pub(crate) grants: Vec<String>,
    pub(crate) bindings: Vec<(String, Connection)>,
    pub(crate) deadline: Duration,
    pub(crate) services: Arc<Recorder>,
}

impl Scene {
    pub(crate) fn new(mode: Mode, grants: &[&str]) -> Self {
        Self {
            mode,
            grants: grants.iter().map(|line| (*line).to_owned()).collect(),
            bindings: Vec::new(),
            deadline: Duration::from_secs(20),
            services: Arc::default(),
        }
    }

    /// Binds the slot to a connection that the operator calls `NAME_of_SLOT`.
    pub(crate) fn bind(mut self, slot: &str, connection: Connection) -> Self {
        self.bindings.push((slot.to_owned(), connection));
        self
    }

    pub(crate) fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    pub(crate) fn call(&self) -> Arc<CallContext> {
        let bound = self.bindings.iter().map(|(slot, connection)| {
            let name = format!("the_{slot}");
            (slot.clone(), Bound { name, connection: connection.clone() })
        });
        CallContext::new(CallParts {
            mode: self.mode,
            receipts_allowed: self.mode == Mode::Write,
            step: StepContext {
                run: "run-1".to_owned(),
                step: "migrate".to_owned(),
                item: None,
                attempt: 1,
                idempotency_key: "key".to_owned(),
                plugin: "database".to_owned(),
            },
            grants: Arc::new(Grants::parse(self.grants.iter().map(String::as_str)).unwrap()),
            bindings: Arc::new(bound.collect::<Bindings>()),
            services: self.services.clone(),
            limits: Limits { deadline: self.deadline, ..Limits::default() },
            launcher: Arc::new(Launcher { program: launcher(), arguments: Vec::new() }),
        })
    }
}

/// The connection of a folder.
pub(crate) fn folder(path: impl Into<PathBuf>) -> Connection {
    Connection::Folder { path: path.into() }
}

/// What starts programs: the example that a whole `cargo test` builds beside the tests.
pub(crate) fn launcher() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/sandbox-launcher")
}
