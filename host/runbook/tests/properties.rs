//! No text makes the checker panic, and what it says always has a place inside the text.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail so")]

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};
use support::{checked, draw, field, integer, list, map, option, record, snapshot};
use windlass_runbook::coerce::{coerce, coerce_record};
use windlass_runbook::expression::{EmptyScope, Expression};
use windlass_runbook::wit::Type;

const GOOD: &str = include_str!("good/release.toml");
const SAFE: &str = include_str!("good/safe.toml");
const PLACE: &str = include_str!("good/place.toml");

fn survives(runbook: &str, environment: Option<&str>) {
    let (made, diagnostics) = checked(runbook, environment);
    assert_eq!(made.is_none(), diagnostics.has_errors());
    for diagnostic in &diagnostics {
        for label in &diagnostic.labels {
            assert!(label.range.start <= label.range.end, "{diagnostic}");
            assert!(label.file.text.get(label.range.clone()).is_some(), "{diagnostic}: {:?}", label.range);
        }
    }
    draw(&diagnostics);
}

/// Words that expressions are made of, so that random ones get past the parser now and then.
fn expression_text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "inputs",
        "vars",
        "steps",
        "item",
        "result",
        "run",
        "baseline",
        ".a",
        ".output",
        ".status",
        "[0]",
        "['x']",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "?",
        ":",
        "==",
        "=",
        "!=",
        "<",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        " in ",
        "1",
        "2.5",
        "1u",
        "'x'",
        "\"y\"",
        "b'z'",
        "r'w'",
        "true",
        "null",
        "has(",
        "size(",
        ".map(x, x)",
        ".all(x, ",
        "x",
        ",",
        "$",
        "\\",
        "ä",
        "'",
        "//",
        "\n",
        " ",
        ".?b",
        "`c`",
        "9223372036854775808",
        "'\\u00e4'",
    ]);
    prop::collection::vec(word, 0..24).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_text_is_survived(text in any::<String>(), environment in proptest::option::of(any::<String>())) {
        survives(&text, environment.as_deref());
    }

    #[test]
    fn a_cut_runbook_is_survived(start in 0..GOOD.len(), length in 0..400_usize, with in "[ -~\n]{0,12}") {
        let mut text = GOOD.to_owned();
        let end = (start + length).min(text.len());
        text.replace_range(start..end, &with);
        survives(&text, Some(PLACE));
    }

    #[test]
    fn cut_words_about_safety_are_survived(start in 0..SAFE.len(), length in 0..200_usize, with in "[ -~\n]{0,12}") {
        let mut text = SAFE.to_owned();
        let end = (start + length).min(text.len());
        text.replace_range(start..end, &with);
        survives(&text, None);
    }

    #[test]
    fn swapped_words_about_safety_are_survived(first in 0..200_usize, second in 0..200_usize) {
        let mut lines: Vec<&str> = SAFE.lines().collect();
        let count = lines.len();
        lines.swap(first % count, second % count);
        survives(&lines.join("\n"), None);
    }

    #[test]
    fn a_cut_environment_is_survived(start in 0..PLACE.len(), length in 0..200_usize, with in "[ -~\n]{0,12}") {
        let mut text = PLACE.to_owned();
        let end = (start + length).min(text.len());
        text.replace_range(start..end, &with);
        survives(GOOD, Some(&text));
    }

    #[test]
    fn swapped_lines_are_survived(first in 0..90_usize, second in 0..90_usize) {
        let mut lines: Vec<&str> = GOOD.lines().collect();
        let count = lines.len();
        lines.swap(first % count, second % count);
        survives(&lines.join("\n"), Some(PLACE));
    }

    #[test]
    fn any_expression_is_survived(text in expression_text()) {
        match Expression::compile(&text) {
            Ok(expression) => {
                let _value = expression.evaluate(&EmptyScope);
            }
            Err(issues) => {
                prop_assert!(!issues.is_empty());
                for issue in issues {
                    prop_assert!(text.get(issue.range.clone()).is_some(), "{:?} of {:?}", issue.range, text);
                }
            }
        }
    }

    #[test]
    fn any_expression_in_a_runbook_is_survived(text in expression_text(), escaped in any::<bool>()) {
        let quoted = if escaped {
            text.chars().map(|letter| format!("\\U{:08x}", u32::from(letter))).collect::<String>()
        } else {
            text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
        };
        let runbook = format!(
            "[runbook]\nname = \"a\"\n[plugins.api]\nsource = \"builtin:http\"\n[[step]]\nid = \"a\"\n\
             do = \"api.fetch\"\nwith = {{ url = \"ä ${{{quoted}}}\" }}\nexpect = \"{quoted}\"\n"
        );
        survives(&runbook, None);
    }

    #[test]
    fn coercing_twice_changes_nothing(value in json_value()) {
        for ty in types() {
            if let Ok(once) = coerce(value.clone(), &ty) {
                prop_assert_eq!(coerce(once.clone(), &ty).unwrap(), once);
            }
        }
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "a",
            "5m",
            "10MiB",
            "aGk=",
            "2026-01-16T02:00:00Z",
            "big-cat",
            "big_cat"
        ])
        .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(
                prop::sample::select(vec!["name", "some-list", "some_list", "z"]),
                inner,
                0..4
            )
            .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

