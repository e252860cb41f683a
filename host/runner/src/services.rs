//! What a run offers to one call of a plugin: the log, and a durable place for receipts, artifacts and processes.
//!
//! Anything that must be durable goes through the driver, which alone writes the journal, and is answered after the
//! commit. In `windlass plan` there is no driver, and such requests are refused.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use windlass_engine::CallId;
use windlass_journal::logs::{LogLine, LogSource, RunLog};
use windlass_sandbox::{
    ArtifactContent, AuditRecord, KeptArtifact, LogLevel, ProcessIdentity, RunServices, ServiceError,
};

use crate::audit_log::{AuditLine, AuditSink};
use crate::clock::Clock;
use crate::redact::Redactor;
use crate::watch::Watcher;

/// What a call needs of the driver while it runs.
#[derive(Debug)]
pub(crate) enum Request {
    /// Commit this text with the attempt.
    Receipt(String),
    /// Commit that this process is about to start.
    Process(Value),
    /// Commit what a connection leads to.
    Connection {
        /// Its name in the environment.
        name: String,
        /// What it leads to.
        identity: Value,
    },
}

/// A request with the place where its answer goes.
pub(crate) struct Asked {
    pub(crate) call: CallId,
    pub(crate) request: Request,
    pub(crate) answer: oneshot::Sender<()>,
}

/// Where log lines go: to the run's log, redacted, and to whoever watches.
pub(crate) struct LogSink {
    /// None in `windlass plan`, which leaves nothing behind.
    pub(crate) file: Option<Mutex<RunLog>>,
    pub(crate) redactor: Arc<Redactor>,
    pub(crate) watcher: Arc<dyn Watcher>,
    pub(crate) clock: Clock,
}

impl LogSink {
    /// Writes one line. A log that can't be written must not stop a release, so an error is only told to the watcher,
    /// with the line.
    pub(crate) fn write(&self, mut line: LogLine) {
        line.message = self.redactor.text(&line.message).into_owned();
        if let Value::Object(fields) = self.redactor.value(&Value::Object(std::mem::take(&mut line.fields))) {
            line.fields = fields;
        }
        if let Some(file) = &self.file {
            let written = file.lock().unwrap_or_else(PoisonError::into_inner).append(&line);
            if let Err(error) = written {
                tracing::warn!(%error, "the log could not be written");
            }
        }
        self.watcher.log(&line);
    }
}

/// The services of one call.
pub(crate) struct CallServices {
    pub(crate) call: CallId,
    pub(crate) step: Arc<str>,
    pub(crate) item: Option<Arc<str>>,
    pub(crate) attempt: u32,
    pub(crate) log: Arc<LogSink>,
    /// None in `windlass plan`.
    pub(crate) driver: Option<mpsc::Sender<Asked>>,
    /// None in `windlass plan`.
    pub(crate) artifacts: Option<Arc<windlass_journal::artifacts::Artifacts>>,
    /// None in `windlass plan`.
    pub(crate) trail: Option<Trail>,
}

/// Where the records of what a call asks of the host go, and what stands in each of them.
pub(crate) struct Trail {
    pub(crate) sink: Arc<AuditSink>,
    pub(crate) run: String,
    pub(crate) plugin: Arc<str>,
    pub(crate) digest: Arc<str>,
    pub(crate) action: Arc<str>,
}

impl CallServices {
    pub(crate) async fn ask(&self, request: Request) -> Result<(), ServiceError> {
        let Some(driver) = &self.driver else { return Err(planning()) };
        let (answer, answered) = oneshot::channel();
        let stopped = || ServiceError {
            code: "store-failed".to_owned(),
            message: "the run's store stopped before this was durable".to_owned(),
        };
        driver.send(Asked { call: self.call, request, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())
    }
}

fn planning() -> ServiceError {
    ServiceError {
        code: "denied".to_owned(),
        message: "`windlass plan` belongs to no run and keeps nothing".to_owned(),
    }
}

impl RunServices for CallServices {
    fn log(&self, level: LogLevel, message: String, fields: Vec<(String, Value)>) {
        let mut fields: serde_json::Map<String, Value> = fields.into_iter().collect();
        let source = match fields.get("source").and_then(Value::as_str) {
            Some("stdout") => LogSource::Stdout,
            Some("stderr") => LogSource::Stderr,
            _ => LogSource::Plugin,
        };
        if source != LogSource::Plugin {
            fields.remove("source");
        }
        let level = match level {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        };
        self.log.write(LogLine {
            time_ms: self.log.clock.now(),
            level: level.to_owned(),
            step: Some(self.step.to_string()),
            item: self.item.as_deref().map(str::to_owned),
            attempt: Some(self.attempt),
            source,
            message,
            fields,
        });
    }

    fn audit(&self, record: &AuditRecord) {
        let Some(trail) = &self.trail else { return };
        let mut call = record.clone();
        call.target = self.log.redactor.text(&call.target).into_owned();
        call.rule = call.rule.map(|rule| self.log.redactor.text(&rule).into_owned());
        trail.sink.write(&AuditLine {
            time_ms: self.log.clock.now(),
            run: trail.run.clone(),
            step: self.step.to_string(),
            item: self.item.as_deref().map(str::to_owned),
            attempt: self.attempt,
            plugin: trail.plugin.to_string(),
            digest: trail.digest.to_string(),
            action: trail.action.to_string(),
            call,
        });
    }

    fn progress(&self, done: u64, total: Option<u64>, note: String) {
        let note = self.log.redactor.text(&note);
        self.log.watcher.progress(&self.step, self.item.as_deref(), done, total, &note);
    }

    fn receipt(&self, text: String) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(self.ask(Request::Receipt(text)))
    }

    fn keep(
        &self,
        name: String,
        _media_type: String,
        content: ArtifactContent,
    ) -> BoxFuture<'_, Result<KeptArtifact, ServiceError>> {
        Box::pin(async move {
            let artifacts = Arc::clone(self.artifacts.as_ref().ok_or_else(planning)?);
            let kept = tokio::task::spawn_blocking(move || match content {
                ArtifactContent::Bytes(bytes) => artifacts.keep(&bytes),
                ArtifactContent::File(file) => artifacts.keep_open(file),
            })
            .await;
            let failed = |message: String| ServiceError { code: "store-failed".to_owned(), message };
            match kept {
                Ok(Ok(kept)) => Ok(KeptArtifact { name, digest: kept.digest, size: kept.size }),
                Ok(Err(error)) => Err(failed(error.to_string())),
                Err(error) => Err(failed(error.to_string())),
            }
        })
    }

    fn process_started(&self, process: ProcessIdentity) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(async move {
            // Only what may have an effect has to be proven gone after a crash.
            if self.driver.is_none() {
                return Ok(());
            }
            let identity = serde_json::to_value(&process).map_err(|error| ServiceError {
                code: "store-failed".to_owned(),
                message: error.to_string(),
            })?;
            self.ask(Request::Process(identity)).await
        })
    }
}
