//! Round trips through the engine's own types, taken from a component that has them all.

use proptest::prelude::*;
use serde_json::{Value, json};
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Type as Theirs, Val};
use windlass_runbook::wit::Type;

use super::{Place, ValueError, decode, encode};

const WIT: &str = "
    package acme:test@0.1.0;
    interface jobs {
        use windlass:plugin/outcome@0.1.0.{failure, attempt, plan};
        use windlass:plugin/values@0.1.0.{json, duration, byte-size, timestamp, secret-name};
        variant when { now, at(timestamp), after(option<duration>) }
        enum speed { slow, very-fast }
        flags options { dry-run, force }
        record inner { status-code: u16, on: bool }
        record all {
            yes: bool, tiny: s8, small: u16, mid: s32, large: u64, far: s64, ratio: f64, short: f32, letter: char,
            text: string, body: json, wait: option<duration>, size: byte-size, key: secret-name,
            extra: list<tuple<string, json>>, raw: list<u8>, many: list<inner>, %when: when, speed: speed,
            options: options, both: tuple<s8, string>, maybe: option<inner>, maybe-json: option<json>,
        }
        check: func(input: all) -> result<_, failure>;
        plan-run: func(input: inner, before: list<attempt>) -> result<plan, failure>;
        apply-run: func(input: inner, plan: plan) -> result<_, failure>;
    }
    world plugin { export jobs; }";

/// The types of a function's parameters, as we and as the engine know them.
struct Types(Vec<(Type, Theirs)>);

