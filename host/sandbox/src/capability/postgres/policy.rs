//! What a statement needs and whether it may be sent: parse and decide, without I/O.
//!
//! It looks at keywords outside quotes. In read mode that is only the outer fence: what holds is the role that the host
//! connects as. Invariant: a statement it does not know needs the widest right, `ddl`.

use std::borrow::Cow;

use super::lexer::{Statement, Token, TokenKind};
use crate::grant::PostgresAccess;

/// What becomes of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Class {
    /// It may be sent where the grant has this right.
    Needs(PostgresAccess),
    /// CREATE DATABASE and DROP DATABASE: need `ddl`, and can only stand alone, outside a transaction.
    Database,
    /// Never sent, whatever the grant: it would leave the host's transaction or reach the server's machine.
    Denied(&'static str),
    /// Never sent since it can't work here; the text says why, the state is PostgreSQL's word for it.
    Impossible { reason: &'static str, hint: &'static str, sqlstate: &'static str },
}

const TRANSACTION: &str = "the host begins and ends the transaction; a statement may not";
const SERVER_FILES: &str = "COPY to or from a file or program runs on the server's machine";
const NOT_IN_TRANSACTION: &str = "it can't run in a transaction, and the host runs all statements in one";

/// What the statement needs.
pub(crate) fn classify(statement: &Statement<'_>) -> Class {
    let words = Words::of(statement);
    match words.first() {
        "select" | "table" | "values" => rows(&words),
        "with" => with(&words),
        "show" => Class::Needs(PostgresAccess::Read),
        "explain" => explain(&words),
        "insert" | "update" | "delete" | "merge" | "truncate" | "lock" | "notify" | "call" | "reset"
        | "analyze" | "analyse" => Class::Needs(PostgresAccess::Write),
        "set" => set(&words),
        "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" => {
            Class::Denied(TRANSACTION)
        }
        "prepare" if words.second() == "transaction" => Class::Denied(TRANSACTION),
        "copy" => copy(&words),
        "load" => Class::Denied("LOAD loads code into the server"),
        "alter" if words.second() == "system" => {
            Class::Denied("ALTER SYSTEM changes the configuration of the whole server")
        }
        "create" | "drop" if words.second() == "database" => Class::Database,
        "vacuum" | "discard" => outside("leave it to autovacuum, or run it with a granted psql"),
        "create" | "drop" if words.second() == "tablespace" => outside("run it with a granted psql"),
        "create" | "drop" | "reindex" | "alter" if words.contains("concurrently") => {
            outside("leave out CONCURRENTLY, or run it with a granted psql")
        }
        "reindex" if matches!(words.second(), "database" | "system") => {
            outside("reindex the tables one by one, or run it with a granted psql")
        }
        _ => Class::Needs(PostgresAccess::Ddl),
    }
}

const fn outside(hint: &'static str) -> Class {
    Class::Impossible { reason: NOT_IN_TRANSACTION, hint, sqlstate: "25001" }
}

/// SELECT and its like: reads, but for `INTO`, which makes a table, and `FOR UPDATE`, which locks rows.
fn rows(words: &Words<'_>) -> Class {
    if words.contains("into") {
        return Class::Needs(PostgresAccess::Ddl);
    }
    let locks = words.pairs().any(|(a, b)| a == "for" && matches!(b, "update" | "share" | "no" | "key"));
    Class::Needs(if locks { PostgresAccess::Write } else { PostgresAccess::Read })
}

/// WITH, before or inside which any of the writing statements may stand.
fn with(words: &Words<'_>) -> Class {
    let targets = words.count("insert") + words.count("merge");
    if words.count("into") > targets {
        Class::Needs(PostgresAccess::Ddl)
    } else if targets > 0 || words.contains("update") || words.contains("delete") {
        Class::Needs(PostgresAccess::Write)
    } else {
        rows(words)
    }
}

/// EXPLAIN only looks, but for EXPLAIN ANALYZE, which runs the statement.
fn explain(words: &Words<'_>) -> Class {
    if !words.contains("analyze") && !words.contains("analyse") {
        return Class::Needs(PostgresAccess::Read);
    }
    if words.contains("create") || words.contains("execute") || words.contains("refresh") {
        return Class::Needs(PostgresAccess::Ddl);
    }
    with(words)
}

/// SET for this session, but not what would undo the host's own settings.
fn set(words: &Words<'_>) -> Class {
    let names_transaction = words.contains("transaction")
        || words.contains("characteristics")
        || words
            .iter()
            .any(|word| word.starts_with("transaction_") || word.starts_with("default_transaction_"));
    if names_transaction {
        Class::Denied(TRANSACTION)
    } else if words.contains("standard_conforming_strings") {
        Class::Denied("the host needs standard_conforming_strings to stay on")
    } else {
        Class::Needs(PostgresAccess::Write)
    }
}

fn copy(words: &Words<'_>) -> Class {
    let no_rows = |reason, hint| Class::Impossible { reason, hint, sqlstate: "0A000" };
    if words.contains("program") {
        Class::Denied(SERVER_FILES)
    } else if words.pairs().any(|(a, b)| a == "from" && b == "stdin") {
        no_rows("COPY … FROM STDIN wants rows that a statement can't bring", "write INSERT statements")
    } else if words.pairs().any(|(a, b)| a == "to" && b == "stdout") {
        no_rows("COPY … TO STDOUT answers with rows in a form of its own", "write a SELECT")
    } else {
        Class::Denied(SERVER_FILES)
    }
}

/// The first keyword as the audit shows it, in upper case.
pub(crate) fn keyword(statement: &Statement<'_>) -> String {
    Words::of(statement).first().to_ascii_uppercase()
}

/// The words of a statement without quotes, in lower case.
struct Words<'a>(Vec<Cow<'a, str>>);

