//! Finding plugins: which bytes a source means, and what they offer.
//!
//! A catalog reads each component once, decodes its types and hands both on. It never compiles or runs anything, so
//! `check` and `audit` are safe on a stranger's runbook.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;
use sha2::{Digest as _, Sha256};
use windlass_runbook::model::PluginSource;
use windlass_sandbox::{Inspection, LoadError, inspect};

/// A component that was found and looked into.
#[derive(Debug)]
pub struct Found {
    /// Where it was found, or that it came from the run's store.
    pub place: String,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// `sha256:` and lower-case hex.
    pub digest: String,
    /// What it offers and asks for.
    pub inspection: Inspection,
}

/// Why a plugin can't be had.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct NotFound {
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl From<LoadError> for NotFound {
    fn from(error: LoadError) -> Self {
        Self { message: error.message, help: error.help }
    }
}

/// The plugins that can be had from here.
#[derive(Debug)]
pub struct Plugins {
    /// Folders that hold the built-in plugins, best first.
    folders: Vec<PathBuf>,
    /// What relative paths start at.
    base: PathBuf,
    /// Components that a run has pinned, by what its runbook calls them; where there are some, nothing else is
    /// looked at.
    pinned: IndexMap<String, Arc<[u8]>>,
    found: Mutex<IndexMap<PluginSource, Result<Arc<Found>, NotFound>>>,
}

impl Plugins {
    /// Plugins from the folders where built ones lie, and from files below `base`.
    #[must_use]
    pub fn in_folders(folders: Vec<PathBuf>, base: PathBuf) -> Self {
        Self { folders, base, pinned: IndexMap::new(), found: Mutex::default() }
    }

    /// Only these components: those of a run that goes on.
    #[must_use]
    pub fn pinned(components: IndexMap<String, Arc<[u8]>>) -> Self {
        Self { folders: Vec::new(), base: PathBuf::new(), pinned: components, found: Mutex::default() }
    }

    /// The folders in which built plugins are looked for: beside the executable, then in the build folder that it
    /// lies in.
    #[must_use]
    pub fn folders_of(executable: &Path) -> Vec<PathBuf> {
        let beside = executable.parent().map(|folder| folder.join("plugins"));
        let build = executable.parent().and_then(Path::parent).map(|folder| folder.join("plugins"));
        beside.into_iter().chain(build).collect()
    }

    /// The component of a source, read at the first time and remembered.
    ///
    /// # Errors
    /// Where there is none, or where it is no plugin.
    pub fn find(&self, source: &PluginSource) -> Result<Arc<Found>, NotFound> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = found.get(source) {
            return known.clone();
        }
        let result = self.read(source).map(Arc::new);
        found.insert(source.clone(), result.clone());
        result
    }

    fn read(&self, source: &PluginSource) -> Result<Found, NotFound> {
        let (place, bytes) = match self.pinned.get(&source.to_string()) {
            Some(bytes) => ("the run's store".to_owned(), Arc::clone(bytes)),
            None => {
                let path = self.path(source)?;
                let bytes = std::fs::read(&path).map_err(|error| NotFound {
                    message: format!("cannot read {}: {error}", path.display()),
                    help: None,
                })?;
                (path.display().to_string(), bytes.into())
            }
        };
        let inspection = inspect(&bytes).map_err(|error| NotFound {
            message: format!("{place} is no plugin: {}", error.message),
            help: error.help,
        })?;
        Ok(Found { place, digest: digest(&bytes), bytes, inspection })
    }

    fn path(&self, source: &PluginSource) -> Result<PathBuf, NotFound> {
        match source {
            PluginSource::File(path) => {
                let path = self.base.join(path);
                if path.is_file() {
                    return Ok(path);
                }
                let what = if path.exists() { "is no file" } else { "does not exist" };
                Err(NotFound {
                    message: format!("{} {what}", path.display()),
                    help: Some("build it with `windlass plugin build`, or correct the path".to_owned()),
                })
            }
            PluginSource::Builtin(name) => {
                let file = format!("{name}.wasm");
                self.folders.iter().map(|folder| folder.join(&file)).find(|path| path.is_file()).ok_or_else(
                    || {
                        let known = self.built();
                        NotFound {
                            message: format!("there is no built-in plugin `{name}`"),
                            help: Some(if known.is_empty() {
                                "no plugins are built yet: run `cargo xtask plugins`".to_owned()
                            } else {
                                format!("there are {}", known.join(", "))
                            }),
                        }
                    },
                )
            }
        }
    }

    /// The names of the built-in plugins, sorted.
    #[must_use]
    pub fn built(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .folders
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flatten()
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let is_component = path.extension().is_some_and(|extension| extension == "wasm");
                is_component.then(|| path.file_stem()?.to_str().map(str::to_owned))?
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// `sha256:` and the hash of the bytes in lower-case hex.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}
