//! Taking a table apart: typed keys, and an error for every key that nobody asked for.

use std::fmt::Display;

use crate::diagnostics::Diagnostic;
use crate::node::{Entry, Kind, Node, Table};
use crate::report::Report;
use crate::source::{Located, Span};
use crate::{suggest, units};

/// No table has more keys.
const MOST_KEYS: usize = 32;

/// A table being read. Every key is taken by name; `finish` reports what is left.
pub(crate) struct Reader<'r> {
    table: Table,
    what: &'r str,
    /// The keys that were asked for; so many of them.
    known: [&'static str; MOST_KEYS],
    asked: usize,
    pub(crate) report: &'r mut Report,
}

impl<'r> Reader<'r> {
    /// `what` names the table in messages: "a step", "`[runbook]`".
    pub(crate) fn new(table: Table, what: &'r str, report: &'r mut Report) -> Self {
        Self { table, what, known: [""; MOST_KEYS], asked: 0, report }
    }

    /// A table out of a value, or an error.
    pub(crate) fn of(node: Node, what: &'r str, report: &'r mut Report) -> Option<Self> {
        match node.kind {
            Kind::Table(table) => Some(Self::new(table, what, report)),
            _ => {
                wrong_type(report, &node, what, "a table");
                None
            }
        }
    }

    /// Where the table begins.
    pub(crate) const fn span(&self) -> Span {
        self.table.span
    }

    /// The entry of a key, as it is.
    pub(crate) fn entry(&mut self, key: &'static str) -> Option<Entry> {
        if let Some(slot) = self.known.get_mut(self.asked) {
            *slot = key;
            self.asked += 1;
        }
        self.misplaced(key)
    }

    /// The entry of a key that does not belong here.
    pub(crate) fn misplaced(&mut self, key: &str) -> Option<Entry> {
        let place = self.table.entries.iter().position(|entry| entry.key.value == key)?;
        // Mistakes are told in the order of the file, whatever order the keys that are left over have here.
        Some(self.table.entries.swap_remove(place))
    }

    /// The value of a key, as it is.
    pub(crate) fn node(&mut self, key: &'static str) -> Option<Node> {
        self.entry(key).map(|entry| entry.value)
    }

