//! Taking writes back with `reverse`.
//!
//! Attempts with the same idempotency key are one write; those of a changed input are another, with its own way back.
//! The plan's memo holds the requests to send, newest write first, so that exactly what was planned is sent.

use crate::answer::Answer;
use crate::client::{Client, name};
use crate::request::{Call, Write};
use crate::send::{Found, Known, ask, body, captured};
use crate::template::Values;
use windlass_sdk::{Attempt, Change, Failure, Plan, Value, json};

/// What taking these attempts back would send.
pub(crate) fn plan(client: &Client<'_>, done: &[Attempt]) -> Result<Plan, Failure> {
    let mut changes = Vec::new();
    let mut calls = Vec::new();
    let mut doubts = Vec::new();
    let mut repeatable = true;
    for attempts in writes(done).into_iter().rev() {
        let Some(last) = attempts.last() else { continue };
        let write = Write::from_json(&last.input_json());
        let sent = name(&write.call.method.to_ascii_uppercase(), &client.url(&write.call.url)?);
        let Some(captured) = landed(client, &write, &attempts)? else { continue };
        let Some(captured) = captured else {
            doubts.push(sent);
            continue;
        };
        let Some(reverse) = &write.reverse else {
            let message = format!("{sent} can't be taken back: the step has no `reverse`");
            return Err(Failure::new("no-reverse", message));
        };
        let call = Values { key: &last.key, captured: &captured }.fill(reverse)?;
        let method = call.method.to_ascii_uppercase();
        repeatable &= write.probe.is_some() || matches!(method.as_str(), "DELETE" | "PUT");
        let mut change = Change::new(name(&method, &client.url(&call.url)?), "send");
        change.to = body(&call);
        changes.push(change);
        calls.push(call.to_json());
    }
    if !doubts.is_empty() {
        let why = format!(
            "nobody can tell whether {} has landed: the step has no `probe`",
            doubts.join(", nor whether ")
        );
        return Ok(Plan::unknown(why).with_changes(changes));
    }
    let plan = if calls.is_empty() { Plan::in_place() } else { Plan::differs(changes) };
    Ok(plan.repeatable(repeatable).with_memo(&json!({ "calls": calls })))
}

/// Send what was planned.
pub(crate) fn undo(client: &Client<'_>, plan: &Plan) -> Result<(), Failure> {
    let memo = plan.memo_json();
    for call in memo.get("calls").and_then(Value::as_array).into_iter().flatten() {
        let call = Call::from_json(call);
        let response = client.send(&call)?;
        // What is gone already needs no deleting.
        let gone = call.status.is_empty()
            && call.method.eq_ignore_ascii_case("DELETE")
            && matches!(response.status, 404 | 410);
        if !gone {
            Answer::of(&call, &client.url(&call.url)?, &response)?;
        }
    }
    Ok(())
}

/// What a write captured, if it is there to be taken back: `None` where it is not, `Some(None)` where nobody can tell.
#[expect(clippy::type_complexity, reason = "the three answers are told apart in one place only, above")]
fn landed(
    client: &Client<'_>,
    write: &Write,
    attempts: &[&Attempt],
) -> Result<Option<Option<Vec<(String, Value)>>>, Failure> {
    let known: Vec<Known> = attempts.iter().map(|attempt| Known::of(attempt)).collect();
    if known.iter().all(|known| matches!(known, Known::Refused)) {
        return Ok(None);
    }
    let own = known.iter().rev().find_map(|known| match known {
        Known::Landed(landed) => Some(captured(landed, write)),
        Known::Refused | Known::Unknown => None,
    });
    let Some(probe) = &write.probe else { return Ok(Some(own)) };
    let key = attempts.last().map_or("", |attempt| attempt.key.as_str());
    match ask(client, probe, key)? {
        Found::Absent => Ok(None),
        Found::Landed(answer) => {
            // The write's own word first, then what only the probe can say.
            let mut all = own.unwrap_or_default();
            for (name, value) in answer.capture(&probe.capture)? {
                if !all.iter().any(|(known, _)| *known == name) {
                    all.push((name, value));
                }
            }
            Ok(Some(Some(all)))
        }
    }
}

/// The attempts by write, oldest first.
fn writes(done: &[Attempt]) -> Vec<Vec<&Attempt>> {
    let mut writes: Vec<Vec<&Attempt>> = Vec::new();
    for attempt in done {
        match writes.iter_mut().find(|write| write.first().is_some_and(|first| first.key == attempt.key)) {
            Some(write) => write.push(attempt),
            None => writes.push(vec![attempt]),
        }
    }
    writes
}
