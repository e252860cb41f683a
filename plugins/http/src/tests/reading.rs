//! Health checks and requests that read.

use super::{client, with_header};
use crate::bindings::exports::windlass::contracts::health::Target;
use crate::bindings::exports::windlass::contracts::http_call::Request;
use crate::{fetch, health};
use windlass_sdk::http::{Error, Phase, Response};
use windlass_sdk::testing::{Script, json_response, text_response};
use windlass_sdk::{Failure, Value, json};

fn target(expect: &Value) -> Target {
    let expect = expect.as_object().unwrap().iter().map(|(path, value)| (path.clone(), value.to_string()));
    Target {
        url: "/health".to_owned(),
        status: Vec::new(),
        expect: expect.collect(),
        timeout: None,
        extra: Vec::new(),
    }
}

fn check(answer: Result<Response, Error>, expect: &Value) -> Result<Value, Failure> {
    let script = Script::new([answer]);
    let report = health::check(&client(&script), &target(expect))?;
    assert_eq!(script.requests()[0].url, "https://api.example.com/health");
    Ok(json!({
        "status_code": report.status_code,
        "latency_ms": report.latency_ms,
        "round_trip_ms": report.round_trip_ms,
        "version": report.version,
        "body": windlass_sdk::serde_json::from_str::<Value>(&report.body).unwrap(),
    }))
}

fn request(url: &str) -> Request {
    Request {
        method: None,
        url: url.to_owned(),
        query: Vec::new(),
        headers: Vec::new(),
        json: None,
        text: None,
        status: Vec::new(),
        expect: Vec::new(),
        capture: Vec::new(),
        timeout: None,
        extra: Vec::new(),
    }
}

#[test]
fn a_healthy_service_is_reported_in_its_own_words() {
    let body = json!({ "status": "healthy", "version": "v2.1.0", "latency_ms": 7 });
    let report =
        check(Ok(json_response(200, &body)), &json!({ "status": "healthy", "latency_ms": "< 20" })).unwrap();
    assert_eq!(
        report,
        json!({ "status_code": 200, "latency_ms": 7.0, "round_trip_ms": 12.5, "version": "v2.1.0", "body": body })
    );
}

#[test]
fn a_service_that_gives_no_latency_is_held_to_the_time_it_took() {
    let answer = || Ok(json_response(200, &json!({ "status": "ok" })));
    assert_eq!(check(answer(), &json!({ "latency_ms": "< 20" })).unwrap()["latency_ms"], json!(12.5));
    let failure = check(answer(), &json!({ "latency_ms": "< 10" })).unwrap_err();
    assert_eq!(
        failure.message,
        "GET https://api.example.com/health is not healthy: `latency_ms` should be below 10 but is 12.5"
    );
}

#[test]
fn every_miss_is_in_the_failure() {
    let answer = Ok(json_response(200, &json!({ "status": "degraded", "db": { "lag": 40 } })));
    let failure =
        check(answer, &json!({ "status": "healthy", "db.lag": "< 5", "db.role": "primary" })).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("unhealthy", true));
    assert_eq!(
        failure.detail_json(),
        json!({ "status_code": 200, "misses": [
            { "path": "db.lag", "expected": "< 5", "seen": 40 },
            { "path": "db.role", "expected": "primary" },
            { "path": "status", "expected": "healthy", "seen": "degraded" },
        ] })
    );
}

