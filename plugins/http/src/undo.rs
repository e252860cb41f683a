//! Taking writes back with `reverse`.
//!
//! Attempts with the same idempotency key are one write; those of a changed input are another, with its own way back.
//! The plan's memo holds the requests to send, newest write first, so that exactly what was planned is sent. Invariant:
//! where there is a probe or an entity tag, a request is sent only to what is still as the plan saw it.

use crate::answer::Answer;
use crate::client::{Client, name};
use crate::request::{Call, Write};
use crate::seen::{Seen, is_strong};
use crate::send::{Asked, Found, Known, ask, body, captured, seen_before};
use crate::template::Values;
use windlass_sdk::http::url;
use windlass_sdk::{Attempt, Change, Failure, Plan, Value, json};

/// What taking these attempts back would send.
pub(crate) fn plan(client: &Client<'_>, done: &[Attempt]) -> Result<Plan, Failure> {
    let mut changes = Vec::new();
    let mut reversals = Vec::new();
    let (mut doubts, mut conflicts) = (Vec::new(), Vec::new());
    let mut repeatable = true;
    for attempts in writes(done).into_iter().rev() {
        let Some(last) = attempts.last() else { continue };
        let write = Write::from_json(&last.input_json());
        let sent = name(&write.call.method.to_ascii_uppercase(), &client.url(&write.call.url)?);
        let landed = match landed(client, &write, &attempts)? {
            World::Before => continue,
            World::Unknown => {
                let why = "nobody can tell whether it has landed: the step has no `probe`";
                doubts.push(format!("{sent}: {why}"));
                continue;
            }
            World::Landed(landed) => landed,
        };
        let Some(reverse) = &write.reverse else {
            doubts.push(format!("{sent} can't be taken back: the step has no `reverse`"));
            continue;
        };
        conflicts.extend(landed.conflict.clone());
        let filled = Values { key: &last.key, captured: &landed.captured }.fill(reverse);
        let call = match filled {
            Ok(call) => call,
            // What is missing may be so because of the conflict, which is what a person has to know.
            Err(failure) if landed.conflict.is_some() => {
                reversals.push(json!({ "impossible": failure.message }));
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let method = call.method.to_ascii_uppercase();
        repeatable &= write.probe.is_some() || matches!(method.as_str(), "DELETE" | "PUT");
        let mut change = Change::new(name(&method, &client.url(&call.url)?), "send");
        change.to = body(&call);
        change.from = landed.asked.as_ref().map(|asked| asked.seen.to_string());
        changes.push(change);
        reversals.push(reversal(client, call, &landed)?);
    }
    let plan = if !doubts.is_empty() {
        Plan::unknown(doubts.join("; ")).with_changes(changes)
    } else if !conflicts.is_empty() {
        Plan::conflict(conflicts.join("; ")).with_changes(changes)
    } else if reversals.is_empty() {
        Plan::in_place()
    } else {
        Plan::differs(changes)
    };
    Ok(plan.repeatable(repeatable).with_memo(&json!({ "reversals": reversals })))
}

/// Send what was planned, if all of it is as the plan saw it.
pub(crate) fn undo(client: &Client<'_>, plan: &Plan) -> Result<(), Failure> {
    if !plan.restores()? {
        return Ok(());
    }
    let memo = plan.memo_json();
    let reversals = || memo.get("reversals").and_then(Value::as_array).into_iter().flatten();
    for reversal in reversals() {
        if let Some(why) = reversal.get("impossible").and_then(Value::as_str) {
            return Err(Failure::conflict(why));
        }
        check(client, reversal)?;
    }
    for reversal in reversals() {
        send(client, &Call::from_json(reversal.get("call").unwrap_or(&Value::Null)))?;
    }
    Ok(())
}

/// That a thing is as the plan saw it, where a probe tells.
fn check(client: &Client<'_>, reversal: &Value) -> Result<(), Failure> {
    let Some(then) = reversal.get("seen").and_then(Seen::from_json) else { return Ok(()) };
    let probe = Call::from_json(reversal.get("probe").unwrap_or(&Value::Null));
    let now = then.again(&client.send(&probe)?);
    if now.untouched_since(&then) {
        return Ok(());
    }
    let target = client.url(&probe.url)?;
    Err(Failure::changed_meanwhile(&target, &then.to_string(), &now.to_string()))
}

fn send(client: &Client<'_>, call: &Call) -> Result<(), Failure> {
    let response = client.send(call)?;
    let url = client.url(&call.url)?;
    let plain = call.status.is_empty();
    // What is gone already needs no deleting.
    if plain && call.method.eq_ignore_ascii_case("DELETE") && matches!(response.status, 404 | 410) {
        return Ok(());
    }
    if plain && response.status == 412 {
        let expected =
            header(&call.headers, "if-match").map_or("as planned".to_owned(), |tag| format!("ETag {tag}"));
        let found = "another (the service answered 412 Precondition Failed)";
        return Err(Failure::changed_meanwhile(&url, &expected, found));
    }
    Answer::of(call, &url, &response).map(drop)
}

/// How the world stands to a write.
enum World {
    /// As if it had never been sent.
    Before,
    Landed(Box<Landed>),
    Unknown,
}

/// What is known of a write that is there to be taken back.
#[derive(Default)]
struct Landed {
    captured: Vec<(String, Value)>,
    asked: Option<Asked>,
    /// The tag that the write's own answer gave, and the URL of what it is of.
    tag: Option<(String, String)>,
    /// That someone else changed it, for a person.
    conflict: Option<String>,
}

fn landed(client: &Client<'_>, write: &Write, attempts: &[&Attempt]) -> Result<World, Failure> {
    let known: Vec<Known> = attempts.iter().map(|attempt| Known::of(attempt)).collect();
    if known.iter().all(|known| matches!(known, Known::Refused)) {
        return Ok(World::Before);
    }
    let answer = known.iter().rev().find_map(|known| match known {
        Known::Landed(landed) => Some(landed),
        Known::Refused | Known::Unknown => None,
    });
    let mut found = Landed {
        captured: answer.map(|answer| captured(answer, write)).unwrap_or_default(),
        tag: answer.and_then(|answer| tag(client, write, answer)),
        ..Landed::default()
    };
    let Some(probe) = &write.probe else {
        return Ok(if answer.is_some() { World::Landed(Box::new(found)) } else { World::Unknown });
    };
    let key = attempts.last().map_or("", |attempt| attempt.key.as_str());
    let asked = ask(client, probe, key)?;
    let before = attempts.iter().find_map(|attempt| seen_before(attempt));
    let url = address(client, &asked.call)?;
    let conflict = |expected: String| format!("{url}: expected {expected}, found {}", asked.seen);
    match (&asked.found, &before) {
        (Found::Absent, Some(before)) if !before.same_state(&asked.seen) => {
            found.conflict = Some(conflict(format!("it as this step wrote it, or {before} as before")));
        }
        (Found::Absent, _) => return Ok(World::Before),
        (Found::Landed(answer), _) => {
            // The write's own word first, then what only the probe can say.
            for (name, value) in answer.capture(&probe.capture)? {
                if !found.captured.iter().any(|(known, _)| *known == name) {
                    found.captured.push((name, value));
                }
            }
            if let Some((tag, of)) = &found.tag
                && *of == url
                && asked.seen.etag().is_some_and(|now| now != tag)
            {
                found.conflict = Some(conflict(format!("ETag {tag} as this step left it")));
            }
        }
    }
    found.asked = Some(asked);
    Ok(World::Landed(Box::new(found)))
}

/// The tag in a write's answer: of what `location` names where something was created, else of the URL itself.
fn tag(client: &Client<'_>, write: &Write, landed: &Value) -> Option<(String, String)> {
    let answer = landed.get("output").unwrap_or(landed);
    let header = |name: &str| answer.get("headers")?.get(name)?.as_str();
    let of = match header("location") {
        Some(location) => client.url(location).ok()?,
        None => address(client, &write.call).ok()?,
    };
    Some((header("etag")?.to_owned(), of))
}

/// A reversal for the memo, with the tag of what it is sent to as its precondition, where that is known.
fn reversal(client: &Client<'_>, mut call: Call, landed: &Landed) -> Result<Value, Failure> {
    let url = address(client, &call)?;
    let probed = match &landed.asked {
        Some(asked) if address(client, &asked.call)? == url => asked.seen.etag(),
        _ => None,
    };
    let own = landed.tag.as_ref().filter(|(_, of)| *of == url).map(|(tag, _)| tag.as_str());
    let named = ["if-match", "if-none-match", "if-unmodified-since"]
        .into_iter()
        .any(|name| header(&call.headers, name).is_some());
    if let Some(tag) = probed.or(own).filter(|tag| is_strong(tag) && !named) {
        call.headers.push(("if-match".to_owned(), tag.to_owned()));
    }
    Ok(json!({
        "call": call.to_json(),
        "probe": landed.asked.as_ref().map(|asked| asked.call.to_json()),
        "seen": landed.asked.as_ref().map(|asked| asked.seen.to_json()),
    }))
}

/// The absolute URL of a request with its query.
fn address(client: &Client<'_>, call: &Call) -> Result<String, Failure> {
    Ok(url::with_query(&client.url(&call.url)?, &call.query))
}

fn header<'a>(headers: &'a [(String, String)], wanted: &str) -> Option<&'a str> {
    headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str())
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
