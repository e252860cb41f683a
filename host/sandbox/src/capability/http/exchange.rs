//! One request and its answer, as the books and the watch over the body see them.
//!
//! Invariant: whatever becomes of the exchange (finished, failed, dropped by the guest, cut off with its call), it leaves
//! exactly one audit record.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream;
use http::HeaderMap;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;
use wasmtime_wasi_http::{Error, WasiBody};

use super::client::answer_error;
use super::echo::{EchoForms, EchoWindow, Echoed};
use crate::grant::Effect;
use crate::state::CallContext;
use crate::{AuditRecord, LimitHit, LimitKind};

/// The name under which everything here is booked.
pub(super) const CAPABILITY: &str = "http";

/// The books of one request.
pub(super) struct Exchange {
    call: Arc<CallContext>,
    effect: Effect,
    method: String,
    target: String,
    /// Taken when the record is written.
    rule: Mutex<Option<String>>,
    started: Instant,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Exchange {
    pub(super) fn new(
        call: Arc<CallContext>,
        effect: Effect,
        method: String,
        target: String,
        rule: String,
    ) -> Self {
        Self {
            call,
            effect,
            method,
            target,
            rule: Mutex::new(Some(rule)),
            started: Instant::now(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        }
    }

    fn take_rule(&self) -> Option<String> {
        self.rule.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Writes the audit record, once.
    pub(super) fn close(&self) {
        let Some(rule) = self.take_rule() else { return };
        self.call.audit(AuditRecord {
            capability: CAPABILITY.to_owned(),
            operation: self.method.clone(),
            target: self.target.clone(),
            mode: self.call.mode,
            allowed: true,
            rule: Some(rule),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            elapsed_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    }

    /// Books a denial in place of the ordinary record.
    pub(super) fn deny(&self, reason: &str) {
        if self.take_rule().is_some() {
            self.call.deny(CAPABILITY, &self.method, &self.target, reason, None);
        }
    }

    /// To be called before the first byte of the request goes out.
    pub(super) fn about_to_send(&self) {
        if self.effect == Effect::Write {
            self.call.mark_sent();
        }
    }

    pub(super) fn answered(&self) {
        if self.effect == Effect::Read {
            self.call.read_succeeded();
        }
    }

    pub(super) fn failed(&self) {
        if self.effect == Effect::Read {
            self.call.read_failed();
        }
        self.close();
    }

    fn over_limit(&self, limit: u64) {
        self.call.limit(LimitHit::new(LimitKind::HttpBody, limit));
        self.failed();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the guest is told when an answer holds the credential.
pub(super) const ECHOED: &str = "credential-echoed";

const ECHOED_REASON: &str =
    "credential-echoed: the request was sent, and the answer holds the credential that the host attached";

impl Exchange {
    /// Stops an answer that holds the credential.
    pub(super) fn stop_echo(&self) -> Error {
        self.deny(ECHOED_REASON);
        Error::InternalError(Some(ECHOED.to_owned()))
    }

    /// Whether any header gives the credential away.
    pub(super) fn echo_in(forms: &EchoForms, headers: &HeaderMap) -> bool {
        headers
            .iter()
            .any(|(name, value)| forms.are_in(name.as_str().as_bytes()) || forms.are_in(value.as_bytes()))
    }
}

/// The guest's body on its way out: counted, bounded, without trailers.
pub(super) struct RequestBody {
    pub(super) inner: WasiBody,
    pub(super) exchange: Arc<Exchange>,
    pub(super) limit: u64,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            other => return other,
        };
        let Some(data) = frame.data_ref() else {
            // Trailers could hold any header that was refused above.
            return Poll::Ready(Some(Err(Error::HttpRequestTrailerSectionSize(Some(0)))));
        };
        let size = data.len() as u64;
        let sent = self.exchange.bytes_out.fetch_add(size, Ordering::Relaxed).saturating_add(size);
        if sent > self.limit {
            return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(self.limit)))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The answer's body on its way to the guest.
pub(super) struct ResponseBody {
    pub(super) inner: Incoming,
    pub(super) exchange: Arc<Exchange>,
    pub(super) forms: Option<EchoForms>,
    pub(super) limit: u64,
    pub(super) between_bytes: Duration,
    pub(super) until: Instant,
    /// The connection lives as long as this.
    pub(super) _driver: AbortOnDropJoinHandle<()>,
}

struct Watch {
    body: ResponseBody,
    window: Option<EchoWindow>,
    ended: bool,
}

impl ResponseBody {
    /// Counted, bounded in size and time, searched for the credential, without trailers.
    pub(super) fn watched(self) -> WasiBody {
        let window = self.forms.clone().map(EchoWindow::new);
        let watch = Watch { body: self, window, ended: false };
        let frames = stream::unfold(watch, |mut watch| async move {
            let next = watch.next().await?;
            Some((next.map(Frame::data), watch))
        });
        StreamBody::new(frames).boxed_unsync()
    }
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        if self.ended {
            return None;
        }
        loop {
            let until = self.body.until.min(Instant::now() + self.body.between_bytes);
            let Ok(frame) = timeout_at(until, self.body.inner.frame()).await else {
                let total = until == self.body.until;
                return self.fail(if total {
                    Error::HttpResponseTimeout
                } else {
                    Error::ConnectionReadTimeout
                });
            };
            match frame {
                None => return self.end(),
                Some(Err(error)) => return self.fail(answer_error(&error, Error::HttpResponseIncomplete)),
                Some(Ok(frame)) => {
                    // Trailers are dropped: no guest here needs them, and they would need every check anew.
                    let Ok(data) = frame.into_data() else { continue };
                    match self.take(data) {
                        Ok(safe) if safe.is_empty() => {}
                        other => return Some(other),
                    }
                }
            }
        }
    }

    fn take(&mut self, data: Bytes) -> Result<Bytes, Error> {
        let exchange = &self.body.exchange;
        let size = data.len() as u64;
        let read = exchange.bytes_in.fetch_add(size, Ordering::Relaxed).saturating_add(size);
        if read > self.body.limit {
            self.ended = true;
            exchange.over_limit(self.body.limit);
            return Err(Error::HttpResponseBodySize(Some(self.body.limit)));
        }
        let Some(window) = &mut self.window else { return Ok(data) };
        window.push(data).map_err(|Echoed| {
            self.ended = true;
            exchange.stop_echo()
        })
    }

    fn end(&mut self) -> Option<Result<Bytes, Error>> {
        self.ended = true;
        self.body.exchange.close();
        let rest = self.window.as_mut().map(EchoWindow::finish)?;
        (!rest.is_empty()).then_some(Ok(rest))
    }

    fn fail(&mut self, error: Error) -> Option<Result<Bytes, Error>> {
        self.ended = true;
        self.body.exchange.failed();
        Some(Err(error))
    }
}

impl ResponseBody {
    /// Refuses at once a body that says itself that it is too long.
    pub(super) fn check_declared(&self) -> Result<(), Error> {
        match self.inner.size_hint().exact() {
            Some(size) if size > self.limit => {
                self.exchange.over_limit(self.limit);
                Err(Error::HttpResponseBodySize(Some(size)))
            }
            _ => Ok(()),
        }
    }
}
