//! Applying a migration: once, in one transaction, and recorded in it.
//!
//! The ledger alone tells whether it is in place, so that applying is always safe to repeat. For undo, the memo holds what
//! the relations that the file names were like before, and a receipt what they were like right after.

use crate::bindings::exports::windlass::contracts::database::{Migrated, Migration};
use crate::file::File;
use crate::ledger::{Ledger, lock_timeout, plain};
use crate::server::Server;
use crate::shape::Shape;
use crate::summary;
use windlass_sdk::fs::Folders;
use windlass_sdk::{Attempt, Change, Failure, Plan, Value, info, json, step};

/// PostgreSQL's word for a lock that was waited for in vain.
const LOCK_TIMEOUT: &str = "55P03";
/// And for a table that is not there.
const NO_TABLE: &str = "42P01";

/// The name of a migration: its file without the ending.
pub(crate) fn name(file: &str) -> &str {
    let (name, ending) = file.rsplit_once('.').unwrap_or((file, ""));
    // The dot of `.hidden`, or of a folder's name, begins no ending.
    if name.is_empty() || name.ends_with('/') || ending.contains('/') { file } else { name }
}

/// Whether it has to be applied.
pub(crate) fn plan(
    server: &impl Server,
    folders: &dyn Folders,
    ledger: &Ledger,
    input: &Migration,
    before: &[Attempt],
) -> Result<Plan, Failure> {
    let file = File::read(server, folders, &input.file)?;
    // A way back that can't be read is better found now than when it is needed.
    if let Some(down) = &input.down {
        File::read(server, folders, down)?;
    }
    let name = name(&input.file);
    let row = ledger.find(server, name)?;
    let first = before.iter().find(|attempt| file_of(attempt).is_some_and(|file| self::name(&file) == name));
    let memo = match first.map(|attempt| attempt.plan.memo_json()) {
        Some(first) => json!({
            "name": name, "checksum": file.checksum, "before": first.get("before"), "ledger": first.get("ledger"),
        }),
        // What is in place without an attempt of this step is not for it to take back.
        None if row.is_some() => json!({ "name": name, "checksum": file.checksum }),
        None => json!({
            "name": name,
            "checksum": file.checksum,
            "before": Shape::now(server, &summary::relations(&file.statements))?.to_json(),
            "ledger": ledger.exists(server)?,
        }),
    };
    let plan = match row {
        Some(row) if row.checksum == file.checksum => Plan::in_place(),
        Some(row) => Plan::conflict(format!(
            "{name} was applied at {} with checksum {}, and {} has {} now",
            row.applied_at,
            short(&row.checksum),
            input.file,
            short(&file.checksum)
        )),
        None => Plan::differs(changes(name, &file)),
    };
    Ok(plan.repeatable(true).with_memo(&memo))
}

/// Apply it, if the plan says so.
pub(crate) fn apply(
    server: &impl Server,
    folders: &dyn Folders,
    ledger: &Ledger,
    input: &Migration,
    plan: &Plan,
) -> Result<Migrated, Failure> {
    let name = name(&input.file);
    if !plan.is_in_place() {
        let file = File::read(server, folders, &input.file)?;
        if plan.memo_json().get("checksum").and_then(Value::as_str) != Some(&file.checksum) {
            let message = format!("{} was changed between planning and applying", input.file);
            return Err(Failure::new("changed-meanwhile", message).retryable());
        }
        let mut parts = vec![lock_timeout(input.lock_timeout)];
        parts.extend(ledger.record(name, &file.checksum, file.statements.len()));
        let before = parts.len() as u64;
        parts.push(plain(file.text.clone()));
        server.script(&parts).map_err(|failure| judged(file.failure(failure, before), name, before))?;
        info!("applied {name}"; statements = file.statements.len());
        leave_shape(server, name, &file);
    }
    ledger.find(server, name)?.ok_or_else(|| {
        Failure::new("not-recorded", format!("{name} was applied, but the ledger has no row of it"))
    })
}

