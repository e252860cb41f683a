//! Requests straight through `wasi:http`, with parts that no URL library would let pass.

use windlass_sdk::Failure;
use windlass_sdk::bindings::wasi::http::outgoing_handler;
use windlass_sdk::bindings::wasi::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};
use windlass_sdk::bindings::wasi::io::streams::StreamError;

use crate::bindings::exports::windlass::hostile::attacks::{Answer, Request};

/// Sends a request and reads the answer.
pub(crate) fn send(input: &Request) -> Result<Answer, Failure> {
    let fields = Fields::new();
    for (name, value) in &input.headers {
        let refused = |error| Failure::new("header-refused", format!("{name}: {error:?}"));
        fields.append(name, value.as_bytes()).map_err(refused)?;
    }
    let request = OutgoingRequest::new(fields);
    let refused = |part: &str| Failure::new("part-refused", format!("wasi:http refuses the {part}"));
    request.set_method(&method(input)).map_err(|()| refused("method"))?;
    request.set_scheme(Some(&scheme(&input.scheme))).map_err(|()| refused("scheme"))?;
    request.set_authority(Some(&input.authority)).map_err(|()| refused("authority"))?;
    request.set_path_with_query(Some(&input.path)).map_err(|()| refused("path"))?;
    let body = input.body.as_ref().and_then(|_| request.body().ok());

    let failed = |code| Failure::new("no-answer", format!("{code:?}"));
    let future = outgoing_handler::handle(request, None).map_err(failed)?;
    if let (Some(body), Some(text)) = (body, &input.body) {
        if let Ok(stream) = body.write() {
            // A host that refuses the body says why in the answer.
            let _ = stream.blocking_write_and_flush(text.as_bytes());
        }
        let _ = OutgoingBody::finish(body, None);
    }
    future.subscribe().block();
    let Some(Ok(answered)) = future.get() else {
        return Err(Failure::new("no-answer", "there is none"));
    };
    let response = answered.map_err(failed)?;
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    let headers = response.headers().entries().into_iter().map(|(name, value)| (name, text(value))).collect();
    let body = response.consume().map_err(|()| Failure::new("no-body", "it can't be taken"))?;
    let stream = body.stream().map_err(|()| Failure::new("no-body", "it can't be read"))?;
    let mut received = Vec::new();
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(piece) => received.extend_from_slice(&piece),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(Failure::new("broken-off", error.to_debug_string()));
            }
        }
    }
    Ok(Answer { status: response.status(), headers, body: text(received) })
}

fn method(input: &Request) -> Method {
    match input.method.as_deref().unwrap_or("GET") {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn scheme(name: &str) -> Scheme {
    match name {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    }
}
