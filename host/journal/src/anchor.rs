//! What is kept outside of a store to find out later whether it still is that store.

use serde::{Deserialize, Serialize};

use crate::id::{hex, parse_digest};

/// Where a store's chain of starts and ends stood once, and whose signature it bears. Kept outside of the store, it
/// shows that entries at the chain's end were cut off, which nothing inside can show, and that the key was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The version of this record: 1.
    pub version: Version,
    /// The store's id.
    pub store: String,
    /// The id of the engine's key.
    pub engine: String,
    /// The engine's Ed25519 public key; 64 hexadecimal digits when written.
    #[serde(with = "digits")]
    pub public_key: [u8; 32],
    /// How many entries the chain had.
    pub entries: u64,
    /// The hash of the last one, or 32 zero bytes; 64 hexadecimal digits when written.
    #[serde(with = "digits")]
    pub hash: [u8; 32],
}

/// The version of an [`Anchor`]. Another one is refused when it is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Version;

impl TryFrom<u32> for Version {
    type Error = String;
    fn try_from(given: u32) -> Result<Self, String> {
        if given == 1 { Ok(Self) } else { Err(format!("an anchor of version {given} is not known")) }
    }
}

impl From<Version> for u32 {
    fn from(_: Version) -> Self {
        1
    }
}

mod digits {
    use super::{hex, parse_digest};
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&hex(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(given: D) -> Result<[u8; 32], D::Error> {
        parse_digest(&String::deserialize(given)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_survives_writing_and_reading() {
        let anchor = Anchor {
            version: Version,
            store: "00112233445566778899aabbccddeeff".to_owned(),
            engine: "0011223344556677".to_owned(),
            public_key: [7; 32],
            entries: 4,
            hash: [9; 32],
        };
        let text = serde_json::to_string(&anchor).unwrap();
        assert_eq!(serde_json::from_str::<Anchor>(&text).unwrap(), anchor);
        insta::assert_snapshot!(text, @r#"{"version":1,"store":"00112233445566778899aabbccddeeff","engine":"0011223344556677","public_key":"0707070707070707070707070707070707070707070707070707070707070707","entries":4,"hash":"0909090909090909090909090909090909090909090909090909090909090909"}"#);
        let newer = text.replace(r#""version":1"#, r#""version":2"#);
        let error = serde_json::from_str::<Anchor>(&newer).unwrap_err();
        assert!(error.to_string().starts_with("an anchor of version 2 is not known"), "{error}");
        assert!(serde_json::from_str::<Anchor>(&text.replace("0909", "xyz")).is_err());
    }
}
