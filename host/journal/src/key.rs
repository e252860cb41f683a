//! The store key: 32 random bytes in a file outside the store.
//!
//! It seals nothing but the data keys of runs, so that changing it rewraps those and touches no event. The file
//! `ID.key` holds one line, `windlass-store-key-1 ID BASE64`, where ID is the first 16 hexadecimal digits of
//! SHA-256 over the text `windlass-store-key-id-1` and the key: a file that was swapped or cut is found at once.
//! Invariant: a key is used only from a plain file of this user that nobody else can read, in a folder that
//! nobody else can write.

use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::files;
use crate::id::hex;

const MARK: &str = "windlass-store-key-1";
/// Longer than any key file; a bigger one is not read.
const FILE_LIMIT: u64 = 256;

/// The key that wraps the data keys of runs. It has no `Debug`: it must not reach a log.
pub(crate) struct StoreKey {
    pub(crate) id: String,
    pub(crate) bytes: Zeroizing<[u8; 32]>,
}

impl StoreKey {
    /// Makes a key and its file.
    pub(crate) fn create(folder: &Path) -> Result<Self, Error> {
        files::private_folder(folder)?;
        check_folder(folder)?;
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(Error::Random)?;
        let id = id_of(&bytes);
        let encoded = Zeroizing::new(STANDARD.encode(*bytes));
        let line = Zeroizing::new(format!("{MARK} {id} {}\n", *encoded));
        files::write_whole(folder, &file_name(&id), line.as_bytes())?;
        Ok(Self { id, bytes })
    }

    /// Reads the key of that id.
    pub(crate) fn load(folder: &Path, id: &str) -> Result<Self, Error> {
        let path = path_of(folder, id);
        let missing = || Error::NoKey { id: id.to_owned(), path: path.clone() };
        let file = match files::private().read(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Err(Error::UnsafeKey { path, what: "it is a symlink".to_owned() });
            }
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        check_folder(folder)?;
        if let Some(what) = files::exposure(&file).map_err(Error::io("look at", &path))? {
            return Err(Error::UnsafeKey { path, what });
        }
        let mut line = Zeroizing::new(String::with_capacity(FILE_LIMIT as usize));
        file.take(FILE_LIMIT).read_to_string(&mut line).map_err(Error::io("read", &path))?;
        let damaged = |what| Error::DamagedKey { path: path.clone(), what };
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some(MARK) {
            return Err(damaged("it does not begin with `windlass-store-key-1`"));
        }
        let (named, encoded) = (words.next(), words.next().unwrap_or_default());
        let mut bytes = Zeroizing::new([0; 32]);
        let length = STANDARD.decode_slice(encoded, &mut *bytes);
        if length != Ok(32) || words.next().is_some() {
            return Err(damaged("its key is not 32 bytes in base64"));
        }
        if named != Some(id) || id_of(&bytes) != id {
            return Err(damaged("its key is not the one that its id says"));
        }
        Ok(Self { id: id.to_owned(), bytes })
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
    let digest = Sha256::new().chain_update(b"windlass-store-key-id-1").chain_update(bytes).finalize();
    let mut id = hex(&digest);
    id.truncate(16);
    id
}

fn check_folder(folder: &Path) -> Result<(), Error> {
    let meta = folder.symlink_metadata().map_err(Error::io("look at", folder))?;
    let mode = meta.permissions().mode() & 0o777;
    let what = if !meta.is_dir() {
        "it is not a folder".to_owned()
    } else if meta.uid() != rustix::process::geteuid().as_raw() {
        format!("it belongs to user {}", meta.uid())
    } else if mode & 0o022 != 0 {
        format!("others can write into it (mode {mode:o}): chmod 700")
    } else {
        return Ok(());
    };
    Err(Error::UnsafeKey { path: folder.to_path_buf(), what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

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
