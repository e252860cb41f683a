//! `windlass:plugin/step`: the step a call belongs to, its log, progress and receipts.
//!
//! Invariant: a receipt is durable before the guest goes on, and exists only where an effect can be.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::Value;

use crate::LogLevel;
use crate::bindings::outcome::Failure;
use crate::bindings::step::{Context, Host, Level};
use crate::limits::Size;
use crate::state::{CallContext, CallState};
use crate::text::{cut, plain};

impl Host for CallState {
    async fn current(&mut self) -> wasmtime::Result<Context> {
        let step = &self.call.step;
        // The deadline runs on the monotonic clock; the guest is told what that is on the wall clock.
        let now = Timestamp::now();
        let deadline = now.checked_add(self.call.time_left()).unwrap_or(now);
        Ok(Context {
            run: step.run.clone(),
            step: step.step.clone(),
            item: step.item.clone(),
            attempt: step.attempt,
            idempotency_key: step.idempotency_key.clone(),
            deadline: format!("{deadline:.3}"),
        })
    }

    async fn log(
        &mut self,
        level: Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let level = match level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        // A field that is no JSON is shown as the text it is: a log line is no place to fail.
        let fields = fields
            .into_iter()
            .map(|(name, json)| {
                let value = serde_json::from_str(&json).unwrap_or(Value::String(json));
                (name, value)
            })
            .collect();
        self.call.log(level, &message, fields);
        Ok(())
    }

    async fn progress(&mut self, done: u64, total: Option<u64>, note: String) -> wasmtime::Result<()> {
        let note = cut(plain(&note), self.call.limits.log_line_bytes);
        self.call.services.progress(done, total, note);
        Ok(())
    }

    async fn receipt(&mut self, text: String) -> wasmtime::Result<Result<(), Failure>> {
        let call = self.call.clone();
        if let Err(failure) = call.may_leave_receipt(&text) {
            return Ok(Err(failure));
        }
        Ok(call.services.receipt(text).await.map_err(super::service_failure))
    }
}

impl CallContext {
    fn may_leave_receipt(&self, text: &str) -> Result<(), Failure> {
        if self.configuring() || self.planning || !self.receipts_allowed {
            let denial = self.deny(
                "step",
                "receipt",
                "receipt",
                "receipts belong to a started attempt: only `apply-` and `undo-` of a run leave them",
                None,
            );
            return Err(super::denied(&denial));
        }
        let most = self.limits.receipt_bytes;
        if text.len() > most {
            return Err(super::failure("limit", format!("a receipt is longer than {}", Size(most as u64))));
        }
        if self.receipts.fetch_add(1, Ordering::Relaxed) >= self.limits.receipts {
            let most = self.limits.receipts;
            return Err(super::failure("limit", format!("one call leaves at most {most} receipts")));
        }
        Ok(())
    }
}
