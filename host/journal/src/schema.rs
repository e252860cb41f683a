//! The layout of the store file, and opening, making and migrating it.
//!
//! Owns the SQL of the tables and the settings of a connection. Invariant: a connection that leaves this module is
//! to a store of the current layout, in WAL mode, through a SQLite without the WAL-reset fault. Payloads are sealed
//! before they come here; the plain columns are indexes that are checked against the seal when read.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};

use crate::engine_key::EnginePublic;
use crate::error::Error;
use crate::files;

/// The layout that this crate writes; `user_version` of the file.
pub(crate) const VERSION: i64 = 1;
/// "WNDL", so that `file` and we know a store from other databases.
const APPLICATION: i64 = 0x574e_444c;
/// The first SQLite without the WAL-reset race (<https://www.sqlite.org/wal.html#walresetbug>).
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];
/// How long SQLite itself waits for another process's commit, which takes milliseconds.
const BUSY: Duration = Duration::from_secs(10);

/// Appending is what must be cheap. Most commits write the last page of `event` and nothing else; for that an event's
/// place is an integer, the run's number and the event's, so that its table grows at its end and no row is too long for
/// its page, as it would be in a key's own tree. `run` and `seq` are read out of the place and take no room. For that,
/// too, `head` and `head_hash` of a run are not its last event but the one where it stood when the row last changed:
/// where a run stands is what its last event says.
///
/// A consumed `message` keeps its row without the body, so that its id is known. `hold` has a row for each time that a
/// run came to hold a group. What is signed is described in `attest`; `head` and `chain` name runs that need not be
/// there any more.
const TABLES: &str = "
CREATE TABLE meta (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    store TEXT NOT NULL,
    key_id TEXT NOT NULL,
    engine_key BLOB NOT NULL
) STRICT;
CREATE TABLE run (
    number INTEGER PRIMARY KEY CHECK (number BETWEEN 1 AND 2147483647),
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    epoch INTEGER NOT NULL,
    head INTEGER NOT NULL CHECK (head BETWEEN 0 AND 4294967295),
    head_hash BLOB NOT NULL,
    key_id TEXT NOT NULL,
    wrapped_key BLOB NOT NULL,
    detached INTEGER NOT NULL
) STRICT;
CREATE INDEX unfinished ON run (started_ms) WHERE ended_ms IS NULL;
CREATE TABLE event (
    place INTEGER PRIMARY KEY,
    run INTEGER NOT NULL AS (place >> 32) REFERENCES run (number),
    seq INTEGER NOT NULL AS (place & 4294967295),
    format INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    previous BLOB NOT NULL,
    kind TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    step TEXT,
    item TEXT,
    attempt INTEGER,
    plugin TEXT,
    action TEXT,
    nonce BLOB NOT NULL,
    digest BLOB NOT NULL,
    body BLOB,
    erased INTEGER NOT NULL DEFAULT 0,
    hash BLOB NOT NULL
) STRICT;
CREATE TABLE blob (
    run TEXT NOT NULL REFERENCES run (id),
    digest BLOB NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (run, digest)
) STRICT;
CREATE TABLE message (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL REFERENCES run (id),
    id TEXT NOT NULL,
    posted_ms INTEGER NOT NULL,
    nonce BLOB NOT NULL,
    body BLOB,
    UNIQUE (run, id)
) STRICT;
CREATE INDEX waiting ON message (run, place) WHERE body IS NOT NULL;
CREATE TABLE hold (
    name TEXT NOT NULL,
    fence INTEGER NOT NULL,
    run TEXT NOT NULL REFERENCES run (id),
    released INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (name, fence)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX holder ON hold (name) WHERE released = 0;
CREATE TABLE head (
    run TEXT NOT NULL,
    seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    hash BLOB NOT NULL,
    time_ms INTEGER NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE chain (
    number INTEGER PRIMARY KEY,
    previous BLOB NOT NULL,
    mark TEXT NOT NULL,
    run TEXT NOT NULL,
    label TEXT NOT NULL,
    seq INTEGER NOT NULL,
    run_hash BLOB NOT NULL,
    time_ms INTEGER NOT NULL,
    hash BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
CREATE TABLE component (
    digest BLOB PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;
";

/// What it takes to bring a store from the version before to this one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Migration {
    pub(crate) to: i64,
    pub(crate) sql: &'static str,
}

/// In order of versions. Empty as long as there is only the first one.
pub(crate) const MIGRATIONS: &[Migration] = &[];

/// What a store says about itself.
#[derive(Debug, Clone)]
pub(crate) struct Meta {
    pub(crate) store: String,
    pub(crate) key_id: String,
    pub(crate) engine: EnginePublic,
    /// The plugins it holds.
    pub(crate) components: Vec<[u8; 32]>,
}

/// What the first look at a file shows.
pub(crate) struct Found {
    pub(crate) version: i64,
    pub(crate) empty: bool,
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        // An I/O error on a mapped page is a signal, not an error code.
        .pragma("mmap_size", "0")
        // The file shrinks back to this after a burst.
        .pragma("journal_size_limit", "67108864")
        // The results of a commit fit without a second exchange with the database's thread.
        .row_buffer_size(4096)
        .thread_name(|_| "windlass-store".to_owned())
        .disable_statement_logging()
}

/// A connection that may write. The file is there.
pub(crate) async fn connect(path: &Path) -> Result<SqliteConnection, Error> {
    options(path).connect().await.map_err(|error| not_a_database(path, error))
}

/// A connection that can't write.
pub(crate) async fn connect_to_read(path: &Path) -> Result<SqliteConnection, Error> {
    options(path).read_only(true).connect().await.map_err(|error| not_a_database(path, error))
}

/// A connection that can't write, and what it sees. What a process has left that died while it made the store is taken
/// back before: only a connection that writes can do that.
pub(crate) async fn open_to_read(path: &Path) -> Result<(SqliteConnection, Found), Error> {
    match look_to_read(path).await {
        Err(Error::Database(error)) if is_unfinished(&error) => {
            let mut writing = connect(path).await?;
            look(&mut writing, path).await?;
            writing.close().await?;
            look_to_read(path).await
        }
        found => found,
    }
}

async fn look_to_read(path: &Path) -> Result<(SqliteConnection, Found), Error> {
    let mut connection = connect_to_read(path).await?;
    let found = look(&mut connection, path).await?;
    Ok((connection, found))
}

/// Whether a transaction that nobody will finish is in the way of those who only read.
fn is_unfinished(error: &sqlx::Error) -> bool {
    /// `SQLITE_READONLY_ROLLBACK`
    const CODE: &str = "776";
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == CODE)
}

/// Makes an empty file for a store, for this user alone, if there is none; narrows the rights of one that is there.
pub(crate) fn prepare_file(path: &Path) -> Result<(), Error> {
    let file = files::private()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(Error::io("open the store", path))?;
    let mode = file.metadata().map_err(Error::io("look at", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "others had access to the store; narrowed to 600");
        file.set_permissions(Permissions::from_mode(0o600)).map_err(Error::io("protect", path))?;
    }
    Ok(())
}

/// Looks at a file without trusting it: the SQLite that reads it, whose file it is, which layout.
pub(crate) async fn look(connection: &mut SqliteConnection, path: &Path) -> Result<Found, Error> {
    let rows = connection
        .fetch_all(
            "SELECT sqlite_version(); SELECT count(*) FROM sqlite_schema; PRAGMA application_id; PRAGMA user_version; \
             PRAGMA journal_mode",
        )
        .await
        .map_err(|error| not_a_database(path, error))?;
    let number = |place: usize| rows.get(place).map_or(Ok(-1), |row| row.try_get::<i64, _>(0));
    let text = |place: usize| rows.get(place).map_or(Ok(String::new()), |row| row.try_get::<String, _>(0));
    let sqlite = text(0)?;
    if !new_enough(&sqlite) {
        return Err(Error::OldSqlite { found: sqlite });
    }
    let (tables, application, version) = (number(1)?, number(2)?, number(3)?);
    if tables == 0 && application == 0 && version == 0 {
        return Ok(Found { version, empty: true });
    }
    let other = |what: &str| Error::NotAStore { path: path.to_path_buf(), what: what.to_owned() };
    if application != APPLICATION {
        return Err(other("it is a database of another program"));
    }
    if version > VERSION {
        return Err(Error::NewerStore { path: path.to_path_buf(), found: version, supported: VERSION });
    }
    if text(4)? != "wal" {
        return Err(other("it is not in WAL mode"));
    }
    Ok(Found { version, empty: false })
}

/// Lays out an empty file.
pub(crate) async fn create(
    connection: &mut SqliteConnection,
    store: &str,
    key_id: &str,
    engine: &EnginePublic,
) -> Result<(), Error> {
    connection.execute("PRAGMA journal_mode = WAL").await?;
    let sql = format!(
        "BEGIN IMMEDIATE; {TABLES} INSERT INTO meta VALUES (1, ?1, ?2, ?3); \
         PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT"
    );
    connection
        .execute(
            sqlx::query(AssertSqlSafe(sql))
                .bind(store.to_owned())
                .bind(key_id.to_owned())
                .bind(engine.bytes().to_vec())
                .persistent(false),
        )
        .await?;
    Ok(())
}

/// Brings an older store up to `target`, after a copy of it; answers where the copy is.
pub(crate) async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
    found: i64,
    migrations: &[Migration],
) -> Result<Option<PathBuf>, Error> {
    let wanted: Vec<_> = migrations.iter().filter(|migration| migration.to > found).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let mut copy = path.as_os_str().to_owned();
    copy.push(format!(".v{found}"));
    let copy = PathBuf::from(copy);
    files::private()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&copy)
        .map_err(Error::io("make the copy before migrating", &copy))?;
    let target = copy.to_string_lossy().into_owned();
    connection.execute(sqlx::query("VACUUM INTO ?1").bind(target)).await?;
    for migration in wanted {
        let mut step = connection.begin_with("BEGIN IMMEDIATE").await?;
        step.execute(AssertSqlSafe(migration.sql)).await?;
        step.execute(AssertSqlSafe(format!("PRAGMA user_version = {}", migration.to))).await?;
        step.commit().await?;
    }
    Ok(Some(copy))
}

