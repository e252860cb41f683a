//! What a file is like, and how that is kept in a memo.
//!
//! Invariant: a state that was kept with its content can be restored byte by byte.

use windlass_sdk::fs::{Error, Folders, Kind, Metadata, Path};
use windlass_sdk::{Failure, Value, digest, json};

/// A content up to this length, in bytes, is kept whole, so that undo can restore it.
const KEPT: u64 = 256 << 10;

/// The path of a file; the folder is `out` where none is named.
pub(crate) fn path(folder: Option<&str>, path: &str) -> Result<Path, Error> {
    Path::new(folder.unwrap_or("out"), path)
}

/// A file, as it was at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// There was none.
    Absent,
    /// There was one.
    Present {
        /// In bytes.
        size: u64,
        sha256: String,
        /// None where it was too long to keep.
        content: Option<Vec<u8>>,
    },
    /// Something that is no file was there, or where its folder should be: what, for a person.
    NoFile(String),
}

impl State {
    /// As it is now.
    pub(crate) fn now(folders: &dyn Folders, path: &Path) -> Result<Self, Failure> {
        let short = match folders.metadata(path) {
            Ok(Metadata { kind: Kind::File, size }) => size <= KEPT,
            Ok(Metadata { kind, .. }) => {
                return Ok(Self::NoFile(Error::NotAFile(path.clone(), kind).to_string()));
            }
            Err(Error::NotFound(_)) => return Ok(Self::Absent),
            Err(error @ Error::NotAFolder(_)) => return Ok(Self::NoFile(error.to_string())),
            Err(other) => return Err(other.into()),
        };
        if !short {
            let (sha256, size) = digest::sha256_of_file(folders, path)?;
            return Ok(Self::Present { size, sha256, content: None });
        }
        match folders.read(path, KEPT) {
            Ok(content) => Ok(Self::of(content)),
            // It went while it was looked at.
            Err(Error::NotFound(_)) => Ok(Self::Absent),
            Err(other) => Err(other.into()),
        }
    }

    /// A file with this content.
    pub(crate) fn of(content: Vec<u8>) -> Self {
        let (size, sha256) = (content.len() as u64, digest::sha256(&content));
        Self::Present { size, sha256, content: (size <= KEPT).then_some(content) }
    }

    /// Whether both are the same to a reader.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::NoFile(what), Self::NoFile(other)) => what == other,
            (Self::NoFile(_), _) | (_, Self::NoFile(_)) => false,
            _ => self.sha256() == other.sha256(),
        }
    }

    /// None where there is no file.
    pub(crate) fn sha256(&self) -> Option<&str> {
        match self {
            Self::Absent | Self::NoFile(_) => None,
            Self::Present { sha256, .. } => Some(sha256),
        }
    }

    /// For a change; none where there is nothing.
    pub(crate) fn describe(&self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Present { content: None, .. } => Some(format!("{self}, not kept: it can't be restored")),
            other => Some(other.to_string()),
        }
    }

    /// For the memo.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Absent => json!({ "absent": true }),
            Self::NoFile(what) => json!({ "no_file": what }),
            Self::Present { size, sha256, content } => {
                let mut kept = json!({ "size": size, "sha256": sha256 });
                if let (Some(fields), Some(content)) = (kept.as_object_mut(), content) {
                    let (name, text) = match std::str::from_utf8(content) {
                        Ok(text) => ("text", text.to_owned()),
                        Err(_) => ("hex", digest::hex(content)),
                    };
                    fields.insert(name.to_owned(), Value::from(text));
                }
                kept
            }
        }
    }

    /// Out of a memo; none where it holds no state.
    pub(crate) fn from_json(memo: &Value) -> Option<Self> {
        if memo.get("absent").and_then(Value::as_bool) == Some(true) {
            return Some(Self::Absent);
        }
        let text = |name: &str| memo.get(name).and_then(Value::as_str);
        if let Some(what) = text("no_file") {
            return Some(Self::NoFile(what.to_owned()));
        }
        let content = match (text("text"), text("hex")) {
            (Some(text), _) => Some(text.as_bytes().to_vec()),
            (None, Some(hex)) => Some(unhex(hex)?),
            (None, None) => None,
        };
        Some(Self::Present { size: memo.get("size")?.as_u64()?, sha256: text("sha256")?.to_owned(), content })
    }
}

/// For a person.
impl std::fmt::Display for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => formatter.write_str("no file"),
            Self::NoFile(what) => formatter.write_str(what),
            Self::Present { size, sha256, .. } => {
                write!(formatter, "{size} bytes, sha256 {}", sha256.get(..12).unwrap_or(sha256))
            }
        }
    }
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let bytes = hex.as_bytes().chunks(2);
    bytes.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{KEPT, State};

    #[test]
    fn a_state_survives_in_a_memo() {
        let long = vec![b'x'; usize::try_from(KEPT).unwrap() + 1];
        for state in [
            State::Absent,
            State::NoFile("/out/a is a folder".to_owned()),
            State::of(b"text".to_vec()),
            State::of(Vec::new()),
            State::of(vec![0x00, 0x7f, 0xff]),
            State::of(long),
        ] {
            assert_eq!(State::from_json(&state.to_json()), Some(state));
        }
        assert_eq!(State::from_json(&windlass_sdk::Value::Null), None);
    }
}
