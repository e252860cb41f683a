//! A run's rows as the file has them, and the walk along them that finds out whether they hold.
//!
//! Owns the rules of a run's chain. Refuses to know signatures. Invariant: nothing of a row is believed before the walk
//! has passed it, and its plain columns not before its payload was opened.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Executor, Row};

use crate::envelope::{self, FORMAT_NUMBER, GENESIS, Link};
use crate::error::Error;
use crate::event::Binding;
use crate::id::RunId;
use crate::report::{Broken, Fault};
use crate::seal::RunKey;

/// An event as its row has it.
pub(crate) struct Raw {
    pub(crate) seq: i64,
    format: i64,
    pub(crate) epoch: i64,
    previous: Vec<u8>,
    pub(crate) kind: String,
    pub(crate) time_ms: i64,
    pub(crate) binding: Option<Binding>,
    nonce: Vec<u8>,
    digest: Vec<u8>,
    body: Option<Vec<u8>>,
    pub(crate) erased: bool,
    pub(crate) hash: Vec<u8>,
}

/// A run's events and where its row says that it stood when its status, its owner or more last changed, all of one
/// moment.
pub(crate) struct Snapshot {
    epoch: i64,
    head: i64,
    head_hash: Vec<u8>,
    pub(crate) events: Vec<Raw>,
}

impl Snapshot {
    /// One statement, so that row and events are of one moment while another process appends. `None` if there is no
    /// such run.
    pub(crate) async fn read(connection: &mut SqliteConnection, run: &RunId) -> Result<Option<Self>, Error> {
        const SQL: &str = "SELECT r.epoch AS run_epoch, r.head, r.head_hash, e.seq, e.format, e.epoch, e.previous, \
            e.kind, e.time_ms, e.step, e.item, e.attempt, e.plugin, e.action, e.nonce, e.digest, \
            coalesce(e.body, b.body) AS body, e.erased, e.hash \
            FROM run r LEFT JOIN event e ON e.place BETWEEN r.number << 32 AND (r.number << 32) + 4294967295 \
            LEFT JOIN blob b ON e.body IS NULL AND b.run = r.id AND b.digest = e.digest \
            WHERE r.id = ? ORDER BY e.place";
        let rows = connection.fetch_all(sqlx::query(SQL).bind(run.to_string())).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let mut events = Vec::with_capacity(rows.len());
        if first.try_get::<Option<i64>, _>("seq")?.is_some() {
            for row in &rows {
                events.push(Raw::read(row).map_err(|error| unreadable(run, row, error))?);
            }
        }
        Ok(Some(Self {
            epoch: first.try_get("run_epoch")?,
            head: first.try_get("head")?,
            head_hash: first.try_get("head_hash")?,
            events,
        }))
    }

    /// Follows the chain without a key.
    pub(crate) fn walk(&self, store: &str, run: &RunId) -> Result<(), Broken> {
        let (mut seq, mut epoch, mut previous) = (0, 1, GENESIS.to_vec());
        for raw in &self.events {
            seq += 1;
            let fault = |what: &str| Err(Broken::changed(seq, what));
            if raw.seq != seq {
                return fault("it is missing");
            }
            if raw.format != FORMAT_NUMBER {
                return fault("its format is unknown");
            }
            if raw.previous != previous {
                return fault("it does not name the hash of the event before");
            }
            if raw.epoch < epoch || raw.epoch > self.epoch {
                return fault("it was written under an epoch that was not its turn");
            }
            match &raw.body {
                Some(body) if envelope::digest(&raw.nonce, body).as_slice() != raw.digest => {
                    return fault("its payload or nonce is not what was written");
                }
                Some(_) if raw.erased => return fault("it is marked as erased but has its payload"),
                None if !raw.erased => return fault("its payload is missing"),
                _ => {}
            }
            if !raw.is_of(store, run) {
                return fault("its kind, time, epoch, digest or hash is not what was written");
            }
            epoch = raw.epoch;
            previous.clone_from(&raw.hash);
        }
        if self.head > seq {
            return Err(Broken::new(seq + 1, Fault::Cut { known: self.head.unsigned_abs() }));
        }
        if self.hash_at(self.head) != Some(&self.head_hash) {
            return Err(Broken::changed(self.head, "it is not the head that the run's row names"));
        }
        Ok(())
    }

    /// The number of the last event.
    pub(crate) fn last(&self) -> i64 {
        self.events.last().map_or(0, |raw| raw.seq)
    }

    /// The hash of the event at a place; of the place before the first one it is nought. `None` after the last one.
    pub(crate) fn hash_at(&self, seq: i64) -> Option<&[u8]> {
        match usize::try_from(seq).ok()? {
            0 => Some(&GENESIS),
            seq => Some(&self.events.get(seq - 1)?.hash),
        }
    }
}

impl Raw {
    fn read(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let step: Option<String> = row.try_get("step")?;
        let item: Option<String> = row.try_get("item")?;
        let attempt: Option<u32> = row.try_get("attempt")?;
        let plugin_digest: Option<String> = row.try_get("plugin")?;
        let action: Option<String> = row.try_get("action")?;
        let stray = item.is_some() || attempt.is_some() || plugin_digest.is_some() || action.is_some();
        let binding = match step {
            Some(step) => Some(Binding { step, item, attempt, plugin_digest, action }),
            // Without a step there is nothing that the others could belong to: let the seal refuse it.
            None if stray => Some(Binding { step: String::new(), item, attempt, plugin_digest, action }),
            None => None,
        };
        Ok(Self {
            seq: row.try_get("seq")?,
            format: row.try_get("format")?,
            epoch: row.try_get("epoch")?,
            previous: row.try_get("previous")?,
            kind: row.try_get("kind")?,
            time_ms: row.try_get("time_ms")?,
            binding,
            nonce: row.try_get("nonce")?,
            digest: row.try_get("digest")?,
            body: row.try_get("body")?,
            erased: row.try_get::<i64, _>("erased")? != 0,
            hash: row.try_get("hash")?,
        })
    }

    /// Whether the hash is the one that this event has as part of that run.
    pub(crate) fn is_of(&self, store: &str, run: &RunId) -> bool {
        let link = Link {
            store,
            run,
            seq: self.seq,
            epoch: self.epoch,
            previous: &self.previous,
            kind: &self.kind,
            time_ms: self.time_ms,
            digest: &self.digest,
        };
        link.hash().as_slice() == self.hash
    }

    /// The payload, if the seal confirms the columns beside it.
    pub(crate) fn open(&self, store: &str, run: &RunId, key: &RunKey) -> Result<Vec<u8>, Broken> {
        let bound = envelope::event_binding(store, run, self.seq, &self.kind, self.binding.as_ref());
        self.body.as_deref().and_then(|body| key.open(&self.nonce, body, &bound)).ok_or_else(|| {
            Broken::changed(self.seq, "its step, item, attempt, plugin or action is not what was sealed")
        })
    }
}

/// A column holds what can't have been written, such as a negative attempt or text that is not UTF-8.
fn unreadable(run: &RunId, row: &SqliteRow, error: sqlx::Error) -> Error {
    match (row.try_get::<i64, _>("seq"), error) {
        (Ok(seq), sqlx::Error::ColumnDecode { index, .. }) => {
            Error::broken(run, seq.unsigned_abs(), format!("its column {index} can't be read"))
        }
        (_, error) => Error::Database(error),
    }
}
