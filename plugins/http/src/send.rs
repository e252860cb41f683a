//! Requests that write: finding out whether one has landed, and sending it.
//!
//! The memo holds what the probe saw before the first attempt: the state that undo knows again.
//!
//! What is known of an attempt, from the best source to the worst: its output; the receipt that it left when the
//! service answered but the answer was not good; the probe. A receipt says either `landed`, with the answer, or
//! `refused`, with a status by which a service says that it did nothing. Invariant: a write that can't be told to have
//! been refused, or not to have landed, is sent again only where the runbook says that this does no harm.

use crate::answer::{Answer, unmet};
use crate::bindings::exports::windlass::contracts::http_call::Response;
use crate::client::{Client, name};
use crate::request::{Call, Probe, Write};
use crate::seen::Seen;
use crate::template::Values;
use std::time::Duration;
use windlass_sdk::{Attempt, Change, Failure, Plan, Value, expect, json, step};

/// The longest answer that a receipt holds, in bytes of its text.
const RECEIPT: usize = 64 << 10;
/// The longest body that a change shows.
const SHOWN: usize = 400;

/// Whether the request has to be sent.
pub(crate) fn plan(client: &Client<'_>, write: &Write, before: &[Attempt]) -> Result<Plan, Failure> {
    let url = client.url(&write.call.url)?;
    let method = write.call.method.to_ascii_uppercase();
    let mut change = Change::new(name(&method, &url), "send");
    change.to = body(&write.call);
    // Those of a changed input are another write, and say nothing about this one.
    let key = step::idempotency_key();
    let before: Vec<&Attempt> = before.iter().filter(|attempt| attempt.key == key).collect();
    let attempts: Vec<Known> = before.iter().map(|attempt| Known::of(attempt)).collect();
    let landed = attempts.into_iter().rev().find(|known| matches!(known, Known::Landed(_)));

    if let Some(probe) = &write.probe {
        // Outside a run there is no key, so that nothing can have landed under it; a search for an empty one might
        // find what others wrote.
        let asked =
            if key.is_empty() && probe.call.names_the_key() { None } else { Some(ask(client, probe, &key)?) };
        let original = before.iter().find_map(|attempt| seen_before(attempt));
        let now = asked.as_ref().map(|asked| asked.seen.clone());
        let seen = original.or(now).map(|seen| seen.to_json());
        return Ok(match (asked.map(|asked| asked.found), landed) {
            (Some(Found::Landed(_)), _) => {
                Plan::in_place().with_memo(&json!({ "landed": "probe", "before": seen }))
            }
            (_, None) => Plan::differs([change]).with_memo(&json!({ "before": seen })),
            (_, Some(_)) => {
                Plan::conflict(format!("{} had landed, but the probe doesn't find it", change.target))
                    .with_changes([change])
            }
        }
        .repeatable(true));
    }
    if let Some(Known::Landed(memo)) = landed {
        return Ok(Plan::in_place().repeatable(write.repeatable).with_memo(&json!({ "landed": memo })));
    }
    let unsettled = before.iter().find(|attempt| !matches!(Known::of(attempt), Known::Refused));
    Ok(match unsettled {
        Some(attempt) if !write.repeatable => Plan::unknown(format!(
            "nobody can tell whether attempt {} of {} has landed: the step has no `probe`, and is not `repeatable`",
            attempt.number, change.target
        ))
        .with_changes([change]),
        Some(_) => Plan::differs([change]).repeatable(true),
        // The first attempt, or one after others that were refused and so did nothing.
        None => Plan::differs([change]).repeatable(write.repeatable || !before.is_empty()),
    })
}

