//! Patterns for hosts, paths and single texts, shared by every grant that names a place.
//!
//! `*` is one whole host label or path segment, `**` is the rest of a path. A host pattern that names labels never
//! matches an address, whatever the address looks like. Knows nothing of requests, connections or modes.
//!
//! Invariant: displaying a pattern and parsing it again gives the same pattern.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::GrantError;

/// A host as a checked URL has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name in lower case ASCII, without a trailing dot.
    Name(String),
    /// An address, written canonically.
    Address(IpAddr),
}

impl Host {
    /// Reads a host in the one spelling that is allowed; anything else is none.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: std::net::Ipv6Addr = inner.parse().ok()?;
            return (address.to_string() == inner.to_ascii_lowercase())
                .then_some(Self::Address(IpAddr::V6(address)));
        }
        let labels: Vec<&str> = text.split('.').collect();
        if !labels.iter().all(|label| is_label(label)) || text.len() > 253 {
            return None;
        }
        // A name whose last label is a number is read as an IPv4 address by every client, in ways that differ.
        if labels.last().is_some_and(|last| is_number(last)) {
            let address: std::net::Ipv4Addr = text.parse().ok()?;
            return (address.to_string() == text).then_some(Self::Address(IpAddr::V4(address)));
        }
        Some(Self::Name(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_number(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_digit())
        || label
            .strip_prefix("0x")
            .or_else(|| label.strip_prefix("0X"))
            .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Which hosts a line allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// One address, exactly.
    Address(IpAddr),
    /// Label by label; none stands for `*`.
    Labels(Vec<Option<String>>),
}

impl HostPattern {
    /// Whether the host is one of those meant.
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Address(wanted), Host::Address(address)) => wanted == address,
            (Self::Labels(wanted), Host::Name(name)) => {
                let mut labels = name.split('.');
                wanted.iter().all(|label| match (label, labels.next()) {
                    (_, None) => false,
                    (None, Some(found)) => !found.is_empty(),
                    (Some(literal), Some(found)) => literal == found,
                }) && labels.next().is_none()
            }
            _ => false,
        }
    }
}

impl FromStr for HostPattern {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let whole = 0..text.len();
        if text.is_empty() {
            return Err(GrantError::new(whole, "the host is missing"));
        }
        if !text.contains('*') {
            return match Host::parse(text) {
                Some(Host::Name(name)) => {
                    Ok(Self::Labels(name.split('.').map(|label| Some(label.to_owned())).collect()))
                }
                Some(Host::Address(address)) => Ok(Self::Address(address)),
                None => Err(GrantError::new(whole, format!("`{text}` is not a host"))
                    .help("write a name such as `api.example.com`, `10.0.0.1` or `[::1]`, in plain ASCII and without a trailing dot")),
            };
        }
        let mut labels = Vec::new();
        let mut at = 0;
        for label in text.split('.') {
            let range = at..at + label.len();
            at += label.len() + 1;
            match label {
                "*" => labels.push(None),
                "**" => {
                    return Err(GrantError::new(range, "`**` can't stand in a host")
                        .help("write one `*` per label: `*.example.com`"));
                }
                literal if is_label(literal) => labels.push(Some(literal.to_ascii_lowercase())),
                wrong if wrong.contains('*') => {
                    return Err(GrantError::new(
                        range,
                        format!("`*` stands for a whole label, not for a part of `{wrong}`"),
                    )
                    .help("write `*.example.com`"));
                }
                wrong => return Err(GrantError::new(range, format!("`{wrong}` is not a host label"))),
            }
        }
        // Labels never match an address, so a line that looks like a network would allow nothing.
        let mut literals = labels.iter().flatten().peekable();
        if literals.peek().is_some() && literals.all(|label: &String| is_number(label))
            || labels.last().and_then(Option::as_deref).is_some_and(is_number)
        {
            return Err(GrantError::new(whole, "an address is written in full, without `*`"));
        }
        Ok(Self::Labels(labels))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => Host::Address(*address).fmt(f),
            Self::Labels(labels) => {
                for (index, label) in labels.iter().enumerate() {
                    if index > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(label.as_deref().unwrap_or("*"))?;
                }
                Ok(())
            }
        }
    }
}

/// One step of a path pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// `*`: one segment that is not empty.
    Any,
    /// `**`: all that follows, at least one segment (the last of which may be empty).
    Rest,
    Literal(String),
}

