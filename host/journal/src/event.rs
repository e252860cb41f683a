//! What goes into the journal and what comes out of it: plain records without behaviour.

use std::sync::Arc;

use crate::id::RunId;

/// The run that is to be created.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// What lists show; bound to the run's key, so it can't be changed later.
    pub name: String,
    /// The first status word.
    pub status: String,
    /// When it starts, in milliseconds since 1970 UTC; also bound to the run's key.
    pub started_ms: i64,
    /// Whether a process that drives many runs is to drive it, and not the one that creates it.
    pub detached: bool,
    /// The plugins it pins: SHA-256 (64 hexadecimal digits, `sha256:` before it is understood) and bytes.
    /// Those that the store has are not written again.
    pub components: Vec<(String, Arc<[u8]>)>,
}

/// An event that is to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// What kind of event it is; readable without a key.
    pub kind: String,
    /// When it happened, in milliseconds since 1970 UTC.
    pub time_ms: i64,
    /// Which step and attempt it belongs to, if any; readable without a key.
    pub binding: Option<Binding>,
    /// The content; sealed.
    pub payload: Vec<u8>,
}

/// What an event belongs to. The payload is sealed to all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The step's path.
    pub step: String,
    /// The key of the item, for a step that runs once per item.
    pub item: Option<String>,
    /// The attempt, from 1.
    pub attempt: Option<u32>,
    /// The SHA-256 of the plugin that is called.
    pub plugin_digest: Option<String>,
    /// The action that is called.
    pub action: Option<String>,
}

/// An event as it was stored, opened and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the run, from 1.
    pub seq: u64,
    /// The ownership under which it was written, from 1.
    pub epoch: u64,
    /// What kind of event it is.
    pub kind: String,
    /// When it happened, in milliseconds since 1970 UTC.
    pub time_ms: i64,
    /// Which step and attempt it belongs to, if any.
    pub binding: Option<Binding>,
    /// The content, byte for byte as it was given.
    pub payload: Vec<u8>,
    /// The hash that the next event names as its previous one.
    pub hash: [u8; 32],
}

/// A run as lists show it; readable without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// Its name.
    pub name: String,
    /// Its latest status word.
    pub status: String,
    /// When it started, in milliseconds since 1970 UTC.
    pub started_ms: i64,
    /// When it ended, if it did.
    pub ended_ms: Option<i64>,
    /// How often it was owned.
    pub epoch: u64,
    /// The number of its events.
    pub head: u64,
    /// Whether a process that drives many runs is to drive it.
    pub detached: bool,
}
