//! Stops an answer that holds the credential the host attached: a guest must not learn it from a service that echoes.
//!
//! Looks for the value as it is and in the encodings an echo would use, across the chunks of a stream. What could be the
//! beginning of a match is held back until it is known not to be one. A guest that is handed the value encrypted or
//! reversed is beyond this: the service is trusted not to help it.
//!
//! Invariant: no byte of a match is ever let through.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use hyper::body::Bytes;
use regex::bytes::{Regex, RegexBuilder};

/// Shorter values would be found by chance in any answer.
const SHORTEST: usize = 8;

/// So many bytes at the end of a form stand for the whole of it. Long tokens would cost tens of milliseconds to prepare
/// for, and differ from other tokens of their kind at the end (a signature), not at the beginning.
const TELLING: usize = 48;

/// The forms in which a value could come back.
#[derive(Clone)]
pub(super) struct EchoForms {
    /// None where every value is too short to look for.
    any: Option<Arc<Regex>>,
    longest: usize,
}

impl EchoForms {
    /// For these secret texts. The error tells nothing about them.
    pub(super) fn new(secrets: &[&str]) -> Result<Self, String> {
        let mut forms: Vec<Vec<u8>> = Vec::new();
        for secret in secrets.iter().filter(|secret| secret.len() >= SHORTEST) {
            forms.extend(encodings(secret));
        }
        forms.sort();
        forms.dedup();
        let longest = forms.iter().map(Vec::len).max().unwrap_or(0);
        if forms.is_empty() {
            return Ok(Self { any: None, longest });
        }
        let alternatives: Vec<String> = forms.iter().map(|form| pattern(form)).collect();
        let any = RegexBuilder::new(&format!("(?s-u:{})", alternatives.join("|")))
            .size_limit(32 << 20)
            .build()
            .map_err(|_| "its credential is too long to be looked for in answers".to_owned())?;
        Ok(Self { any: Some(Arc::new(any)), longest })
    }

    /// Whether the bytes hold the value in any of its forms.
    pub(super) fn are_in(&self, bytes: &[u8]) -> bool {
        self.any.as_ref().is_some_and(|any| any.is_match(bytes))
    }
}

fn pattern(form: &[u8]) -> String {
    use std::fmt::Write as _;
    let end = form.get(form.len().saturating_sub(TELLING)..).unwrap_or(form);
    end.iter().fold(String::new(), |mut pattern, byte| {
        _ = write!(pattern, "\\x{byte:02x}");
        pattern
    })
}

