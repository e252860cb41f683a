//! Access to granted folders through `wasi:filesystem`.

use super::{Error, Folders, Host, Kind, Metadata, Path, draft};
use crate::bindings::wasi::filesystem::preopens::get_directories;
use crate::bindings::wasi::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, ErrorCode, OpenFlags, PathFlags,
};
use crate::{random, step};

/// How much is read and written at once.
const PIECE: u64 = 64 * 1024;

impl Folders for Host {
    fn read_pieces(
        &self,
        path: &Path,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let folder = granted(path.slot())?;
        let file = folder
            .open_at(PathFlags::SYMLINK_FOLLOW, path.inner(), OpenFlags::empty(), DescriptorFlags::READ)
            .map_err(|code| unreadable(path, code))?;
        let kind = kind(file.get_type().map_err(|code| unreadable(path, code))?);
        if kind != Kind::File {
            return Err(Error::NotAFile(path.clone(), kind));
        }
        let mut offset = 0;
        loop {
            let (piece, ended) = file.read(PIECE, offset).map_err(|code| unreadable(path, code))?;
            offset += piece.len() as u64;
            if !piece.is_empty() {
                take(&piece)?;
            }
            if ended || piece.is_empty() {
                return Ok(offset);
            }
        }
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), Error> {
        match self.metadata(path) {
            Ok(Metadata { kind: Kind::File, .. }) | Err(Error::NotFound(_)) => {}
            // Renaming over a link would replace the link and leave what it points to.
            Ok(Metadata { kind, .. }) => return Err(Error::NotAFile(path.clone(), kind)),
            Err(other) => return Err(other),
        }
        if let Some(parent) = path.parent() {
            self.create_dir_all(&parent)?;
        }
        let folder = granted(path.slot())?;
        let key = step::idempotency_key();
        let draft = draft(path, &if key.is_empty() { random::hex(6) } else { key });
        // An attempt of the same effect that was cut off has left it.
        match folder.unlink_file_at(draft.inner()) {
            Ok(()) | Err(ErrorCode::NoEntry) => {}
            Err(code) => return Err(error(&draft, code)),
        }
        let written = write_new(&folder, &draft, content).and_then(|()| {
            folder.rename_at(draft.inner(), &folder, path.inner()).map_err(|code| error(path, code))
        });
        if written.is_err() {
            // The reason that is reported is why the writing failed; a draft that was never made can't be removed.
            let _ = folder.unlink_file_at(draft.inner());
        }
        written
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, Error> {
        let folder = granted(path.slot())?;
        let found =
            folder.stat_at(PathFlags::empty(), path.inner()).map_err(|code| unreadable(path, code))?;
        Ok(Metadata { kind: kind(found.type_), size: found.size })
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        granted(path.slot())?.unlink_file_at(path.inner()).map_err(|code| error(path, code))
    }

    fn remove_folder(&self, path: &Path) -> Result<(), Error> {
        granted(path.slot())?.remove_directory_at(path.inner()).map_err(|code| error(path, code))
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), Error> {
        if let Ok(Metadata { kind: Kind::Folder, .. }) = self.metadata(path) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.create_dir_all(&parent)?;
        }
        match granted(path.slot())?.create_directory_at(path.inner()) {
            // Another call may have made it meanwhile.
            Ok(()) | Err(ErrorCode::Exist) => Ok(()),
            Err(code) => Err(error(path, code)),
        }
    }

    fn list(&self, slot: &str, inner: &str) -> Result<Vec<String>, Error> {
        let folder = granted(slot)?;
        let (folder, path) = if inner.is_empty() {
            (folder, Path { slot: slot.to_owned(), inner: String::new() })
        } else {
            let path = Path::new(slot, inner)?;
            let flags = PathFlags::SYMLINK_FOLLOW;
            let inside = folder
                .open_at(flags, path.inner(), OpenFlags::DIRECTORY, DescriptorFlags::READ)
                .map_err(|code| unreadable(&path, code))?;
            (inside, path)
        };
        let entries = folder.read_directory().map_err(|code| unreadable(&path, code))?;
        let mut names = Vec::new();
        while let Some(entry) = entries.read_directory_entry().map_err(|code| unreadable(&path, code))? {
            names.push(entry.name);
        }
        names.sort();
        Ok(names)
    }
}

/// The folder that the host shows as `/SLOT`.
fn granted(slot: &str) -> Result<Descriptor, Error> {
    let mut others = Vec::new();
    for (folder, name) in get_directories() {
        let name = name.trim_start_matches('/');
        if name == slot {
            return Ok(folder);
        }
        others.push(name.to_owned());
    }
    Err(Error::NotGranted { slot: slot.to_owned(), granted: others })
}

/// Write a file that must not be there yet, down to the disk.
fn write_new(folder: &Descriptor, path: &Path, content: &[u8]) -> Result<(), Error> {
    let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    let file = folder
        .open_at(PathFlags::empty(), path.inner(), flags, DescriptorFlags::WRITE)
        .map_err(|code| error(path, code))?;
    let mut offset = 0;
    for mut piece in content.chunks(PIECE as usize) {
        while !piece.is_empty() {
            let count = file.write(piece, offset).map_err(|code| error(path, code))?;
            if count == 0 {
                return Err(Error::Other(path.clone(), "nothing more can be written".to_owned()));
            }
            offset += count;
            piece = piece.get(usize::try_from(count).unwrap_or(usize::MAX)..).unwrap_or_default();
        }
    }
    file.sync().map_err(|code| error(path, code))
}

const fn kind(found: DescriptorType) -> Kind {
    match found {
        DescriptorType::RegularFile => Kind::File,
        DescriptorType::Directory => Kind::Folder,
        DescriptorType::SymbolicLink => Kind::Link,
        _ => Kind::Other,
    }
}

/// As [`error`], of something that only reads.
fn unreadable(path: &Path, code: ErrorCode) -> Error {
    match error(path, code) {
        Error::Denied(path) => Error::OutOfReach(path),
        other => other,
    }
}

fn error(path: &Path, code: ErrorCode) -> Error {
    let path = path.clone();
    match code {
        ErrorCode::NoEntry => Error::NotFound(path),
        ErrorCode::Access | ErrorCode::NotPermitted | ErrorCode::ReadOnly => Error::Denied(path),
        ErrorCode::Exist | ErrorCode::NotEmpty => Error::Exists(path),
        ErrorCode::IsDirectory => Error::NotAFile(path, Kind::Folder),
        ErrorCode::NotDirectory => Error::NotAFolder(path),
        ErrorCode::Loop => Error::NotAFile(path, Kind::Link),
        ErrorCode::InsufficientSpace | ErrorCode::Quota => Error::Other(path, "no space is left".to_owned()),
        other => Error::Other(path, other.message().to_owned()),
    }
}
