//! Why a plugin could not be built, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why a plugin could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file could not be used.
    #[error("can't {what} `{}`: {source}", path.display())]
    File {
        /// `read`, `write`, `make`.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder holds no plugin.
    #[error("`{}` is no plugin: it has no `{missing}`\n  help: {help}", dir.display())]
    NotAPlugin {
        /// The folder.
        dir: PathBuf,
        /// What it would have.
        missing: &'static str,
        /// What to write.
        help: &'static str,
    },
    /// A `plugin.toml` or `Cargo.toml` makes no sense.
    #[error("`{}`: {message}", path.display())]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with line and column where they are known.
        message: String,
    },
    /// There is no way to compile for WebAssembly here.
    #[error("no compiler for wasm32-unknown-unknown:\n{tried}\n  help: {help}")]
    NoToolchain {
        /// One line per way that was tried, with why it failed.
        tried: String,
        /// What to install.
        help: String,
    },
    /// A program that the build needs could not be run, or failed.
    #[error("`{program}` failed{}: {output}", status.map(|status| format!(" with status {status}")).unwrap_or_default())]
    Program {
        /// With its first arguments.
        program: String,
        /// None where it could not be started.
        status: Option<i32>,
        /// What it said.
        output: String,
    },
    /// The plugin's code does not compile.
    #[error("the plugin does not compile (`{command}`):\n{output}")]
    Compile {
        /// What can be typed to see the same.
        command: String,
        /// Cargo's output.
        output: String,
    },
    /// Cargo succeeded and made no module.
    #[error(
        "`{name}` compiled, but there is no .wasm of it\n  help: its Cargo.toml needs `[lib] crate-type = [\"cdylib\"]`"
    )]
    NoArtifact {
        /// The plugin.
        name: String,
    },
    /// The module can't be made a component.
    #[error("`{name}` compiled, but can't be made a component: {message}{}", help.map(|help| format!("\n  help: {help}")).unwrap_or_default())]
    Componentize {
        /// The plugin; `the module` where that is not known.
        name: String,
        /// The encoder's reason.
        message: String,
        /// What it most likely means.
        help: Option<&'static str>,
    },
    /// The WIT that `plugin.toml` names can't be read.
    #[error(
        "the WIT of `{name}` can't be read: {message}\n  help: `wit` in plugin.toml lists folders and files, each after the ones it builds on"
    )]
    Wit {
        /// The plugin.
        name: String,
        /// The parser's reason.
        message: String,
    },
}

impl BuildError {
    /// Makes the error of a file out of an I/O error.
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }

    /// The same error, about this plugin.
    pub(crate) fn of(mut self, plugin: &str) -> Self {
        if let Self::Componentize { name, .. } = &mut self {
            plugin.clone_into(name);
        }
        self
    }
}
