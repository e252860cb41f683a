//! What a write makes beside the file it is for, so that taking it back leaves nothing behind: drafts and folders.
//!
//! A folder counts as made by a write if it was missing when that was planned. Invariant: a folder that holds anything
//! but what is removed with it stays.

use super::{Error, Folders, Kind, Metadata, Path};
use crate::digest;
use std::collections::BTreeSet;

/// How much of a key's hash is in a name.
const SHORT: usize = 12;

/// The file that [`Folders::write`] fills before it gets the name `path`, for the effect with this idempotency key. It is
/// there after the write only if that was cut off.
#[must_use]
pub fn draft(path: &Path, key: &str) -> Path {
    let hash = digest::sha256(key.as_bytes());
    path.beside(&format!(".{}.{}.draft", path.name(), hash.get(..SHORT).unwrap_or(&hash)))
}

/// The folders that a file at `path` is to be in and that are not there, outermost first.
///
/// # Errors
/// Where it can't be found out.
pub fn missing_folders(folders: &dyn Folders, path: &Path) -> Result<Vec<Path>, Error> {
    let mut missing = Vec::new();
    let mut next = path.parent();
    while let Some(folder) = next {
        match folders.metadata(&folder) {
            Ok(_) => break,
            Err(Error::NotFound(_) | Error::NotAFolder(_)) => {}
            Err(other) => return Err(other),
        }
        next = folder.parent();
        missing.push(folder);
    }
    missing.reverse();
    Ok(missing)
}

/// Which of the folders that a write made will be empty once these files are removed, innermost first.
///
/// # Errors
/// Where it can't be found out.
pub fn emptied<'a>(
    folders: &dyn Folders,
    made: impl IntoIterator<Item = &'a Path>,
    removed: impl IntoIterator<Item = &'a Path>,
) -> Result<Vec<Path>, Error> {
    let mut gone: BTreeSet<Path> = removed.into_iter().cloned().collect();
    let mut made: Vec<&Path> = made.into_iter().collect();
    // What is within a folder has a longer path than the folder.
    made.sort_by_key(|folder| std::cmp::Reverse(folder.inner().len()));
    made.dedup();
    let mut emptied = Vec::new();
    for folder in made {
        match folders.metadata(folder) {
            Ok(Metadata { kind: Kind::Folder, .. }) => {}
            Ok(_) | Err(Error::NotFound(_) | Error::NotAFolder(_)) => continue,
            Err(other) => return Err(other),
        }
        let inside = folders.list(folder.slot(), folder.inner())?;
        let within = |name: &String| Path::new(folder.slot(), &format!("{}/{name}", folder.inner()));
        if inside.iter().all(|name| within(name).is_ok_and(|path| gone.contains(&path))) {
            gone.insert(folder.clone());
            emptied.push(folder.clone());
        }
    }
    Ok(emptied)
}

/// Removes folders in this order. One that is not empty by now, or gone, is left as it is.
///
/// # Errors
/// Where one can't be removed for another reason.
pub fn remove_emptied(folders: &dyn Folders, emptied: &[Path]) -> Result<(), Error> {
    emptied.iter().try_for_each(|folder| match folders.remove_folder(folder) {
        Ok(()) | Err(Error::Exists(_) | Error::NotFound(_)) => Ok(()),
        Err(other) => Err(other),
    })
}

#[cfg(test)]
mod tests {
    use super::{emptied, missing_folders, remove_emptied};
    use crate::fs::{Folders, Path};
    use crate::testing::Memory;

    #[test]
    fn only_folders_that_were_made_and_are_empty_go() {
        let folders = Memory::with_slots(&["out"]);
        let path = |inner: &str| Path::new("out", inner).unwrap();
        folders.create_dir_all(&path("old")).unwrap();
        let file = path("old/a/b/c.md");
        let made = missing_folders(&folders, &file).unwrap();
        assert_eq!(made, [path("old/a"), path("old/a/b")]);
        folders.write(&file, b"x").unwrap();

        assert_eq!(emptied(&folders, &made, []).unwrap(), []);
        let gone = emptied(&folders, &made, [&file]).unwrap();
        assert_eq!(gone, [path("old/a/b"), path("old/a")]);
        folders.write(&path("old/a/mine"), b"y").unwrap();
        assert_eq!(emptied(&folders, &made, [&file]).unwrap(), [path("old/a/b")]);

        folders.remove(&file).unwrap();
        remove_emptied(&folders, &gone).unwrap();
        assert_eq!(folders.list("out", "old/a").unwrap(), ["mine"]);
        assert!(folders.metadata(&path("old/a/b")).is_err());
    }
}
