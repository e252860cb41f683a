//! Good runbooks: what comes out of them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail so")]

mod support;

use std::borrow::Cow;

use serde_json::{Value, json};
use support::{checked, draw, good, snapshot};
use windlass_runbook::expression::{EmptyScope, Scope, Template};
use windlass_runbook::model::{
    Connection, Credential, InputType, OnFailure, OnUnknown, PluginSource, Retry, SecretLocation, StepBody,
    Text,
};
use windlass_runbook::{SourceFile, coerce, parse, resolve_inputs};

const GOOD: &str = include_str!("good/release.toml");
const PLACE: &str = include_str!("good/place.toml");

fn release() -> windlass_runbook::Runbook {
    let (runbook, diagnostics) = checked(GOOD, Some(PLACE));
    assert!(diagnostics.is_empty(), "{}", draw(&diagnostics));
    runbook.unwrap()
}

/// A scope over plain JSON: `{"inputs": {}, "vars": {}, "steps": {"a": {"status", "effect", "output"}}, …}`.
struct World(Value);

impl World {
    fn at(&self, pointer: &str) -> Option<Cow<'_, Value>> {
        self.0.pointer(pointer).map(Cow::Borrowed)
    }
    fn text(&self, pointer: &str) -> Option<Cow<'_, str>> {
        self.0.pointer(pointer)?.as_str().map(Cow::Borrowed)
    }
}

impl Scope for World {
    fn input(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.at(&format!("/inputs/{name}"))
    }
    fn var(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.at(&format!("/vars/{name}"))
    }
    fn step_status(&self, id: &str) -> Option<Cow<'_, str>> {
        self.text(&format!("/steps/{id}/status"))
    }
    fn step_effect(&self, id: &str) -> Option<Cow<'_, str>> {
        self.text(&format!("/steps/{id}/effect"))
    }
    fn step_output(&self, id: &str) -> Option<Cow<'_, Value>> {
        self.at(&format!("/steps/{id}/output"))
    }
    fn item(&self) -> Option<Cow<'_, Value>> {
        self.at("/item")
    }
    fn result(&self) -> Option<Cow<'_, Value>> {
        self.at("/result")
    }
    fn run(&self, field: &str) -> Option<Cow<'_, Value>> {
        self.at(&format!("/run/{field}"))
    }
}

#[test]
fn places_come_from_the_environment() {
    let runbook = release();
    assert_eq!(runbook.name, "release");
    assert_eq!(runbook.vars["host"], "api.example.com");
    assert_eq!(
        runbook.connections["service"],
        Connection::Http {
            origin: "https://api.example.com".into(),
            paths: vec!["/api/**".into()],
            credential: Some(Credential::Bearer { token: "token".into() }),
            addresses: vec!["10.20.0.0/16".into()],
            ca: Some("environments/ca.pem".into()),
        }
    );
    assert_eq!(
        runbook.connections["main"],
        Connection::Postgres {
            url: Text::Plain("postgres://app@db.example.com/app".into()),
            read_url: Some(Text::Secret("read".into())),
            password: Some(Text::Secret("password".into())),
            read_password: None,
            ca: None,
        }
    );
    // Paths start at the file that they stand in.
    assert_eq!(runbook.connections["records"], Connection::Folder { path: "environments/../records".into() });
    let Connection::Program { path, postgres, environment, .. } = &runbook.connections["dump"] else {
        panic!()
    };
    assert_eq!(path.to_str(), Some("/usr/bin/pg_dump"));
    assert_eq!(postgres.as_deref(), Some("main"));
    assert_eq!(environment["TOKEN"], Text::Secret("token".into()));
    assert_eq!(runbook.secrets["token"].location, SecretLocation::Environment("API_TOKEN".into()));
    assert!(runbook.secrets["token"].redact);
    assert_eq!(runbook.secrets["password"].location, SecretLocation::File("/run/secrets/pg".into()));
    assert!(!runbook.secrets["password"].redact);
}

