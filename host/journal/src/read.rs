//! Reading runs back, and finding out whether they are still what was written.
//!
//! Owns the walk along the chain. Invariant: an event is handed out only after its place, its link to the one before,
//! its digest and its hash hold, and, where the payload is opened, after the seal has confirmed the plain columns.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Executor, Row};

use crate::envelope::{self, FORMAT_NUMBER, GENESIS, Link};
use crate::error::Error;
use crate::event::{Binding, RunRow, StoredEvent};
use crate::id::{BlobId, RunId, hex, normalise, parse_digest};
use crate::seal::{KeyOwner, NONCE_LENGTH, RunKey};
use crate::store::Store;
use crate::writer::Place;

/// Runs that a message about an unknown one names.
const SHOWN: usize = 5;

/// What verifying a run's chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainReport {
    /// Every event is as it was written, and the last one is the head.
    Intact {
        /// How many events there are.
        events: u64,
        /// How many of them had their payload erased on purpose.
        erased: u64,
        /// Whether the key was there, so that payloads and plain columns were checked too.
        opened: bool,
    },
    /// Something was changed, cut or dropped.
    Broken {
        /// The first event that does not hold; 0 is the run's own row.
        seq: u64,
        /// What does not hold.
        what: String,
    },
}

/// The parts of a run's row that never change.
pub(crate) struct Record {
    run: RunId,
    name: String,
    started_ms: i64,
    key_id: String,
    wrapped_key: Vec<u8>,
}

/// An event as its row has it; nothing of it is believed yet.
struct Raw {
    seq: i64,
    format: i64,
    epoch: i64,
    previous: Vec<u8>,
    kind: String,
    time_ms: i64,
    binding: Option<Binding>,
    nonce: Vec<u8>,
    digest: Vec<u8>,
    body: Option<Vec<u8>>,
    erased: bool,
    hash: Vec<u8>,
}

/// A run's events and where its row says that it stands, all of one moment.
struct Snapshot {
    epoch: i64,
    head: i64,
    head_hash: Vec<u8>,
    events: Vec<Raw>,
}

/// An event that does not hold.
struct Fault {
    seq: i64,
    what: String,
}

