//! What the checker asks the world about: components' signatures and the grammar of grants.
//!
//! The caller implements it, with or without files; this crate opens nothing.

use std::ops::Range;
use std::sync::Arc;

use crate::model::PluginSource;
use crate::wit::Signature;

/// A plugin as the runbook names it, environment merged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginUse {
    /// The name that steps use.
    pub name: String,
    /// Which component.
    pub source: PluginSource,
    /// `contract = "…"`, as written.
    pub contract: Option<String>,
}

/// What the checker asks the world about.
pub trait Catalog {
    /// What the component offers. Called once per plugin and check.
    ///
    /// # Errors
    /// Where there is no such component, or it is none.
    fn signature(&self, plugin: &PluginUse) -> Result<Arc<Signature>, CatalogError>;

    /// Reads one grant line, in which `{vars.x}` and `{config.x}` may still stand.
    ///
    /// # Errors
    /// What is wrong with it and where in the line.
    fn check_grant(&self, line: &str) -> Result<GrantFacts, GrantProblem>;
}

/// Why there is no signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogError {
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// What the checker needs to know of a grant line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrantFacts {
    /// The slots that it names, those inside `{path:SLOT}` included.
    pub slots: Vec<String>,
    /// Whether it allows writing.
    pub writes: bool,
    /// `http`, `postgres`, `folder`, `program`, …: the kind that the first slot must be bound to.
    pub capability: String,
}

/// What is wrong with a grant line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantProblem {
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Bytes of the line.
    pub range: Range<usize>,
}
