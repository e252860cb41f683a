//! Files in granted folders.
//!
//! A path is `/SLOT/name/in/it`, as the host shows the folder bound to a slot. It owns the rules for such paths and
//! tells apart a file that isn't there, a folder that isn't granted, and a folder that can't be written; the access
//! itself is the host's, behind [`Folders`].
//!
//! Invariant: [`Folders::write`] leaves either the whole new file or what was there before.

mod made;
#[cfg(target_arch = "wasm32")]
mod wasi;

pub use made::{draft, emptied, missing_folders, remove_emptied};

use crate::outcome::Failure;
use std::fmt;

/// A path in a granted folder, checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    slot: String,
    inner: String,
}

impl Path {
    /// A path within the folder of a slot.
    ///
    /// # Errors
    /// [`Error::InvalidPath`] where it is absolute, empty, or has an empty name, `.`, `..`, a backslash or a control
    /// character in it.
    pub fn new(slot: &str, inner: &str) -> Result<Self, Error> {
        let invalid = |why: &'static str| Error::InvalidPath { path: inner.to_owned(), why };
        if slot.is_empty() || slot.contains(['/', '\\']) || slot == "." || slot == ".." {
            return Err(Error::InvalidPath { path: slot.to_owned(), why: "is no name of a slot" });
        }
        if inner.is_empty() {
            return Err(invalid("names no file"));
        }
        if inner.starts_with('/') {
            return Err(invalid("must be within the folder, not absolute"));
        }
        if inner.contains('\\') || inner.chars().any(char::is_control) {
            return Err(invalid("holds a backslash or a control character"));
        }
        for name in inner.split('/') {
            match name {
                "" => return Err(invalid("has an empty name in it")),
                "." | ".." => return Err(invalid("must not go through `.` or `..`")),
                _ => {}
            }
        }
        Ok(Self { slot: slot.to_owned(), inner: inner.to_owned() })
    }

    /// Read `/SLOT/name`.
    ///
    /// # Errors
    /// As [`Path::new`].
    pub fn parse(path: &str) -> Result<Self, Error> {
        let why = "must begin with `/SLOT/`";
        let (slot, inner) = path
            .strip_prefix('/')
            .and_then(|path| path.split_once('/'))
            .ok_or_else(|| Error::InvalidPath { path: path.to_owned(), why })?;
        Self::new(slot, inner)
    }

    /// The slot of the folder.
    #[must_use]
    pub fn slot(&self) -> &str {
        &self.slot
    }

    /// Within the folder.
    #[must_use]
    pub fn inner(&self) -> &str {
        &self.inner
    }

    /// The folder that it is in, if that is not the granted folder itself.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.inner.rsplit_once('/')?;
        Some(Self { slot: self.slot.clone(), inner: parent.to_owned() })
    }

    /// A file beside it, with another name.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        let inner = match self.inner.rsplit_once('/') {
            Some((parent, _)) => format!("{parent}/{name}"),
            None => name.to_owned(),
        };
        Self { slot: self.slot.clone(), inner }
    }

    /// The last name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner.rsplit_once('/').map_or(self.inner.as_str(), |(_, name)| name)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "/{}/{}", self.slot, self.inner)
    }
}

/// What there is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link; it was not followed.
    Link,
    /// Something else.
    Other,
}

/// A file's kind and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// In bytes.
    pub size: u64,
}

/// Why a file could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The path makes no sense.
    InvalidPath {
        /// As it was given.
        path: String,
        /// Completes "the path …".
        why: &'static str,
    },
    /// No folder is bound to the slot, or no grant names it: both look alike.
    NotGranted {
        /// The slot.
        slot: String,
        /// The slots that are granted.
        granted: Vec<String>,
    },
    /// The folder is granted, and the file isn't there.
    NotFound(Path),
    /// The host refuses: the grant only reads, or the call is one that must not write.
    Denied(Path),
    /// The host refuses to read it: it is a link that leads out of the folder, say.
    OutOfReach(Path),
    /// It is no regular file.
    NotAFile(Path, Kind),
    /// Something that is no folder is where one should be, above the file.
    NotAFolder(Path),
    /// It is longer than this many bytes.
    TooLarge(Path, u64),
    /// It is there already, or a folder is not empty.
    Exists(Path),
    /// Anything else, in the host's word.
    Other(Path, String),
}

