//! What the host offers to guests, one folder or file for each capability.

pub(crate) mod artifacts;
pub(crate) mod connections;
pub(crate) mod step;

use crate::bindings::outcome::Failure;
use crate::{Denial, ServiceError};

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
