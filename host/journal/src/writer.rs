//! The one place that writes to the store: a task that takes what several runs want to commit and commits it
//! together.
//!
//! Owns the writing connection. Refuses to know keys and payloads: what comes here is sealed. Invariants:
//! - A commit is one call of the database, or two if it locks a group or starts or ends a run (see [`script`]), since
//!   each call costs a change of thread.
//! - A member is written only if its run still has the epoch and head that the member was made for; what a member
//!   writes depends on that one check, so a fenced member changes nothing and disturbs nobody.
//! - If the database refuses a statement, the batch is rolled back and each member is tried alone, so one bad
//!   member fails alone.
//! - After a failed commit nobody knows what is on the disk: nothing is written any more by this process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Either, Executor};
use tokio::sync::{mpsc, oneshot};

use crate::attest::{SignedHead, Unlinked};
use crate::error::Error;
use crate::event::Binding;
use crate::id::RunId;
use crate::queued::Queued;
use crate::script::{self, Answers, Check, Script};

/// Jobs that may wait for the writer before senders wait too.
const QUEUE: usize = 256;
/// Members of one commit. SQLite copies what is left of a text for each statement in it, so that longer texts cost
/// more than they save.
const BATCH: usize = 128;

/// A ciphertext that is kept apart, and the digest by which it is found.
pub(crate) type Blob = ([u8; 32], Vec<u8>);
/// A plugin's bytes and their SHA-256.
pub(crate) type Component = ([u8; 32], Arc<[u8]>);

/// Where a run stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) epoch: i64,
    pub(crate) head: i64,
    pub(crate) hash: [u8; 32],
}

/// An event ready to be stored.
pub(crate) struct SealedEvent {
    pub(crate) seq: i64,
    pub(crate) previous: [u8; 32],
    pub(crate) kind: String,
    pub(crate) time_ms: i64,
    pub(crate) binding: Option<Binding>,
    pub(crate) nonce: [u8; 24],
    pub(crate) digest: [u8; 32],
    /// `None` when it is among the blobs.
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) hash: [u8; 32],
    #[cfg(feature = "kill-points")]
    pub(crate) name: String,
}

/// What makes a run's row say what it says after the commit.
#[derive(Clone)]
pub(crate) enum Change {
    Create { name: String, started_ms: i64, key_id: String, wrapped_key: Vec<u8>, detached: bool },
    From(Place),
}

/// One run's part of a commit.
pub(crate) enum Member {
    Append(Box<Append>),
    Post(Post),
}

/// What the owner of a run writes.
pub(crate) struct Append {
    pub(crate) run: RunId,
    pub(crate) change: Change,
    pub(crate) to: Place,
    pub(crate) events: Vec<SealedEvent>,
    /// Those of the events.
    pub(crate) blobs: Vec<Blob>,
    pub(crate) heads: Vec<SignedHead>,
    pub(crate) chain: Vec<Unlinked>,
    pub(crate) queued: Queued,
}

/// What anybody writes for a run: a sealed message.
pub(crate) struct Post {
    pub(crate) run: RunId,
    pub(crate) id: String,
    pub(crate) posted_ms: i64,
    pub(crate) nonce: [u8; 24],
    pub(crate) body: Vec<u8>,
}

impl Member {
    /// Whether what it writes can be told only after its check.
    fn is_checked_first(&self) -> bool {
        match self {
            Self::Append(append) => !append.chain.is_empty() || !append.queued.locks.is_empty(),
            Self::Post(_) => false,
        }
    }
}

type Answer = oneshot::Sender<Result<(), Error>>;

enum Job {
    Commit(Member, Answer),
    Close(oneshot::Sender<()>),
}

/// What the writer has done since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterStats {
    /// Calls of the database.
    pub calls: u64,
    /// Commits that succeeded.
    pub commits: u64,
    /// Appends that these commits held.
    pub members: u64,
}

#[derive(Default)]
struct Counters {
    calls: AtomicU64,
    commits: AtomicU64,
    members: AtomicU64,
}

/// How others reach the writer.
#[derive(Clone)]
pub(crate) struct WriterHandle {
    jobs: mpsc::Sender<Job>,
    stopped: Arc<OnceLock<String>>,
    counters: Arc<Counters>,
}

