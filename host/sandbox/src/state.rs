//! The state of one call: what it is for, what it may do, and what it did.
//!
//! [`CallContext`] is shared between the store and whatever runs beside it (HTTP bodies, child processes);
//! [`CallState`] is the store's own. Capabilities report everything through the context, and nothing else decides how a
//! call ended. Invariant: `sent` is never set in read mode, and every denial leaves an audit record.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use crate::capability::folder::Folders;
use crate::limits::Meter;
use crate::text::{cut, plain};
use crate::{
    AuditRecord, Bindings, Bound, Denial, Grants, Launcher, LimitHit, LimitKind, Limits, LogLevel,
    RunServices,
};

/// Whether a call may have an effect. Only `apply-` and `undo-` after a durable record of the attempt are in write mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Only what the grants call reading.
    Read,
    /// Whatever is granted.
    Write,
}

/// Which step a call is a part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepContext {
    /// The id of the run; empty in `windlass plan`, which belongs to none: receipts and artifacts are denied then.
    pub run: String,
    /// The step, as the runbook calls it.
    pub step: String,
    /// The key of the `for_each` item, if there is one.
    pub item: Option<String>,
    /// From 1, within the generation of the effect.
    pub attempt: u32,
    /// Equal for every attempt of the same effect.
    pub idempotency_key: String,
    /// The plugin, as the runbook calls it.
    pub plugin: String,
}

/// How the reading calls of the host went. A plan proves that an effect is in place only if some read succeeded and
/// none was denied or failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// Answered, whatever the answer.
    pub succeeded: u32,
    /// Not answered.
    pub failed: u32,
    /// Not allowed; denied writes are counted too.
    pub denied: u32,
}

/// What all parts of a call share.
pub(crate) struct CallContext {
    pub(crate) mode: Mode,
    /// Whether this belongs to no run: `windlass plan`.
    pub(crate) planning: bool,
    /// Whether receipts may be left: in `apply-` and `undo-` only.
    pub(crate) receipts_allowed: bool,
    pub(crate) step: StepContext,
    grants: Arc<Grants>,
    no_grants: Grants,
    bindings: Arc<Bindings>,
    pub(crate) services: Arc<dyn RunServices>,
    pub(crate) limits: Limits,
    pub(crate) deadline: Instant,
    /// What starts granted programs.
    pub(crate) launcher: Arc<Launcher>,
    configuring: AtomicBool,
    sent: AtomicBool,
    reads_succeeded: AtomicU32,
    reads_failed: AtomicU32,
    reads_denied: AtomicU32,
    log_lines: AtomicU32,
    pub(crate) receipts: AtomicU32,
    record: Mutex<Record>,
}

/// What is remembered until the call's report is made.
#[derive(Default)]
struct Record {
    audit: Vec<AuditRecord>,
    denial: Option<Denial>,
    limit: Option<LimitHit>,
    stderr: Vec<u8>,
    last_error_line: Option<String>,
}

/// An audit trail longer than this is cut: a guest in a loop must not fill the memory.
const AUDIT_RECORDS: usize = 10_000;

/// What [`CallContext::new`] is given.
pub(crate) struct CallParts {
    pub(crate) mode: Mode,
    pub(crate) receipts_allowed: bool,
    pub(crate) step: StepContext,
    pub(crate) grants: Arc<Grants>,
    pub(crate) bindings: Arc<Bindings>,
    pub(crate) services: Arc<dyn RunServices>,
    pub(crate) limits: Limits,
    pub(crate) launcher: Arc<Launcher>,
}

