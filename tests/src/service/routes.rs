//! Which request gets which answer.
//!
//! `/health`, `/health/db`, `/health/redis`, `/health/openai`, `/stats` and `/figures` are open; everything under
//! `/api/` wants the bearer token; `/fault/…` is in `faults`. What is put to `/figures` is what it answers from then on,
//! be it JSON or not.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Shared;
use super::answer::Answer;
use super::asked::Asked;
use super::{events, faults, objects};

/// The version that the service says it is, as in the guide.
const VERSION: &str = "1.0.0";

/// Finds the answer, having done what was asked for.
pub(crate) fn answer(shared: &Shared, asked: &Asked) -> Answer {
    let state = &shared.state;
    let path = asked.path.as_str();
    if let Some(fault) = path.strip_prefix("/fault/") {
        return faults::answer(shared, asked, fault);
    }
    if path.starts_with("/api/") {
        return if authorized(shared, asked) { api(shared, asked) } else { unauthorized() };
    }
    match (&asked.method, path) {
        (&Method::GET, "/health") => ok(json!({ "status": "healthy", "version": VERSION })),
        (&Method::GET, "/health/db") => latency(shared, "db", 9, 7),
        (&Method::GET, "/health/redis") => latency(shared, "redis", 2, 3),
        (&Method::GET, "/health/openai") => latency(shared, "openai", 140, 60),
        (&Method::GET, "/stats") => ok(stats(shared, asked)),
        (&Method::GET, "/figures") => Answer::text(StatusCode::OK, "application/json", state.figures()),
        (&Method::PUT, "/figures") => {
            state.show_figures(String::from_utf8_lossy(&asked.body).into_owned());
            Answer::text(StatusCode::NO_CONTENT, "application/json", "")
        }
        _ => not_found(),
    }
}

fn api(shared: &Shared, asked: &Asked) -> Answer {
    let state = &shared.state;
    match (&asked.method, asked.path.as_str()) {
        (&Method::POST, "/api/audit/events") => events::create(state, asked),
        (&Method::GET, "/api/audit/events") => events::list(state, asked),
        (&Method::GET, "/api/audit/anomalies") => events::anomalies(state),
        (&Method::POST, "/api/audit/search") => events::search(state, asked),
        (&Method::POST, "/api/session") => open_session(shared, asked),
        (&Method::GET, "/api/session/current") => current_session(shared, asked),
        (method, path) if path.starts_with("/api/objects/") => {
            match (method, path.trim_start_matches("/api/objects/")) {
                (&Method::GET, name) => objects::get(state, name),
                (&Method::PUT, name) => objects::put(state, asked, name),
                (&Method::DELETE, name) => objects::delete(state, asked, name),
                _ => not_found(),
            }
        }
        (method, path) => match path.strip_prefix("/api/audit/events/") {
            Some(rest) => match (method, rest.strip_prefix("by-key/")) {
                (&Method::GET, Some(key)) => events::by_key(state, key),
                (&Method::GET, None) => events::by_id(state, rest),
                (&Method::DELETE, None) => events::delete(state, asked, rest),
                _ => not_found(),
            },
            None => not_found(),
        },
    }
}

/// Compares hashes, so that the time it takes tells nothing about the token.
fn authorized(shared: &Shared, asked: &Asked) -> bool {
    let Some(given) = asked.authorization() else { return false };
    Sha256::digest(given) == Sha256::digest(format!("Bearer {}", shared.token))
}

fn unauthorized() -> Answer {
    Answer::error(StatusCode::UNAUTHORIZED, "unauthorized", "a bearer token is required")
        .with_header("www-authenticate", "Bearer realm=\"audit\"")
}

fn open_session(shared: &Shared, asked: &Asked) -> Answer {
    let body = asked.object();
    match body.as_ref().and_then(|body| body.get("client")).and_then(Value::as_str) {
        Some(client) if !client.is_empty() => {
            let token = shared.state.open_session(client);
            let body = json!({ "token": token, "client": client, "expires_in_seconds": 3600 });
            Answer::json(StatusCode::CREATED, body).with_effect()
        }
        _ => Answer::error(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "`client` must be a text"),
    }
}

fn current_session(shared: &Shared, asked: &Asked) -> Answer {
    match asked.header("x-session").and_then(|token| shared.state.session(token)) {
        Some(client) => ok(json!({ "active": true, "client": client })),
        None => Answer::error(StatusCode::FORBIDDEN, "no_session", "`x-session` names no open session"),
    }
}

/// A latency that differs from call to call and never exceeds `least + spread`.
fn latency(shared: &Shared, name: &str, least: u64, spread: u64) -> Answer {
    let asked_before = shared.state.count(&format!("health/{name}"));
    ok(json!({ "status": "healthy", "latency_ms": least + asked_before * 5 % (spread + 1) }))
}

/// Figures as after a release: the error rate starts high and halves with each look. Each `window` has its own.
fn stats(shared: &Shared, asked: &Asked) -> Value {
    let looks = shared.state.count(&format!("stats/{}", asked.query("window").unwrap_or_default()));
    let halvings = i32::try_from(looks.min(10)).unwrap_or_default();
    json!({
        "requests": 12_000 + 350 * looks,
        "error_rate": 0.08 * 0.5_f64.powi(halvings),
        "p95_ms": 120 + 200 / (looks + 1),
    })
}

fn ok(body: Value) -> Answer {
    Answer::json(StatusCode::OK, body)
}

fn not_found() -> Answer {
    Answer::error(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
}
