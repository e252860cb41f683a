//! TOML as a tree with a place for every key and value, in the order of the file.
//!
//! This is the only module that knows the `toml` crate. Values are owned, so that a document outlives its text.

use std::sync::Arc;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use crate::diagnostics::Diagnostic;
use crate::report::Report;
use crate::source::{FileId, Located, SourceFile, Span};

/// More syntax errors than this are one broken place seen again and again.
const MAX_SYNTAX_ERRORS: usize = 8;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    String(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// As written.
    Datetime(String),
    List(Vec<Node>),
    Table(Table),
}

/// A table; of `[name]` the place is the header, of an inline table all of it.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) span: Span,
    pub(crate) entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Located<String>,
    pub(crate) value: Node,
}

impl Node {
    /// What kind of value it is, for messages.
    pub(crate) const fn describe(&self) -> &'static str {
        match self.kind {
            Kind::String(_) => "a string",
            Kind::Integer(_) => "an integer",
            Kind::Float(_) => "a float",
            Kind::Bool(_) => "true or false",
            Kind::Datetime(_) => "a date or time",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a table",
        }
    }

    /// The value without its places. NaN and infinities, which JSON lacks, are reported when the file is read.
    pub(crate) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::String(text) | Kind::Datetime(text) => Value::String(text.clone()),
            Kind::Integer(int) => Value::from(*int),
            Kind::Float(float) => Value::from(*float),
            Kind::Bool(truth) => Value::Bool(*truth),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Kind::Table(table) => Value::Object(
                table.entries.iter().map(|entry| (entry.key.value.clone(), entry.value.to_value())).collect(),
            ),
        }
    }
}

/// Reads a file. `None` where it is no TOML; everything wrong with it is reported.
pub(crate) fn read(file: FileId, source: &Arc<SourceFile>, report: &mut Report) -> Option<Table> {
    let (root, errors) = DeTable::parse_recoverable(&source.text);
    if !errors.is_empty() {
        let mut last_line = 0;
        for error in errors.iter().take(MAX_SYNTAX_ERRORS) {
            let end = source.text.len();
            let range = error.span().unwrap_or(end..end);
            let (line, _) = source.position(range.start);
            // A second one on the same line is mostly the echo of the first.
            if line == std::mem::replace(&mut last_line, line) {
                continue;
            }
            let detail =
                error.message().strip_suffix(", expected nothing").unwrap_or_else(|| error.message());
            let message = format!("this is no valid TOML: {detail}");
            report.push(Diagnostic::error("toml-syntax", message).at(source, range, "here"));
        }
        return None;
    }
    let span = Span::new(file, &(0..0));
    let mut converter = Converter { file, report };
    Some(converter.table(span, root.into_inner()))
}

struct Converter<'r> {
    file: FileId,
    report: &'r mut Report,
}

impl Converter<'_> {
    fn table(&mut self, span: Span, table: DeTable<'_>) -> Table {
        let mut entries: Vec<Entry> = table
            .into_iter()
            .map(|(key, value)| {
                let key_span = Span::new(self.file, &key.span());
                let key = Located::new(key.into_inner().into_owned(), key_span);
                let span = Span::new(self.file, &value.span());
                Entry { key, value: self.node(span, value.into_inner()) }
            })
            .collect();
        // The crate sorts by name; people read in the order they wrote.
        entries.sort_by_key(|entry| entry.key.span.range().start);
        Table { span, entries }
    }

    fn node(&mut self, span: Span, value: DeValue<'_>) -> Node {
        let kind = match value {
            DeValue::String(text) => Kind::String(text.into_owned()),
            DeValue::Integer(integer) => {
                let parsed = i64::from_str_radix(integer.as_str(), integer.radix());
                if parsed.is_err() {
                    self.report.error("number-too-large", span, "the number does not fit into 64 bits", None);
                }
                Kind::Integer(parsed.unwrap_or_default())
            }
            DeValue::Float(float) => {
                let parsed = float.as_str().parse::<f64>().ok().filter(|parsed| parsed.is_finite());
                if parsed.is_none() {
                    self.report.error("not-finite", span, "a number must be finite", None);
                }
                Kind::Float(parsed.unwrap_or_default())
            }
            DeValue::Boolean(truth) => Kind::Bool(truth),
            DeValue::Datetime(datetime) => Kind::Datetime(datetime.to_string()),
            DeValue::Array(items) => Kind::List(
                items
                    .into_iter()
                    .map(|item| {
                        let span = Span::new(self.file, &item.span());
                        self.node(span, item.into_inner())
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Kind::Table(self.table(span, table)),
        };
        Node { span, kind }
    }
}

/// Where a byte of a string's value stands in the file, given the string's place there with its quotes.
pub(crate) fn offset_in_string(text: &str, span: Span, decoded: usize) -> usize {
    let range = span.range();
    let raw = text.get(range.clone()).unwrap_or_default();
    let quotes = if raw.starts_with("\"\"\"") || raw.starts_with("'''") { 3 } else { 1 };
    let body = raw.get(quotes..).unwrap_or_default();
    // The first line break after three quotes is no part of the value.
    let newline = match (quotes, body.as_bytes()) {
        (3, [b'\r', b'\n', ..]) => 2,
        (3, [b'\n', ..]) => 1,
        _ => 0,
    };
    let body = body.get(newline..).unwrap_or_default();
    let start = range.start + quotes + newline;
    if raw.starts_with('\'') {
        return (start + decoded).min(range.end);
    }
    let mut seen = 0_usize;
    let mut letters = body.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if seen >= decoded {
            return start + at;
        }
        if letter != '\\' {
            seen += letter.len_utf8();
            continue;
        }
        match letters.next() {
            Some((_, 'u')) => seen += skip_hex(&mut letters, 4),
            Some((_, 'U')) => seen += skip_hex(&mut letters, 8),
            Some((_, 'x')) => seen += skip_hex(&mut letters, 2),
            Some((_, blank)) if blank.is_whitespace() => {
                while letters.peek().is_some_and(|(_, next)| next.is_whitespace()) {
                    letters.next();
                }
            }
            Some(_) => seen += 1,
            None => {}
        }
    }
    range.end.saturating_sub(quotes).max(start)
}

/// Skips the digits of an escape and returns how many bytes the letter takes.
fn skip_hex(letters: &mut std::iter::Peekable<std::str::CharIndices<'_>>, digits: usize) -> usize {
    let mut code = 0_u32;
    for _ in 0..digits {
        if let Some((_, digit)) = letters.next() {
            code = code.wrapping_mul(16).wrapping_add(digit.to_digit(16).unwrap_or_default());
        }
    }
    char::from_u32(code).map_or(1, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(text: &str, decoded: usize) -> usize {
        offset_in_string(text, Span::new(FileId::Runbook, &(0..text.len())), decoded)
    }

    #[test]
    fn finds_bytes_inside_strings() {
        assert_eq!(offset(r#""abc""#, 1), 2);
        assert_eq!(offset("'a\\c'", 2), 3);
        assert_eq!(offset(r#""a\"b""#, 2), 4);
        assert_eq!(offset(r#""\u00e4b""#, 2), 7);
        assert_eq!(offset("\"\"\"\nab\"\"\"", 1), 5);
        assert_eq!(offset("'''\r\nab'''", 1), 6);
        assert_eq!(offset("\"\"\"\n\n\nab\"\"\"", 2), 6);
        assert_eq!(offset("\"\"\"a\\\n   b\"\"\"", 1), 4);
        assert_eq!(offset(r#""abc""#, 9), 4);
    }
}
