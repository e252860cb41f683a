//! TOML as a tree with a place for every key and value, in the order of the file.
//!
//! This is the only module that knows the `toml` crate. Values are owned, so that a document outlives its text.

use std::borrow::Cow;
use std::ops::Range;
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
    pub(crate) key: Located<Key>,
    pub(crate) value: Node,
}

/// A key. What most steps have is not kept thousands of times.
pub(crate) type Key = Cow<'static, str>;

/// The keys that are not kept.
const COMMON: [&str; 16] = [
    "id",
    "title",
    "do",
    "with",
    "needs",
    "when",
    "expect",
    "timeout",
    "retry",
    "attempts",
    "backoff",
    "wait",
    "on_failure",
    "for_each",
    "until",
    "every",
];

fn key(text: Cow<'_, str>) -> Key {
    match COMMON.iter().find(|common| **common == text) {
        Some(common) => Cow::Borrowed(common),
        None => Cow::Owned(text.into_owned()),
    }
}

impl Entry {
    /// The key as the name of something.
    pub(crate) fn name(&self) -> Located<String> {
        Located::new(self.key.value.clone().into_owned(), self.key.span)
    }
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
                table
                    .entries
                    .iter()
                    .map(|entry| (entry.key.value.to_string(), entry.value.to_value()))
                    .collect(),
            ),
        }
    }
}

/// Reads a file. `None` where it is no TOML; everything wrong with it is reported.
pub(crate) fn read(file: FileId, source: &Arc<SourceFile>, report: &mut Report) -> Option<Table> {
    read_in_pieces(file, source, &cuts(&source.text, PIECE), report)
        .or_else(|| read_whole(file, source, report))
}

fn read_whole(file: FileId, source: &Arc<SourceFile>, report: &mut Report) -> Option<Table> {
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
    let mut converter = Converter { file, offset: 0, report };
    Some(converter.table(span, root.into_inner()))
}

/// A large file is parsed in pieces of about this many bytes. What the parser holds is about forty times as much, and
/// all of it stays near: for ten thousand steps at once, getting that memory costs more than parsing.
const PIECE: usize = 16 * 1024;

/// Reads a file cut before lines that are `[[name]]`. Pieces that are each TOML are so together where they share no
/// name but those of arrays of tables, which each piece adds to. Whatever is otherwise, every mistake too, is left to
/// reading the whole.
///
/// Two threads read a half each, this one the first.
fn read_in_pieces(file: FileId, source: &Arc<SourceFile>, cuts: &[usize], report: &Report) -> Option<Table> {
    let starts = [0].into_iter().chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([source.text.len()]);
    let ranges: Vec<Range<usize>> = starts.zip(ends).map(|(start, end)| start..end).collect();
    if cuts.is_empty() {
        return None;
    }
    let (first, second) = ranges.split_at(ranges.len() / 2);
    let pieces = |ranges: &[Range<usize>]| -> Option<Vec<Table>> {
        let mut mistakes = Report::new(report.sources.clone());
        let read = |range: &Range<usize>| {
            let root = DeTable::parse(source.text.get(range.clone())?).ok()?;
            let mut converter = Converter { file, offset: range.start, report: &mut mistakes };
            Some(converter.table(Span::new(file, &(0..0)), root.into_inner()))
        };
        let tables = ranges.iter().map(read).collect::<Option<_>>()?;
        (!mistakes.has_errors()).then_some(tables)
    };
    let (first, second) = std::thread::scope(|scope| {
        let other = std::thread::Builder::new().spawn_scoped(scope, || pieces(second));
        let first = pieces(first);
        let second = match other {
            Ok(other) => other.join().ok().flatten(),
            // The system has no thread left.
            Err(_) => pieces(second),
        };
        (first, second)
    });
    joined(first?.into_iter().chain(second?))
}

/// The pieces of a file together. None where they are not what the whole is.
fn joined(mut pieces: impl Iterator<Item = Table>) -> Option<Table> {
    let mut whole = pieces.next()?;
    // Arrays of the head may be written as values, and those can't be added to.
    let head = whole.entries.len();
    for piece in pieces {
        for entry in piece.entries {
            let known = whole.entries.iter().position(|known| known.key.value == entry.key.value);
            let Some(known) = known else {
                whole.entries.push(entry);
                continue;
            };
            match (whole.entries.get_mut(known).map(|known| &mut known.value.kind), entry.value.kind) {
                (Some(Kind::List(items)), Kind::List(more)) if known >= head => items.extend(more),
                _ => return None,
            }
        }
    }
    Some(whole)
}

