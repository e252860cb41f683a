//! Sending through `wasi:http`.
//!
//! Every wait is a poll on the thing waited for and on the deadline of the whole call, so that a server that sends a
//! byte a second can't hold the call for ever.

use super::url::{self, Parts};
use super::{Error, Phase, Request, Response};
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme, http_error_code,
};
use crate::bindings::wasi::io::poll::{Pollable, poll};
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};
use crate::time::{Instant, nanoseconds};
use std::time::Duration;

/// How much is asked of a body's stream at once.
const PIECE: u64 = 64 * 1024;

/// Send one request and read its answer to the end.
pub(super) fn send(request: &Request) -> Result<Response, Error> {
    let started = Instant::now();
    let deadline = Deadline(started + request.timeouts.total);

    let outgoing = outgoing(request)?;
    // The body has to be taken before the request is handed over.
    let body = if request.body.is_empty() { None } else { outgoing.body().ok() };
    let future =
        outgoing_handler::handle(outgoing, Some(options(request)?)).map_err(|code| error(code, 0))?;
    if let Some(body) = body {
        write(body, &request.body, &deadline)?;
    }

    let incoming = answer(&future, &deadline)?;
    let status = incoming.status();
    let headers = incoming
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let body =
        incoming.consume().map_err(|()| Error::Protocol("an answer without a body to read".to_owned()))?;
    let mut response = Response { status, headers, body: Vec::new(), elapsed: Duration::ZERO };
    read(&body, &mut response, request.max_body, &deadline)?;

    // Some hosts end the stream quietly when the other side hangs up. A HEAD has a length and no body.
    let announced = response.header("content-length").and_then(|length| length.parse::<u64>().ok());
    let length = response.body.len() as u64;
    let encoded = response.header("content-encoding").is_some();
    let bodiless = request.method.eq_ignore_ascii_case("HEAD") || status == 204 || status == 304;
    if !bodiless && !encoded && announced.is_some_and(|announced| length < announced) {
        return Err(Error::ClosedEarly(length));
    }
    response.elapsed = started.elapsed();
    Ok(response)
}

/// The request as the host takes it.
fn outgoing(request: &Request) -> Result<OutgoingRequest, Error> {
    let Parts { https, authority, path_with_query } = url::parts(&request.url).map_err(Error::Invalid)?;
    let fields = Fields::new();
    for (name, value) in &request.headers {
        fields.append(name, value.as_bytes()).map_err(|_| {
            Error::Invalid(format!("the header `{name}` is malformed or one that a plugin may not set"))
        })?;
    }
    let method = method(&request.method);
    let may_have_body = !matches!(method, Method::Get | Method::Head | Method::Options | Method::Trace);
    if (!request.body.is_empty() || may_have_body) && !request.has_header("content-length") {
        let length = request.body.len().to_string();
        fields
            .append("content-length", length.as_bytes())
            .map_err(|_| Error::Invalid("the host refuses `content-length`".to_owned()))?;
    }
    let outgoing = OutgoingRequest::new(fields);
    let refused = |part: &str| Error::Invalid(format!("the host refuses its {part}"));
    outgoing.set_method(&method).map_err(|()| refused("method"))?;
    outgoing
        .set_scheme(Some(if https { &Scheme::Https } else { &Scheme::Http }))
        .map_err(|()| refused("scheme"))?;
    outgoing.set_authority(Some(authority)).map_err(|()| refused("host"))?;
    let path = match path_with_query.as_bytes().first() {
        None => "/".to_owned(),
        Some(b'?') => format!("/{path_with_query}"),
        Some(_) => path_with_query.to_owned(),
    };
    outgoing.set_path_with_query(Some(&path)).map_err(|()| refused("path"))?;
    Ok(outgoing)
}

fn method(name: &str) -> Method {
    match name.to_ascii_uppercase().as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        _ => Method::Other(name.to_owned()),
    }
}

fn options(request: &Request) -> Result<RequestOptions, Error> {
    let options = RequestOptions::new();
    let timeouts = &request.timeouts;
    let refused = |()| Error::Invalid("the host knows no timeouts".to_owned());
    options.set_connect_timeout(Some(nanoseconds(timeouts.connect))).map_err(refused)?;
    options.set_first_byte_timeout(Some(nanoseconds(timeouts.first_byte))).map_err(refused)?;
    options.set_between_bytes_timeout(Some(nanoseconds(timeouts.between_bytes))).map_err(refused)?;
    Ok(options)
}

/// Write a body. A host that stops taking it has its reason in the answer, so that is not an error here.
fn write(body: OutgoingBody, bytes: &[u8], deadline: &Deadline) -> Result<(), Error> {
    let Ok(stream) = body.write() else { return Ok(()) };
    let written = write_all(&stream, bytes, deadline)?;
    drop(stream);
    if written {
        // As above: the reason comes with the answer.
        let _ = OutgoingBody::finish(body, None);
    }
    Ok(())
}

