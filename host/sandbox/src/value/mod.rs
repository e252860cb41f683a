//! Values between JSON, as the engine has them, and the component model, as a guest has them.
//!
//! JSON field names are snake_case, WIT's are kebab-case; both directions follow the types that were read out of the
//! component. It refuses to know what a value is for. Invariant: what comes out of a guest is JSON within the size limit,
//! without NaN, infinities or integers that an expression can't hold.

mod decode;
mod encode;

use std::fmt;

pub(crate) use decode::decode;
pub(crate) use encode::encode;

/// Why a value does not fit its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    /// It doesn't fit, at this place.
    #[error("`{at}`: {why}")]
    Misfit {
        /// Names of fields and positions in lists.
        at: String,
        /// What was expected and what was found.
        why: String,
    },
    /// The JSON of a result became longer than this many bytes.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
}

/// A place in a value, kept on the stack while walking down and written out only for an error.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    before: Option<&'a Self>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    pub(crate) const fn root(name: &'a str) -> Self {
        Self { before: None, step: Step::Name(name) }
    }

    const fn name(&'a self, name: &'a str) -> Self {
        Self { before: Some(self), step: Step::Name(name) }
    }

    const fn index(&'a self, index: usize) -> Self {
        Self { before: Some(self), step: Step::Index(index) }
    }

    fn misfit(&self, why: impl Into<String>) -> ValueError {
        ValueError::Misfit { at: crate::plain_text(&self.to_string()), why: why.into() }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(before) = self.before {
            before.fmt(f)?;
        }
        match self.step {
            Step::Name(name) if self.before.is_none() => f.write_str(name),
            Step::Name(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests;