#[test]
fn the_environment_replaces_grants_and_merges_configuration() {
    let runbook = release();
    let api = &runbook.plugins["api"];
    assert_eq!(api.source, PluginSource::Builtin("http".into()));
    assert_eq!(api.allow, ["http GET https://{vars.host}/**", "http POST https://{vars.host}/**"]);
    assert_eq!(api.connections["api"], "service");
    let config = api.config.as_ref().unwrap();
    let scope = World(json!({ "vars": { "host": "api.example.com" } }));
    assert_eq!(config.resolve(&scope).unwrap(), json!({ "base_url": "https://api.example.com" }));
    assert_eq!(
        api.grants(&runbook.vars, None).unwrap(),
        ["http GET https://api.example.com/**", "http POST https://api.example.com/**"]
    );
    let zoo = &runbook.plugins["zoo"];
    let config = zoo.config.as_ref().unwrap().resolve(&EmptyScope).unwrap();
    let config = coerce::coerce_record(config, zoo.signature.config.as_ref().unwrap()).unwrap();
    assert_eq!(config, json!({ "gate": "south", "open": true }));
}

#[test]
fn grants_take_only_literal_values() {
    let runbook = release();
    let mut vars = runbook.vars.clone();
    for evil in ["*.example.com", "a/../b", "a b", "", "x?y", "a@b"] {
        vars["host"] = json!(evil);
        assert!(runbook.plugins["api"].grants(&vars, None).is_err(), "{evil}");
    }
    vars["host"] = json!("127.0.0.1:8080");
    assert!(runbook.plugins["api"].grants(&vars, None).is_ok());
}

#[test]
fn steps_have_their_edges_and_their_manners() {
    let runbook = release();
    let ids: Vec<&str> = runbook.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["healthy", "settle", "left", "right", "both", "fan", "tell"]);
    let needs = |id: &str| -> Vec<&str> {
        let step = runbook.steps.iter().find(|step| step.id == id).unwrap();
        step.needs.iter().map(|need| ids[*need]).collect()
    };
    assert!(needs("healthy").is_empty());
    assert_eq!(needs("settle"), ["healthy"]);
    assert!(needs("left").is_empty(), "a new stage waits for the one before as a whole");
    assert!(needs("right").is_empty());
    assert_eq!(needs("both"), ["left", "right"]);
    assert_eq!(runbook.stages.len(), 3);
    assert_eq!(runbook.stages[1].steps, 2..5);
    assert_eq!(runbook.steps[3].stage, Some(1));

    let healthy = &runbook.steps[0];
    assert_eq!(healthy.retry, Retry { attempts: 3, min_ms: 200, max_ms: 2_000 });
    assert_eq!(healthy.timeout_ms, Some(300_000));
    let gate = healthy.gate.as_ref().unwrap();
    assert_eq!((gate.every_ms, gate.hold_ms), (5_000, 60_000));
    assert_eq!(healthy.on_failure, OnFailure::Auto);
    assert!(matches!(&runbook.steps[1].body, StepBody::Wait { duration: Template::Expression(_) }));
    assert_eq!(runbook.steps[2].on_failure, OnFailure::Continue, "of the stage");
    assert_eq!(runbook.steps[4].on_failure, OnFailure::Pause, "of the step itself");
    assert_eq!(runbook.steps[6].on_unknown, OnUnknown::Accept);
    let fan = runbook.steps[5].for_each.as_ref().unwrap();
    assert_eq!((fan.max_parallel, fan.max_failures), (2, 1));
    assert_eq!(runbook.finally[0].id, "record");
}

#[test]
fn inputs_resolve_and_coerce() {
    let runbook = release();
    let StepBody::Call(healthy) = &runbook.steps[0].body else { panic!() };
    assert_eq!(healthy.interface, "windlass:contracts/health@0.1.0");
    let scope = World(json!({ "inputs": { "version": "v1.2.3" } }));
    let input = healthy.input.resolve(&scope).unwrap();
    let input = coerce::coerce_record(input, &healthy.input_type).unwrap();
    assert_eq!(
        input,
        json!({
            "url": "/health/v1.2.3", "status": [200], "expect": { "latency_ms": "< 20", "literal": "${not}" },
            "timeout": 5_000, "extra": {},
        })
    );
}

