//! Errors at the edge: what is printed, with which hints, and with which exit code.

use std::fmt::Write as _;

use crate::exit::Exit;

/// What a command ends with when it can't do what it was asked.
#[derive(Debug)]
pub(crate) struct CliError {
    pub(crate) exit: Exit,
    /// The cause first, lower case, no final stop.
    pub(crate) message: String,
    /// What to type or do next, a line each.
    pub(crate) hints: Vec<String>,
}

impl CliError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hints: Vec::new() }
    }

    /// An error whose text is the error's and that of its sources.
    pub(crate) fn from_error(exit: Exit, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Libraries often repeat the cause in their own text.
            if !message.ends_with(&text) {
                let _ = write!(message, ": {text}");
            }
            source = cause.source();
        }
        Self::new(exit, message)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// As it is printed to standard error.
impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "error: {}", self.message)?;
        for hint in &self.hints {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl From<windlass_journal::Error> for CliError {
    fn from(error: windlass_journal::Error) -> Self {
        use windlass_journal::Error;
        let exit = match &error {
            Error::Busy { .. } | Error::Contended => Exit::Busy,
            Error::UnknownRun { .. }
            | Error::AmbiguousRun { .. }
            | Error::BadRunId { .. }
            | Error::NoStore { .. } => Exit::Usage,
            _ => Exit::Fault,
        };
        let told = Self::from_error(exit, &error);
        match error {
            Error::NoStore { .. } => told.hint("`windlass run` makes one; or name another with --store"),
            Error::UnknownRun { .. } => told.hint("`windlass list` shows the runs of the store"),
            Error::AmbiguousRun { .. } => told.hint("type more of the id"),
            Error::Busy { .. } => {
                told.hint("wait for that process, or end it; the run loses nothing by that")
            }
            Error::NoKey { .. } => told.hint("put the key file back from your backup"),
            _ => told,
        }
    }
}

impl From<windlass_runner::RunError> for CliError {
    fn from(error: windlass_runner::RunError) -> Self {
        use windlass_runner::RunError;
        match error {
            RunError::Store(error) => error.into(),
            RunError::Plugin { ref help, .. } => {
                let help = help.clone();
                let told = Self::from_error(Exit::Usage, &error);
                match help {
                    Some(help) => told.hint(help),
                    None => told,
                }
            }
            RunError::Read { .. } | RunError::Check(_) | RunError::Connect(_) | RunError::Refused { .. } => {
                Self::from_error(Exit::Usage, &error)
            }
            RunError::Ended { .. } => Self::from_error(Exit::Usage, &error)
                .hint("start a new run; `windlass show RUN` prints this one's record"),
            RunError::NotEnded => Self::from_error(Exit::Usage, &error)
                .hint("`windlass rollback RUN` takes back what it has done so far"),
            RunError::GroupBusy { .. } => {
                Self::from_error(Exit::Busy, &error).hint("`windlass show RUN` tells how far that run is")
            }
            RunError::Leftovers { ref run, .. } => {
                let run = run.clone();
                Self::from_error(Exit::Usage, &error)
                    .hint(format!("take them back: windlass rollback {run}"))
                    .hint(format!("take them over: windlass run … --continue {run}"))
                    .hint(format!("leave them: windlass run … --ignore {run} --reason '…'"))
            }
            RunError::NotLast { .. } | RunError::NoGroup | RunError::Approval(_) => {
                Self::from_error(Exit::Usage, &error)
            }
            RunError::DaemonRuns => Self::from_error(Exit::Busy, &error),
            RunError::Host(_) | RunError::Event { .. } | RunError::NoBeginning | RunError::Lost { .. } => {
                Self::from_error(Exit::Fault, &error)
            }
        }
    }
}
