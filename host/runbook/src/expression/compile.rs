//! Text to a compiled expression.
//!
//! Compiling replaces every path below a root (`steps.a.output.id`) by a variable `$0`, `$1`, …, so that evaluating
//! binds exactly those. A text that is one path never meets CEL at all: runbooks of ten thousand steps are full of
//! them, and CEL's parser is slow.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use cel::Env;
use cel::common::ast::{IdedExpr, SourceInfo};

use super::Reference;
use super::path::{lone_path, reference};
use super::rewrite::{Rewriter, byte_of};
use super::syntax::{ExpressionIssue, depth_exceeds, guard, syntax_issue, too_complex};

/// Levels of the tree; an evaluation in a debug build needs a few KiB of stack for each.
const MAX_DEPTH: usize = 100;

/// A compiled expression.
pub(crate) struct Compiled {
    pub(crate) source: Box<str>,
    pub(crate) references: Vec<Reference>,
    pub(crate) body: Body,
}

/// How it is evaluated.
pub(crate) enum Body {
    /// It is its only reference.
    Reference,
    /// A tree in which `$N` is the reference N.
    Tree { tree: Box<IdedExpr>, positions: SourceInfo },
}

impl Compiled {
    /// The byte where a node of the tree begins.
    pub(crate) fn position(&self, id: u64) -> usize {
        match &self.body {
            Body::Reference => 0,
            Body::Tree { positions, .. } => byte_of(&self.source, positions, id),
        }
    }
}

/// The number of the reference that a variable of the tree stands for.
pub(crate) fn reference_index(name: &str) -> Option<usize> {
    name.strip_prefix('$')?.parse().ok()
}

/// Compiled expressions by their text: thousands of steps often share a few.
#[derive(Default)]
pub(crate) struct Cache(HashMap<Box<str>, Arc<Compiled>>);

impl Cache {
    /// Compiles, or finds what was compiled before.
    pub(crate) fn compile(&mut self, source: &str) -> Result<super::Expression, Vec<ExpressionIssue>> {
        if let Some(known) = self.0.get(source) {
            return Ok(super::Expression(Arc::clone(known)));
        }
        let compiled = Arc::new(compile(source)?);
        // What a step gave is mostly looked at once, and a path costs less to read again than to remember.
        let of_step = |reference: &Reference| reference.step().is_some();
        if matches!(compiled.body, Body::Tree { .. }) || !compiled.references.iter().any(of_step) {
            self.0.insert(source.into(), Arc::clone(&compiled));
        }
        Ok(super::Expression(compiled))
    }
}

pub(super) fn environment() -> &'static Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Env::stdlib().with_optional_support(false);
        // Declared once on a fresh environment: there is nothing for it to collide with.
        let declared = environment.add_extension(cel::extensions::strings);
        debug_assert!(declared.is_ok(), "CEL's string extension collides with its own standard library");
        Arc::new(environment)
    })
}

/// Compiles an expression.
pub(crate) fn compile(source: &str) -> Result<Compiled, Vec<ExpressionIssue>> {
    if let Some(path) = lone_path(source) {
        let mut issues = Vec::new();
        let range = path.range.clone();
        return match reference(path, false, &mut issues) {
            Some(reference) => Ok(Compiled {
                source: source.into(),
                references: vec![Reference { range, ..reference }],
                body: Body::Reference,
            }),
            None => Err(issues),
        };
    }
    guard(source).map_err(|issue| vec![issue])?;
    let (mut tree, positions) = environment().parser().parse_with_source_info(source).map_err(|errors| {
        // What follows the first is mostly its echo.
        errors.errors.first().map(|error| syntax_issue(source, error)).into_iter().collect::<Vec<_>>()
    })?;
    if depth_exceeds(&tree, MAX_DEPTH) {
        return Err(vec![too_complex(source)]);
    }
    let mut rewriter = Rewriter {
        source,
        positions: &positions,
        bound: Vec::new(),
        references: Vec::new(),
        issues: Vec::new(),
    };
    rewriter.rewrite(&mut tree);
    let Rewriter { references, issues, .. } = rewriter;
    if !issues.is_empty() {
        return Err(issues);
    }
    Ok(Compiled { source: source.into(), references, body: Body::Tree { tree: Box::new(tree), positions } })
}
