//! What it takes to drive a run: its checked runbook, its plugins compiled and connected, its secrets looked up.
//!
//! Runs that pin the same things share all of it, so that a thousand runs of one runbook cost one. What nobody uses any
//! more is dropped, secrets included.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use indexmap::IndexMap;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use windlass_engine::RunCreated;
use windlass_journal::Store;
use windlass_runbook::model::Runbook;
use windlass_sandbox::{Connection, Sandbox};

use crate::catalog::Plugins;
use crate::connect::Connections;
use crate::error::RunError;
use crate::project::{Project, Settings};
use crate::redact::Redactor;
use crate::session::Session;

/// Looks into the environment of this process, for secrets.
pub type Variables = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// A runbook that can be driven.
pub(crate) struct Prepared {
    pub(crate) runbook: Arc<Runbook>,
    pub(crate) session: Session,
    pub(crate) redactor: Arc<Redactor>,
    pub(crate) connections: Vec<(String, Connection)>,
}

impl Prepared {
    /// Makes a checked runbook ready with these inputs.
    pub(crate) async fn new(
        runbook: Arc<Runbook>,
        plugins: &Plugins,
        inputs: &Map<String, Value>,
        sandbox: &Sandbox,
        variable: &Variables,
    ) -> Result<Self, RunError> {
        let connections = Connections::resolve(&runbook, Path::new(""), &|name| variable(name))?;
        let settings = Settings { inputs, vars: &runbook.vars };
        let session = Session::prepare(&runbook, plugins, &connections, sandbox, &settings).await?;
        let named = connections.iter().map(|(name, connection)| (name.to_owned(), connection.clone()));
        let named = named.collect();
        Ok(Self { runbook, session, redactor: Arc::new(connections.into_redactor()), connections: named })
    }

    /// Makes it ready to be decided about, not to call anything.
    pub(crate) fn to_note(runbook: Arc<Runbook>) -> Self {
        let redactor = Redactor::new(std::iter::empty::<&str>(), &[]);
        let (session, connections) = (Session::empty(), Vec::new());
        Self { runbook, session, redactor: Arc::new(redactor), connections }
    }
}

/// The runbook that a run pins, checked, with the plugins that it pins.
pub(crate) struct Pinned {
    pub(crate) runbook: Arc<Runbook>,
    pub(crate) plugins: Plugins,
}

impl Pinned {
    pub(crate) async fn read(store: &Store, created: &RunCreated) -> Result<Self, RunError> {
        let plugins = pinned_plugins(store, created).await?;
        let environment = created.environment.as_ref().map(Project::unpinned);
        let project = Project::check(Project::unpinned(&created.runbook), environment, &plugins)?;
        Ok(Self { runbook: project.runbook, plugins })
    }
}

/// The components that the run has pinned, by the source that its runbook names.
///
/// # Errors
/// The store's.
pub async fn pinned_plugins(store: &Store, pinned: &RunCreated) -> Result<Plugins, RunError> {
    let mut components = IndexMap::new();
    for plugin in pinned.plugins.values() {
        let bytes = store.component(&plugin.digest).await?;
        components.insert(plugin.source.clone(), Arc::from(bytes));
    }
    Ok(Plugins::pinned(components))
}

type Key = [u8; 32];

/// What is prepared in this process, by what it was made of.
#[derive(Default)]
pub(crate) struct Shelf {
    pinned: Mutex<HashMap<Key, Weak<Pinned>>>,
    prepared: Mutex<HashMap<Key, Weak<Prepared>>>,
    /// One at a time: the second of two equal ones finds what the first has made.
    turn: tokio::sync::Mutex<()>,
}

impl Shelf {
    /// The runbook that a run pins.
    pub(crate) async fn pinned(&self, store: &Store, created: &RunCreated) -> Result<Arc<Pinned>, RunError> {
        let _turn = self.turn.lock().await;
        self.pinned_in_turn(store, created).await
    }

    async fn pinned_in_turn(&self, store: &Store, created: &RunCreated) -> Result<Arc<Pinned>, RunError> {
        let key = runbook_key(created);
        let known = lock(&self.pinned).get(&key).and_then(Weak::upgrade);
        if let Some(known) = known {
            return Ok(known);
        }
        let made = Arc::new(Pinned::read(store, created).await?);
        let mut all = lock(&self.pinned);
        all.retain(|_, pinned| pinned.strong_count() > 0);
        all.insert(key, Arc::downgrade(&made));
        drop(all);
        Ok(made)
    }

    /// Everything that it takes to drive a run.
    pub(crate) async fn prepared(
        &self,
        store: &Store,
        created: &RunCreated,
        sandbox: &Sandbox,
        variable: &Variables,
    ) -> Result<Arc<Prepared>, RunError> {
        let _turn = self.turn.lock().await;
        let key = session_key(created);
        let known = lock(&self.prepared).get(&key).and_then(Weak::upgrade);
        if let Some(known) = known {
            return Ok(known);
        }
        let pinned = self.pinned_in_turn(store, created).await?;
        let runbook = Arc::clone(&pinned.runbook);
        let made =
            Arc::new(Prepared::new(runbook, &pinned.plugins, &created.inputs, sandbox, variable).await?);
        let mut all = lock(&self.prepared);
        all.retain(|_, prepared| prepared.strong_count() > 0);
        all.insert(key, Arc::downgrade(&made));
        drop(all);
        Ok(made)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The digest of what a checked runbook is made of.
fn runbook_key(created: &RunCreated) -> Key {
    fn part(hash: &mut Sha256, text: &str) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let mut hash = Sha256::new();
    for file in std::iter::once(&created.runbook).chain(&created.environment) {
        [&file.name, &file.folder, &*file.text].into_iter().for_each(|text| part(&mut hash, text));
    }
    for (name, plugin) in &created.plugins {
        [name, &plugin.source, &plugin.digest].into_iter().for_each(|text| part(&mut hash, text));
    }
    hash.finalize().into()
}

/// The digest of that and of the inputs, which configurations and grants may cite.
fn session_key(created: &RunCreated) -> Key {
    let mut hash = Sha256::new();
    hash.update(runbook_key(created));
    hash.update(Value::Object(created.inputs.clone()).to_string());
    hash.finalize().into()
}
