//! Bringing an archive back into a new database.
//!
//! It is filled under a name that belongs to this effect alone, given a comment that marks who made it, and only then its
//! name. Invariants: a database under its final name is whole; one that is neither marked by this effect nor bears its name
//! is never written to.

use crate::archive::{describe, failure};
use crate::bindings::exports::windlass::contracts::backup::{Archive, Restored, Target};
use crate::verify::same;
use crate::world::{World, command, last_words, path, short};
use windlass_sdk::postgres::Parameter;
use windlass_sdk::{Attempt, Change, Failure, Plan, Value, info, json};

/// Comments that begin like this are marks.
const MARK: &str = "windlass restore";

/// Whether the database has to be made.
pub(crate) fn plan(world: &impl World, input: &Target, before: &[Attempt]) -> Result<Plan, Failure> {
    let archive = archive(world, input)?;
    let name = &input.database;
    let found = find(world, name)?;
    let change = Change::new(format!("database {name}"), "create").then(format!(
        "{} tables from {}, sha256 {}",
        archive.tables.len(),
        input.file,
        archive.sha256.get(..12).unwrap_or(&archive.sha256)
    ));
    let memo = json!({ "sha256": archive.sha256 });
    let Some(found) = found else { return Ok(Plan::differs([change]).repeatable(true).with_memo(&memo)) };
    if before.iter().any(|attempt| found.comment == mark(&attempt.key, &archive.sha256)) {
        return Ok(Plan::in_place().repeatable(true).with_memo(&memo));
    }
    if before.is_empty() {
        return Ok(Plan::conflict(format!(
            "the database {name} exists already, and only a new one is restored to"
        )));
    }
    Ok(Plan::conflict(format!(
        "the database {name} exists without the mark of this step: someone else made it"
    )))
}

/// Make it, if the plan says so.
pub(crate) fn apply(world: &impl World, input: &Target, plan: &Plan) -> Result<Restored, Failure> {
    let archive = archive(world, input)?;
    let name = &input.database;
    let restored = Restored { database: name.clone(), tables: archive.tables.clone() };
    if plan.is_in_place() {
        return Ok(restored);
    }
    let memo = plan.memo_json();
    if memo.get("sha256").and_then(Value::as_str) != Some(&archive.sha256) {
        let message = format!("{} was changed between planning and restoring", input.file);
        return Err(Failure::new("changed-meanwhile", message).retryable());
    }
    if find(world, name)?.is_some() {
        return Err(Failure::changed_meanwhile(&format!("database {name}"), "none", "one"));
    }
    let key = world.key();
    let draft = draft(name, &key);
    if find(world, &draft)?.is_some() {
        // An attempt of this very effect left it behind.
        drop_database(world, &draft)?;
    }
    // `template1` may hold things of its own that the archive holds too.
    world.execute(&format!("CREATE DATABASE {} TEMPLATE template0", quoted(&draft)))?;
    if let Err(failure) = complete(world, input, &draft, &mark(&key, &archive.sha256)) {
        if let Err(error) = drop_database(world, &draft) {
            windlass_sdk::warn!("the database {draft} is left behind: {}", error.message);
        }
        return Err(failure);
    }
    info!("restored {name}"; tables = restored.tables.len());
    Ok(restored)
}

/// Fills a new database, marks it, and gives it its name.
fn complete(world: &impl World, input: &Target, draft: &str, mark: &str) -> Result<(), Failure> {
    fill(world, input, draft)?;
    world.execute(&format!("COMMENT ON DATABASE {} IS '{}'", quoted(draft), mark.replace('\'', "''")))?;
    world.execute(&format!("ALTER DATABASE {} RENAME TO {}", quoted(draft), quoted(&input.database)))
}

/// Runs pg_restore, in one transaction, into a database that is empty.
fn fill(world: &impl World, input: &Target, database: &str) -> Result<(), Failure> {
    let exit = world.run(&command(
        "restore",
        [
            "--exit-on-error".to_owned(),
            "--single-transaction".to_owned(),
            "--no-password".to_owned(),
            format!("--dbname={database}"),
            path(&input.file)?.to_string(),
        ],
    ))?;
    if exit.code == Some(0) {
        return Ok(());
    }
    Err(Failure::new("restore-failed", format!("pg_restore failed: {}", last_words(&exit)))
        .with_detail(&json!({ "exit_code": exit.code, "signal": exit.signal })))
}

/// The archive, if it is the one that is meant, and the name is one that a database can have.
fn archive(world: &impl World, input: &Target) -> Result<Archive, Failure> {
    let name = &input.database;
    if name.is_empty() || name.len() > 63 || name.contains(['=', '/', '\0', '\n']) {
        return Err(Failure::invalid_input(format!(
            "`{name}` is no name of a database here: it has 1 to 63 bytes without `=` and `/`"
        )));
    }
    let path = path(&input.file)?;
    let archive = describe(world, &input.file, &path)?;
    same(&archive, input.sha256.as_deref(), &path)?;
    if archive.tables.is_empty() {
        return Err(failure("empty-archive", &path, "holds no table"));
    }
    Ok(archive)
}

/// A database as it was found.
pub(crate) struct Found {
    /// Another one under the same name has another.
    pub(crate) oid: String,
    /// Empty where there is none.
    pub(crate) comment: String,
}

