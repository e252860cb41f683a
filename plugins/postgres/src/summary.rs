//! What statements change, read from their first words.
//!
//! It is for the person who reads a plan, and decides nothing but one thing: a statement that would end the transaction
//! is named as such. Pure; invariant: every statement becomes at least one change, known or not.

use crate::name::Name;
use std::collections::BTreeSet;
use windlass_sdk::Change;
use windlass_sdk::postgres::Statement;

/// The longest text of a statement that a change shows, in characters.
const SHOWN: usize = 100;

/// The changes that these statements make, in order.
pub(crate) fn changes(statements: &[Statement]) -> Vec<Change> {
    // Where a script says what names without a schema mean, nothing is put before them.
    let mut schema = Some("public");
    let mut changes = Vec::new();
    for statement in statements {
        let tokens = tokens(&statement.sql);
        let words = Words { tokens: &tokens, at: 0, schema };
        if words.sets_search_path() {
            schema = None;
        }
        changes.extend(words.changes(statement));
    }
    changes
}

/// The relations that these statements make, change, or change rows, policies or triggers of. What a script calls by names
/// without a schema, having set the search path itself, is not among them.
pub(crate) fn relations(statements: &[Statement]) -> BTreeSet<Name> {
    const KINDS: [&str; 7] =
        ["materialized view ", "foreign table ", "table ", "view ", "index ", "sequence ", "rows of "];
    let relation = |change: &Change| {
        let target = change.target.as_str();
        if let Some(column) = target.strip_prefix("column ") {
            return Name::parse(column.rsplit_once('.')?.0, "");
        }
        if target.starts_with("rights ") {
            return None;
        }
        match target.rsplit_once(" on ") {
            Some((_, table)) => Name::parse(table, ""),
            None => Name::parse(KINDS.into_iter().find_map(|kind| target.strip_prefix(kind))?, ""),
        }
    };
    changes(statements).iter().filter_map(relation).collect()
}

/// The first word of a statement that begins or ends a transaction.
pub(crate) fn transaction_control(sql: &str) -> Option<String> {
    const CONTROL: [&str; 9] = [
        "begin",
        "start",
        "commit",
        "end",
        "rollback",
        "abort",
        "savepoint",
        "release",
        "prepare transaction",
    ];
    let tokens = tokens(sql);
    let first = tokens.first()?;
    let two = format!("{first} {}", tokens.get(1).map_or("", String::as_str));
    let found = CONTROL.into_iter().find(|word| first == word || two == *word)?;
    Some(found.to_ascii_uppercase())
}

/// Words in lower case, names in quotes as they are, and single signs; comments, strings and what stands in them are
/// left out, since no first word is there.
fn tokens(sql: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest),
            '\'' => quote(rest, '\''),
            '"' => {
                let length = quote(rest, '"');
                tokens.push(rest.get(..length).unwrap_or_default().to_owned());
                length
            }
            '$' => dollar(rest),
            _ if first.is_alphabetic() || first == '_' => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
                let length = end.unwrap_or(rest.len());
                tokens.push(rest.get(..length).unwrap_or_default().to_lowercase());
                length
            }
            _ => {
                if !first.is_whitespace() {
                    tokens.push(first.to_string());
                }
                first.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    tokens
}

/// The length of a comment, which may hold others.
fn comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) else { return text.len() };
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
}

/// The length of a text in quotes, in which a quote is written twice.
fn quote(text: &str, sign: char) -> usize {
    let mut signs = text.char_indices().skip(1).filter(|(_, c)| *c == sign).map(|(at, _)| at).peekable();
    while let Some(at) = signs.next() {
        if signs.peek() == Some(&(at + 1)) {
            signs.next();
        } else {
            return at + 1;
        }
    }
    text.len()
}

/// The length of a text between `$tag$`s, or of the sign alone.
fn dollar(text: &str) -> usize {
    let body = text.get(1..).unwrap_or_default();
    let Some(end) = body.find('$').filter(|end| {
        body.get(..*end).is_some_and(|tag| tag.chars().all(|c| c.is_alphanumeric() || c == '_'))
    }) else {
        return 1;
    };
    let tag = text.get(..end + 2).unwrap_or_default();
    let inside = text.get(tag.len()..).unwrap_or_default();
    inside.find(tag).map_or(text.len(), |close| tag.len() * 2 + close)
}

