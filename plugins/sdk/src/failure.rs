//! Building failures.

use crate::outcome::Failure;
use serde_json::{Value, json};
use std::time::Duration;

impl Failure {
    /// A failure with a stable word in kebab-case and one sentence for a person, without a final stop. It is not
    /// retryable unless made so.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            detail: None,
            retryable: false,
            retry_after: None,
        }
    }

    /// The same call can succeed later without anybody changing anything.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Retryable, and not before so long.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retryable = true;
        self.retry_after = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Facts for a program.
    #[must_use]
    pub fn with_detail(mut self, detail: &Value) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    /// The input asks for something that makes no sense: code `invalid-input`.
    #[must_use]
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::new("invalid-input", message)
    }

    /// What is to be changed is not as the plan found it: code `changed-meanwhile`. Planning again can help, so that it is
    /// retryable.
    #[must_use]
    pub fn changed_meanwhile(target: &str, expected: &str, found: &str) -> Self {
        let message =
            format!("{target} changed between planning and doing: expected {expected}, found {found}");
        Self::new("changed-meanwhile", message)
            .with_detail(&json!({ "target": target, "expected": expected, "found": found }))
            .retryable()
    }

    /// It is neither as before nor as intended, and this plugin can't restore it whoever decides so: code `conflict`.
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new("conflict", message)
    }

    /// The detail, parsed; null where there is none.
    #[must_use]
    pub fn detail_json(&self) -> Value {
        self.detail.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
    }
}
