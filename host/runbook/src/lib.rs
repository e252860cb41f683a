//! TOML to a checked runbook: spans, expressions, types. No I/O.

pub mod catalog;
pub mod check;
pub mod coerce;
pub mod diagnostics;
pub mod document;
pub mod expression;
pub mod inputs;
pub mod model;
mod node;
pub mod outcome;
mod reader;
mod report;
mod safety;
pub mod source;
mod suggest;
pub mod units;
pub mod wit;

pub use catalog::{Catalog, CatalogError, GrantFacts, GrantProblem, PluginUse};
pub use check::check;
pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use document::{Document, parse};
pub use inputs::resolve_inputs;
pub use model::Runbook;
pub use report::Sources;
pub use source::SourceFile;
