//! Proving an archive good.

use crate::archive::{describe, failure, read_through};
use crate::bindings::exports::windlass::contracts::backup::{Archive, Claim};
use crate::world::{World, path};
use windlass_sdk::{Failure, json};

/// Reads it to its end, and holds it to what is claimed of it.
pub(crate) fn verify(world: &impl World, input: &Claim) -> Result<Archive, Failure> {
    let path = path(&input.file)?;
    let archive = describe(world, &input.file, &path)?;
    read_through(world, &path)?;
    same(&archive, input.sha256.as_deref(), &path)?;
    if archive.tables.is_empty() {
        return Err(failure("empty-archive", &path, "is whole, but holds no table"));
    }
    let missing: Vec<String> = input
        .tables
        .iter()
        .map(|table| if table.contains('.') { table.clone() } else { format!("public.{table}") })
        .filter(|table| archive.tables_with_data.binary_search(table).is_err())
        .collect();
    if !missing.is_empty() {
        let what = format!("lacks the rows of {}", missing.join(", "));
        return Err(failure("missing-tables", &path, what)
            .with_detail(&json!({ "file": input.file, "missing": missing, "tables": archive.tables })));
    }
    Ok(archive)
}

/// That it is the archive that is meant, where a hash says which.
pub(crate) fn same(
    archive: &Archive,
    sha256: Option<&str>,
    path: &windlass_sdk::fs::Path,
) -> Result<(), Failure> {
    match sha256 {
        Some(wanted) if !wanted.eq_ignore_ascii_case(&archive.sha256) => {
            let short = |hash: &str| hash.chars().take(12).collect::<String>();
            let what =
                format!("is another file: its sha256 is {}, not {}", short(&archive.sha256), short(wanted));
            Err(failure("checksum-differs", path, what)
                .with_detail(&json!({ "file": archive.file, "expected": wanted, "seen": archive.sha256 })))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::verify;
    use crate::bindings::exports::windlass::contracts::backup::Claim;
    use crate::world::tests::Fake;
    use windlass_sdk::digest;

    fn claim(tables: &[&str], sha256: Option<String>) -> Claim {
        Claim {
            file: "a.dump".to_owned(),
            sha256,
            tables: tables.iter().map(|table| (*table).to_owned()).collect(),
            extra: Vec::new(),
        }
    }

    #[test]
    fn an_archive_is_held_to_its_claim() {
        let world = Fake::default();
        world.put("a.dump", world.content.get());
        let sha256 = digest::sha256(world.content.get());
        let archive = verify(&world, &claim(&["events", "public.We ird"], Some(sha256.clone()))).unwrap();
        assert_eq!((archive.sha256, archive.size), (sha256, 16));
        assert_eq!(archive.tables, ["public.We ird", "public.events", "s.empty"]);

        let failure = verify(&world, &claim(&["events", "s.empty", "gone"], None)).unwrap_err();
        assert_eq!(failure.code, "missing-tables");
        assert_eq!(failure.message, "/backups/a.dump lacks the rows of s.empty, public.gone");
        let failure = verify(&world, &claim(&[], Some("ab".repeat(32)))).unwrap_err();
        assert_eq!(failure.code, "checksum-differs");
    }
}
