//! The table that records which migrations are in place.
//!
//! Invariant: a row is there exactly where the file's statements were committed, since both are one transaction.

use crate::bindings::exports::windlass::contracts::database::Migrated;
use crate::name::Name;
use crate::server::{Server, text};
use windlass_sdk::postgres::{Parameter, Part};
use windlass_sdk::{Failure, Value, json};

/// Who writes into it.
const TOOL: &str = concat!("windlass postgres ", env!("CARGO_PKG_VERSION"));

/// Where the ledger is.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Name);

impl Default for Ledger {
    fn default() -> Self {
        Self(Name { schema: "public".to_owned(), name: "windlass_migrations".to_owned() })
    }
}

impl Ledger {
    /// The ledger in this table.
    pub(crate) fn new(table: &str) -> Result<Self, Failure> {
        Name::parse(table, "public").map(Self).ok_or_else(|| {
            Failure::invalid_input(format!("`{table}` names no table for `ledger`: write schema.table"))
        })
    }

    /// Whether its table is there.
    pub(crate) fn exists(&self, server: &impl Server) -> Result<bool, Failure> {
        let table = Parameter::Text(self.0.quoted());
        let there = server.rows("SELECT to_regclass($1::text) IS NOT NULL AS there", &[table])?;
        Ok(there.first().and_then(|row| row.get("there")).and_then(Value::as_bool) == Some(true))
    }

    /// Whether it has rows of other migrations than these.
    pub(crate) fn has_others(&self, server: &impl Server, names: &[&str]) -> Result<bool, Failure> {
        let sql = format!(
            "SELECT count(*) AS others FROM {} WHERE name NOT IN (SELECT jsonb_array_elements_text($1::jsonb))",
            self.0.quoted()
        );
        let rows = server.rows(&sql, &[Parameter::Json(json!(names).to_string())])?;
        Ok(rows.first().and_then(|row| row.get("others")).and_then(Value::as_u64) != Some(0))
    }

    /// The row of a migration; none where there is none, or no table yet.
    pub(crate) fn find(&self, server: &impl Server, name: &str) -> Result<Option<Migrated>, Failure> {
        if !self.exists(server)? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT checksum, statements, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') \
             AS applied_at FROM {} WHERE name = $1::text",
            self.0.quoted()
        );
        let rows = server.rows(&sql, &[Parameter::Text(name.to_owned())])?;
        Ok(rows.first().map(|row| Migrated {
            name: name.to_owned(),
            checksum: text(row, "checksum").to_owned(),
            statements: row
                .get("statements")
                .and_then(Value::as_u64)
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or_default(),
            applied_at: text(row, "applied_at").to_owned(),
        }))
    }

    /// The statements that record a migration. They come before its own: the primary key lets only one of two runs
    /// through, and nothing that the file sets, such as a role, reaches them.
    pub(crate) fn record(&self, name: &str, checksum: &str, statements: usize) -> Vec<Part> {
        let table = self.0.quoted();
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {table} (name text PRIMARY KEY, checksum text NOT NULL, statements integer NOT \
             NULL, applied_at timestamptz NOT NULL DEFAULT now(), tool text NOT NULL)"
        );
        let insert = format!(
            "INSERT INTO {table} (name, checksum, statements, tool) VALUES ($1::text, $2::text, $3::bigint, $4::text)"
        );
        let count = i64::try_from(statements).unwrap_or(i64::MAX);
        let parameters = vec![
            Parameter::Text(name.to_owned()),
            Parameter::Text(checksum.to_owned()),
            Parameter::Integer(count),
            Parameter::Text(TOOL.to_owned()),
        ];
        vec![plain(create), Part { sql: insert, parameters }]
    }

    /// The statement that forgets a migration, if its row has this checksum still. Where it hasn't, a division by nought
    /// ends the transaction: plain SQL has no other way to, and not every database has PL/pgSQL.
    pub(crate) fn forget(&self, name: &str, checksum: &str) -> Part {
        let sql = format!(
            "WITH gone AS (DELETE FROM {} WHERE name = $1::text AND checksum = $2::text RETURNING name) \
             SELECT 1 / count(*) FROM gone",
            self.0.quoted()
        );
        let parameters = vec![Parameter::Text(name.to_owned()), Parameter::Text(checksum.to_owned())];
        Part { sql, parameters }
    }

    /// The statement that ends the transaction as [`Ledger::forget`] does, where the migration has a row.
    pub(crate) fn is_forgotten(&self, name: &str) -> Part {
        let sql = format!("SELECT 1 / (1 - count(*)) FROM {} WHERE name = $1::text", self.0.quoted());
        Part { sql, parameters: vec![Parameter::Text(name.to_owned())] }
    }

    /// The statements that drop the table, and end the transaction where it has a row.
    pub(crate) fn drop_empty(&self) -> Vec<Part> {
        let table = self.0.quoted();
        vec![
            plain(format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")),
            plain(format!("SELECT 1 / (1 - least(count(*), 1)) FROM {table}")),
            plain(format!("DROP TABLE {table}")),
        ]
    }
}

/// For a person.
impl std::fmt::Display for Ledger {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A part without parameters.
pub(crate) const fn plain(sql: String) -> Part {
    Part { sql, parameters: Vec::new() }
}

/// Waits for locks no longer than this many milliseconds; five seconds where none.
pub(crate) fn lock_timeout(wait: Option<u64>) -> Part {
    // The server takes no more than 31 bits, and nought for no limit at all.
    let wait = wait.unwrap_or(5_000).clamp(1, i32::MAX.unsigned_abs().into());
    plain(format!("SET LOCAL lock_timeout = '{wait}ms'"))
}
