//! Whether a request may be sent: the one place where that is decided.
//!
//! Pure: method, URL and headers go in with the grants, the connections and the mode; a permit or a refusal comes out.
//! Addresses are judged afterwards, in `address.rs`, since they are not known yet.
//!
//! Invariant: without a grant line that covers the request in this mode there is no permit.

use std::sync::Arc;

use http::{HeaderMap, Method, Uri};

use super::endpoint::{Attached, Endpoint};
use super::headers;
use super::target::{Target, plain};
use crate::Mode;
use crate::grant::{Effect, Grants, HttpGrant, HttpRequest};

/// What a guest wants to send.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
}

/// What decides.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) grants: &'a Grants,
    /// Or why they can't be used.
    pub(super) endpoints: Result<&'a [Endpoint], &'a str>,
    pub(super) mode: Mode,
    /// Whether `configure` runs, which may do nothing.
    pub(super) configuring: bool,
}

/// A request that may be sent, to addresses that have still to be judged.
#[derive(Debug)]
pub(super) struct Permit {
    pub(super) target: Target,
    pub(super) effect: Effect,
    /// The grant line.
    pub(super) rule: String,
    pub(super) attached: Option<Arc<Attached>>,
    /// Places in the list of endpoints that lead to this origin.
    pub(super) endpoints: Vec<usize>,
}

/// A request that may not be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Without query values.
    pub(super) target: String,
    pub(super) reason: String,
    /// The line that would allow it.
    pub(super) allow: Option<String>,
}

/// Decides.
pub(super) fn decide(asked: Asked<'_>, rules: Rules<'_>) -> Result<Permit, Refusal> {
    let target = target(asked.uri)?;
    let refuse =
        |reason: String, allow: Option<String>| Refusal { target: target.to_string(), reason, allow };
    if rules.configuring {
        return Err(refuse("while a plugin is configured it has no rights at all".to_owned(), None));
    }
    let endpoints = rules.endpoints.map_err(|reason| refuse(reason.to_owned(), None))?;
    if matches!(*asked.method, Method::CONNECT | Method::TRACE) {
        return Err(refuse(format!("`{}` is never allowed", asked.method), None));
    }
    let (grant, effect) =
        covering_line(asked, &target, rules).map_err(|(reason, allow)| refuse(reason, allow))?;

    let endpoints: Vec<(usize, &Endpoint)> =
        endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.has_origin_of(&target)).collect();
    let attached = endpoints
        .iter()
        .filter(|(_, endpoint)| endpoint.has_path(&target.path))
        .find_map(|(_, endpoint)| endpoint.attached.clone());
    let own: Vec<_> = endpoints
        .iter()
        .filter_map(|(_, endpoint)| endpoint.attached.as_ref().map(|attached| &attached.header))
        .collect();
    if let Some(reason) = headers::refusal(asked.method.as_str(), asked.headers, &own, attached.is_some()) {
        return Err(refuse(reason, None));
    }
    let endpoints = endpoints.into_iter().map(|(index, _)| index).collect();
    Ok(Permit { effect, rule: grant.to_string(), attached, endpoints, target })
}

fn target(uri: &Uri) -> Result<Target, Refusal> {
    let scheme = uri.scheme_str().unwrap_or_default();
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let path_and_query = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    Target::parse(scheme, authority, path_and_query).map_err(|reason| Refusal {
        // Not canonical, so shown without anything that could be a credential: userinfo and query.
        target: plain(&format!(
            "{scheme}://{}{}",
            authority.rsplit('@').next().unwrap_or_default(),
            uri.path()
        )),
        reason,
        allow: None,
    })
}

/// The line that allows the request, or the reason and the line to add.
fn covering_line<'a>(
    asked: Asked<'_>,
    target: &Target,
    rules: Rules<'a>,
) -> Result<(&'a HttpGrant, Effect), (String, Option<String>)> {
    let method = asked.method.as_str();
    let request = HttpRequest {
        method,
        scheme: target.scheme,
        host: &target.host,
        port: target.port,
        path: &target.path,
        query: target.query.as_deref(),
        headers: asked.headers,
    };
    let covering = || rules.grants.http().filter(|grant| grant.covers(&request));
    // A line that reads comes first, so that in write mode too a read isn't taken for an effect.
    if let Some(grant) = covering().find(|grant| grant.effect(method) == Effect::Read) {
        return Ok((grant, Effect::Read));
    }
    let allow = line_to_add(asked, target, rules.mode);
    match (covering().next(), rules.mode) {
        (Some(grant), Mode::Write) => Ok((grant, Effect::Write)),
        (Some(grant), Mode::Read) => {
            Err((format!("`{grant}` allows it as a write, and this call may only read"), allow))
        }
        (None, _) => Err(("no grant line covers it".to_owned(), allow)),
    }
}

/// The narrowest line that would let exactly this through, in this mode.
fn line_to_add(asked: Asked<'_>, target: &Target, mode: Mode) -> Option<String> {
    let method = asked.method.as_str();
    let word = if mode == Mode::Read && !headers::is_bodiless(method) { "read " } else { "" };
    let mut line = format!("http {word}{method} {}", target.as_pattern()?);
    // Services of this kind tell their operations apart by this header alone.
    if let Some(operation) = asked.headers.get("x-amz-target").and_then(|value| value.to_str().ok())
        && operation.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    {
        line = format!("{line} header:x-amz-target={operation}");
    }
    Some(line)
}
