//! What goes with a run's next commit, beside its events.

use crate::error::Error;
use crate::writer::{Blob, Component};

/// All of it is written with the next append or not at all; what was not written stays queued.
#[derive(Clone, Default)]
pub(crate) struct Queued {
    pub(crate) status: Option<String>,
    pub(crate) ended_ms: Option<i64>,
    pub(crate) blobs: Vec<Blob>,
    pub(crate) components: Vec<Component>,
    /// Messages that the events take out of the inbox.
    pub(crate) consumed: Vec<String>,
    /// Groups to acquire and to release; none is in both.
    pub(crate) locks: Vec<String>,
    pub(crate) unlocks: Vec<String>,
}

impl Queued {
    pub(crate) fn lock(&mut self, group: &str) {
        self.unlocks.retain(|other| other != group);
        push_new(&mut self.locks, group);
    }

    pub(crate) fn unlock(&mut self, group: &str) {
        self.locks.retain(|other| other != group);
        push_new(&mut self.unlocks, group);
    }

    pub(crate) fn consume(&mut self, id: &str) {
        push_new(&mut self.consumed, id);
    }

    /// Queues again what was refused; what was said since counts. Locks that could not be had are not asked for again
    /// by every later append: whoever wants them says so again.
    pub(crate) fn put_before(&mut self, mut earlier: Self, refusal: &Error) {
        if matches!(refusal, Error::GroupBusy { .. }) {
            earlier.locks.clear();
        }
        earlier.locks.retain(|group| !self.unlocks.contains(group));
        earlier.unlocks.retain(|group| !self.locks.contains(group));
        self.status = self.status.take().or(earlier.status);
        self.ended_ms = self.ended_ms.or(earlier.ended_ms);
        self.blobs.splice(0..0, earlier.blobs);
        self.components.splice(0..0, earlier.components);
        earlier.consumed.iter().for_each(|id| push_new(&mut self.consumed, id));
        earlier.locks.iter().for_each(|group| push_new(&mut self.locks, group));
        earlier.unlocks.iter().for_each(|group| push_new(&mut self.unlocks, group));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.status.is_none()
            && self.ended_ms.is_none()
            && self.blobs.is_empty()
            && self.components.is_empty()
            && self.consumed.is_empty()
            && self.locks.is_empty()
            && self.unlocks.is_empty()
    }
}

fn push_new(words: &mut Vec<String>, word: &str) {
    if !words.iter().any(|other| other == word) {
        words.push(word.to_owned());
    }
}
