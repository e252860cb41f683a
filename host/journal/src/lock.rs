//! Who owns a run: the process that holds the lock on its lock file.
//!
//! The kernel frees the lock when the process ends, however it ends, and programs started by the owner don't
//! inherit it. The lock only keeps honest processes apart; what makes a late append harmless is the epoch, which
//! the new owner raises. Lock files are never removed: a new one beside a locked one would be a second lock.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::Error;
use crate::files;
use crate::id::RunId;

/// The process that owns a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Its process id, if it has written it yet.
    pub pid: Option<u32>,
}

/// A held lock; dropping it frees the run.
#[derive(Debug)]
pub(crate) struct RunLock {
    _file: File,
}

/// A look at a lock takes it shared for a moment. Such looks must not make an owner fail.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(4);

impl RunLock {
    pub(crate) async fn acquire(folder: &Path, run: &RunId) -> Result<Self, Error> {
        let mut file = open(folder, &name_of(run))?;
        for _ in 0..TRIES {
            if try_lock(&file, FlockOperation::NonBlockingLockExclusive, folder)? {
                let path = folder.join(name_of(run));
                file.set_len(0).map_err(Error::io("write", &path))?;
                file.rewind().map_err(Error::io("write", &path))?;
                writeln!(file, "{}", std::process::id()).map_err(Error::io("write", &path))?;
                return Ok(Self { _file: file });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(Error::Busy { run: run.clone(), owner: holder(&mut file) })
    }
}

/// Who owns the run at this moment.
pub(crate) fn owner(folder: &Path, run: &RunId) -> Result<Option<Owner>, Error> {
    let path = folder.join(name_of(run));
    let mut file = match files::private().read(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", &path)(error)),
    };
    if try_lock(&file, FlockOperation::NonBlockingLockShared, folder)? {
        return Ok(None);
    }
    Ok(Some(Owner { pid: holder(&mut file) }))
}

/// A lock for the short work of making or migrating a store.
pub(crate) async fn for_schema(folder: &Path) -> Result<File, Error> {
    let file = open(folder, "store.lock")?;
    while !try_lock(&file, FlockOperation::NonBlockingLockExclusive, folder)? {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(file)
}

fn open(folder: &Path, name: &str) -> Result<File, Error> {
    files::private_folder(folder)?;
    let path: PathBuf = folder.join(name);
    files::private()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("open", &path))
}

fn try_lock(file: &File, how: FlockOperation, folder: &Path) -> Result<bool, Error> {
    match flock(file, how) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(Error::io("lock a file in", folder)(error.into())),
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn name_of(run: &RunId) -> String {
    format!("{run}.lock")
}
