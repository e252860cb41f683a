//! Files and folders that only this user may read.
//!
//! Everything the journal keeps on disk is made here. Invariant: what this module makes is 0600 (files) or
//! 0700 (folders) from its first moment, and a symlink in the last place of a path is never followed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::error::Error;
use crate::id::hex;

const NOFOLLOW: i32 = OFlags::NOFOLLOW.bits() as i32;

/// Makes a folder and those above it that are missing, for this user alone.
pub(crate) fn private_folder(path: &Path) -> Result<(), Error> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(meta) if !meta.is_symlink() => {
            return Err(Error::io("use as a folder", path)(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        _ => {}
    }
    let missing: Vec<_> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("make the folder", path))?;
    // What is durable inside is lost with a folder that is not.
    missing.iter().filter_map(|folder| folder.parent()).try_for_each(sync_folder)
}

fn sync_folder(folder: &Path) -> Result<(), Error> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|open| open.sync_all()).map_err(Error::io("sync", folder))
}

/// How to open a private file: 0600 if it is made, no symlink in the last place.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(NOFOLLOW);
    options
}

/// What makes a file readable or replaceable by someone else, if anything does.
pub(crate) fn exposure(file: &File) -> io::Result<Option<String>> {
    let meta = file.metadata()?;
    let mode = meta.permissions().mode() & 0o777;
    Ok(if !meta.is_file() {
        Some("it is not a plain file".to_owned())
    } else if meta.uid() != rustix::process::geteuid().as_raw() {
        Some(format!("it belongs to user {}", meta.uid()))
    } else if mode & 0o077 != 0 {
        Some(format!("others have access to it (mode {mode:o}): chmod 600"))
    } else {
        None
    })
}

/// Writes a whole file so that a crash leaves either all of it under `name` or nothing; an existing file of that
/// name is replaced. Durable when it returns.
pub(crate) fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
    let path = folder.join(name);
    let scratch = Scratch::new(folder)?;
    let mut file =
        private().write(true).create_new(true).open(&scratch.0).map_err(Error::io("make", &scratch.0))?;
    file.write_all(bytes).map_err(Error::io("write", &scratch.0))?;
    scratch.settle(&file, &path)?;
    Ok(path)
}

/// A file under a temporary name, removed unless it was given its final one.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(folder: &Path) -> Result<Self, Error> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(Error::Random)?;
        Ok(Self(folder.join(format!(".new-{}", hex(&random)))))
    }

    /// Makes the content durable, then the name.
    pub(crate) fn settle(self, file: &File, path: &Path) -> Result<(), Error> {
        file.sync_all().map_err(Error::io("sync", &self.0))?;
        std::fs::rename(&self.0, path).map_err(Error::io("name", path))?;
        if let Some(folder) = path.parent() {
            sync_folder(folder)?;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After a rename there is nothing under this name any more, and after an error the error matters more.
        drop(std::fs::remove_file(&self.0));
    }
}
