//! The step that a call is a part of.

use crate::bindings::windlass::plugin::step as host;
pub use crate::bindings::windlass::plugin::step::{Context, Level};
use crate::outcome::Failure;

/// Run, step, attempt, idempotency key and deadline of this call.
#[must_use]
pub fn current() -> Context {
    host::current()
}

/// The idempotency key of this call: equal for every attempt of the same effect. Natively, in tests, `test-key`.
#[must_use]
pub fn idempotency_key() -> String {
    if cfg!(target_arch = "wasm32") { host::current().idempotency_key } else { "test-key".to_owned() }
}

/// Tell how far the call is; `total` is none where it can't be known. Natively, in tests, it goes nowhere.
pub fn progress(done: u64, total: Option<u64>, note: &str) {
    if cfg!(target_arch = "wasm32") {
        host::progress(done, total, note);
    }
}

/// Keep a text with this attempt, durably, before this returns. Only in `apply-` and `undo-`; natively, in tests, it
/// goes nowhere.
///
/// # Errors
/// When the host can't keep it, or the call may not leave receipts.
pub fn receipt(text: &str) -> Result<(), Failure> {
    if cfg!(target_arch = "wasm32") { host::receipt(text) } else { Ok(()) }
}
