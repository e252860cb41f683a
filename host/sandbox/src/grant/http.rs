//! `http [read|write] METHODS URL-pattern [header:NAME=VALUE]…`: which requests a plugin may send.
//!
//! Reads the line and answers whether a request, already taken apart and checked to be canonical, is one of those
//! meant. Knows nothing of connections, credentials, addresses or modes.
//!
//! Invariant: a request is covered only if method, scheme, host, port, path, every query key and every header that
//! the line names fit; what the line doesn't name isn't allowed.

use std::fmt;
use std::ops::Range;

use super::pattern::{Glob, Host, HostPattern, PathPattern};
use super::words::{Word, quote};
use super::{Effect, GrantError};

const EXAMPLE: &str = "write a line such as `http GET https://api.example.com/health/**`";

/// A line that allows HTTP requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    /// The operator's word where it differs from what the methods say.
    effect: Option<Effect>,
    /// None for `*`.
    methods: Option<Vec<String>>,
    scheme: Scheme,
    host: HostPattern,
    port: u16,
    path: PathPattern,
    query: Vec<(String, Glob)>,
    headers: Vec<(String, Glob)>,
}

/// How the request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// The port where none is written.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A request as the grants see it. The caller has checked that the parts are canonical.
#[derive(Debug, Clone, Copy)]
pub struct HttpRequest<'a> {
    /// In the spelling of the wire.
    pub method: &'a str,
    /// From the URL.
    pub scheme: Scheme,
    /// From the URL.
    pub host: &'a Host,
    /// The scheme's own where the URL names none.
    pub port: u16,
    /// Percent-encoded, with its first `/`.
    pub path: &'a str,
    /// Percent-encoded, without the `?`.
    pub query: Option<&'a str>,
    /// The guest's headers; names in lower case.
    pub headers: &'a http::HeaderMap,
}

impl HttpGrant {
    /// Whether a request with this method reads or writes, by this line.
    pub fn effect(&self, method: &str) -> Effect {
        self.effect.unwrap_or(if matches!(method, "GET" | "HEAD") { Effect::Read } else { Effect::Write })
    }

    /// Whether every request that the line allows only reads.
    pub fn reads_only(&self) -> bool {
        match (&self.effect, &self.methods) {
            (Some(effect), _) => *effect == Effect::Read,
            (None, Some(methods)) => methods.iter().all(|method| self.effect(method) == Effect::Read),
            (None, None) => false,
        }
    }

    /// Whether the operator called reading what by its method would be writing.
    pub fn is_read_by_word(&self) -> bool {
        self.effect == Some(Effect::Read)
            && !self.methods.as_ref().is_some_and(|methods| methods.iter().all(|m| m == "GET" || m == "HEAD"))
    }

    /// Whether the line allows this request, its effect left aside.
    pub fn covers(&self, request: &HttpRequest<'_>) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.iter().any(|method| method == request.method))
            && self.reaches(request.scheme, request.host, request.port)
            && self.path.matches(request.path)
            && self.query_fits(request.query)
            && self.headers.iter().all(|(name, wanted)| {
                let mut found = request.headers.get_all(name).iter();
                matches!((found.next(), found.next()), (Some(value), None)
                    if value.to_str().is_ok_and(|value| wanted.matches(value)))
            })
    }

    /// Whether the line names this origin at all, whatever the method and path.
    pub fn reaches(&self, scheme: Scheme, host: &Host, port: u16) -> bool {
        self.scheme == scheme && self.port == port && self.host.matches(host)
    }

    fn query_fits(&self, query: Option<&str>) -> bool {
        let Some(query) = query else { return true };
        // An empty query is still a query, and `;` parts pairs for some servers and not for others.
        !query.is_empty()
            && !query.contains(';')
            && !self.query.is_empty()
            && url::form_urlencoded::parse(query.as_bytes()).all(|(key, value)| {
                self.query.iter().any(|(wanted, values)| *wanted == key && values.matches(&value))
            })
    }

