//! A run as its journal has it.

use windlass_engine::{Event, Millis, RunCreated, State};
use windlass_journal::{RunId, Store, StoredEvent};

use crate::error::RunError;

/// A run read back.
pub struct Recorded {
    /// Its id.
    pub id: RunId,
    /// Every event with its time.
    pub events: Vec<(Millis, Event)>,
    /// The hash of each event in the chain.
    pub hashes: Vec<[u8; 32]>,
    /// What they come to.
    pub state: State,
}

impl Recorded {
    /// Reads a run back.
    ///
    /// # Errors
    /// The store's, and [`RunError::Event`] for an event that can't be understood.
    pub async fn read(store: &Store, id: RunId) -> Result<Self, RunError> {
        let stored = store.read_run(&id).await?;
        let hashes = stored.iter().map(|event| event.hash).collect();
        let events = stored.iter().map(event_of).collect::<Result<Vec<_>, _>>()?;
        let state = State::replay(events.iter().map(|(at, event)| (event, *at)));
        Ok(Self { id, events, hashes, state })
    }

    /// What the run pins.
    ///
    /// # Errors
    /// [`RunError::NoBeginning`].
    pub fn created(&self) -> Result<&RunCreated, RunError> {
        self.state.created().ok_or(RunError::NoBeginning)
    }
}

fn event_of(stored: &StoredEvent) -> Result<(Millis, Event), RunError> {
    let event = serde_json::from_slice(&stored.payload)
        .map_err(|source| RunError::Event { seq: stored.seq, source })?;
    Ok((stored.time_ms, event))
}
