//! Holding a database to what is expected of it.
//!
//! Every expectation is looked at, and one failure names all that are missed. Invariants: nothing that a step names is
//! taken for SQL; a thing that is not there is a miss, never an error of SQL.

use crate::bindings::exports::windlass::contracts::database::{Expectation, Verified};
use crate::catalog::{self, ForeignKey, Relation};
use crate::name::Name;
use crate::server::Server;
use std::collections::{BTreeMap, BTreeSet};
use windlass_sdk::{Failure, Value, expect, json, serde_json};

/// The misses that the message tells; the detail has all.
const TOLD: usize = 12;

/// Looks at everything that is expected.
pub(crate) fn assert(server: &impl Server, input: &Expectation) -> Result<Verified, Failure> {
    let wanted = Wanted::read(input)?;
    let mut found = Found { checks: 0, misses: Vec::new() };
    let relations = catalog::relations(server, &wanted.relations())?;
    found.tables(&wanted, &relations);
    if !wanted.columns.is_empty() {
        let tables = wanted.columns.iter().map(|(table, _)| table.clone()).collect();
        found.columns(&wanted, &relations, &catalog::columns(server, &tables)?);
    }
    if !wanted.indexes.is_empty() {
        let names = wanted.indexes.iter().cloned().collect();
        found.indexes(&wanted, &catalog::indexes(server, &names)?);
    }
    if !wanted.keys.is_empty() {
        let schemas = wanted.keys.iter().map(|key| key.schema().to_owned()).collect();
        found.keys(&wanted, &catalog::foreign_keys(server, &schemas)?);
    }
    found.row_security(&wanted, &relations);
    let row_counts = found.rows(server, &wanted, &relations)?;
    found.verdict()?;
    Ok(Verified {
        checks: found.checks,
        tables: wanted.tables.iter().map(ToString::to_string).collect(),
        row_counts,
    })
}

/// What is expected, with its names read.
struct Wanted {
    tables: Vec<Name>,
    columns: Vec<(Name, Vec<Column>)>,
    indexes: Vec<Name>,
    keys: Vec<Key>,
    row_security: Vec<Name>,
    /// As the step has it, the table, and the number or limit.
    rows: Vec<(String, Name, Value)>,
}

struct Column {
    name: String,
    kind: Option<String>,
}

/// A foreign key, by the name of the constraint or by what it refers to.
enum Key {
    Constraint(Name),
    Reference { written: String, table: Name, columns: Vec<String>, other: Name, other_columns: Vec<String> },
}

impl Key {
    fn schema(&self) -> &str {
        match self {
            Self::Constraint(name) => &name.schema,
            Self::Reference { table, .. } => &table.schema,
        }
    }

    fn is(&self, key: &ForeignKey) -> bool {
        match self {
            Self::Constraint(name) => key.constraint == *name,
            Self::Reference { table, columns, other, other_columns, .. } => {
                key.table == *table
                    && key.columns == *columns
                    && key.other == *other
                    && key.other_columns == *other_columns
            }
        }
    }

    fn written(&self) -> String {
        match self {
            Self::Constraint(name) => name.to_string(),
            Self::Reference { written, .. } => written.clone(),
        }
    }
}

impl Wanted {
    fn read(input: &Expectation) -> Result<Self, Failure> {
        let schema = input.schema.as_deref().unwrap_or("public");
        let name = |text: &str| {
            Name::parse(text, schema).ok_or_else(|| {
                Failure::invalid_input(format!("`{text}` is no name: write `table` or `schema.table`"))
            })
        };
        let names = |texts: &[String]| texts.iter().map(|text| name(text)).collect::<Result<Vec<_>, _>>();
        let mut columns = Vec::new();
        for (table, list) in &input.columns {
            columns.push((name(table)?, list.iter().map(|text| column(text)).collect()));
        }
        let mut rows = Vec::new();
        for (table, expected) in &input.row_counts {
            let expected: Value = serde_json::from_str(expected).map_err(|error| {
                Failure::invalid_input(format!("the number of rows of `{table}` is no JSON: {error}"))
            })?;
            expect::Expectation::parse(&expected)
                .map_err(|nonsense| Failure::invalid_input(nonsense.to_string()))?;
            rows.push((table.clone(), name(table)?, expected));
        }
        let wanted = Self {
            tables: names(&input.tables)?,
            columns,
            indexes: names(&input.indexes)?,
            keys: input.foreign_keys.iter().map(|text| key(text, schema)).collect::<Result<_, _>>()?,
            row_security: names(&input.row_level_security)?,
            rows,
        };
        if wanted.count() == 0 {
            // Nothing expected is always met, so it is more likely a slip than a wish.
            return Err(Failure::invalid_input(
                "nothing is expected: name tables, columns, indexes or the like",
            ));
        }
        Ok(wanted)
    }