    /// Reads the words after `http`; `whole` is the range to blame when a word is missing.
    pub(super) fn parse(words: &[Word], whole: Range<usize>) -> Result<Self, GrantError> {
        let (effect, words) = match words.split_first() {
            Some((word, rest)) if word.text == "read" => (Some(Effect::Read), rest),
            Some((word, rest)) if word.text == "write" => (Some(Effect::Write), rest),
            _ => (None, words),
        };
        let [methods, url, headers @ ..] = words else {
            if let [word] = words
                && word.text.contains("://")
            {
                return Err(GrantError::new(word.range.clone(), "the methods are missing before the URL")
                    .help(EXAMPLE));
            }
            return Err(GrantError::new(whole, "an `http` line needs methods and a URL").help(EXAMPLE));
        };
        let methods = parse_methods(methods)?;
        let headers = headers.iter().map(parse_header).collect::<Result<_, _>>()?;
        let parts = UrlParts::take_apart(&url.text).map_err(|error| url.wrong_part(error))?;
        Ok(Self {
            effect,
            methods,
            scheme: parts.scheme,
            host: parts.host,
            port: parts.port,
            path: parts.path,
            query: parts.query,
            headers,
        })
    }
}

fn parse_methods(word: &Word) -> Result<Option<Vec<String>>, GrantError> {
    if word.text == "*" {
        return Ok(None);
    }
    let mut methods: Vec<String> = Vec::new();
    let mut at = 0;
    for method in word.text.split(',') {
        let range = word.part(at..at + method.len());
        at += method.len() + 1;
        if method.contains("://") {
            return Err(GrantError::new(range, "the methods are missing before the URL").help(EXAMPLE));
        }
        if matches!(method, "CONNECT" | "TRACE") {
            return Err(GrantError::new(range, format!("`{method}` is never allowed")));
        }
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            return Err(GrantError::new(range, format!("`{method}` is not an HTTP method"))
                .help("write methods in capitals with commas between: `GET,POST`, or `*` for every one"));
        }
        if !methods.iter().any(|known| known == method) {
            methods.push(method.to_owned());
        }
    }
    Ok(Some(methods))
}

fn parse_header(word: &Word) -> Result<(String, Glob), GrantError> {
    let wrong = |message: &str| {
        GrantError::new(word.range.clone(), message)
            .help("after the URL come only headers that must be there: `header:x-amz-target=Dynamo.Get*`")
    };
    let rest = word.text.strip_prefix("header:").ok_or_else(|| wrong("a URL has no blanks"))?;
    let (name, value) = rest.split_once('=').ok_or_else(|| wrong("the header's value is missing"))?;
    let name = http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("this is no header name"))?;
    if !value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return Err(wrong("a header's value is printable ASCII"));
    }
    Ok((name.as_str().to_owned(), Glob::parse(value, str::to_owned)))
}

struct UrlParts {
    scheme: Scheme,
    host: HostPattern,
    port: u16,
    path: PathPattern,
    query: Vec<(String, Glob)>,
}

impl UrlParts {
    fn take_apart(text: &str) -> Result<Self, GrantError> {
        let (scheme, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else {
            return Err(GrantError::new(
                0..text.len(),
                "the URL begins with neither `https://` nor `http://`",
            )
            .help(EXAMPLE));
        };
        let start = text.len() - rest.len();
        if let Some(at) = rest.find('#') {
            return Err(GrantError::new(start + at..text.len(), "a fragment (`#`) is never sent")
                .help("leave it out"));
        }
        let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path_and_query) = rest.split_at(authority_len);
        if authority.contains('@') {
            // The part is pointed at and not quoted: it may hold a password.
            return Err(GrantError::new(
                start..start + authority_len,
                "a grant holds no user name or password",
            )
            .help("give the connection a `credential`: the host attaches it"));
        }
        let (host, port) = split_port(authority, scheme).map_err(|error| error.at(start))?;
        let host = host.parse::<HostPattern>().map_err(|error| error.at(start))?;
        let path_start = start + authority_len;
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let path_pattern = if path.is_empty() { "/" } else { path };
        let path_pattern = path_pattern.parse::<PathPattern>().map_err(|error| error.at(path_start))?;
        let query = match query {
            Some(query) => parse_query(query).map_err(|error| error.at(path_start + path.len() + 1))?,
            None => Vec::new(),
        };
        Ok(Self { scheme, host, port, path: path_pattern, query })
    }
}

