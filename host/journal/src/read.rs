//! Reading runs back.
//!
//! Invariant: an event is handed out only after its place, its link to the one before, its digest and its hash hold,
//! and after the seal has confirmed the plain columns.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Executor, Row};

use crate::envelope::{self, GENESIS};
use crate::error::Error;
use crate::event::{RunRow, StoredEvent};
use crate::id::{BlobId, RunId, hex, normalise, parse_digest};
use crate::report::Broken;
use crate::seal::{KeyOwner, NONCE_LENGTH, RunKey};
use crate::store::Store;
use crate::walk::Snapshot;
use crate::writer::Place;

/// Runs that a message about an unknown one names.
const SHOWN: usize = 5;
/// What [`run_row`] reads.
const COLUMNS: &str = "id, name, status, started_ms, ended_ms, epoch, coalesce((SELECT seq FROM event WHERE place \
    BETWEEN number << 32 AND (number << 32) + 4294967295 ORDER BY place DESC LIMIT 1), 0), detached";

/// The parts of a run's row that never change.
pub(crate) struct Record {
    pub(crate) run: RunId,
    pub(crate) name: String,
    pub(crate) started_ms: i64,
    pub(crate) key_id: String,
    pub(crate) wrapped_key: Vec<u8>,
}

impl Store {
    /// All runs, the latest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn runs(&self) -> Result<Vec<RunRow>, Error> {
        let mut reader = self.reader().await?;
        let rows = reader
            .fetch_all(AssertSqlSafe(format!("SELECT {COLUMNS} FROM run ORDER BY started_ms DESC, id")))
            .await?;
        drop(reader);
        rows.iter().map(run_row).collect()
    }

    /// The runs that have not ended, the earliest first: those that a process which drives runs has to resume.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn unfinished(&self) -> Result<Vec<RunRow>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM run WHERE ended_ms IS NULL ORDER BY started_ms, id");
        let rows = self.reader().await?.fetch_all(AssertSqlSafe(sql)).await?;
        rows.iter().map(run_row).collect()
    }

    /// One run as lists show it.
    ///
    /// # Errors
    /// [`Error::UnknownRun`], [`Error::Database`].
    pub async fn run(&self, run: &RunId) -> Result<RunRow, Error> {
        let sql = format!("SELECT {COLUMNS} FROM run WHERE id = ?");
        let found = self.one(sqlx::query(AssertSqlSafe(sql)).bind(run.to_string())).await?;
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
        let mut reader = self.reader().await?;
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
        let snapshot = Snapshot::read(&mut *self.reader().await?, run).await?;
        let Some(snapshot) = snapshot else { return Err(self.unknown(run.as_str()).await?) };
        let broken = |broken: Broken| Error::broken(run, broken.at, broken.fault.to_string());
        snapshot.walk(self.id(), run).map_err(broken)?;
        snapshot
            .events
            .into_iter()
            .map(|raw| {
                if raw.erased {
                    return Err(Error::Erased { run: run.clone(), seq: raw.seq.unsigned_abs() });
                }
                let payload = raw.open(self.id(), run, &key).map_err(broken)?;
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

    /// Where a run stands, if it still has the event that its row names.
    pub(crate) async fn head_of(&self, run: &RunId) -> Result<Place, Error> {
        let sql = "SELECT r.epoch, r.head, coalesce(e.hash, zeroblob(32)) = r.head_hash, last.seq, last.hash \
                   FROM run r LEFT JOIN event e ON e.place = (r.number << 32) + r.head \
                   LEFT JOIN event last ON last.place = (SELECT max(place) FROM event WHERE place \
                   BETWEEN r.number << 32 AND (r.number << 32) + 4294967295) WHERE r.id = ?";
        let Some(row) = self.one(sqlx::query(sql).bind(run.to_string())).await? else {
            return Err(self.unknown(run.as_str()).await?);
        };
        let (epoch, known, holds): (i64, i64, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let (head, hash): (Option<i64>, Option<Vec<u8>>) = (row.try_get(3)?, row.try_get(4)?);
        let hash = hash.map_or(Ok(GENESIS), TryInto::try_into);
        match hash {
            Ok(hash) if holds => Ok(Place { epoch, head: head.unwrap_or(0), hash }),
            _ => Err(Error::broken(run, known.unsigned_abs(), "it is not the head that the run's row names")),
        }
    }

    pub(crate) async fn one<'q>(
        &self,
        query: sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<Option<SqliteRow>, Error> {
        let mut reader = self.reader().await?;
        let connection: &mut SqliteConnection = &mut reader;
        Ok(connection.fetch_optional(query).await?)
    }

    pub(crate) async fn unknown(&self, given: &str) -> Result<Error, Error> {
        let known = self.runs().await?.into_iter().take(SHOWN).map(|run| run.id).collect();
        Ok(Error::UnknownRun { given: given.to_owned(), known })
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
        detached: row.try_get::<i64, _>(7)? != 0,
    })
}

fn id_of(row: &SqliteRow) -> Result<RunId, Error> {
    RunId::parse(row.try_get::<&str, _>(0)?)
}
