//! Files that runs keep, each under the SHA-256 of its content.
//!
//! Owns the folder `artifacts` of the state folder. Refuses to know names: those are labels in events. Invariant: a
//! file under a digest is complete and durable from the moment it is there, and is never written again.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::files::{self, Scratch};
use crate::id::{hex, parse_digest};

/// The folder of artifacts.
#[derive(Debug, Clone)]
pub struct Artifacts {
    folder: PathBuf,
}

/// A file that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The SHA-256 of its content, in lower-case hexadecimal digits.
    pub digest: String,
    /// Its length in bytes.
    pub size: u64,
}

/// The artifacts of a state folder. The folder is made when something is kept.
#[must_use]
pub fn artifacts(state_dir: &Path) -> Artifacts {
    Artifacts { folder: state_dir.join("artifacts") }
}

impl Artifacts {
    /// Keeps bytes.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Random`].
    pub fn keep(&self, bytes: &[u8]) -> Result<Kept, Error> {
        self.keep_all_of(bytes, Path::new("the bytes of an artifact"))
    }

    /// Keeps a copy of a file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Random`].
    pub fn keep_file(&self, path: &Path) -> Result<Kept, Error> {
        self.keep_all_of(File::open(path).map_err(Error::io("open", path))?, path)
    }

    /// Keeps a copy of what an open file still has to give, so that nothing can be put in its place meanwhile.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Random`].
    pub fn keep_open(&self, file: File) -> Result<Kept, Error> {
        self.keep_all_of(file, Path::new("an open file"))
    }

    /// The file of that digest, opened to be read.
    ///
    /// # Errors
    /// [`Error::Io`] when it is not kept; [`Error::BadEvent`] for what is no digest.
    pub fn open(&self, digest: &str) -> Result<File, Error> {
        let path = self.path(digest)?;
        files::private().read(true).open(&path).map_err(Error::io("open the artifact", &path))
    }

    /// Where the file of that digest is, whether it is kept or not.
    ///
    /// # Errors
    /// [`Error::BadEvent`] for what is no digest.
    pub fn path(&self, digest: &str) -> Result<PathBuf, Error> {
        Ok(self.folder.join(hex(&parse_digest(digest)?)))
    }

    fn keep_all_of(&self, mut from: impl Read, named: &Path) -> Result<Kept, Error> {
        files::private_folder(&self.folder)?;
        let scratch = Scratch::new(&self.folder)?;
        let mut file = files::private()
            .write(true)
            .create_new(true)
            .open(&scratch.0)
            .map_err(Error::io("make", &scratch.0))?;
        let mut sink = Hashing { digest: Sha256::new(), file: &mut file };
        let size = io::copy(&mut from, &mut sink).map_err(Error::io("keep", named))?;
        let digest = hex(&sink.digest.finalize());
        let path = self.folder.join(&digest);
        if !path.is_file() {
            scratch.settle(&file, &path)?;
        }
        Ok(Kept { digest, size })
    }
}

struct Hashing<'a> {
    digest: Sha256,
    file: &'a mut File,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_kept_is_found_by_its_digest_once() {
        let state = tempfile::tempdir().unwrap();
        let artifacts = artifacts(state.path());
        let kept = artifacts.keep(b"abc").unwrap();
        assert_eq!(kept.digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(kept.size, 3);

        let copy = state.path().join("copy");
        std::fs::write(&copy, b"abc").unwrap();
        assert_eq!(artifacts.keep_file(&copy).unwrap(), kept);
        let names: Vec<_> = std::fs::read_dir(state.path().join("artifacts")).unwrap().collect();
        assert_eq!(names.len(), 1, "no file of a temporary name is left");

        let mut text = String::new();
        artifacts.open(&kept.digest).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&artifacts.path(&kept.digest).unwrap()), 0o600);
        assert_eq!(mode(&state.path().join("artifacts")), 0o700);
    }

    #[test]
    fn a_digest_is_no_path() {
        let state = tempfile::tempdir().unwrap();
        for wrong in ["../../etc/passwd", "", "abc"] {
            assert!(matches!(artifacts(state.path()).open(wrong), Err(Error::BadEvent { .. })), "{wrong}");
        }
    }
}
