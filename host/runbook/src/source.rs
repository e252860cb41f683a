//! Files of TOML text as the checker sees them: a name to show, a folder for relative paths, and the text.
//!
//! Nothing here opens a file; the caller read it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A TOML file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// As the operator wrote the path; diagnostics show it.
    pub name: String,
    /// What relative paths in the file are relative to.
    pub folder: PathBuf,
    /// All of it.
    pub text: Arc<str>,
}

impl SourceFile {
    /// A file whose relative paths start at the folder part of its name.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        let folder = Path::new(&name).parent().map(Path::to_path_buf).unwrap_or_default();
        Self { name, folder, text: text.into() }
    }

    /// The same file with another folder for its relative paths.
    #[must_use]
    pub fn in_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// A path that stands in this file, made relative to where the file's folder is. Lexical only.
    #[must_use]
    pub fn resolve(&self, path: &str) -> PathBuf {
        let path = path.strip_prefix("./").unwrap_or(path);
        self.folder.join(path)
    }

    /// Line and column of a byte offset, both from 1, the column in characters.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = self.text.get(..end).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (line, column)
    }
}

/// Which of the two files a thing stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileId {
    /// The runbook.
    Runbook,
    /// The environment given with `--env`.
    Environment,
}

/// A place in one of the files, in bytes. Four bytes for each end: a runbook is smaller than 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The file.
    pub file: FileId,
    start: u32,
    end: u32,
}

impl Span {
    /// Positions beyond 4 GiB are cut there.
    #[must_use]
    pub fn new(file: FileId, range: &std::ops::Range<usize>) -> Self {
        let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { file, start: narrow(range.start), end: narrow(range.end) }
    }

    /// The bytes from the first to behind the last.
    #[must_use]
    pub const fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Located<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub span: Span,
}

impl<T> Located<T> {
    /// Puts the two together.
    pub const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}
