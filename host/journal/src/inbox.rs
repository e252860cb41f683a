//! What others ask of a run: messages that any process posts and the run's owner takes.
//!
//! Owns the reading of the table `message`. Refuses to know what a message asks for. Invariants: a message that was
//! posted is durable; it leaves the inbox only in the commit of the events that it caused; an id is taken once, also
//! when it is posted again after that.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Executor, Row};

use crate::attest;
use crate::clock;
use crate::error::Error;
use crate::id::RunId;
use crate::reader::Reader;
use crate::run_writer::{WORD_LIMIT, limit};
use crate::seal::RunKey;
use crate::store::Store;
use crate::writer::Post;

/// Longer messages are refused: they are commands, not data.
const MESSAGE_LIMIT: usize = 1024 * 1024;

/// A message that is to be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Chosen by the sender and not used for another message to the same run; readable without a key.
    pub id: String,
    /// The content; sealed.
    pub payload: Vec<u8>,
}

/// A message that waits for its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The sender's id of it.
    pub id: String,
    /// The content, byte for byte as it was given.
    pub payload: Vec<u8>,
    /// When it was posted, in milliseconds since 1970 UTC by the sender's clock.
    pub posted_ms: i64,
}

/// What an owner last saw of its inbox.
#[derive(Default)]
pub(crate) struct Seen {
    /// SQLite's count of the commits that the reading connection has noticed.
    version: Option<i64>,
    messages: Vec<Message>,
}

impl Store {
    /// Puts a message into a run's inbox, whichever process owns the run. When it answers `Ok` the message is durable.
    /// Posting an id again does nothing, also after its message was consumed.
    ///
    /// # Errors
    /// [`Error::RunEnded`] once the run has ended, [`Error::UnknownRun`], [`Error::BadEvent`] for an id that is empty
    /// or too long and for more than 1 MiB, [`Error::ReadOnly`], [`Error::Contended`], [`Error::StoreStopped`], the
    /// key's (see [`check_key`](Self::check_key)), [`Error::Database`].
    pub async fn post(&self, run: &RunId, message: NewMessage) -> Result<(), Error> {
        let writer = self.writer()?;
        let NewMessage { id, payload } = message;
        if id.is_empty() {
            return Err(Error::BadEvent { what: "a message needs an id".to_owned() });
        }
        limit("the id of a message", id.len(), WORD_LIMIT)?;
        limit("a message", payload.len(), MESSAGE_LIMIT)?;
        let key = self.run_key(&self.record(run).await?)?;
        let (nonce, body) = key.seal(&attest::message_binding(self.id(), run, &id), &payload)?;
        writer.post(Post { run: run.clone(), id, posted_ms: clock::now_ms(), nonce, body }).await
    }

    /// The messages that wait for a run, in the order in which they were posted.
    ///
    /// # Errors
    /// [`Error::BadMessage`], [`Error::UnknownRun`], the key's (see [`check_key`](Self::check_key)),
    /// [`Error::Database`].
    pub async fn inbox(&self, run: &RunId) -> Result<Vec<Message>, Error> {
        let key = self.run_key(&self.record(run).await?)?;
        waiting(&mut *self.reader().await?, self.id(), run, &key).await
    }

    /// The runs for which messages wait: one look for a process that drives many runs.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn runs_with_messages(&self) -> Result<Vec<RunId>, Error> {
        const SQL: &str = "SELECT DISTINCT run FROM message WHERE body IS NOT NULL";
        let rows = self.reader().await?.fetch_all(SQL).await?;
        rows.iter().map(|row| RunId::parse(row.try_get(0)?)).collect()
    }
}

impl Seen {
    /// The messages that wait; asks only when something was committed since the last look.
    pub(crate) async fn look(
        &mut self,
        reader: &Reader,
        store: &str,
        run: &RunId,
        key: &RunKey,
    ) -> Result<&[Message], Error> {
        let mut connection = reader.lock().await?;
        let row = (&mut *connection).fetch_one("PRAGMA data_version").await?;
        let version: i64 = row.try_get(0)?;
        if self.version != Some(version) {
            self.messages = waiting(&mut connection, store, run, key).await?;
            self.version = Some(version);
        }
        Ok(&self.messages)
    }
}

async fn waiting(
    connection: &mut SqliteConnection,
    store: &str,
    run: &RunId,
    key: &RunKey,
) -> Result<Vec<Message>, Error> {
    const SQL: &str =
        "SELECT id, posted_ms, nonce, body FROM message WHERE run = ? AND body IS NOT NULL ORDER BY place";
    let rows = connection.fetch_all(sqlx::query(SQL).bind(run.to_string())).await?;
    rows.iter()
        .map(|row| {
            let id: String = row.try_get(0)?;
            let (nonce, body): (Vec<u8>, Vec<u8>) = (row.try_get(2)?, row.try_get(3)?);
            match key.open(&nonce, &body, &attest::message_binding(store, run, &id)) {
                Some(payload) => Ok(Message { id, payload, posted_ms: row.try_get(1)? }),
                None => Err(Error::BadMessage { run: run.clone(), id }),
            }
        })
        .collect()
}
