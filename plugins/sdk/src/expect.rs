//! Looking into a JSON answer, and holding it to what is expected.
//!
//! Pure: it knows neither HTTP nor the host. A path is names with dots between, `checks.db.status`; in a list a name
//! is a position, `items.0.id`; a dot in a name is written `\.`. What is expected is a value to be found there, or a
//! text with a limit: `< 20`, `<= 20`, `> 1`, `>= 1.5`, `!= degraded`; `== < 20` means the text `< 20` itself.
//!
//! Invariant: [`check`] reports every miss, not only the first, and says apart an expectation that makes no sense.

use serde_json::Value;
use std::cmp::Ordering;
use std::fmt;

/// The value at a path; none where there is nothing.
#[must_use]
pub fn lookup<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(value);
    }
    names(path).try_fold(value, |value, name| match value {
        Value::Object(fields) => fields.get(&name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The names of a path.
fn names(path: &str) -> impl Iterator<Item = String> {
    let mut names = vec![String::new()];
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        match (character, names.last_mut()) {
            ('.', _) => names.push(String::new()),
            ('\\', Some(name)) => name.push(characters.next().unwrap_or('\\')),
            (_, Some(name)) => name.push(character),
            (_, None) => {}
        }
    }
    names.into_iter()
}

/// What is expected at a path.
#[derive(Debug, Clone, PartialEq)]
pub enum Expectation {
    /// Exactly this value; numbers are compared by what they mean, so that 1 is 1.0.
    Equal(Value),
    /// Anything but this; also met where there is nothing.
    NotEqual(Value),
    /// A number this side of the limit.
    Limit(Bound, f64),
}

/// Which side of a limit is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

/// An expectation that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonsense {
    /// What was written.
    pub written: String,
}

impl fmt::Display for Nonsense {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "`{}` is no limit: after `<`, `<=`, `>` and `>=` comes a number. A text that begins like this is written `== {}`",
            self.written, self.written
        )
    }
}

impl std::error::Error for Nonsense {}

impl Expectation {
    /// Read an expectation as a runbook has it.
    ///
    /// # Errors
    /// Where a text begins like a limit, but no number follows.
    pub fn parse(written: &Value) -> Result<Self, Nonsense> {
        let Value::String(text) = written else { return Ok(Self::Equal(written.clone())) };
        let limit = |bound, rest: &str| {
            rest.trim()
                .parse::<f64>()
                .ok()
                .filter(|limit| limit.is_finite())
                .map(|limit| Self::Limit(bound, limit))
                .ok_or_else(|| Nonsense { written: text.clone() })
        };
        let start = text.trim_start();
        // The longer signs come first, since `<` begins `<=` too.
        if let Some(rest) = start.strip_prefix("==") {
            return Ok(Self::Equal(Value::String(rest.trim().to_owned())));
        }
        if let Some(rest) = start.strip_prefix("!=") {
            return Ok(Self::NotEqual(scalar(rest.trim())));
        }
        for (sign, bound) in
            [("<=", Bound::AtMost), (">=", Bound::AtLeast), ("<", Bound::Below), (">", Bound::Above)]
        {
            if let Some(rest) = start.strip_prefix(sign) {
                return limit(bound, rest);
            }
        }
        Ok(Self::Equal(written.clone()))
    }

    /// Whether what was found is as expected.
    #[must_use]
    pub fn is_met(&self, found: Option<&Value>) -> bool {
        match self {
            Self::Equal(expected) => found.is_some_and(|found| same(expected, found)),
            Self::NotEqual(unwanted) => found.is_none_or(|found| !same(unwanted, found)),
            Self::Limit(bound, limit) => {
                let order = found.and_then(Value::as_f64).and_then(|found| found.partial_cmp(limit));
                order.is_some_and(|order| match bound {
                    Bound::Below => order == Ordering::Less,
                    Bound::AtMost => order != Ordering::Greater,
                    Bound::Above => order == Ordering::Greater,
                    Bound::AtLeast => order != Ordering::Less,
                })
            }
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(value) => write!(formatter, "{value}"),
            Self::NotEqual(value) => write!(formatter, "not {value}"),
            Self::Limit(Bound::Below, limit) => write!(formatter, "below {limit}"),
            Self::Limit(Bound::AtMost, limit) => write!(formatter, "at most {limit}"),
            Self::Limit(Bound::Above, limit) => write!(formatter, "above {limit}"),
            Self::Limit(Bound::AtLeast, limit) => write!(formatter, "at least {limit}"),
        }
    }
}

/// A word after `!=`: a number, `true`, `false` or `null` where it is one, else a text.
fn scalar(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// Equality by meaning: numbers as numbers, everything else as it is.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        // Integers exactly, since two large ones can be one float.
        (Value::Number(a), Value::Number(b)) => {
            a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => left == right,
    }
}

/// An expectation that is not met.
#[derive(Debug, Clone, PartialEq)]
pub struct Miss {
    /// Where it was looked for.
    pub path: String,
    /// What was expected, as the runbook has it.
    pub expected: Value,
    /// The same for a person.
    pub wanted: Expectation,
    /// What was found; none where nothing is.
    pub seen: Option<Value>,
}

