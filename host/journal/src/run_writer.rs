//! The right to append to one run.
//!
//! Owns the run's lock, its data key and its place in the chain. Refuses to know how commits are made. Invariant: the
//! place moves on only when the store has answered that the events are durable; an append whose future was dropped
//! is waited for before the next one is made.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::attest::{self, Head, Mark, SIGNED_EVERY, SignedHead, Unlinked};
use crate::clock;
use crate::engine_key::EngineKey;
use crate::envelope::{self, INLINE_LIMIT, Link};
use crate::error::Error;
use crate::event::NewEvent;
use crate::id::{BlobId, RunId, parse_digest};
use crate::inbox::{Message, Seen};
use crate::lock::RunLock;
use crate::queued::Queued;
use crate::reader::Reader;
use crate::seal::RunKey;
use crate::writer::{Append, Blob, Change, Member, Place, SealedEvent, WriterHandle};

/// Longer kinds, steps and other words are refused.
pub(crate) const WORD_LIMIT: usize = 4096;
/// Longer payloads and blobs are refused. What a run stores of an output is far below.
const PAYLOAD_LIMIT: usize = 64 * 1024 * 1024;

/// The owner's handle of a run. Dropping it frees the run for others.
pub struct RunWriter {
    run: RunId,
    writing: Writing,
    key: RunKey,
    place: Place,
    /// Present until the first commit, which makes the run.
    creation: Option<Change>,
    queued: Queued,
    pending: Option<Pending>,
    inbox: Seen,
    /// Held, not read.
    _lock: RunLock,
}

/// What it takes to write a run of a store, beside the run itself.
pub(crate) struct Writing {
    pub(crate) store: Arc<str>,
    pub(crate) writer: WriterHandle,
    pub(crate) reader: Arc<Reader>,
    pub(crate) engine: Arc<EngineKey>,
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
    pub(crate) fn new(writing: Writing, run: RunId, key: RunKey, place: Place, lock: RunLock) -> Self {
        Self {
            run,
            writing,
            key,
            place,
            creation: None,
            queued: Queued::default(),
            pending: None,
            inbox: Seen::default(),
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
        let (nonce, body) = self.key.seal(&envelope::blob_binding(&self.writing.store, &self.run), bytes)?;
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

    /// The messages that wait for this run, in the order in which they were posted, but for those that are queued to be
    /// [consumed](Self::consume). Cheap while nothing was committed to the store since the last look.
    ///
    /// # Errors
    /// [`Error::BadMessage`], [`Error::Database`].
    pub async fn inbox(&mut self) -> Result<Vec<Message>, Error> {
        let Writing { reader, store, .. } = &self.writing;
        let waiting = self.inbox.look(reader, store, &self.run, &self.key).await?;
        let consumed = |message: &&Message| self.queued.consumed.contains(&message.id);
        Ok(waiting.iter().filter(|message| !consumed(message)).cloned().collect())
    }

    /// Lets the next [`append`](Self::append) take a message out of the inbox, together with the events that it
    /// caused. An id that is not there is nothing to take.
    pub fn consume(&mut self, id: &str) {
        self.queued.consume(id);
    }

    /// Lets the next [`append`](Self::append) acquire a group's lock, or be refused as a whole. What the run holds it
    /// keeps, also when its process ends, until it is [released](Self::queue_unlock).
    ///
    /// # Errors
    /// [`Error::BadEvent`] for a name that is empty or too long.
    pub fn queue_lock(&mut self, group: &str) -> Result<(), Error> {
        check_group(group)?;
        self.queued.lock(group);
        Ok(())
    }

    /// Lets the next [`append`](Self::append) release a group's lock, if the run holds it.
    ///
    /// # Errors
    /// [`Error::BadEvent`] for a name that is empty or too long.
    pub fn queue_unlock(&mut self, group: &str) -> Result<(), Error> {
        check_group(group)?;
        self.queued.unlock(group);
        Ok(())
    }

    /// Appends events in one commit, together with what was queued by [`set_status`](Self::set_status),
    /// [`put_blob`](Self::put_blob), [`put_component`](Self::put_component), [`consume`](Self::consume),
    /// [`queue_lock`](Self::queue_lock) and [`queue_unlock`](Self::queue_unlock). When it answers `Ok` all of it is
    /// durable; without events and with nothing queued it does nothing.
    ///
    /// If this future is dropped the events may or may not be stored; the next append finds out first and goes on
    /// from there.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another process has taken the run over, [`Error::GroupBusy`] when another run holds a group
    /// that was to be locked (nothing was written, the locks are not queued any more), [`Error::Contended`] when another process kept
    /// the write lock (nothing was written, the same may be appended again), [`Error::StoreStopped`] after any failed
    /// commit, [`Error::BadEvent`] and [`Error::Database`] when the store can't take these events.
    pub async fn append(&mut self, events: Vec<NewEvent>) -> Result<(), Error> {
        // An append that was given up may have been refused; that was its caller's to see.
        if let Err(error) = self.settle().await
            && !matches!(error, Error::Contended | Error::GroupBusy { .. } | Error::Database(_))
        {
            return Err(error);
        }
        for event in &events {
            check(event)?;
        }
        let writer = self.writing.writer.clone();
        let slot = writer.reserve().await?;
        if events.is_empty() && self.queued.is_empty() && self.creation.is_none() {
            return Ok(());
        }
        let append = self.seal(events)?;
        let place = append.to;
        let queued = std::mem::take(&mut self.queued);
        let answer = slot.send(Member::Append(Box::new(append)));
        self.pending = Some(Pending { answer, place, queued });
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
                self.queued.put_before(queued, &error);
                Err(error)
            }
            Err(_) => Err(self.writing.writer.stopped()),
        }
    }

