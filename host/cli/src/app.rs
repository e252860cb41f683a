//! What the commands share: folders, store, plugins, sandbox.

use std::path::PathBuf;
use std::sync::Arc;

use windlass_journal::{RunId, Store, StoreOptions};
use windlass_runner::approvals::{ApprovalError, Signers};
use windlass_runner::catalog::Plugins;
use windlass_runner::watch::Watcher;
use windlass_runner::{Directories, Host};
use windlass_sandbox::{Compiler, Launcher, Sandbox, SandboxOptions};

use crate::args::Global;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Printer;
use crate::output::lines::{JsonLines, PlainLines};

/// The command's surroundings.
pub(crate) struct App {
    pub(crate) printer: Printer,
    directories: Directories,
    store: PathBuf,
    executable: PathBuf,
}

impl App {
    pub(crate) fn new(global: &Global) -> Result<Self, CliError> {
        let printer = Printer::new(global.output, global.color);
        let directories = Directories::from_environment(|name| std::env::var_os(name)).map_err(|error| {
            CliError::from_error(Exit::Usage, &error).hint("set HOME, or XDG_STATE_HOME and its like")
        })?;
        let store = global.store.clone().unwrap_or_else(|| directories.store());
        let store = std::path::absolute(&store)
            .map_err(|error| CliError::new(Exit::Usage, format!("--store {}: {error}", store.display())))?;
        let executable = std::env::current_exe().map_err(|error| {
            CliError::new(Exit::Fault, format!("cannot tell where windlass itself is: {error}"))
        })?;
        Ok(Self { printer, directories, store, executable })
    }

    /// The plugins that can be had from the working folder.
    pub(crate) fn plugins(&self) -> Plugins {
        Plugins::in_folders(Plugins::folders_of(&self.executable), PathBuf::new())
    }

    /// The sandbox; compiled components are cached.
    pub(crate) fn sandbox(&self) -> Result<Sandbox, CliError> {
        let program = self.executable.clone();
        Sandbox::new(SandboxOptions {
            cache_dir: Some(self.directories.components()),
            compiler: Compiler::Child { program: program.clone(), arguments: vec!["__compile".to_owned()] },
            launcher: Launcher { program, arguments: vec!["__launch".to_owned()] },
        })
        .map_err(|error| CliError::from_error(Exit::Fault, &error))
    }

    /// What runs of the store share in this process.
    pub(crate) fn host(&self, store: &Arc<Store>) -> Result<Host, CliError> {
        Ok(Host::new(
            Arc::clone(store),
            self.sandbox()?,
            Arc::new(|name| std::env::var_os(name)),
            Self::who(),
            self.directories.signers(),
        ))
    }

    /// Who may approve.
    pub(crate) fn signers(&self) -> Result<Signers, ApprovalError> {
        let (system, own) = self.directories.signers();
        Signers::load(&system, &own)
    }

    /// What prints a run line by line.
    pub(crate) fn lines(&self) -> Arc<dyn Watcher> {
        let printer = self.printer;
        if printer.json() { Arc::new(JsonLines { printer }) } else { Arc::new(PlainLines { printer }) }
    }

    /// The store, made if it is not there.
    pub(crate) async fn store(&self) -> Result<Store, CliError> {
        Store::open(self.options(true)).await.map_err(CliError::from)
    }

    /// The store as it is.
    pub(crate) async fn existing_store(&self) -> Result<Store, CliError> {
        Store::open(self.options(false)).await.map_err(CliError::from)
    }

    /// The store, to look into while another process may write it.
    pub(crate) async fn store_to_read(&self) -> Result<Store, CliError> {
        Store::open_read(self.options(false)).await.map_err(CliError::from)
    }

    /// As [`store_to_read`](Self::store_to_read); none where no run has made one yet.
    pub(crate) async fn store_to_list(&self) -> Result<Option<Store>, CliError> {
        match Store::open_read(self.options(false)).await {
            Ok(store) => Ok(Some(store)),
            Err(windlass_journal::Error::NoStore { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn options(&self, create: bool) -> StoreOptions {
        StoreOptions {
            path: self.store.clone(),
            state_dir: Directories::beside(&self.store),
            key_dir: self.directories.keys(),
            create,
        }
    }

    /// The run that a beginning of its id means.
    pub(crate) async fn run_id(&self, store: &Store, beginning: &str) -> Result<RunId, CliError> {
        store.resolve(beginning).await.map_err(CliError::from)
    }

    /// Who is at the keyboard.
    pub(crate) fn who() -> String {
        let name = |variable: &str| std::env::var(variable).ok().filter(|name| !name.is_empty());
        name("USER")
            .or_else(|| name("LOGNAME"))
            .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
    }
}