impl CallContext {
    pub(crate) fn new(parts: CallParts) -> Arc<Self> {
        let deadline = Instant::now() + parts.limits.deadline;
        Arc::new(Self {
            mode: parts.mode,
            planning: parts.step.run.is_empty(),
            receipts_allowed: parts.receipts_allowed,
            step: parts.step,
            grants: parts.grants,
            no_grants: Grants::default(),
            bindings: parts.bindings,
            services: parts.services,
            limits: parts.limits,
            deadline,
            launcher: parts.launcher,
            configuring: AtomicBool::new(false),
            sent: AtomicBool::new(false),
            reads_succeeded: AtomicU32::new(0),
            reads_failed: AtomicU32::new(0),
            reads_denied: AtomicU32::new(0),
            log_lines: AtomicU32::new(0),
            receipts: AtomicU32::new(0),
            record: Mutex::default(),
        })
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plugin, as the runbook calls it.
    pub(crate) fn plugin(&self) -> &str {
        &self.step.plugin
    }

    /// What the plugin was granted; nothing while it is being configured.
    pub(crate) fn grants(&self) -> &Grants {
        if self.configuring() { &self.no_grants } else { &self.grants }
    }

    /// What is bound to a slot, granted or not; nothing while the plugin is being configured.
    pub(crate) fn bound(&self, slot: &str) -> Option<&Bound> {
        if self.configuring() { None } else { self.bindings.get(slot) }
    }

    /// All bindings; capabilities use them in connection with a grant.
    pub(crate) fn bindings(&self) -> &Arc<Bindings> {
        &self.bindings
    }

    /// Whether `configure` is running, which has no rights at all.
    pub(crate) fn configuring(&self) -> bool {
        self.configuring.load(Ordering::Acquire)
    }

    pub(crate) fn set_configuring(&self, configuring: bool) {
        self.configuring.store(configuring, Ordering::Release);
    }

    /// To be called before the first byte of what may have an effect leaves the host. Does nothing in read mode.
    pub(crate) fn mark_sent(&self) {
        if self.mode == Mode::Write {
            self.sent.store(true, Ordering::Release);
        }
    }

    pub(crate) fn sent(&self) -> bool {
        self.sent.load(Ordering::Acquire)
    }

    /// A reading call of the host was answered.
    pub(crate) fn read_succeeded(&self) {
        self.reads_succeeded.fetch_add(1, Ordering::Relaxed);
    }

    /// A reading call of the host was not answered.
    pub(crate) fn read_failed(&self) {
        self.reads_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn reads(&self) -> Reads {
        Reads {
            succeeded: self.reads_succeeded.load(Ordering::Relaxed),
            failed: self.reads_failed.load(Ordering::Relaxed),
            denied: self.reads_denied.load(Ordering::Relaxed),
        }
    }

    /// Counts a denial, leaves its audit record and remembers it for the report. `allow` is the grant line to add.
    pub(crate) fn deny(
        &self,
        capability: &str,
        operation: &str,
        target: &str,
        reason: impl Into<String>,
        allow: Option<String>,
    ) -> Denial {
        let reason = reason.into();
        self.reads_denied.fetch_add(1, Ordering::Relaxed);
        self.audit(AuditRecord {
            capability: capability.to_owned(),
            operation: operation.to_owned(),
            target: target.to_owned(),
            mode: self.mode,
            allowed: false,
            rule: Some(reason.clone()),
            bytes_in: 0,
            bytes_out: 0,
            elapsed_ms: 0,
        });
        let denial = Denial {
            capability: capability.to_owned(),
            target: target.to_owned(),
            reason,
            allow,
            plugin: self.plugin().to_owned(),
            step: self.step.step.clone(),
        };
        self.record().denial = Some(denial.clone());
        denial
    }

    /// Leaves an audit record.
    pub(crate) fn audit(&self, record: AuditRecord) {
        let mut kept = self.record();
        let count = kept.audit.len();
        let record = match count.cmp(&AUDIT_RECORDS) {
            std::cmp::Ordering::Less => record,
            std::cmp::Ordering::Equal => self.cut_trail(),
            std::cmp::Ordering::Greater => return,
        };
        self.services.audit(&record);
        kept.audit.push(record);
    }

    /// The last record of a trail that is too long, so that nobody takes it for the whole.
    fn cut_trail(&self) -> AuditRecord {
        AuditRecord {
            capability: "audit".to_owned(),
            operation: "cut".to_owned(),
            target: self.step.step.clone(),
            mode: self.mode,
            allowed: false,
            rule: Some(format!(
                "one call leaves at most {AUDIT_RECORDS} records: the rest of its are not here"
            )),
            bytes_in: 0,
            bytes_out: 0,
            elapsed_ms: 0,
        }
    }

    pub(crate) fn take_audit(&self) -> Vec<AuditRecord> {
        std::mem::take(&mut self.record().audit)
    }

    /// Remembers a limit that was hit: the call ends as [`crate::CallError::Limit`] unless it succeeds all the same.
    pub(crate) fn limit(&self, hit: LimitHit) {
        self.record().limit = Some(hit);
    }

    pub(crate) fn take_limit(&self) -> Option<LimitHit> {
        self.record().limit.take()
    }

    pub(crate) fn take_denial(&self) -> Option<Denial> {
        self.record().denial.take()
    }

    /// Until the call is cut off.
    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The limit of the deadline, for those who ran into it.
    pub(crate) fn deadline_hit(&self) -> LimitHit {
        let millis = u64::try_from(self.limits.deadline.as_millis()).unwrap_or(u64::MAX);
        LimitHit::new(LimitKind::Deadline, millis)
    }

    /// Leaves a line in the run's log, without what a terminal would obey, and within the limits on number and size.
    pub(crate) fn log(&self, level: LogLevel, message: &str, fields: Vec<(String, Value)>) {
        let count = self.log_lines.fetch_add(1, Ordering::Relaxed);
        let most = self.limits.log_lines;
        if count == most {
            let message = format!("more than {most} log lines: the rest of this call's are dropped");
            self.services.log(LogLevel::Warn, message, Vec::new());
        }
        if count >= most {
            return;
        }
        let message = cut(plain(message), self.limits.log_line_bytes);
        if level == LogLevel::Error {
            self.record().last_error_line = Some(message.clone());
        }
        let mut room = self.limits.log_line_bytes;
        let fields = fields
            .into_iter()
            .map_while(|(name, value)| {
                let name = cut(plain(&name), 64);
                let value = plain_value(value);
                let size = name.len() + value.to_string().len();
                room = room.checked_sub(size)?;
                Some((name, value))
            })
            .collect();
        self.services.log(level, message, fields);
    }

    /// Keeps the end of what the guest wrote to its standard error.
    pub(crate) fn keep_stderr(&self, bytes: &[u8]) {
        let mut kept = self.record();
        kept.stderr.extend_from_slice(bytes);
        let over = kept.stderr.len().saturating_sub(self.limits.stderr_bytes);
        kept.stderr.drain(..over);
    }

    /// What the guest said last before it panicked: the end of its standard error, or its last error in the log.
    pub(crate) fn last_words(&self) -> Option<String> {
        let kept = self.record();
        let stderr = String::from_utf8_lossy(&kept.stderr);
        let lines: Vec<String> = stderr.lines().map(plain).filter(|line| !line.trim().is_empty()).collect();
        if lines.is_empty() { kept.last_error_line.clone() } else { Some(lines.join("; ")) }
    }
}

/// The audit record of a host call under way. Where it is dropped before it is closed, the call was cut off; what it did
/// until then it did.
pub(crate) struct Booking<'a> {
    call: &'a CallContext,
    record: Option<AuditRecord>,
    started: Instant,
}

impl<'a> Booking<'a> {
    /// For a call that was allowed by `rule`.
    pub(crate) fn open(
        call: &'a CallContext,
        (capability, operation): (&str, String),
        target: String,
        rule: String,
        bytes_out: u64,
    ) -> Self {
        let record = AuditRecord {
            capability: capability.to_owned(),
            operation,
            target,
            mode: call.mode,
            allowed: true,
            rule: Some(rule),
            bytes_in: 0,
            bytes_out,
            elapsed_ms: 0,
        };
        Self { call, record: Some(record), started: Instant::now() }
    }

