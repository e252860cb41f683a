//! Requests that write: lost replies, probes, and the way back.

use super::client;
use crate::bindings::exports::windlass::contracts::http_call::Response;
use crate::request::Write;
use crate::{send, undo};
use windlass_sdk::http::Error;
use windlass_sdk::testing::{Script, json_response};
use windlass_sdk::{Attempt, Failure, Plan, Status, Value, json};

/// A write as the journal has its input.
fn event(more: &Value) -> Value {
    let mut input = json!({
        "method": "post",
        "url": "/events",
        "headers": { "idempotency-key": "{idempotency_key}" },
        "json": { "kind": "deploy", "key": "{idempotency_key}" },
        "capture": { "id": "id" },
    });
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    input
}

fn with_probe() -> Value {
    event(&json!({
        "probe": { "url": "/events", "query": { "key": "{idempotency_key}" }, "expect": { "total": ">= 1" },
                   "capture": { "id": "items.0.id" } },
        "reverse": { "method": "DELETE", "url": "/events/{captured.id}" },
    }))
}

fn attempt(number: u32, input: &Value, receipts: &[&str], output: Option<Value>) -> Attempt {
    Attempt {
        key: "test-key".to_owned(),
        number,
        input: input.to_string(),
        plan: Plan::differs([]),
        receipts: receipts.iter().map(|receipt| (*receipt).to_owned()).collect(),
        output: output.map(|output| output.to_string()),
    }
}

fn plan(script: &Script, input: &Value, before: &[Attempt]) -> Result<Plan, Failure> {
    send::plan(&client(script), &Write::from_json(input), before)
}

fn apply(script: &Script, input: &Value, plan: &Plan) -> Result<Response, Failure> {
    send::apply(&client(script), &Write::from_json(input), plan)
}

fn found() -> Result<windlass_sdk::http::Response, Error> {
    Ok(json_response(200, &json!({ "total": 1, "items": [{ "id": "e-1" }] })))
}

fn not_found() -> Result<windlass_sdk::http::Response, Error> {
    Ok(json_response(200, &json!({ "total": 0, "items": [] })))
}

