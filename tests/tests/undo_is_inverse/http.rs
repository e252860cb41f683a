//! `http.send`, with a probe and a reverse, against the demo service: the objects and the events that it holds.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use windlass_runbook::outcome::Status;
use windlass_sandbox::{Connection, Credential, Secret};
use windlass_tests::Service;

use crate::stage::{Actor, Outcome, Step, check};

fn actor(service: &Service) -> Actor {
    let host = service.host();
    let lines = [
        format!("http GET http://{host}/api/**"),
        format!("http PUT,DELETE,POST http://{host}/api/**"),
        format!("http PUT,DELETE,POST http://{host}/api/**?fault=*"),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let connection = Connection::Http {
        origin: service.origin(),
        paths: Vec::new(),
        credential: Some(Credential::Bearer(Secret::new(service.token().to_owned()))),
        addresses: vec!["127.0.0.1/32".to_owned()],
        ca: None,
    };
    Actor::new("http", "send", &lines, [("api", connection)])
}

/// What the service holds under a name: status and content.
fn object(service: &Service, name: &str) -> (u16, Value) {
    service.get(&format!("/api/objects/{name}"))
}

/// Changes an object as someone else would.
fn change(service: &Service, method: &str, name: &str, body: &Value) {
    let status = service.send(method, &format!("/api/objects/{name}"), &body.to_string());
    assert!((200..300).contains(&status), "{status}");
}

/// A name that no other case has.
fn name() -> String {
    format!("o-{}", windlass_tests::random_hex())
}

/// Puts `v` under a name, and how to get back to what was there.
fn put(name: &str, v: u8, before: Option<u8>, fault: Option<&str>) -> Value {
    let url = format!("/api/objects/{name}");
    let reverse = match before {
        Some(before) => json!({ "method": "PUT", "url": url, "json": { "v": before } }),
        None => json!({ "method": "DELETE", "url": url }),
    };
    let query = fault.map_or(json!({}), |fault| json!({ "fault": fault }));
    json!({
        "method": "PUT", "url": url, "query": query, "json": { "v": v }, "repeatable": true,
        "probe": { "url": url, "expect": { "v": v } },
        "reverse": reverse,
    })
}

/// An event with the key of the effect, by which the probe finds it.
fn event(fault: Option<&str>, id: &str) -> Value {
    let query = fault.map_or(json!({}), |fault| json!({ "fault": fault }));
    json!({
        "method": "POST", "url": "/api/audit/events", "query": query,
        "headers": { "idempotency-key": "{idempotency_key}" },
        "json": { "event_type": "t", "entity_type": "t", "entity_id": id, "severity": "info" },
        "capture": { "id": "id" },
        "probe": { "url": "/api/audit/events/by-key/{idempotency_key}", "capture": { "id": "id" } },
        "reverse": { "method": "DELETE", "url": "/api/audit/events/{captured.id}" },
    })
}

fn settle() {
    std::thread::sleep(Duration::from_millis(10));
}

#[test]
fn whatever_was_sent_is_as_before() {
    let fault = prop::option::of(prop::sample::select(vec!["lost-reply", "lost-request"]));
    let cuts = prop::collection::vec(0_u64..6_000, 0..2);
    let cut = prop::option::of((0_u64..6_000).prop_map(Duration::from_micros));
    // The first attempts go wrong in one of these ways, the last one doesn't, or there is none.
    let story =
        (prop::option::of(0..3_u8), 3..6_u8, prop::collection::vec((fault, cut), 0..3), any::<bool>(), cuts);
    let service = &Service::start();
    check(40, &story, |(before, v, attempts, last, cuts)| {
        let (actor, name) = (actor(service), name());
        if let Some(before) = before {
            change(service, "PUT", &name, &json!({ "v": before }));
        }
        let (events, was) = (event_count(service, &name), object(service, &name));
        for puts in [true, false] {
            let input = |fault| if puts { put(&name, v, before, fault) } else { event(fault, &name) };
            let mut step = Step::new(&actor, input(None));
            for (fault, cut) in &attempts {
                // The fault stands for the network's: the input is the same to the plugin's later self.
                step.set(input(*fault));
                drop(step.attempt(*cut));
                settle();
            }
            if last {
                step.set(input(None));
                let outcome = step.attempt(None);
                prop_assert!(matches!(outcome, Outcome::Done | Outcome::InPlace), "{:?}", outcome);
            }
            let cuts: Vec<Duration> = cuts.iter().copied().map(Duration::from_micros).collect();
            step.roll_back(&cuts, settle);
        }
        prop_assert_eq!((event_count(service, &name), object(service, &name)), (events, was));
        Ok(())
    });
}

fn event_count(service: &Service, id: &str) -> Value {
    service.get(&format!("/api/audit/events?entity_id={id}")).1["total"].clone()
}

#[test]
fn a_changed_input_is_another_write_with_its_own_way_back() {
    let (service, name) = (&Service::start(), name());
    let actor = actor(service);
    let mut step = Step::new(&actor, event(None, &name));
    assert!(matches!(step.attempt(None), Outcome::Done));
    let mut changed = event(None, &name);
    changed["json"]["severity"] = json!("error");
    step.take(changed);
    assert!(matches!(step.attempt(None), Outcome::Done));
    assert_eq!(event_count(service, &name), 2);
    step.roll_back(&[], settle);
    assert_eq!(event_count(service, &name), 0);
}

#[test]
fn what_was_in_place_has_nothing_to_undo() {
    let (service, name) = (&Service::start(), name());
    let actor = actor(service);
    change(service, "PUT", &name, &json!({ "v": 1 }));
    let mut step = Step::new(&actor, put(&name, 1, None, None));
    assert!(matches!(step.attempt(None), Outcome::InPlace));
    assert_eq!(step.plan_undo().unwrap().status, Status::InPlace);
}

#[test]
fn an_object_that_a_stranger_changed_stays_until_a_person_decides() {
    let strangers: [(&str, Value, &str); 3] = [
        ("PUT", json!({ "v": 9 }), "`v` 9"),
        // The same content, but not as this step left it.
        ("PUT", json!({ "v": 2, "more": true }), "ETag"),
        ("DELETE", json!({}), "nothing (404)"),
    ];
    let service = &Service::start();
    for (method, body, found) in &strangers {
        let (actor, name) = (actor(service), name());
        change(service, "PUT", &name, &json!({ "v": 1 }));
        let mut step = Step::new(&actor, put(&name, 2, Some(1), None));
        assert!(matches!(step.attempt(None), Outcome::Done));
        // Between planning the undo and undoing.
        let plan = step.plan_undo().unwrap();
        change(service, method, &name, body);
        let theirs = object(service, &name);
        step.refused(&plan, &name);
        assert_eq!(object(service, &name), theirs);
        // Before planning it, and then once more after a person has decided.
        let ours = step.conflict(&[&name, "expected", found]);
        assert_eq!(object(service, &name), theirs);
        change(service, "PUT", &name, &json!({ "v": 77 }));
        step.refused(&ours, &name);
        assert_eq!(object(service, &name).1, json!({ "v": 77 }));
        let ours = step.conflict(&["`v` 77"]);
        assert!(matches!(step.undo(&ours, None), Outcome::Done));
        assert_eq!(object(service, &name).1, json!({ "v": 1 }));
        assert_eq!(step.plan_undo().unwrap().status, Status::InPlace);
    }
}

#[test]
fn without_a_probe_the_tag_of_the_answer_guards_the_object() {
    let (service, name) = (&Service::start(), name());
    let actor = actor(service);
    let mut input = put(&name, 2, None, None);
    input.as_object_mut().unwrap().remove("probe");
    let mut step = Step::new(&actor, input);
    assert!(matches!(step.attempt(None), Outcome::Done));
    let plan = step.plan_undo().unwrap();
    assert_eq!(plan.status, Status::Differs);
    change(service, "PUT", &name, &json!({ "v": 9 }));
    step.refused(&plan, &name);
    assert_eq!(object(service, &name).1, json!({ "v": 9 }));
}

#[test]
fn without_a_reverse_nobody_but_a_person_can_take_it_back() {
    let (service, name) = (&Service::start(), name());
    let actor = actor(service);
    let mut input = put(&name, 2, None, None);
    input.as_object_mut().unwrap().remove("reverse");
    let mut step = Step::new(&actor, input);
    assert!(matches!(step.attempt(None), Outcome::Done));
    let plan = step.plan_undo().unwrap();
    assert!(matches!(&plan.status, Status::Unknown(why) if why.contains("no `reverse`")), "{plan:?}");
    assert_eq!(object(service, &name).1, json!({ "v": 2 }));
}
