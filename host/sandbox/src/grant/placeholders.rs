//! `{config.x}` and `{vars.x}` in grant lines: finding them, and putting in their values.
//!
//! Invariant: a value becomes one literal host (with a port, perhaps) or one segment or word; it can't widen the
//! line, whatever it holds.

use std::ops::Range;

use super::GrantError;

/// The placeholders of a line: where each stands, and its name such as `vars.green`.
pub fn placeholders(line: &str) -> Vec<(Range<usize>, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = line.get(at..).and_then(|rest| rest.find('{')).map(|open| at + open) {
        at = open + 1;
        let Some(close) = line.get(at..).and_then(|rest| rest.find('}')).map(|close| at + close) else {
            break;
        };
        let name = line.get(at..close).unwrap_or_default();
        if is_name(name) {
            found.push((open..close + 1, name.to_owned()));
            at = close + 1;
        }
    }
    found
}

fn is_name(name: &str) -> bool {
    let Some(path) = name.strip_prefix("config.").or_else(|| name.strip_prefix("vars.")) else {
        return false;
    };
    path.split('.').all(|step| {
        !step.is_empty() && step.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    })
}

/// The line with the value of each placeholder in its place. `value` is asked by name; none means there is no such
/// value. The error points at the placeholder.
pub fn substitute(line: &str, mut value: impl FnMut(&str) -> Option<String>) -> Result<String, GrantError> {
    let mut filled = String::with_capacity(line.len());
    let mut at = 0;
    for (range, name) in placeholders(line) {
        let Some(text) = value(&name) else {
            return Err(GrantError::new(range, format!("there is no value `{name}`")));
        };
        if !is_one_literal(&text) {
            return Err(GrantError::new(
                range,
                format!("the value of `{name}` is not one host, segment or word"),
            )
            .help("it may hold letters, digits, `.`, `_`, `-`, and `:` with a port at the end"));
        }
        filled.push_str(line.get(at..range.start).unwrap_or_default());
        filled.push_str(&text);
        at = range.end;
    }
    filled.push_str(line.get(at..).unwrap_or_default());
    Ok(filled)
}

fn is_one_literal(text: &str) -> bool {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && port.is_none_or(|port| {
            !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit())
        })
}

/// The line with each placeholder replaced by a word of the same length, so that it can be checked before any value
/// is known and errors still point into the line as it was written.
pub(super) fn stand_in(line: &str) -> String {
    let mut filled = line.to_owned();
    for (range, _) in placeholders(line) {
        let word = "x".repeat(range.len());
        filled.replace_range(range, &word);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found_and_templates_are_not() {
        let line = "http GET https://{vars.green}/{config.base-path}/x {int} {match:[a-z]{2}} {vars.}";
        let names: Vec<_> =
            placeholders(line).into_iter().map(|(range, name)| (line.get(range).unwrap(), name)).collect();
        assert_eq!(
            names,
            [
                ("{vars.green}", "vars.green".to_owned()),
                ("{config.base-path}", "config.base-path".to_owned())
            ]
        );
    }

    #[test]
    fn a_value_can_not_widen_the_line() {
        let fill = |value: &str| substitute("http GET https://{vars.host}/", |_| Some(value.to_owned()));
        assert_eq!(fill("api.example.com").unwrap(), "http GET https://api.example.com/");
        assert_eq!(fill("127.0.0.1:8080").unwrap(), "http GET https://127.0.0.1:8080/");
        for bad in [
            "*",
            "a/b",
            "a b",
            "",
            "-x",
            "a?b=*",
            "{vars.x}",
            "a:b",
            "a:",
            "user@host",
            "'",
            "a\n",
            "..",
            "\u{e4}",
        ] {
            assert!(fill(bad).is_err(), "{bad:?}");
        }
        assert!(substitute("{vars.x}", |_| None).is_err());
    }
}