    /// Whether the key is there and not yet taken.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.entries.iter().any(|entry| entry.key.value == key)
    }

    /// Drops what is left, after an error that says all there is to say.
    pub(crate) fn skip_all(&mut self) {
        self.table.entries.clear();
    }

    pub(crate) fn string(&mut self, key: &'static str) -> Option<Located<String>> {
        let node = self.node(key)?;
        string(node, format_args!("`{key}`"), self.report)
    }

    /// A string that must be there.
    pub(crate) fn required_string(&mut self, key: &'static str) -> Option<Located<String>> {
        if !self.has(key) {
            self.missing(key);
        }
        self.string(key)
    }

    /// Whether the key is neither there nor there misspelt, which `finish` says.
    pub(crate) fn lacks(&self, key: &str) -> bool {
        !self.table.entries.iter().any(|entry| suggest::nearest(&entry.key.value, [key]).is_some())
    }

    /// Reports that a key is missing.
    pub(crate) fn missing(&mut self, key: &str) {
        if !self.lacks(key) {
            return;
        }
        let message = format!("{} has no `{key}`", self.what);
        self.report.error("missing-key", self.table.span, message, None);
    }

    pub(crate) fn bool(&mut self, key: &'static str) -> Option<bool> {
        let node = self.node(key)?;
        match node.kind {
            Kind::Bool(truth) => Some(truth),
            _ => {
                wrong_type(self.report, &node, format_args!("`{key}`"), "true or false");
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(crate) fn count(&mut self, key: &'static str, least: u32) -> Option<u32> {
        let node = self.node(key)?;
        let number = match node.kind {
            Kind::Integer(number) => u32::try_from(number).ok().filter(|number| *number >= least),
            _ => None,
        };
        if number.is_none() {
            let message = format!("`{key}` must be a whole number from {least}");
            self.report.error("wrong-value", node.span, message, None);
        }
        number
    }

    /// Milliseconds of a text such as "5m".
    pub(crate) fn duration(&mut self, key: &'static str) -> Option<Located<u64>> {
        let text = self.string(key)?;
        match units::parse_duration(&text.value) {
            Ok(milliseconds) => Some(Located::new(milliseconds, text.span)),
            Err(message) => {
                self.report.error("wrong-value", text.span, message, None);
                None
            }
        }
    }

    /// One word out of a list.
    pub(crate) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.string(key)?;
        let found = words.iter().find(|(word, _)| *word == text.value).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("`{key}` can't be \"{}\"", text.value);
            self.report.error("wrong-value", text.span, message, suggest::help(&text.value, known));
        }
        found
    }

    /// A list of strings.
    pub(crate) fn strings(&mut self, key: &'static str) -> Option<Located<Vec<Located<String>>>> {
        let node = self.node(key)?;
        let span = node.span;
        let Kind::List(items) = node.kind else {
            wrong_type(self.report, &node, format_args!("`{key}`"), "a list of strings");
            return None;
        };
        let mut item = |item| string(item, format_args!("an item of `{key}`"), self.report);
        let items = items.into_iter().filter_map(&mut item).collect();
        Some(Located::new(items, span))
    }

    /// A string, or a list of strings.
    pub(crate) fn one_or_more(&mut self, key: &'static str) -> Vec<Located<String>> {
        if self
            .table
            .entries
            .iter()
            .any(|entry| entry.key.value == key && matches!(entry.value.kind, Kind::List(_)))
        {
            return self.strings(key).map(|list| list.value).unwrap_or_default();
        }
        self.string(key).into_iter().collect()
    }

    /// The entries of a table whose keys are names that the author chose.
    pub(crate) fn named(&mut self, key: &'static str) -> Vec<Entry> {
        let Some(node) = self.node(key) else { return Vec::new() };
        match node.kind {
            Kind::Table(table) => table.entries,
            _ => {
                wrong_type(self.report, &node, format_args!("`{key}`"), "a table");
                Vec::new()
            }
        }
    }

    /// A table that this version does not have: one error for all of it.
    pub(crate) fn unsupported(&mut self, key: &'static str, what: &str, instead: &str) -> bool {
        let Some(entry) = self.entry(key) else { return false };
        unsupported(self.report, entry.key.span, what, instead);
        true
    }

    /// Reports the keys that nobody took.
    pub(crate) fn finish(self) {
        let known = self.known.get(..self.asked).unwrap_or_default();
        for entry in &self.table.entries {
            let key = &entry.key;
            let message = format!("{} has no key `{}`", self.what, key.value);
            let help = suggest::nearest(&key.value, known.iter().copied()).map_or_else(
                || format!("it may have {}", suggest::list(known)),
                |near| format!("did you mean `{near}`?"),
            );
            self.report.error("unknown-key", key.span, message, Some(help));
        }
    }
}

/// A string out of a value, or an error.
pub(crate) fn string(node: Node, what: impl Display, report: &mut Report) -> Option<Located<String>> {
    match node.kind {
        Kind::String(text) => Some(Located::new(text, node.span)),
        _ => {
            wrong_type(report, &node, what, "a string");
            None
        }
    }
}

pub(crate) fn wrong_type(report: &mut Report, node: &Node, what: impl Display, expected: &str) {
    let message = format!("{what} must be {expected}, not {}", node.describe());
    report.error("wrong-type", node.span, message, None);
}

pub(crate) fn unsupported(report: &mut Report, span: Span, what: &str, instead: &str) {
    let message = format!("{what} not supported by this version of windlass");
    report.marked(Diagnostic::error("not-supported", message).help(instead), &[(span, "")]);
}
