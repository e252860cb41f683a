//! What relations are like: their columns, constraints, indexes, triggers, policies and definitions, as lines of text.
//!
//! By it undo tells whether someone else changed what a migration made or changed. It looks at the relations that a
//! migration's statements name, and at no rows. Invariant: two shapes that are equal were told by the same catalog.

use crate::name::Name;
use crate::server::{Server, text};
use std::collections::{BTreeMap, BTreeSet};
use windlass_sdk::postgres::Parameter;
use windlass_sdk::{Failure, Value, digest, json};

/// The longest JSON of a shape that is kept line by line; beyond, the hash of each relation's lines is. A receipt holds
/// 64 KiB.
const KEPT: usize = 60 << 10;

/// One row for each line.
const SQL: &str = "WITH r AS (SELECT c.oid, c.relkind, c.relrowsecurity, c.relforcerowsecurity, w.value->>0 AS s, \
    w.value->>1 AS n FROM jsonb_array_elements($1::jsonb) AS w JOIN pg_catalog.pg_namespace AS m ON m.nspname = \
    w.value->>0 JOIN pg_catalog.pg_class AS c ON c.relnamespace = m.oid AND c.relname = w.value->>1) \
    SELECT s AS schema, n AS name, 'kind ' || relkind::text || CASE WHEN relrowsecurity THEN ', row-level security' ELSE '' \
    END || CASE WHEN relforcerowsecurity THEN ', forced' ELSE '' END AS line FROM r \
    UNION ALL SELECT s, n, 'column ' || a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod) || CASE \
    WHEN a.attnotnull THEN ' not null' ELSE '' END || coalesce(' default ' || pg_catalog.pg_get_expr(d.adbin, \
    d.adrelid), '') FROM r JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT \
    a.attisdropped LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
    UNION ALL SELECT s, n, 'constraint ' || k.conname || ' ' || pg_catalog.pg_get_constraintdef(k.oid) FROM r JOIN \
    pg_catalog.pg_constraint AS k ON k.conrelid = r.oid \
    UNION ALL SELECT s, n, pg_catalog.pg_get_indexdef(i.indexrelid) FROM r JOIN pg_catalog.pg_index AS i ON r.oid IN \
    (i.indrelid, i.indexrelid) \
    UNION ALL SELECT s, n, pg_catalog.pg_get_triggerdef(t.oid) FROM r JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = \
    r.oid AND NOT t.tgisinternal \
    UNION ALL SELECT s, n, 'policy ' || p.polname || ' for ' || p.polcmd::text || CASE WHEN p.polpermissive THEN '' ELSE ' \
    restrictive' END || ' to ' || p.polroles::pg_catalog.regrole[]::text || coalesce(' using ' || \
    pg_catalog.pg_get_expr(p.polqual, p.polrelid), '') || coalesce(' check ' || pg_catalog.pg_get_expr(p.polwithcheck, \
    p.polrelid), '') FROM r JOIN pg_catalog.pg_policy AS p ON p.polrelid = r.oid \
    UNION ALL SELECT s, n, pg_catalog.pg_get_viewdef(r.oid) FROM r WHERE relkind IN ('v', 'm')";

/// Lines by relation, sorted; none where there is no such relation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Shape {
    lines: BTreeMap<Name, Vec<String>>,
    /// Whether the lines are hashes of lines.
    hashed: bool,
}

impl Shape {
    /// As these relations are now.
    pub(crate) fn now(server: &impl Server, relations: &BTreeSet<Name>) -> Result<Self, Failure> {
        let mut lines: BTreeMap<Name, Vec<String>> =
            relations.iter().map(|name| (name.clone(), Vec::new())).collect();
        if relations.is_empty() {
            return Ok(Self { lines, hashed: false });
        }
        let names: Vec<_> = relations.iter().map(|name| json!([name.schema, name.name])).collect();
        for row in server.rows(SQL, &[Parameter::Json(json!(names).to_string())])? {
            let name = Name { schema: text(&row, "schema").to_owned(), name: text(&row, "name").to_owned() };
            lines.entry(name).or_default().push(text(&row, "line").to_owned());
        }
        lines.values_mut().for_each(|lines| lines.sort_unstable());
        Ok(Self { lines, hashed: false })
    }

    /// Which relations it tells of.
    pub(crate) fn relations(&self) -> BTreeSet<Name> {
        self.lines.keys().cloned().collect()
    }