impl Store {
    /// All runs, the latest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn runs(&self) -> Result<Vec<RunRow>, Error> {
        let mut reader = self.reader().await?.lock().await;
        let rows = reader
            .fetch_all(
                "SELECT id, name, status, started_ms, ended_ms, epoch, head FROM run ORDER BY started_ms DESC, id",
            )
            .await?;
        drop(reader);
        rows.iter().map(run_row).collect()
    }

    /// One run as lists show it.
    ///
    /// # Errors
    /// [`Error::UnknownRun`], [`Error::Database`].
    pub async fn run(&self, run: &RunId) -> Result<RunRow, Error> {
        let sql = "SELECT id, name, status, started_ms, ended_ms, epoch, head FROM run WHERE id = ?";
        let found = self.one(sqlx::query(sql).bind(run.to_string())).await?;
        match found {
            Some(row) => run_row(&row),
            None => Err(self.unknown(run.as_str()).await?),
        }
    }

    /// The run that an id or the beginning of one means.
    ///
    /// # Errors
    /// [`Error::UnknownRun`] with the latest runs, [`Error::AmbiguousRun`] with those that fit, [`Error::BadRunId`],
    /// [`Error::Database`].
    pub async fn resolve(&self, beginning: &str) -> Result<RunId, Error> {
        let wanted = normalise(beginning)?;
        let mut reader = self.reader().await?.lock().await;
        // `{` comes right after `z`, the last letter of the alphabet.
        let rows = reader
            .fetch_all(
                sqlx::query("SELECT id FROM run WHERE id >= ?1 AND id < ?2 ORDER BY id")
                    .bind(wanted.clone())
                    .bind(format!("{wanted}{{")),
            )
            .await?;
        drop(reader);
        let mut candidates = rows.iter().map(id_of).collect::<Result<Vec<_>, _>>()?;
        match (candidates.pop(), candidates.is_empty()) {
            (Some(run), true) => Ok(run),
            (Some(last), false) => {
                candidates.push(last);
                Err(Error::AmbiguousRun { given: beginning.to_owned(), candidates })
            }
            (None, _) => Err(self.unknown(beginning).await?),
        }
    }

    /// All events of a run, opened and checked, in order.
    ///
    /// # Errors
    /// [`Error::Broken`] names the first event that is not what was written; [`Error::Erased`], [`Error::UnknownRun`],
    /// [`Error::WrongKey`], the key's (see [`check_key`](Self::check_key)), [`Error::Database`].
    pub async fn read_run(&self, run: &RunId) -> Result<Vec<StoredEvent>, Error> {
        let record = self.record(run).await?;
        let key = self.run_key(&record)?;
        let snapshot = self.snapshot(run).await?;
        walk(self.id(), run, &snapshot).map_err(|fault| fault.error(run))?;
        snapshot
            .events
            .into_iter()
            .map(|raw| {
                if raw.erased {
                    return Err(Error::Erased { run: run.clone(), seq: raw.seq.unsigned_abs() });
                }
                let payload = open(self.id(), run, &key, &raw).map_err(|fault| fault.error(run))?;
                Ok(StoredEvent {
                    seq: raw.seq.unsigned_abs(),
                    epoch: raw.epoch.unsigned_abs(),
                    kind: raw.kind,
                    time_ms: raw.time_ms,
                    binding: raw.binding,
                    payload,
                    hash: raw.hash.try_into().unwrap_or(GENESIS),
                })
            })
            .collect()
    }

    /// Checks a run's chain. It needs no key; with one it also opens every payload, by which it checks the plain
    /// columns.
    ///
    /// # Errors
    /// [`Error::UnknownRun`], [`Error::Database`]. What is found about the run is in the report.
    pub async fn verify(&self, run: &RunId) -> Result<ChainReport, Error> {
        let record = self.record(run).await?;
        let snapshot = self.snapshot(run).await?;
        if let Err(fault) = walk(self.id(), run, &snapshot) {
            return Ok(fault.report());
        }
        let key = match self.run_key(&record) {
            Ok(key) => Some(key),
            Err(Error::WrongKey { .. }) => {
                let what = "the run's row (name, start or key) is not what was written".to_owned();
                return Ok(ChainReport::Broken { seq: 0, what });
            }
            Err(_) => None,
        };
        if let Some(key) = &key {
            for raw in snapshot.events.iter().filter(|raw| !raw.erased) {
                if let Err(fault) = open(self.id(), run, key, raw) {
                    return Ok(fault.report());
                }
            }
        }
        Ok(ChainReport::Intact {
            events: snapshot.events.len() as u64,
            erased: snapshot.events.iter().filter(|raw| raw.erased).count() as u64,
            opened: key.is_some(),
        })
    }

    /// A blob that was stored by [`RunWriter::put_blob`](crate::RunWriter::put_blob).
    ///
    /// # Errors
    /// [`Error::BadBlob`] when it is not there or not what was written; [`Error::UnknownRun`], the key's,
    /// [`Error::Database`].
    pub async fn blob(&self, run: &RunId, blob: &BlobId) -> Result<Vec<u8>, Error> {
        let bad = |what| Error::BadBlob { run: run.clone(), blob: blob.to_string(), what };
        let key = self.run_key(&self.record(run).await?)?;
        let sql = "SELECT body FROM blob WHERE run = ? AND digest = ?";
        let found = self.one(sqlx::query(sql).bind(run.to_string()).bind(blob.0.to_vec())).await?;
        let body: Vec<u8> = found.ok_or_else(|| bad("is not in the store"))?.try_get(0)?;
        body.split_at_checked(NONCE_LENGTH)
            .and_then(|(nonce, sealed)| key.open(nonce, sealed, &envelope::blob_binding(self.id(), run)))
            .ok_or_else(|| bad("is not what was written"))
    }

    /// The bytes of a plugin, by their SHA-256 in hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::UnknownComponent`], [`Error::BrokenComponent`], [`Error::BadEvent`] for what is no digest,
    /// [`Error::Database`].
    pub async fn component(&self, digest: &str) -> Result<Vec<u8>, Error> {
        let wanted = parse_digest(digest)?;
        let sql = "SELECT body FROM component WHERE digest = ?";
        let found = self.one(sqlx::query(sql).bind(wanted.to_vec())).await?;
        let body: Vec<u8> =
            found.ok_or_else(|| Error::UnknownComponent { digest: hex(&wanted) })?.try_get(0)?;
        if crate::artifacts::sha256(&body) != wanted {
            return Err(Error::BrokenComponent { digest: hex(&wanted) });
        }
        Ok(body)
    }

    pub(crate) async fn record(&self, run: &RunId) -> Result<Record, Error> {
        let sql = "SELECT name, started_ms, key_id, wrapped_key FROM run WHERE id = ?";
        let Some(row) = self.one(sqlx::query(sql).bind(run.to_string())).await? else {
            return Err(self.unknown(run.as_str()).await?);
        };
        Ok(Record {
            run: run.clone(),
            name: row.try_get(0)?,
            started_ms: row.try_get(1)?,
            key_id: row.try_get(2)?,
            wrapped_key: row.try_get(3)?,
        })
    }

    pub(crate) fn run_key(&self, record: &Record) -> Result<RunKey, Error> {
        let Record { run, name, started_ms, key_id, wrapped_key } = record;
        let owner = KeyOwner { store: self.id(), run, name, started_ms: *started_ms };
        RunKey::unwrap(self.key(key_id)?, &owner, wrapped_key)
            .ok_or_else(|| Error::WrongKey { run: run.clone(), id: key_id.clone() })
    }

    /// Where a run stands, if its last event agrees.
    pub(crate) async fn head_of(&self, run: &RunId) -> Result<Place, Error> {
        let sql = "SELECT r.epoch, r.head, r.head_hash, e.hash FROM run r \
                   LEFT JOIN event e ON e.place = (r.number << 32) + r.head WHERE r.id = ?";
        let Some(row) = self.one(sqlx::query(sql).bind(run.to_string())).await? else {
            return Err(self.unknown(run.as_str()).await?);
        };
        let (epoch, head, head_hash): (i64, i64, Vec<u8>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let last: Option<Vec<u8>> = row.try_get(3)?;
        let hash: [u8; 32] = last.unwrap_or(GENESIS.to_vec()).try_into().unwrap_or(GENESIS);
        if hash.as_slice() != head_hash || (head == 0) != (hash == GENESIS) {
            return Err(Error::broken(
                run,
                head.unsigned_abs(),
                "it is not the head that the run's row names",
            ));
        }
        Ok(Place { epoch, head, hash })
    }

    async fn one<'q>(
        &self,
        query: sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<Option<SqliteRow>, Error> {
        let mut reader = self.reader().await?.lock().await;
        let connection: &mut SqliteConnection = &mut reader;
        Ok(connection.fetch_optional(query).await?)
    }

    async fn unknown(&self, given: &str) -> Result<Error, Error> {
        let known = self.runs().await?.into_iter().take(SHOWN).map(|run| run.id).collect();
        Ok(Error::UnknownRun { given: given.to_owned(), known })
    }

    /// One statement, so that row and events are of one moment while another process appends.
    async fn snapshot(&self, run: &RunId) -> Result<Snapshot, Error> {
        const SQL: &str = "SELECT r.epoch AS run_epoch, r.head, r.head_hash, e.seq, e.format, e.epoch, e.previous, \
            e.kind, e.time_ms, e.step, e.item, e.attempt, e.plugin, e.action, e.nonce, e.digest, \
            coalesce(e.body, b.body) AS body, e.erased, e.hash \
            FROM run r LEFT JOIN event e ON e.place BETWEEN r.number << 32 AND (r.number << 32) + 4294967295 \
            LEFT JOIN blob b ON e.body IS NULL AND b.run = r.id AND b.digest = e.digest \
            WHERE r.id = ? ORDER BY e.place";
        let mut reader = self.reader().await?.lock().await;
        let rows = reader.fetch_all(sqlx::query(SQL).bind(run.to_string())).await?;
        drop(reader);
        let Some(first) = rows.first() else { return Err(self.unknown(run.as_str()).await?) };
        let mut events = Vec::with_capacity(rows.len());
        if first.try_get::<Option<i64>, _>("seq")?.is_some() {
            for row in &rows {
                events.push(raw(row).map_err(|error| unreadable(run, row, error))?);
            }
        }
        Ok(Snapshot {
            epoch: first.try_get("run_epoch")?,
            head: first.try_get("head")?,
            head_hash: first.try_get("head_hash")?,
            events,
        })
    }
}

