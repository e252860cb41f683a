//! Writing an archive.
//!
//! pg_dump writes `FILE.KEY.partial`, which no other effect does; once it ended well, the file's hash is kept as a receipt,
//! and only then it gets its name. Invariants: an archive is never overwritten, and a file under its final name is whole.

use crate::archive::describe;
use crate::bindings::exports::windlass::contracts::backup::{Archive, Source};
use crate::world::{World, command, last_words, path, short};
use windlass_sdk::fs::{self, Error, Path};
use windlass_sdk::process::Exit;
use windlass_sdk::{Attempt, Change, Failure, Plan, Value, digest, info, json, serde_json};

/// Whether it has to be written.
pub(crate) fn plan(world: &impl World, input: &Source, before: &[Attempt]) -> Result<Plan, Failure> {
    let path = path(&input.file)?;
    tables(input)?;
    let attempts: Vec<&Attempt> = before.iter().filter(|attempt| file_of(attempt) == input.file).collect();
    if exists(world, &path)? {
        let receipts = receipts(&attempts);
        if !receipts.is_empty() && receipts.contains(&digest::sha256_of_file(world.folders(), &path)?.0) {
            return Ok(Plan::in_place().repeatable(true));
        }
        let found = if attempts.is_empty() {
            format!("{path} is there already, and an archive is never overwritten")
        } else {
            format!("{path} is there, but no attempt of this step finished it")
        };
        return Ok(Plan::conflict(found));
    }
    let first = attempts.first().map(|attempt| attempt.plan.memo_json()).unwrap_or_default();
    let missing = match first.get("folders") {
        Some(missing) => missing.clone(),
        None => {
            let missing = fs::missing_folders(world.folders(), &path)?;
            missing.iter().map(|folder| Value::from(folder.inner())).collect()
        }
    };
    let what = match input.tables.len() {
        0 => "an archive of the whole database".to_owned(),
        _ => format!("an archive of {}", input.tables.join(", ")),
    };
    let change = Change::new(format!("archive {path}"), "create").then(what);
    Ok(Plan::differs([change]).repeatable(true).with_memo(&json!({ "folders": missing })))
}

/// Write it, if the plan says so.
pub(crate) fn apply(world: &impl World, input: &Source, plan: &Plan) -> Result<Archive, Failure> {
    let path = path(&input.file)?;
    if plan.is_in_place() {
        return describe(world, &input.file, &path);
    }
    let meanwhile = |path: &Path| Failure::changed_meanwhile(&path.to_string(), "no file", "one");
    if exists(world, &path)? {
        return Err(meanwhile(&path));
    }
    let partial = partial(&path, &world.key());
    if exists(world, &partial)? {
        // An attempt of this very effect left it behind.
        world.folders().remove(&partial)?;
    }
    if let Some(parent) = path.parent() {
        world.folders().create_dir_all(&parent)?;
    }
    let mut arguments =
        vec!["--format=custom".to_owned(), "--no-password".to_owned(), format!("--file={partial}")];
    arguments.extend(tables(input)?.into_iter().map(|table| format!("--table={table}")));
    let exit = world.run(&command("pg_dump", arguments))?;
    if exit.code != Some(0) {
        clean_up(world, &partial);
        return Err(failed(&exit));
    }
    let mut archive = describe(world, &input.file, &partial)?;
    input.file.clone_into(&mut archive.file);
    world.receipt(&json!({ "sha256": archive.sha256, "size": archive.size }).to_string())?;
    world.publish(&partial, &path).map_err(|error| match error {
        Error::Exists(path) => meanwhile(&path),
        other => other.into(),
    })?;
    info!("dumped {path}"; size = archive.size, tables = archive.tables.len());
    Ok(archive)
}

/// Where pg_dump writes for the effect with this key.
pub(crate) fn partial(path: &Path, key: &str) -> Path {
    path.beside(&format!("{}.{}.partial", path.name(), short(key)))
}

