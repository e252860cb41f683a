//! What the host offers to guests, one folder or file for each capability.

pub(crate) mod artifacts;
pub(crate) mod connections;
pub(crate) mod folder;
pub(crate) mod http;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod step;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi_http::WasiHttpHooks;

use crate::bindings::outcome::Failure;
use crate::state::{CallContext, CallState};
use crate::{Denial, ServiceError};

/// Links everything the host offers. What is not granted is linked too, and answers that it is denied.
pub(crate) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    use crate::bindings::{artifacts, connections, postgres, process, step};

    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    folder::link(linker)?;
    http::link(linker)?;
    step::add_to_linker::<_, HasSelf<CallState>>(linker, |state| state)?;
    connections::add_to_linker::<_, HasSelf<CallState>>(linker, |state| state)?;
    artifacts::add_to_linker::<_, HasSelf<CallState>>(linker, |state| state)?;
    postgres::add_to_linker::<_, HasSelf<CallState>>(linker, |state| state)?;
    process::add_to_linker::<_, HasSelf<CallState>>(linker, |state| state)?;
    Ok(())
}

/// What sends the guest's HTTP requests.
pub(crate) fn http_hooks(call: &Arc<CallContext>) -> Box<dyn WasiHttpHooks> {
    Box::new(http::HttpHooks::new(Arc::clone(call)))
}

/// A failure that the host gives to a guest.
pub(crate) fn failure(code: &str, message: impl Into<String>) -> Failure {
    Failure {
        code: code.to_owned(),
        message: message.into(),
        detail: None,
        retryable: false,
        retry_after: None,
    }
}

/// What a guest is told when it was denied something.
pub(crate) fn denied(denial: &Denial) -> Failure {
    failure("denied", denial.to_string())
}

/// What a guest is told when the run could not do what it asked for.
pub(crate) fn service_failure(error: ServiceError) -> Failure {
    failure(&error.code, error.message)
}
