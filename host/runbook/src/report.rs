//! Collecting diagnostics: turns places into labels.

use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::source::{FileId, SourceFile, Span};

/// The files of one check.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The runbook.
    pub runbook: Arc<SourceFile>,
    /// What was given with `--env`.
    pub environment: Option<Arc<SourceFile>>,
}

impl Sources {
    /// The file that a place is in.
    #[must_use]
    pub fn file(&self, id: FileId) -> &Arc<SourceFile> {
        match (id, &self.environment) {
            (FileId::Environment, Some(environment)) => environment,
            _ => &self.runbook,
        }
    }
}

/// Diagnostics in the making.
pub(crate) struct Report {
    pub(crate) sources: Sources,
    diagnostics: Diagnostics,
}

impl Report {
    pub(crate) fn new(sources: Sources) -> Self {
        Self { sources, diagnostics: Diagnostics::default() }
    }

    /// Adds a finished diagnostic.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Adds an error with one label, which the message already explains.
    pub(crate) fn error(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.marked(Diagnostic::error(code, message).maybe_help(help), &[(span, "")]);
    }

    /// Adds a diagnostic with labels.
    pub(crate) fn marked(&mut self, diagnostic: Diagnostic, labels: &[(Span, &str)]) {
        let marked = labels.iter().fold(diagnostic, |diagnostic, (span, text)| {
            diagnostic.at(self.sources.file(span.file), span.range(), *text)
        });
        self.push(marked);
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.has_errors()
    }

    /// The text of a file.
    pub(crate) fn text(&self, file: FileId) -> Arc<str> {
        Arc::clone(&self.sources.file(file).text)
    }

    pub(crate) fn finish(mut self) -> Diagnostics {
        self.diagnostics.sort();
        self.diagnostics
    }
}
