//! Requests that read.

use crate::answer::{Answer, unmet};
use crate::bindings::exports::windlass::contracts::http_call::{Request, Response};
use crate::client::Client;
use crate::request::{Call, expectations, json};
use windlass_sdk::{Failure, expect};

/// Send a request that reads.
pub(crate) fn fetch(client: &Client<'_>, input: Request) -> Result<Response, Failure> {
    let call = Call {
        method: input.method.unwrap_or_else(|| "GET".to_owned()),
        url: input.url,
        query: input.query,
        headers: input.headers,
        json: json(input.json.as_deref())?,
        text: input.text,
        status: input.status,
        timeout: input.timeout,
    };
    let expected = expectations(input.expect)?;
    let url = client.url(&call.url)?;
    let answer = Answer::of(&call, &url, &client.send(&call)?)?;
    let misses = answer.misses(&expected, |body, path| expect::lookup(body, path).cloned())?;
    if !misses.is_empty() {
        let what = format!("the answer to {} is not as expected", answer.request);
        return Err(unmet("unexpected-answer", &what, answer.status, &misses).retryable());
    }
    let captured = answer.capture(&input.capture)?;
    Ok(answer.output(captured))
}
