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

    /// The same files with stars in some places. Every byte keeps its place.
    fn without(&self, hidden: &[Span]) -> Self {
        let starred = |id: FileId, file: &Arc<SourceFile>| {
            let mut bytes = file.text.as_bytes().to_vec();
            for span in hidden.iter().filter(|span| span.file == id) {
                // The quotes stay, and so do the line breaks, or lines would not be where they are.
                let range = span.range().start + 1..span.range().end.saturating_sub(1);
                for byte in bytes.get_mut(range).into_iter().flatten().filter(|byte| **byte != b'\n') {
                    *byte = b'*';
                }
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Arc::new(SourceFile { text: text.into(), ..(**file).clone() })
        };
        Self {
            runbook: starred(FileId::Runbook, &self.runbook),
            environment: self.environment.as_ref().map(|file| starred(FileId::Environment, file)),
        }
    }
}

/// Diagnostics in the making.
pub(crate) struct Report {
    pub(crate) sources: Sources,
    diagnostics: Diagnostics,
    /// Places that no diagnostic may show, since a secret stands there by mistake.
    hidden: Vec<Span>,
}

impl Report {
    pub(crate) fn new(sources: Sources) -> Self {
        Self { sources, diagnostics: Diagnostics::default(), hidden: Vec::new() }
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

    /// A secret's value stands in the file: says so, and shows it nowhere.
    pub(crate) fn secret_in_file(&mut self, span: Span, message: impl Into<String>, help: &str) {
        self.error("secret-in-file", span, message, Some(help.to_owned()));
        self.hidden.push(span);
    }

    /// Everything, in the order of the files, and the files as they may be shown.
    pub(crate) fn finish(mut self) -> (Diagnostics, Sources) {
        self.diagnostics.sort();
        if self.hidden.is_empty() {
            return (self.diagnostics, self.sources);
        }
        let shown = self.sources.without(&self.hidden);
        let mut pairs = vec![(Arc::clone(&self.sources.runbook), Arc::clone(&shown.runbook))];
        pairs.extend(self.sources.environment.clone().zip(shown.environment.clone()));
        self.diagnostics.show_instead(&pairs);
        (self.diagnostics, shown)
    }
}
