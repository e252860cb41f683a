//! What expressions evaluate to, and how they fail.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail so")]

mod support;

use std::borrow::Cow;

use serde_json::{Value, json};
use support::snapshot;
use windlass_runbook::expression::{Expression, ExpressionError, Root, Scope};

/// A run in which step `a` succeeded, `b` was skipped, and `c` was taken as done.
struct Run(Value);

impl Run {
    fn new() -> Self {
        Self(json!({
            "inputs": { "version": "v1.2", "count": 3, "share": 0.5, "list": [3, 1, 2] },
            "vars": { "host": "example.com", "nested": { "deep": [10, { "x": true }] } },
            "steps": {
                "a": { "status": "succeeded", "effect": "applied", "output": { "id": "x-1", "rows": [{ "n": 1 }, { "n": 2 }], "nothing": null, "big": 9_007_199_254_740_993_i64 } },
                "b": { "status": "skipped" },
                "c": { "status": "succeeded", "effect": "accepted" },
            },
            "item": { "name": "one", "a-b": 7 },
            "result": { "latency_ms": 12.5, "status_code": 200 },
            "run": { "id": "r1" },
        }))
    }
    fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.0, |value, name| value.get(name))
    }
}

impl Scope for Run {
    fn input(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.at(&["inputs", name]).map(Cow::Borrowed)
    }
    fn var(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.at(&["vars", name]).map(Cow::Borrowed)
    }
    fn step_status(&self, id: &str) -> Option<Cow<'_, str>> {
        self.at(&["steps", id, "status"])?.as_str().map(Cow::Borrowed)
    }
    fn step_effect(&self, id: &str) -> Option<Cow<'_, str>> {
        self.at(&["steps", id, "effect"])?.as_str().map(Cow::Borrowed)
    }
    fn step_output(&self, id: &str) -> Option<Cow<'_, Value>> {
        // As a state that computes what it lends.
        self.at(&["steps", id, "output"]).cloned().map(Cow::Owned)
    }
    fn item(&self) -> Option<Cow<'_, Value>> {
        self.at(&["item"]).map(Cow::Borrowed)
    }
    fn result(&self) -> Option<Cow<'_, Value>> {
        self.at(&["result"]).map(Cow::Borrowed)
    }
    fn run(&self, field: &str) -> Option<Cow<'_, Value>> {
        self.at(&["run", field]).map(Cow::Borrowed)
    }
}

fn evaluate(source: &str) -> Result<Value, ExpressionError> {
    let expression = Expression::compile(source).unwrap_or_else(|issues| panic!("{source}: {issues:?}"));
    expression.evaluate(&Run::new())
}

#[test]
fn values() {
    for (source, value) in [
        ("inputs.version", json!("v1.2")),
        (" inputs.count ", json!(3)),
        ("vars.nested.deep[1].x", json!(true)),
        ("vars['nested']['deep'][0] + 1", json!(11)),
        ("steps.a.output.rows[1].n", json!(2)),
        ("steps.a.output.nothing", json!(null)),
        ("steps.a.output.nothing == null", json!(true)),
        ("steps.a.output.big", json!(9_007_199_254_740_993_i64)),
        ("steps.a.output.big - 1", json!(9_007_199_254_740_992_i64)),
        ("item['a-b'] * 2", json!(14)),
        ("item", json!({ "name": "one", "a-b": 7 })),
        ("result.latency_ms < 20", json!(true)),
        ("result.latency_ms < 20 && result.status_code == 200", json!(true)),
        ("12.0 == 12", json!(true)),
        ("inputs.count / 2", json!(1)),
        ("double(inputs.count) * inputs.share", json!(1.5)),
        ("'a' + inputs.version", json!("av1.2")),
        ("inputs.count > 2 ? 'many' : 'few'", json!("many")),
        ("inputs.list.map(x, x * 2)", json!([6, 2, 4])),
        ("inputs.list.filter(x, x > 1).size()", json!(2)),
        ("inputs.list.exists(x, x == inputs.count)", json!(true)),
        ("inputs.list.all(item, item > 0)", json!(true)),
        ("inputs.list.exists_one(x, x == 1)", json!(true)),
        ("steps.a.output.rows.map(r, r.n)", json!([1, 2])),
        ("{'b': 1, 'a': [inputs.count]}", json!({ "a": [3], "b": 1 })),
        ("inputs.version in ['v1.2']", json!(true)),
        ("type(inputs.count) == int", json!(true)),
        ("inputs.version.matches('^v[0-9.]+$')", json!(true)),
        ("b'hi'", json!("aGk=")),
        ("run.id", json!("r1")),
        ("steps.c.effect", json!("accepted")),
    ] {
        assert_eq!(evaluate(source), Ok(value), "{source}");
    }
}

#[test]
fn presence_is_asked_without_failing() {
    for (source, value) in [
        ("has(steps.a.output.id)", true),
        ("has(steps.a.output.other)", false),
        ("has(steps.b.output)", false),
        ("has(steps.b.output.id)", false),
        ("has(steps.b.output) ? steps.b.output.id == 'x' : true", true),
        ("steps.b.status == 'succeeded' && steps.b.output.id == 'x'", false),
        ("has(item.name) && !has(item.other)", true),
    ] {
        assert_eq!(evaluate(source), Ok(json!(value)), "{source}");
    }
}

