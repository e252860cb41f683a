//! The log of requests, one line of JSON each, for whoever counts effects.
//!
//! Credentials and session tokens are in it as SHA-256 only: two requests can be told to have carried the same one,
//! and a search for a secret finds nothing.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ServiceError;
use super::answer::Answer;
use super::asked::Asked;

/// One request, as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The method, in capitals.
    pub method: String,
    /// The path as it was sent.
    pub path: String,
    /// The query as it was sent, without the question mark; empty where there was none.
    pub query: String,
    /// The SHA-256 of the `authorization` header, in hex.
    pub authorization: Option<String>,
    /// The SHA-256 of the `x-session` header, in hex.
    pub session: Option<String>,
    /// The `idempotency-key` header.
    pub idempotency_key: Option<String>,
    /// The status of the answer, whether or not the answer was sent.
    pub status: u16,
    /// Whether the request changed what the service holds.
    pub effect: bool,
}

impl Entry {
    pub(crate) fn of(asked: &Asked, answer: &Answer) -> Self {
        Self {
            method: asked.method.to_string(),
            path: asked.path.clone(),
            query: asked.raw_query.clone(),
            authorization: asked.authorization().map(fingerprint),
            session: asked.header("x-session").map(fingerprint),
            idempotency_key: asked.header("idempotency-key").map(str::to_owned),
            status: answer.status.as_u16(),
            effect: answer.effect,
        }
    }

    pub(crate) fn of_garbage() -> Self {
        Self {
            method: "GET".to_owned(),
            path: super::faults::GARBAGE_PATH.to_owned(),
            query: String::new(),
            authorization: None,
            session: None,
            idempotency_key: None,
            status: 0,
            effect: false,
        }
    }
}

/// The SHA-256 of a text in lower-case hex, as the log has it for what must stay secret.
#[must_use]
pub fn fingerprint(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file that requests are appended to, if there is one.
pub(crate) struct RequestLog(Option<Mutex<File>>);

impl RequestLog {
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self, ServiceError> {
        let Some(path) = path else { return Ok(Self(None)) };
        match OpenOptions::new().create(true).append(true).open(&path) {
            Ok(file) => Ok(Self(Some(Mutex::new(file)))),
            Err(source) => Err(ServiceError::Log { path, source }),
        }
    }

    /// Appends one line in one write, so that a reader never sees half of it.
    pub(crate) fn append(&self, entry: &Entry) {
        let (Some(file), Ok(mut line)) = (&self.0, serde_json::to_vec(entry)) else { return };
        line.push(b'\n');
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk shows as a test that misses its request; the service has nobody to tell.
        drop(file.write_all(&line));
    }
}