    fn count(&self) -> usize {
        let columns: usize = self.columns.iter().map(|(_, columns)| columns.len().max(1)).sum();
        self.tables.len()
            + columns
            + self.indexes.len()
            + self.keys.len()
            + self.row_security.len()
            + self.rows.len()
    }

    /// All tables that any expectation is about.
    fn relations(&self) -> BTreeSet<Name> {
        let columns = self.columns.iter().map(|(table, _)| table);
        let rows = self.rows.iter().map(|(_, table, _)| table);
        self.tables.iter().chain(columns).chain(&self.row_security).chain(rows).cloned().collect()
    }
}

/// `id`, or `id uuid`; a name with spaces stands in double quotes.
fn column(text: &str) -> Column {
    let text = text.trim();
    let (name, kind) = match text.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        Some((name, kind)) => (name, kind),
        None => text.split_once(char::is_whitespace).unwrap_or((text, "")),
    };
    Column { name: name.to_owned(), kind: Some(kind.trim().to_owned()).filter(|kind| !kind.is_empty()) }
}

/// `constraint`, or `table(column, …) -> table(column, …)`.
fn key(text: &str, schema: &str) -> Result<Key, Failure> {
    let wrong = || {
        Failure::invalid_input(format!(
            "`{text}` is no foreign key: write the constraint's name, or `table(column) -> table(column)`"
        ))
    };
    let Some((from, to)) = text.split_once("->") else {
        return Name::parse(text, schema)
            .filter(|_| !text.contains('('))
            .map(Key::Constraint)
            .ok_or_else(wrong);
    };
    let side = |side: &str| {
        let (table, columns) = side.trim().strip_suffix(')')?.split_once('(')?;
        let columns: Vec<String> =
            columns.split(',').map(|column| column.trim().trim_matches('"').to_owned()).collect();
        (!columns.iter().any(String::is_empty)).then_some((Name::parse(table, schema)?, columns))
    };
    let (table, columns) = side(from).ok_or_else(wrong)?;
    let (other, other_columns) = side(to).ok_or_else(wrong)?;
    Ok(Key::Reference { written: text.trim().to_owned(), table, columns, other, other_columns })
}

/// A type as the server calls it, for those who call it otherwise.
fn type_name(text: &str) -> String {
    let lower = text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    let end = lower.find(['(', '[']).unwrap_or(lower.len());
    let (base, rest) = lower.split_at(end);
    let base = match base.trim_end() {
        "timestamptz" => "timestamp with time zone",
        "timetz" => "time with time zone",
        "timestamp" if rest.is_empty() || rest.starts_with('[') => "timestamp without time zone",
        "time" if rest.is_empty() || rest.starts_with('[') => "time without time zone",
        "int" | "int4" | "serial" => "integer",
        "int8" | "bigserial" => "bigint",
        "int2" | "smallserial" => "smallint",
        "float8" | "float" => "double precision",
        "float4" => "real",
        "bool" => "boolean",
        "varchar" => "character varying",
        "char" => "character",
        "decimal" => "numeric",
        other => other,
    };
    format!("{base}{}", rest.replace(", ", ","))
}

/// What was looked at, and what was not as expected.
struct Found {
    checks: u32,
    misses: Vec<Value>,
}

impl Found {
    fn check(&mut self, kind: &str, name: &str, miss: Option<String>) {
        self.checks += 1;
        if let Some(message) = miss {
            self.misses.push(json!({ "check": kind, "name": name, "message": message }));
        }
    }

    fn tables(&mut self, wanted: &Wanted, relations: &BTreeMap<Name, Relation>) {
        for table in &wanted.tables {
            let miss = match relations.get(table) {
                Some(relation) if relation.kind == "table" => None,
                Some(relation) => Some(format!("{table} is a {}, not a table", relation.kind)),
                None => Some(format!("table {table} is not there")),
            };
            self.check("table", &table.to_string(), miss);
        }
    }

    fn columns(
        &mut self,
        wanted: &Wanted,
        relations: &BTreeMap<Name, Relation>,
        columns: &BTreeMap<Name, BTreeMap<String, String>>,
    ) {
        for (table, list) in &wanted.columns {
            let there = columns.get(table);
            // One miss for the table says it all; its columns are not told one by one.
            if list.is_empty() || there.is_none() && !relations.contains_key(table) {
                let miss = (!relations.contains_key(table)).then(|| format!("table {table} is not there"));
                self.check("columns", &table.to_string(), miss);
                continue;
            }
            for Column { name, kind } in list {
                let full = format!("{table}.{name}");
                let miss = match (there.and_then(|there| there.get(name)), kind) {
                    (None, _) => Some(format!("column {full} is not there")),
                    (Some(found), Some(kind)) if type_name(found) != type_name(kind) => {
                        Some(format!("column {full} should be {kind} but is {found}"))
                    }
                    _ => None,
                };
                self.check("column", &full, miss);
            }
        }
    }

