//! Objects by name: read, put and delete, each version with an entity tag of its own.
//!
//! `if-match` and `if-none-match: *` are obeyed. `PUT` and `DELETE` take `?fault=` as `events` do: `lost-reply` has the
//! effect and closes the connection without an answer, `lost-request` closes without it.

use hyper::StatusCode;
use hyper::header::{IF_MATCH, IF_NONE_MATCH};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::asked::Asked;
use super::state::{Object, State};

pub(crate) fn get(state: &State, name: &str) -> Answer {
    match state.object(name) {
        Some(object) => described(StatusCode::OK, &object),
        None => Answer::error(StatusCode::NOT_FOUND, "not_found", "there is no such object"),
    }
}

pub(crate) fn put(state: &State, asked: &Asked, name: &str) -> Answer {
    let Some(fields) = asked.object() else {
        return Answer::error(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "the body must be a JSON object");
    };
    change(state, asked, name, Some(fields))
}

pub(crate) fn delete(state: &State, asked: &Asked, name: &str) -> Answer {
    change(state, asked, name, None)
}

/// Puts an object, or deletes it, if the request's conditions hold.
fn change(state: &State, asked: &Asked, name: &str, fields: Option<Map<String, Value>>) -> Answer {
    let fault = asked.query("fault");
    if fault == Some("lost-request") {
        return Answer::closed();
    }
    let deletes = fields.is_none();
    let answer = match state.change_object(name, fields, |found| holds(asked, found)) {
        Err(()) => {
            return Answer::error(
                StatusCode::PRECONDITION_FAILED,
                "precondition_failed",
                "it is another version",
            );
        }
        Ok((None, None)) => return get(state, name),
        Ok((_, Some(object))) if !deletes => {
            described(if object.version == 1 { StatusCode::CREATED } else { StatusCode::OK }, &object)
        }
        Ok(_) => Answer::text(StatusCode::NO_CONTENT, "application/json", ""),
    };
    match fault {
        Some("lost-reply") => answer.with_effect().lost(),
        _ => answer.with_effect(),
    }
}

fn holds(asked: &Asked, found: Option<&Object>) -> bool {
    let tag = found.map(Object::tag);
    let matches = asked.header(IF_MATCH.as_str()).is_none_or(|wanted| tag.as_deref() == Some(wanted));
    let free = asked.header(IF_NONE_MATCH.as_str()) != Some("*") || tag.is_none();
    matches && free
}

fn described(status: StatusCode, object: &Object) -> Answer {
    Answer::json(status, json!(object.fields)).with_header("etag", &object.tag())
}
