//! Driving every detached run of a store in one process.
//!
//! A run that rests is put aside: of it only the id and the time are kept, and it is read back when its time comes or it
//! has mail. Invariants: one daemon a store; a run that another process owns is left to it and looked at again later;
//! told to leave, the daemon begins nothing new and takes nothing away from the runs.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::sync::{Semaphore, mpsc, watch};
use windlass_engine::Millis;
use windlass_journal::{RunId, Store};

use crate::clock::Clock;
use crate::driver::{Ending, Signals};
use crate::error::RunError;
use crate::host::Host;
use crate::take::go_on;
use crate::watch::Watcher;

/// How often the daemon looks for new runs and for those whose time has come.
const LOOK: Duration = Duration::from_millis(500);
/// How long a run is left alone that could not be taken up.
const AGAIN_MS: Millis = 5_000;
/// How many runs are taken up at one time: more would wait for the same disk and processor.
const AT_ONCE: usize = 32;

/// What the daemon tells whoever started it.
pub trait Attendant: Send + Sync {
    /// What watches a run from now on.
    fn taken_up(&self, run: &RunId) -> Arc<dyn Watcher>;

    /// A run came to this in this process.
    fn rests(&self, run: &RunId, ending: &Ending);

    /// A run could not be taken up or went on no further.
    fn failed(&self, run: &RunId, error: &RunError);
}

/// The only daemon of a store. The right ends with the process.
#[derive(Debug)]
pub struct Daemon {
    _lock: File,
}

impl Daemon {
    /// Becomes the store's daemon.
    ///
    /// # Errors
    /// [`RunError::DaemonRuns`] where there is one; [`RunError::Read`] where that can't be found out.
    pub fn claim(store: &Store) -> Result<Self, RunError> {
        let file = open_lock(store.state_dir())?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _lock: file }),
            Err(_) => Err(RunError::DaemonRuns),
        }
    }

    /// Whether a daemon drives the detached runs of the store at this moment.
    ///
    /// # Errors
    /// [`RunError::Read`].
    pub fn is_there(store: &Store) -> Result<bool, RunError> {
        let file = open_lock(store.state_dir())?;
        Ok(flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    }

    /// Drives the detached runs until `leave` is true, and then until none of them is in the middle of a write any
    /// more.
    ///
    /// # Errors
    /// The store's, where its runs can't be listed. What happens to one run is the attendant's to hear.
    pub async fn serve(
        self,
        host: &Host,
        attendant: Arc<dyn Attendant>,
        mut leave: watch::Receiver<bool>,
    ) -> Result<(), RunError> {
        let (done, mut over) = mpsc::channel(64);
        let mut runs = Runs {
            host: host.clone(),
            attendant,
            leave: leave.clone(),
            places: HashMap::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            clock: Clock::starting(0),
            done,
        };
        let mut mail = host.mail.clone();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some((run, ended)) = over.recv() => runs.rests(run, &ended),
                () = mail.changed() => runs.wake(&mail.waiting()),
                _ = looks.tick() => runs.look().await?,
                stopped = leave.wait_for(|wanted| *wanted) => {
                    drop(stopped);
                    break;
                }
            }
        }
        while runs.places.values().any(|place| *place == Place::Driven) {
            let Some((run, ended)) = over.recv().await else { break };
            runs.rests(run, &ended);
        }
        Ok(())
    }
}

/// Where a detached run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At work in this process.
    Driven,
    /// Put aside until then; without a time until somebody asks something of it.
    Aside(Option<Millis>),
}

struct Runs {
    host: Host,
    attendant: Arc<dyn Attendant>,
    leave: watch::Receiver<bool>,
    places: HashMap<RunId, Place>,
    turns: Arc<Semaphore>,
    clock: Clock,
    done: mpsc::Sender<(RunId, Result<Ending, RunError>)>,
}

impl Runs {
    /// Takes up what is new and whose time has come.
    async fn look(&mut self) -> Result<(), RunError> {
        let unfinished = self.host.store.unfinished().await?;
        let now = self.clock.now();
        for row in unfinished.into_iter().filter(|row| row.detached) {
            match self.places.get(&row.id) {
                Some(Place::Driven | Place::Aside(None)) => (),
                Some(Place::Aside(Some(at))) if *at > now => (),
                // What was held before this process began is still held, until somebody asks something of it.
                None if row.status == "held" => {
                    self.places.insert(row.id, Place::Aside(None));
                }
                _ => self.take_up(row.id),
            }
        }
        Ok(())
    }

    /// Takes up those that have mail.
    fn wake(&mut self, waiting: &std::collections::BTreeSet<RunId>) {
        let aside: Vec<RunId> = waiting
            .iter()
            .filter(|run| matches!(self.places.get(*run), Some(Place::Aside(_))))
            .cloned()
            .collect();
        for run in aside {
            self.take_up(run);
        }
    }

    fn take_up(&mut self, run: RunId) {
        self.places.insert(run.clone(), Place::Driven);
        let (host, attendant) = (self.host.clone(), Arc::clone(&self.attendant));
        let (turns, done, leave) = (Arc::clone(&self.turns), self.done.clone(), self.leave.clone());
        tokio::spawn(async move {
            let (_nobody, person) = mpsc::channel(1);
            let signals = Signals { person, leave: leave.clone() };
            let turn = turns.acquire_owned().await;
            let stopped = *leave.borrow();
            let ended = match turn {
                Ok(turn) if !stopped => go_on(&host, &run, attendant.taken_up(&run), signals, turn).await,
                _ => Ok(Ending::Left),
            };
            // Nobody listens any more only when the daemon ended on an error.
            let _gone = done.send((run, ended)).await;
        });
    }

    fn rests(&mut self, run: RunId, ended: &Result<Ending, RunError>) {
        let place = match ended {
            Ok(Ending::Ended { .. }) => None,
            Ok(Ending::Held { .. } | Ending::Left) => Some(Place::Aside(None)),
            Ok(Ending::Parked { wake }) => Some(Place::Aside(*wake)),
            Err(RunError::Store(
                windlass_journal::Error::Busy { .. } | windlass_journal::Error::Contended,
            )) => Some(Place::Aside(Some(self.clock.now() + AGAIN_MS))),
            Err(_) => Some(Place::Aside(None)),
        };
        match ended {
            Ok(ending) => self.attendant.rests(&run, ending),
            Err(error) => self.attendant.failed(&run, error),
        }
        match place {
            Some(place) => self.places.insert(run, place),
            None => self.places.remove(&run),
        };
    }
}

fn open_lock(state_dir: &Path) -> Result<File, RunError> {
    let path = state_dir.join("locks").join("daemon.lock");
    std::fs::create_dir_all(state_dir.join("locks"))
        .map_err(|source| RunError::Read { path: path.clone(), source })?;
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| RunError::Read { path, source })
}