    fn indexes(&mut self, wanted: &Wanted, indexes: &BTreeMap<Name, bool>) {
        for index in &wanted.indexes {
            let miss = match indexes.get(index) {
                Some(true) => None,
                Some(false) => Some(format!("index {index} is not valid: it was never built to its end")),
                None => Some(format!("index {index} is not there")),
            };
            self.check("index", &index.to_string(), miss);
        }
    }

    fn keys(&mut self, wanted: &Wanted, keys: &[ForeignKey]) {
        for key in &wanted.keys {
            let written = key.written();
            let found: Vec<_> = keys.iter().filter(|found| key.is(found)).collect();
            let miss = if found.is_empty() {
                Some(format!("foreign key {written} is not there"))
            } else if found.iter().any(|found| found.valid) {
                None
            } else {
                Some(format!("foreign key {written} is not validated: rows from before may break it"))
            };
            self.check("foreign-key", &written, miss);
        }
    }

    fn row_security(&mut self, wanted: &Wanted, relations: &BTreeMap<Name, Relation>) {
        for table in &wanted.row_security {
            let miss = match relations.get(table) {
                None => Some(format!("table {table} is not there, so it has no row-level security")),
                Some(relation) if !relation.row_security => {
                    Some(format!("row-level security is not enabled on {table}"))
                }
                Some(relation) if relation.policies == 0 => {
                    Some(format!("row-level security on {table} has no policy"))
                }
                Some(_) => None,
            };
            self.check("row-level-security", &table.to_string(), miss);
        }
    }

    fn rows(
        &mut self,
        server: &impl Server,
        wanted: &Wanted,
        relations: &BTreeMap<Name, Relation>,
    ) -> Result<Vec<(String, u64)>, Failure> {
        let countable = |table: &Name| {
            relations
                .get(table)
                .is_some_and(|found| matches!(found.kind.as_str(), "table" | "view" | "materialized view"))
        };
        let there: Vec<&Name> =
            wanted.rows.iter().map(|(_, table, _)| table).filter(|table| countable(table)).collect();
        let counts = catalog::row_counts(server, &there)?;
        let counts: BTreeMap<&Name, u64> = there.into_iter().zip(counts).collect();
        let mut row_counts = Vec::new();
        for (written, table, expected) in &wanted.rows {
            let wanted = expect::Expectation::parse(expected)
                .map_err(|nonsense| Failure::invalid_input(nonsense.to_string()))?;
            let miss = match counts.get(table) {
                None => Some(format!("table {table} is not there, so it has no rows")),
                Some(count) => {
                    row_counts.push((written.clone(), *count));
                    (!wanted.is_met(Some(&json!(count))))
                        .then(|| format!("the number of rows of {table} should be {wanted} but is {count}"))
                }
            };
            self.check("row-count", &table.to_string(), miss);
        }
        Ok(row_counts)
    }

    fn verdict(&self) -> Result<(), Failure> {
        if self.misses.is_empty() {
            return Ok(());
        }
        let messages: Vec<&str> =
            self.misses.iter().filter_map(|miss| miss.get("message").and_then(Value::as_str)).collect();
        let more = match messages.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let told = messages.get(..TOLD).unwrap_or(&messages).join("; ");
        let message = format!("{} of {} checks failed: {told}{more}", self.misses.len(), self.checks);
        Err(Failure::new("assertion-failed", message)
            .with_detail(&json!({ "checks": self.checks, "misses": self.misses })))
    }
}

#[cfg(test)]
mod tests {
    use super::{assert, type_name};
    use crate::bindings::exports::windlass::contracts::database::Expectation;
    use crate::server::tests::Fake;
    use windlass_sdk::{Value, json};

