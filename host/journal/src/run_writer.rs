//! The right to append to one run.
//!
//! Owns the run's lock, its data key and its place in the chain. Refuses to know how commits are made. Invariant: the
//! place moves on only when the store has answered that the events are durable; an append whose future was dropped
//! is waited for before the next one is made.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::envelope::{self, INLINE_LIMIT, Link};
use crate::error::Error;
use crate::event::NewEvent;
use crate::id::{BlobId, RunId, parse_digest};
use crate::lock::RunLock;
use crate::seal::RunKey;
use crate::writer::{Blob, Change, Component, Member, Place, SealedEvent, WriterHandle};

/// Longer kinds, steps and other words are refused.
const WORD_LIMIT: usize = 4096;
/// Longer payloads and blobs are refused. What a run stores of an output is far below.
const PAYLOAD_LIMIT: usize = 64 * 1024 * 1024;

/// The owner's handle of a run. Dropping it frees the run for others.
pub struct RunWriter {
    run: RunId,
    store: Arc<str>,
    key: RunKey,
    writer: WriterHandle,
    place: Place,
    /// Present until the first commit, which makes the run.
    creation: Option<Change>,
    queued: Queued,
    pending: Option<Pending>,
    /// Held, not read.
    _lock: RunLock,
}

/// What goes with the next commit.
#[derive(Default)]
struct Queued {
    status: Option<String>,
    ended_ms: Option<i64>,
    blobs: Vec<Blob>,
    components: Vec<Component>,
}

struct Pending {
    answer: oneshot::Receiver<Result<(), Error>>,
    place: Place,
    /// What went along, to be queued again if it was not written.
    queued: Queued,
}

impl std::fmt::Debug for RunWriter {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RunWriter")
            .field("run", &self.run)
            .field("epoch", &self.place.epoch)
            .finish_non_exhaustive()
    }
}

impl RunWriter {
    pub(crate) fn new(
        store: Arc<str>,
        run: RunId,
        key: RunKey,
        writer: WriterHandle,
        place: Place,
        lock: RunLock,
    ) -> Self {
        Self {
            run,
            store,
            key,
            writer,
            place,
            creation: None,
            queued: Queued::default(),
            pending: None,
            _lock: lock,
        }
    }

    /// Lets the next commit create the run.
    pub(crate) fn creating(mut self, creation: Change, status: String) -> Self {
        self.creation = Some(creation);
        self.queued.status = Some(status);
        self
    }

    /// Lets the next commit raise the epoch.
    pub(crate) fn raising(mut self) -> Self {
        self.creation = Some(Change::From(self.place));
        self.place.epoch += 1;
        self
    }

    /// The run.
    #[must_use]
    pub fn run_id(&self) -> &RunId {
        &self.run
    }

