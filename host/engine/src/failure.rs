//! Why a call or a step ended without success.
//!
//! What the plugin reports, what the host denied, a limit that was hit and a fault of the host stay four different
//! things all the way to the reader. Invariant: none of these texts holds a secret; whoever makes one takes it out.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_runbook::outcome::Failure;

/// How a call into a plugin ended, when it did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CallFailure {
    /// The plugin says so.
    Failure {
        /// In its own words.
        failure: Failure,
    },
    /// The host denied something, and the plugin gave up.
    Denied(Denied),
    /// A limit of the sandbox was hit.
    Limit {
        /// Which: `deadline`, `memory`, `output`, …
        limit: String,
        /// One sentence with the figure.
        message: String,
    },
    /// The host itself could not do its part.
    Fault {
        /// One sentence.
        message: String,
    },
    /// The call was cut off because a person or the engine wanted it so.
    Cancelled,
}

/// What the host denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// `http`, `postgres`, `program`, …
    pub capability: String,
    /// What the plugin wanted to reach, normalised.
    pub target: String,
    /// Why it may not.
    pub reason: String,
    /// The exact grant line that would allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
    /// The plugin's name in the runbook.
    pub plugin: String,
    /// What the plugin said about it, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl CallFailure {
    /// A plugin's failure.
    #[must_use]
    pub const fn plugin(failure: Failure) -> Self {
        Self::Failure { failure }
    }

    /// Whether the same call can succeed later without anybody changing anything. A call that was cut off at its
    /// deadline can: whatever was slow may be quick next time.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Failure { failure } => failure.retryable,
            Self::Limit { limit, .. } => limit == "deadline",
            Self::Denied(_) | Self::Fault { .. } | Self::Cancelled => false,
        }
    }

    /// How long the other side asks to wait, in milliseconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Failure { failure } => failure.retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure { failure } => write!(f, "{} ({})", failure.message, failure.code),
            Self::Denied(denied) => {
                write!(f, "the host denied {} {}: {}", denied.capability, denied.target, denied.reason)?;
                match &denied.allow {
                    Some(line) => write!(f, "; to allow it, add `{line}` to plugins.{}.allow", denied.plugin),
                    None => Ok(()),
                }
            }
            Self::Limit { limit, message } => write!(f, "limit on {limit}: {message}"),
            Self::Fault { message } => write!(f, "fault of the host: {message}"),
            Self::Cancelled => f.write_str("the call was cut off"),
        }
    }
}

/// In which call of a step something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallPhase {
    /// A reading action.
    Read,
    /// `plan-X`.
    Plan,
    /// `apply-X` in write mode.
    Apply,
    /// `apply-X` with an in-place plan, in read mode, for its output.
    Output,
    /// `plan-undo-X`.
    PlanUndo,
    /// `undo-X`, in write mode.
    Undo,
}

impl CallPhase {
    /// Whether it may have an effect.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Apply | Self::Undo)
    }
}

impl fmt::Display for CallPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "reading",
            Self::Plan => "planning",
            Self::Apply => "applying",
            Self::Output => "reading the output",
            Self::PlanUndo => "planning the undo",
            Self::Undo => "undoing",
        })
    }
}

/// A value that an expression looked at, for the reader of its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// As written, such as `result.latency_ms`.
    pub name: String,
    /// What it was; absent where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// What was measured, to be written behind a sentence.
pub(crate) struct MeasuredList<'a>(pub(crate) &'a [Measured]);

impl fmt::Display for MeasuredList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, measured) in self.0.iter().enumerate() {
            f.write_str(if position == 0 { " with " } else { ", " })?;
            match &measured.value {
                Some(value) => write!(f, "{} = {}", measured.name, shortened(value))?,
                None => write!(f, "{} absent", measured.name)?,
            }
        }
        Ok(())
    }
}