impl Error {
    /// A stable word for a failure's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidPath { .. } => "invalid-path",
            Self::NotGranted { .. } => "not-granted",
            Self::NotFound(_) => "not-found",
            Self::Denied(_) | Self::OutOfReach(_) => "denied",
            Self::NotAFile(..) => "not-a-file",
            Self::NotAFolder(_) => "not-a-folder",
            Self::TooLarge(..) => "too-large",
            Self::Exists(_) => "exists",
            Self::Other(..) => "file-error",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidPath { path, why } => write!(formatter, "the path `{path}` {why}"),
            Self::NotGranted { slot, granted } if granted.is_empty() => {
                write!(
                    formatter,
                    "no folder is granted as `{slot}`, and none at all: add `folder {slot}: read`"
                )
            }
            Self::NotGranted { slot, granted } => write!(
                formatter,
                "no folder is granted as `{slot}`, only {}",
                granted.iter().map(|slot| format!("`{slot}`")).collect::<Vec<_>>().join(", ")
            ),
            Self::NotFound(path) => write!(formatter, "there is no {path}"),
            Self::Denied(path) => write!(
                formatter,
                "{path} can't be written: the grant `folder {}: write` is missing, or this call only reads",
                path.slot()
            ),
            Self::OutOfReach(path) => {
                write!(formatter, "{path} can't be read: it leads out of the folder, or the host refuses")
            }
            Self::NotAFile(path, Kind::Folder) => write!(formatter, "{path} is a folder"),
            Self::NotAFile(path, Kind::Link) => write!(formatter, "{path} is a symbolic link"),
            Self::NotAFile(path, _) => write!(formatter, "{path} is no regular file"),
            Self::NotAFolder(path) => write!(formatter, "{path}: a file is where a folder should be"),
            Self::TooLarge(path, limit) => write!(formatter, "{path} is longer than {limit} bytes"),
            Self::Exists(path) => write!(formatter, "{path} is there already or not empty"),
            Self::Other(path, word) => write!(formatter, "{path}: {word}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// What gives access to folders: the host, or a stand-in for tests.
pub trait Folders {
    /// The whole file.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond `limit` bytes, and as the variants say.
    fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        self.read_pieces(path, &mut |piece| {
            content.extend_from_slice(piece);
            if content.len() as u64 > limit { Err(Error::TooLarge(path.clone(), limit)) } else { Ok(()) }
        })?;
        Ok(content)
    }

    /// The file piece by piece, for those too long to hold; returns the number of bytes.
    ///
    /// # Errors
    /// As the variants say, and whatever `take` returns.
    fn read_pieces(
        &self,
        path: &Path,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<u64, Error>;

    /// Write a file whole or not at all: a new file beside it, the [`draft`], is renamed over it. Missing folders are
    /// made. What the file was like apart from its content, such as who may read it, stays: the host sees to that.
    ///
    /// # Errors
    /// [`Error::Denied`] where the call must not write, [`Error::NotAFile`] where something else is in the way.
    fn write(&self, path: &Path, content: &[u8]) -> Result<(), Error>;

    /// What is there; links are not followed.
    ///
    /// # Errors
    /// [`Error::NotFound`] where nothing is.
    fn metadata(&self, path: &Path) -> Result<Metadata, Error>;

    /// Remove a file.
    ///
    /// # Errors
    /// [`Error::NotFound`] where nothing is.
    fn remove(&self, path: &Path) -> Result<(), Error>;

    /// Remove a folder that is empty.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none, [`Error::Exists`] where something is in it.
    fn remove_folder(&self, path: &Path) -> Result<(), Error>;

    /// Make a folder and those it is in; no error where it is there.
    ///
    /// # Errors
    /// [`Error::Denied`] where the call must not write.
    fn create_dir_all(&self, path: &Path) -> Result<(), Error>;

    /// The names in a folder, sorted; `inner` is empty for the granted folder itself.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such folder.
    fn list(&self, slot: &str, inner: &str) -> Result<Vec<String>, Error>;
}

/// The host, through `wasi:filesystem`. Natively there is no host, and no folder is granted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host;

#[cfg(not(target_arch = "wasm32"))]
impl Folders for Host {
    fn read_pieces(&self, path: &Path, _: &mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<u64, Error> {
        Err(not_granted(path.slot()))
    }

    fn write(&self, path: &Path, _: &[u8]) -> Result<(), Error> {
        Err(not_granted(path.slot()))
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, Error> {
        Err(not_granted(path.slot()))
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        Err(not_granted(path.slot()))
    }

    fn remove_folder(&self, path: &Path) -> Result<(), Error> {
        Err(not_granted(path.slot()))
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), Error> {
        Err(not_granted(path.slot()))
    }

    fn list(&self, slot: &str, _: &str) -> Result<Vec<String>, Error> {
        Err(not_granted(slot))
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn not_granted(slot: &str) -> Error {
    Error::NotGranted { slot: slot.to_owned(), granted: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::{Error, Path};

    #[test]
    fn a_path_stays_in_its_folder() {
        let path = Path::parse("/out/reports/release.md").unwrap();
        assert_eq!((path.slot(), path.inner(), path.name()), ("out", "reports/release.md", "release.md"));
        assert_eq!(path.parent(), Some(Path::new("out", "reports").unwrap()));
        assert_eq!(path.beside("x").to_string(), "/out/reports/x");
        assert_eq!(Path::new("out", "a").unwrap().parent(), None);
        for (path, message) in [
            ("../a", "the path `../a` must not go through `.` or `..`"),
            ("a/./b", "the path `a/./b` must not go through `.` or `..`"),
            ("/etc/passwd", "the path `/etc/passwd` must be within the folder, not absolute"),
            ("a//b", "the path `a//b` has an empty name in it"),
            ("", "the path `` names no file"),
            ("a\\..\\b", "the path `a\\..\\b` holds a backslash or a control character"),
        ] {
            assert_eq!(Path::new("out", path).unwrap_err().to_string(), message);
        }
        assert!(Path::parse("out/a").is_err());
        assert!(Path::new("..", "a").is_err());
    }

    #[test]
    fn what_is_missing_is_said() {
        let missing = |granted: &[&str]| {
            let granted = granted.iter().map(|slot| (*slot).to_owned()).collect();
            Error::NotGranted { slot: "out".to_owned(), granted }.to_string()
        };
        assert_eq!(missing(&[]), "no folder is granted as `out`, and none at all: add `folder out: read`");
        assert_eq!(missing(&["in", "tmp"]), "no folder is granted as `out`, only `in`, `tmp`");
    }
}