impl WriterHandle {
    /// Starts the writer on the current tokio runtime.
    pub(crate) fn start(connection: SqliteConnection) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let handle = Self { jobs, stopped: Arc::default(), counters: Arc::default() };
        let writer =
            Writer { connection, stopped: handle.stopped.clone(), counters: handle.counters.clone() };
        drop(tokio::spawn(writer.work(queue)));
        handle
    }

    /// Waits for a place in the queue. Dropping the future until then loses nothing.
    pub(crate) async fn reserve(&self) -> Result<Slot<'_>, Error> {
        match self.jobs.reserve().await {
            Ok(permit) => Ok(Slot(permit)),
            Err(_) => Err(self.stopped()),
        }
    }

    /// Writes a message.
    pub(crate) async fn post(&self, post: Post) -> Result<(), Error> {
        let answer = self.reserve().await?.send(Member::Post(post));
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Finishes what is queued and closes the connection.
    pub(crate) async fn close(&self) {
        let (answer, done) = oneshot::channel();
        if self.jobs.send(Job::Close(answer)).await.is_ok() {
            drop(done.await);
        }
    }

    pub(crate) fn stopped(&self) -> Error {
        let why = self.stopped.get().map_or("its writer is gone", String::as_str);
        Error::StoreStopped { why: why.to_owned() }
    }

    pub(crate) fn stats(&self) -> WriterStats {
        WriterStats {
            calls: self.counters.calls.load(Ordering::Relaxed),
            commits: self.counters.commits.load(Ordering::Relaxed),
            members: self.counters.members.load(Ordering::Relaxed),
        }
    }
}

/// A place in the writer's queue.
pub(crate) struct Slot<'a>(mpsc::Permit<'a, Job>);

impl Slot<'_> {
    pub(crate) fn send(self, member: Member) -> oneshot::Receiver<Result<(), Error>> {
        let (answer, receiver) = oneshot::channel();
        self.0.send(Job::Commit(member, answer));
        receiver
    }
}

struct Writer {
    connection: SqliteConnection,
    stopped: Arc<OnceLock<String>>,
    counters: Arc<Counters>,
}

/// Why a commit did not happen.
enum Fault {
    /// Another process kept the write lock; nothing was begun.
    Contended,
    /// The database refused a statement; all was rolled back.
    Refused(sqlx::Error),
    /// Nobody knows what is on the disk.
    Stop(String),
}

impl Writer {
    async fn work(mut self, mut queue: mpsc::Receiver<Job>) {
        let closing = self.commit_until_stopped(&mut queue).await;
        if !closing.is_empty() {
            self.stop("it was closed");
            if let Err(error) = self.connection.close().await {
                tracing::warn!(%error, "the store did not close cleanly");
            }
        }
        for answer in closing {
            // Whoever asked may have gone; the store is closed all the same.
            let _ = answer.send(());
        }
        // Who had a place in the queue may send even now, and would wait for ever for an answer that nobody gives.
        queue.close();
        while let Some(job) = queue.recv().await {
            if let Job::Commit(_, answer) = job {
                let why = self.stopped.get().cloned().unwrap_or_default();
                reply(answer, Err(Error::StoreStopped { why }));
            }
        }
    }

    /// Commits until a commit fails or the store is closed; answers who asked for that.
    async fn commit_until_stopped(&mut self, queue: &mut mpsc::Receiver<Job>) -> Vec<oneshot::Sender<()>> {
        let mut jobs = Vec::new();
        while queue.recv_many(&mut jobs, BATCH).await > 0 {
            let (mut members, mut closing) = (Vec::with_capacity(jobs.len()), Vec::new());
            for job in jobs.drain(..) {
                match job {
                    Job::Commit(member, answer) => members.push((member, answer)),
                    Job::Close(answer) => closing.push(answer),
                }
            }
            if let Err(why) = self.commit_all(members).await {
                tracing::error!(%why, "the store stopped writing");
                return Vec::new();
            }
            if !closing.is_empty() {
                return closing;
            }
        }
        Vec::new()
    }

    async fn commit_all(&mut self, members: Vec<(Member, Answer)>) -> Result<(), String> {
        let (members, mut answers): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        match self.commit(&members).await {
            Ok(verdicts) => {
                for (answer, verdict) in answers.into_iter().zip(verdicts) {
                    reply(answer, verdict);
                }
                return Ok(());
            }
            Err(Fault::Contended) => {
                for answer in answers {
                    reply(answer, Err(Error::Contended));
                }
                return Ok(());
            }
            Err(Fault::Stop(why)) => return Err(self.give_up(answers, &why)),
            Err(Fault::Refused(error)) if members.len() == 1 => {
                if let Some(answer) = answers.pop() {
                    reply(answer, Err(Error::Database(error)));
                }
                return Ok(());
            }
            Err(Fault::Refused(error)) => {
                tracing::debug!(%error, "the database refused a batch; trying its members alone");
            }
        }
        let mut alone = members.chunks(1).zip(answers);
        while let Some((member, answer)) = alone.next() {
            let outcome = match self.commit(member).await {
                Ok(verdicts) => verdicts.into_iter().collect(),
                Err(Fault::Contended) => Err(Error::Contended),
                Err(Fault::Refused(error)) => Err(Error::Database(error)),
                Err(Fault::Stop(why)) => {
                    let rest = std::iter::once(answer).chain(alone.map(|(_, answer)| answer)).collect();
                    return Err(self.give_up(rest, &why));
                }
            };
            reply(answer, outcome);
        }
        Ok(())
    }

