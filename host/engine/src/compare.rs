//! Conditions that compare two things, for people: which value, which comparison, which limit.
//!
//! Only shows; what is decided is decided by the whole expression.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_runbook::expression::{Expression, Scope};

/// What a condition compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// The side that can change; absent where it had no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// `<`, `<=`, `>`, `>=`, `==` or `!=`.
    pub comparator: String,
    /// The side that it is held against; absent where it had no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Value>,
}

/// A condition of the shape `a OP b`.
#[derive(Debug, Clone)]
pub(crate) struct Comparison {
    value: Expression,
    comparator: &'static str,
    limit: Expression,
}

impl Comparison {
    /// None where the condition has another shape.
    pub(crate) fn of(condition: &Expression) -> Option<Self> {
        let (left, comparator, right) = split(condition.source())?;
        let (left, right) = (Expression::compile(left).ok()?, Expression::compile(right).ok()?);
        if left.references().is_empty() && !right.references().is_empty() {
            return Some(Self { value: right, comparator: mirrored(comparator), limit: left });
        }
        Some(Self { value: left, comparator, limit: right })
    }

    pub(crate) fn look(&self, scope: &dyn Scope) -> Compared {
        let side = |side: &Expression| side.evaluate(scope).ok().filter(|value| !value.is_null());
        Compared {
            value: side(&self.value),
            comparator: self.comparator.to_owned(),
            limit: side(&self.limit),
        }
    }
}

fn mirrored(comparator: &'static str) -> &'static str {
    match comparator {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        same => same,
    }
}

/// Both sides of the one comparison that stands outside all brackets and quotes, if nothing else stands beside it.
fn split(source: &str) -> Option<(&str, &'static str, &str)> {
    let bytes = source.as_bytes();
    let mut found = None;
    let (mut depth, mut quote, mut at) = (0_usize, None, 0);
    while let Some(&byte) = bytes.get(at) {
        let mut width = 1;
        match (quote, byte) {
            (Some(_), b'\\') => width = 2,
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => (),
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'(' | b'[' | b'{') => depth += 1,
            (None, b')' | b']' | b'}') => depth = depth.saturating_sub(1),
            (None, b'&' | b'|' | b'?') if depth == 0 => return None,
            (None, _) if depth == 0 => {
                let rest = source.get(at..).unwrap_or_default();
                if let Some(comparator) = comparator_at(rest) {
                    if found.replace((at, comparator)).is_some() {
                        return None;
                    }
                    width = comparator.len();
                }
            }
            (None, _) => (),
        }
        at += width;
    }
    let (at, comparator) = found?;
    Some((source.get(..at)?, comparator, source.get(at + comparator.len()..)?))
}

fn comparator_at(rest: &str) -> Option<&'static str> {
    ["<=", ">=", "==", "!=", "<", ">"].into_iter().find(|comparator| rest.starts_with(comparator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_comparison_is_found() {
        assert_eq!(split("result.p95 <= 200"), Some(("result.p95 ", "<=", " 200")));
        assert_eq!(split("result.a[\"<\"] != 'x=='"), Some(("result.a[\"<\"] ", "!=", " 'x=='")));
        assert_eq!(split("size(result.list) > vars.most"), Some(("size(result.list) ", ">", " vars.most")));
    }

    #[test]
    fn other_shapes_are_not() {
        for other in ["result.ok", "!(a < b)", "a < b && c < d", "a < b ? x : y", "a == b == c", "a || b"] {
            assert_eq!(split(other), None, "{other}");
        }
    }

    #[test]
    fn the_limit_is_the_side_that_stays() {
        let compared = Comparison::of(&Expression::compile("0.05 < result.rate").unwrap()).unwrap();
        assert_eq!(compared.comparator, ">");
        assert_eq!(compared.value.source().trim(), "result.rate");
    }
}