    /// How often the run was owned, this time included.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.place.epoch.unsigned_abs()
    }

    /// The number of durable events.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.place.head.unsigned_abs()
    }

    /// Lets the next [`append`](Self::append) also set the run's status word, and when it ended (milliseconds since
    /// 1970 UTC) if it did.
    pub fn set_status(&mut self, word: &str, ended_ms: Option<i64>) {
        self.queued.status = Some(word.to_owned());
        self.queued.ended_ms = ended_ms.or(self.queued.ended_ms);
    }

    /// Seals bytes under the run's key; they are stored with the next [`append`](Self::append).
    ///
    /// # Errors
    /// [`Error::BadEvent`] for more than 64 MiB; [`Error::Random`].
    pub fn put_blob(&mut self, bytes: &[u8]) -> Result<BlobId, Error> {
        limit("a blob", bytes.len(), PAYLOAD_LIMIT)?;
        let (nonce, body) = self.key.seal(&envelope::blob_binding(&self.store, &self.run), bytes)?;
        let digest = envelope::digest(&nonce, &body);
        self.queued.blobs.push((digest, [nonce.as_slice(), &body].concat()));
        Ok(BlobId(digest))
    }

    /// Stores a plugin's bytes with the next [`append`](Self::append), unless the store has them. They are not
    /// secret and are shared by all runs. `digest` is their SHA-256 in hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::BadEvent`] when the digest is none, or not that of the bytes.
    pub fn put_component(&mut self, digest: &str, bytes: Arc<[u8]>) -> Result<(), Error> {
        let parsed = checked_component(digest, &bytes)?;
        self.queued.components.push((parsed, bytes));
        Ok(())
    }

    pub(crate) fn queue_component(&mut self, digest: [u8; 32], bytes: Arc<[u8]>) {
        self.queued.components.push((digest, bytes));
    }

    /// Appends events in one commit, together with what was queued by [`set_status`](Self::set_status),
    /// [`put_blob`](Self::put_blob) and [`put_component`](Self::put_component). When it answers `Ok` all of it is
    /// durable; without events and with nothing queued it does nothing.
    ///
    /// If this future is dropped the events may or may not be stored; the next append finds out first and goes on
    /// from there.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another process has taken the run over, [`Error::Contended`] when another process kept
    /// the write lock (nothing was written, the same may be appended again), [`Error::StoreStopped`] after any failed
    /// commit, [`Error::BadEvent`] and [`Error::Database`] when the store can't take these events.
    pub async fn append(&mut self, events: Vec<NewEvent>) -> Result<(), Error> {
        // An append that was given up may have been refused; that was its caller's to see.
        if let Err(error) = self.settle().await
            && !matches!(error, Error::Contended | Error::Database(_))
        {
            return Err(error);
        }
        for event in &events {
            check(event)?;
        }
        let writer = self.writer.clone();
        let slot = writer.reserve().await?;
        if events.is_empty() && self.queued.is_empty() && self.creation.is_none() {
            return Ok(());
        }
        let member = self.seal(events)?;
        let place = member.to;
        let queued = std::mem::take(&mut self.queued);
        self.pending = Some(Pending { answer: slot.send(member), place, queued });
        self.settle().await
    }

    async fn settle(&mut self) -> Result<(), Error> {
        let Some(pending) = &mut self.pending else { return Ok(()) };
        let answer = (&mut pending.answer).await;
        let Some(Pending { place, queued, .. }) = self.pending.take() else { return Ok(()) };
        match answer {
            Ok(Ok(())) => {
                self.place = place;
                self.creation = None;
                Ok(())
            }
            Ok(Err(error)) => {
                self.queued.put_before(queued);
                Err(error)
            }
            Err(_) => Err(self.writer.stopped()),
        }
    }

    /// Seals events into a member of a commit. What was queued stays so until the commit is answered.
    fn seal(&self, events: Vec<NewEvent>) -> Result<Member, Error> {
        let mut to = self.place;
        let mut blobs = self.queued.blobs.clone();
        let mut sealed = Vec::with_capacity(events.len());
        for event in events {
            let (event, blob) = self.seal_event(event, to)?;
            (to.head, to.hash) = (event.seq, event.hash);
            blobs.extend(blob);
            sealed.push(event);
        }
        Ok(Member {
            run: self.run.clone(),
            change: self.creation.clone().unwrap_or(Change::From(self.place)),
            to,
            status: self.queued.status.clone(),
            ended_ms: self.queued.ended_ms,
            events: sealed,
            blobs,
            components: self.queued.components.clone(),
        })
    }

    fn seal_event(&self, event: NewEvent, from: Place) -> Result<(SealedEvent, Option<Blob>), Error> {
        let NewEvent { kind, time_ms, binding, payload } = event;
        let seq = from.head + 1;
        let bound = envelope::event_binding(&self.store, &self.run, seq, &kind, binding.as_ref());
        let (nonce, body) = self.key.seal(&bound, &payload)?;
        let digest = envelope::digest(&nonce, &body);
        let link = Link {
            store: &self.store,
            run: &self.run,
            seq,
            epoch: from.epoch,
            previous: &from.hash,
            kind: &kind,
            time_ms,
            digest: &digest,
        };
        let hash = link.hash();
        let (body, blob) =
            if payload.len() > INLINE_LIMIT { (None, Some((digest, body))) } else { (Some(body), None) };
        Ok((
            SealedEvent { seq, previous: from.hash, kind, time_ms, binding, nonce, digest, body, hash },
            blob,
        ))
    }
}

impl Queued {
    /// Queues again what was queued earlier; what was said since counts.
    fn put_before(&mut self, earlier: Self) {
        self.status = self.status.take().or(earlier.status);
        self.ended_ms = self.ended_ms.or(earlier.ended_ms);
        self.blobs.splice(0..0, earlier.blobs);
        self.components.splice(0..0, earlier.components);
    }

    fn is_empty(&self) -> bool {
        self.status.is_none()
            && self.ended_ms.is_none()
            && self.blobs.is_empty()
            && self.components.is_empty()
    }
}

/// The digest of a plugin's bytes, if the bytes have it.
pub(crate) fn checked_component(digest: &str, bytes: &[u8]) -> Result<[u8; 32], Error> {
    let parsed = parse_digest(digest)?;
    if crate::artifacts::sha256(bytes) != parsed {
        return Err(Error::BadEvent {
            what: format!("the plugin's bytes don't have the SHA-256 `{digest}`"),
        });
    }
    Ok(parsed)
}

fn check(event: &NewEvent) -> Result<(), Error> {
    if event.kind.is_empty() {
        return Err(Error::BadEvent { what: "an event needs a kind".to_owned() });
    }
    limit("the kind of an event", event.kind.len(), WORD_LIMIT)?;
    limit("the payload of an event", event.payload.len(), PAYLOAD_LIMIT)?;
    let Some(binding) = &event.binding else { return Ok(()) };
    let words =
        [Some(&binding.step), binding.item.as_ref(), binding.plugin_digest.as_ref(), binding.action.as_ref()];
    words
        .into_iter()
        .flatten()
        .try_for_each(|word| limit("a word that an event belongs to", word.len(), WORD_LIMIT))
}

fn limit(what: &str, length: usize, limit: usize) -> Result<(), Error> {
    if length > limit {
        return Err(Error::BadEvent { what: format!("{what} has {length} bytes, more than {limit}") });
    }
    Ok(())
}
