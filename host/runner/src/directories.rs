//! Where Windlass keeps things, by the XDG Base Directory Specification.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folders of one user.
#[derive(Debug, Clone)]
pub struct Directories {
    /// Store, run locks, artifacts, logs.
    pub state: PathBuf,
    /// Keys.
    pub config: PathBuf,
    /// Compiled components.
    pub cache: PathBuf,
}

impl Directories {
    /// The folders that the environment names, looked up by `variable`.
    ///
    /// # Errors
    /// Where neither an `XDG_*_HOME` nor `HOME` gives an absolute path; the specification says to ignore others.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, NoHome> {
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME");
        let folder = |name: &'static str, below_home: &str| {
            absolute(name)
                .or_else(|| home.as_deref().map(|home| home.join(below_home)))
                .map(|base| base.join("windlass"))
                .ok_or(NoHome { variable: name })
        };
        Ok(Self {
            state: folder("XDG_STATE_HOME", ".local/state")?,
            config: folder("XDG_CONFIG_HOME", ".config")?,
            cache: folder("XDG_CACHE_HOME", ".cache")?,
        })
    }

    /// The store where none is named.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.state.join("store.db")
    }

    /// Where locks, artifacts and logs of a store are: beside it, so that a store that was named takes them along.
    #[must_use]
    pub fn beside(store: &Path) -> PathBuf {
        store.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
    }

    /// The keys of stores.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.config.join("keys")
    }

    /// Who may approve: the file of the system, and the user's own, which counts where there is none of the system's.
    #[must_use]
    pub fn signers(&self) -> (PathBuf, PathBuf) {
        (crate::approvals::system_file(), self.config.join("signers.toml"))
    }

    /// The compiled components.
    #[must_use]
    pub fn components(&self) -> PathBuf {
        self.cache.join("components")
    }
}

/// No folder is known for the user's files.
#[derive(Debug, thiserror::Error)]
#[error("neither ${variable} nor $HOME is set to an absolute path")]
pub struct NoHome {
    variable: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xdg_wins_over_home_and_relative_paths_are_ignored() {
        let directories = Directories::from_environment(|name| match name {
            "HOME" => Some("/home/op".into()),
            "XDG_STATE_HOME" => Some("/srv/state".into()),
            "XDG_CACHE_HOME" => Some("relative".into()),
            _ => None,
        })
        .unwrap();
        assert_eq!(directories.store(), Path::new("/srv/state/windlass/store.db"));
        assert_eq!(directories.config, Path::new("/home/op/.config/windlass"));
        assert_eq!(directories.cache, Path::new("/home/op/.cache/windlass"));
    }

    #[test]
    fn without_a_home_the_missing_variable_is_named() {
        let error = Directories::from_environment(|_| None).unwrap_err();
        assert_eq!(error.to_string(), "neither $XDG_STATE_HOME nor $HOME is set to an absolute path");
    }
}