fn shortened(value: &Value) -> String {
    const LONGEST: usize = 120;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Why a step or an item failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum StepFailure {
    /// A call failed, and trying again was not allowed or did not help.
    Call {
        /// Which call.
        phase: CallPhase,
        /// How it ended.
        failure: CallFailure,
        /// How many calls and attempts had failed, this one included.
        #[serde(default)]
        tries: u32,
    },
    /// The plan found that someone else changed the target.
    Conflict {
        /// What was found.
        message: String,
    },
    /// The plan could not tell how things stand.
    CannotTell {
        /// Why.
        message: String,
    },
    /// An `expect` was not met.
    Expectation {
        /// Its source.
        expression: String,
        /// What it looked at.
        #[serde(default)]
        measured: Vec<Measured>,
    },
    /// A gate did not open in time.
    Gate {
        /// The source of `until`.
        expression: String,
        /// What the last sample had.
        #[serde(default)]
        measured: Vec<Measured>,
        /// How the last sample failed, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<CallFailure>,
        /// The step's timeout, milliseconds.
        after_ms: u64,
        /// How long the gate had been open at the end, if it was, milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        open_ms: Option<u64>,
    },
    /// The step's timeout passed.
    Timeout {
        /// Milliseconds.
        after_ms: u64,
        /// What it was doing, where a call was cut off.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phase: Option<CallPhase>,
        /// The last failure seen, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<CallFailure>,
    },
    /// The output is over the cap, so nothing after it can use it.
    OutputTooLarge {
        /// Its size as JSON.
        bytes: u64,
        /// The cap.
        limit: u64,
    },
    /// The plan is over the cap; nothing was applied.
    PlanTooLarge {
        /// Its size as JSON.
        bytes: u64,
        /// The cap.
        limit: u64,
    },
    /// An expression could not be evaluated.
    Expression {
        /// Where it stands: `when`, `with`, `until`, `expect`, `for_each`, `key`, `wait`.
        field: String,
        /// Why.
        message: String,
    },
    /// The resolved input does not fit the action.
    Input {
        /// Where and why.
        message: String,
    },
    /// Two items have one key, so their effects could not be told apart.
    DuplicateItem {
        /// The key.
        key: String,
    },
    /// Some items failed.
    Items {
        /// How many.
        failed: u64,
        /// Of how many.
        total: u64,
        /// The first of them.
        first: String,
    },
    /// The effect can't be told, and nobody is there to be asked: a finally step.
    Unresolved {
        /// What was found out.
        message: String,
    },
    /// A person said no. That is no failure of anything.
    Rejected {
        /// Who.
        who: String,
        /// Why.
        #[serde(default)]
        because: String,
    },
    /// Not enough people approved in time.
    Expired {
        /// Milliseconds.
        after_ms: u64,
    },
    /// What is to be approved can't be planned, so nobody was asked.
    NotPlanned {
        /// Which step, and why.
        message: String,
    },
    /// All that is to be approved must be known, and is not.
    NotExact {
        /// What is not, with the reason.
        deferred: Vec<String>,
    },
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { phase, failure, tries } => {
                write!(f, "{phase} failed")?;
                if *tries > 1 {
                    write!(f, " ({tries} tries)")?;
                }
                write!(f, ": {failure}")
            }
            Self::Conflict { message } => write!(f, "someone else changed it: {message}"),
            Self::CannotTell { message } => write!(f, "the plan can't tell how things stand: {message}"),
            Self::Expectation { expression, measured } => {
                write!(f, "not as expected: `{expression}` is false{}", MeasuredList(measured))
            }
            Self::Gate { expression, measured, failure, after_ms, open_ms } => {
                write!(f, "not reached within {}: `{expression}`", Span(*after_ms))?;
                match (failure, open_ms) {
                    (Some(failure), _) => write!(f, "; the last sample failed: {failure}"),
                    (None, Some(open)) => {
                        write!(f, " was true for {} only{}", Span(*open), MeasuredList(measured))
                    }
                    (None, None) => write!(f, " was false at last{}", MeasuredList(measured)),
                }
            }
            Self::Timeout { after_ms, phase, failure } => {
                write!(f, "not done within {}", Span(*after_ms))?;
                if let Some(phase) = phase {
                    write!(f, ", while {phase}")?;
                }
                match failure {
                    Some(failure) => write!(f, "; last: {failure}"),
                    None => Ok(()),
                }
            }
            Self::OutputTooLarge { bytes, limit } => {
                write!(f, "the output has {bytes} bytes, more than the {limit} that a run keeps")
            }
            Self::PlanTooLarge { bytes, limit } => {
                write!(
                    f,
                    "the plan has {bytes} bytes, more than the {limit} that a run keeps; nothing was applied"
                )
            }
            Self::Expression { field, message } => write!(f, "`{field}` can't be evaluated: {message}"),
            Self::Input { message } => write!(f, "the input does not fit the action: {message}"),
            Self::DuplicateItem { key } => {
                write!(
                    f,
                    "two items of `for_each` have the key `{key}`; give them a `key` that tells them apart"
                )
            }
            Self::Items { failed, total, first } => {
                write!(f, "{failed} of {total} items failed, the first was `{first}`")
            }
            Self::Unresolved { message } => write!(f, "it can't be told whether it took effect: {message}"),
            Self::Rejected { who, because } if because.is_empty() => write!(f, "{who} rejected it"),
            Self::Rejected { who, because } => write!(f, "{who} rejected it: {because}"),
            Self::Expired { after_ms } => write!(f, "not approved within {}", Span(*after_ms)),
            Self::NotPlanned { message } => write!(f, "what it covers can't be planned: {message}"),
            Self::NotExact { deferred } => {
                write!(
                    f,
                    "`bind = \"exact\"` wants all of it known, and this is not: {}",
                    deferred.join("; ")
                )
            }
        }
    }
}

/// A span of milliseconds as people write it: `1h30m`, `5m`, `2.5s`, `20ms`.
pub struct Span(pub u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes, millis) = (self.0 / 3_600_000, self.0 / 60_000 % 60, self.0 % 60_000);
        if self.0 < 1000 {
            return write!(f, "{}ms", self.0);
        }
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        match (millis / 1000, millis % 1000) {
            (0, 0) => Ok(()),
            (seconds, 0) => write!(f, "{seconds}s"),
            (seconds, rest) => write!(f, "{seconds}.{}s", format!("{rest:03}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_written() {
        let text = |ms| Span(ms).to_string();
        assert_eq!(
            [text(0), text(20), text(2500), text(5000), text(300_000), text(5_400_000), text(61_250)],
            ["0ms", "20ms", "2.5s", "5s", "5m", "1h30m", "1m1.25s"]
        );
    }
}