/// Which paths a line or a connection allows, such as `/health/**`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(Vec<Segment>);

impl PathPattern {
    /// Whether the path (percent-encoded, with its first `/`) is one of those meant. A segment that servers may
    /// read as more than one, or as another, must stand in the pattern literally.
    pub fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let found: Vec<&str> = path.split('/').collect();
        let last = found.len() - 1;
        let mut index = 0;
        for segment in &self.0 {
            match (segment, found.get(index)) {
                (_, None) => return false,
                (Segment::Any, Some(text)) if text.is_empty() || is_ambiguous(text) => return false,
                (Segment::Literal(literal), Some(text)) if literal != text => return false,
                (Segment::Rest, Some(_)) => {
                    return found
                        .iter()
                        .enumerate()
                        .skip(index)
                        .all(|(at, text)| !is_ambiguous(text) && (!text.is_empty() || at == last));
                }
                _ => index += 1,
            }
        }
        index == found.len()
    }
}

/// Whether servers and proxies disagree about what this segment means: an encoded `/`, `\`, `.` or `%`, an encoded
/// control character, bytes that are no text, or dots hidden before a `;` (which some servers cut off first).
pub(crate) fn is_ambiguous(segment: &str) -> bool {
    let lower = segment.to_ascii_lowercase();
    if lower.contains('\\') || ["%2f", "%5c", "%2e", "%25"].iter().any(|encoded| lower.contains(encoded)) {
        return true;
    }
    let decoded: Vec<u8> = url::form_urlencoded::parse(lower.replace(['&', '=', '+'], "_").as_bytes())
        .flat_map(|(text, _)| text.into_owned().into_bytes())
        .collect();
    let decoded = String::from_utf8_lossy(&decoded);
    decoded.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER)
        || decoded.split_once(';').is_some_and(|(name, _)| matches!(name, "" | "." | ".."))
}

/// Whether the text consists of characters a path may hold, with well-formed percent encoding.
pub(crate) fn is_path_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(byte),
    })
}

impl FromStr for PathPattern {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(GrantError::new(0..text.len(), "a path begins with `/`").help("write `/health/**`"));
        };
        let mut segments = Vec::new();
        let mut at = 1;
        for part in rest.split('/') {
            let range = at..at + part.len();
            at += part.len() + 1;
            segments.push(match part {
                "*" => Segment::Any,
                "**" if at > text.len() => Segment::Rest,
                "**" => {
                    return Err(GrantError::new(range, "`**` comes last only")
                        .help("write one `*` per segment before the last: `/repos/*/issues/**`"));
                }
                "." | ".." => return Err(GrantError::new(range, format!("`{part}` can't stand in a path"))),
                wrong if wrong.contains('*') => {
                    return Err(GrantError::new(
                        range,
                        format!("`*` stands for a whole segment, not for a part of `{wrong}`"),
                    )
                    .help("write `/health/*` for one segment or `/health/**` for all that follow"));
                }
                literal if is_path_text(literal) => Segment::Literal(literal.to_owned()),
                wrong => {
                    return Err(GrantError::new(
                        range,
                        format!("`{wrong}` holds a character that a path can't"),
                    )
                    .help("percent-encode it, as it is sent: a blank is `%20`"));
                }
            });
        }
        Ok(Self(segments))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            f.write_str("/")?;
            match segment {
                Segment::Any => f.write_str("*")?,
                Segment::Rest => f.write_str("**")?,
                Segment::Literal(literal) => f.write_str(literal)?,
            }
        }
        Ok(())
    }
}

/// A text with `*` for any run of characters: the values of queries and headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<String>);

impl Glob {
    /// Splits at each `*` and hands the literal pieces to `decode`.
    pub(super) fn parse(text: &str, decode: impl Fn(&str) -> String) -> Self {
        Self(text.split('*').map(decode).collect())
    }

    /// Writes the pieces, encoded, with `*` between them.
    pub(super) fn write(&self, encode: impl Fn(&str) -> String) -> String {
        self.0.iter().map(|piece| encode(piece)).collect::<Vec<_>>().join("*")
    }