/// The database; none where there is none of this name.
pub(crate) fn find(world: &impl World, name: &str) -> Result<Option<Found>, Failure> {
    let sql = "SELECT oid::text AS oid, coalesce(pg_catalog.shobj_description(oid, 'pg_database'), '') AS comment FROM \
               pg_catalog.pg_database WHERE datname = $1::text";
    let rows = world.query(sql, &[Parameter::Text(name.to_owned())])?;
    Ok(rows.first().map(|row| {
        let text = |column: &str| row.get(column).and_then(Value::as_str).unwrap_or_default().to_owned();
        Found { oid: text("oid"), comment: text("comment") }
    }))
}

pub(crate) fn drop_database(world: &impl World, name: &str) -> Result<(), Failure> {
    world.execute(&format!("DROP DATABASE {}", quoted(name)))
}

/// The name under which a database is filled for the effect with this key.
pub(crate) fn draft(name: &str, key: &str) -> String {
    // PostgreSQL's names have at most 63 bytes.
    const ROOM: usize = 40;
    let end = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= ROOM).last();
    format!("{}_windlass_{}", name.get(..end.unwrap_or_default()).unwrap_or_default(), short(key))
}

/// The mark of an effect.
fn mark(key: &str, sha256: &str) -> String {
    format!("{MARK} key={key} sha256={sha256}")
}

/// Whether the comment is a mark of the effect with this key.
pub(crate) fn is_marked(comment: &str, key: &str) -> bool {
    comment.starts_with(MARK) && comment.split(' ').any(|word| word.strip_prefix("key=") == Some(key))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::{apply, draft, plan};
    use crate::bindings::exports::windlass::contracts::backup::Target;
    use crate::world::tests::Fake;
    use windlass_sdk::{Status, digest};

    fn target() -> Target {
        Target { file: "a.dump".to_owned(), sha256: None, database: "fresh".to_owned(), extra: Vec::new() }
    }

    fn world() -> Fake {
        let world = Fake::default();
        world.put("a.dump", world.content.get());
        world
    }

    #[test]
    fn a_new_database_is_filled_marked_and_then_named() {
        let world = world();
        let planned = plan(&world, &target(), &[]).unwrap();
        assert_eq!(planned.status, Status::Differs);
        assert_eq!(apply(&world, &target(), &planned).unwrap().tables.len(), 3);
        assert_eq!(
            world.ran.borrow().last().unwrap(),
            "restore --exit-on-error --single-transaction --no-password --dbname=fresh_windlass_62af8704764f \
             /backups/a.dump"
        );
        let sha256 = digest::sha256(world.content.get());
        let mark = format!("windlass restore key=test-key sha256={sha256}");
        assert_eq!(*world.databases.borrow(), [("fresh".to_owned(), mark)].into());
        let done = [world.attempt(&planned)];
        assert_eq!(plan(&world, &target(), &done).unwrap().status, Status::InPlace);
        assert!(matches!(plan(&world, &target(), &[]).unwrap().status, Status::Conflict(_)));
    }

    #[test]
    fn what_an_attempt_left_half_done_is_made_anew() {
        let world = world();
        let first = plan(&world, &target(), &[]).unwrap();
        world.databases.borrow_mut().insert(draft("fresh", "test-key"), String::new());
        let again = plan(&world, &target(), &[world.attempt(&first)]).unwrap();
        assert_eq!((again.status.clone(), again.repeatable), (Status::Differs, true));
        apply(&world, &target(), &again).unwrap();
        assert_eq!(world.databases.borrow().keys().collect::<Vec<_>>(), ["fresh"]);
    }

    #[test]
    fn a_database_of_someone_else_is_left_alone() {
        let world = world();
        let first = plan(&world, &target(), &[]).unwrap();
        world.databases.borrow_mut().insert("fresh".to_owned(), "ours for years".to_owned());
        let attempts = [world.attempt(&first)];
        assert!(matches!(plan(&world, &target(), &attempts).unwrap().status, Status::Conflict(_)));
        assert_eq!(apply(&world, &target(), &first).unwrap_err().code, "changed-meanwhile");
        assert_eq!(world.databases.borrow()["fresh"], "ours for years");
    }

    #[test]
    fn a_long_name_leaves_room_for_the_key() {
        let name = draft(&"ä".repeat(31), "test-key");
        assert_eq!(name, format!("{}_windlass_62af8704764f", "ä".repeat(20)));
    }

    #[test]
    fn a_failed_restore_leaves_no_database() {
        let said = "pg_restore: error: could not execute query: ERROR:  role \"app\" does not exist";
        let world = Fake { ends: [("restore", (1, said))].into(), ..world() };
        let planned = plan(&world, &target(), &[]).unwrap();
        let failure = apply(&world, &target(), &planned).unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.message),
            ("restore-failed", format!("pg_restore failed: {said}"))
        );
        assert!(world.databases.borrow().is_empty());
    }

    #[test]
    fn the_archive_must_be_the_one_that_is_meant() {
        let wrong = Target { sha256: Some("ab".repeat(32)), ..target() };
        assert_eq!(plan(&world(), &wrong, &[]).unwrap_err().code, "checksum-differs");
        let wrong = Target { database: "host=elsewhere".to_owned(), ..target() };
        assert_eq!(plan(&world(), &wrong, &[]).unwrap_err().code, "invalid-input");
    }
}