    /// Leaves the record of a call that came to its end.
    pub(crate) fn close(mut self, bytes_in: u64) {
        if let Some(record) = self.record.take() {
            self.leave(AuditRecord { bytes_in, ..record });
        }
    }

    /// Leaves no record: the denial has one of its own.
    pub(crate) fn denied(mut self) {
        self.record = None;
    }

    fn leave(&self, record: AuditRecord) {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.call.audit(AuditRecord { elapsed_ms, ..record });
    }
}

impl Drop for Booking<'_> {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            let rule = record.rule.as_deref().map(|rule| format!("{rule} (cut off)"));
            self.leave(AuditRecord { rule, ..record });
        }
    }
}

/// The same value with its texts made plain.
fn plain_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(plain(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(plain_value).collect()),
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(name, value)| (plain(&name), plain_value(value))).collect(),
        ),
        other => other,
    }
}

/// What the store of a call holds.
pub(crate) struct CallState {
    pub(crate) wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) http: WasiHttpCtx,
    pub(crate) http_hooks: Box<dyn WasiHttpHooks>,
    /// The folders that the guest sees.
    pub(crate) folders: Folders,
    pub(crate) meter: Meter,
    pub(crate) call: Arc<CallContext>,
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for CallState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: self.http_hooks.as_mut(), table: &mut self.table, ctx: &mut self.http }
    }
}
