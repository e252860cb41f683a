//! What the catalog of the database has: one question for each kind of thing.
//!
//! It knows the catalog's tables and no expectation. Names go over as one JSON parameter, never into the text.

use crate::name::Name;
use crate::server::{Server, text};
use std::collections::{BTreeMap, BTreeSet};
use windlass_sdk::postgres::Parameter;
use windlass_sdk::{Failure, Value, json};

/// The names that are asked for, as rows.
const WANTED: &str = "(SELECT w.value->>0 AS s, w.value->>1 AS n FROM jsonb_array_elements($1::jsonb) AS w)";

/// A table, or what can be read like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    /// `table`, `view`, …
    pub(crate) kind: String,
    pub(crate) row_security: bool,
    pub(crate) policies: u64,
}

/// The tables of these names that are there, and what else bears such a name.
pub(crate) fn relations(
    server: &impl Server,
    names: &BTreeSet<Name>,
) -> Result<BTreeMap<Name, Relation>, Failure> {
    let sql = format!(
        "SELECT n.nspname AS schema, c.relname AS name, CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN \
         'materialized view' WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'type' WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' \
         ELSE 'table' END AS kind, c.relrowsecurity AS row_security, (SELECT count(*) FROM pg_catalog.pg_policy AS p \
         WHERE p.polrelid = c.oid) AS policies FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON \
         n.oid = c.relnamespace JOIN {WANTED} AS w ON n.nspname = w.s AND c.relname = w.n"
    );
    let rows = server.rows(&sql, &[list(names)])?;
    let relation = |row: &Value| Relation {
        kind: text(row, "kind").to_owned(),
        row_security: row.get("row_security").and_then(Value::as_bool).unwrap_or_default(),
        policies: row.get("policies").and_then(Value::as_u64).unwrap_or_default(),
    };
    Ok(rows.iter().map(|row| (named(row), relation(row))).collect())
}

/// The columns of these tables with their types.
pub(crate) fn columns(
    server: &impl Server,
    tables: &BTreeSet<Name>,
) -> Result<BTreeMap<Name, BTreeMap<String, String>>, Failure> {
    let sql = format!(
        "SELECT n.nspname AS schema, c.relname AS name, a.attname AS column, pg_catalog.format_type(a.atttypid, \
         a.atttypmod) AS type FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = \
         c.relnamespace JOIN {WANTED} AS w ON n.nspname = w.s AND c.relname = w.n JOIN pg_catalog.pg_attribute AS a ON \
         a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')"
    );
    let mut found: BTreeMap<Name, BTreeMap<String, String>> = BTreeMap::new();
    for row in server.rows(&sql, &[list(tables)])? {
        let columns = found.entry(named(&row)).or_default();
        columns.insert(text(&row, "column").to_owned(), text(&row, "type").to_owned());
    }
    Ok(found)
}

/// The indexes of these names that are there, and whether each is valid.
pub(crate) fn indexes(server: &impl Server, names: &BTreeSet<Name>) -> Result<BTreeMap<Name, bool>, Failure> {
    let sql = format!(
        "SELECT n.nspname AS schema, c.relname AS name, i.indisvalid AND i.indisready AS valid FROM pg_catalog.pg_index \
         AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = \
         c.relnamespace JOIN {WANTED} AS w ON n.nspname = w.s AND c.relname = w.n"
    );
    let rows = server.rows(&sql, &[list(names)])?;
    let valid = |row: &Value| row.get("valid").and_then(Value::as_bool).unwrap_or_default();
    Ok(rows.iter().map(|row| (named(row), valid(row))).collect())
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignKey {
    pub(crate) constraint: Name,
    pub(crate) table: Name,
    pub(crate) columns: Vec<String>,
    pub(crate) other: Name,
    pub(crate) other_columns: Vec<String>,
    pub(crate) valid: bool,
}

/// All foreign keys of tables in these schemas.
pub(crate) fn foreign_keys(
    server: &impl Server,
    schemas: &BTreeSet<String>,
) -> Result<Vec<ForeignKey>, Failure> {
    let columns = |of: &str, numbers: &str| {
        format!(
            "(SELECT json_agg(a.attname ORDER BY k.place) FROM unnest(f.{numbers}) WITH ORDINALITY AS k (number, place) \
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.{of} AND a.attnum = k.number)"
        )
    };
    let sql = format!(
        "SELECT f.conname AS name, n.nspname AS schema, c.relname AS table, {} AS columns, m.nspname AS other_schema, \
         d.relname AS other_table, {} AS other_columns, f.convalidated AS valid FROM pg_catalog.pg_constraint AS f JOIN \
         pg_catalog.pg_class AS c ON c.oid = f.conrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN \
         pg_catalog.pg_class AS d ON d.oid = f.confrelid JOIN pg_catalog.pg_namespace AS m ON m.oid = d.relnamespace \
         WHERE f.contype = 'f' AND n.nspname IN (SELECT jsonb_array_elements_text($1::jsonb))",
        columns("conrelid", "conkey"),
        columns("confrelid", "confkey"),
    );
    let rows = server.rows(&sql, &[Parameter::Json(json!(schemas).to_string())])?;
    let key = |row: &Value| {
        let name =
            |schema, name| Name { schema: text(row, schema).to_owned(), name: text(row, name).to_owned() };
        ForeignKey {
            constraint: name("schema", "name"),
            table: name("schema", "table"),
            columns: texts(row, "columns"),
            other: name("other_schema", "other_table"),
            other_columns: texts(row, "other_columns"),
            valid: row.get("valid").and_then(Value::as_bool).unwrap_or_default(),
        }
    };
    Ok(rows.iter().map(key).collect())
}

/// How many rows each of these tables has, in their order.
pub(crate) fn row_counts(server: &impl Server, tables: &[&Name]) -> Result<Vec<u64>, Failure> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let counts: Vec<String> = tables
        .iter()
        .enumerate()
        .map(|(place, table)| format!("SELECT {place} AS place, count(*) AS rows FROM {}", table.quoted()))
        .collect();
    let sql = format!("{} ORDER BY place", counts.join(" UNION ALL "));
    let rows = server.rows(&sql, &[])?;
    Ok(rows.iter().map(|row| row.get("rows").and_then(Value::as_u64).unwrap_or_default()).collect())
}

fn named(row: &Value) -> Name {
    Name { schema: text(row, "schema").to_owned(), name: text(row, "name").to_owned() }
}

fn texts(row: &Value, column: &str) -> Vec<String> {
    let items = row.get(column).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn list(names: &BTreeSet<Name>) -> Parameter {
    let names: Vec<_> = names.iter().map(|name| json!([name.schema, name.name])).collect();
    Parameter::Json(json!(names).to_string())
}
