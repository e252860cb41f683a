//! The store as its users hold it: opening, and the ways to become the owner of a run.
//!
//! Owns the connections, the key once it is read, and the knowledge of which plugins are stored. Invariant: a store
//! that was opened for reading has no connection that can write; without a usable key no run is created or taken
//! over.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sqlx::sqlite::SqliteConnection;
use tokio::sync::MutexGuard;

use crate::engine_key::{EngineKey, EnginePublic};
use crate::envelope::GENESIS;
use crate::error::Error;
use crate::event::{NewEvent, NewRun};
use crate::files;
use crate::id::{RunId, hex};
use crate::key::StoreKey;
use crate::lock::{self, Owner, RunLock};
use crate::reader::Reader;
use crate::run_writer::{RunWriter, Writing, checked_component};
use crate::schema::{self, Meta};
use crate::seal::{KeyOwner, RunKey};
use crate::writer::{Change, Place, WriterHandle, WriterStats};

/// Where a store is.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The store file.
    pub path: PathBuf,
    /// The folder of run locks, artifacts and logs.
    pub state_dir: PathBuf,
    /// The folder of store keys. It must not be inside what is backed up with the store.
    pub key_dir: PathBuf,
    /// Make store and key if there is no store.
    pub create: bool,
}

/// Keeps every other process from owning a run. Dropping it lets them.
#[derive(Debug)]
pub struct Claim {
    /// Held, not read.
    _lock: RunLock,
}

