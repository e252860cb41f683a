//! The engine's key: what it wrote, it signs.
//!
//! Ed25519. The file `STORE.engine` beside the store keys holds one line, `windlass-engine-key-1 ID BASE64`: the 32
//! byte seed, and as ID the first 16 hexadecimal digits of SHA-256 over the text `windlass-engine-key-id-1` and the
//! public key. The public key stands in the store, where an attacker can replace it: only what is kept elsewhere, this
//! file or an exported anchor, says which key is the right one. That is why the file is named after the store.

use std::path::{Path, PathBuf};

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::key::short_id;
use crate::key_file::{Kind, Secret};

const KIND: Kind = Kind { mark: "windlass-engine-key-1", id_of: id_of_seed };

/// The key that signs. It has no `Debug`: it must not reach a log.
pub(crate) struct EngineKey {
    id: String,
    signing: SigningKey,
}

impl EngineKey {
    /// Makes the key of a store and its file.
    pub(crate) fn create(folder: &Path, store: &str) -> Result<Self, Error> {
        let secret = Secret::random(&KIND)?;
        secret.write(folder, &file_name(store), &KIND)?;
        Ok(Self::from_secret(&secret))
    }

    /// Reads the key of a store; `None` if this machine doesn't have it.
    pub(crate) fn find(folder: &Path, store: &str) -> Result<Option<Self>, Error> {
        Ok(Secret::read(folder, &file_name(store), &KIND)?.as_ref().map(Self::from_secret))
    }

    /// Reads the key of a store, which must be the one of that id.
    pub(crate) fn load(folder: &Path, store: &str, id: &str) -> Result<Self, Error> {
        let path = path_of(folder, store);
        match Self::find(folder, store)? {
            None => Err(Error::NoKey { id: id.to_owned(), path }),
            Some(key) if key.id != id => {
                Err(Error::DamagedKey { path, what: "it is not the engine key that the store names" })
            }
            Some(key) => Ok(key),
        }
    }

    fn from_secret(secret: &Secret) -> Self {
        Self { id: secret.id.clone(), signing: SigningKey::from_bytes(&secret.bytes) }
    }

    pub(crate) fn public(&self) -> EnginePublic {
        EnginePublic { id: self.id.clone(), key: self.signing.verifying_key() }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }
}

/// The half of the key that anybody may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnginePublic {
    pub(crate) id: String,
    key: VerifyingKey,
}

impl EnginePublic {
    /// `None` for bytes that are no public key.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
        Some(Self { id: id_of(&key), key })
    }

    pub(crate) fn bytes(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Whether the signature is of this key and this message.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

fn path_of(folder: &Path, store: &str) -> PathBuf {
    folder.join(file_name(store))
}

fn file_name(store: &str) -> String {
    format!("{store}.engine")
}

fn id_of_seed(seed: &[u8; 32]) -> String {
    id_of(&SigningKey::from_bytes(seed).verifying_key())
}

fn id_of(key: &VerifyingKey) -> String {
    short_id(Sha256::new().chain_update(b"windlass-engine-key-id-1").chain_update(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_verifies_with_the_public_half_alone() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let made = EngineKey::create(&keys, "s").unwrap();
        let read = EngineKey::load(&keys, "s", &made.id).unwrap();
        let public = EnginePublic::from_bytes(&made.public().bytes()).unwrap();
        assert_eq!(public, read.public());
        let mut signature = read.sign(b"message");
        assert!(public.verify(b"message", &signature));
        assert!(!public.verify(b"massage", &signature));
        assert!(!public.verify(b"message", &signature[..63]));
        signature[5] ^= 1;
        assert!(!public.verify(b"message", &signature));
    }

    #[test]
    fn a_missing_or_replaced_engine_key_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let made = EngineKey::create(&keys, "s").unwrap();
        assert!(EngineKey::find(&keys, "t").unwrap().is_none());
        assert!(matches!(EngineKey::load(&keys, "t", &made.id), Err(Error::NoKey { .. })));
        drop(EngineKey::create(&keys, "s").unwrap());
        assert!(matches!(EngineKey::load(&keys, "s", &made.id), Err(Error::DamagedKey { .. })));
    }
}
