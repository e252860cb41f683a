//! Good runbooks: what comes out of them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail so")]

mod support;

use std::borrow::Cow;

use serde_json::{Value, json};
use support::{checked, draw, good, snapshot};
use windlass_runbook::expression::{EmptyScope, Scope, Template};
use windlass_runbook::model::{
    At, Bind, Concurrency, Connection, Credential, Day, InputType, Interrupt, Late, MetBy, NoData, OnExpiry,
    OnFailure, OnUnknown, PluginSource, Retry, RollbackOrder, SecretLocation, StepBody, Text, Undo, WhenBusy,
    Window,
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
    fn baseline(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.at(&format!("/baseline/{name}"))
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
    assert_eq!(&*healthy.interface, "windlass:contracts/health@0.1.0");
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
    assert_eq!(&*call.interface, "windlass:contracts/visitor@0.1.0");
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
    let count = |code: &str| diagnostics.iter().filter(|diagnostic| diagnostic.code == code).count();
    // `provider` four times, and the source in a registry.
    assert_eq!(count("not-supported"), 5, "{}", draw(&diagnostics));
    // The plugin for kubernetes, and its two grants.
    assert_eq!(count("unknown-component"), 1);
    assert_eq!(count("wrong-grant"), 2);
    assert_eq!(diagnostics.len(), 8);
}

/// The example with plugins that are there instead of those that are not yet.
#[test]
fn the_example_of_the_design_passes_where_its_plugins_are_there() {
    let design = include_str!("bad/design.toml");
    let (head, rest) = design.split_once("[plugins.cluster]").unwrap();
    let (_, rest) = rest.split_once("[plugins.files]").unwrap();
    let (files, rest) = rest.split_once("[plugins.api]").unwrap();
    let (_, steps) = rest.split_once("[[stage]]").unwrap();
    let plugins = ["traffic", "metrics", "chat"]
        .map(|name| format!("[plugins.{name}]\nsource = \"builtin:{name}\"\n"))
        .concat();
    let runbook = format!(
        "{head}{plugins}[plugins.files]{files}[plugins.api]\nsource = \"builtin:http\"\n[[stage]]{steps}"
    );
    let (runbook, diagnostics) = checked(&runbook, Some(include_str!("bad/design.env.toml")));
    assert!(diagnostics.is_empty(), "{}", draw(&diagnostics));
    let runbook = runbook.unwrap();
    assert_eq!(runbook.rollback_within_ms, Some(300_000));
    assert_eq!(runbook.stages[2].at, Some(At { offset_ms: 86_400_000 }));
    assert!(runbook.stages[2].commit && runbook.stages[2].steps.is_empty());
    assert_eq!(runbook.guards[0].from, Some(2));
    assert_eq!(runbook.criteria[0].met_by, MetBy::Step(0));
    assert_eq!(runbook.rollback[0].order, RollbackOrder::After);
}

fn safe() -> windlass_runbook::Runbook {
    good(include_str!("good/safe.toml"))
}

#[test]
fn a_runbook_says_how_it_goes_back() {
    let runbook = safe();
    assert_eq!(runbook.rollback_within_ms, Some(300_000));
    assert!(runbook.steps.iter().all(|step| step.on_failure == OnFailure::Rollback), "of the runbook");
    let [measure, _, create, tidy, ..] = runbook.steps.as_slice() else { panic!() };
    assert!(matches!(measure.undo, Undo::Own));
    assert!(matches!(tidy.undo, Undo::Never));
    assert!(tidy.commit && !create.commit);
    let Undo::Call(undo) = &create.undo else { panic!() };
    assert_eq!((&*undo.plugin, &*undo.action), ("api", "send"));
    let scope = World(json!({
        "inputs": { "limit": 0.05 },
        "steps": { "create": { "output": { "body": { "id": "a7" } } }, "measure": { "output": { "body": 1 } } },
    }));
    let input = undo.input.resolve(&scope).unwrap();
    assert_eq!(input["url"], "/things/a7");
    assert_eq!(input["json"], json!({ "was": 1, "limit": 0.05 }));
    let rollback: Vec<_> =
        runbook.rollback.iter().map(|rollback| (rollback.step.id.as_str(), rollback.order)).collect();
    assert_eq!(rollback, [("warn", RollbackOrder::Before), ("tell", RollbackOrder::After)]);
    assert_eq!(runbook.finally[0].id, "tell", "its ids are its own");
}

#[test]
fn a_runbook_says_when() {
    let runbook = safe();
    assert_eq!(runbook.late, Late::Compress);
    let at = |minutes: i64| Some(At { offset_ms: minutes * 60_000 });
    let stages: Vec<_> = runbook.stages.iter().map(|stage| (stage.at, stage.commit)).collect();
    assert_eq!(stages, [(at(-15), false), (at(0), false), (at(1440), true), (at(2880), false)]);
    assert_eq!(runbook.steps[2].at, at(5));
    let night = Window {
        from_minute: 22 * 60,
        to_minute: 6 * 60,
        zone: "Europe/Zurich".into(),
        days: vec![Day::Sat, Day::Sun],
    };
    assert_eq!(runbook.stages[0].window, Some(night));
    let day = Window { from_minute: 9 * 60, to_minute: 17 * 60 + 30, zone: "UTC".into(), days: vec![] };
    assert_eq!(runbook.steps[3].window, Some(day));
    let concurrency = Concurrency { group: "production".into(), when_busy: WhenBusy::Reject };
    assert_eq!(runbook.concurrency, Some(concurrency));
}

#[test]
fn an_approval_says_whom_and_what() {
    let runbook = safe();
    let StepBody::Approve(first) = &runbook.steps[1].body else { panic!() };
    assert_eq!(first.roles, ["product_owner", "security"]);
    assert_eq!((first.each, first.any), (1, Some(2)));
    assert_eq!((first.expires_ms, first.on_expiry), (Some(14_400_000), OnExpiry::Fail));
    assert_eq!(first.covers.as_deref(), Some(&[2, 3][..]), "in the order of the steps");
    assert_eq!((first.bind, first.owner.as_deref()), (Bind::Exact, Some("ada")));
    assert!(first.evidence && first.own);
    let scope = World(json!({ "steps": { "measure": { "output": { "round_trip_ms": 12.5 } } } }));
    assert_eq!(first.text.resolve(&scope).unwrap(), "Latency is 12.5. Go?");
    let StepBody::Approve(last) = &runbook.steps[5].body else { panic!() };
    assert_eq!((last.each, last.any, last.expires_ms, &last.covers), (1, None, None, &None));
    assert_eq!((last.on_expiry, last.bind), (OnExpiry::Hold, Bind::Plan));
    assert!(!last.evidence && !last.own, "nobody approves alone what they started");
}

#[test]
fn a_guard_says_what_it_watches() {
    let runbook = safe();
    let [errors, pulse] = runbook.guards.as_slice() else { panic!() };
    assert_eq!((errors.from, errors.until), (Some(2), Some(4)));
    assert_eq!((errors.every_ms, errors.for_ms, errors.clear_for_ms), (10_000, 60_000, 180_000));
    assert_eq!(
        (errors.grace_ms, errors.interrupt, errors.timeout_ms),
        (30_000, Interrupt::Never, Some(3_000))
    );
    assert_eq!((errors.no_data, errors.past_commit), (NoData::Hold, true));
    assert!(errors.fresh_when.is_some());
    let trips = errors.rollback_when.as_ref().unwrap();
    let world = |trip: f64| {
        World(json!({
            "baseline": { "latency": 20.0 },
            "inputs": { "limit": 0.05 },
            "result": { "round_trip_ms": trip, "body": { "rate": 0.0 } },
        }))
    };
    assert!(!trips.evaluate_bool(&world(19.0)).unwrap());
    assert!(trips.evaluate_bool(&world(21.0)).unwrap());
    assert!(trips.evaluate_bool(&EmptyScope).is_err(), "without a baseline there is no data");
    assert_eq!((pulse.from, pulse.until, pulse.for_ms), (None, None, 0));
    assert_eq!(pulse.clear_for_ms, 10_000, "two periods at least");
    assert_eq!((pulse.grace_ms, pulse.interrupt), (5_000, Interrupt::AfterGrace));
    let criteria: Vec<_> = runbook.criteria.iter().map(|criterion| criterion.met_by).collect();
    assert_eq!(criteria, [MetBy::Guard(0), MetBy::Step(5)]);
    assert_eq!(runbook.baselines.keys().collect::<Vec<_>>(), ["latency", "limit"]);
}

#[test]
fn a_commit_is_asked_for_before_a_long_wait_after_an_effect() {
    let effect = |id: &str, more: &str| {
        format!("[[step]]\nid = \"{id}\"\ndo = \"api.send\"\nwith = {{ url = \"/\" }}\n{more}\n")
    };
    let read = "[[step]]\nid = \"read\"\ndo = \"api.fetch\"\nwith = { url = \"/\" }\n";
    let wait =
        |duration: &str, more: &str| format!("[[step]]\nid = \"wait\"\nwait = \"{duration}\"\n{more}\n");
    let asks = |steps: &[&str]| {
        let head = "[runbook]\nname = \"a\"\n[inputs]\nsoak = { type = \"duration\" }\n\
                    [plugins.api]\nsource = \"builtin:http\"\n";
        let (_, diagnostics) = checked(&format!("{head}{}", steps.concat()), None);
        let codes: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
        assert!(codes.is_empty() || codes == ["commit-before-wait"], "{}", draw(&diagnostics));
        !codes.is_empty()
    };
    assert!(asks(&[&effect("a", ""), &wait("61m", "")]));
    assert!(asks(&[&effect("a", ""), read, &wait("2d", "")]), "not only of the step before it");
    assert!(
        asks(&[&effect("a", ""), &wait("61m", ""), &effect("b", "commit = true")]),
        "a later one is too late"
    );
    assert!(asks(&[&effect("a", "at = \"T\""), &effect("b", "at = \"T+2h\"")]));
    // A commit is enough, before the wait or on it.
    assert!(!asks(&[&effect("a", "commit = true"), &wait("61m", "")]));
    assert!(!asks(&[&effect("a", ""), &wait("61m", "commit = true")]));
    assert!(!asks(&[&effect("a", "at = \"T\""), &effect("b", "at = \"T+2h\"\ncommit = true")]));
    assert!(!asks(&[&effect("a", "commit = true"), &wait("61m", ""), &effect("b", ""), read]));
    // Nothing to take back, not long, not known, or not after it.
    assert!(!asks(&[read, &wait("2d", "")]));
    assert!(!asks(&[&effect("a", ""), &wait("1h", "")]));
    assert!(!asks(&[&effect("a", ""), &wait("${inputs.soak}", "")]));
    assert!(!asks(&[&wait("2d", ""), &effect("a", "")]));
    assert!(!asks(&[&effect("a", ""), &wait("2d", "needs = []")]));
    assert!(!asks(&[&effect("a", "at = \"T\""), &effect("b", "at = \"T+2h\"\nneeds = []")]));
    assert!(!asks(&[&effect("a", ""), &effect("b", "at = \"T+2h\"")]), "how long that is can't be told");
}