impl Miss {
    /// For a failure's detail.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut miss = serde_json::json!({ "path": self.path, "expected": self.expected });
        if let (Some(fields), Some(seen)) = (miss.as_object_mut(), &self.seen) {
            fields.insert("seen".to_owned(), seen.clone());
        }
        miss
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` should be {} ", self.path, self.wanted)?;
        match &self.seen {
            None => formatter.write_str("but is missing"),
            Some(seen) => {
                let text = seen.to_string();
                match text.char_indices().nth(80) {
                    None => write!(formatter, "but is {text}"),
                    Some((end, _)) => write!(formatter, "but is {}…", text.get(..end).unwrap_or_default()),
                }
            }
        }
    }
}

/// Hold a value to all of these; the misses come in the order of the expectations.
///
/// # Errors
/// The first expectation that makes no sense.
pub fn check<'a>(
    value: &Value,
    expectations: impl IntoIterator<Item = (&'a str, &'a Value)>,
) -> Result<Vec<Miss>, Nonsense> {
    check_with(|path| lookup(value, path).cloned(), expectations)
}

/// As [`check`], with another way to find the value at a path.
///
/// # Errors
/// The first expectation that makes no sense.
pub fn check_with<'a>(
    find: impl Fn(&str) -> Option<Value>,
    expectations: impl IntoIterator<Item = (&'a str, &'a Value)>,
) -> Result<Vec<Miss>, Nonsense> {
    let mut misses = Vec::new();
    for (path, expected) in expectations {
        let wanted = Expectation::parse(expected)?;
        let seen = find(path);
        if !wanted.is_met(seen.as_ref()) {
            misses.push(Miss { path: path.to_owned(), expected: expected.clone(), wanted, seen });
        }
    }
    Ok(misses)
}

/// All misses in one sentence.
#[must_use]
pub fn describe(misses: &[Miss]) -> String {
    misses.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::{Expectation, check, describe, lookup};
    use serde_json::{Value, json};

    #[test]
    fn a_path_goes_through_objects_and_lists() {
        let value = json!({ "checks": { "db": { "status": "ok" } }, "items": [{ "id": 7 }], "a.b": 1 });
        assert_eq!(lookup(&value, "checks.db.status"), Some(&json!("ok")));
        assert_eq!(lookup(&value, "items.0.id"), Some(&json!(7)));
        assert_eq!(lookup(&value, r"a\.b"), Some(&json!(1)));
        assert_eq!(lookup(&value, ""), Some(&value));
        for nothing in ["a.b", "items.1", "items.x", "checks.db.status.more", "checks..db"] {
            assert_eq!(lookup(&value, nothing), None, "{nothing}");
        }
    }

    #[test]
    fn limits_and_values_are_told_apart() {
        for (expected, found, met) in [
            (json!("< 20"), json!(19.9), true),
            (json!("< 20"), json!(20), false),
            (json!("<=20"), json!(20), true),
            (json!(">= 1.5"), json!(1.5), true),
            (json!("> -1"), json!(0), true),
            (json!("< 20"), json!("19"), false),
            (json!("!= degraded"), json!("ok"), true),
            (json!("!= degraded"), json!("degraded"), false),
            (json!("!= 3"), json!(3.0), false),
            (json!("!= null"), Value::Null, false),
            (json!("== < 20"), json!("< 20"), true),
            (json!(1), json!(1.0), true),
            (json!(1), json!("1"), false),
            (json!([1, { "a": 2 }]), json!([1.0, { "a": 2.0 }]), true),
            (json!({ "a": 1 }), json!({ "a": 1, "b": 2 }), false),
            (json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_993_u64), true),
            (json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992_u64), false),
        ] {
            let expectation = Expectation::parse(&expected).unwrap();
            assert_eq!(expectation.is_met(Some(&found)), met, "{expected} of {found}");
        }
        assert!(Expectation::parse(&json!("!= down")).unwrap().is_met(None));
        assert!(!Expectation::parse(&json!("< 3")).unwrap().is_met(None));
    }

    #[test]
    fn a_limit_without_a_number_makes_no_sense() {
        for written in ["< soon", "<", ">= 1 2", "> NaN"] {
            let error = Expectation::parse(&json!(written)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "`{written}` is no limit: after `<`, `<=`, `>` and `>=` comes a number. A text that begins like this is written `== {written}`"
                )
            );
        }
    }

    #[test]
    fn every_miss_is_told() {
        let answer = json!({ "status": "degraded", "latency_ms": 48.5, "log": "x".repeat(200) });
        let expected = [
            ("status", json!("healthy")),
            ("latency_ms", json!("< 20")),
            ("version", json!("v1")),
            ("log", json!("")),
        ];
        let misses = check(&answer, expected.iter().map(|(path, value)| (*path, value))).unwrap();
        assert_eq!(
            describe(&misses),
            format!(
                "`status` should be \"healthy\" but is \"degraded\"; `latency_ms` should be below 20 but is 48.5; \
                 `version` should be \"v1\" but is missing; `log` should be \"\" but is \"{}…",
                "x".repeat(79)
            )
        );
        assert_eq!(
            misses[0].to_json(),
            json!({ "path": "status", "expected": "healthy", "seen": "degraded" })
        );
        assert_eq!(misses[2].to_json(), json!({ "path": "version", "expected": "v1" }));
    }
}