/// The store's identity and what it holds.
pub(crate) async fn meta(connection: &mut SqliteConnection, path: &Path) -> Result<Meta, Error> {
    let sql = "SELECT store, key_id, engine_key FROM meta; SELECT digest FROM component";
    let rows = connection.fetch_all(sql).await?;
    let not_a_store = |what: &str| Error::NotAStore { path: path.to_path_buf(), what: what.to_owned() };
    let (first, components) = rows.split_first().ok_or_else(|| not_a_store("its identity is missing"))?;
    Ok(Meta {
        store: first.try_get(0)?,
        key_id: first.try_get(1)?,
        engine: EnginePublic::from_bytes(first.try_get(2)?)
            .ok_or_else(|| not_a_store("its engine key is none"))?,
        components: components
            .iter()
            .filter_map(|row| row.try_get::<Vec<u8>, _>(0).ok().and_then(|digest| digest.try_into().ok()))
            .collect(),
    })
}

fn new_enough(version: &str) -> bool {
    let parts: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
    parts.is_some_and(|parts| parts.as_slice() >= OLDEST_SQLITE.as_slice())
}

fn not_a_database(path: &Path, error: sqlx::Error) -> Error {
    /// SQLITE_NOTADB
    const CODE: &str = "26";
    match error.as_database_error().and_then(|error| error.code()) {
        Some(code) if code == CODE => {
            Error::NotAStore { path: path.to_path_buf(), what: "it is not a SQLite database".to_owned() }
        }
        _ => Error::Database(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine_key::EngineKey;

    #[test]
    fn sqlite_versions_with_the_wal_fault_are_refused() {
        assert!(new_enough("3.51.3") && new_enough("3.52.0") && new_enough("4.0.0"));
        for old in ["3.51.2", "3.7.0", "2.99.99", "3.51", "", "new"] {
            assert!(!new_enough(old), "{old}");
        }
    }

    #[tokio::test]
    async fn an_older_store_is_migrated_after_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        prepare_file(&path).unwrap();
        let mut connection = connect(&path).await.unwrap();
        let engine = EngineKey::create(&folder.path().join("keys"), "s").unwrap().public();
        create(&mut connection, "s", "k", &engine).await.unwrap();
        assert_eq!(migrate(&mut connection, &path, 1, MIGRATIONS).await.unwrap(), None);

        let next =
            [Migration { to: 2, sql: "ALTER TABLE run ADD COLUMN label TEXT; UPDATE meta SET store = 't'" }];
        let copy = migrate(&mut connection, &path, 1, &next).await.unwrap().unwrap();
        assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(meta(&mut connection, &path).await.unwrap().store, "t");
        assert!(matches!(
            look(&mut connection, &path).await,
            Err(Error::NewerStore { found: 2, supported: 1, .. })
        ));
        let mut old = connect_to_read(&copy).await.unwrap();
        assert_eq!(meta(&mut old, &copy).await.unwrap().store, "s");
    }

    #[tokio::test]
    async fn other_files_are_told_from_stores() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "x".repeat(5000)).unwrap();
        let error = connect(&path).await.err().unwrap();
        assert!(error.to_string().ends_with("it is not a SQLite database"), "{error}");

        let path = folder.path().join("other.db");
        prepare_file(&path).unwrap();
        let mut connection = connect(&path).await.unwrap();
        connection.execute("CREATE TABLE t (a)").await.unwrap();
        let error = look(&mut connection, &path).await.err().unwrap();
        assert!(error.to_string().ends_with("it is a database of another program"), "{error}");
    }
}
