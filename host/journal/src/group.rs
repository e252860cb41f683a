//! Groups of runs of which one at a time may work, and who holds them.
//!
//! Owns the reading of the table `hold`: a row for each time that a run came to hold a group, numbered by its fence.
//! Acquiring and releasing go with a commit of the run (see [`RunWriter::queue_lock`](crate::RunWriter::queue_lock)).
//! Invariant: a group has at most one holder; a later holder has a greater fence.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::Error;
use crate::id::RunId;
use crate::store::Store;

/// Who holds a group's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupHolder {
    /// The run.
    pub run: RunId,
    /// From 1; greater than that of every earlier holder.
    pub fence: u64,
    /// The run that held it last before, if another one ever did.
    pub before: Option<RunId>,
}

impl Store {
    /// Who holds a group's lock at this moment, if any run does. A run holds it until it releases it, also while no
    /// process owns the run.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn group(&self, group: &str) -> Result<Option<GroupHolder>, Error> {
        let sql = "SELECT h.run, h.fence, (SELECT b.run FROM hold b WHERE b.name = h.name AND b.run <> h.run \
                   ORDER BY b.fence DESC LIMIT 1) FROM hold h WHERE h.name = ? AND h.released = 0";
        let found = self.one(sqlx::query(sql).bind(group.to_owned())).await?;
        found.map(|row| holder(&row)).transpose()
    }

    /// The last run that held a group's lock: its holder while it is held.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn last_of_group(&self, group: &str) -> Result<Option<RunId>, Error> {
        let sql = "SELECT run FROM hold WHERE name = ? ORDER BY fence DESC LIMIT 1";
        let found = self.one(sqlx::query(sql).bind(group.to_owned())).await?;
        found.map(|row| RunId::parse(row.try_get(0)?)).transpose()
    }
}

fn holder(row: &SqliteRow) -> Result<GroupHolder, Error> {
    let before: Option<String> = row.try_get(2)?;
    Ok(GroupHolder {
        run: RunId::parse(row.try_get(0)?)?,
        fence: row.try_get::<i64, _>(1)?.unsigned_abs(),
        before: before.map(|run| RunId::parse(&run)).transpose()?,
    })
}
