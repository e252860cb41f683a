//! The envelope of an event, byte for byte. It is fixed for ever: a change is a new `FORMAT`.
//!
//! An envelope is { format, store id, run id, seq (from 1), epoch, previous hash, kind, time, nonce, ciphertext,
//! hash }. All that is hashed or bound is written as **fields**: the length of the field as 8 bytes, most
//! significant first, then its bytes. Text is UTF-8; a number is 8 bytes, most significant first (two's
//! complement); `format` is the text `windlass-event/1`.
//!
//! - **Sealing**: XChaCha20-Poly1305 under the run's data key, a random nonce of 24 bytes, the 16 byte tag at the
//!   end of the ciphertext. Bound to (associated data) the fields `format`, store, run, seq, kind, and, if the
//!   event belongs to a step, also step, item, attempt, plugin, action. Of these five all but the step may be
//!   absent: an absent one is a field of the one byte 0, a present one a field of the byte 1 and its content.
//! - **Digest of nonce and ciphertext**: SHA-256 over the fields nonce, ciphertext.
//! - **Hash**: SHA-256 over the fields `format`, store, run, seq, epoch, previous, kind, time, digest. The previous
//!   hash of the first event is 32 zero bytes.
//! - **Blobs** are ciphertexts kept apart. The ciphertext of an event whose payload is longer than 4096 bytes is
//!   found by the digest above. A blob that stands for itself is nonce and ciphertext one after the other, bound
//!   to the fields `windlass-blob/1`, store, run, and found by its digest made the same way.
//! - **Data key of a run**: 32 random bytes; stored as nonce, ciphertext and tag under the store's key, bound to the
//!   fields `windlass-run-key/1`, store, run, name, start time.
//!
//! Verifying the chain so needs no key, and erasing a payload deletes the ciphertext while its digest stays.
//! Refuses to know: where any of it is kept.

use sha2::{Digest, Sha256};

use crate::event::Binding;
use crate::id::RunId;

/// The format that is written, as a number in the store and as a text in hashes.
pub(crate) const FORMAT_NUMBER: i64 = 1;
const FORMAT: &str = "windlass-event/1";
/// A payload longer than this is kept apart.
pub const INLINE_LIMIT: usize = 4096;
/// The previous hash of a first event.
pub(crate) const GENESIS: [u8; 32] = [0; 32];

