//! Where a request goes: one parsed URL that is checked *and* sent.
//!
//! Pure. Refuses every spelling that two readers could understand differently, so that what the policy judged is what a
//! server sees. Knows nothing of grants.
//!
//! Invariant: scheme, host, port, path and query of a [`Target`] are byte for byte what the guest asked for, but for
//! the case of the host's letters.

use std::fmt;

use url::Url;

use crate::grant::pattern::is_path_text;
use crate::grant::{Host, Scheme, http::query_keys};

/// A request's URL, taken apart and canonical. Displayed without the values of its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: u16,
    /// Percent-encoded, with its first `/`.
    pub(super) path: String,
    /// Percent-encoded, without the `?`.
    pub(super) query: Option<String>,
}

/// A URL longer than this is no one's intention; servers cut at 8 KiB and more.
const LONGEST: usize = 16 * 1024;

impl Target {
    /// Takes apart what the guest gave as scheme, authority and path with query.
    pub(super) fn parse(scheme: &str, authority: &str, path_and_query: &str) -> Result<Self, String> {
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err("only http and https are spoken".to_owned()),
        };
        if authority.len() + path_and_query.len() > LONGEST {
            return Err(format!("the URL is longer than {LONGEST} bytes"));
        }
        if authority.contains('@') {
            return Err("the URL holds a user name or password".to_owned());
        }
        let (host_text, port_text) = split_port(authority);
        let host = Host::parse(host_text).ok_or_else(|| {
            "non-canonical: the host is no plain ASCII name without a trailing dot and no address in its usual form"
                .to_owned()
        })?;
        let port = match port_text {
            None => scheme.default_port(),
            Some(text) => match text.parse::<u16>() {
                Ok(port) if port > 0 && port.to_string() == text => port,
                _ => return Err("non-canonical: the port is no plain number".to_owned()),
            },
        };
        if path_and_query.contains('#') {
            return Err("the URL has a fragment".to_owned());
        }
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        let target = Self { scheme, host, port, path: path.to_owned(), query: query.map(str::to_owned) };
        target.check_against_url()?;
        Ok(target)
    }

    /// Takes apart the origin of a connection: no path but `/`, and no query.
    pub(super) fn parse_origin(origin: &str) -> Result<Self, String> {
        let wrong = || format!("`{origin}` is no origin such as `https://api.example.com`");
        let (scheme, rest) = origin.split_once("://").ok_or_else(wrong)?;
        if rest.contains('@') {
            return Err("its origin holds a user name or password; write them as the `credential`".to_owned());
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(wrong());
        }
        Self::parse(scheme, authority, "/").map_err(|reason| format!("{}: {reason}", wrong()))
    }

    /// A URL parser, independent of the code above, must see the same.
    fn check_against_url(&self) -> Result<(), String> {
        if !self.path.split('/').all(is_path_text) {
            return Err("non-canonical: the path holds a character that must be percent-encoded".to_owned());
        }
        let url = Url::parse(&self.request_url()).map_err(|_| "non-canonical: this is no URL".to_owned())?;
        let same_host = url.host_str() == Some(self.host.to_string().as_str());
        let same_port = url.port_or_known_default() == Some(self.port);
        if !same_host || !same_port || !url.username().is_empty() || url.password().is_some() {
            return Err("non-canonical: URL parsers disagree about the host".to_owned());
        }
        if url.path() != self.path {
            return Err(format!("non-canonical: the path is sent as `{}`", plain(url.path())));
        }
        if url.query() != self.query.as_deref() || url.fragment().is_some() {
            return Err("non-canonical: the query holds a character that must be percent-encoded".to_owned());
        }
        if self.query.as_deref().is_some_and(|query| !is_percent_encoded_well(query)) {
            return Err("non-canonical: the query has a `%` that encodes nothing".to_owned());
        }
        Ok(())
    }

    /// Host and port as in a `host` header: the port only where it is not the scheme's own.
    pub(super) fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Path and query as they are sent.
    pub(super) fn path_and_query(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The whole URL as it is sent. Never show it: a query may hold what is nobody's business.
    pub(super) fn request_url(&self) -> String {
        format!("{}://{}{}", self.scheme.as_str(), self.authority(), self.path_and_query())
    }

    /// The URL as a grant line would name it, if one can: a `*` in it would mean more than itself.
    pub(super) fn as_pattern(&self) -> Option<String> {
        if self.path.contains('*')
            || self.query.as_deref().is_some_and(|query| query.is_empty() || query.contains(';'))
        {
            return None;
        }
        Some(self.to_string())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority(), self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{}", query_keys(query)),
            None => Ok(()),
        }
    }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn is_percent_encoded_well(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, byte)| {
        *byte != b'%' || bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Guest text that is fit to be shown: short, and without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    crate::text::cut(crate::text::plain(text), 200)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(authority: &str, path: &str) -> String {
        match Target::parse("https", authority, path) {
            Ok(target) => target.to_string(),
            Err(reason) => reason,
        }
    }

    #[test]
    fn canonical_urls_pass_as_they_are() {
        for (authority, path, same) in [
            ("api.example.com", "/", "https://api.example.com/"),
            ("API.example.com:443", "", "https://api.example.com/"),
            ("api.example.com:8443", "/a/b%20c/", "https://api.example.com:8443/a/b%20c/"),
            ("10.0.0.1", "/a//b", "https://10.0.0.1/a//b"),
            ("[::1]:80", "/a%2Fb", "https://[::1]:80/a%2Fb"),
            ("x", "/q?token=abc&b=1&token=2", "https://x/q?token=*&b=*"),
            ("xn--bcher-kva.example", "/", "https://xn--bcher-kva.example/"),
        ] {
            assert_eq!(shown(authority, path), same);
        }
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for (authority, path, reason) in [
            ("user@api.example.com", "/", "user name"),
            ("user:pw@api.example.com", "/", "user name"),
            ("api.example.com.", "/", "non-canonical: the host"),
            ("b\u{fc}cher.example", "/", "non-canonical: the host"),
            ("", "/", "non-canonical: the host"),
            ("2130706433", "/", "non-canonical: the host"),
            ("0x7f000001", "/", "non-canonical: the host"),
            ("0177.0.0.1", "/", "non-canonical: the host"),
            ("127.1", "/", "non-canonical: the host"),
            ("127.0.0.1.", "/", "non-canonical: the host"),
            ("[0:0:0:0:0:0:0:1]", "/", "non-canonical: the host"),
            ("[::ffff:7f00:1]", "/", "non-canonical: the host"),
            ("%61pi.example.com", "/", "non-canonical: the host"),
            ("api.example.com:0443", "/", "non-canonical: the port"),
            ("api.example.com:", "/", "non-canonical: the port"),
            ("api.example.com:99999", "/", "non-canonical: the port"),
            ("a b", "/", "non-canonical: the host"),
            ("x", "/a/../b", "non-canonical: the path is sent as `/b`"),
            ("x", "/a/./b", "non-canonical: the path is sent as `/a/b`"),
            ("x", "/a/%2e%2e/b", "non-canonical: the path is sent as `/b`"),
            ("x", "/a/%2E./b", "non-canonical: the path is sent as `/b`"),
            ("x", "/a\\b", "non-canonical: the path holds"),
            ("x", "/a b", "non-canonical: the path holds"),
            ("x", "/a%zz", "non-canonical: the path holds"),
            ("x", "/a\tb", "non-canonical: the path holds"),
            ("x", "/a\u{e4}", "non-canonical: the path holds"),
            ("x", "/a#b", "fragment"),
            ("x", "/?a b", "non-canonical: the query"),
            ("x", "/?a=%", "non-canonical: the query"),
            ("x", "//evil.example/", "https://x//evil.example/"),
        ] {
            assert!(shown(authority, path).contains(reason), "{authority}{path}: {}", shown(authority, path));
        }
        assert!(Target::parse("ftp", "x", "/").is_err());
    }

    #[test]
    fn an_origin_is_nothing_but_an_origin() {
        let origin = |text: &str| Target::parse_origin(text).map(|target| target.to_string());
        assert_eq!(origin("https://api.example.com").unwrap(), "https://api.example.com/");
        assert_eq!(origin("http://127.0.0.1:8080/").unwrap(), "http://127.0.0.1:8080/");
        for wrong in
            ["api.example.com", "https://api.example.com/v1", "https://u:p@x", "https://x?y", "unix:///x"]
        {
            let reason = origin(wrong).unwrap_err();
            assert!(!reason.contains("u:p"), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_is_sent_as_it_came(authority in "[a-zA-Z0-9.:@%\\[\\]-]{0,20}", path in "/[\\PC]{0,20}") {
            if let Ok(target) = Target::parse("https", &authority, &path) {
                prop_assert_eq!(target.path_and_query(), path);
                let url = Url::parse(&target.request_url()).unwrap();
                prop_assert_eq!(url.as_str(), target.request_url());
            }
        }
    }
}