/// A statement's words, read from the front.
#[derive(Clone, Copy)]
struct Words<'a> {
    tokens: &'a [String],
    at: usize,
    schema: Option<&'a str>,
}

impl<'a> Words<'a> {
    fn word(&self) -> &'a str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn skip(&mut self, words: &[&str]) -> bool {
        let found = words.contains(&self.word());
        self.at += usize::from(found);
        found
    }

    fn skip_all(&mut self, words: &[&str]) {
        while self.skip(words) {}
    }

    fn sets_search_path(self) -> bool {
        let mut words = self;
        words.skip(&["set"]) && {
            words.skip_all(&["local", "session"]);
            words.word() == "search_path"
        }
    }

    fn changes(mut self, statement: &Statement) -> Vec<Change> {
        let text = shown(&statement.sql);
        let one = |target: String, kind| vec![Change::new(target, kind).then(text.clone())];
        let verb = self.word();
        self.at += 1;
        match verb {
            "create" => {
                // Its name says enough: the plan of a migration is long as it is, and the file is there to be read.
                if let Some(target) = self.created() {
                    return vec![Change::new(target, "create")];
                }
            }
            "alter" => {
                if let Some(target) = self.altered() {
                    return one(target, "alter");
                }
            }
            "drop" => {
                let dropped = self.dropped();
                if !dropped.is_empty() {
                    return dropped.into_iter().map(|target| Change::new(target, "drop")).collect();
                }
            }
            "comment" => {
                self.skip(&["on"]);
                if let Some(target) = self.altered() {
                    return vec![Change::new(target, "comment")];
                }
            }
            "insert" | "delete" | "update" | "truncate" | "merge" => {
                self.skip_all(&["into", "from", "table", "only"]);
                if let Some(name) = self.name(true) {
                    return one(format!("rows of {name}"), verb);
                }
            }
            "grant" | "revoke" => {
                // Whatever stands before ON are the rights.
                if let Some(on) = self.tokens.iter().position(|token| token == "on") {
                    self.at = on + 1;
                    let kind = self.kind().unwrap_or("table");
                    if let Some(name) = self.name(has_schema(kind)) {
                        return one(format!("rights on {kind} {name}"), verb);
                    }
                }
                return one("rights of roles".to_owned(), verb);
            }
            _ => {}
        }
        one(format!("statement in line {}", statement.line), "run")
    }

    /// After CREATE.
    fn created(&mut self) -> Option<String> {
        if self.skip(&["or"]) {
            self.skip(&["replace"]);
        }
        let marks = [
            "global",
            "local",
            "temp",
            "temporary",
            "unlogged",
            "unique",
            "recursive",
            "constraint",
            "trusted",
            "procedural",
            "default",
        ];
        self.skip_all(&marks);
        let kind = self.kind()?;
        self.skip(&["concurrently"]);
        self.skip_all(&["if", "not", "exists"]);
        if kind == "index" && self.word() == "on" {
            return self.on_table().map(|table| format!("index on {table}"));
        }
        self.target(kind)
    }

    /// After ALTER, or COMMENT ON.
    fn altered(&mut self) -> Option<String> {
        // A column's comment belongs to its table.
        if self.skip(&["column"]) {
            let name = self.name(false)?;
            let (table, column) = name.rsplit_once('.')?;
            let schema = self.schema.filter(|_| !table.contains('.'));
            return Some(match schema {
                Some(schema) => format!("column {schema}.{table}.{column}"),
                None => format!("column {table}.{column}"),
            });
        }
        self.skip(&["constraint"]);
        let kind = self.kind().or_else(|| (self.word() != "").then_some("constraint"))?;
        self.skip_all(&["if", "exists", "only"]);
        self.target(kind)
    }

    /// After DROP, which takes several names.
    fn dropped(&mut self) -> Vec<String> {
        let Some(kind) = self.kind() else { return Vec::new() };
        self.skip_all(&["concurrently", "if", "exists"]);
        let mut targets = Vec::new();
        while let Some(target) = self.target(kind) {
            targets.push(target);
            // The arguments of a function are no names of their own.
            if self.word() == "(" {
                while !matches!(self.word(), ")" | "") {
                    self.at += 1;
                }
                self.at += 1;
            }
            if !self.skip(&[","]) {
                break;
            }
        }
        targets
    }

    /// What kind of thing follows.
    fn kind(&mut self) -> Option<&'static str> {
        const KINDS: [&str; 29] = [
            "materialized view",
            "foreign table",
            "foreign data wrapper",
            "event trigger",
            "access method",
            "text search",
            "operator class",
            "operator family",
            "table",
            "view",
            "index",
            "sequence",
            "function",
            "procedure",
            "routine",
            "aggregate",
            "trigger",
            "policy",
            "rule",
            "schema",
            "type",
            "domain",
            "extension",
            "role",
            "user",
            "database",
            "publication",
            "subscription",
            "collation",
        ];
        let found = KINDS.into_iter().find(|kind| {
            kind.split(' ')
                .enumerate()
                .all(|(n, word)| self.tokens.get(self.at + n).is_some_and(|t| t == word))
        })?;
        self.at += found.split(' ').count();
        Some(found)
    }

    /// A thing of this kind with its name and, where it belongs to a table, that table's.
    fn target(&mut self, kind: &str) -> Option<String> {
        let of_table = matches!(kind, "policy" | "trigger" | "rule" | "constraint");
        let name = self.name(has_schema(kind))?;
        if !of_table {
            return Some(format!("{kind} {name}"));
        }
        // Between a trigger's name and its table stands when it fires; a rule's table comes after TO.
        let before = if kind == "rule" { "to" } else { "on" };
        let rest = self.tokens.get(self.at..).unwrap_or_default();
        let position = rest.iter().position(|token| token == before || token == "on");
        self.at += position?;
        let event = kind == "rule" && self.word() == "on" && rest.iter().any(|token| token == "to");
        if event {
            self.at += rest.get(position?..)?.iter().position(|token| token == "to")?;
        }
        let table = self.on_table()?;
        Some(format!("{kind} {name} on {table}"))
    }

    /// ON, and the table after it.
    fn on_table(&mut self) -> Option<String> {
        self.skip(&["on", "to"]);
        self.skip(&["only"]);
        self.name(true)
    }

    /// A name, with the schema put before it where it has none of its own and this kind of thing has one.
    fn name(&mut self, with_schema: bool) -> Option<String> {
        let mut name = self.part()?;
        let mut parts = 1;
        while self.word() == "." {
            self.at += 1;
            name = format!("{name}.{}", self.part()?);
            parts += 1;
        }
        match self.schema.filter(|_| with_schema && parts == 1) {
            Some(schema) => Some(format!("{schema}.{name}")),
            None => Some(name),
        }
    }

    fn part(&mut self) -> Option<String> {
        let word = self.word();
        let is_name = word.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"');
        self.at += usize::from(is_name);
        is_name.then(|| word.to_owned())
    }
}

