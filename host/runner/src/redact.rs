//! Taking secrets out of what people see.
//!
//! Redaction is for display: logs when they are written, views when they are rendered. The journal is not redacted,
//! since a state before that reads `***` could never be restored; it is sealed. The redactor knows the values that
//! were resolved for this run, in every encoding in which a tool is likely to print them, and nothing else.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// What stands in place of a secret.
pub(crate) const MARK: &str = "[redacted]";

/// Replaces known secret values by [`MARK`].
#[derive(Default)]
pub struct Redactor {
    matcher: Option<AhoCorasick>,
    patterns: usize,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("patterns", &self.patterns).finish_non_exhaustive()
    }
}

impl Redactor {
    /// A redactor for these values. `users` are the names that Basic credentials pair with a password, so that the
    /// pair's encoding is found as well. Empty values are left out: they would match everywhere.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>, users: &[&str]) -> Self {
        let mut patterns = Vec::new();
        for value in values.into_iter().filter(|value| !value.is_empty()) {
            encodings(value.as_bytes(), &mut patterns);
            for user in users {
                encodings(format!("{user}:{value}").as_bytes(), &mut patterns);
            }
        }
        patterns.sort();
        patterns.dedup();
        if patterns.is_empty() {
            return Self::default();
        }
        let matcher = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&patterns).ok();
        Self { matcher, patterns: patterns.len() }
    }

    /// The text without secrets.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(matcher) = &self.matcher else { return Cow::Borrowed(text) };
        if !matcher.is_match(text) {
            return Cow::Borrowed(text);
        }
        let mut clean = String::with_capacity(text.len());
        matcher.replace_all_with(text, &mut clean, |_, _, clean| {
            clean.push_str(MARK);
            true
        });
        Cow::Owned(clean)
    }

    /// The value with every string in it, names of members too, without secrets.
    #[must_use]
    pub fn value(&self, value: &Value) -> Value {
        if self.matcher.is_none() {
            return value.clone();
        }
        match value {
            Value::String(text) => Value::String(self.text(text).into_owned()),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, value)| (self.text(name).into_owned(), self.value(value)))
                    .collect(),
            ),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }
}

/// A pattern for each way in which tools print the bytes.
fn encodings(secret: &[u8], patterns: &mut Vec<Vec<u8>>) {
    /// Shorter runs are too likely to stand somewhere by chance.
    const LEAST_ENCODED: usize = 8;

    patterns.push(secret.to_vec());
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    patterns.push(hex.to_uppercase().into_bytes());
    patterns.push(hex.into_bytes());
    for upper in [true, false] {
        patterns.push(percent_encoded(secret, upper));
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        let json = Value::String(text.to_owned()).to_string();
        patterns.push(json.trim_matches('"').as_bytes().to_vec());
        patterns.push(json.trim_matches('"').replace('/', "\\/").into_bytes());
    }
    // Base64 of a longer text shows the secret in one of three alignments. The characters at both ends mix in
    // neighbouring bits and are left out.
    for before in 0..3_usize {
        let mut shifted = vec![0; before];
        shifted.extend_from_slice(secret);
        let first = (before * 8).div_ceil(6);
        let whole = shifted.len() * 8 / 6;
        for encoded in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            if let Some(inner) = encoded.get(first..whole)
                && inner.len() >= LEAST_ENCODED
            {
                patterns.push(inner.as_bytes().to_vec());
            }
        }
    }
}

/// As in RFC 3986, everything but unreserved characters encoded.
fn percent_encoded(bytes: &[u8], upper: bool) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte);
        } else if upper {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            encoded.extend_from_slice(format!("%{byte:02x}").as_bytes());
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    const SECRET: &str = "s3cr/t+va\"lue?";

    fn redactor() -> Redactor {
        Redactor::new([SECRET], &["app"])
    }

    #[test]
    fn exact_value_is_taken_out_and_the_rest_stays() {
        assert_eq!(redactor().text(&format!("password={SECRET}; next")), "password=[redacted]; next");
        assert!(matches!(redactor().text("nothing here"), Cow::Borrowed(_)));
    }

    #[test]
    fn every_base64_alignment_is_found() {
        for before in ["", "x", "xy", "xyz", "user:"] {
            let encoded = STANDARD.encode(format!("{before}{SECRET}tail"));
            let clean = redactor().text(&encoded).into_owned();
            assert!(clean.contains(MARK), "{before:?}: {clean}");
        }
    }

    #[test]
    fn hex_url_and_json_forms_are_found() {
        let hex: String = SECRET.bytes().map(|byte| format!("{byte:02X}")).collect();
        let url: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        for form in [hex, url, serde_json::to_string(SECRET).unwrap()] {
            assert!(redactor().text(&form).contains(MARK), "{form}");
        }
    }

    #[test]
    fn a_basic_credential_is_found() {
        let header = format!("Basic {}", STANDARD.encode(format!("app:{SECRET}")));
        assert!(redactor().text(&header).contains(MARK));
    }

    #[test]
    fn values_are_cleaned_at_any_depth() {
        let clean = redactor().value(&json!({ "a": [1, { "b": SECRET }], SECRET: null }));
        assert_eq!(clean, json!({ "a": [1, { "b": MARK }], MARK: null }));
    }

    #[test]
    fn no_secret_no_work() {
        let redactor = Redactor::new(["", ""], &[]);
        assert_eq!(redactor.text("abc"), "abc");
    }
}
