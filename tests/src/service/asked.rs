//! A request as the routes see it: read whole, with its query decoded.

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::answer::Answer;

/// The longest body that is read; far more than an audit event needs.
const BODY_LIMIT: usize = 1024 * 1024;

/// A request, read to its end.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) raw_query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    query: Vec<(String, String)>,
}

impl Asked {
    /// Reads the body. Fails with the answer to give where it is too long or breaks off.
    pub(crate) async fn read(request: Request<Incoming>) -> Result<Self, Answer> {
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, BODY_LIMIT).collect().await {
            Ok(collected) => collected.to_bytes().to_vec(),
            Err(error) => {
                let answer = json!({ "error": "unreadable_body", "message": error.to_string() });
                return Err(Answer::json(StatusCode::PAYLOAD_TOO_LARGE, answer));
            }
        };
        let raw_query = head.uri.query().unwrap_or_default().to_owned();
        let query = url::form_urlencoded::parse(raw_query.as_bytes()).into_owned().collect();
        let path = head.uri.path().to_owned();
        Ok(Self { method: head.method, path, raw_query, headers: head.headers, body, query })
    }

    /// The first value of a query key.
    pub(crate) fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A query key as a number, or `default` where it is absent or no number.
    pub(crate) fn number(&self, key: &str, default: u64) -> u64 {
        self.query(key).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// A header as text; none where it is absent or not ASCII.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What the client claims to be, with the scheme.
    pub(crate) fn authorization(&self) -> Option<&str> {
        self.header(AUTHORIZATION.as_str())
    }

    /// The body as a JSON object.
    pub(crate) fn object(&self) -> Option<serde_json::Map<String, Value>> {
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(object)) => Some(object),
            _ => None,
        }
    }
}