/// Keeps what the relations are like now, by which undo finds out whether someone else changed them since. The migration is
/// in place, so that failing to is no reason to fail.
fn leave_shape(server: &impl Server, name: &str, file: &File) {
    let kept = Shape::now(server, &summary::relations(&file.statements))
        .and_then(|shape| step::receipt(&json!({ "name": name, "shape": shape.to_json() }).to_string()));
    if let Err(failure) = kept {
        windlass_sdk::warn!("what {name} made is not known to undo: {}", failure.message);
    }
}

/// The file that an attempt applied.
pub(crate) fn file_of(attempt: &Attempt) -> Option<String> {
    attempt.input_json().get("file")?.as_str().map(str::to_owned)
}

/// Another run that records the same migration is no error of the file, and a lock that is taken may be free later.
fn judged(failure: Failure, name: &str, before: u64) -> Failure {
    let detail = failure.detail_json();
    let of_ledger =
        detail.get("statement").and_then(Value::as_u64).is_some_and(|statement| statement <= before)
            && detail.get("file").is_none();
    match (detail.get("sqlstate").and_then(Value::as_str), of_ledger) {
        (Some("23505"), true) => {
            let message = format!("another run applied {name} at the same time");
            Failure::new("changed-meanwhile", message).with_detail(&detail).retryable()
        }
        // It dropped the ledger, having taken back the only migration in it.
        (Some(NO_TABLE), true) => {
            let message = format!(
                "the ledger went while {name} was recorded: another run took back its last migration"
            );
            Failure::new("changed-meanwhile", message).with_detail(&detail).retryable()
        }
        (Some(LOCK_TIMEOUT), true) => {
            let message = format!(
                "the record of {name} is locked: another run, or an attempt that was cut off, is still applying it"
            );
            Failure::new("locked", message).with_detail(&detail).retryable()
        }
        (Some(LOCK_TIMEOUT), false) => failure.retryable(),
        _ => failure,
    }
}

/// What applying would change: the record with the file's hash, so that an approval is one of exactly this file, and
/// each statement of it.
fn changes(name: &str, file: &File) -> Vec<Change> {
    let count = file.statements.len();
    let content = format!("{count} statements, sha256 {}", short(&file.checksum));
    let mut changes = vec![Change::new(format!("migration {name}"), "run").then(content)];
    changes.extend(summary::changes(&file.statements));
    changes
}

