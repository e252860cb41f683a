//! The store key: 32 random bytes in a file outside the store.
//!
//! It seals nothing but the data keys of runs, so that changing it rewraps those and touches no event. The file
//! `ID.key` holds one line, `windlass-store-key-1 ID BASE64`, where ID is the first 16 hexadecimal digits of
//! SHA-256 over the text `windlass-store-key-id-1` and the key.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::id::hex;
use crate::key_file::{Kind, Secret};

const KIND: Kind = Kind { mark: "windlass-store-key-1", id_of };

/// The key that wraps the data keys of runs. It has no `Debug`: it must not reach a log.
pub(crate) struct StoreKey {
    pub(crate) id: String,
    pub(crate) bytes: Zeroizing<[u8; 32]>,
}

impl StoreKey {
    /// Makes a key and its file.
    pub(crate) fn create(folder: &Path) -> Result<Self, Error> {
        let secret = Secret::random(&KIND)?;
        secret.write(folder, &file_name(&secret.id), &KIND)?;
        Ok(Self { id: secret.id, bytes: secret.bytes })
    }

    /// Reads the key of that id.
    pub(crate) fn load(folder: &Path, id: &str) -> Result<Self, Error> {
        let path = path_of(folder, id);
        match Secret::read(folder, &file_name(id), &KIND)? {
            None => Err(Error::NoKey { id: id.to_owned(), path }),
            Some(secret) if secret.id != id => {
                Err(Error::DamagedKey { path, what: "its key is not the one that its id says" })
            }
            Some(Secret { id, bytes }) => Ok(Self { id, bytes }),
        }
    }
}

/// Where the key of that id is kept.
#[must_use]
pub fn path_of(folder: &Path, id: &str) -> PathBuf {
    folder.join(file_name(id))
}

fn file_name(id: &str) -> String {
    format!("{id}.key")
}

fn id_of(bytes: &[u8; 32]) -> String {
    short_id(Sha256::new().chain_update(b"windlass-store-key-id-1").chain_update(bytes))
}

/// The first 16 hexadecimal digits of a hash.
pub(crate) fn short_id(hash: Sha256) -> String {
    let mut id = hex(&hash.finalize());
    id.truncate(16);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn refusal(result: Result<StoreKey, Error>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn a_key_comes_back_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let made = StoreKey::create(&keys).unwrap();
        let read = StoreKey::load(&keys, &made.id).unwrap();
        assert_eq!(*read.bytes, *made.bytes);
        assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(path_of(&keys, &made.id)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_unsafe_or_damaged_key_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let key = StoreKey::create(&keys).unwrap();
        let path = path_of(&keys, &key.id);
        assert!(matches!(StoreKey::load(&keys, "0000000000000000"), Err(Error::NoKey { .. })));

        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(
            refusal(StoreKey::load(&keys, &key.id))
                .ends_with("others have access to it (mode 640): chmod 600")
        );
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&keys, Permissions::from_mode(0o777)).unwrap();
        assert!(
            refusal(StoreKey::load(&keys, &key.id))
                .ends_with("others can write into it (mode 777): chmod 700")
        );
        fs::set_permissions(&keys, Permissions::from_mode(0o700)).unwrap();

        let text = fs::read_to_string(&path).unwrap();
        let other = StoreKey::create(&keys).unwrap();
        fs::copy(path_of(&keys, &other.id), &path).unwrap();
        assert!(refusal(StoreKey::load(&keys, &key.id)).ends_with("its key is not the one that its id says"));
        fs::write(&path, &text[..50]).unwrap();
        assert!(refusal(StoreKey::load(&keys, &key.id)).ends_with("its key is not 32 bytes in base64"));
        fs::write(&path, "").unwrap();
        assert!(refusal(StoreKey::load(&keys, &key.id)).contains("does not begin with"));

        let real = keys.join("real");
        fs::rename(&path, &real).unwrap();
        std::os::unix::fs::symlink(&real, &path).unwrap();
        assert!(refusal(StoreKey::load(&keys, &key.id)).ends_with("it is a symlink"));
    }
}