/// Where fields are written to.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for Sha256 {
    fn put(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// Writes fields one after the other.
pub(crate) struct Fields<S>(pub(crate) S);

impl Fields<Sha256> {
    /// For hashing what is written.
    pub(crate) fn hashed() -> Self {
        Self(Sha256::new())
    }

    pub(crate) fn digest(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

impl<S: Sink> Fields<S> {
    pub(crate) fn bytes(mut self, field: &[u8]) -> Self {
        self.0.put(&(field.len() as u64).to_be_bytes());
        self.0.put(field);
        self
    }

    pub(crate) fn text(self, field: &str) -> Self {
        self.bytes(field.as_bytes())
    }

    pub(crate) fn number(self, field: i64) -> Self {
        self.bytes(&field.to_be_bytes())
    }

    fn optional(self, field: Option<&[u8]>) -> Self {
        match field {
            None => self.bytes(&[0]),
            Some(content) => self.bytes(&[&[1], content].concat()),
        }
    }
}

/// All of an envelope that its hash covers, but for the format.
pub(crate) struct Link<'a> {
    pub(crate) store: &'a str,
    pub(crate) run: &'a RunId,
    pub(crate) seq: i64,
    pub(crate) epoch: i64,
    pub(crate) previous: &'a [u8],
    pub(crate) kind: &'a str,
    pub(crate) time_ms: i64,
    pub(crate) digest: &'a [u8],
}

impl Link<'_> {
    pub(crate) fn hash(&self) -> [u8; 32] {
        Fields::hashed()
            .text(FORMAT)
            .text(self.store)
            .text(self.run.as_str())
            .number(self.seq)
            .number(self.epoch)
            .bytes(self.previous)
            .text(self.kind)
            .number(self.time_ms)
            .bytes(self.digest)
            .digest()
    }
}

/// The digest of a nonce and a ciphertext.
pub(crate) fn digest(nonce: &[u8], ciphertext: &[u8]) -> [u8; 32] {
    Fields::hashed().bytes(nonce).bytes(ciphertext).digest()
}

/// What the payload of an event is bound to.
pub(crate) fn event_binding(
    store: &str,
    run: &RunId,
    seq: i64,
    kind: &str,
    binding: Option<&Binding>,
) -> Vec<u8> {
    let fields =
        Fields(Vec::with_capacity(256)).text(FORMAT).text(store).text(run.as_str()).number(seq).text(kind);
    let Some(binding) = binding else { return fields.0 };
    let attempt = binding.attempt.map(|attempt| i64::from(attempt).to_be_bytes());
    fields
        .text(&binding.step)
        .optional(binding.item.as_deref().map(str::as_bytes))
        .optional(attempt.as_ref().map(<[u8; 8]>::as_slice))
        .optional(binding.plugin_digest.as_deref().map(str::as_bytes))
        .optional(binding.action.as_deref().map(str::as_bytes))
        .0
}

/// What a blob that stands for itself is bound to.
pub(crate) fn blob_binding(store: &str, run: &RunId) -> Vec<u8> {
    Fields(Vec::new()).text("windlass-blob/1").text(store).text(run.as_str()).0
}

/// What the data key of a run is bound to.
pub(crate) fn run_key_binding(store: &str, run: &RunId, name: &str, started_ms: i64) -> Vec<u8> {
    Fields(Vec::new())
        .text("windlass-run-key/1")
        .text(store)
        .text(run.as_str())
        .text(name)
        .number(started_ms)
        .0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::hex;
    use crate::seal::RunKey;

    /// These figures stand for every store that was ever written. If they change, old stores can't be read.
    #[test]
    fn the_golden_envelope_is_what_it_always_was() {
        let store = "00112233445566778899aabbccddeeff";
        let run = RunId::parse("7h3k0112m4pq").unwrap();
        let binding = Binding {
            step: "deploy.migrate".to_owned(),
            item: None,
            attempt: Some(2),
            plugin_digest: Some("ab".repeat(32)),
            action: Some("windlass:contracts/database@0.1.0#migrate".to_owned()),
        };
        let bound = event_binding(store, &run, 7, "AttemptStarted", Some(&binding));
        let nonce: [u8; 24] = std::array::from_fn(|place| place as u8);
        let key = RunKey::from_bytes(&std::array::from_fn(|place| 0x80 + place as u8));
        let ciphertext = key.seal_with(&nonce, &bound, br#"{"plan":"create table"}"#).unwrap();
        let digest = digest(&nonce, &ciphertext);
        let previous = [0x5a; 32];
        let link = Link {
            store,
            run: &run,
            seq: 7,
            epoch: 3,
            previous: &previous,
            kind: "AttemptStarted",
            time_ms: 1_790_000_000_123,
            digest: &digest,
        };
        let golden = format!(
            "bound {}\nciphertext {}\ndigest {}\nhash {}",
            hex(&bound),
            hex(&ciphertext),
            hex(&digest),
            hex(&link.hash())
        );
        insta::assert_snapshot!(golden, @r"
        bound 000000000000001077696e646c6173732d6576656e742f3100000000000000203030313132323333343435353636373738383939616162626363646465656666000000000000000c3768336b303131326d34707100000000000000080000000000000007000000000000000e417474656d707453746172746564000000000000000e6465706c6f792e6d696772617465000000000000000100000000000000000901000000000000000200000000000000410161626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162000000000000002a0177696e646c6173733a636f6e7472616374732f646174616261736540302e312e30236d696772617465
        ciphertext 1bc0fae3e8c3d00af8c80b49f5ab8ec7128cc72eb2e2ef90146a88b163c736c716380027fda92b
        digest 57fcbaf417a23a642b3b4794d408febc90c41bab39472fb85e12c14f484bab64
        hash 327fc573a9702ae15971278820314fe93b4b067fdac364b484544df4e3e25244
        ");
    }

    #[test]
    fn an_absent_word_is_not_an_empty_one() {
        let run = RunId::parse("7h3k0112m4pq").unwrap();
        let absent =
            Binding { step: "a".to_owned(), item: None, attempt: None, plugin_digest: None, action: None };
        let empty = Binding { item: Some(String::new()), ..absent.clone() };
        let bound = |binding| event_binding("s", &run, 1, "k", binding);
        assert_ne!(bound(Some(&absent)), bound(Some(&empty)));
        assert_ne!(bound(None), bound(Some(&absent)));
    }
}
