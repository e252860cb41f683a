//! Paths as the attacker likes them, below every folder that the host shows.

use windlass_sdk::Failure;
use windlass_sdk::bindings::wasi::filesystem::preopens::get_directories;
use windlass_sdk::bindings::wasi::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};

use crate::bindings::exports::windlass::hostile::attacks::Content;

/// Reads a file.
pub(crate) fn read(path: &str) -> Result<Content, Failure> {
    let file = open(path, OpenFlags::empty(), DescriptorFlags::READ)?;
    let (bytes, _) = file.read(64 * 1024, 0).map_err(|code| Failure::new("not-read", format!("{code:?}")))?;
    let size = bytes.len() as u64;
    Ok(Content { text: String::from_utf8_lossy(&bytes).into_owned(), size })
}

/// Makes a file, or writes over one.
pub(crate) fn write(path: &str) -> Result<Content, Failure> {
    let file = open(path, OpenFlags::CREATE | OpenFlags::TRUNCATE, DescriptorFlags::WRITE)?;
    let size = file.write(b"hostile", 0).map_err(|code| Failure::new("not-written", format!("{code:?}")))?;
    Ok(Content { text: "hostile".to_owned(), size })
}

/// The first folder below which it opens.
fn open(path: &str, how: OpenFlags, rights: DescriptorFlags) -> Result<Descriptor, Failure> {
    let mut refusals = Vec::new();
    for (folder, name) in get_directories() {
        match folder.open_at(PathFlags::SYMLINK_FOLLOW, path, how, rights) {
            Ok(file) => return Ok(file),
            Err(code) => refusals.push(format!("{name}: {code:?}")),
        }
    }
    Err(Failure::new("not-opened", format!("no folder lets it: {}", refusals.join(", "))))
}
