//! Compiled components on disk, and the one place where compiled code is taken for code.
//!
//! Invariant: nothing becomes code but what this program's own compiler just wrote, or what carries a MAC made with this
//! user's key over exactly the bytes that are then loaded. Every doubt (owner, mode, link, length, MAC) is a miss and
//! never an error: the component is compiled again.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;
use zeroize::Zeroizing;

const MAC_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
/// Python's, the largest seen, take 39 MiB.
const MAX_ENTRY: u64 = 512 * 1024 * 1024;

/// Compiled code that may be loaded.
pub(crate) struct Trusted(Vec<u8>);

impl Trusted {
    /// For what this program's compiler just wrote, through a pipe of which nobody else holds an end.
    pub(crate) const fn just_compiled(code: Vec<u8>) -> Self {
        Self(code)
    }

    /// Loads the code.
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: wasmtime checks that the bytes are of its own version and settings but not that they are harmless. A
        // `Trusted` is made in two places alone: from the output of our own compiler, and here below from bytes whose
        // MAC was verified in the same buffer that is now loaded.
        #[expect(unsafe_code, reason = "loading compiled code can't be safe; see the comment above")]
        unsafe {
            Component::deserialize(engine, &self.0)
        }
    }
}

/// A folder of compiled components.
pub(crate) struct Cache {
    folder: OwnedFd,
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Cache {
    /// Opens the folder, made if it isn't there. The key is a file *beside* it, with `.key` after its name: whoever
    /// brings a folder of entries from elsewhere does not bring the key along.
    pub(crate) fn open(folder: &Path) -> Result<Self, String> {
        let key = key(&key_path(folder)).map_err(|why| format!("the key beside it: {why}"))?;
        match std::fs::DirBuilder::new().recursive(true).create(folder) {
            Ok(()) => {}
            Err(error) => return Err(error.to_string()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(folder, flags, Mode::empty()).map_err(|error| error.to_string())?;
        let stat = rustix::fs::fstat(&opened).map_err(|error| error.to_string())?;
        if !is_ours(&stat) {
            return Err("it belongs to another user".to_owned());
        }
        if stat.st_mode & 0o077 != 0 {
            rustix::fs::fchmod(&opened, Mode::RWXU).map_err(|error| error.to_string())?;
            // Whoever could write to it before may have left something there.
            empty(&opened);
        }
        Ok(Self { folder: opened, key })
    }

    /// The entry of this name, if there is one that this user wrote.
    pub(crate) fn get(&self, name: &str) -> Option<Trusted> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        if !is_private_file(&stat) || u64::try_from(stat.st_size).ok()? > MAX_ENTRY {
            return None;
        }
        let mut mac = [0; MAC_BYTES];
        let mut code = Vec::with_capacity(usize::try_from(stat.st_size).ok()?);
        let mut file = File::from(file);
        file.read_exact(&mut mac).ok()?;
        file.take(MAX_ENTRY).read_to_end(&mut code).ok()?;
        self.mac(name, &code)?.verify_slice(&mac).ok()?;
        Some(Trusted(code))
    }

    /// Writes the entry, all or nothing. A failure is no more than a miss the next time.
    pub(crate) fn put(&self, name: &str, code: &Trusted) -> std::io::Result<()> {
        let mac =
            self.mac(name, &code.0).ok_or_else(|| std::io::Error::other("no MAC"))?.finalize().into_bytes();
        let temporary = format!("{name}.{}.new", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // One that a killed process left behind.
        let _left_over = rustix::fs::unlinkat(&self.folder, &temporary, AtFlags::empty());
        let file = rustix::fs::openat(&self.folder, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        let written = file.write_all(&mac).and_then(|()| file.write_all(&code.0));
        let moved =
            written.and_then(|()| Ok(rustix::fs::renameat(&self.folder, &temporary, &self.folder, name)?));
        if moved.is_err() {
            let _gone = rustix::fs::unlinkat(&self.folder, &temporary, AtFlags::empty());
        }
        moved
    }

    /// Over the name too, so that no entry can stand in for another.
    fn mac(&self, name: &str, code: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_slice()).ok()?;
        mac.update(&(name.len() as u64).to_le_bytes());
        mac.update(name.as_bytes());
        mac.update(code);
        Some(mac)
    }
}

fn key_path(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".key");
    folder.with_file_name(name)
}

/// Reads the key, or makes one. A key that others could read or write is thrown away, and all entries with it.
fn key(path: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, String> {
    let text = |error: rustix::io::Errno| error.to_string();
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| error.to_string())?;
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => {
            let stat = rustix::fs::fstat(&file).map_err(text)?;
            if is_private_file(&stat) && File::from(file).read_exact(key.as_mut_slice()).is_ok() {
                return Ok(key);
            }
            rustix::fs::unlink(path).map_err(text)?;
        }
        Err(rustix::io::Errno::NOENT) => {}
        Err(rustix::io::Errno::LOOP) => rustix::fs::unlink(path).map_err(text)?,
        Err(error) => return Err(text(error)),
    }
    getrandom::fill(key.as_mut_slice()).map_err(|error| error.to_string())?;
    // Written under another name and then moved, so that no process reads half a key. Of two that start at one time, the
    // last one's key stays; what the other writes are misses the next time.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR).map_err(text)?;
    File::from(file).write_all(key.as_slice()).map_err(|error| error.to_string())?;
    rustix::fs::rename(&temporary, path).map_err(text)?;
    Ok(key)
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}

fn is_private_file(stat: &Stat) -> bool {
    is_ours(stat)
        && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_mode & 0o077 == 0
}

fn empty(folder: impl AsFd) {
    let Ok(entries) = rustix::fs::Dir::read_from(&folder) else { return };
    for entry in entries.flatten() {
        let _gone = rustix::fs::unlinkat(&folder, entry.file_name(), AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::{Cache, Trusted};

    fn with_entry() -> (tempfile::TempDir, std::path::PathBuf, Cache) {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("code");
        let cache = Cache::open(&folder).unwrap();
        cache.put("entry", &Trusted(b"compiled code".to_vec())).unwrap();
        (temporary, folder, cache)
    }

    #[test]
    fn what_was_put_is_got_by_this_process_and_the_next() {
        let (_temporary, folder, cache) = with_entry();
        assert_eq!(cache.get("entry").unwrap().0, b"compiled code");
        assert_eq!(Cache::open(&folder).unwrap().get("entry").unwrap().0, b"compiled code");
        assert!(cache.get("other").is_none());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_changed_byte_anywhere_is_a_miss() {
        let (_temporary, folder, cache) = with_entry();
        let good = fs::read(folder.join("entry")).unwrap();
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            fs::write(folder.join("entry"), &bad).unwrap();
            assert!(cache.get("entry").is_none(), "byte {index}");
        }
        fs::write(folder.join("entry"), &good[..good.len() - 1]).unwrap();
        assert!(cache.get("entry").is_none(), "shorter");
        fs::write(folder.join("entry"), &good).unwrap();
        assert!(cache.get("entry").is_some());
    }

    #[test]
    fn an_entry_under_another_name_is_a_miss() {
        let (_temporary, folder, cache) = with_entry();
        fs::rename(folder.join("entry"), folder.join("other")).unwrap();
        assert!(cache.get("other").is_none());
    }

    #[test]
    fn a_link_and_a_file_that_others_can_read_are_misses() {
        let (_temporary, folder, cache) = with_entry();
        fs::rename(folder.join("entry"), folder.join("real")).unwrap();
        symlink("real", folder.join("entry")).unwrap();
        assert!(cache.get("entry").is_none(), "a link");
        fs::remove_file(folder.join("entry")).unwrap();
        fs::rename(folder.join("real"), folder.join("entry")).unwrap();
        fs::set_permissions(folder.join("entry"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(cache.get("entry").is_none(), "readable by all");
    }

    #[test]
    fn a_folder_open_to_others_is_emptied_and_closed() {
        let (_temporary, folder, cache) = with_entry();
        drop(cache);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let cache = Cache::open(&folder).unwrap();
        assert!(cache.get("entry").is_none());
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_folder_that_is_a_link_is_no_cache() {
        let (temporary, folder, _cache) = with_entry();
        let link = temporary.path().join("link");
        symlink(&folder, &link).unwrap();
        assert!(Cache::open(&link).is_err());
    }

    #[test]
    fn entries_of_another_key_are_misses() {
        let (temporary, folder, cache) = with_entry();
        drop(cache);
        fs::remove_file(temporary.path().join("code.key")).unwrap();
        assert!(Cache::open(&folder).unwrap().get("entry").is_none());
    }
}
