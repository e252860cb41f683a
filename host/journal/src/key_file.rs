//! Files that hold a secret of 32 bytes.
//!
//! One line, `MARK ID BASE64`, where ID is computed from the secret: a file that was swapped or cut is found at once.
//! Invariant: a secret is used only from a plain file of this user that nobody else can read, in a folder that
//! nobody else can write.

use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::files;

/// Longer than any key file; a bigger one is not read.
const FILE_LIMIT: u64 = 256;

/// What the secret is for.
pub(crate) struct Kind {
    /// The first word of the file.
    pub(crate) mark: &'static str,
    /// The id of a secret.
    pub(crate) id_of: fn(&[u8; 32]) -> String,
}

/// A secret and its id. It has no `Debug`: it must not reach a log.
pub(crate) struct Secret {
    pub(crate) id: String,
    pub(crate) bytes: Zeroizing<[u8; 32]>,
}

impl Secret {
    /// A new one.
    pub(crate) fn random(kind: &Kind) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(Error::Random)?;
        Ok(Self { id: (kind.id_of)(&bytes), bytes })
    }

    /// Makes its file, durably.
    pub(crate) fn write(&self, folder: &Path, name: &str, kind: &Kind) -> Result<(), Error> {
        files::private_folder(folder)?;
        check_folder(folder)?;
        let encoded = Zeroizing::new(STANDARD.encode(*self.bytes));
        let line = Zeroizing::new(format!("{} {} {}\n", kind.mark, self.id, *encoded));
        files::write_whole(folder, name, line.as_bytes()).map(drop)
    }

    /// Reads a file; `None` if there is none.
    pub(crate) fn read(folder: &Path, name: &str, kind: &Kind) -> Result<Option<Self>, Error> {
        let path = folder.join(name);
        let file = match files::private().read(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
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
        if words.next() != Some(kind.mark) {
            return Err(damaged("it does not begin with the mark of such a key"));
        }
        let (named, encoded) = (words.next(), words.next().unwrap_or_default());
        let mut bytes = Zeroizing::new([0; 32]);
        let length = STANDARD.decode_slice(encoded, &mut *bytes);
        if length != Ok(32) || words.next().is_some() {
            return Err(damaged("its key is not 32 bytes in base64"));
        }
        let id = (kind.id_of)(&bytes);
        if named != Some(id.as_str()) {
            return Err(damaged("its key is not the one that its id says"));
        }
        Ok(Some(Self { id, bytes }))
    }
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