/// An open store. Share it in an `Arc`; all methods take `&self`.
pub struct Store {
    options: StoreOptions,
    identity: Arc<str>,
    key_id: String,
    components: HashSet<[u8; 32]>,
    engine: EnginePublic,
    key: OnceLock<StoreKey>,
    engine_key: OnceLock<Arc<EngineKey>>,
    reader: Arc<Reader>,
    writer: Option<WriterHandle>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Store")
            .field("path", &self.options.path)
            .field("id", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a store to read and write it; makes it (file, folders and key) if asked. Needs a tokio runtime, on
    /// which the writer then runs.
    ///
    /// The key is not read yet: a store without its key opens, and lists and verifies its runs.
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::NotAStore`], [`Error::NewerStore`], [`Error::OldSqlite`], [`Error::Io`],
    /// [`Error::Database`]; when making one also [`Error::UnsafeKey`] and [`Error::Random`].
    pub async fn open(options: StoreOptions) -> Result<Self, Error> {
        let path = &options.path;
        if !path.exists() && !options.create {
            return Err(Error::NoStore { path: path.clone() });
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            files::private_folder(folder)?;
        }
        files::private_folder(&options.state_dir)?;
        schema::prepare_file(path)?;
        let mut connection = schema::connect(path).await?;
        let found = schema::look(&mut connection, path).await?;
        if found.empty || found.version < schema::VERSION {
            lay_out(&mut connection, &options).await?;
        }
        let meta = schema::meta(&mut connection, path).await?;
        Ok(Self::with(options, meta, None, Some(WriterHandle::start(connection))))
    }

    /// Opens a store to read it, also while another process writes it. `create` has no meaning here.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), but for the ones about making a store; an older format is [`Error::NotAStore`]
    /// until it was opened for writing once, which migrates it.
    pub async fn open_read(options: StoreOptions) -> Result<Self, Error> {
        let path = &options.path;
        if !path.exists() {
            return Err(Error::NoStore { path: path.clone() });
        }
        let (mut connection, found) = schema::open_to_read(path).await?;
        if found.empty {
            return Err(Error::NoStore { path: path.clone() });
        }
        if found.version < schema::VERSION {
            let what = format!(
                "it has format {}, and is migrated when it is next opened for writing",
                found.version
            );
            return Err(Error::NotAStore { path: path.clone(), what });
        }
        let meta = schema::meta(&mut connection, path).await?;
        Ok(Self::with(options, meta, Some(connection), None))
    }

    fn with(
        options: StoreOptions,
        meta: Meta,
        reading: Option<SqliteConnection>,
        writer: Option<WriterHandle>,
    ) -> Self {
        Self {
            reader: Arc::new(Reader::new(options.path.clone(), reading)),
            options,
            identity: meta.store.into(),
            key_id: meta.key_id,
            components: meta.components.into_iter().collect(),
            engine: meta.engine,
            key: OnceLock::new(),
            engine_key: OnceLock::new(),
            writer,
        }
    }

    /// The store's own id, which every event is bound to.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.identity
    }

    /// The folder of run locks, artifacts and logs.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.options.state_dir
    }

    /// Reads and checks the store's key and the engine's, so that a missing one is found before anything is begun.
    ///
    /// # Errors
    /// [`Error::NoKey`], [`Error::UnsafeKey`], [`Error::DamagedKey`], [`Error::Io`].
    pub fn check_key(&self) -> Result<(), Error> {
        self.key(&self.key_id)?;
        self.signer().map(drop)
    }

    /// Creates a run and its first events in one commit; this process owns it from then on.
    ///
    /// # Errors
    /// The key's (see [`check_key`](Self::check_key)), [`Error::RunExists`], [`Error::Busy`], [`Error::ReadOnly`] and
    /// those of [`RunWriter::append`].
    pub async fn create_run(&self, run: NewRun, events: Vec<NewEvent>) -> Result<RunWriter, Error> {
        let writer = self.writer()?;
        let store_key = self.key(&self.key_id)?;
        let signer = self.signer()?;
        let NewRun { id, name, status, started_ms, detached, components } = run;
        let lock = RunLock::acquire(&self.locks(), &id).await?;
        let owner = KeyOwner { store: &self.identity, run: &id, name: &name, started_ms };
        let (key, wrapped_key) = RunKey::create(store_key, &owner)?;
        let place = Place { epoch: 1, head: 0, hash: GENESIS };
        let key_id = self.key_id.clone();
        let creation = Change::Create { name, started_ms, key_id, wrapped_key, detached };
        let mut run =
            RunWriter::new(self.writing(writer, signer), id, key, place, lock).creating(creation, status);
        for (digest, bytes) in components {
            let parsed = crate::id::parse_digest(&digest)?;
            if !self.components.contains(&parsed) {
                run.queue_component(checked_component(&digest, &bytes)?, bytes);
            }
        }
        run.append(events).await?;
        Ok(run)
    }

    /// Becomes the owner of a run: takes its lock and raises its epoch, so that no earlier owner can append.
    ///
    /// # Errors
    /// [`Error::Busy`] while another process owns it, [`Error::UnknownRun`], [`Error::Broken`] when its head is not its
    /// last event, [`Error::WrongKey`], and those of [`create_run`](Self::create_run).
    pub async fn take_over(&self, run: &RunId) -> Result<RunWriter, Error> {
        let writer = self.writer()?;
        let signer = self.signer()?;
        let lock = RunLock::acquire(&self.locks(), run).await?;
        let record = self.record(run).await?;
        let key = self.run_key(&record)?;
        let place = self.head_of(run).await?;
        let mut owner = RunWriter::new(self.writing(writer, signer), run.clone(), key, place, lock).raising();
        owner.append(Vec::new()).await?;
        Ok(owner)
    }

    /// Keeps a run from being owned or claimed by anybody else while the claim is held, and writes nothing: for what is
    /// to be decided once about a run that has ended, such as which run follows it.
    ///
    /// # Errors
    /// [`Error::Busy`] while another process owns or claims it; [`Error::Io`].
    pub async fn claim(&self, run: &RunId) -> Result<Claim, Error> {
        Ok(Claim { _lock: RunLock::acquire(&self.locks(), run).await? })
    }

    /// The process that owns a run at this moment, if any.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn owner(&self, run: &RunId) -> Result<Option<Owner>, Error> {
        lock::owner(&self.locks(), run)
    }

    /// What the writer has done so far; all nought for a store that was opened for reading.
    #[must_use]
    pub fn stats(&self) -> WriterStats {
        self.writer.as_ref().map_or(WriterStats { calls: 0, commits: 0, members: 0 }, WriterHandle::stats)
    }

    /// Finishes what is being written and closes the store file. A store that is only dropped loses nothing that was
    /// answered, but leaves its write-ahead log to the next process.
    pub async fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
    }

    fn writing(&self, writer: &WriterHandle, engine: Arc<EngineKey>) -> Writing {
        Writing {
            store: Arc::clone(&self.identity),
            writer: writer.clone(),
            reader: Arc::clone(&self.reader),
            engine,
        }
    }

    pub(crate) fn writer(&self) -> Result<&WriterHandle, Error> {
        self.writer.as_ref().ok_or(Error::ReadOnly)
    }

    fn locks(&self) -> PathBuf {
        self.options.state_dir.join("locks")
    }

    /// A connection that only reads.
    pub(crate) async fn reader(&self) -> Result<MutexGuard<'_, SqliteConnection>, Error> {
        self.reader.lock().await
    }

    pub(crate) fn path(&self) -> &Path {
        &self.options.path
    }

    pub(crate) fn key_dir(&self) -> &Path {
        &self.options.key_dir
    }

    /// The key that signs, as the store names it.
    pub(crate) fn engine(&self) -> &EnginePublic {
        &self.engine
    }

    /// The engine's key. It is read once.
    fn signer(&self) -> Result<Arc<EngineKey>, Error> {
        if let Some(key) = self.engine_key.get() {
            return Ok(Arc::clone(key));
        }
        let key = EngineKey::load(&self.options.key_dir, &self.identity, &self.engine.id)?;
        Ok(Arc::clone(self.engine_key.get_or_init(|| Arc::new(key))))
    }

    /// The store key of that id. The current one is read once.
    pub(crate) fn key(&self, id: &str) -> Result<&StoreKey, Error> {
        if let Some(key) = self.key.get() {
            return self.same_key(key, id);
        }
        let key = StoreKey::load(&self.options.key_dir, id)?;
        self.same_key(self.key.get_or_init(|| key), id)
    }

    fn same_key<'a>(&self, key: &'a StoreKey, id: &str) -> Result<&'a StoreKey, Error> {
        if key.id == id {
            return Ok(key);
        }
        Err(Error::NoKey { id: id.to_owned(), path: crate::key::path_of(&self.options.key_dir, id) })
    }
}

/// Makes the tables or brings them up to date, one process at a time.
async fn lay_out(connection: &mut SqliteConnection, options: &StoreOptions) -> Result<(), Error> {
    let path = &options.path;
    let lock = lock::for_schema(&options.state_dir.join("locks")).await?;
    let found = schema::look(connection, path).await?;
    if found.empty {
        if !options.create {
            return Err(Error::NoStore { path: path.clone() });
        }
        let key = StoreKey::create(&options.key_dir)?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(Error::Random)?;
        let id = hex(&id);
        let engine = EngineKey::create(&options.key_dir, &id)?;
        schema::create(connection, &id, &key.id, &engine.public()).await?;
    } else if let Some(copy) = schema::migrate(connection, path, found.version, schema::MIGRATIONS).await? {
        tracing::info!(copy = %copy.display(), "the store was migrated after a copy");
    }
    drop(lock);
    Ok(())
}
