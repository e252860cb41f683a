//! The plugin's logic against a scripted service.

mod reading;
mod writing;

use crate::client::{Client, Settings};
use windlass_sdk::http::Response;
use windlass_sdk::testing::Script;

/// A client of a scripted service, with a base URL from the connection.
fn client(script: &Script) -> Client<'_> {
    Client::new(script, Settings::default(), || Some("https://api.example.com".to_owned()))
}

/// Add a header to an answer.
fn with_header(mut response: Response, name: &str, value: &str) -> Response {
    response.headers.push((name.to_owned(), value.to_owned()));
    response
}