fn types() -> Vec<Type> {
    let inner =
        record("inner", vec![field("name", option(Type::String)), field("some-list", list(Type::Json))]);
    vec![
        Type::Bool,
        integer(8),
        Type::Integer { min: i64::MIN, max: i64::MAX.unsigned_abs() },
        Type::Float,
        Type::Char,
        Type::String,
        Type::Bytes,
        Type::Json,
        Type::Duration,
        Type::ByteSize,
        Type::Timestamp,
        list(Type::Duration),
        map(Type::Float),
        option(Type::Json),
        Type::Record(inner),
        Type::Enum(["big-cat".to_owned()].into()),
    ]
}

#[test]
fn deep_nesting_is_refused_and_not_a_crash() {
    for (open, close) in [("(", ")"), ("[", "]"), ("!(", ")"), ("-(", ")"), ("a ? b : (", ")"), ("{1:", "}")]
    {
        let text = format!("{}1{}", open.repeat(400), close.repeat(400));
        assert!(Expression::compile(&text).is_err(), "{open}");
    }
    for text in ["1".to_owned() + &"+1".repeat(1_500), "!".repeat(3_000) + "true", "-".repeat(3_000) + "1", {
        "result".to_owned() + &".a".repeat(1_500)
    }] {
        // Refused or not: it must come back.
        let _compiled = Expression::compile(&text).map(|expression| expression.evaluate(&EmptyScope));
    }
    let nested =
        format!("[runbook]\nname = \"a\"\n[vars]\nx = {}1{}\n", "[".repeat(5_000), "]".repeat(5_000));
    survives(&nested, None);
}

#[test]
fn values_take_their_normal_form() {
    let animal = record(
        "animal",
        vec![
            field("big-name", Type::String),
            field("nap", option(Type::Duration)),
            field("tags", list(Type::String)),
            field("more", map(Type::Json)),
            field("tame", Type::Bool),
            field("free", Type::Json),
            field("maybe", option(Type::Json)),
        ],
    );
    let full =
        coerce_record(json!({ "big-name": "x", "nap": "1m", "free": null, "maybe": null }), &animal).unwrap();
    assert_eq!(
        full,
        json!({ "big_name": "x", "nap": 60_000, "tags": [], "more": {}, "tame": false, "free": null, "maybe": null })
    );
    let none = coerce_record(json!({ "big_name": "x", "nap": null, "free": 1 }), &animal).unwrap();
    assert_eq!(none, json!({ "big_name": "x", "tags": [], "more": {}, "tame": false, "free": 1 }));

    let wrong = |value: Value| coerce_record(value, &animal).unwrap_err().to_string();
    let said = [
        wrong(json!({ "free": 1 })),
        wrong(json!({ "big_name": "x", "free": 1, "tags": ["a", 1] })),
        wrong(json!({ "big_name": "x", "free": 1, "nap": -5 })),
        wrong(json!({ "big_name": "x", "free": 1, "tgas": [] })),
        wrong(json!({ "big_name": "x", "big-name": "y", "free": 1 })),
        wrong(json!([1])),
    ]
    .join("\n");
    snapshot("wrong_values", &said);
}

#[test]
fn numbers_keep_within_their_bounds() {
    let small = Type::Integer { min: -10, max: 10 };
    for good in [-10, 0, 10] {
        assert!(coerce(json!(good), &small).is_ok(), "{good}");
    }
    for bad in [json!(-11), json!(11), json!(1.0), json!("1"), json!(u64::MAX), json!(true)] {
        assert!(coerce(bad.clone(), &small).is_err(), "{bad}");
    }
    assert!(coerce(json!(u64::MAX), &integer(64)).is_ok());
    assert_eq!(coerce(json!(3), &Type::Float).unwrap(), json!(3.0));
}
