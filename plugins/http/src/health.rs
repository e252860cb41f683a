//! Asking a service how it is.

use crate::answer::{Answer, milliseconds, unmet};
use crate::bindings::exports::windlass::contracts::health::{Report, Target};
use crate::client::{Client, name};
use crate::request::{Call, expectations};
use windlass_sdk::{Failure, Value, expect, json};

/// Ask once.
pub(crate) fn check(client: &Client<'_>, input: &Target) -> Result<Report, Failure> {
    let call = Call {
        method: "GET".to_owned(),
        url: input.url.clone(),
        status: input.status.clone(),
        timeout: input.timeout,
        ..Call::default()
    };
    let url = client.url(&input.url)?;
    let expected = expectations(input.expect.clone())?;
    let answer = Answer::of(&call, &url, &client.send(&call)?)?;

    let took = milliseconds(answer.elapsed);
    let body = body(&answer, expected.is_empty())?;
    // What the service says of itself counts; where it says nothing, the time the answer took.
    let find = |body: &Value, path: &str| match (expect::lookup(body, path), path) {
        (Some(value), _) => Some(value.clone()),
        (None, "latency_ms") => Some(json!(took)),
        (None, _) => None,
    };
    let misses = answer.misses(&expected, find)?;
    if !misses.is_empty() {
        let what = format!("{} is not healthy", name("GET", &url));
        return Err(unmet("unhealthy", &what, answer.status, &misses).retryable());
    }
    let version = match body.get("version") {
        Some(Value::String(version)) => Some(version.clone()),
        Some(Value::Number(version)) => Some(version.to_string()),
        _ => None,
    };
    Ok(Report {
        status_code: answer.status,
        latency_ms: find(&body, "latency_ms").and_then(|latency| latency.as_f64()).unwrap_or(took),
        round_trip_ms: took,
        version,
        body: body.to_string(),
    })
}

/// The body. A service of which nothing is expected but to be there may answer `ok` in plain text, or nothing; a page
/// of HTML is a login form or a proxy's word, and never good.
fn body(answer: &Answer, nothing_expected: bool) -> Result<Value, Failure> {
    let kind =
        answer.headers.iter().find(|(name, _)| name == "content-type").map_or("", |(_, kind)| kind.as_str());
    match &answer.json {
        Some(json) => Ok(json.clone()),
        None if nothing_expected && answer.text.is_empty() => Ok(Value::Null),
        None if nothing_expected && kind.starts_with("text/plain") => Ok(Value::String(answer.text.clone())),
        None => answer.body().cloned(),
    }
}
