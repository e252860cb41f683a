//! Which headers a guest may set, and which of an answer it may see.
//!
//! Pure. Invariant: no header of a guest changes who it is, where the request goes, what its method is, or where one
//! request ends and the next begins.

use http::{HeaderMap, HeaderName, header};

/// Who the caller is, is the host's to say.
const IDENTITY: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "proxy-authenticate"];

/// These steer the connection and not the request. `host` is written by the host from the checked URL.
const CONNECTION: [&str; 10] = [
    "connection",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Some frameworks take method or path from here, whatever the request line says.
const OVERRIDES: [&str; 7] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-method",
    "x-original-url",
    "x-rewrite-url",
    "x-http-path-override",
];

/// Why these headers can't be sent, in a sentence; none if they can. `own` are headers that the plugin's connections to
/// this origin attach; `attached` tells whether a credential goes with this request.
pub(super) fn refusal(
    method: &str,
    headers: &HeaderMap,
    own: &[&HeaderName],
    attached: bool,
) -> Option<String> {
    for name in headers.keys() {
        let text = name.as_str();
        if own.contains(&name) {
            return Some(format!("the header `{text}` is attached by the host and not set by a plugin"));
        }
        if IDENTITY.contains(&text) || (text.starts_with("x-amz-") && text != "x-amz-target") {
            return Some(format!(
                "a plugin does not set the header `{text}`: give its connection a `credential`, and the host attaches it"
            ));
        }
        if CONNECTION.contains(&text) {
            return Some(format!("a plugin does not set the header `{text}`, which steers the connection"));
        }
        if OVERRIDES.contains(&text) {
            return Some(format!(
                "the header `{text}` would let a server take another method or path than the line allows"
            ));
        }
        if headers.get_all(name).iter().count() > 1 {
            return Some(format!(
                "the header `{text}` is there more than once, which servers read in different ways"
            ));
        }
        if attached && text == "range" {
            return Some("the header `range` is not sent with a credential, since an answer in parts can't be searched for an echo of it".to_owned());
        }
    }
    if let Some(length) = headers.get(header::CONTENT_LENGTH)
        && (length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit))
    {
        return Some(
            "the header `content-length` is no number, which servers read in different ways".to_owned(),
        );
    }
    let declared = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    (declared && is_bodiless(method)).then(|| BODY_ON_GET.to_owned())
}

/// A body here is read by some servers and by some not.
pub(super) const BODY_ON_GET: &str = "a GET or HEAD request has no body";

/// Whether the method comes without a body.
pub(super) fn is_bodiless(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

/// Takes out what a guest is not shown.
pub(super) fn clean_answer(headers: &mut HeaderMap) {
    for name in [header::SET_COOKIE, HeaderName::from_static("set-cookie2")] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(method: &str, headers: &[(&str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let own = HeaderName::from_static("x-api-key");
        refusal(method, &map, &[&own], true).unwrap_or_else(|| "sent".to_owned())
    }

    #[test]
    fn ordinary_headers_are_sent() {
        let ordinary = [
            ("accept", "application/json"),
            ("content-type", "application/json"),
            ("idempotency-key", "abc"),
            ("if-match", "\"1\""),
            ("user-agent", "x"),
            ("x-amz-target", "Dynamo.GetItem"),
            ("content-length", "0"),
        ];
        assert_eq!(said("GET", &ordinary), "sent");
        assert_eq!(said("POST", &[("content-length", "10")]), "sent");
        for odd in ["+10", " 10", "0x10", "10, 10"] {
            assert!(said("POST", &[("content-length", odd)]).contains("is no number"), "{odd}");
        }
    }

    #[test]
    fn headers_that_smuggle_are_refused() {
        for name in IDENTITY.iter().chain(&CONNECTION).chain(&OVERRIDES).chain(&[
            "x-api-key",
            "x-amz-security-token",
            "range",
        ]) {
            assert_ne!(said("POST", &[(name, "x")]), "sent", "{name}");
        }
        assert_ne!(said("POST", &[("accept", "a"), ("accept", "b")]), "sent");
        assert_eq!(said("GET", &[("content-length", "10")]), BODY_ON_GET);
    }

    #[test]
    fn cookies_of_an_answer_are_dropped() {
        let mut headers = HeaderMap::new();
        headers.append(header::SET_COOKIE, "a=1".parse().unwrap());
        headers.append(header::SET_COOKIE, "b=2".parse().unwrap());
        headers.append(header::ETAG, "x".parse().unwrap());
        clean_answer(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
