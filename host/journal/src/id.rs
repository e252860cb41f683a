//! The names of runs and blobs.
//!
//! A run id is 12 characters of Crockford's base32 in lower case, all random: 60 bits, nothing to mix up when
//! read aloud, and any few first characters tell the runs of one store apart. No time stands in it, since runs
//! started together would then begin alike.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 12;

/// The id of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// A new, random id.
    ///
    /// # Errors
    /// [`Error::Random`] when the system has no random bytes.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [0; LENGTH];
        getrandom::fill(&mut bytes).map_err(Error::Random)?;
        Ok(Self(
            bytes
                .iter()
                .filter_map(|byte| ALPHABET.get(usize::from(byte & 31)))
                .copied()
                .map(char::from)
                .collect(),
        ))
    }

    /// Reads an id as a person types it: upper case and the letters that Crockford's alphabet leaves out
    /// (`i`, `l` for one, `o` for nought) are understood.
    ///
    /// # Errors
    /// [`Error::BadRunId`] when it is not 12 characters of the alphabet.
    pub fn parse(given: &str) -> Result<Self, Error> {
        let id = normalise(given)?;
        if id.len() == LENGTH {
            return Ok(Self(id));
        }
        Err(Error::BadRunId { given: given.to_owned(), what: "a run id has 12 characters" })
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The beginning of an id, brought into the form in which ids are stored.
pub(crate) fn normalise(given: &str) -> Result<String, Error> {
    let bad = |what| Error::BadRunId { given: given.chars().take(40).collect(), what };
    if given.is_empty() {
        return Err(bad("it is empty"));
    }
    if given.len() > LENGTH {
        return Err(bad("a run id has 12 characters"));
    }
    given
        .chars()
        .map(|letter| match letter.to_ascii_lowercase() {
            'i' | 'l' => Ok('1'),
            'o' => Ok('0'),
            other if other.is_ascii() && ALPHABET.contains(&(other as u8)) => Ok(other),
            _ => Err(bad("a run id has only digits and lower-case letters without `u`")),
        })
        .collect()
}

impl fmt::Display for RunId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for RunId {
    type Err = Error;
    fn from_str(given: &str) -> Result<Self, Error> {
        Self::parse(given)
    }
}

impl TryFrom<String> for RunId {
    type Error = Error;
    fn try_from(given: String) -> Result<Self, Error> {
        Self::parse(&given)
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

/// A sealed blob of a run, by the SHA-256 of what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlobId(pub(crate) [u8; 32]);

impl fmt::Display for BlobId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex(&self.0))
    }
}

impl TryFrom<String> for BlobId {
    type Error = Error;
    fn try_from(given: String) -> Result<Self, Error> {
        parse_digest(&given).map(Self)
    }
}

impl From<BlobId> for String {
    fn from(id: BlobId) -> Self {
        id.to_string()
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

/// A SHA-256 written as 64 hexadecimal digits, with or without `sha256:` before it.
pub(crate) fn parse_digest(given: &str) -> Result<[u8; 32], Error> {
    let bad = || Error::BadEvent { what: format!("`{given}` is not a SHA-256 in hexadecimal digits") };
    let digits = given.strip_prefix("sha256:").unwrap_or(given);
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let mut digest = [0; 32];
    for (place, byte) in digest.iter_mut().enumerate() {
        *byte = digits
            .get(place * 2..place * 2 + 2)
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .ok_or_else(bad)?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn random_ids_have_the_stored_form() {
        let id = RunId::random().unwrap();
        assert_eq!(RunId::parse(id.as_str()).unwrap(), id);
        assert_ne!(RunId::random().unwrap(), id);
    }

    #[test]
    fn ids_are_read_as_people_type_them() {
        assert_eq!(RunId::parse("7H3KOIL2M4PQ").unwrap().as_str(), "7h3k0112m4pq");
        for wrong in ["", "short", "7h3k0112m4pq9", "7h3k0112m4pu", "7h3k0112m4p/", "7h3k0112m4é"] {
            assert!(matches!(RunId::parse(wrong), Err(Error::BadRunId { .. })), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn digests_survive_writing_and_reading(digest: [u8; 32]) {
            prop_assert_eq!(parse_digest(&hex(&digest)).unwrap(), digest);
            prop_assert_eq!(parse_digest(&format!("sha256:{}", hex(&digest))).unwrap(), digest);
        }

        #[test]
        fn no_text_breaks_the_readers(given in ".{0,70}") {
            drop(RunId::parse(&given));
            drop(parse_digest(&given));
        }
    }
}
