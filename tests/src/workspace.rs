//! A temporary folder with runbooks, environments and whatever else a test writes.
#![allow(clippy::expect_used, clippy::panic, reason = "a rig that fails fails its test")]

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::checkout;

/// A folder that is gone after the test.
pub struct Workspace(TempDir);

impl Workspace {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// One with a copy of the runbooks that are shipped.
    #[must_use]
    pub fn with_runbooks() -> Self {
        let workspace = Self::new();
        copy(&checkout().join("runbooks"), &workspace.path("runbooks"));
        workspace
    }

    /// Writes a file, folders included.
    #[must_use]
    pub fn file(self, name: &str, text: &str) -> Self {
        self.write(name, text);
        self
    }

    /// Writes a file, folders included, and says where it is.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        path
    }

    /// Changes a file: each pair's first text must be in it, and becomes the second wherever it stands.
    pub fn change(&self, name: &str, pairs: &[(&str, &str)]) {
        let mut text = self.read(name);
        for (from, to) in pairs {
            assert!(text.contains(from), "`{from}` is not in {name}");
            text = text.replace(from, to);
        }
        self.write(name, &text);
    }

    /// Makes a folder and says where it is.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a folder");
        path
    }

    /// Where a file of the workspace is, or would be.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file as text.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The names in a folder, sorted; none where there is no such folder.
    #[must_use]
    pub fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return Vec::new() };
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder to copy") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}
