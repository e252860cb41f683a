//! As much of URLs as a client needs: taking one apart and adding a query.
//!
//! It normalises nothing: what a runbook writes is what the host checks and sends.

/// A URL in the parts that a request is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// `http` or `https`.
    pub https: bool,
    /// Host and port, as written.
    pub authority: &'a str,
    /// Path and query, as written; may be empty or begin with `?`.
    pub path_with_query: &'a str,
}

/// Take an absolute URL apart.
///
/// # Errors
/// A sentence about what is wrong with it.
pub fn parts(url: &str) -> Result<Parts<'_>, String> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| format!("`{url}` is not an absolute URL such as https://host/path"))?;
    let https = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return Err(format!("`{scheme}` is neither http nor https")),
    };
    if rest.contains('#') {
        return Err("a URL with a fragment (`#…`) can't be requested".to_owned());
    }
    if let Some(bad) = rest.chars().find(|bad| bad.is_whitespace() || bad.is_control() || !bad.is_ascii()) {
        return Err(format!("the URL holds the character {bad:?}, which has to be percent-encoded"));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path_with_query) = rest.split_at(end);
    if authority.is_empty() {
        return Err(format!("`{url}` names no host"));
    }
    if authority.contains('@') {
        return Err(
            "a URL must not hold a user name or password: bind a connection with a credential".to_owned()
        );
    }
    Ok(Parts { https, authority, path_with_query })
}

/// A URL, or a path that is put after a base URL.
///
/// # Errors
/// A sentence, where a path comes without a base.
pub fn join(base: Option<&str>, url: &str) -> Result<String, String> {
    // Another URL may stand in the query: only one before any `/` or `?` makes this one absolute.
    let scheme = url.find([':', '/', '?']).and_then(|end| url.get(end..));
    if scheme.is_some_and(|rest| rest.starts_with("://")) {
        return Ok(url.to_owned());
    }
    let base = base.ok_or_else(|| {
        format!("`{url}` is a path alone, and there is no base URL to put it after (config `base_url`)")
    })?;
    let base = base.strip_suffix('/').unwrap_or(base);
    Ok(match url.as_bytes().first() {
        None | Some(b'/' | b'?') => format!("{base}{url}"),
        Some(_) => format!("{base}/{url}"),
    })
}

/// Add pairs to the query, percent-encoded.
#[must_use]
pub fn with_query(url: &str, pairs: &[(String, String)]) -> String {
    let mut url = url.to_owned();
    for (name, value) in pairs {
        url.push(if url.contains('?') { '&' } else { '?' });
        encode(&mut url, name);
        url.push('=');
        encode(&mut url, value);
    }
    url
}

/// A text as one segment of a path, percent-encoded.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    encode(&mut encoded, text);
    encoded
}

/// Everything but letters, digits and `-._~` becomes `%XX`.
fn encode(url: &mut String, text: &str) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push('%');
            url.push(digit(byte >> 4));
            url.push(digit(byte & 15));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Parts, join, parts, segment, with_query};

    #[test]
    fn a_url_is_taken_apart_as_written() {
        assert_eq!(
            parts("https://api.example.com:8443/a//b?x=%20"),
            Ok(Parts { https: true, authority: "api.example.com:8443", path_with_query: "/a//b?x=%20" })
        );
        assert_eq!(parts("HTTP://h?q"), Ok(Parts { https: false, authority: "h", path_with_query: "?q" }));
        for (url, why) in [
            ("/a", "`/a` is not an absolute URL such as https://host/path"),
            ("ftp://h/", "`ftp` is neither http nor https"),
            ("http:///a", "`http:///a` names no host"),
            ("http://h/#top", "a URL with a fragment (`#…`) can't be requested"),
            (
                "http://u:p@h/",
                "a URL must not hold a user name or password: bind a connection with a credential",
            ),
            ("http://h/a b", "the URL holds the character ' ', which has to be percent-encoded"),
            ("http://h/ä", "the URL holds the character 'ä', which has to be percent-encoded"),
            ("http://h/\r\n", "the URL holds the character '\\r', which has to be percent-encoded"),
        ] {
            assert_eq!(parts(url), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_path_goes_after_the_base() {
        assert_eq!(join(Some("https://h/v1/"), "/health").as_deref(), Ok("https://h/v1/health"));
        assert_eq!(join(Some("https://h"), "health").as_deref(), Ok("https://h/health"));
        assert_eq!(join(Some("https://h"), "?q").as_deref(), Ok("https://h?q"));
        assert_eq!(join(Some("https://h"), "http://other/").as_deref(), Ok("http://other/"));
        assert_eq!(join(Some("https://h"), "/to?u=http://x").as_deref(), Ok("https://h/to?u=http://x"));
        assert!(join(None, "/health").unwrap_err().contains("no base URL"));
    }

    #[test]
    fn a_query_is_encoded() {
        let pairs = [("q".to_owned(), "a b&c=ü".to_owned()), ("n".to_owned(), "1".to_owned())];
        assert_eq!(with_query("http://h/p", &pairs), "http://h/p?q=a%20b%26c%3D%C3%BC&n=1");
        assert_eq!(with_query("http://h/p?x=1", &pairs[1..]), "http://h/p?x=1&n=1");
        assert_eq!(with_query("http://h/p", &[]), "http://h/p");
        assert_eq!(segment("a/../b"), "a%2F..%2Fb");
    }
}
