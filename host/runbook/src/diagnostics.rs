//! What is wrong with a runbook, and where: plain data that miette can draw.
//!
//! A diagnostic owns what it needs to be shown, so it outlives the document. Its code is stable; its text is not.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::source::SourceFile;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The runbook can't run.
    Error,
    /// It can, and probably not as meant.
    Warning,
}

/// A marked place.
#[derive(Debug, Clone)]
pub struct Label {
    /// The file it is in.
    pub file: Arc<SourceFile>,
    /// Bytes of the file.
    pub range: Range<usize>,
    /// What stands there; may be empty.
    pub text: String,
}

/// One thing that is wrong. The first label is the place of it.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable word, such as `unknown-step`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// Where; the first is the main one. Empty only where no file is at fault.
    pub labels: Vec<Label>,
    /// What to do.
    pub help: Option<String>,
    /// Labels of another file than the first one's, as a remark of their own.
    elsewhere: Vec<Self>,
}

impl Diagnostic {
    /// An error without a place yet.
    #[must_use]
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            labels: Vec::new(),
            help: None,
            elsewhere: Vec::new(),
        }
    }

    /// A warning without a place yet.
    #[must_use]
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Marks a place. One in another file than the first becomes a remark, since a drawing shows one file.
    #[must_use]
    pub fn at(mut self, file: &Arc<SourceFile>, range: Range<usize>, text: impl Into<String>) -> Self {
        let label = Label { file: Arc::clone(file), range, text: text.into() };
        match self.labels.first() {
            Some(first) if !Arc::ptr_eq(&first.file, file) => {
                let mut remark = Self::warning(self.code, "and this belongs to it");
                remark.labels.push(label);
                self.elsewhere.push(remark);
            }
            _ => self.labels.push(label),
        }
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says what to do, where there is something to say.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    fn show_instead(&mut self, files: &[(Arc<SourceFile>, Arc<SourceFile>)]) {
        for label in &mut self.labels {
            if let Some((_, other)) = files.iter().find(|(shown, _)| Arc::ptr_eq(shown, &label.file)) {
                label.file = Arc::clone(other);
            }
        }
        for remark in &mut self.elsewhere {
            remark.show_instead(files);
        }
    }

    /// The line of the first label, from 1; 0 without one.
    #[must_use]
    pub fn line(&self) -> usize {
        self.labels.first().map_or(0, |label| label.file.position(label.range.start).0)
    }

    /// The column of the first label in characters, from 1; 0 without one.
    #[must_use]
    pub fn column(&self) -> usize {
        self.labels.first().map_or(0, |label| label.file.position(label.range.start).1)
    }

    /// The name of the file of the first label.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.labels.first().map(|label| label.file.name.as_str())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display + 'a>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.labels.first().map(|label| &*label.file as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        if self.labels.is_empty() {
            return None;
        }
        Some(Box::new(self.labels.iter().enumerate().map(|(index, label)| {
            let text = (!label.text.is_empty()).then(|| label.text.clone());
            let span = miette::SourceSpan::from(label.range.clone());
            if index == 0 {
                miette::LabeledSpan::new_primary_with_span(text, span)
            } else {
                miette::LabeledSpan::new_with_span(text, span)
            }
        })))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        if self.elsewhere.is_empty() {
            return None;
        }
        Some(Box::new(self.elsewhere.iter().map(|remark| remark as &dyn miette::Diagnostic)))
    }
}

impl miette::SourceCode for SourceFile {
    fn read_span<'a>(
        &'a self,
        span: &miette::SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> Result<Box<dyn miette::SpanContents<'a> + 'a>, miette::MietteError> {
        let contents = self.text.read_span(span, context_lines_before, context_lines_after)?;
        Ok(Box::new(miette::MietteSpanContents::new_named(
            self.name.clone(),
            contents.data(),
            *contents.span(),
            contents.line(),
            contents.column(),
            contents.line_count(),
        )))
    }
}

/// All that is wrong, in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds all of another list, and puts both into the order of the files.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
        self.sort();
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are, warnings included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Puts them into the order of the files.
    pub(crate) fn sort(&mut self) {
        fn place(diagnostic: &Diagnostic) -> Option<(&str, usize)> {
            diagnostic.labels.first().map(|label| (label.file.name.as_str(), label.range.start))
        }
        self.0.sort_by(|a, b| place(a).cmp(&place(b)));
    }

    /// Shows another text of each file, of the same length.
    pub(crate) fn show_instead(&mut self, files: &[(Arc<SourceFile>, Arc<SourceFile>)]) {
        for diagnostic in &mut self.0 {
            diagnostic.show_instead(files);
        }
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            let file = diagnostic.file().unwrap_or_default();
            write!(formatter, "{file}:{}:{}: {diagnostic}", diagnostic.line(), diagnostic.column())?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
