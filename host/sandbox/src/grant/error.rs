//! Why a grant line was not understood: which part, what was expected, and a line that would be right.
//!
//! Invariant: `range` always lies inside the line and on character borders, so that a caller can put a caret there.

use std::ops::Range;

/// Why a grant line can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GrantError {
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to write instead, with an example line where one helps.
    pub help: Option<String>,
    /// Bytes of the line that the message is about.
    pub range: Range<usize>,
    /// Whether the line is wrong or only ahead of this build.
    pub kind: GrantErrorKind,
}

/// The two ways in which a line can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantErrorKind {
    /// The line breaks the grammar.
    Syntax,
    /// The line is right, but this build has no such capability.
    Unavailable,
}

impl GrantError {
    pub(super) fn new(range: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, range, kind: GrantErrorKind::Syntax }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same error with its range moved, for a part that was read without knowing where it stands.
    pub(super) fn at(mut self, offset: usize) -> Self {
        self.range = self.range.start + offset..self.range.end + offset;
        self
    }
}