fn split_port(authority: &str, scheme: Scheme) -> Result<(&str, u16), GrantError> {
    let after_bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = authority.get(after_bracket..).and_then(|rest| rest.rfind(':')) else {
        return Ok((authority, scheme.default_port()));
    };
    let (host, port) = authority.split_at(after_bracket + colon);
    let digits = port.trim_start_matches(':');
    match digits.parse::<u16>() {
        Ok(number) if number > 0 && number.to_string() == digits && port.len() == digits.len() + 1 => {
            Ok((host, number))
        }
        _ => Err(GrantError::new(host.len()..authority.len(), format!("`{digits}` is not a port"))
            .help("write a number from 1 to 65535, or leave the port out")),
    }
}

fn parse_query(query: &str) -> Result<Vec<(String, Glob)>, GrantError> {
    let mut keys = Vec::new();
    let mut at = 0;
    for pair in query.split('&') {
        let range = at..at + pair.len();
        at += pair.len() + 1;
        let wrong = |message: String| {
            GrantError::new(range.clone(), message)
                .help("name each key that may be there with its values: `?Action=Describe*&Version=*`")
        };
        if pair == "*" {
            return Err(wrong("`*` can't stand for every query key".to_owned()));
        }
        let Some((key, value)) = pair.split_once('=') else {
            return Err(wrong(format!("the query key `{pair}` has no value")));
        };
        if key.is_empty() || key.contains('*') {
            return Err(wrong("a query key is named in full".to_owned()));
        }
        if pair.contains(';') {
            return Err(wrong("`;` is read in different ways by servers".to_owned()));
        }
        keys.push((decode(key), Glob::parse(value, decode)));
    }
    Ok(keys)
}

fn decode(text: &str) -> String {
    // As the request's own query is decoded, so that the two compare; a whole text without `=` and `&` is one key.
    let text = text.replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(text.as_bytes()).map(|(key, _)| key.into_owned()).collect()
}

fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$'(),/:@[]".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            use fmt::Write as _;
            _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The query keys of a request as a line would name them: each once, in the order of the request, any value.
pub(crate) fn query_keys(query: &str) -> String {
    let mut keys: Vec<String> = Vec::new();
    for (key, _) in url::form_urlencoded::parse(query.as_bytes()) {
        let pair = format!("{}=*", encode(&key));
        if !keys.contains(&pair) {
            keys.push(pair);
        }
    }
    keys.join("&")
}

impl fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("http ")?;
        if let Some(effect) = self.effect {
            write!(f, "{effect} ")?;
        }
        f.write_str(&self.methods.as_ref().map_or_else(|| "*".to_owned(), |methods| methods.join(",")))?;
        let mut url = format!("{}://{}", self.scheme.as_str(), self.host);
        if self.port != self.scheme.default_port() {
            url = format!("{url}:{}", self.port);
        }
        url = format!("{url}{}", self.path);
        for (index, (key, values)) in self.query.iter().enumerate() {
            let mark = if index == 0 { '?' } else { '&' };
            url = format!("{url}{mark}{}={}", encode(key), values.write(encode));
        }
        write!(f, " {}", quote(&url))?;
        for (name, value) in &self.headers {
            write!(f, " {}", quote(&format!("header:{name}={}", value.write(str::to_owned))))?;
        }
        Ok(())
    }
}