#[test]
fn the_first_send_is_planned_without_asking_and_carries_its_key() {
    let input = event(&json!({}));
    let script = Script::new([Ok(json_response(201, &json!({ "id": "e-1" })))]);
    let planned = plan(&script, &input, &[]).unwrap();
    assert_eq!((planned.status.clone(), planned.repeatable), (Status::Differs, false));
    let change = &planned.changes[0];
    assert_eq!(
        (change.target.as_str(), change.kind.as_str()),
        ("POST https://api.example.com/events", "send")
    );
    assert_eq!(change.to.as_deref(), Some(r#"{"key":"{idempotency_key}","kind":"deploy"}"#));
    assert!(script.requests().is_empty());

    let response = apply(&script, &input, &planned).unwrap();
    assert_eq!(response.captured, [("id".to_owned(), "\"e-1\"".to_owned())]);
    let request = &script.requests()[0];
    assert_eq!(request.method, "POST");
    assert_eq!(String::from_utf8_lossy(&request.body), r#"{"key":"test-key","kind":"deploy"}"#);
    assert!(request.headers.contains(&("idempotency-key".to_owned(), "test-key".to_owned())));
}

#[test]
fn a_lost_reply_that_had_landed_is_not_sent_twice() {
    let input = with_probe();
    // The first planning asks, the reply is lost, the second asks again and finds it.
    let script = Script::new([not_found(), Err(Error::ClosedEarly(0)), found(), found()]);
    let planned = plan(&script, &input, &[]).unwrap();
    assert_eq!(planned.status, Status::Differs);
    let failure = apply(&script, &input, &planned).map(|_| ()).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("closed-early", true));

    let resumed = plan(&script, &input, &[attempt(1, &input, &[], None)]).unwrap();
    assert_eq!(resumed.status, Status::InPlace);
    let response = apply(&script, &input, &resumed).unwrap();
    assert_eq!(response.captured, [("id".to_owned(), "\"e-1\"".to_owned())]);
    let methods: Vec<_> = script.requests().iter().map(|request| request.method.clone()).collect();
    assert_eq!(methods, ["GET", "POST", "GET", "GET"]);
    assert_eq!(script.requests()[2].url, "https://api.example.com/events?key=test-key");
}

#[test]
fn a_lost_reply_without_a_probe_is_a_question() {
    let input = event(&json!({}));
    let planned = plan(&Script::default(), &input, &[attempt(1, &input, &[], None)]).unwrap();
    let why = "nobody can tell whether attempt 1 of POST https://api.example.com/events has landed: the step has no `probe`, and is not `repeatable`";
    assert_eq!(planned.status, Status::Unknown(why.to_owned()));

    let input = event(&json!({ "repeatable": true }));
    let planned = plan(&Script::default(), &input, &[attempt(1, &input, &[], None)]).unwrap();
    assert_eq!((planned.status, planned.repeatable), (Status::Differs, true));
}

#[test]
fn an_attempt_of_a_changed_input_says_nothing_about_this_write() {
    let input = event(&json!({}));
    let output = json!({ "status_code": 201, "captured": { "id": "e-1" } });
    let other = Attempt { key: "another".to_owned(), ..attempt(1, &input, &[], Some(output)) };
    let planned = plan(&Script::default(), &input, std::slice::from_ref(&other)).unwrap();
    assert_eq!((planned.status, planned.repeatable), (Status::Differs, false));
    let planned = plan(&Script::new([not_found()]), &with_probe(), &[other]).unwrap();
    assert_eq!(planned.status, Status::Differs);
}

#[test]
fn what_was_refused_may_be_sent_again() {
    let input = event(&json!({}));
    let refused = attempt(1, &input, &[r#"{"refused":422}"#], None);
    let planned = plan(&Script::default(), &input, std::slice::from_ref(&refused)).unwrap();
    assert_eq!((planned.status, planned.repeatable), (Status::Differs, true));
    // But not if another attempt is open.
    let planned = plan(&Script::default(), &input, &[attempt(1, &input, &[], None), refused]).unwrap();
    assert!(matches!(planned.status, Status::Unknown(_)));
}

#[test]
fn a_write_whose_answer_was_bad_has_landed_all_the_same() {
    let input = event(&json!({ "expect": { "state": "stored" } }));
    let script = Script::new([Ok(json_response(201, &json!({ "id": "e-1", "state": "queued" })))]);
    let failure = apply(&script, &input, &Plan::differs([])).map(|_| ()).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("unexpected-answer", false));
    assert_eq!(
        failure.message,
        "POST https://api.example.com/events was done, but its answer is not as expected: `state` should be \"stored\" but is \"queued\""
    );

    let receipt = r#"{"landed":{"status":201,"text":"{\"id\":\"e-1\",\"state\":\"queued\"}","took_ms":5}}"#;
    let script = Script::default();
    let planned = plan(&script, &input, &[attempt(1, &input, &[receipt], None)]).unwrap();
    assert_eq!(planned.status, Status::InPlace);
    let again = apply(&script, &input, &planned).map(|_| ()).unwrap_err();
    assert_eq!(again.message, failure.message);
    assert!(script.requests().is_empty());
}

#[test]
fn an_attempt_that_returned_is_not_repeated() {
    let input = event(&json!({}));
    let output = json!({ "status_code": 201, "headers": { "x": "1" }, "body": { "id": "e-1" }, "captured": { "id": "e-1" }, "round_trip_ms": 3.5 });
    let planned = plan(&Script::default(), &input, &[attempt(1, &input, &[], Some(output))]).unwrap();
    let response = apply(&Script::default(), &input, &planned).unwrap();
    assert_eq!((response.status_code, response.round_trip_ms), (201, 3.5));
    assert_eq!(response.captured, [("id".to_owned(), "\"e-1\"".to_owned())]);
}

#[test]
fn a_probe_that_fails_plans_nothing() {
    let input = with_probe();
    let script = Script::new([Ok(json_response(503, &json!({})))]);
    assert_eq!(plan(&script, &input, &[]).unwrap_err().code, "server-error");
    let script = Script::new([Ok(json_response(404, &json!({})))]);
    assert_eq!(plan(&script, &input, &[]).unwrap().status, Status::Differs);
}

#[test]
fn undo_sends_the_reversal_of_what_was_captured() {
    let mut input = event(&json!({ "reverse": { "method": "DELETE", "url": "/events/{captured.id}" } }));
    let output = json!({ "status_code": 201, "captured": { "id": "e/1" } });
    let done = [attempt(1, &input, &[], Some(output))];
    let script = Script::new([Ok(json_response(404, &json!({})))]);
    let planned = undo::plan(&client(&script), &done).unwrap();
    assert_eq!((planned.status.clone(), planned.repeatable), (Status::Differs, true));
    assert_eq!(planned.changes[0].target, "DELETE https://api.example.com/events/e%2F1");
    // It is gone already, which is as good.
    undo::undo(&client(&script), &planned).unwrap();
    assert_eq!(script.requests()[0].method, "DELETE");

    input.as_object_mut().unwrap().remove("reverse");
    let done = [attempt(1, &input, &[], Some(json!({})))];
    let why = "POST https://api.example.com/events can't be taken back: the step has no `reverse`";
    assert_eq!(
        undo::plan(&client(&Script::default()), &done).unwrap().status,
        Status::Unknown(why.to_owned())
    );
}

#[test]
fn undo_of_an_unknown_write_asks_the_probe() {
    let input = with_probe();
    let done = [attempt(1, &input, &[], None)];
    let script = Script::new([found()]);
    let planned = undo::plan(&client(&script), &done).unwrap();
    assert_eq!(planned.changes[0].target, "DELETE https://api.example.com/events/e-1");

    let script = Script::new([not_found()]);
    assert_eq!(undo::plan(&client(&script), &done).unwrap().status, Status::InPlace);

    let script = Script::default();
    let input = event(&json!({ "reverse": { "method": "DELETE", "url": "/events/{captured.id}" } }));
    let planned = undo::plan(&client(&script), &[attempt(1, &input, &[], None)]).unwrap();
    assert!(matches!(planned.status, Status::Unknown(_)));
    let refused = [attempt(1, &input, &[r#"{"refused":400}"#], None)];
    assert_eq!(undo::plan(&client(&script), &refused).unwrap().status, Status::InPlace);
}

/// A write of an object that was there before, with tags.
fn object() -> Value {
    json!({
        "method": "PUT", "url": "/objects/a", "json": { "v": 2 },
        "probe": { "url": "/objects/a", "expect": { "v": 2 } },
        "reverse": { "method": "PUT", "url": "/objects/a", "json": { "v": 1 } },
    })
}

fn at(v: i64, tag: &str) -> Result<windlass_sdk::http::Response, Error> {
    Ok(super::with_header(json_response(200, &json!({ "v": v })), "etag", tag))
}

fn if_match(request: &windlass_sdk::http::Request) -> Option<&str> {
    request.headers.iter().find(|(name, _)| name == "if-match").map(|(_, value)| value.as_str())
}

/// Its one attempt, which found `v` 1 before and got the tag "2".
fn written() -> Vec<Attempt> {
    let input = object();
    let planned = plan(&Script::new([at(1, "\"1\"")]), &input, &[]).unwrap();
    let output = json!({ "status_code": 200, "headers": { "etag": "\"2\"" } });
    vec![Attempt { plan: planned, ..attempt(1, &input, &[], Some(output)) }]
}

#[test]
fn a_reversal_is_sent_only_to_what_the_plan_saw() {
    let done = written();
    let planned = undo::plan(&client(&Script::new([at(2, "\"2\"")])), &done).unwrap();
    assert_eq!(planned.status, Status::Differs);
    let script = Script::new([at(2, "\"2\""), at(1, "\"3\"")]);
    undo::undo(&client(&script), &planned).unwrap();
    let sent = &script.requests()[1];
    assert_eq!((sent.method.as_str(), if_match(sent)), ("PUT", Some("\"2\"")));
    // It is as before, under a new tag.
    let planned = undo::plan(&client(&Script::new([at(1, "\"3\"")])), &done).unwrap();
    assert_eq!(planned.status, Status::InPlace);
}

#[test]
fn what_someone_else_changed_is_a_conflict_that_can_be_decided() {
    let done = written();
    for found in [at(7, "\"9\""), at(2, "\"9\"")] {
        let planned = undo::plan(&client(&Script::new([found.clone()])), &done).unwrap();
        let Status::Conflict(text) = &planned.status else { unreachable!("{planned:?}") };
        assert!(text.starts_with("https://api.example.com/objects/a: expected "), "{text}");
        assert!(text.contains("found status 200, ETag \"9\""), "{text}");
        let script = Script::default();
        assert_eq!(undo::undo(&client(&script), &planned).unwrap_err().code, "conflict");
        assert!(script.requests().is_empty());

        let ours = Plan { status: Status::Differs, ..planned };
        let script = Script::new([at(8, "\"10\"")]);
        assert_eq!(undo::undo(&client(&script), &ours).unwrap_err().code, "changed-meanwhile");
        let script = Script::new([found, at(1, "\"11\"")]);
        undo::undo(&client(&script), &ours).unwrap();
        assert_eq!(if_match(&script.requests()[1]), Some("\"9\""));
    }
}

#[test]
fn a_change_in_the_last_moment_is_refused_by_the_service() {
    let planned = undo::plan(&client(&Script::new([at(2, "\"2\"")])), &written()).unwrap();
    let script = Script::new([at(2, "\"2\""), Ok(json_response(412, &json!({})))]);
    let failure = undo::undo(&client(&script), &planned).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("changed-meanwhile", true));
    assert_eq!(failure.detail_json()["expected"], "ETag \"2\"");
}