    fn nothing() -> Expectation {
        Expectation {
            schema: None,
            tables: Vec::new(),
            columns: Vec::new(),
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
            row_level_security: Vec::new(),
            row_counts: Vec::new(),
            extra: Vec::new(),
        }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn relation(name: &str, kind: &str, row_security: bool, policies: u64) -> Value {
        json!({ "schema": "public", "name": name, "kind": kind, "row_security": row_security, "policies": policies })
    }

    fn server() -> Fake {
        let key = json!({
            "name": "b_a_fkey", "schema": "public", "table": "b", "columns": ["x", "y"], "other_schema": "public",
            "other_table": "a", "other_columns": ["id", "tenant"], "valid": true,
        });
        let column = |column: &str, kind: &str| json!({ "schema": "public", "name": "a", "column": column, "type": kind });
        Fake {
            answers: vec![
                (
                    "relrowsecurity",
                    vec![
                        relation("a", "table", true, 2),
                        relation("b", "table", true, 0),
                        relation("c", "table", false, 1),
                        relation("v", "view", false, 0),
                    ],
                ),
                ("format_type", vec![column("id", "uuid"), column("at", "timestamp with time zone")]),
                ("pg_index", vec![json!({ "schema": "public", "name": "a_idx", "valid": true })]),
                ("pg_constraint", vec![key]),
                ("count(*) AS rows", vec![json!({ "place": 0, "rows": 3 })]),
            ],
            ..Fake::default()
        }
    }

    #[test]
    fn what_is_as_expected_is_counted() {
        let input = Expectation {
            tables: texts(&["a", "public.b"]),
            columns: vec![("a".to_owned(), texts(&["id", "at timestamptz"]))],
            indexes: texts(&["a_idx"]),
            foreign_keys: texts(&["b_a_fkey", "b(x, y) -> a(id, tenant)"]),
            row_level_security: texts(&["a"]),
            row_counts: vec![("a".to_owned(), "\">= 3\"".to_owned())],
            ..nothing()
        };
        let verified = assert(&server(), &input).unwrap();
        assert_eq!(verified.checks, 9);
        assert_eq!(verified.tables, ["public.a", "public.b"]);
        assert_eq!(verified.row_counts, [("a".to_owned(), 3)]);
    }

    #[test]
    fn every_miss_is_in_one_failure() {
        let input = Expectation {
            tables: texts(&["z", "v"]),
            columns: vec![
                ("a".to_owned(), texts(&["id bigint", "gone"])),
                ("z".to_owned(), texts(&["p", "q"])),
            ],
            indexes: texts(&["b_idx"]),
            foreign_keys: texts(&["b(x) -> a(id)"]),
            row_level_security: texts(&["b", "c", "z"]),
            row_counts: vec![
                ("a".to_owned(), "4".to_owned()),
                ("z\"; DROP TABLE a; --\"".to_owned(), "\"> 0\"".to_owned()),
            ],
            ..nothing()
        };
        let server = server();
        let failure = assert(&server, &input).unwrap_err();
        let expected = "12 of 12 checks failed: table public.z is not there; public.v is a view, not a table; \
            column public.a.id should be bigint but is uuid; column public.a.gone is not there; \
            table public.z is not there; index public.b_idx is not there; foreign key b(x) -> a(id) is not there; \
            row-level security on public.b has no policy; row-level security is not enabled on public.c; \
            table public.z is not there, so it has no row-level security; \
            the number of rows of public.a should be 4 but is 3; \
            table public.z; DROP TABLE a; -- is not there, so it has no rows";
        assert_eq!(failure.message, expected);
        assert_eq!((failure.code.as_str(), failure.retryable), ("assertion-failed", false));
        assert_eq!(failure.detail_json()["misses"][2]["check"], "column");
        assert!(!server.queries.borrow().iter().any(|sql| sql.contains("DROP")));
    }

    #[test]
    fn what_makes_no_sense_is_said_before_asking() {
        let failure = |input: &Expectation| {
            let server = server();
            let message = assert(&server, input).unwrap_err().message;
            assert!(server.queries.borrow().is_empty());
            message
        };
        assert_eq!(failure(&nothing()), "nothing is expected: name tables, columns, indexes or the like");
        let input = Expectation { foreign_keys: texts(&["a(b -> c(d)"]), ..nothing() };
        assert_eq!(
            failure(&input),
            "`a(b -> c(d)` is no foreign key: write the constraint's name, or `table(column) -> table(column)`"
        );
        let input = Expectation { row_counts: vec![("a".to_owned(), "\"> many\"".to_owned())], ..nothing() };
        assert!(failure(&input).starts_with("`> many` is no limit"));
    }

    #[test]
    fn types_are_known_by_their_other_names() {
        for (written, known) in [
            ("TIMESTAMPTZ", "timestamp with time zone"),
            ("int8[]", "bigint[]"),
            ("varchar(20)", "character varying(20)"),
            ("numeric(10, 2)", "numeric(10,2)"),
            ("real[]", "real[]"),
            ("float4[]", "real[]"),
            ("timestamp", "timestamp without time zone"),
        ] {
            assert_eq!(type_name(written), known);
        }
    }
}