/// Send it, if the plan says so; else give what it would have returned.
pub(crate) fn apply(client: &Client<'_>, write: &Write, plan: &Plan) -> Result<Response, Failure> {
    let key = step::idempotency_key();
    if plan.is_in_place() {
        return in_place(client, write, plan, &key);
    }
    let call = Values { key: &key, captured: &[] }.fill(&write.call)?;
    let url = client.url(&call.url)?;
    let response = client.send(&call)?;
    let answer = Answer::of(&call, &url, &response).inspect_err(|_| {
        if refuses(response.status) {
            receipt(&json!({ "refused": response.status }));
        }
    })?;
    judge(&answer, write).inspect_err(|_| receipt(&json!({ "landed": kept(&answer) })))?;
    let captured = answer.capture(&write.capture)?;
    Ok(answer.output(captured))
}

/// What the write that is in place has returned, or would have.
fn in_place(client: &Client<'_>, write: &Write, plan: &Plan, key: &str) -> Result<Response, Failure> {
    let memo = plan.memo_json();
    let landed = memo.get("landed").unwrap_or(&Value::Null);
    if let Some(output) = landed.get("output") {
        return Ok(response(output));
    }
    if landed.is_object() {
        let answer = answer(landed, &write.call, &client.url(&write.call.url)?);
        judge(&answer, write)?;
        let captured = answer.capture(&write.capture)?;
        return Ok(answer.output(captured));
    }
    let probe = write.probe.as_ref().ok_or_else(|| Failure::invalid_input("the plan speaks of a probe"))?;
    match ask(client, probe, key)?.found {
        Found::Landed(answer) => {
            let captured = answer.capture(&probe.capture)?;
            Ok(answer.output(captured))
        }
        Found::Absent => {
            let url = client.url(&probe.call.url)?;
            let message = format!("{} found the write before, and doesn't now", name("GET", &url));
            Err(Failure::new("changed-meanwhile", message).retryable())
        }
    }
}

/// Whether an answer with a good status is a good answer.
fn judge(answer: &Answer, write: &Write) -> Result<(), Failure> {
    let misses = answer.misses(&write.expect, |body, path| expect::lookup(body, path).cloned())?;
    if !misses.is_empty() {
        let what = format!("{} was done, but its answer is not as expected", answer.request);
        return Err(unmet("unexpected-answer", &what, answer.status, &misses));
    }
    answer.capture(&write.capture).map(|_| ())
}

/// What a probe found.
pub(crate) enum Found {
    Landed(Box<Answer>),
    Absent,
}

/// What a probe found, and what it saw.
pub(crate) struct Asked {
    pub(crate) found: Found,
    pub(crate) seen: Seen,
    /// As it was sent.
    pub(crate) call: Call,
}

/// Ask whether a write has landed.
pub(crate) fn ask(client: &Client<'_>, probe: &Probe, key: &str) -> Result<Asked, Failure> {
    let call = Values { key, captured: &[] }.fill(&probe.call)?;
    let url = client.url(&call.url)?;
    let response = client.send(&call)?;
    let seen = Seen::of(probe, &response);
    if response.status == 404 {
        return Ok(Asked { found: Found::Absent, seen, call });
    }
    let answer = Answer::of(&call, &url, &response)?;
    let misses = answer.misses(&probe.expect, |body, path| expect::lookup(body, path).cloned())?;
    let found = if misses.is_empty() { Found::Landed(Box::new(answer)) } else { Found::Absent };
    Ok(Asked { found, seen, call })
}

/// What the probe saw before an attempt.
pub(crate) fn seen_before(attempt: &Attempt) -> Option<Seen> {
    Seen::from_json(attempt.plan.memo_json().get("before")?)
}

/// What an attempt left behind about its effect.
pub(crate) enum Known {
    /// It has landed: `output`, or the answer as a receipt holds it.
    Landed(Value),
    /// The service said that it did nothing.
    Refused,
    /// Nothing is known.
    Unknown,
}