    /// Seals events into a member of a commit. What was queued stays so until the commit is answered.
    fn seal(&self, events: Vec<NewEvent>) -> Result<Append, Error> {
        let mut to = self.place;
        let mut blobs = Vec::new();
        let mut sealed = Vec::with_capacity(events.len());
        for event in events {
            let (event, blob) = self.seal_event(event, to)?;
            (to.head, to.hash) = (event.seq, event.hash);
            blobs.extend(blob);
            sealed.push(event);
        }
        let chain = self.chain();
        Ok(Append {
            run: self.run.clone(),
            change: self.creation.clone().unwrap_or(Change::From(self.place)),
            to,
            heads: self.heads(&sealed, &to, !chain.is_empty()),
            chain,
            events: sealed,
            blobs,
            queued: self.queued.clone(),
        })
    }

    /// What goes into the store's chain: that the run starts, that it ends.
    fn chain(&self) -> Vec<Unlinked> {
        let unlinked = |mark, label: &str, time_ms| Unlinked {
            store: Arc::clone(&self.writing.store),
            engine: Arc::clone(&self.writing.engine),
            mark,
            label: label.to_owned(),
            time_ms,
        };
        let start = match &self.creation {
            Some(Change::Create { name, started_ms, .. }) => Some(unlinked(Mark::Start, name, *started_ms)),
            _ => None,
        };
        let status = self.queued.status.as_deref().unwrap_or_default();
        let end = self.queued.ended_ms.map(|ended_ms| unlinked(Mark::End, status, ended_ms));
        start.into_iter().chain(end).collect()
    }

    /// Signs what is to be signed of a commit: certain events, and where it leaves the run if that is asked for.
    fn heads(&self, events: &[SealedEvent], to: &Place, last: bool) -> Vec<SignedHead> {
        let signed = |event: &&SealedEvent| attest::is_signed(&event.kind) || event.seq % SIGNED_EVERY == 0;
        let mut places: Vec<_> = events.iter().filter(signed).map(|event| (event.seq, event.hash)).collect();
        if last && places.last().is_none_or(|(seq, _)| *seq != to.head) {
            places.push((to.head, to.hash));
        }
        let sign = |(seq, hash): (i64, [u8; 32])| {
            let time_ms = clock::now_ms();
            let Writing { store, engine, .. } = &self.writing;
            let head = Head { store, run: &self.run, seq, epoch: to.epoch, hash: &hash, time_ms };
            SignedHead { seq, hash, time_ms, signature: engine.sign(&head.message()) }
        };
        places.into_iter().map(sign).collect()
    }

    fn seal_event(&self, event: NewEvent, from: Place) -> Result<(SealedEvent, Option<Blob>), Error> {
        let NewEvent { kind, time_ms, binding, payload } = event;
        let seq = from.head + 1;
        let bound = envelope::event_binding(&self.writing.store, &self.run, seq, &kind, binding.as_ref());
        #[cfg(feature = "kill-points")]
        let name = crate::kill_points::name(&kind, &payload);
        let (nonce, body) = self.key.seal(&bound, &payload)?;
        let digest = envelope::digest(&nonce, &body);
        let link = Link {
            store: &self.writing.store,
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
            SealedEvent {
                seq,
                previous: from.hash,
                kind,
                time_ms,
                binding,
                nonce,
                digest,
                body,
                hash,
                #[cfg(feature = "kill-points")]
                name,
            },
            blob,
        ))
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

fn check_group(group: &str) -> Result<(), Error> {
    if group.is_empty() {
        return Err(Error::BadEvent { what: "a group needs a name".to_owned() });
    }
    limit("the name of a group", group.len(), WORD_LIMIT)
}

pub(crate) fn limit(what: &str, length: usize, limit: usize) -> Result<(), Error> {
    if length > limit {
        return Err(Error::BadEvent { what: format!("{what} has {length} bytes, more than {limit}") });
    }
    Ok(())
}
