//! CEL expressions: compiled once, asked what they refer to, evaluated over a scope.
//!
//! A dotted path such as `steps.a.output.id` is cut out of the expression when it is compiled and looked up as one
//! reference. So an evaluation converts only the values that it uses, however large an output is, and the checker
//! knows every path without understanding CEL. There is neither a clock nor randomness.

mod compile;
mod convert;
mod evaluate;
mod functions;
mod path;
mod rewrite;
mod scope;
pub(crate) mod shape;
mod syntax;
mod template;
pub(crate) use convert::kind as kind_of;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

pub(crate) use compile::{Body, Cache, reference_index};
pub(crate) use functions::{Style as FunctionStyle, find as find_function};
pub use scope::{EmptyScope, Scope};
pub use syntax::ExpressionIssue;
pub(crate) use template::{Piece, pieces};
pub use template::{Template, TextPart};

/// A compiled expression. Cheap to clone.
#[derive(Clone)]
pub struct Expression(pub(crate) Arc<compile::Compiled>);

impl Expression {
    /// Compiles CEL.
    ///
    /// # Errors
    /// Everything that is wrong with the text alone: syntax, unknown names and functions.
    pub fn compile(source: &str) -> Result<Self, Vec<ExpressionIssue>> {
        compile::compile(source).map(|compiled| Self(Arc::new(compiled)))
    }

    /// The text it was compiled from, without the `${…}` around it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Every path it looks up.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        &self.0.references
    }

    /// Its value.
    ///
    /// # Errors
    /// Where a value it needs is absent, or an operator or function does not take what it is given.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, ExpressionError> {
        evaluate::evaluate(&self.0, scope)
    }

    /// Its value, which must be a truth.
    ///
    /// # Errors
    /// As `evaluate`, and where the value is anything but true or false.
    pub fn evaluate_bool(&self, scope: &dyn Scope) -> Result<bool, ExpressionError> {
        match self.evaluate(scope)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(ExpressionError::NotATruth {
                expression: self.source().to_owned(),
                found: convert::kind(&other).to_owned(),
            }),
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Expression({:?})", self.source())
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

/// Where a path begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Root {
    /// `inputs.NAME`
    Input(String),
    /// `vars.NAME`
    Var(String),
    /// `steps.ID.status`
    StepStatus(String),
    /// `steps.ID.effect`
    StepEffect(String),
    /// `steps.ID.output`
    StepOutput(String),
    /// `item`
    Item,
    /// `result`
    Result,
    /// `run.FIELD`
    Run(String),
    /// `baseline.NAME`
    Baseline(String),
}

/// A step of a path below its root.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// `.name` or `["name"]`
    Name(String),
    /// `[3]`
    Index(usize),
}

/// A path that an expression looks up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where it begins.
    pub root: Root,
    /// What follows.
    pub path: Vec<Segment>,
    /// Whether it stands in `has(…)`: only its presence counts.
    pub presence: bool,
    /// Where it stands in the expression, in bytes.
    pub range: std::ops::Range<usize>,
}

impl Reference {
    /// The step it is about.
    #[must_use]
    pub fn step(&self) -> Option<&str> {
        match &self.root {
            Root::StepStatus(id) | Root::StepEffect(id) | Root::StepOutput(id) => Some(id),
            _ => None,
        }
    }

    /// Its value, borrowed where the scope lends it.
    pub(crate) fn look_up<'s>(&self, scope: &'s dyn Scope) -> Option<Cow<'s, Value>> {
        let words = |text: Cow<'s, str>| Cow::Owned(Value::String(text.into_owned()));
        let base = match &self.root {
            Root::Input(name) => scope.input(name),
            Root::Var(name) => scope.var(name),
            Root::StepStatus(id) => scope.step_status(id).map(words),
            Root::StepEffect(id) => scope.step_effect(id).map(words),
            Root::StepOutput(id) => scope.step_output(id),
            Root::Item => scope.item(),
            Root::Result => scope.result(),
            Root::Run(field) => scope.run(field),
            Root::Baseline(name) => scope.baseline(name),
        }?;
        if self.path.is_empty() {
            return Some(base);
        }
        match base {
            Cow::Borrowed(value) => walk(value, &self.path).map(Cow::Borrowed),
            Cow::Owned(value) => walk(&value, &self.path).cloned().map(Cow::Owned),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::Input(name) => write!(formatter, "inputs.{name}"),
            Root::Var(name) => write!(formatter, "vars.{name}"),
            Root::StepStatus(id) => write!(formatter, "steps.{id}.status"),
            Root::StepEffect(id) => write!(formatter, "steps.{id}.effect"),
            Root::StepOutput(id) => write!(formatter, "steps.{id}.output"),
            Root::Item => formatter.write_str("item"),
            Root::Result => formatter.write_str("result"),
            Root::Run(field) => write!(formatter, "run.{field}"),
            Root::Baseline(name) => write!(formatter, "baseline.{name}"),
        }?;
        for segment in &self.path {
            match segment {
                Segment::Name(name) if path::is_identifier(name) => write!(formatter, ".{name}"),
                Segment::Name(name) => write!(formatter, "[{name:?}]"),
                Segment::Index(index) => write!(formatter, "[{index}]"),
            }?;
        }
        Ok(())
    }
}

fn walk<'v>(value: &'v Value, path: &[Segment]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, segment| match segment {
        Segment::Name(name) => value.as_object()?.get(name),
        Segment::Index(index) => value.as_array()?.get(*index),
    })
}

/// Why an expression has no value. Texts are for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// A step it reads has no output, since it did not succeed: the reader is skipped.
    #[error("`{expression}` needs the output of step `{step}`, which has none")]
    NoOutput {
        /// The step.
        step: String,
        /// The expression.
        expression: String,
    },
    /// A value is not there.
    #[error("`{reference}` is absent in `{expression}`; test it with `has(…)` where it may be")]
    Absent {
        /// The path.
        reference: String,
        /// The expression.
        expression: String,
    },
    /// A condition was not true or false.
    #[error("`{expression}` must be true or false, and is {found}")]
    NotATruth {
        /// The expression.
        expression: String,
        /// What kind of value it was.
        found: String,
    },
    /// An operator or function refused.
    #[error("`{expression}`: {message}")]
    Evaluation {
        /// The expression.
        expression: String,
        /// Why.
        message: String,
    },
}