    fn stop(&self, why: &str) {
        // The first reason is the one that counts.
        drop(self.stopped.set(why.to_owned()));
    }

    fn give_up(&self, answers: Vec<Answer>, why: &str) -> String {
        self.stop(why);
        for answer in answers {
            reply(answer, Err(Error::StoreStopped { why: why.to_owned() }));
        }
        why.to_owned()
    }

    /// One commit; answers what became of each member.
    async fn commit(&mut self, members: &[Member]) -> Result<Vec<Result<(), Error>>, Fault> {
        #[cfg(feature = "kill-points")]
        let moment = crate::kill_points::Moment::of(members);
        #[cfg(feature = "kill-points")]
        moment.begins();
        let verdicts = if members.iter().any(Member::is_checked_first) {
            self.commit_after_checks(members).await?
        } else {
            let (script, checks) = script::whole(members).map_err(Fault::Refused)?;
            let answers = self.call(script).await?;
            verdicts(members, &checks, &answers)
        };
        #[cfg(feature = "kill-points")]
        moment.ends();
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.counters.members.fetch_add(members.len() as u64, Ordering::Relaxed);
        Ok(verdicts)
    }

    /// The same in two calls of one transaction, where the first one tells what the second has to write.
    async fn commit_after_checks(&mut self, members: &[Member]) -> Result<Vec<Result<(), Error>>, Fault> {
        let mut checks = script::checks(members).map_err(Fault::Refused)?;
        let answers = self.call(std::mem::take(&mut checks.script)).await?;
        let verdicts = verdicts(members, &checks.checks, &answers);
        let written = members.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_ok());
        let rest =
            checks.chain_end(&answers).and_then(|end| script::rest(written.map(|(member, _)| member), end));
        match rest {
            Ok(script) => self.call(script).await.map(|_| verdicts),
            Err(error) => Err(self.roll_back(error).await),
        }
    }

    async fn call(&mut self, script: Script) -> Result<Answers, Fault> {
        let (begins, commits, statements) = (script.begins, script.commits, script.statements);
        let is_alone = script.is_alone;
        let kept = script.is_common();
        let mut answers = Answers::default();
        let mut failure = None;
        {
            self.counters.calls.fetch_add(1, Ordering::Relaxed);
            let query = sqlx::query_with(AssertSqlSafe(script.sql), script.arguments).persistent(kept);
            let mut results = self.connection.fetch_many(query);
            loop {
                match results.try_next().await {
                    Ok(Some(Either::Left(done))) => answers.changed.push(done.rows_affected()),
                    Ok(Some(Either::Right(row))) => answers.rows.push((answers.changed.len(), row)),
                    Ok(None) => break,
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
        }
        let done = answers.changed.len();
        if let Some(error) = failure {
            let (first, last) = (begins && done == 0, commits && done + 1 >= statements);
            return Err(match fault_of(&error, first, last && !is_alone) {
                // SQLite has taken its own transaction back.
                None if is_alone => Fault::Refused(error),
                None => self.roll_back(error).await,
                Some(fault) => fault,
            });
        }
        if done != statements {
            return Err(Fault::Stop("the database answered only part of a commit".to_owned()));
        }
        Ok(answers)
    }

    async fn roll_back(&mut self, error: sqlx::Error) -> Fault {
        self.counters.calls.fetch_add(1, Ordering::Relaxed);
        match self.connection.execute("ROLLBACK").await {
            Ok(_) => Fault::Refused(error),
            Err(rollback) => Fault::Stop(format!("{error}; and rolling back: {rollback}")),
        }
    }
}

/// What a failed statement means, be it the one that begins, the one that commits, or one between; none where it is a
/// member's fault and all is to be taken back.
fn fault_of(error: &sqlx::Error, begins: bool, commits: bool) -> Option<Fault> {
    let code =
        error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok()).map(|code| code & 0xff);
    if begins && code == Some(code::BUSY) {
        return Some(Fault::Contended);
    }
    let members_fault = matches!(code, Some(code::CONSTRAINT | code::TOO_BIG | code::MISMATCH));
    (!members_fault || commits).then(|| Fault::Stop(error.to_string()))
}

fn verdicts(members: &[Member], checks: &[Check], answers: &Answers) -> Vec<Result<(), Error>> {
    members.iter().zip(checks).map(|(member, check)| check.verdict(member, answers)).collect()
}

/// The codes of SQLite that are not about the store as a whole.
mod code {
    pub(super) const BUSY: u32 = 5;
    pub(super) const TOO_BIG: u32 = 18;
    pub(super) const CONSTRAINT: u32 = 19;
    pub(super) const MISMATCH: u32 = 20;
}

fn reply(answer: Answer, outcome: Result<(), Error>) {
    // A writer whose future was dropped asks again later or not at all.
    drop(answer.send(outcome));
}
