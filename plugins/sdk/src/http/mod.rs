//! A small blocking HTTP client.
//!
//! It owns requests, answers and the ways a call can go wrong; the sending is the host's, behind [`Transport`].
//! Redirects are not followed, credentials are not set (the host attaches them), and no answer is longer than asked
//! for. A host that denies a request tells the operator which line would allow it; the guest learns only
//! [`Error::Denied`].

pub mod url;
#[cfg(target_arch = "wasm32")]
mod wasi;

use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Such as `GET`; any token is passed on.
    pub method: String,
    /// Absolute, `http` or `https`.
    pub url: String,
    /// Added in this order; a name may come twice.
    pub headers: Vec<(String, String)>,
    /// Empty for none; `content-length` is set from it.
    pub body: Vec<u8>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// An answer longer than this, in bytes, is [`Error::TooLarge`].
    pub max_body: u64,
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// For the first byte of the answer.
    pub first_byte: Duration,
    /// From one piece of the answer to the next.
    pub between_bytes: Duration,
    /// For everything, to the last byte.
    pub total: Duration,
}

impl Timeouts {
    /// No single wait longer than the whole.
    #[must_use]
    pub fn within(total: Duration) -> Self {
        Self { connect: total.min(Duration::from_secs(10)), first_byte: total, between_bytes: total, total }
    }
}

impl Default for Timeouts {
    /// Thirty seconds in all, ten of them to connect.
    fn default() -> Self {
        Self::within(Duration::from_secs(30))
    }
}

/// An answer longer than this is refused, where the request says nothing else.
pub const DEFAULT_MAX_BODY: u64 = 1 << 20;

impl Request {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        Self {
            method: method.to_owned(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeouts: Timeouts::default(),
            max_body: DEFAULT_MAX_BODY,
        }
    }

    /// Add a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Send this JSON, with its content type.
    #[must_use]
    pub fn json(mut self, value: &Value) -> Self {
        self.body = value.to_string().into_bytes();
        self.header("content-type", "application/json")
    }

    /// Whether a header of this name is set.
    #[must_use]
    pub fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(set, _)| set.eq_ignore_ascii_case(name))
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// In the order they came, names in lower case; a value that is no UTF-8 has its bytes replaced.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// From the request to the last byte.
    pub elapsed: Duration,
}

impl Response {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(set, _)| set.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; none where it is not.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Where a call got stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before a connection stood.
    Connect,
    /// While the request was sent, or before the answer began.
    Answer,
    /// In the middle of the answer.
    Body,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The request itself can't be sent: its URL, method or a header.
    Invalid(String),
    /// The host denied it.
    Denied,
    /// The name can't be resolved.
    Dns(String),
    /// No connection.
    Connect(String),
    /// A connection, but no TLS on it.
    Tls(String),
    /// It took longer than was allowed.
    Timeout(Phase),
    /// The other side closed before its answer was whole; how many bytes of the body had come.
    ClosedEarly(u64),
    /// The answer is longer than this many bytes.
    TooLarge(u64),
    /// The other side does not speak HTTP as it should.
    Protocol(String),
}

impl Error {
    /// A stable word for a failure's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid-request",
            Self::Denied => "denied",
            Self::Dns(_) => "dns-failed",
            Self::Connect(_) => "connect-failed",
            Self::Tls(_) => "tls-failed",
            Self::Timeout(_) => "timeout",
            Self::ClosedEarly(_) => "closed-early",
            Self::TooLarge(_) => "too-large",
            Self::Protocol(_) => "protocol-error",
        }
    }

    /// Whether the same call can succeed later without anybody changing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Dns(_) | Self::Connect(_) | Self::Timeout(_) | Self::ClosedEarly(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(why) => write!(formatter, "the request can't be sent: {why}"),
            Self::Denied => formatter.write_str("the host denied the request"),
            Self::Dns(why) => write!(formatter, "the name can't be resolved: {why}"),
            Self::Connect(why) => write!(formatter, "no connection: {why}"),
            Self::Tls(why) => write!(formatter, "TLS failed: {why}"),
            Self::Timeout(Phase::Connect) => formatter.write_str("timed out before a connection stood"),
            Self::Timeout(Phase::Answer) => formatter.write_str("timed out before the answer began"),
            Self::Timeout(Phase::Body) => formatter.write_str("timed out in the middle of the answer"),
            Self::ClosedEarly(0) => {
                formatter.write_str("the connection was closed before the answer was whole")
            }
            Self::ClosedEarly(bytes) => {
                write!(
                    formatter,
                    "the connection was closed before the answer was whole, {bytes} bytes into its body"
                )
            }
            Self::TooLarge(limit) => write!(formatter, "the answer is longer than {limit} bytes"),
            Self::Protocol(why) => {
                write!(formatter, "the other side does not speak HTTP as it should: {why}")
            }
        }
    }
}

impl std::error::Error for Error {}

/// What sends requests: the host, or a stand-in for tests.
pub trait Transport {
    /// Send one request and read its answer to the end.
    ///
    /// # Errors
    /// Where there is no whole answer. A status code is none.
    fn send(&self, request: &Request) -> Result<Response, Error>;
}

/// The host, through `wasi:http`. Natively there is no host: every request is denied.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host;

impl Transport for Host {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        #[cfg(target_arch = "wasm32")]
        {
            wasi::send(request)
        }
        #[cfg(not(target_arch = "wasm32"))]
        {
            let _ = request;
            Err(Error::Denied)
        }
    }
}
