//! What the engine signs, byte for byte. It is fixed for ever, as the envelope is, and uses the same **fields**.
//!
//! - **Head of a run**: an Ed25519 signature over the fields `windlass-head/1`, store, run, seq, epoch, hash, time,
//!   where the hash is that of the event at `seq` and the time is when it was signed. Signed are the last event of
//!   the commit that creates the run and of the one that ends it, each event of a [kind that is](is_signed), and each
//!   whose number is a multiple of 256, so that which signatures must be there can be told from the events.
//! - **Entry of the store's chain**: number (from 1), the hash of the entry before (32 zero bytes for the first), mark
//!   (`start` or `end`), run, label, seq, the hash of that event, time. Of a start the label is the run's name and the
//!   time when it started; of an end they are the last status word and when it ended. Its hash is SHA-256 over the
//!   fields `windlass-chain/1`, store and these; its signature is over the fields `windlass-chain-entry/1`, hash.
//! - **Message to a run**: sealed under the run's data key, bound to the fields `windlass-message/1`, store, run, id.

use std::sync::Arc;

use crate::engine_key::{EngineKey, EnginePublic};
use crate::envelope::{Fields, GENESIS};
use crate::id::RunId;

/// Every event whose number is a multiple of this is signed.
pub(crate) const SIGNED_EVERY: i64 = 256;

/// Whether events of a kind are signed: verdicts, ends, and all about approvals.
pub(crate) fn is_signed(kind: &str) -> bool {
    matches!(kind, "verdict_decided" | "run_ended") || kind.starts_with("approval_")
}

/// The head of a run at some moment.
pub(crate) struct Head<'a> {
    pub(crate) store: &'a str,
    pub(crate) run: &'a RunId,
    pub(crate) seq: i64,
    pub(crate) epoch: i64,
    pub(crate) hash: &'a [u8],
    pub(crate) time_ms: i64,
}

impl Head<'_> {
    /// What is signed.
    pub(crate) fn message(&self) -> Vec<u8> {
        Fields(Vec::with_capacity(256))
            .text("windlass-head/1")
            .text(self.store)
            .text(self.run.as_str())
            .number(self.seq)
            .number(self.epoch)
            .bytes(self.hash)
            .number(self.time_ms)
            .0
    }
}

/// A signed head, ready to be stored.
#[derive(Clone)]
pub(crate) struct SignedHead {
    pub(crate) seq: i64,
    pub(crate) hash: [u8; 32],
    pub(crate) time_ms: i64,
    pub(crate) signature: [u8; 64],
}

/// What an entry of the store's chain is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Start,
    End,
}

impl Mark {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::End => "end",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Start, Self::End].into_iter().find(|mark| mark.word() == word)
    }
}

/// An entry that has no place in the store's chain yet: that is known only while the store is locked.
#[derive(Clone)]
pub(crate) struct Unlinked {
    pub(crate) store: Arc<str>,
    pub(crate) engine: Arc<EngineKey>,
    pub(crate) mark: Mark,
    pub(crate) label: String,
    pub(crate) time_ms: i64,
}

/// Where the store's chain ends.
#[derive(Clone, Copy)]
pub(crate) struct ChainEnd {
    pub(crate) number: i64,
    pub(crate) hash: [u8; 32],
}

impl ChainEnd {
    /// Of a chain without entries.
    pub(crate) const EMPTY: Self = Self { number: 0, hash: GENESIS };
}

/// An entry of the store's chain.
pub(crate) struct Entry {
    pub(crate) number: i64,
    pub(crate) previous: Vec<u8>,
    pub(crate) mark: Mark,
    pub(crate) run: RunId,
    pub(crate) label: String,
    pub(crate) seq: i64,
    pub(crate) run_hash: Vec<u8>,
    pub(crate) time_ms: i64,
}

