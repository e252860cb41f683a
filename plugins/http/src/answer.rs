//! Judging an answer: its status, its JSON, what it was expected to hold, and what is captured of it.

use crate::bindings::exports::windlass::contracts::http_call;
use crate::client::name;
use crate::request::{Call, Pairs};
use std::time::Duration;
use windlass_sdk::expect::{self, Miss};
use windlass_sdk::http::Response;
use windlass_sdk::{Failure, Value, json};

/// How much of an answer that makes no sense is shown.
const EXCERPT: usize = 80;

/// An answer whose status is good.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// The request, for messages.
    pub(crate) request: String,
    pub(crate) status: u16,
    pub(crate) headers: Pairs,
    /// None where the body is no JSON.
    pub(crate) json: Option<Value>,
    pub(crate) text: String,
    pub(crate) elapsed: Duration,
}

impl Answer {
    /// Hold an answer's status to what is good.
    pub(crate) fn of(call: &Call, url: &str, response: &Response) -> Result<Self, Failure> {
        let request = name(&call.method.to_ascii_uppercase(), url);
        let good = if call.status.is_empty() {
            (200..300).contains(&response.status)
        } else {
            call.status.contains(&response.status)
        };
        if !good {
            return Err(wrong_status(&request, response));
        }
        let mut headers: Pairs = Vec::new();
        for (name, value) in &response.headers {
            match headers.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) => {
                    values.push_str(", ");
                    values.push_str(value);
                }
                None => headers.push((name.clone(), value.clone())),
            }
        }
        Ok(Self {
            request,
            status: response.status,
            headers,
            json: response.json(),
            text: response.text(),
            elapsed: response.elapsed,
        })
    }

    /// The body as JSON.
    pub(crate) fn body(&self) -> Result<&Value, Failure> {
        self.json.as_ref().ok_or_else(|| {
            let kind = self.header("content-type").unwrap_or("no content type");
            let found = match self.text.trim() {
                "" => "an empty body".to_owned(),
                text => format!("{kind}, beginning `{}`", excerpt(text)),
            };
            let detail =
                json!({ "content_type": self.header("content-type"), "begins": excerpt(&self.text) });
            Failure::new("not-json", format!("{} answered {found}, and no JSON", self.request))
                .with_detail(&detail)
        })
    }

    /// What of this is not as expected; `find` looks up a path in the body.
    pub(crate) fn misses(
        &self,
        expected: &[(String, Value)],
        find: impl Fn(&Value, &str) -> Option<Value>,
    ) -> Result<Vec<Miss>, Failure> {
        if expected.is_empty() {
            return Ok(Vec::new());
        }
        let body = self.body()?;
        let expected = expected.iter().map(|(path, value)| (path.as_str(), value));
        expect::check_with(|path| find(body, path), expected)
            .map_err(|nonsense| Failure::invalid_input(format!("`expect`: {nonsense}")))
    }

    /// What is captured of it.
    pub(crate) fn capture(&self, wanted: &Pairs) -> Result<Vec<(String, Value)>, Failure> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let body = self.body()?;
        let mut captured = Vec::new();
        let mut missing = Vec::new();
        for (name, path) in wanted {
            match expect::lookup(body, path) {
                Some(value) => captured.push((name.clone(), value.clone())),
                None => missing.push(format!("`{name}` at `{path}`")),
            }
        }
        if missing.is_empty() {
            return Ok(captured);
        }
        let message = format!("the answer to {} has no {}", self.request, missing.join(" and no "));
        Err(Failure::new("missing-capture", message).with_detail(&json!({ "body": self.json })))
    }

    /// As a step's output.
    pub(crate) fn output(self, captured: Vec<(String, Value)>) -> http_call::Response {
        let text = if self.json.is_none() && !self.text.is_empty() { Some(self.text) } else { None };
        http_call::Response {
            status_code: self.status,
            headers: self.headers,
            body: self.json.unwrap_or(Value::Null).to_string(),
            text,
            captured: captured.into_iter().map(|(name, value)| (name, value.to_string())).collect(),
            round_trip_ms: milliseconds(self.elapsed),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The failure for expectations that are not met.
pub(crate) fn unmet(code: &str, what: &str, status: u16, misses: &[Miss]) -> Failure {
    let detail = json!({
        "status_code": status,
        "misses": misses.iter().map(Miss::to_json).collect::<Vec<_>>(),
    });
    Failure::new(code, format!("{what}: {}", expect::describe(misses))).with_detail(&detail)
}

/// Milliseconds with microseconds behind the point.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The failure for a status that is not good.
fn wrong_status(request: &str, response: &Response) -> Failure {
    let status = response.status;
    let body = match response.json() {
        Some(body) => body,
        None => Value::String(excerpt(&response.text())),
    };
    let answered = format!("{request} answered {}", named(status));
    let detail = json!({ "status_code": status, "body": body });
    let retry_after =
        response.header("retry-after").and_then(|wait| wait.trim().parse().ok()).map(Duration::from_secs);
    let wait = |failure: Failure| match retry_after {
        Some(wait) => failure.retry_after(wait),
        None => failure.retryable(),
    };
    match status {
        300..400 => {
            let location = response.header("location").map(excerpt);
            let to = location.as_deref().map(|to| format!(" and points to {to}")).unwrap_or_default();
            let message =
                format!("{answered}{to}; redirects are not followed: name the right URL in the step");
            Failure::new("redirected", message)
                .with_detail(&json!({ "status_code": status, "location": location }))
        }
        408 | 425 | 429 => wait(Failure::new("unexpected-status", answered).with_detail(&detail)),
        500.. => wait(Failure::new("server-error", answered).with_detail(&detail)),
        _ => Failure::new("unexpected-status", answered).with_detail(&detail),
    }
}

/// A status with its name, where it is a common one.
fn named(status: u16) -> String {
    let name = match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        425 => "Too Early",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => return status.to_string(),
    };
    format!("{status} {name}")
}

/// The beginning of a text in one line, without what could trouble a terminal.
fn excerpt(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|character| !character.is_control()).collect();
    match line.char_indices().nth(EXCERPT) {
        None => line,
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
    }
}
