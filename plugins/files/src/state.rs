//! What a file is like, and how that is kept in a memo.
//!
//! Invariant: a state that was kept with its text can be restored byte by byte.

use windlass_sdk::fs::{Error, Folders, Kind, Metadata, Path};
use windlass_sdk::{Failure, Value, digest, json};

/// A text up to this length, in bytes, is kept whole, so that undo can restore it.
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
        /// None where it was too long to keep, or no text.
        text: Option<String>,
    },
}

impl State {
    /// As it is now.
    pub(crate) fn now(folders: &dyn Folders, path: &Path) -> Result<Self, Failure> {
        let short = match folders.metadata(path) {
            Ok(Metadata { kind: Kind::File, size }) => size <= KEPT,
            Ok(Metadata { kind, .. }) => return Err(Error::NotAFile(path.clone(), kind).into()),
            Err(Error::NotFound(_)) => return Ok(Self::Absent),
            Err(other) => return Err(other.into()),
        };
        if !short {
            let (sha256, size) = digest::sha256_of_file(folders, path)?;
            return Ok(Self::Present { size, sha256, text: None });
        }
        Ok(Self::of(folders.read(path, KEPT)?))
    }

    /// A file with this content.
    pub(crate) fn of(content: Vec<u8>) -> Self {
        let (size, sha256) = (content.len() as u64, digest::sha256(&content));
        let text = String::from_utf8(content).ok().filter(|_| size <= KEPT);
        Self::Present { size, sha256, text }
    }

    /// Whether both are the same file to a reader.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.sha256() == other.sha256()
    }

    /// None where there is no file.
    pub(crate) fn sha256(&self) -> Option<&str> {
        match self {
            Self::Absent => None,
            Self::Present { sha256, .. } => Some(sha256),
        }
    }

    /// For a person; none where there is no file.
    pub(crate) fn describe(&self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Present { size, sha256, text } => {
                let short = sha256.get(..12).unwrap_or(sha256);
                let kept = if text.is_some() { "" } else { ", not kept: it can't be restored" };
                Some(format!("{size} bytes, sha256 {short}{kept}"))
            }
        }
    }

    /// For the memo.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Absent => json!({ "absent": true }),
            Self::Present { size, sha256, text: None } => json!({ "size": size, "sha256": sha256 }),
            Self::Present { size, sha256, text } => json!({ "size": size, "sha256": sha256, "text": text }),
        }
    }

    /// Out of a memo; none where it holds no state.
    pub(crate) fn from_json(memo: &Value) -> Option<Self> {
        if memo.get("absent").and_then(Value::as_bool) == Some(true) {
            return Some(Self::Absent);
        }
        Some(Self::Present {
            size: memo.get("size")?.as_u64()?,
            sha256: memo.get("sha256")?.as_str()?.to_owned(),
            text: memo.get("text").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, State};

    #[test]
    fn a_state_survives_in_a_memo() {
        let long = vec![b'x'; usize::try_from(KEPT).unwrap() + 1];
        for state in [
            State::Absent,
            State::of(b"text".to_vec()),
            State::of(Vec::new()),
            State::of(vec![0xff]),
            State::of(long),
        ] {
            assert_eq!(State::from_json(&state.to_json()), Some(state));
        }
        assert_eq!(State::from_json(&windlass_sdk::Value::Null), None);
    }
}
