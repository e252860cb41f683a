//! Asking something of a run that another process drives: a message in its inbox, and what becomes of it.
//!
//! Invariant: a message is heard once. Its id is its own; a refusal stands in the run's log under that id before the
//! message is gone from the inbox, so whoever sees it gone can tell what came of it.

use std::time::Duration;

use serde_json::Value;
use windlass_engine::{ASKED_VERSION, Asked, Request};
use windlass_journal::logs::{self, LogLine};
use windlass_journal::{NewMessage, RunId, Store};

use crate::error::RunError;

/// The field of a log line that names the message that it answers.
pub(crate) const ANSWERS: &str = "asked";

/// How often it is looked whether a message was heard.
const LOOK: Duration = Duration::from_millis(50);

/// A message in a run's inbox.
#[derive(Debug)]
pub struct Message {
    run: RunId,
    id: String,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was done.
    Done,
    /// It was refused, in these words.
    Refused(String),
    /// Nobody drives the run now; the message waits for whoever goes on with it.
    Waits,
}

impl Message {
    /// Puts a request into a run's inbox. It is durable when this returns.
    ///
    /// # Errors
    /// The store's; the run having ended is one.
    pub async fn post(store: &Store, run: &RunId, who: &str, request: Request) -> Result<Self, RunError> {
        let id = RunId::random()?.to_string();
        let asked = Asked { version: ASKED_VERSION, id: id.clone(), who: who.to_owned(), request };
        let payload = serde_json::to_vec(&asked).map_err(|source| RunError::Event { seq: 0, source })?;
        store.post(run, NewMessage { id: id.clone(), payload }).await?;
        Ok(Self { run: run.clone(), id })
    }

    /// Waits until the message was heard. `driven` tells whether there is still somebody to hear it.
    ///
    /// # Errors
    /// The store's.
    pub async fn heard(
        &self,
        store: &Store,
        driven: impl Fn() -> Result<bool, RunError>,
    ) -> Result<Fate, RunError> {
        loop {
            // Looked at before the inbox: an owner that hears the last message may leave right after.
            let driven = driven()?;
            if !store.inbox(&self.run).await?.iter().any(|message| message.id == self.id) {
                let lines = logs::read(store.state_dir(), &self.run)?;
                return Ok(match lines.into_iter().rev().find(|line| self.is_answered_by(line)) {
                    Some(line) => Fate::Refused(line.message),
                    None => Fate::Done,
                });
            }
            if !driven {
                return Ok(Fate::Waits);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn is_answered_by(&self, line: &LogLine) -> bool {
        line.fields.get(ANSWERS).and_then(Value::as_str) == Some(&self.id)
    }
}