#[test]
fn what_goes_wrong_is_told_apart() {
    let ok = json!({ "status": "ok" });
    let html = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>\x1b[31mPlease sign in to continue to the console</body></html>";
    let cases = [
        (
            Ok(json_response(503, &json!({ "status": "down" }))),
            ("server-error", true, "GET https://api.example.com/health answered 503 Service Unavailable"),
        ),
        (
            Ok(text_response(200, "text/html", html)),
            (
                "not-json",
                false,
                "GET https://api.example.com/health answered text/html, beginning `<!DOCTYPE html> <html><head><title>Sign in</title></head><body>[31mPlease sign i…`, and no JSON",
            ),
        ),
        (
            Ok(text_response(200, "application/json", "")),
            ("not-json", false, "GET https://api.example.com/health answered an empty body, and no JSON"),
        ),
        (
            Ok(with_header(
                text_response(302, "text/html", ""),
                "location",
                "https://login.example.com/?next=%2F",
            )),
            (
                "redirected",
                false,
                "GET https://api.example.com/health answered 302 Found and points to https://login.example.com/?next=%2F; redirects are not followed: name the right URL in the step",
            ),
        ),
        (
            Ok(json_response(404, &json!({}))),
            ("unexpected-status", false, "GET https://api.example.com/health answered 404 Not Found"),
        ),
        (
            Err(Error::Timeout(Phase::Answer)),
            ("timeout", true, "GET https://api.example.com/health: timed out before the answer began"),
        ),
        (
            Err(Error::ClosedEarly(12)),
            (
                "closed-early",
                true,
                "GET https://api.example.com/health: the connection was closed before the answer was whole, 12 bytes into its body",
            ),
        ),
        (
            Err(Error::Connect("connection refused".to_owned())),
            ("connect-failed", true, "GET https://api.example.com/health: no connection: connection refused"),
        ),
        (
            Err(Error::TooLarge(1 << 20)),
            (
                "too-large",
                false,
                "GET https://api.example.com/health: the answer is longer than 1048576 bytes",
            ),
        ),
        (
            Err(Error::Denied),
            ("denied", false, "GET https://api.example.com/health: the host denied the request"),
        ),
    ];
    for (answer, (code, retryable, message)) in cases {
        let failure = check(answer, &ok).unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.retryable, failure.message.as_str()),
            (code, retryable, message)
        );
    }
}

#[test]
fn a_service_that_is_busy_says_when_to_come_back() {
    let answer = with_header(json_response(429, &json!({})), "retry-after", "30");
    let failure = check(Ok(answer), &json!({})).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("unexpected-status", true));
    assert_eq!(failure.retry_after, Some(30_000));
}

#[test]
fn a_service_of_which_nothing_is_expected_may_answer_in_plain_text() {
    let nothing = json!({});
    assert_eq!(check(Ok(text_response(200, "text/plain", "ok")), &nothing).unwrap()["body"], json!("ok"));
    assert_eq!(check(Ok(text_response(204, "", "")), &nothing).unwrap()["body"], Value::Null);
    assert_eq!(check(Ok(text_response(200, "text/html", "<p>")), &nothing).unwrap_err().code, "not-json");
}

#[test]
fn an_expectation_that_makes_no_sense_is_the_runbooks_fault() {
    let failure = check(Ok(json_response(200, &json!({}))), &json!({ "a": "< soon" })).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("invalid-input", false));
}

#[test]
fn a_fetch_captures_values_by_path() {
    let body = json!({ "items": [{ "id": 7, "tags": ["a"] }] });
    let answer = with_header(with_header(json_response(200, &body), "x", "1"), "x", "2");
    let script = Script::new([Ok(answer)]);
    let input = Request {
        query: vec![("q".to_owned(), "a b".to_owned())],
        capture: vec![
            ("id".to_owned(), "items.0.id".to_owned()),
            ("tags".to_owned(), "items.0.tags".to_owned()),
        ],
        ..request("/items")
    };
    let response = fetch::fetch(&client(&script), input).unwrap();
    assert_eq!(
        response.captured,
        [("id".to_owned(), "7".to_owned()), ("tags".to_owned(), "[\"a\"]".to_owned())]
    );
    assert_eq!(response.headers[1], ("x".to_owned(), "1, 2".to_owned()));
    assert_eq!(script.requests()[0].url, "https://api.example.com/items?q=a%20b");
}

#[test]
fn a_capture_that_is_not_there_is_named() {
    let script = Script::new([Ok(json_response(200, &json!({ "id": 1 })))]);
    let capture = vec![("id".to_owned(), "data.id".to_owned()), ("one".to_owned(), "id".to_owned())];
    let failure =
        fetch::fetch(&client(&script), Request { capture, ..request("/x") }).map(|_| ()).unwrap_err();
    assert_eq!(failure.code, "missing-capture");
    assert_eq!(failure.message, "the answer to GET https://api.example.com/x has no `id` at `data.id`");
}

#[test]
fn a_credential_is_the_hosts_to_attach() {
    let script = Script::default();
    let headers = vec![("Authorization".to_owned(), "Bearer x".to_owned())];
    let failure =
        fetch::fetch(&client(&script), Request { headers, ..request("/x") }).map(|_| ()).unwrap_err();
    assert_eq!(failure.code, "invalid-input");
    assert!(script.requests().is_empty());
}
