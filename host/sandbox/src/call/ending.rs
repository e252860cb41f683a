//! Tells how a call ended: the plugin failed, the host denied, a limit was hit, or the host is at fault.

use wasmtime::Trap;
use wasmtime::component::ResourceTableError;
use wasmtime_wasi::I32Exit;
use windlass_runbook::outcome::Failure;

use crate::limits::STACK;
use crate::state::{CallContext, CallState};
use crate::text::{cut, plain};
use crate::value::ValueError;
use crate::{CallError, HostFault, LimitHit, LimitKind};

/// How a call ended, before it is known what the host denied meanwhile.
pub(super) enum Ending {
    /// In the plugin's own words, or for it where it had none.
    Failure(Failure),
    Limit(LimitHit),
    Fault(HostFault),
}

impl Ending {
    /// The plugin's own failure, made fit to be shown.
    pub(super) fn failure(failure: Failure) -> Self {
        Self::Failure(Failure {
            code: cut(plain(&failure.code), 128),
            message: cut(plain(&failure.message), 16 * 1024),
            ..failure
        })
    }

    /// A result that can't be read.
    pub(super) fn value(error: &ValueError) -> Self {
        match error {
            ValueError::TooLong(most) => Self::Limit(LimitHit::new(LimitKind::Output, *most as u64)),
            ValueError::Misfit { .. } => super::invalid(&error.to_string()),
        }
    }

    /// The guest did not return.
    pub(super) fn trap(error: &wasmtime::Error, state: &CallState) -> Self {
        tracing::debug!(error = %plain(&format!("{error:?}")), "a guest trapped");
        let limits = &state.call.limits;
        let trap = error.downcast_ref::<Trap>();
        if matches!(trap, Some(Trap::StackOverflow)) {
            return Self::Limit(LimitHit::new(LimitKind::Stack, STACK as u64));
        }
        // Out of memory is no trap of its own: the guest is refused more, and gives up in its own way.
        if let Some(hit) = state.meter.hit() {
            return Self::Limit(hit.clone());
        }
        let text = format!("{error:#}");
        // These have no types that could be asked for.
        if text.contains("fuel allocated for hostcalls") {
            return Self::Limit(LimitHit::new(LimitKind::HostCall, limits.hostcall_bytes as u64));
        }
        let full = matches!(error.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full));
        if full || text.contains("store handle limit exceeded") || text.contains("no free keys") {
            return Self::Limit(LimitHit::new(LimitKind::Resources, limits.resources as u64));
        }
        if text.contains("resource limit exceeded") {
            return Self::Limit(LimitHit::new(LimitKind::Instances, limits.instances as u64));
        }
        let (code, message) = if let Some(exit) = error.downcast_ref::<I32Exit>() {
            ("exited", format!("the plugin ended its own program with status {}", exit.0))
        } else if matches!(trap, Some(Trap::UnreachableCodeReached)) {
            ("panicked", "the plugin panicked".to_owned())
        } else if let Some(trap) = trap {
            ("trapped", format!("the plugin broke off: {trap}"))
        } else {
            ("trapped", format!("the plugin broke off: {}", error.root_cause()))
        };
        let message = match state.call.last_words() {
            Some(words) => format!("{message}: {words}"),
            None => message,
        };
        let (code, retryable) = (code.to_owned(), false);
        Self::failure(Failure { code, message, detail: None, retryable, retry_after: None })
    }

    /// Joins the end with what the host denied and limited before it.
    pub(super) fn classify(self, context: &CallContext) -> CallError {
        match self {
            Self::Fault(fault) => CallError::Fault(fault),
            Self::Limit(hit) => CallError::Limit(hit),
            Self::Failure(failure) => {
                if let Some(hit) = context.take_limit() {
                    CallError::Limit(hit)
                } else if let Some(denial) = context.take_denial() {
                    CallError::Denied { denial: Box::new(denial), failure: Some(failure) }
                } else {
                    CallError::Failure(failure)
                }
            }
        }
    }
}
