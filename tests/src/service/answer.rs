//! What the service answers, and how: at once, late, in pieces, or not at all.

use std::io;
use std::time::Duration;

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;

/// A body of any kind.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// An answer with what the log must know about it.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Whether this request changed what the service holds.
    pub(crate) effect: bool,
    headers: Vec<(HeaderName, HeaderValue)>,
    content: Content,
    delivery: Delivery,
}

/// What is sent as the body.
enum Content {
    Json(Value),
    Text {
        media_type: &'static str,
        text: String,
    },
    /// A length is announced, and the connection ends before it is reached.
    BrokenOff {
        announced: u64,
        sent: &'static str,
    },
    /// One character after the other.
    Dribble {
        pause: Duration,
        characters: u64,
    },
    /// A JSON string of that many blocks of 64 KiB.
    Blocks(u64),
}

/// When the answer is sent.
enum Delivery {
    Now,
    After(Duration),
    Never,
    Hang,
}

impl Answer {
    /// An answer in JSON, without an effect.
    pub(crate) fn json(status: StatusCode, body: Value) -> Self {
        Self::new(status, Content::Json(body))
    }

    /// An error in the form that all of them have here.
    pub(crate) fn error(status: StatusCode, error: &str, message: &str) -> Self {
        Self::json(status, serde_json::json!({ "error": error, "message": message }))
    }

    /// A text of a given media type.
    pub(crate) fn text(status: StatusCode, media_type: &'static str, text: impl Into<String>) -> Self {
        Self::new(status, Content::Text { media_type, text: text.into() })
    }

    /// An answer that announces more than it sends.
    pub(crate) fn broken_off() -> Self {
        Self::new(StatusCode::OK, Content::BrokenOff { announced: 4096, sent: "{\"status\": \"heal" })
    }

    /// An answer that comes one character at a time.
    pub(crate) fn dribble(pause: Duration, characters: u64) -> Self {
        Self::new(StatusCode::OK, Content::Dribble { pause, characters })
    }

    /// An answer of that many times 64 KiB.
    pub(crate) fn blocks(count: u64) -> Self {
        Self::new(StatusCode::OK, Content::Blocks(count))
    }

    /// No answer, and the connection closed.
    pub(crate) fn closed() -> Self {
        let mut answer = Self::json(StatusCode::OK, Value::Null);
        answer.delivery = Delivery::Never;
        answer
    }

    /// No answer, and the connection left open.
    pub(crate) fn hang() -> Self {
        let mut answer = Self::json(StatusCode::OK, Value::Null);
        answer.delivery = Delivery::Hang;
        answer
    }

    fn new(status: StatusCode, content: Content) -> Self {
        Self { status, effect: false, headers: Vec::new(), content, delivery: Delivery::Now }
    }

    /// The same, having changed something.
    pub(crate) fn with_effect(mut self) -> Self {
        self.effect = true;
        self
    }

    /// The same with one more header. A value that is no header value is left out.
    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }

    /// The same, sent that much later: the effect is there long before the answer.
    pub(crate) fn after(mut self, pause: Duration) -> Self {
        self.delivery = Delivery::After(pause);
        self
    }

    /// The same, lost on its way: the effect is there, the answer never comes.
    pub(crate) fn lost(mut self) -> Self {
        self.delivery = Delivery::Never;
        self
    }

    /// What hyper shall send; none where the connection is to be dropped.
    pub(crate) async fn deliver(self) -> Option<Response<Body>> {
        match self.delivery {
            Delivery::Now => {}
            Delivery::After(pause) => tokio::time::sleep(pause).await,
            Delivery::Never => return None,
            Delivery::Hang => std::future::pending::<()>().await,
        }
        Some(self.into_response())
    }

    /// What hyper shall send at once.
    pub(crate) fn into_response(self) -> Response<Body> {
        let (media_type, length, body) = self.content.into_body();
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        headers.extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}

impl Content {
    fn into_body(self) -> (&'static str, Option<u64>, Body) {
        match self {
            Self::Json(value) => ("application/json", None, whole(format!("{value}\n"))),
            Self::Text { media_type, text } => (media_type, None, whole(text)),
            Self::BrokenOff { announced, sent } => ("application/json", Some(announced), break_off(sent)),
            Self::Dribble { pause, characters } => ("text/plain", None, dribble(pause, characters)),
            Self::Blocks(count) => ("application/json", None, blocks(count)),
        }
    }
}

fn whole(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

/// Sends the text, and breaks the connection once it is on its way.
fn break_off(sent: &'static str) -> Body {
    let frames = stream::unfold(false, move |begun| async move {
        if !begun {
            return Some((Ok(Frame::data(Bytes::from_static(sent.as_bytes()))), true));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        Some((Err(io::Error::from(io::ErrorKind::ConnectionAborted)), true))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn dribble(pause: Duration, characters: u64) -> Body {
    let frames = stream::unfold(0, move |sent| async move {
        if sent == characters {
            return None;
        }
        tokio::time::sleep(pause).await;
        Some((Ok(Frame::data(Bytes::from_static(b"."))), sent + 1))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn blocks(count: u64) -> Body {
    static BLOCK: [u8; 64 * 1024] = [b'x'; 64 * 1024];
    let frames = stream::unfold(0, move |sent| async move {
        let block = match sent {
            0 => Bytes::from_static(b"\""),
            sent if sent <= count => Bytes::from_static(&BLOCK),
            sent if sent == count + 1 => Bytes::from_static(b"\""),
            _ => return None,
        };
        Some((Ok(Frame::data(block)), sent + 1))
    });
    StreamBody::new(frames).boxed_unsync()
}
