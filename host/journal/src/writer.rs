//! The one place that writes to the store: a task that takes what several runs want to commit and commits it
//! together.
//!
//! Owns the writing connection. Refuses to know keys and payloads: what comes here is sealed. Invariants:
//! - A commit is one call of the database: all statements, `BEGIN IMMEDIATE` to `COMMIT`, in one query with its
//!   arguments, since each call costs a change of thread.
//! - A member is written only if its run still has the epoch and head that the member was made for; what a member
//!   writes depends on that one check, so a fenced member changes nothing and disturbs nobody.
//! - If the database refuses a statement, the batch is rolled back and each member is tried alone, so one bad
//!   member fails alone.
//! - After a failed commit nobody knows what is on the disk: nothing is written any more by this process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe, Connection, Either, Encode, Executor, Sqlite, Type};
use tokio::sync::{mpsc, oneshot};

use crate::envelope::FORMAT_NUMBER;
use crate::error::Error;
use crate::event::Binding;
use crate::id::RunId;

/// Jobs that may wait for the writer before senders wait too.
const QUEUE: usize = 256;
/// Members of one commit. SQLite copies what is left of a text for each statement in it, so that longer texts cost
/// more than they save.
const BATCH: usize = 128;
/// Events that one statement inserts; well below SQLite's limit of 32766 arguments.
const ROWS: usize = 200;
/// Texts of at most so many statements and events are kept prepared: there are few different ones.
const KEPT_STATEMENTS: usize = 8;
const KEPT_EVENTS: usize = 4;

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
}

/// What makes a run's row say what it says after the commit.
#[derive(Clone)]
pub(crate) enum Change {
    Create { name: String, started_ms: i64, key_id: String, wrapped_key: Vec<u8> },
    From(Place),
}

/// One run's part of a commit.
pub(crate) struct Member {
    pub(crate) run: RunId,
    pub(crate) change: Change,
    pub(crate) to: Place,
    pub(crate) status: Option<String>,
    pub(crate) ended_ms: Option<i64>,
    pub(crate) events: Vec<SealedEvent>,
    pub(crate) blobs: Vec<Blob>,
    pub(crate) components: Vec<Component>,
}

type Answer = oneshot::Sender<Result<(), Error>>;