/// Whether a name of this kind of thing is within a schema.
fn has_schema(kind: &str) -> bool {
    !matches!(
        kind,
        "schema"
            | "extension"
            | "role"
            | "user"
            | "database"
            | "publication"
            | "subscription"
            | "policy"
            | "trigger"
            | "rule"
            | "constraint"
            | "event trigger"
            | "access method"
            | "foreign data wrapper"
    )
}

/// A statement on one line, cut.
fn shown(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        None => line,
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::{changes, relations, transaction_control};
    use windlass_sdk::postgres::Statement;

    fn told(sql: &str) -> Vec<String> {
        let statement = Statement { sql: sql.to_owned(), line: 7 };
        changes(&[statement]).iter().map(|change| format!("{} {}", change.kind, change.target)).collect()
    }

    #[test]
    fn each_statement_is_told_by_what_it_changes() {
        for (sql, expected) in [
            ("-- new\nCREATE TABLE roche_audit_logs (id uuid)", "create table public.roche_audit_logs"),
            ("create unlogged table if not exists a.b ()", "create table a.b"),
            ("CREATE UNIQUE INDEX one_idx ON t (a) WHERE b", "create index public.one_idx"),
            ("CREATE INDEX ON ONLY t (a)", "create index on public.t"),
            ("CREATE POLICY reads ON logs FOR SELECT USING (true)", "create policy reads on public.logs"),
            (
                "CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON logs FOR EACH ROW EXECUTE FUNCTION f()",
                "create trigger keep on public.logs",
            ),
            ("CREATE RULE r AS ON INSERT TO logs DO NOTHING", "create rule r on public.logs"),
            (
                "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$",
                "create function public.f",
            ),
            ("CREATE MATERIALIZED VIEW m AS SELECT 1", "create materialized view public.m"),
            ("CREATE EXTENSION IF NOT EXISTS vector", "create extension vector"),
            ("CREATE SCHEMA audit", "create schema audit"),
            ("ALTER TABLE ONLY logs ENABLE ROW LEVEL SECURITY", "alter table public.logs"),
            ("ALTER POLICY reads ON logs USING (false)", "alter policy reads on public.logs"),
            ("DROP TABLE IF EXISTS a, s.b CASCADE", "drop table public.a | drop table s.b"),
            ("DROP FUNCTION f(int, text), g()", "drop function public.f | drop function public.g"),
            ("DROP TRIGGER keep ON logs", "drop trigger keep on public.logs"),
            ("COMMENT ON TABLE logs IS 'x'", "comment table public.logs"),
            ("COMMENT ON COLUMN logs.hash IS 'x'", "comment column public.logs.hash"),
            ("COMMENT ON CONSTRAINT c ON logs IS 'x'", "comment constraint c on public.logs"),
            ("INSERT INTO logs SELECT 1", "insert rows of public.logs"),
            ("UPDATE \"Logs\" SET a = 1", "update rows of public.\"Logs\""),
            ("GRANT SELECT ON logs TO reader", "grant rights on table public.logs"),
            ("GRANT USAGE ON SCHEMA audit TO reader", "grant rights on schema audit"),
            ("GRANT owner TO other", "grant rights of roles"),
            ("DO $$ BEGIN END $$", "run statement in line 7"),
            ("CREATE SOMETHING NEW", "run statement in line 7"),
        ] {
            assert_eq!(told(sql).join(" | "), expected, "{sql}");
        }
    }

    #[test]
    fn a_search_path_leaves_names_as_they_are() {
        let statements = ["SET search_path = audit", "CREATE TABLE t ()"]
            .map(|sql| Statement { sql: sql.to_owned(), line: 1 });
        assert_eq!(changes(&statements)[1].target, "table t");
    }

    #[test]
    fn relations_are_found_by_what_is_done_to_them() {
        let named = |sql: &str| {
            let found = relations(&[Statement { sql: sql.to_owned(), line: 1 }]);
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        for (sql, expected) in [
            ("CREATE TABLE a (b int)", "public.a"),
            ("COMMENT ON COLUMN logs.hash IS 'x'", "public.logs"),
            ("CREATE POLICY reads ON s.logs USING (true)", "s.logs"),
            ("CREATE INDEX i ON t (a)", "public.i"),
            ("CREATE INDEX ON t (a)", "public.t"),
            ("UPDATE \"Logs\" SET a = 1", "public.Logs"),
            ("GRANT SELECT ON logs TO reader", ""),
            ("CREATE EXTENSION vector", ""),
        ] {
            assert_eq!(named(sql), expected, "{sql}");
        }
        let statements = ["SET search_path = audit", "CREATE TABLE t ()", "CREATE TABLE a.t ()"]
            .map(|sql| Statement { sql: sql.to_owned(), line: 1 });
        assert_eq!(relations(&statements).len(), 1);
    }

    #[test]
    fn what_ends_the_transaction_is_seen() {
        assert_eq!(transaction_control("/* a /* b */ */ begin").as_deref(), Some("BEGIN"));
        assert_eq!(transaction_control("PREPARE TRANSACTION 'x'").as_deref(), Some("PREPARE TRANSACTION"));
        for harmless in ["PREPARE p AS SELECT 1", "CREATE TABLE begin ()", "'commit'", "-- commit", ""] {
            assert_eq!(transaction_control(harmless), None, "{harmless}");
        }
    }
}
