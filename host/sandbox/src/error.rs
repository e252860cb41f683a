//! The ways in which loading and calling a plugin end badly.
//!
//! What the plugin reports, what the host denied, a limit that was hit and a fault of the host are four different things
//! here, and look different to the reader. Invariant: no text here holds a secret, and what a guest wrote has passed
//! [`crate::text::plain`].

use std::fmt;

use serde::{Deserialize, Serialize};
use windlass_runbook::outcome::Failure;

use crate::limits::LimitHit;

/// Why a component can't be used. One sentence says what it is, `help` what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LoadError {
    /// What is wrong, without a final stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl LoadError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    pub(crate) fn with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()) }
    }
}

/// Something went wrong in the host itself. No plugin can cause it, and none is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HostFault(pub String);

impl HostFault {
    pub(crate) fn new(doing: &str, error: impl fmt::Display) -> Self {
        Self(format!("{doing}: {error}"))
    }
}

impl From<HostFault> for LoadError {
    fn from(fault: HostFault) -> Self {
        Self::new(fault.0)
    }
}

/// Why a call did not return what it should.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The plugin says so itself, or panicked.
    #[error("{} ({})", .0.message, .0.code)]
    Failure(Failure),
    /// The host denied something, and the call ended in failure afterwards.
    #[error("{denial}")]
    Denied {
        /// What was denied last.
        denial: Box<Denial>,
        /// What the plugin said then, if it said anything.
        failure: Option<Failure>,
    },
    /// The call used more than it may.
    #[error("the plugin was stopped: {0}")]
    Limit(LimitHit),
    /// The host could not make the call.
    #[error("the host failed: {0}")]
    Fault(HostFault),
}

/// A right that a guest asked for and does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// `http`, `postgres`, `folder`, `program`, …
    pub capability: String,
    /// What it asked for, normalised: no query value, no credential.
    pub target: String,
    /// Why not, without a final stop.
    pub reason: String,
    /// The exact grant line to add, where one would help.
    pub allow: Option<String>,
    /// The plugin, as the runbook calls it.
    pub plugin: String,
    /// The step, as the runbook calls it.
    pub step: String,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "denied: plugin `{}`", self.plugin)?;
        if !self.step.is_empty() {
            write!(f, " in step `{}`", self.step)?;
        }
        write!(f, " asked for {} `{}`: {}", self.capability, self.target, self.reason)?;
        if let Some(line) = &self.allow {
            write!(f, "; to allow it, grant `{line}`")?;
        }
        Ok(())
    }
}
