//! What an archive is and holds, and in which way a file is none.
//!
//! `pg_restore --list` reads the list alone, which stands first: it does not notice an archive that was cut short after
//! it. Reading it through to nowhere does, and checks each compressed block as well.

use crate::bindings::exports::windlass::contracts::backup::Archive;
use crate::list::{self, Contents};
use crate::world::{World, command, last_words};
use windlass_sdk::fs::{Error, Path};
use windlass_sdk::process::Exit;
use windlass_sdk::{Failure, digest, json};

/// How to make what can be brought back.
const HOW: &str = "make archives with `pg_dump --format=custom`";

/// The file, its hash and what it holds.
pub(crate) fn describe(world: &impl World, file: &str, path: &Path) -> Result<Archive, Failure> {
    let contents = contents(world, path)?;
    let (sha256, size) = digest::sha256_of_file(world.folders(), path)?;
    Ok(Archive {
        file: file.to_owned(),
        size,
        sha256,
        tables: contents.tables.into_iter().collect(),
        tables_with_data: contents.with_data.into_iter().collect(),
    })
}

/// What the archive's list says.
pub(crate) fn contents(world: &impl World, path: &Path) -> Result<Contents, Failure> {
    is_archive(world, path)?;
    let exit = world.run(&command("pg_restore", ["--list".to_owned(), path.to_string()]))?;
    if exit.code != Some(0) {
        return Err(unreadable(path, &exit));
    }
    if exit.truncated {
        return Err(failure("list-too-long", path, "has a longer list of its contents than the host keeps"));
    }
    Ok(list::read(&String::from_utf8_lossy(&exit.stdout)))
}

/// Reads the whole archive, every block of rows.
pub(crate) fn read_through(world: &impl World, path: &Path) -> Result<(), Failure> {
    let exit = world.run(&command("pg_restore", ["--file=/dev/null".to_owned(), path.to_string()]))?;
    if exit.code == Some(0) { Ok(()) } else { Err(unreadable(path, &exit)) }
}

/// A failure about an archive.
pub(crate) fn failure(code: &str, path: &Path, what: impl std::fmt::Display) -> Failure {
    Failure::new(code, format!("{path} {what}")).with_detail(&json!({ "file": path.inner() }))
}

/// Looks at the first bytes, before any program does.
fn is_archive(world: &impl World, path: &Path) -> Result<(), Failure> {
    let head = head(world, path)?;
    let starts = |text: &str| head.starts_with(text.as_bytes());
    if head.is_empty() {
        return Err(failure("empty-archive", path, "is empty: it has no bytes at all"));
    }
    if head.starts_with(b"PGDMP") {
        // Major, minor and patch version and two sizes stand before the format.
        return match head.get(10) {
            None => Err(failure("truncated-archive", path, "is cut short: not even its head is whole")),
            Some(1) => Ok(()),
            Some(_) => {
                Err(failure("not-an-archive", path, format!("is of another format than custom: {HOW}")))
            }
        };
    }
    if b"PGDMP".starts_with(&head) {
        return Err(failure("truncated-archive", path, "is cut short: not even its head is whole"));
    }
    if ["--\n-- PostgreSQL", "--\r\n-- PostgreSQL", "\\restrict", "--", "SET ", "CREATE "]
        .into_iter()
        .any(starts)
    {
        return Err(failure(
            "plain-text-dump",
            path,
            format!(
                "is a dump in plain text, which can't be listed, checked or brought back in one piece: {HOW}"
            ),
        ));
    }
    if head.get(257..262) == Some(b"ustar".as_slice()) {
        return Err(failure("not-an-archive", path, format!("is a tar file: {HOW}")));
    }
    Err(failure("not-an-archive", path, format!("is no archive of pg_dump: {HOW}")))
}

/// The first bytes of a file, at most 512.
fn head(world: &impl World, path: &Path) -> Result<Vec<u8>, Failure> {
    const HEAD: usize = 512;
    let mut head = Vec::new();
    let enough = Error::TooLarge(path.clone(), HEAD as u64);
    let read = world.folders().read_pieces(path, &mut |piece| {
        head.extend_from_slice(piece.get(..HEAD - head.len()).unwrap_or(piece));
        if head.len() < HEAD { Ok(()) } else { Err(enough.clone()) }
    });
    match read {
        Ok(_) => Ok(head),
        Err(error) if error == enough => Ok(head),
        Err(error) => Err(error.into()),
    }
}

/// Why `pg_restore` can't read it.
fn unreadable(path: &Path, exit: &Exit) -> Failure {
    let stderr = String::from_utf8_lossy(&exit.stderr);
    let says = |texts: &[&str]| texts.iter().any(|text| stderr.contains(text));
    let said = last_words(exit);
    let (code, what) = if says(&["end of file", "too short", "unexpected end"]) {
        ("truncated-archive", format!("is cut short: {said}"))
    } else if says(&["text format dump"]) {
        ("plain-text-dump", format!("is a dump in plain text: {HOW}"))
    } else if says(&["does not appear to be a valid archive"]) {
        ("not-an-archive", format!("is no archive of pg_dump: {HOW}"))
    } else if says(&["unsupported version"]) {
        ("unsupported-archive", format!("was made by a newer pg_dump than this pg_restore: {said}"))
    } else {
        ("damaged-archive", format!("can't be read: {said}"))
    };
    failure(code, path, what)
}

#[cfg(test)]
mod tests {
    use super::{contents, read_through};
    use crate::world::path;
    use crate::world::tests::Fake;

    #[test]
    fn each_way_to_be_no_archive_has_its_word() {
        let world = Fake::default();
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (content, code) in [
            (b"".as_slice(), "empty-archive"),
            (b"PGD", "truncated-archive"),
            (b"PGDMP\x01\x0e", "truncated-archive"),
            (b"PGDMP\x01\x0e\x00\x04\x08\x03 of a tar", "not-an-archive"),
            (b"--\n-- PostgreSQL database dump\n--\n", "plain-text-dump"),
            (b"\x1f\x8b rows", "not-an-archive"),
            (tar.as_slice(), "not-an-archive"),
        ] {
            world.put("a", content);
            assert_eq!(contents(&world, &path("a").unwrap()).unwrap_err().code, code, "{content:?}");
        }
        assert!(world.ran.borrow().is_empty(), "no program was needed");
        assert_eq!(contents(&world, &path("b").unwrap()).unwrap_err().code, "not-found");
    }

    #[test]
    fn what_the_program_says_has_its_word() {
        for (said, code) in [
            ("pg_restore: error: could not read from input file: end of file", "truncated-archive"),
            ("pg_restore: error: could not uncompress data: incorrect data check", "damaged-archive"),
            ("pg_restore: error: unsupported version (1.16) in file header", "unsupported-archive"),
        ] {
            let ends = [("pg_restore --file=", (1, said))].into();
            let world = Fake { ends, ..Fake::default() };
            world.put("a", world.content.get());
            assert!(contents(&world, &path("a").unwrap()).is_ok(), "its list is whole");
            assert_eq!(read_through(&world, &path("a").unwrap()).unwrap_err().code, code);
        }
    }
}