/// As much of a hash as a person compares.
pub(crate) fn short(checksum: &str) -> &str {
    checksum.get(..12).unwrap_or(checksum)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{apply, plan};
    use crate::bindings::exports::windlass::contracts::database::Migration;
    use crate::file::tests::folder;
    use crate::ledger::Ledger;
    use crate::server::tests::Fake;
    use windlass_sdk::{Failure, Status, Value, digest, json};

    pub(crate) fn migration() -> Migration {
        Migration { file: "023.sql".to_owned(), down: None, lock_timeout: Some(2_000), extra: Vec::new() }
    }

    pub(crate) fn with_row(checksum: &str) -> Fake {
        let row = json!({ "checksum": checksum, "statements": 1, "applied_at": "2026-01-16T02:00:00.000Z" });
        Fake {
            answers: vec![
                ("to_regclass", vec![json!({ "there": true })]),
                ("SELECT checksum", vec![row]),
                ("pg_get_constraintdef", Vec::new()),
                ("count(*) AS others", vec![json!({ "others": 1 })]),
            ],
            ..Fake::default()
        }
    }

    pub(crate) fn without_table() -> Fake {
        Fake {
            answers: vec![
                ("to_regclass", vec![json!({ "there": false })]),
                ("pg_get_constraintdef", Vec::new()),
            ],
            ..Fake::default()
        }
    }

    #[test]
    fn the_ledger_tells_whether_it_is_in_place() {
        let text = "CREATE TABLE events ()";
        let folders = folder(&[("023.sql", text)]);
        let ledger = Ledger::default();
        let fresh = plan(&without_table(), &folders, &ledger, &migration(), &[]).unwrap();
        assert_eq!((fresh.status.clone(), fresh.repeatable), (Status::Differs, true));
        let targets: Vec<_> = fresh.changes.iter().map(|change| change.target.as_str()).collect();
        assert_eq!(targets, ["migration 023", "table public.events"]);

        let checksum = digest::sha256(text.as_bytes());
        let server = with_row(&checksum);
        let again = plan(&server, &folders, &ledger, &migration(), &[]).unwrap();
        assert_eq!(again.status, Status::InPlace);
        let migrated = apply(&server, &folders, &ledger, &migration(), &again).unwrap();
        assert_eq!((migrated.name.as_str(), migrated.checksum.as_str()), ("023", checksum.as_str()));
        assert!(server.scripts.borrow().is_empty(), "in place writes nothing");

        let other = plan(&with_row(&"a".repeat(64)), &folders, &ledger, &migration(), &[]).unwrap();
        let Status::Conflict(found) = other.status else { unreachable!() };
        assert_eq!(
            found,
            format!(
                "023 was applied at 2026-01-16T02:00:00.000Z with checksum aaaaaaaaaaaa, and 023.sql has {} now",
                &checksum[..12]
            )
        );
    }

    #[test]
    fn the_record_and_the_file_are_one_transaction() {
        let folders = folder(&[("023.sql", "CREATE TABLE events ()")]);
        let ledger = Ledger::new("ops.ledger").unwrap();
        let planned = plan(&without_table(), &folders, &ledger, &migration(), &[]).unwrap();
        let server = with_row(planned.memo_json()["checksum"].as_str().unwrap());
        apply(&server, &folders, &ledger, &migration(), &planned).unwrap();
        let scripts = server.scripts.borrow();
        let texts: Vec<_> = scripts[0].iter().map(|part| part.sql.as_str()).collect();
        assert_eq!(scripts.len(), 1);
        assert_eq!(texts[0], "SET LOCAL lock_timeout = '2000ms'");
        assert!(texts[1].starts_with(r#"CREATE TABLE IF NOT EXISTS "ops"."ledger" ("#));
        assert!(texts[2].starts_with(r#"INSERT INTO "ops"."ledger" "#));
        assert_eq!(texts[3], "CREATE TABLE events ()");
    }

    #[test]
    fn a_file_that_changed_since_the_plan_is_not_applied() {
        let ledger = Ledger::default();
        let planned =
            plan(&without_table(), &folder(&[("023.sql", "SELECT 1")]), &ledger, &migration(), &[]).unwrap();
        let server = without_table();
        let failure =
            apply(&server, &folder(&[("023.sql", "SELECT 2")]), &ledger, &migration(), &planned).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable), ("changed-meanwhile", true));
        assert!(server.scripts.borrow().is_empty());
    }

    #[test]
    fn errors_of_the_file_and_of_the_ledger_are_told_apart() {
        let folders = folder(&[("023.sql", "CREATE TABLE events ()")]);
        let ledger = Ledger::default();
        let planned = plan(&without_table(), &folders, &ledger, &migration(), &[]).unwrap();
        let failing = |detail: Value| {
            let failure = Failure::new("sql-error", "as it came").with_detail(&detail);
            let server = Fake { script: Some(failure), ..without_table() };
            apply(&server, &folders, &ledger, &migration(), &planned).unwrap_err()
        };
        let of_file = failing(json!({
            "sqlstate": "42P07", "message": "relation \"events\" already exists", "statement": 4, "line": 1
        }));
        assert_eq!(of_file.message, "023.sql:1: relation \"events\" already exists");
        let twice =
            failing(json!({ "sqlstate": "23505", "message": "duplicate key", "statement": 3, "line": 1 }));
        assert_eq!((twice.code.as_str(), twice.retryable), ("changed-meanwhile", true));
        let locked = json!({ "sqlstate": "55P03", "message": "lock timeout", "statement": 3, "line": 1 });
        let locked = failing(locked);
        assert_eq!((locked.code.as_str(), locked.retryable), ("locked", true));
        let of_file = json!({ "sqlstate": "55P03", "message": "lock timeout", "statement": 4, "line": 1 });
        let of_file = failing(of_file);
        assert_eq!((of_file.message.as_str(), of_file.retryable), ("023.sql:1: lock timeout", true));
        let right = failing(
            json!({ "sqlstate": "42501", "message": "permission denied", "statement": 2, "line": 1 }),
        );
        assert_eq!((right.code.as_str(), right.message.as_str()), ("sql-error", "as it came"));
    }
}