impl Entry {
    pub(crate) fn hash(&self, store: &str) -> [u8; 32] {
        Fields::hashed()
            .text("windlass-chain/1")
            .text(store)
            .number(self.number)
            .bytes(&self.previous)
            .text(self.mark.word())
            .text(self.run.as_str())
            .text(&self.label)
            .number(self.seq)
            .bytes(&self.run_hash)
            .number(self.time_ms)
            .digest()
    }
}

impl Unlinked {
    /// Gives the entry its place after the chain's end, which becomes this entry; answers it with its signature.
    pub(crate) fn link(
        &self,
        run: &RunId,
        seq: i64,
        run_hash: &[u8; 32],
        end: &mut ChainEnd,
    ) -> (Entry, [u8; 64]) {
        let entry = Entry {
            number: end.number + 1,
            previous: end.hash.to_vec(),
            mark: self.mark,
            run: run.clone(),
            label: self.label.clone(),
            seq,
            run_hash: run_hash.to_vec(),
            time_ms: self.time_ms,
        };
        *end = ChainEnd { number: entry.number, hash: entry.hash(&self.store) };
        let signature = self.engine.sign(&entry_message(&end.hash));
        (entry, signature)
    }
}

/// Whether an entry's signature holds.
pub(crate) fn entry_holds(engine: &EnginePublic, hash: &[u8; 32], signature: &[u8]) -> bool {
    engine.verify(&entry_message(hash), signature)
}

fn entry_message(hash: &[u8; 32]) -> Vec<u8> {
    Fields(Vec::new()).text("windlass-chain-entry/1").bytes(hash).0
}

/// What a message to a run is bound to.
pub(crate) fn message_binding(store: &str, run: &RunId, id: &str) -> Vec<u8> {
    Fields(Vec::new()).text("windlass-message/1").text(store).text(run.as_str()).text(id).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::hex;

    /// These figures stand for every store that was ever written. If they change, old signatures don't hold.
    #[test]
    fn the_golden_statements_are_what_they_always_were() {
        let store = "00112233445566778899aabbccddeeff";
        let run = RunId::parse("7h3k0112m4pq").unwrap();
        let hash = [0x5a; 32];
        let head = Head { store, run: &run, seq: 256, epoch: 3, hash: &hash, time_ms: 1_790_000_000_123 };
        let entry = Entry {
            number: 2,
            previous: vec![0xa5; 32],
            mark: Mark::End,
            run: run.clone(),
            label: "succeeded".to_owned(),
            seq: 256,
            run_hash: hash.to_vec(),
            time_ms: 1_790_000_000_124,
        };
        let golden = format!(
            "head {}\nentry {}\nsigned {}\nmessage {}",
            hex(&head.message()),
            hex(&entry.hash(store)),
            hex(&entry_message(&entry.hash(store))),
            hex(&message_binding(store, &run, "approve-1"))
        );
        insta::assert_snapshot!(golden, @r"
        head 000000000000000f77696e646c6173732d686561642f3100000000000000203030313132323333343435353636373738383939616162626363646465656666000000000000000c3768336b303131326d347071000000000000000800000000000001000000000000000008000000000000000300000000000000205a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a0000000000000008000001a0c4506c7b
        entry f9bccb6065072ae4df546f0d329fa1a2ea7660d71dcae031750aedfcdacce4cb
        signed 000000000000001677696e646c6173732d636861696e2d656e7472792f310000000000000020f9bccb6065072ae4df546f0d329fa1a2ea7660d71dcae031750aedfcdacce4cb
        message 000000000000001277696e646c6173732d6d6573736167652f3100000000000000203030313132323333343435353636373738383939616162626363646465656666000000000000000c3768336b303131326d3470710000000000000009617070726f76652d31
        ");
    }

    #[test]
    fn verdicts_ends_and_approvals_are_signed() {
        for kind in ["verdict_decided", "run_ended", "approval_decided", "approval_expired"] {
            assert!(is_signed(kind), "{kind}");
        }
        assert!(!is_signed("attempt_started") && !is_signed("step_started"));
    }
}