/// Whether the host took all of it.
fn write_all(stream: &OutputStream, mut bytes: &[u8], deadline: &Deadline) -> Result<bool, Error> {
    while !bytes.is_empty() {
        match stream.check_write() {
            Ok(0) => deadline.wait(stream.subscribe(), Phase::Answer)?,
            Ok(room) => {
                let (now, later) =
                    bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
                if stream.write(now).is_err() {
                    return Ok(false);
                }
                bytes = later;
            }
            Err(_) => return Ok(false),
        }
    }
    Ok(stream.flush().is_ok())
}

/// Wait for the answer to begin.
fn answer(
    future: &FutureIncomingResponse,
    deadline: &Deadline,
) -> Result<crate::bindings::wasi::http::types::IncomingResponse, Error> {
    loop {
        match future.get() {
            Some(Ok(answer)) => return answer.map_err(|code| error(code, 0)),
            Some(Err(())) => return Err(Error::Protocol("the answer was taken before".to_owned())),
            None => deadline.wait(future.subscribe(), Phase::Answer)?,
        }
    }
}

/// Read a body to its end.
fn read(body: &IncomingBody, response: &mut Response, limit: u64, deadline: &Deadline) -> Result<(), Error> {
    let stream = body.stream().map_err(|()| Error::Protocol("the body was taken before".to_owned()))?;
    loop {
        let length = response.body.len() as u64;
        match stream.read(PIECE) {
            Ok(piece) if piece.is_empty() => deadline.wait(stream.subscribe(), Phase::Body)?,
            Ok(piece) => {
                if length + piece.len() as u64 > limit {
                    return Err(Error::TooLarge(limit));
                }
                response.body.extend_from_slice(&piece);
            }
            Err(StreamError::Closed) => return Ok(()),
            Err(StreamError::LastOperationFailed(cause)) => {
                return Err(match http_error_code(&cause) {
                    Some(code) => match error(code, length) {
                        Error::Timeout(_) => Error::Timeout(Phase::Body),
                        other => other,
                    },
                    None => Error::ClosedEarly(length),
                });
            }
        }
    }
}

/// When the whole call has to be done.
struct Deadline(Instant);

impl Deadline {
    /// Wait for a thing, but not longer.
    fn wait(&self, thing: Pollable, phase: Phase) -> Result<(), Error> {
        if Instant::now() >= self.0 {
            return Err(Error::Timeout(phase));
        }
        let alarm = monotonic_clock::subscribe_instant(self.0.as_nanos());
        // Position 0 is the thing; if both are ready, it counts.
        if poll(&[&thing, &alarm]).contains(&0) { Ok(()) } else { Err(Error::Timeout(phase)) }
    }
}

/// The host's words in ours. `received` is how much of the body had come.
fn error(code: ErrorCode, received: u64) -> Error {
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Error::Denied,
        ErrorCode::DnsTimeout => Error::Dns("no answer in time".to_owned()),
        ErrorCode::DnsError(payload) => {
            Error::Dns(payload.rcode.unwrap_or_else(|| "the name server gave no reason".to_owned()))
        }
        ErrorCode::DestinationNotFound => Error::Dns("there is no such host".to_owned()),
        ErrorCode::DestinationUnavailable => Error::Connect("the host is not available".to_owned()),
        ErrorCode::DestinationIpUnroutable => Error::Connect("there is no route to the host".to_owned()),
        ErrorCode::ConnectionRefused => Error::Connect("connection refused".to_owned()),
        ErrorCode::ConnectionLimitReached => Error::Connect("too many connections".to_owned()),
        ErrorCode::ConnectionTimeout => Error::Timeout(Phase::Connect),
        ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => Error::Timeout(Phase::Answer),
        ErrorCode::ConnectionTerminated | ErrorCode::HttpResponseIncomplete => Error::ClosedEarly(received),
        ErrorCode::TlsProtocolError => {
            Error::Tls("the other side does not speak TLS as it should".to_owned())
        }
        ErrorCode::TlsCertificateError => Error::Tls("its certificate is not trusted".to_owned()),
        ErrorCode::TlsAlertReceived(alert) => {
            Error::Tls(alert.alert_message.unwrap_or_else(|| "the other side refused".to_owned()))
        }
        ErrorCode::HttpResponseBodySize(limit) => Error::TooLarge(limit.unwrap_or(received)),
        ErrorCode::HttpRequestMethodInvalid => Error::Invalid("its method is not valid".to_owned()),
        ErrorCode::HttpRequestUriInvalid => Error::Invalid("its URL is not valid".to_owned()),
        ErrorCode::HttpRequestUriTooLong => Error::Invalid("its URL is too long".to_owned()),
        ErrorCode::InternalError(reason) => {
            Error::Protocol(reason.unwrap_or_else(|| "an error without a name".to_owned()))
        }
        ErrorCode::HttpProtocolError => Error::Protocol("its answer is no HTTP".to_owned()),
        other => Error::Protocol(format!("{other:?}").trim_start_matches("ErrorCode::").to_owned()),
    }
}