#[test]
fn every_function_of_the_list_exists() {
    for (source, value) in [
        ("size('abc') + 'abc'.size() + size([1]) + [1].size() + size({'a': 1})", json!(9)),
        ("int('3') + int(2.9)", json!(5)),
        ("uint(3) == 3u", json!(true)),
        ("double('1.5')", json!(1.5)),
        ("string(3) + string(true) + string(1.5)", json!("3true1.5")),
        ("bytes('hi')", json!("aGk=")),
        ("bool('true')", json!(true)),
        ("dyn(3)", json!(3)),
        ("'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')", json!(true)),
        ("'abc'.charAt(1) + 'abcb'.substring(2) + 'abcb'.substring(0, 1)", json!("bcba")),
        ("'abcb'.indexOf('b') + 'abcb'.indexOf('b', 2) + 'abcb'.lastIndexOf('b')", json!(7)),
        ("['a', 'b'].join() + ['a', 'b'].join('-')", json!("aba-b")),
        ("'aB'.lowerAscii() + 'aB'.upperAscii() + ' a '.trim()", json!("abABa")),
        ("'aaa'.replace('a', 'b') + 'aaa'.replace('a', 'b', 1)", json!("bbbbaa")),
        ("'a,b,c'.split(',') + 'a,b,c'.split(',', 2)", json!(["a", "b", "c", "a", "b,c"])),
        ("'abc'.reverse()", json!("cba")),
    ] {
        assert_eq!(evaluate(source), Ok(value), "{source}");
    }
}

#[test]
fn failures_say_which_value_and_why() {
    let said = |source: &str| evaluate(source).unwrap_err().to_string();
    let failures = [
        said("steps.b.output.id"),
        said("'x' + steps.b.output.id"),
        said("steps.a.output.other"),
        said("inputs.list[9]"),
        said("size(inputs.list) + inputs.list[inputs.count]"),
        said("inputs.count + inputs.version"),
        said("inputs.count / 0"),
        said("9223372036854775807 + inputs.count"),
        said("vars.nested.deep[0].x.y"),
        said("vars.nested.map(k, vars.nested[k][5])"),
        said("int(inputs.version)"),
        said("inputs.count && true"),
        said("inputs.share / 0.0"),
        said("inputs.version.substring(9)"),
        Expression::compile("inputs.count").unwrap().evaluate_bool(&Run::new()).unwrap_err().to_string(),
    ]
    .join("\n");
    snapshot("failures", &failures);
    assert!(
        matches!(evaluate("steps.b.output.id"), Err(ExpressionError::NoOutput { step, .. }) if step == "b")
    );
    assert!(matches!(evaluate("steps.a.output.zzz"), Err(ExpressionError::Absent { .. })));
}

#[test]
fn references_are_the_paths_and_only_they() {
    let references = |source: &str| -> Vec<String> {
        Expression::compile(source).unwrap().references().iter().map(ToString::to_string).collect()
    };
    assert_eq!(references("steps.a.output.rows[0].n"), ["steps.a.output.rows[0].n"]);
    assert_eq!(
        references("has(steps.a.output.id) && inputs.list.exists(item, item == vars.nested['x y'])"),
        ["steps.a.output.id", "inputs.list", "vars.nested[\"x y\"]"]
    );
    let expression =
        Expression::compile("size(steps.a.output.rows) > 0 && steps.a.status == 'failed'").unwrap();
    assert_eq!(expression.references()[0].root, Root::StepOutput("a".into()));
    assert_eq!(expression.references()[1].step(), Some("a"));
}

#[test]
fn what_is_not_there_is_refused_when_compiled() {
    let said = |source: &str| {
        let issues = Expression::compile(source).err().unwrap_or_else(|| panic!("{source} compiles"));
        issues
            .iter()
            .map(|issue| {
                format!(
                    "{source:40} {:?} {}; {}",
                    issue.range,
                    issue.message,
                    issue.help.as_deref().unwrap_or("-")
                )
            })
            .collect::<Vec<_>>()
            .join("\n")
    };
    let sources = [
        "",
        "inputs",
        "steps",
        "steps.a",
        "steps.a.ouput",
        "run.time",
        "vars[0]",
        "input.version",
        "versoin",
        "now()",
        "timestamp('2026-01-16T02:00:00Z')",
        "size()",
        "'a'.size(1)",
        "size('a', 'b')",
        "x.map(1)",
        "contains('a', 'b')",
        "'a'.string()",
        "Foo{a: 1}",
        "inputs.a.?b",
        "a = b",
        "1 +",
        "'unclosed",
        "1 2",
        "inputs.a = 3",
        "[1, 2",
        "ä == 1",
        "inputs.ä",
        "inputs.a ++ 1",
        "@x",
        "optional.none()",
        "inputs.in",
    ];
    snapshot("refused", &sources.map(said).join("\n"));
}
