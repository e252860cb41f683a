//! A store in a folder of its own, and the raw look at its file that an attacker has.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;
use windlass_journal::{
    Binding, Gap, NewEvent, NewRun, Outcome, RunId, RunReport, RunWriter, Store, StoreOptions,
};

pub struct Place {
    pub folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn options(&self) -> StoreOptions {
        options_in(self.folder.path())
    }

    pub async fn open(&self) -> Store {
        Store::open(self.options()).await.unwrap()
    }

    pub fn key_file(&self) -> PathBuf {
        self.file_of_keys("key")
    }

    pub fn engine_file(&self) -> PathBuf {
        self.file_of_keys("engine")
    }

    fn file_of_keys(&self, extension: &str) -> PathBuf {
        let files = std::fs::read_dir(self.options().key_dir).unwrap();
        let mut paths = files.map(|file| file.unwrap().path());
        paths.find(|path| path.extension().is_some_and(|found| found == extension)).unwrap()
    }

    /// A connection that knows nothing of journals.
    pub async fn raw(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.options().path).foreign_keys(false).connect().await.unwrap()
    }
}

/// A connection to a file of its own, that is made if it is not there.
pub async fn raw_at(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

pub fn options_in(folder: &Path) -> StoreOptions {
    let state_dir = folder.join("state");
    StoreOptions {
        path: state_dir.join("store.db"),
        state_dir,
        key_dir: folder.join("config/keys"),
        create: true,
    }
}

pub fn new_run(id: &RunId) -> NewRun {
    NewRun {
        id: id.clone(),
        name: "staging".to_owned(),
        status: "forward".to_owned(),
        started_ms: 1_790_000_000_000,
        detached: false,
        components: Vec::new(),
    }
}

pub fn event(kind: &str, payload: impl Into<Vec<u8>>) -> NewEvent {
    NewEvent { kind: kind.to_owned(), time_ms: 1_790_000_000_001, binding: None, payload: payload.into() }
}

pub fn bound_event(kind: &str, payload: impl Into<Vec<u8>>) -> NewEvent {
    let binding = Binding {
        step: "deploy.migrate".to_owned(),
        item: Some("eu-1".to_owned()),
        attempt: Some(1),
        plugin_digest: Some("ab".repeat(32)),
        action: Some("windlass:contracts/database@0.1.0#migrate".to_owned()),
    };
    NewEvent { binding: Some(binding), ..event(kind, payload) }
}

pub async fn started(store: &Store) -> RunWriter {
    let id = RunId::random().unwrap();
    store.create_run(new_run(&id), vec![event("RunCreated", "pinned")]).await.unwrap()
}

pub fn component() -> (String, Arc<[u8]>) {
    ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned(), Arc::from(*b"abc"))
}

/// What verifying finds about one run.
pub async fn verified(store: &Store, run: &RunId) -> RunReport {
    let report = store.verify(Some(run), None).await.unwrap();
    assert_eq!(report.chain, None);
    report.runs.into_iter().next().unwrap()
}

/// Asserts that a run holds, has that many events, and that payloads were looked at; of a run that goes on the last
/// events are not signed.
pub async fn assert_intact(store: &Store, run: &RunId, events: u64) {
    let report = verified(store, run).await;
    assert_eq!((report.events, report.erased.as_slice(), report.opened), (events, [].as_slice(), true));
    match report.outcome {
        Outcome::Anchored => assert_eq!(report.signed, events),
        outcome => assert_eq!(outcome, Outcome::Unanchored(vec![Gap::Unsigned { from: report.signed + 1 }])),
    }
}
