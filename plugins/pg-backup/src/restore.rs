//! Bringing an archive back into a new database.
//!
//! The database's comment is the mark of who made it and how far that came: it is set right after the database is made,
//! and again at the end. Invariant: a database without this effect's mark is never written to and never dropped.

use crate::archive::{describe, failure};
use crate::bindings::exports::windlass::contracts::backup::{Archive, Restored, Target};
use crate::verify::same;
use crate::world::{World, command, last_words, path};
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
    let memo = json!({ "sha256": archive.sha256, "left": found.is_some() });
    let differs = || Ok(Plan::differs([change.clone()]).repeatable(true).with_memo(&memo));
    let Some(comment) = found else { return differs() };
    for attempt in before {
        if comment == mark("complete", &attempt.key, &archive.sha256) {
            return Ok(Plan::in_place().repeatable(true).with_memo(&memo));
        }
        if is_marked(&comment, &attempt.key) {
            // What is half there is dropped and made anew.
            return differs();
        }
    }
    if before.is_empty() {
        return Ok(Plan::conflict(format!(
            "the database {name} exists already, and only a new one is restored to"
        )));
    }
    Ok(Plan::conflict(format!(
        "the database {name} exists without a mark of this step: someone else made it, or an attempt was cut off in \
         the moment between making and marking it"
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
    let key = world.key();
    match find(world, name)? {
        None => {}
        Some(comment) if is_marked(&comment, &key) => drop_database(world, name)?,
        Some(_) => {
            let message = format!("the database {name} appeared between planning and restoring");
            return Err(Failure::new("changed-meanwhile", message));
        }
    }
    // `template1` may hold things of its own that the archive holds too.
    world.execute(&format!("CREATE DATABASE {} TEMPLATE template0", quoted(name)))?;
    comment(world, name, &mark("begun", &key, &archive.sha256))?;
    if let Err(failure) = fill(world, input) {
        // Made a moment ago and empty, since the restore is one transaction.
        if let Err(error) = drop_database(world, name) {
            windlass_sdk::warn!("the empty database {name} is left behind: {}", error.message);
        }
        return Err(failure);
    }
    comment(world, name, &mark("complete", &key, &archive.sha256))?;
    info!("restored {name}"; tables = restored.tables.len());
    Ok(restored)
}

/// Runs pg_restore, in one transaction, into a database that is empty.
fn fill(world: &impl World, input: &Target) -> Result<(), Failure> {
    let exit = world.run(&command(
        "restore",
        [
            "--exit-on-error".to_owned(),
            "--single-transaction".to_owned(),
            "--no-password".to_owned(),
            format!("--dbname={}", input.database),
            path(&input.file)?.to_string(),
        ],
    ))?;
    if exit.code == Some(0) {
        return Ok(());
    }
    Err(Failure::new("restore-failed", format!("pg_restore failed: {}", last_words(&exit)))
        .with_detail(&json!({ "exit_code": exit.code, "signal": exit.signal })))
}

/// Whether the database has to be dropped.
pub(crate) fn plan_undo(world: &impl World, input: &Target, done: &[Attempt]) -> Result<Plan, Failure> {
    let name = &input.database;
    let Some(comment) = find(world, name)? else { return Ok(Plan::in_place().repeatable(true)) };
    if done.iter().any(|attempt| is_marked(&comment, &attempt.key)) {
        let change =
            Change::new(format!("database {name}"), "delete").now("with all that was written to it since");
        return Ok(Plan::differs([change]).repeatable(true));
    }
    Ok(Plan::conflict(format!(
        "the database {name} does not bear the mark of this step: it is not ours to drop"
    )))
}

/// Drop it.
pub(crate) fn undo(world: &impl World, input: &Target, done: &[Attempt], plan: &Plan) -> Result<(), Failure> {
    let name = &input.database;
    match find(world, name)? {
        _ if plan.is_in_place() => Ok(()),
        None => Ok(()),
        Some(comment) if done.iter().any(|attempt| is_marked(&comment, &attempt.key)) => {
            drop_database(world, name)
        }
        Some(_) => {
            let message = format!("the mark of the database {name} changed between planning and dropping");
            Err(Failure::new("changed-meanwhile", message).retryable())
        }
    }
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

/// The database's comment, which may be empty; none where there is no such database.
fn find(world: &impl World, name: &str) -> Result<Option<String>, Failure> {
    let sql = "SELECT coalesce(pg_catalog.shobj_description(oid, 'pg_database'), '') AS comment FROM \
               pg_catalog.pg_database WHERE datname = $1::text";
    let rows = world.query(sql, &[Parameter::Text(name.to_owned())])?;
    let comment = |row: &Value| row.get("comment").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(rows.first().map(comment))
}

fn drop_database(world: &impl World, name: &str) -> Result<(), Failure> {
    world.execute(&format!("DROP DATABASE {}", quoted(name)))
}

fn comment(world: &impl World, name: &str, text: &str) -> Result<(), Failure> {
    world.execute(&format!("COMMENT ON DATABASE {} IS '{}'", quoted(name), text.replace('\'', "''")))
}

/// The mark of an effect.
fn mark(state: &str, key: &str, sha256: &str) -> String {
    format!("{MARK} {state} key={key} sha256={sha256}")
}

/// Whether the comment is a mark of the effect with this key.
fn is_marked(comment: &str, key: &str) -> bool {
    comment.starts_with(MARK) && comment.split(' ').any(|word| word.strip_prefix("key=") == Some(key))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::{apply, plan, plan_undo, undo};
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
    fn a_new_database_is_made_marked_and_dropped_again() {
        let world = world();
        let planned = plan(&world, &target(), &[]).unwrap();
        assert_eq!(planned.status, Status::Differs);
        assert_eq!(apply(&world, &target(), &planned).unwrap().tables.len(), 3);
        assert_eq!(
            world.ran.borrow().last().unwrap(),
            "restore --exit-on-error --single-transaction --no-password --dbname=fresh /backups/a.dump"
        );
        let sha256 = digest::sha256(world.content.get());
        assert_eq!(
            world.databases.borrow()["fresh"],
            format!("windlass restore complete key=test-key sha256={sha256}")
        );
        let done = [world.attempt(&planned)];
        assert_eq!(plan(&world, &target(), &done).unwrap().status, Status::InPlace);
        assert!(matches!(plan(&world, &target(), &[]).unwrap().status, Status::Conflict(_)));

        let back = plan_undo(&world, &target(), &done).unwrap();
        assert_eq!(back.status, Status::Differs);
        undo(&world, &target(), &done, &back).unwrap();
        assert_eq!(plan_undo(&world, &target(), &done).unwrap().status, Status::InPlace);
    }

    #[test]
    fn what_an_attempt_left_half_done_is_made_anew() {
        let world = world();
        let first = plan(&world, &target(), &[]).unwrap();
        let mark = "windlass restore begun key=test-key sha256=ab".to_owned();
        world.databases.borrow_mut().insert("fresh".to_owned(), mark);
        let again = plan(&world, &target(), &[world.attempt(&first)]).unwrap();
        assert_eq!((again.status.clone(), again.repeatable), (Status::Differs, true));
        apply(&world, &target(), &again).unwrap();
        assert!(world.databases.borrow()["fresh"].contains("complete"));
    }

    #[test]
    fn a_database_of_someone_else_is_left_alone() {
        let world = world();
        let first = plan(&world, &target(), &[]).unwrap();
        world.databases.borrow_mut().insert("fresh".to_owned(), "ours for years".to_owned());
        let attempts = [world.attempt(&first)];
        assert!(matches!(plan(&world, &target(), &attempts).unwrap().status, Status::Conflict(_)));
        assert_eq!(apply(&world, &target(), &first).unwrap_err().code, "changed-meanwhile");
        let back = plan_undo(&world, &target(), &attempts).unwrap();
        assert!(matches!(back.status, Status::Conflict(_)));
        assert_eq!(undo(&world, &target(), &attempts, &back).unwrap_err().code, "changed-meanwhile");
        assert_eq!(world.databases.borrow()["fresh"], "ours for years");
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