    /// How another shape of the same relations differs from this one, for a person; none where it doesn't.
    pub(crate) fn difference(&self, found: &Self) -> Option<String> {
        let hashed = self.hashed || found.hashed;
        let both = |shape: &Self| if hashed { shape.hashed() } else { shape.clone() };
        let (this, found) = (both(self), both(found));
        let none = Vec::new();
        for (name, expected) in &this.lines {
            let found = found.lines.get(name).unwrap_or(&none);
            if expected == found {
                continue;
            }
            let what = match (expected.is_empty(), found.is_empty()) {
                (true, _) => "expected no such relation, found one".to_owned(),
                (_, true) => "expected it, found no such relation".to_owned(),
                _ if hashed => "expected it as it was, found it changed".to_owned(),
                _ => match (
                    expected.iter().find(|line| !found.contains(line)),
                    found.iter().find(|line| !expected.contains(line)),
                ) {
                    (Some(expected), Some(found)) => format!("expected `{expected}`, found `{found}`"),
                    (Some(expected), None) => format!("expected `{expected}`, found none"),
                    (None, Some(found)) => format!("expected none, found `{found}`"),
                    (None, None) => "expected it as it was, found a line of it twice".to_owned(),
                },
            };
            return Some(format!("{name}: {what}"));
        }
        None
    }

    /// The same with what another tells of relations that it tells of, too.
    pub(crate) fn overlaid(&self, other: &Self) -> Self {
        let (mut shape, other) = match (self.hashed, other.hashed) {
            (true, false) => (self.clone(), other.hashed()),
            (false, true) => (self.hashed(), other.clone()),
            _ => (self.clone(), other.clone()),
        };
        for (name, lines) in other.lines {
            shape.lines.entry(name).and_modify(|own| *own = lines);
        }
        shape
    }

    /// For a memo or a receipt.
    pub(crate) fn to_json(&self) -> Value {
        let json = |shape: &Self| {
            let lines: Vec<Value> =
                shape.lines.iter().map(|(name, lines)| json!([name.schema, name.name, lines])).collect();
            json!({ "hashed": shape.hashed, "relations": lines })
        };
        let whole = json(self);
        if whole.to_string().len() > KEPT { json(&self.hashed()) } else { whole }
    }

    /// Out of a memo or a receipt; none where it holds no shape.
    pub(crate) fn from_json(memo: &Value) -> Option<Self> {
        let mut lines = BTreeMap::new();
        for relation in memo.get("relations")?.as_array()? {
            let part = |place: usize| Some(relation.get(place)?.as_str()?.to_owned());
            let texts = relation.get(2)?.as_array()?.iter();
            let texts = texts.filter_map(Value::as_str).map(str::to_owned).collect();
            lines.insert(Name { schema: part(0)?, name: part(1)? }, texts);
        }
        Some(Self { lines, hashed: memo.get("hashed").and_then(Value::as_bool).unwrap_or_default() })
    }

    fn hashed(&self) -> Self {
        if self.hashed {
            return self.clone();
        }
        let hash = |lines: &Vec<String>| {
            if lines.is_empty() { Vec::new() } else { vec![digest::sha256(lines.join("\n").as_bytes())] }
        };
        Self {
            lines: self.lines.iter().map(|(name, lines)| (name.clone(), hash(lines))).collect(),
            hashed: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Shape;
    use crate::name::Name;

    fn shape(name: &str, lines: &[&str]) -> Shape {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Shape { lines: [(Name::parse(name, "public").unwrap(), lines)].into(), hashed: false }
    }

    #[test]
    fn a_difference_says_what_was_expected_and_what_was_found() {
        let one = shape("t", &["column a int"]);
        assert_eq!(one.difference(&one), None);
        for (found, text) in [
            (shape("t", &["column a text"]), "public.t: expected `column a int`, found `column a text`"),
            (shape("t", &["column a int", "column b int"]), "public.t: expected none, found `column b int`"),
            (shape("t", &[]), "public.t: expected it, found no such relation"),
        ] {
            assert_eq!(one.difference(&found).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_long_shape_is_kept_by_its_hash() {
        let long = "x".repeat(70 << 10);
        let one = shape("t", &[&long]);
        let kept = Shape::from_json(&one.to_json()).unwrap();
        assert!(kept.hashed && one.to_json().to_string().len() < 1 << 10);
        assert_eq!(kept.difference(&one), None);
        assert!(kept.difference(&shape("t", &["y"])).is_some());
        let short = shape("a.\"B c\"", &["y"]);
        assert_eq!(Shape::from_json(&short.to_json()), Some(short));
    }
}