impl<'a> Words<'a> {
    fn of(statement: &Statement<'a>) -> Self {
        // `t.into` names a column, so what follows a dot is no keyword.
        let mut after_dot = false;
        let mut words = Vec::new();
        for token in &statement.tokens {
            if token.kind == TokenKind::Word && !after_dot {
                words.push(lower(token));
            } else if words.is_empty() && token.kind != TokenKind::Open {
                words.push("".into());
            }
            after_dot = token.text == ".";
        }
        Self(words)
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    fn first(&self) -> &str {
        self.0.first().map_or("", AsRef::as_ref)
    }

    fn second(&self) -> &str {
        self.0.get(1).map_or("", AsRef::as_ref)
    }

    fn contains(&self, word: &str) -> bool {
        self.iter().any(|w| w == word)
    }

    fn count(&self, word: &str) -> usize {
        self.iter().filter(|w| *w == word).count()
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().zip(self.iter().skip(1))
    }
}

fn lower<'a>(token: &Token<'a>) -> Cow<'a, str> {
    if token.text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        token.text.to_ascii_lowercase().into()
    } else {
        token.text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexer::split;
    use super::*;

    fn class(sql: &str) -> Class {
        classify(split(sql).unwrap().first().unwrap())
    }

    #[test]
    fn each_statement_needs_what_it_does() {
        let table = [
            (PostgresAccess::Read, "select 1"),
            (PostgresAccess::Read, "(SELECT 1) union (select 2)"),
            (PostgresAccess::Read, "/* insert */ select 'insert into'"),
            (PostgresAccess::Read, "values (1)"),
            (PostgresAccess::Read, "table t"),
            (PostgresAccess::Read, "show server_version"),
            (PostgresAccess::Read, "with a as (select 1) select * from a"),
            (PostgresAccess::Read, "select \"into\", t.into from t"),
            (PostgresAccess::Read, "explain delete from t"),
            (PostgresAccess::Read, "explain (analyze, buffers) select 1"),
            (PostgresAccess::Write, "explain analyze delete from t"),
            (PostgresAccess::Write, "explain (analyze) insert into t values (1)"),
            (PostgresAccess::Ddl, "explain analyze create table x as select 1"),
            (PostgresAccess::Write, "insert into t values (1)"),
            (PostgresAccess::Write, "INSERT INTO t SELECT 1"),
            (PostgresAccess::Write, "update t set a = 1"),
            (PostgresAccess::Write, "delete from t"),
            (PostgresAccess::Write, "merge into t using s on true when matched then delete"),
            (PostgresAccess::Write, "truncate t"),
            (PostgresAccess::Write, "with d as (delete from t returning *) select * from d"),
            (PostgresAccess::Write, "with d as (select 1) insert into t select * from d"),
            (PostgresAccess::Write, "select * from t for update"),
            (PostgresAccess::Write, "select * from t for no key update"),
            (PostgresAccess::Write, "set local lock_timeout = '5s'"),
            (PostgresAccess::Write, "set role other"),
            (PostgresAccess::Write, "call p()"),
            (PostgresAccess::Ddl, "select 1 into t"),
            (PostgresAccess::Ddl, "with d as (delete from t returning *) select * into x from d"),
            (PostgresAccess::Ddl, "create table t ()"),
            (PostgresAccess::Ddl, "create index i on t (a)"),
            (PostgresAccess::Ddl, "alter table t add a int"),
            (PostgresAccess::Ddl, "drop table t"),
            (PostgresAccess::Ddl, "grant select on t to r"),
            (PostgresAccess::Ddl, "do $$ begin end $$"),
            (PostgresAccess::Ddl, "refresh materialized view concurrently v"),
            (PostgresAccess::Ddl, "prepare p as insert into t values (1)"),
            (PostgresAccess::Ddl, "execute p"),
            (PostgresAccess::Ddl, "whatever comes next"),
            (PostgresAccess::Ddl, "'select'"),
        ];
        for (right, sql) in table {
            assert_eq!(class(sql), Class::Needs(right), "{sql}");
        }
    }

    #[test]
    fn ways_out_of_the_transaction_are_denied() {
        for sql in [
            "commit",
            "COMMIT AND CHAIN",
            "end",
            "begin",
            "start transaction read write",
            "rollback",
            "abort",
            "savepoint a",
            "release a",
            "rollback to a",
            "prepare transaction 'x'",
            "commit prepared 'x'",
            "set transaction read write",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
            "set transaction_read_only = off",
            "set local default_transaction_read_only to off",
            "set standard_conforming_strings = off",
        ] {
            assert!(matches!(class(sql), Class::Denied(_)), "{sql}: {:?}", class(sql));
        }
    }

    #[test]
    fn the_servers_machine_is_out_of_reach() {
        for sql in [
            "copy t from program 'id'",
            "copy (select 1) to program 'cat > /tmp/x'",
            "copy t to '/tmp/x'",
            "copy t from '/etc/passwd'",
            "alter system set fsync = off",
            "load '/tmp/x.so'",
        ] {
            assert!(matches!(class(sql), Class::Denied(_)), "{sql}: {:?}", class(sql));
        }
    }

    #[test]
    fn what_cannot_work_in_a_transaction_says_so() {
        for sql in [
            "vacuum",
            "vacuum full t",
            "create index concurrently i on t (a)",
            "create unique index concurrently i on t (a)",
            "drop index concurrently i",
            "reindex table concurrently t",
            "reindex database d",
            "create tablespace s location '/x'",
            "copy t to stdout",
        ] {
            assert!(matches!(class(sql), Class::Impossible { .. }), "{sql}: {:?}", class(sql));
        }
        assert_eq!(class("create database d"), Class::Database);
        assert_eq!(class("drop database if exists d"), Class::Database);
    }
}
