//! The ways in which a service can fail, each under `/fault/NAME`, for any method.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::json;
use tokio::net::TcpStream;

use super::Shared;
use super::answer::Answer;
use super::asked::Asked;

/// What a client gets that asks for something that is no HTTP.
pub(crate) const GARBAGE: &[u8] = b"\x16\x03\x01\xff\xfe this is no HTTP at all\r\n\r\n";
/// Where it asks for it.
pub(crate) const GARBAGE_PATH: &str = "/fault/garbage";

/// The faults by name. An unknown one is listed with those that exist.
pub(crate) fn answer(shared: &Shared, asked: &Asked, fault: &str) -> Answer {
    match fault {
        "500" => Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something broke"),
        "401" => Answer::error(StatusCode::UNAUTHORIZED, "unauthorized", "who are you?"),
        "429" => Answer::error(StatusCode::TOO_MANY_REQUESTS, "slow_down", "too many requests")
            .with_header("retry-after", "7"),
        "503-once" => fails_first(shared, asked),
        "html" => Answer::text(StatusCode::OK, "text/html; charset=utf-8", HTML),
        "hang" => Answer::hang(),
        "slow" => {
            let pause = Duration::from_millis(asked.number("ms", 1_000));
            Answer::json(StatusCode::OK, json!({ "status": "healthy" })).after(pause)
        }
        "close-early" => Answer::broken_off(),
        "close-at-once" => Answer::closed(),
        "redirect" => {
            let target = asked.query("to").unwrap_or("/health");
            Answer::text(StatusCode::FOUND, "text/plain", "").with_header("location", target)
        }
        "slow-dribble" => {
            Answer::dribble(Duration::from_millis(asked.number("ms", 100)), asked.number("characters", 600))
        }
        "huge" => Answer::blocks(16 * asked.number("mib", 64)),
        "set-cookie" => Answer::json(StatusCode::OK, json!({ "status": "healthy" }))
            .with_header("set-cookie", "tracking=8c1f2a90; Path=/"),
        "echo-authorization" => {
            let body = json!({ "status": "healthy", "you_sent": asked.authorization() });
            Answer::json(StatusCode::OK, body)
        }
        "echo-authorization-header" => Answer::json(StatusCode::OK, json!({ "status": "healthy" }))
            .with_header("x-you-sent", asked.authorization().unwrap_or_default()),
        _ => Answer::error(StatusCode::NOT_FOUND, "no_such_fault", NAMES),
    }
}

const NAMES: &str = "500 401 429 503-once html hang slow close-early close-at-once garbage redirect slow-dribble \
                     huge set-cookie echo-authorization echo-authorization-header";

const HTML: &str = "<!doctype html>\n<html><head><title>Sign in</title></head>\n\
                    <body><h1>Please sign in</h1></body></html>\n";

/// 503 the first time, healthy afterwards. Each `key` has its own first time; `times` fails that often.
fn fails_first(shared: &Shared, asked: &Asked) -> Answer {
    let before = shared.state.count(&format!("503-once/{}", asked.query("key").unwrap_or_default()));
    if before < asked.number("times", 1) {
        Answer::error(StatusCode::SERVICE_UNAVAILABLE, "starting", "not ready yet")
            .with_header("retry-after", "0")
    } else {
        Answer::json(StatusCode::OK, json!({ "status": "healthy", "asked_before": before }))
    }
}

/// Whether the connection's request is for garbage, which an HTTP library would not send. Looks without reading.
pub(crate) async fn asks_for_garbage(stream: &TcpStream) -> bool {
    let wanted = GARBAGE_PATH.as_bytes();
    let mut start = [0; 64];
    // The start of a request comes in one segment; one that doesn't is for the HTTP library to judge.
    let Ok(read) = stream.peek(&mut start).await else { return false };
    let path = start.get(..read).unwrap_or_default().split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    path == wanted || (path.starts_with(wanted) && path.get(wanted.len()) == Some(&b'?'))
}