    /// Whether the whole text fits.
    pub fn matches(&self, text: &str) -> bool {
        let Some((first, others)) = self.0.split_first() else { return text.is_empty() };
        let Some((last, middle)) = others.split_last() else { return text == first };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
        for piece in middle {
            match rest.split_once(piece.as_str()) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(pattern: &str, path: &str) -> bool {
        pattern.parse::<PathPattern>().unwrap().matches(path)
    }

    fn host(pattern: &str, host: &str) -> bool {
        Host::parse(host).is_some_and(|host| pattern.parse::<HostPattern>().unwrap().matches(&host))
    }

    #[test]
    fn one_star_is_one_segment_and_two_are_the_rest() {
        assert!(path("/", "/"));
        assert!(path("/**", "/"));
        assert!(path("/**", "/a/b/"));
        assert!(path("/health/**", "/health/db"));
        assert!(path("/health/**", "/health/"));
        assert!(!path("/health/**", "/health"));
        assert!(!path("/health/**", "/healthy/db"));
        assert!(path("/a/*/c", "/a/b/c"));
        assert!(!path("/a/*/c", "/a//c"));
        assert!(!path("/a/*", "/a/b/c"));
        assert!(!path("/a/*", "/a/"));
        assert!(!path("/a", "/a/"));
    }

    #[test]
    fn ambiguous_segments_match_only_literally() {
        for sent in [
            "/a/b%2fc",
            "/a/b%5Cc",
            "/a/%2e%2e",
            "/a/%252e",
            "/a/b\\c",
            "/a/..;x",
            "/a/..%3bx",
            "/a/.;",
            "/a/;x",
            "/a/b%00",
            "/a/b%0d%0a",
            "/a/%c0%ae%c0%ae",
        ] {
            assert!(!path("/a/*", sent), "{sent}");
            assert!(!path("/a/**", sent), "{sent}");
        }
        for sent in ["/a/b;v=1", "/a/caf%C3%A9", "/a/b+c&d=e", "/a/b%20c"] {
            assert!(path("/a/*", sent), "{sent}");
        }
        assert!(path("/projects/group%2Fname/*", "/projects/group%2Fname/issues"));
        assert!(!path("/projects/group%2Fname/*", "/projects/group%2fname/issues"));
        assert!(!path("/a/**", "/a//b"));
        assert!(path("/a//b", "/a//b"));
    }

    #[test]
    fn hosts_match_by_label_and_addresses_exactly() {
        assert!(host("*.example.com", "api.example.com"));
        assert!(host("*.example.com", "API.Example.Com"));
        assert!(!host("*.example.com", "example.com"));
        assert!(!host("*.example.com", "a.b.example.com"));
        assert!(!host("*.example.com", "evilexample.com"));
        assert!(!host("*.*.*.*", "10.0.0.1"));
        assert!(host("10.0.0.1", "10.0.0.1"));
        assert!(host("[::1]", "[::1]"));
        for odd in [
            "10.1",
            "0x7f.0.0.1",
            "010.0.0.1",
            "2130706433",
            "a.b.",
            "a..b",
            "",
            "ex\u{e4}mple.com",
            "[0:0::1]",
            "1.2.3.0x4",
        ] {
            assert!(Host::parse(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn globs_take_any_run() {
        let glob = |pattern: &str, text: &str| Glob::parse(pattern, str::to_owned).matches(text);
        assert!(glob("Describe*", "DescribeInstances"));
        assert!(!glob("Describe*", "RunInstances"));
        assert!(glob("*", ""));
        assert!(glob("a*b*c", "a--b--b-c"));
        assert!(!glob("aa*aa", "aaa"));
        assert!(glob("", ""));
        assert!(!glob("", "x"));
    }

    proptest! {
        #[test]
        fn patterns_read_back_what_they_show(text in "/([a-z%*./]|%2F|\\*\\*){0,12}") {
            if let Ok(pattern) = text.parse::<PathPattern>() {
                prop_assert_eq!(pattern.to_string(), text);
            }
        }

        #[test]
        fn matching_never_panics(pattern in "\\PC*", sent in "\\PC*") {
            if let Ok(pattern) = pattern.parse::<PathPattern>() { pattern.matches(&sent); }
            if let (Ok(pattern), Some(host)) = (pattern.parse::<HostPattern>(), Host::parse(&sent)) { pattern.matches(&host); }
            Glob::parse(&pattern, str::to_owned).matches(&sent);
        }

        #[test]
        fn a_glob_matches_as_its_regex(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
            let regex = regex::Regex::new(&format!("^(?s:{})$", pattern.replace('*', ".*"))).unwrap();
            prop_assert_eq!(Glob::parse(&pattern, str::to_owned).matches(&text), regex.is_match(&text));
        }
    }
}