fn encodings(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.as_bytes();
    let mut forms = vec![bytes.to_vec()];
    let lower: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.push(lower.to_uppercase().into_bytes());
    forms.push(lower.into_bytes());
    let urlencoded: String = url::form_urlencoded::byte_serialize(bytes).collect();
    forms.push(urlencoded.replace('+', "%20").into_bytes());
    forms.push(urlencoded.into_bytes());
    if let Ok(json) = serde_json::to_string(secret) {
        forms.push(json.trim_matches('"').as_bytes().to_vec());
        forms.push(json.trim_matches('"').replace('/', "\\/").into_bytes());
    }
    for before in 0..3_usize {
        // As part of a longer text the value starts at one of three places in a group of base64; the characters that
        // also depend on its neighbours are left off.
        let mut padded = vec![0; before];
        padded.extend_from_slice(bytes);
        let first = (before * 8).div_ceil(6);
        let whole = padded.len() * 8 / 6;
        for encoded in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            if let Some(form) = encoded.get(first..whole) {
                forms.push(form.as_bytes().to_vec());
            }
        }
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

/// The value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Echoed;

/// Looks through a stream, holding back what could still become a match.
pub(super) struct EchoWindow {
    forms: EchoForms,
    held: Vec<u8>,
}

impl EchoWindow {
    pub(super) fn new(forms: EchoForms) -> Self {
        Self { forms, held: Vec::new() }
    }

    /// Takes the next bytes and gives those that are safe; perhaps none yet.
    pub(super) fn push(&mut self, chunk: Bytes) -> Result<Bytes, Echoed> {
        if self.forms.any.is_none() {
            return Ok(chunk);
        }
        self.held.extend_from_slice(&chunk);
        if self.forms.are_in(&self.held) {
            self.held.clear();
            return Err(Echoed);
        }
        let safe = self.held.len().saturating_sub(self.forms.longest - 1);
        Ok(Bytes::from(self.held.drain(..safe).collect::<Vec<u8>>()))
    }

    /// The rest, once the stream has ended.
    pub(super) fn finish(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    const SECRET: &str = "s3cr3t/t\u{f6}ken+\"value\"";

    fn found(answer: &[u8]) -> bool {
        EchoForms::new(&[SECRET]).unwrap().are_in(answer)
    }

    #[test]
    fn the_value_is_found_in_its_usual_forms() {
        let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
        for answer in [
            SECRET.to_owned(),
            format!("{{\"authorization\":{}}}", serde_json::to_string(SECRET).unwrap()),
            url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect(),
            STANDARD.encode(SECRET),
            STANDARD.encode(format!("user:{SECRET}")),
            STANDARD.encode(format!("Bearer {SECRET} and more")),
            URL_SAFE_NO_PAD.encode(format!("x{SECRET}y")),
            hex.to_uppercase(),
            hex,
        ] {
            assert!(found(format!("before {answer} after").as_bytes()), "{answer}");
        }
        assert!(!found(b"nothing here"));
        assert!(!EchoForms::new(&["short"]).unwrap().are_in(b"short"));
    }

    #[test]
    fn no_part_of_a_match_leaves_however_it_is_cut() {
        let answer = format!("{}{SECRET}{}", "a".repeat(100), "b".repeat(100));
        for size in 1..answer.len() {
            let mut window = EchoWindow::new(EchoForms::new(&[SECRET]).unwrap());
            let mut passed = Vec::new();
            let mut stopped = false;
            for chunk in answer.as_bytes().chunks(size) {
                match window.push(Bytes::copy_from_slice(chunk)) {
                    Ok(safe) => passed.extend_from_slice(&safe),
                    Err(Echoed) => {
                        stopped = true;
                        break;
                    }
                }
            }
            assert!(stopped, "chunks of {size}");
            assert!(passed.iter().all(|byte| *byte == b'a'), "chunks of {size}");
        }
    }

    #[test]
    fn a_long_value_is_known_by_its_end_and_held_back_whole() {
        let secret: String = (0..2000_u32)
            .map(|at| char::from_digit((at.wrapping_mul(2_654_435_761) >> 16) % 36, 36).unwrap())
            .collect();
        let mut window = EchoWindow::new(EchoForms::new(&[&secret]).unwrap());
        for chunk in secret.as_bytes()[..1999].chunks(100) {
            assert_eq!(window.push(Bytes::copy_from_slice(chunk)), Ok(Bytes::new()));
        }
        assert_eq!(window.push(Bytes::copy_from_slice(&secret.as_bytes()[1999..])), Err(Echoed));
    }

    proptest! {
        #[test]
        fn what_holds_no_secret_arrives_whole(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..10)) {
            let mut window = EchoWindow::new(EchoForms::new(&[SECRET]).unwrap());
            let mut passed = Vec::new();
            for chunk in &chunks {
                passed.extend_from_slice(&window.push(Bytes::copy_from_slice(chunk)).unwrap());
            }
            passed.extend_from_slice(&window.finish());
            prop_assert_eq!(passed, chunks.concat());
        }

        #[test]
        fn base64_is_found_at_every_place(before in "[a-z]{0,7}", after in "[a-z]{0,7}") {
            let encoded = STANDARD.encode(format!("{before}{SECRET}{after}"));
            prop_assert!(found(encoded.as_bytes()));
        }
    }
}