impl Known {
    pub(crate) fn of(attempt: &Attempt) -> Self {
        if let Some(output) = attempt.output_json() {
            return Self::Landed(json!({ "output": output }));
        }
        let receipts = attempt.receipts.iter().rev();
        let last = receipts.filter_map(|text| windlass_sdk::serde_json::from_str::<Value>(text).ok()).next();
        match last {
            Some(receipt) if receipt.get("landed").is_some_and(Value::is_object) => {
                Self::Landed(receipt.get("landed").cloned().unwrap_or_default())
            }
            Some(receipt) if receipt.get("refused").is_some() => Self::Refused,
            _ => Self::Unknown,
        }
    }
}

/// What a landed attempt captured.
pub(crate) fn captured(landed: &Value, write: &Write) -> Vec<(String, Value)> {
    if let Some(fields) = landed.get("output").and_then(|output| output.get("captured")?.as_object()) {
        return fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    }
    let answer = answer(landed, &write.call, &write.call.url);
    let Some(body) = &answer.json else { return Vec::new() };
    write
        .capture
        .iter()
        .filter_map(|(name, path)| Some((name.clone(), expect::lookup(body, path)?.clone())))
        .collect()
}

/// Whether a service says with this status that it did nothing. 408 and 409 don't say so: the request may have been
/// on its way twice.
const fn refuses(status: u16) -> bool {
    matches!(status, 400..=499) && !matches!(status, 408 | 409)
}

/// Leave a receipt. The failure that it goes with is what counts, so that its own is only logged.
fn receipt(content: &Value) {
    if let Err(failure) = step::receipt(&content.to_string()) {
        windlass_sdk::warn!("no receipt could be left: {}", failure.message);
    }
}

/// An answer for a receipt.
fn kept(answer: &Answer) -> Value {
    let header =
        |wanted: &str| answer.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let headers = json!({ "etag": header("etag"), "location": header("location") });
    let mut kept = json!({ "status": answer.status, "headers": headers, "took_ms": crate::answer::milliseconds(answer.elapsed) });
    if let Some(fields) = kept.as_object_mut()
        && answer.text.len() <= RECEIPT
    {
        fields.insert("text".to_owned(), Value::from(answer.text.as_str()));
    }
    kept
}

/// The answer of a receipt.
fn answer(kept: &Value, call: &Call, url: &str) -> Answer {
    let text = kept.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
    let took = kept.get("took_ms").and_then(Value::as_f64).unwrap_or_default();
    Answer {
        request: name(&call.method.to_ascii_uppercase(), url),
        status: kept
            .get("status")
            .and_then(Value::as_u64)
            .and_then(|code| u16::try_from(code).ok())
            .unwrap_or_default(),
        headers: Vec::new(),
        json: windlass_sdk::serde_json::from_str(&text).ok(),
        text,
        elapsed: Duration::from_secs_f64((took / 1e3).clamp(0.0, 1e6)),
    }
}

/// A response out of an attempt's output.
fn response(output: &Value) -> Response {
    let fields = |name: &str| output.get(name).and_then(Value::as_object).into_iter().flatten();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Response {
        status_code: output
            .get("status_code")
            .and_then(Value::as_u64)
            .and_then(|code| u16::try_from(code).ok())
            .unwrap_or_default(),
        headers: fields("headers").filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect(),
        body: output.get("body").unwrap_or(&Value::Null).to_string(),
        text: output.get("text").and_then(text),
        captured: fields("captured").map(|(name, value)| (name.clone(), value.to_string())).collect(),
        round_trip_ms: output.get("round_trip_ms").and_then(Value::as_f64).unwrap_or_default(),
    }
}

/// What is sent, for a person; it names the content, so that an approval of it is one of exactly this.
pub(crate) fn body(call: &Call) -> Option<String> {
    let text = call.json.as_ref().map(Value::to_string).or_else(|| call.text.clone())?;
    let Some((end, _)) = text.char_indices().nth(SHOWN) else { return Some(text) };
    let sha256 = windlass_sdk::digest::sha256(text.as_bytes());
    let short = sha256.get(..12).unwrap_or(&sha256);
    Some(format!("{}… ({} bytes, sha256 {short})", text.get(..end).unwrap_or_default(), text.len()))
}