#[test]
fn conditions_see_what_they_may() {
    let runbook = release();
    let until = &runbook.steps[0].gate.as_ref().unwrap().until;
    let sample = |latency: f64| World(json!({ "result": { "latency_ms": latency, "status_code": 200 } }));
    assert!(until.evaluate_bool(&sample(12.5)).unwrap());
    assert!(!until.evaluate_bool(&sample(20.0)).unwrap());
    let when = runbook.steps[4].when.as_ref().unwrap();
    let scope =
        World(json!({ "steps": { "left": { "status": "failed" }, "right": { "status": "succeeded" } } }));
    assert!(when.evaluate_bool(&scope).unwrap());
}

#[test]
fn run_inputs_are_read_by_their_types() {
    let runbook = release();
    let give = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        resolve_inputs(&runbook, &pairs)
    };
    assert_eq!(runbook.inputs["hosts"].ty, InputType::List(Box::new(InputType::String)));
    let values =
        give(&[("version", "v1.2.3"), ("soak", "1m30s"), ("hosts", "x, y"), ("share", "2")]).unwrap();
    assert_eq!(
        Value::Object(values),
        json!({ "version": "v1.2.3", "soak": 90_000, "hosts": ["x", "y"], "share": 2.0, "dry": false, "colour": "red" })
    );
    assert_eq!(give(&[("version", "v1.2.3"), ("hosts", "[\"a,b\"]")]).unwrap()["hosts"], json!(["a,b"]));
    let wrong =
        give(&[("verison", "v1"), ("soak", "long"), ("colour", "blue"), ("dry", "maybe"), ("dry", "x")]);
    snapshot("wrong_inputs", &draw(&wrong.unwrap_err()));
    let pattern = give(&[("version", "1.2.3")]).unwrap_err();
    assert_eq!(pattern.iter().next().unwrap().code, "wrong-input");
}

#[test]
fn an_unused_plugin_is_a_warning_only() {
    let (runbook, diagnostics) = checked(
        "[runbook]\nname = \"a\"\n[plugins.api]\nsource = \"builtin:http\"\n[[step]]\nid = \"a\"\nwait = \"1s\"\n",
        None,
    );
    assert!(runbook.is_some());
    assert_eq!(diagnostics.len(), 1);
    assert_eq!(diagnostics.iter().next().unwrap().code, "unused-plugin");
}

#[test]
fn a_contract_decides_between_two_interfaces() {
    let runbook = good(
        "[runbook]\nname = \"a\"\n[plugins.zoo]\nsource = \"builtin:zoo\"\ncontract = \"visitor\"\n\
         config = { gate = \"x\" }\n[[step]]\nid = \"a\"\ndo = \"zoo.look\"\n",
    );
    let StepBody::Call(call) = &runbook.steps[0].body else { panic!() };
    assert_eq!(call.interface, "windlass:contracts/visitor@0.1.0");
}

#[test]
fn the_document_knows_its_plugins_before_any_is_read() {
    let (document, _) = parse(SourceFile::new("a.toml", GOOD), Some(SourceFile::new("b.toml", PLACE)));
    let document = document.unwrap();
    let names: Vec<String> = document.plugins().into_iter().map(|plugin| plugin.name).collect();
    assert_eq!(names, ["api", "zoo", "files"]);
    assert_eq!(document.secrets().collect::<Vec<_>>(), ["token", "read", "password"]);
}

#[test]
fn the_example_of_the_design_is_refused_for_what_is_not_there_yet_and_nothing_else() {
    let (_, diagnostics) =
        checked(include_str!("bad/design.toml"), Some(include_str!("bad/design.env.toml")));
    let allowed = ["not-supported", "unknown-component", "wrong-grant"];
    for diagnostic in &diagnostics {
        assert!(allowed.contains(&diagnostic.code), "{}: {diagnostic}", diagnostic.code);
    }
    // `at` three times, `provider` four times, one each of the rest and the source in a registry.
    assert_eq!(diagnostics.iter().filter(|diagnostic| diagnostic.code == "not-supported").count(), 14);
}
