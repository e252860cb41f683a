//! Audit events: create, find, search, delete.
//!
//! `POST /api/audit/events` takes `?fault=`: `lost-reply` keeps the event and closes the connection without an
//! answer, `late-reply&ms=N` keeps it and answers that much later, `lost-request` closes without keeping it. `DELETE`
//! takes the same, with the event removed in place of kept.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::asked::Asked;
use super::state::{Event, State};

const SEVERITIES: [&str; 4] = ["info", "warning", "error", "critical"];

pub(crate) fn create(state: &State, asked: &Asked) -> Answer {
    if asked.query("fault") == Some("lost-request") {
        return Answer::closed();
    }
    let fields = match valid_fields(asked.object()) {
        Ok(fields) => fields,
        Err(problems) => {
            let body = json!({ "error": "invalid", "problems": problems });
            return Answer::json(StatusCode::UNPROCESSABLE_ENTITY, body);
        }
    };
    let (event, new) = state.create_event(fields, asked.header("idempotency-key"));
    let answer = Answer::json(StatusCode::CREATED, event.to_json());
    let answer = if new { answer.with_effect() } else { answer.with_header("idempotency-replayed", "true") };
    delivered(answer, asked)
}

/// The answer with the fault that was asked for, now that the effect is there.
fn delivered(answer: Answer, asked: &Asked) -> Answer {
    match asked.query("fault") {
        Some("lost-reply") => answer.lost(),
        Some("late-reply") => answer.after(Duration::from_millis(asked.number("ms", 3_000))),
        _ => answer,
    }
}

pub(crate) fn list(state: &State, asked: &Asked) -> Answer {
    let asked_for = |event: &Event, field| asked.query(field).is_none_or(|value| event.text(field) == value);
    let found = state.events(|event| {
        ["event_type", "entity_type", "entity_id", "severity"].iter().all(|field| asked_for(event, field))
    });
    let limit = usize::try_from(asked.number("limit", 100)).unwrap_or(usize::MAX);
    let events: Vec<Value> = found.iter().take(limit).map(Event::to_json).collect();
    Answer::json(StatusCode::OK, json!({ "events": events, "total": found.len() }))
}

pub(crate) fn by_id(state: &State, id: &str) -> Answer {
    one(&state.events(|event| event.id == id))
}

/// The event that was created under an idempotency key: how a client finds out whether its request landed.
pub(crate) fn by_key(state: &State, key: &str) -> Answer {
    one(&state.events(|event| event.idempotency_key.as_deref() == Some(key)))
}

fn one(found: &[Event]) -> Answer {
    match found {
        [event, ..] => Answer::json(StatusCode::OK, event.to_json()),
        [] => Answer::error(StatusCode::NOT_FOUND, "not_found", "there is no such event"),
    }
}

pub(crate) fn delete(state: &State, asked: &Asked, id: &str) -> Answer {
    if asked.query("fault") == Some("lost-request") {
        return Answer::closed();
    }
    if state.delete_event(id) {
        delivered(Answer::text(StatusCode::NO_CONTENT, "application/json", "").with_effect(), asked)
    } else {
        one(&[])
    }
}

/// Events that call for a look: the critical ones.
pub(crate) fn anomalies(state: &State) -> Answer {
    let found = state.events(|event| event.text("severity") == "critical");
    let anomalies: Vec<Value> = found
        .iter()
        .map(|event| json!({ "event_id": event.id, "score": 0.97, "reason": "severity" }))
        .collect();
    Answer::json(StatusCode::OK, json!({ "anomalies": anomalies, "total": anomalies.len() }))
}

/// Ranks events by how many words of the query they hold.
pub(crate) fn search(state: &State, asked: &Asked) -> Answer {
    let body = asked.object();
    let Some(query) = body.as_ref().and_then(|body| body.get("query")).and_then(Value::as_str) else {
        return Answer::error(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "`query` must be a text");
    };
    let query = query.to_lowercase();
    let words: Vec<&str> = query.split_whitespace().collect();
    let mut ranked: Vec<(usize, Event)> = state
        .events(|_| true)
        .into_iter()
        .map(|event| {
            let text = event.to_json().to_string().to_lowercase();
            (words.iter().filter(|word| text.contains(**word)).count(), event)
        })
        .filter(|(hits, _)| *hits > 0)
        .collect();
    ranked.sort_by_key(|(hits, _)| std::cmp::Reverse(*hits));
    let results: Vec<Value> =
        ranked.iter().map(|(hits, event)| json!({ "event": event.to_json(), "hits": hits })).collect();
    Answer::json(StatusCode::OK, json!({ "results": results, "total": results.len() }))
}

/// The fields of an event, or everything that is wrong with them.
fn valid_fields(body: Option<Map<String, Value>>) -> Result<Map<String, Value>, Vec<String>> {
    let Some(body) = body else { return Err(vec!["the body must be a JSON object".to_owned()]) };
    let mut problems = Vec::new();
    for field in ["event_type", "entity_type", "entity_id"] {
        if body.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
            problems.push(format!("`{field}` must be a text"));
        }
    }
    let severity = body.get("severity").and_then(Value::as_str);
    if severity.is_none_or(|severity| !SEVERITIES.contains(&severity)) {
        problems.push(format!("`severity` must be one of {}", SEVERITIES.join(", ")));
    }
    if body.get("action_details").is_some_and(|details| !details.is_object()) {
        problems.push("`action_details` must be an object".to_owned());
    }
    if problems.is_empty() { Ok(body) } else { Err(problems) }
}