/// Where a text is cut: before the first line that is `[[name]]`, and then before one about every `size` bytes. Nothing
/// for a text that is hardly larger than that. Such a line can stand inside a longer string too, of which then neither
/// half is TOML.
fn cuts(text: &str, size: usize) -> Vec<usize> {
    let mut cuts = Vec::new();
    let mut from = 0;
    while text.len() > 2 * size
        && let Some(rest) = text.get(from..)
        && let Some(found) = rest.find("\n[[")
    {
        let at = from + found + 1;
        let line = text.get(at..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let name = line.trim_end().strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]"));
        let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if name.is_some_and(is_plain) {
            cuts.push(at);
            from = text.floor_char_boundary(at + size);
        } else {
            from = at;
        }
    }
    cuts
}

struct Converter<'r> {
    file: FileId,
    /// Where in the file the text begins that was parsed.
    offset: usize,
    report: &'r mut Report,
}

impl Converter<'_> {
    fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span::new(self.file, &(range.start + self.offset..range.end + self.offset))
    }

    fn table(&mut self, span: Span, table: DeTable<'_>) -> Table {
        // Not collected, which makes room for four at least: most tables in tables are smaller.
        let mut entries = Vec::with_capacity(table.len());
        entries.extend(table.into_iter().map(|(key, value)| {
            let key_span = self.span(key.span());
            let key = Located::new(self::key(key.into_inner()), key_span);
            let span = self.span(value.span());
            Entry { key, value: self.node(span, value.into_inner()) }
        }));
        // The crate sorts by name; people read in the order they wrote.
        entries.sort_by_key(|entry: &Entry| entry.key.span.range().start);
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
                        let span = self.span(item.span());
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

    fn pieces_and_whole(text: &str, size: usize) -> (Option<String>, Option<String>, usize) {
        let source = Arc::new(SourceFile::new("runbook.toml", text));
        let sources = crate::report::Sources { runbook: Arc::clone(&source), environment: None };
        let mut report = Report::new(sources);
        let cuts = cuts(text, size);
        let pieces = read_in_pieces(FileId::Runbook, &source, &cuts, &report);
        let whole = read_whole(FileId::Runbook, &source, &mut report);
        let shown = |table: Option<Table>| table.map(|table| format!("{table:?}"));
        (shown(pieces), shown(whole), cuts.len())
    }

    #[test]
    fn pieces_are_together_what_the_whole_is() {
        let head = "list = [1]\n[vars]\na = 'ö'\n";
        let steps: String = (0..40)
            .map(|n| format!("\n[[step]]\nid = \"s{n}\"\nwith = {{ n = {n} }}\n[step.more]\nx = 1.5\n"))
            .collect();
        let stages: String = (0..40)
            .map(|n| format!("[[stage]]\r\nname = \"ü{n}\"\r\n[[stage.step]]\r\nid = \"t{n}\"\r\n"))
            .collect();
        for size in [1, 50, 200, 1000] {
            let text = format!("{head}{steps}{stages}[finally]\nx = 1\n[[finally.step]]\nid = 'f'\n");
            let (pieces, whole, cuts) = pieces_and_whole(&text, size);
            assert!(cuts > 2);
            assert!(pieces.is_some(), "{size}");
            assert_eq!(pieces, whole, "{size}");
        }
    }

    #[test]
    fn what_only_the_whole_can_tell_is_left_to_it() {
        for text in [
            // An array that is a value can't be added to.
            "step = []\n[[step]]\na = 1\n[[step]]\na = 1\n",
            // The same table twice.
            "x = 1\n[[step]]\n[vars]\na = 1\n[[step]]\n[vars]\nb = 1\n",
            // No table of an array, then one.
            "x = 1\n[[step]]\n[stage]\na = 1\n[[stage]]\nb = 1\n",
            // A header inside a string, a list and a broken string.
            "x = \"\"\"\n[[step]]\n\"\"\"\n[[step]]\na = 1\n",
            "x = [\n[[1]]\n, 2]\n[[step]]\na = 1\n",
            "x = 1\n[[step]]\na = \"\n[[step]]\n",
            // A number that does not fit.
            "x = 1\n[[step]]\na = 99999999999999999999\n[[step]]\na = 1\n",
        ] {
            let (pieces, _, cuts) = pieces_and_whole(text, 1);
            assert!(cuts > 0, "{text}");
            assert_eq!(pieces, None, "{text}");
        }
    }

    #[test]
    fn a_small_text_is_not_cut() {
        assert!(cuts("x = 1\n[[step]]\na = 1\n", PIECE).is_empty());
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