impl Fault {
    fn new(seq: i64, what: impl Into<String>) -> Self {
        Self { seq, what: what.into() }
    }

    fn error(self, run: &RunId) -> Error {
        Error::broken(run, self.seq.unsigned_abs(), self.what)
    }

    fn report(self) -> ChainReport {
        ChainReport::Broken { seq: self.seq.unsigned_abs(), what: self.what }
    }
}

/// Follows the chain without a key.
fn walk(store: &str, run: &RunId, snapshot: &Snapshot) -> Result<(), Fault> {
    let (mut seq, mut epoch, mut previous) = (0, 1, GENESIS.to_vec());
    for raw in &snapshot.events {
        seq += 1;
        let fault = |what: &str| Err(Fault::new(seq, what));
        if raw.seq != seq {
            return fault("it is missing");
        }
        if raw.format != FORMAT_NUMBER {
            return fault("its format is unknown");
        }
        if raw.previous != previous {
            return fault("it does not name the hash of the event before");
        }
        if raw.epoch < epoch || raw.epoch > snapshot.epoch {
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
        let link = Link {
            store,
            run,
            seq,
            epoch: raw.epoch,
            previous: &raw.previous,
            kind: &raw.kind,
            time_ms: raw.time_ms,
            digest: &raw.digest,
        };
        if link.hash().as_slice() != raw.hash {
            return fault("its kind, time, epoch, digest or hash is not what was written");
        }
        epoch = raw.epoch;
        previous.clone_from(&raw.hash);
    }
    if snapshot.head > seq {
        return Err(Fault::new(seq + 1, "it is missing"));
    }
    if snapshot.head != seq || snapshot.head_hash != previous {
        return Err(Fault::new(seq, "it is not the head that the run's row names"));
    }
    Ok(())
}

fn open(store: &str, run: &RunId, key: &RunKey, raw: &Raw) -> Result<Vec<u8>, Fault> {
    let bound = envelope::event_binding(store, run, raw.seq, &raw.kind, raw.binding.as_ref());
    raw.body.as_deref().and_then(|body| key.open(&raw.nonce, body, &bound)).ok_or_else(|| {
        Fault::new(raw.seq, "its step, item, attempt, plugin or action is not what was sealed")
    })
}

fn raw(row: &SqliteRow) -> Result<Raw, sqlx::Error> {
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
    Ok(Raw {
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

/// A column holds what can't have been written, such as a negative attempt or text that is not UTF-8.
fn unreadable(run: &RunId, row: &SqliteRow, error: sqlx::Error) -> Error {
    match (row.try_get::<i64, _>("seq"), error) {
        (Ok(seq), sqlx::Error::ColumnDecode { index, .. }) => {
            Error::broken(run, seq.unsigned_abs(), format!("its column {index} can't be read"))
        }
        (_, error) => Error::Database(error),
    }
}

fn run_row(row: &SqliteRow) -> Result<RunRow, Error> {
    Ok(RunRow {
        id: id_of(row)?,
        name: row.try_get(1)?,
        status: row.try_get(2)?,
        started_ms: row.try_get(3)?,
        ended_ms: row.try_get(4)?,
        epoch: row.try_get::<i64, _>(5)?.unsigned_abs(),
        head: row.try_get::<i64, _>(6)?.unsigned_abs(),
    })
}

fn id_of(row: &SqliteRow) -> Result<RunId, Error> {
    RunId::parse(row.try_get::<&str, _>(0)?)
}
