//! Sealing and opening under the data key of a run.
//!
//! Owns the cipher; refuses to know what is sealed and what it is bound to. Invariant: key bytes live only in
//! types that are wiped when dropped and that can't be printed.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::envelope;
use crate::error::Error;
use crate::id::RunId;
use crate::key::StoreKey;

pub(crate) const NONCE_LENGTH: usize = 24;

/// The data key of a run, ready to use.
pub(crate) struct RunKey(XChaCha20Poly1305);

/// What a run's key is bound to, beside the store and the run.
pub(crate) struct KeyOwner<'a> {
    pub(crate) store: &'a str,
    pub(crate) run: &'a RunId,
    pub(crate) name: &'a str,
    pub(crate) started_ms: i64,
}

impl KeyOwner<'_> {
    fn binding(&self) -> Vec<u8> {
        envelope::run_key_binding(self.store, self.run, self.name, self.started_ms)
    }
}

impl RunKey {
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(bytes.into()))
    }

    /// A new key, and the same wrapped under the store's.
    pub(crate) fn create(store_key: &StoreKey, owner: &KeyOwner<'_>) -> Result<(Self, Vec<u8>), Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(Error::Random)?;
        let (nonce, body) = Self::from_bytes(&store_key.bytes).seal(&owner.binding(), &*bytes)?;
        Ok((Self::from_bytes(&bytes), [nonce.as_slice(), &body].concat()))
    }

    /// The key out of its wrapping; `None` when it does not open.
    pub(crate) fn unwrap(store_key: &StoreKey, owner: &KeyOwner<'_>, wrapped: &[u8]) -> Option<Self> {
        let (nonce, body) = wrapped.split_at_checked(NONCE_LENGTH)?;
        let bytes = Zeroizing::new(Self::from_bytes(&store_key.bytes).open(nonce, body, &owner.binding())?);
        Some(Self::from_bytes(bytes.as_slice().try_into().ok()?))
    }

    /// Seals under a new random nonce.
    pub(crate) fn seal(&self, bound: &[u8], content: &[u8]) -> Result<([u8; NONCE_LENGTH], Vec<u8>), Error> {
        let mut nonce = [0; NONCE_LENGTH];
        getrandom::fill(&mut nonce).map_err(Error::Random)?;
        let body = self.seal_with(&nonce, bound, content)?;
        Ok((nonce, body))
    }

    pub(crate) fn seal_with(
        &self,
        nonce: &[u8; NONCE_LENGTH],
        bound: &[u8],
        content: &[u8],
    ) -> Result<Vec<u8>, Error> {
        self.0
            .encrypt(&XNonce::from(*nonce), Payload { msg: content, aad: bound })
            .map_err(|_| Error::BadEvent { what: "the payload is too long to seal".to_owned() })
    }

    /// The content, or `None` when anything about it is not what was sealed.
    pub(crate) fn open(&self, nonce: &[u8], body: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_LENGTH] = nonce.try_into().ok()?;
        self.0.decrypt(&XNonce::from(nonce), Payload { msg: body, aad: bound }).ok()
    }
}