fn types(function: &str) -> Types {
    use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
    let mut resolve = wit_parser::Resolve::default();
    let wits = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    resolve.push_path(wits.join("plugin")).unwrap();
    let package = resolve.push_str("guest.wit", WIT).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = dummy_module(&resolve, world, wit_parser::ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let bytes = ComponentEncoder::default().module(&module).unwrap().encode().unwrap();

    let engine = Engine::default();
    let component = Component::new(&engine, &bytes).unwrap();
    let interface = "acme:test/jobs@0.1.0";
    let instance = component.get_export_index(None, interface).unwrap();
    let (ComponentItem::ComponentFunc(found), _) = component.get_export(Some(&instance), function).unwrap()
    else {
        panic!("no function")
    };
    let shapes = crate::inspect::decode(&bytes).unwrap().shapes;
    let ours = shapes[&(interface.to_owned(), function.to_owned())].params.clone();
    Types(ours.into_iter().zip(found.params().map(|(_, ty)| ty)).collect())
}

impl Types {
    fn there(&self, index: usize, value: &Value) -> Result<Val, ValueError> {
        let (ours, theirs) = &self.0[index];
        encode(Some(value), ours, theirs, Place::root("input"))
    }

    fn back(&self, index: usize, val: &Val) -> Result<Value, ValueError> {
        decode(val, &self.0[index].0, Place::root("result"), 1_000_000)
    }
}

fn full() -> Value {
    json!({
        "yes": true, "tiny": -128, "small": 65535, "mid": -5, "large": i64::MAX, "far": i64::MIN, "ratio": 1.5,
        "short": 0.25, "letter": "ä", "text": "hello", "body": { "deep": [1, null, "x"] }, "wait": 250,
        "size": 1024, "key": "token", "extra": { "a-b": null, "c_d": [true] }, "raw": "AAEC/w==",
        "many": [{ "status_code": 200, "on": false }], "when": { "at": "2026-01-01T00:00:00Z" },
        "speed": "very-fast", "options": ["dry-run"], "both": [1, "two"], "maybe": { "status_code": 1, "on": true },
        "maybe_json": null,
    })
}

#[test]
fn everything_comes_back_as_it_went() {
    let types = types("check");
    let value = full();
    let val = types.there(0, &value).unwrap();
    assert_eq!(types.back(0, &val).unwrap(), value);
}

#[test]
fn what_is_absent_has_a_default_and_an_option_stays_absent() {
    let types = types("check");
    let mut value = full();
    let fields = value.as_object_mut().unwrap();
    for name in ["yes", "extra", "many", "options", "wait", "maybe", "maybe_json"] {
        fields.remove(name);
    }
    let back = types.back(0, &types.there(0, &value).unwrap()).unwrap();
    assert_eq!(
        (&back["yes"], &back["extra"], &back["many"], &back["options"]),
        (&json!(false), &json!({}), &json!([]), &json!([]))
    );
    for name in ["wait", "maybe", "maybe_json"] {
        assert!(back.get(name).is_none(), "{name}");
    }
}

#[test]
fn names_may_be_written_either_way_and_unknown_ones_are_refused() {
    let types = types("check");
    let mut value = full();
    value["many"] = json!([{ "status-code": 200 }]);
    assert!(types.there(0, &value).is_ok());
    value["many"] = json!([{ "status_code": 200, "statuscode": 1 }]);
    let error = types.there(0, &value).unwrap_err();
    assert_eq!(error.to_string(), "`input.many[0].statuscode`: `inner` has no such field");
}

#[test]
fn misfits_say_where_and_what() {
    let types = types("check");
    let cases = [
        ("tiny", json!(200)),
        ("small", json!(-1)),
        ("mid", json!(1.5)),
        ("large", json!("7")),
        ("ratio", json!(null)),
        ("letter", json!("ab")),
        ("raw", json!("no base64")),
        ("extra", json!([])),
        ("speed", json!("fast")),
        ("options", json!(["undo"])),
        ("when", json!({ "at": "x", "now": 1 })),
        ("when", json!({ "now": 1 })),
        ("when", json!("later")),
        ("both", json!([1])),
        ("short", json!(1e300)),
        ("maybe", json!(3)),
    ];
    let said: Vec<String> = cases
        .into_iter()
        .map(|(name, wrong)| {
            let mut value = full();
            value[name] = wrong;
            types.there(0, &value).unwrap_err().to_string()
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn what_an_expression_can_not_hold_is_refused_on_the_way_back() {
    let types = types("check");
    let good = types.there(0, &full()).unwrap();
    let with = |name: &str, val: Val| {
        let Val::Record(mut fields) = good.clone() else { panic!("no record") };
        fields.iter_mut().find(|(field, _)| field == name).unwrap().1 = val;
        types.back(0, &Val::Record(fields)).map_err(|error| error.to_string())
    };
    let said = [
        with("large", Val::U64(u64::MAX)),
        with("ratio", Val::Float64(f64::NAN)),
        with("short", Val::Float32(f32::INFINITY)),
        with("body", Val::String("{ not json".to_owned())),
    ];
    let said: Vec<String> = said.into_iter().map(|result| result.unwrap_err()).collect();
    insta::assert_snapshot!(said.join("\n"));
    assert_eq!(with("large", Val::U64(1 << 62)).unwrap()["large"], json!(1_i64 << 62));
}

#[test]
fn a_result_longer_than_its_limit_is_stopped() {
    let types = types("check");
    let mut value = full();
    value["text"] = json!("x".repeat(10_000));
    let val = types.there(0, &value).unwrap();
    let error = decode(&val, &types.0[0].0, Place::root("result"), 5_000).unwrap_err();
    assert_eq!(error, ValueError::TooLong(5_000));
}

#[test]
fn plans_and_attempts_fit_the_guests_records() {
    use windlass_runbook::outcome::{Attempt, Change, Plan, Status};
    let types = types("plan-run");
    let plan = |status| Plan {
        status,
        changes: vec![Change {
            target: "t".to_owned(),
            kind: "create".to_owned(),
            from: None,
            to: Some("x".to_owned()),
        }],
        repeatable: true,
        memo: "m".to_owned(),
    };
    let attempts: Vec<Attempt> = [Status::InPlace, Status::Conflict("both".to_owned())]
        .into_iter()
        .map(|status| Attempt {
            key: "k".to_owned(),
            number: 1,
            input: json!({ "a": [1] }),
            plan: plan(status),
            receipts: vec!["r".to_owned()],
            output: None,
        })
        .collect();
    let value = serde_json::to_value(&attempts).unwrap();
    let back = types.back(1, &types.there(1, &value).unwrap()).unwrap();
    assert_eq!(serde_json::from_value::<Vec<Attempt>>(back).unwrap(), attempts);
}

/// Any JSON, not too deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~äß日\\n]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z_-]{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn any_value_of_the_type_comes_back_and_anything_else_never_panics() {
    let types = types("check");
    proptest!(|(body in any_json(), text in ".{0,20}", large in 0..=i64::MAX, ratio in -1e9..1e9f64,
                raw in proptest::collection::vec(any::<u8>(), 0..40), junk in any_json())| {
        use base64::Engine as _;
        let mut value = full();
        value["extra"] = json!({ "body": body.clone() });
        value["body"] = body;
        value["text"] = json!(text);
        value["large"] = json!(large);
        value["ratio"] = json!(ratio);
        value["raw"] = json!(base64::engine::general_purpose::STANDARD.encode(raw));
        let val = types.there(0, &value).unwrap();
        prop_assert_eq!(types.back(0, &val).unwrap(), value.clone());
        let _any_result = types.there(0, &junk);
        value["when"] = junk;
        let _any_result = types.there(0, &value);
    });
}
