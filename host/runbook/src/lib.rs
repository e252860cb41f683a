//! TOML to a checked runbook: spans, expressions, types. No I/O.

pub mod catalog;
pub mod coerce;
pub mod diagnostics;
pub mod expression;
pub mod model;
pub mod outcome;
pub mod source;
mod suggest;
pub mod units;
pub mod wit;

pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use source::SourceFile;