/// The file that an attempt was to write.
pub(crate) fn file_of(attempt: &Attempt) -> String {
    attempt.input_json().get("file").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Whether something bears this name.
pub(crate) fn exists(world: &impl World, path: &Path) -> Result<bool, Failure> {
    match world.folders().metadata(path) {
        Ok(_) => Ok(true),
        Err(Error::NotFound(_)) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// The hashes of the archives that these attempts finished.
pub(crate) fn receipts(attempts: &[&Attempt]) -> Vec<String> {
    let receipts = attempts.iter().flat_map(|attempt| &attempt.receipts);
    receipts
        .filter_map(|text| {
            serde_json::from_str::<Value>(text).ok()?.get("sha256")?.as_str().map(str::to_owned)
        })
        .collect()
}

/// The tables as pg_dump takes them: as they are where they are plain, else in quotes, without which it would take them
/// for patterns in lower case.
fn tables(input: &Source) -> Result<Vec<String>, Failure> {
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let written = |table: &String| {
        let parts: Vec<&str> = table.split('.').collect();
        if parts.len() > 2 || parts.iter().any(|part| part.is_empty() || part.contains(['"', '\0'])) {
            return Err(Failure::invalid_input(format!(
                "`{table}` is no table: write `table` or `schema.table`, without quotes"
            )));
        }
        let quoted = |part: &&str| if plain(part) { (*part).to_owned() } else { format!("\"{part}\"") };
        Ok(parts.iter().map(quoted).collect::<Vec<_>>().join("."))
    };
    input.tables.iter().map(written).collect()
}

/// What a bad end of pg_dump means.
fn failed(exit: &Exit) -> Failure {
    let stderr = String::from_utf8_lossy(&exit.stderr);
    let failure = |code, exit| Failure::new(code, format!("pg_dump failed: {}", last_words(exit)));
    if stderr.contains("password authentication failed") || stderr.contains("no password supplied") {
        failure("login-refused", exit)
    } else if stderr.contains("connection to server") || stderr.contains("could not connect") {
        failure("connect-failed", exit).retryable()
    } else {
        failure("dump-failed", exit)
    }
    .with_detail(&json!({ "exit_code": exit.code, "signal": exit.signal }))
}

/// Removes what a failed dump left. Where that fails too, the dump's own failure is the one to tell.
fn clean_up(world: &impl World, partial: &Path) {
    match world.folders().remove(partial) {
        Ok(()) | Err(Error::NotFound(_)) => {}
        Err(error) => windlass_sdk::warn!("{error}, and it is left behind"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{apply, plan};
    use crate::bindings::exports::windlass::contracts::backup::Source;
    use crate::world::tests::Fake;
    use windlass_sdk::{Status, digest};

    /// What pg_dump writes here, by the key of the tests.
    pub(crate) const PARTIAL: &str = "a.dump.62af8704764f.partial";

    pub(crate) fn source() -> Source {
        Source { file: "a.dump".to_owned(), tables: Vec::new(), extra: Vec::new() }
    }

    #[test]
    fn an_archive_is_written_under_another_name_first() {
        let world = Fake::default();
        let planned = plan(&world, &source(), &[]).unwrap();
        assert_eq!((planned.status.clone(), planned.repeatable), (Status::Differs, true));
        assert_eq!(planned.changes[0].target, "archive /backups/a.dump");
        let archive = apply(&world, &source(), &planned).unwrap();
        assert_eq!(archive.sha256, digest::sha256(world.content.get()));
        assert_eq!(
            world.ran.borrow().as_slice(),
            [
                "pg_dump --format=custom --no-password --file=/backups/a.dump.62af8704764f.partial",
                "pg_restore --list /backups/a.dump.62af8704764f.partial"
            ]
        );
        assert!(world.has("a.dump") && !world.has(PARTIAL));
        // Another run must not write over it.
        assert!(matches!(plan(&world, &source(), &[]).unwrap().status, Status::Conflict(_)));
        // This one, cut off after the receipt, adopts it.
        let again = plan(&world, &source(), &[world.attempt(&planned)]).unwrap();
        assert_eq!(again.status, Status::InPlace);
        assert_eq!(apply(&world, &source(), &again).unwrap().sha256, archive.sha256);
    }

    #[test]
    fn only_the_own_partial_file_is_removed() {
        let world = Fake::default();
        let first = plan(&world, &source(), &[]).unwrap();
        world.put(PARTIAL, b"PGDMP half");
        world.put("a.dump.another.partial", b"PGDMP half");
        let again = plan(&world, &source(), &[world.attempt(&first)]).unwrap();
        assert_eq!((again.status.clone(), again.repeatable), (Status::Differs, true));
        apply(&world, &source(), &again).unwrap();
        assert!(world.has("a.dump") && !world.has(PARTIAL) && world.has("a.dump.another.partial"));
    }

    #[test]
    fn a_foreign_file_under_the_name_is_a_conflict_also_after_an_attempt() {
        let world = Fake::default();
        let first = plan(&world, &source(), &[]).unwrap();
        world.put("a.dump", b"PGDMP someone else's");
        let again = plan(&world, &source(), &[world.attempt(&first)]).unwrap();
        let found = "/backups/a.dump is there, but no attempt of this step finished it".to_owned();
        assert_eq!(again.status, Status::Conflict(found));
        assert_eq!(apply(&world, &source(), &first).unwrap_err().code, "changed-meanwhile");
    }

    #[test]
    fn a_failed_dump_leaves_nothing() {
        let said = "pg_dump: error: query would be affected by row-level security policy for table \"t\"";
        for (said, code, retryable) in [
            (said, "dump-failed", false),
            (
                "pg_dump: error: connection to server at \"127.0.0.1\" failed: Connection refused",
                "connect-failed",
                true,
            ),
            (
                "pg_dump: error: connection to server: FATAL: password authentication failed",
                "login-refused",
                false,
            ),
        ] {
            let world = Fake { ends: [("pg_dump", (1, said))].into(), ..Fake::default() };
            let planned = plan(&world, &source(), &[]).unwrap();
            let failure = apply(&world, &source(), &planned).unwrap_err();
            assert_eq!((failure.code.as_str(), failure.retryable), (code, retryable));
            assert_eq!(failure.message, format!("pg_dump failed: {said}"));
            assert!(!world.has("a.dump") && !world.has(PARTIAL));
        }
    }

    #[test]
    fn tables_are_names_and_no_patterns() {
        let world = Fake::default();
        let named = |tables: &[&str]| Source {
            tables: tables.iter().map(|table| (*table).to_owned()).collect(),
            ..source()
        };
        let input = named(&["events", "s.We ird*"]);
        apply(&world, &input, &plan(&world, &input, &[]).unwrap()).unwrap();
        assert!(world.ran.borrow()[0].ends_with(r#" --table=events --table=s."We ird*""#));
        assert_eq!(plan(&world, &named(&["a.b.c"]), &[]).unwrap_err().code, "invalid-input");
    }
}