enum Job {
    Commit(Box<Member>, Answer),
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
        self.0.send(Job::Commit(Box::new(member), answer));
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
        let mut jobs = Vec::new();
        while queue.recv_many(&mut jobs, BATCH).await > 0 {
            let (mut members, mut closing) = (Vec::with_capacity(jobs.len()), Vec::new());
            for job in jobs.drain(..) {
                match job {
                    Job::Commit(member, answer) => members.push((*member, answer)),
                    Job::Close(answer) => closing.push(answer),
                }
            }
            if let Err(why) = self.commit_all(members).await {
                tracing::error!(%why, "the store stopped writing");
                return;
            }
            if !closing.is_empty() {
                self.stop("it was closed");
                if let Err(error) = self.connection.close().await {
                    tracing::warn!(%error, "the store did not close cleanly");
                }
                for answer in closing {
                    // Whoever asked may have gone; the store is closed all the same.
                    let _ = answer.send(());
                }
                return;
            }
        }
    }

    async fn commit_all(&mut self, members: Vec<(Member, Answer)>) -> Result<(), String> {
        let (members, mut answers): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        match self.commit(&members).await {
            Ok(written) => {
                for ((member, answer), written) in members.iter().zip(answers).zip(written) {
                    reply(answer, verdict(member, written));
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
                Ok(written) => {
                    member.iter().zip(written).try_for_each(|(member, written)| verdict(member, written))
                }
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

    /// One commit; answers which members were written.
    async fn commit(&mut self, members: &[Member]) -> Result<Vec<bool>, Fault> {
        let (script, checks) = script(members).map_err(Fault::Refused)?;
        let statements = script.statements;
        let mut changed = Vec::with_capacity(statements);
        let mut failure = None;
        {
            self.counters.calls.fetch_add(1, Ordering::Relaxed);
            let events: usize = members.iter().map(|member| member.events.len()).sum();
            let query = sqlx::query_with(AssertSqlSafe(script.sql), script.arguments)
                .persistent(statements <= KEPT_STATEMENTS && events <= KEPT_EVENTS);
            let mut results = self.connection.fetch_many(query);
            loop {
                match results.try_next().await {
                    Ok(Some(Either::Left(done))) => changed.push(done.rows_affected()),
                    Ok(Some(Either::Right(_))) => {}
                    Ok(None) => break,
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
        }
        if let Some(error) = failure {
            return Err(self.recover(error, changed.len(), statements).await);
        }
        if changed.len() != statements {
            return Err(Fault::Stop("the database answered only part of a commit".to_owned()));
        }
        let written = checks.iter().map(|place| changed.get(*place).is_some_and(|rows| *rows == 1)).collect();
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.counters.members.fetch_add(members.len() as u64, Ordering::Relaxed);
        Ok(written)
    }

    async fn recover(&mut self, error: sqlx::Error, done: usize, statements: usize) -> Fault {
        let code = error
            .as_database_error()
            .and_then(|error| error.code()?.parse::<u32>().ok())
            .map(|code| code & 0xff);
        if done == 0 && code == Some(code::BUSY) {
            return Fault::Contended;
        }
        let members_fault = matches!(code, Some(code::CONSTRAINT | code::TOO_BIG | code::MISMATCH));
        if !members_fault || done == 0 || done + 1 >= statements {
            return Fault::Stop(error.to_string());
        }
        self.counters.calls.fetch_add(1, Ordering::Relaxed);
        match self.connection.execute("ROLLBACK").await {
            Ok(_) => Fault::Refused(error),
            Err(rollback) => Fault::Stop(format!("{error}; and rolling back: {rollback}")),
        }
    }
}

/// The codes of SQLite that are not about the store as a whole.
mod code {
    pub(super) const BUSY: u32 = 5;
    pub(super) const TOO_BIG: u32 = 18;
    pub(super) const CONSTRAINT: u32 = 19;
    pub(super) const MISMATCH: u32 = 20;
}

fn verdict(member: &Member, written: bool) -> Result<(), Error> {
    match (&member.change, written) {
        (_, true) => Ok(()),
        (Change::Create { .. }, false) => Err(Error::RunExists { run: member.run.clone() }),
        (Change::From(_), false) => Err(Error::Fenced { run: member.run.clone() }),
    }
}

fn reply(answer: Answer, outcome: Result<(), Error>) {
    // A writer whose future was dropped asks again later or not at all.
    drop(answer.send(outcome));
}

/// The statements of one commit with their arguments.
#[derive(Default)]
struct Script {
    sql: String,
    arguments: SqliteArguments,
    statements: usize,
}

impl Script {
    fn statement(&mut self, sql: &str) -> usize {
        self.sql.push_str(sql);
        self.sql.push(';');
        self.statements += 1;
        self.statements - 1
    }

    fn bind<T: Encode<'static, Sqlite> + Type<Sqlite>>(
        &mut self,
        value: T,
    ) -> Result<&mut Self, sqlx::Error> {
        self.arguments.add(value).map_err(sqlx::Error::Encode)?;
        Ok(self)
    }

    fn bind_place(&mut self, run: &RunId, place: &Place) -> Result<&mut Self, sqlx::Error> {
        self.bind(run.as_str().to_owned())?.bind(place.epoch)?.bind(place.head)?.bind(place.hash.to_vec())
    }
}

const CREATE: &str = "INSERT INTO run (id, name, status, started_ms, ended_ms, epoch, head, head_hash, key_id, \
    wrapped_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING";
const ADVANCE: &str = "UPDATE run SET epoch = ?, head = ?, head_hash = ?, status = coalesce(?, status), \
    ended_ms = coalesce(?, ended_ms) WHERE id = ? AND epoch = ? AND head = ? AND head_hash = ?";
/// The row of the run says what it says after this member only if this member's check held.
const IS_WRITTEN: &str = "WHERE id = ? AND epoch = ? AND head = ? AND head_hash = ?";

fn script(members: &[Member]) -> Result<(Script, Vec<usize>), sqlx::Error> {
    let mut script = Script::default();
    let mut checks = Vec::with_capacity(members.len());
    script.statement("BEGIN IMMEDIATE");
    for member in members {
        checks.push(add_check(&mut script, member)?);
        for events in member.events.chunks(ROWS) {
            add_events(&mut script, member, events)?;
        }
        for (digest, body) in &member.blobs {
            script.statement(&format!(
                "INSERT INTO blob (run, digest, body) SELECT ?, ?, ? FROM run {IS_WRITTEN}"
            ));
            script.bind(member.run.as_str().to_owned())?.bind(digest.to_vec())?.bind(body.clone())?;
            script.bind_place(&member.run, &member.to)?;
        }
        for (digest, body) in &member.components {
            script.statement(
                "INSERT INTO component (digest, body) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING",
            );
            script.bind(digest.to_vec())?.bind(body.to_vec())?;
        }
    }
    script.statement("COMMIT");
    Ok((script, checks))
}

fn add_check(script: &mut Script, member: &Member) -> Result<usize, sqlx::Error> {
    let to = &member.to;
    match &member.change {
        Change::Create { name, started_ms, key_id, wrapped_key } => {
            let place = script.statement(CREATE);
            script.bind(member.run.as_str().to_owned())?.bind(name.clone())?;
            script
                .bind(member.status.clone().unwrap_or_default())?
                .bind(*started_ms)?
                .bind(member.ended_ms)?;
            script.bind(to.epoch)?.bind(to.head)?.bind(to.hash.to_vec())?;
            script.bind(key_id.clone())?.bind(wrapped_key.clone())?;
            Ok(place)
        }
        Change::From(from) => {
            let place = script.statement(ADVANCE);
            script.bind(to.epoch)?.bind(to.head)?.bind(to.hash.to_vec())?;
            script.bind(member.status.clone())?.bind(member.ended_ms)?.bind_place(&member.run, from)?;
            Ok(place)
        }
    }
}

fn add_events(script: &mut Script, member: &Member, events: &[SealedEvent]) -> Result<(), sqlx::Error> {
    const ROW: &str = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let rows = vec![ROW; events.len()].join(", ");
    // The events first, so that the run is looked up for each of them and they stay in order.
    script.statement(&format!(
        "INSERT INTO event (place, format, epoch, previous, kind, time_ms, step, item, attempt, plugin, action, \
         nonce, digest, body, hash) SELECT (number << 32) + column1, {FORMAT_NUMBER}, epoch, column2, column3, \
         column4, column5, column6, column7, column8, column9, column10, column11, column12, column13 \
         FROM (VALUES {rows}) CROSS JOIN run {IS_WRITTEN}"
    ));
    for event in events {
        let binding = event.binding.as_ref();
        script
            .bind(event.seq)?
            .bind(event.previous.to_vec())?
            .bind(event.kind.clone())?
            .bind(event.time_ms)?;
        script.bind(binding.map(|binding| binding.step.clone()))?;
        script.bind(binding.and_then(|binding| binding.item.clone()))?;
        script.bind(binding.and_then(|binding| binding.attempt))?;
        script.bind(binding.and_then(|binding| binding.plugin_digest.clone()))?;
        script.bind(binding.and_then(|binding| binding.action.clone()))?;
        script.bind(event.nonce.to_vec())?.bind(event.digest.to_vec())?;
        script.bind(event.body.clone())?.bind(event.hash.to_vec())?;
    }
    script.bind_place(&member.run, &member.to)?;
    Ok(())
}
