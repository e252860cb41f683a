//! `plugin.toml`: what a plugin says about itself beside its code.

use crate::BuildError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A `plugin.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PluginManifest {
    /// The component becomes `NAME.wasm`, and a runbook says `builtin:NAME`.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Folders and files with the WIT of the plugin's world, relative to this file, each after the ones it builds on.
    /// Doc comments are taken from here.
    #[serde(default = "default_wit")]
    pub wit: Vec<PathBuf>,
    /// The slots the plugin looks for.
    #[serde(default)]
    pub slots: BTreeMap<String, SlotManifest>,
    /// The folder that it was read from.
    #[serde(skip)]
    pub dir: PathBuf,
    /// The version of the crate beside it, where it has one of its own.
    #[serde(skip)]
    pub version: Option<String>,
}

/// A slot that a plugin looks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotManifest {
    /// `http`, `postgres`, `folder`, `program`, …
    pub kind: String,
    /// What the plugin does with it.
    pub docs: String,
}

fn default_wit() -> Vec<PathBuf> {
    vec![PathBuf::from("wit")]
}

impl PluginManifest {
    /// Read the `plugin.toml` of a folder.
    ///
    /// # Errors
    /// Where there is none, or it makes no sense.
    pub fn read(dir: &Path) -> Result<Self, BuildError> {
        if !dir.join("Cargo.toml").is_file() {
            let help = "a plugin is a Rust crate; plugins/README.md shows one from start to end";
            return Err(BuildError::NotAPlugin { dir: dir.to_owned(), missing: "Cargo.toml", help });
        }
        let path = dir.join("plugin.toml");
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => BuildError::NotAPlugin {
                dir: dir.to_owned(),
                missing: "plugin.toml",
                help: "write one with at least `name = \"…\"` and `description = \"…\"`",
            },
            _ => BuildError::file("read", &path)(error),
        })?;
        let manifest = |message| BuildError::Manifest { path: path.clone(), message };
        let mut read: Self = toml::from_str(&text).map_err(|error| manifest(error.to_string()))?;
        let good = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if read.name.is_empty() || read.name.starts_with('-') || !read.name.chars().all(good) {
            return Err(manifest(format!("the name `{}` may hold only a-z, 0-9 and `-`", read.name)));
        }
        dir.clone_into(&mut read.dir);
        read.version = crate::sources::version(dir)?;
        Ok(read)
    }

    /// The WIT folders and files, as paths that can be opened.
    pub(crate) fn wit_paths(&self) -> impl Iterator<Item = PathBuf> {
        self.wit.iter().map(|path| self.dir.join(path))
    }
}
