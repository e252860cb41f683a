//! Taking migrations back by the files that the step names for it, and forgetting them, in one transaction.
//!
//! A changed input may have applied another file: each is taken back by its own, newest first. Invariants: nothing is taken
//! back but what is still as the plan found it; the ledger's row is compared in the transaction itself.

use crate::bindings::exports::windlass::contracts::database::{Migrated, Migration};
use crate::file::File;
use crate::ledger::{Ledger, lock_timeout, plain};
use crate::migrate::{file_of, name, short};
use crate::server::Server;
use crate::shape::Shape;
use crate::summary;
use windlass_sdk::fs::Folders;
use windlass_sdk::{Attempt, Change, Failure, Plan, Value, info, json, serde_json};

/// PostgreSQL's word for the division by which a precondition ends the transaction.
const DIVISION: &str = "22012";

/// One migration that attempts applied.
struct Target {
    name: String,
    down: Option<String>,
    checksums: Vec<String>,
    before: Option<Shape>,
    after: Option<Shape>,
    row: Option<Migrated>,
    now: Shape,
    /// As it will be once what was applied later is taken back.
    then: Shape,
    /// As it was before, once what was applied earlier is taken back, too.
    first: Option<Shape>,
}

impl Target {
    fn is_restored(&self) -> bool {
        let as_before = |before: &Option<Shape>| {
            before.as_ref().is_none_or(|before| before.difference(&self.then).is_none())
        };
        self.row.is_none() && (as_before(&self.before) || as_before(&self.first))
    }

    /// That someone else changed it, for a person.
    fn conflict(&self) -> Option<String> {
        let name = &self.name;
        let Some(row) = &self.row else {
            let difference = self.before.as_ref()?.difference(&self.then)?;
            return Some(format!("the ledger has no {name} any more, but it is not as before: {difference}"));
        };
        if !self.checksums.contains(&row.checksum) {
            let expected: Vec<&str> = self.checksums.iter().map(|checksum| short(checksum)).collect();
            return Some(format!(
                "migration {name} in the ledger: expected checksum {}, found {}, applied at {}",
                expected.join(" or "),
                short(&row.checksum),
                row.applied_at
            ));
        }
        let difference = self.after.as_ref()?.difference(&self.then)?;
        Some(format!("{difference}, since {name} was applied"))
    }
}

/// Whether there is anything to take back, and whether it can be.
pub(crate) fn plan(
    server: &impl Server,
    folders: &dyn Folders,
    ledger: &Ledger,
    input: &Migration,
    done: &[Attempt],
) -> Result<Plan, Failure> {
    let targets = targets(server, ledger, input, done)?;
    let open: Vec<&Target> = targets.iter().filter(|target| !target.is_restored()).collect();
    if open.is_empty() {
        return Ok(Plan::in_place().repeatable(true));
    }
    let (mut changes, mut steps, mut stuck) = (Vec::new(), Vec::new(), Vec::new());
    for target in &open {
        let name = &target.name;
        let Some(down) = &target.down else {
            stuck.push(format!("{name} names no `down` file, so nothing here can take it back"));
            continue;
        };
        let file = File::read(server, folders, down)?;
        let content =
            format!("{} statements of {down}, sha256 {}", file.statements.len(), short(&file.checksum));
        changes.push(Change::new(format!("migration {name}"), "delete").now(content));
        changes.extend(summary::changes(&file.statements));
        steps.push(json!({
            "name": name,
            "checksum": target.row.as_ref().map(|row| &row.checksum),
            "down": down,
            "down_checksum": file.checksum,
            "found": target.now.to_json(),
        }));
    }
    let conflicts: Vec<String> = open.iter().filter_map(|target| target.conflict()).collect();
    let exists = ledger.exists(server)?;
    let drops = exists && made_ledger(done) && {
        let names: Vec<&str> = open.iter().map(|target| target.name.as_str()).collect();
        !ledger.has_others(server, &names)?
    };
    if drops {
        changes.push(Change::new(format!("table {ledger}"), "drop"));
    }
    let memo = json!({ "migrations": steps, "ledger": exists, "drop_ledger": drops });
    let plan = if !stuck.is_empty() {
        Plan::unknown(stuck.join("; ")).with_changes(changes)
    } else if !conflicts.is_empty() {
        Plan::conflict(conflicts.join("; ")).with_changes(changes)
    } else {
        Plan::differs(changes)
    };
    Ok(plan.repeatable(true).with_memo(&memo))
}

/// Take back what the plan names.
pub(crate) fn undo(
    server: &impl Server,
    folders: &dyn Folders,
    ledger: &Ledger,
    input: &Migration,
    plan: &Plan,
) -> Result<(), Failure> {
    if !plan.restores()? {
        return Ok(());
    }
    let memo = plan.memo_json();
    let is = |name: &str| memo.get(name).and_then(Value::as_bool) == Some(true);
    let steps = memo.get("migrations").and_then(Value::as_array).filter(|steps| !steps.is_empty());
    let steps = steps.ok_or_else(|| Failure::conflict("the plan names no migration to take back"))?;

    let mut parts = vec![lock_timeout(input.lock_timeout)];
    let mut files = Vec::new();
    for step in steps {
        let text = |name: &str| step.get(name).and_then(Value::as_str);
        let (name, down) = (text("name").unwrap_or_default(), text("down").unwrap_or_default());
        unchanged(server, step)?;
        match text("checksum") {
            Some(checksum) => parts.push(ledger.forget(name, checksum)),
            None if is("ledger") => parts.push(ledger.is_forgotten(name)),
            None => {}
        }
        let file = File::read(server, folders, down)?;
        if text("down_checksum") != Some(&file.checksum) {
            let expected = format!("sha256 {}", short(text("down_checksum").unwrap_or_default()));
            return Err(Failure::changed_meanwhile(
                down,
                &expected,
                &format!("sha256 {}", short(&file.checksum)),
            ));
        }
        files.push(file);
    }
    if is("drop_ledger") {
        parts.extend(ledger.drop_empty());
    }
    let before = parts.len();
    parts.extend(files.iter().map(|file| plain(file.text.clone())));
    server.script(&parts).map_err(|failure| judged(failure, ledger, &files, before))?;
    info!("took migrations back"; count = files.len());
    Ok(())
}

/// That what the migration made is as the plan found it.
fn unchanged(server: &impl Server, step: &Value) -> Result<(), Failure> {
    let Some(found) = step.get("found").and_then(Shape::from_json) else { return Ok(()) };
    let now = Shape::now(server, &found.relations())?;
    match found.difference(&now) {
        None => Ok(()),
        Some(difference) => {
            let message = format!("{difference}: it changed between planning and undoing");
            Err(Failure::new("changed-meanwhile", message).retryable())
        }
    }
}

/// An error of a file is told in terms of it; one of a precondition says that the ledger is not as planned.
fn judged(failure: Failure, ledger: &Ledger, files: &[File], before: usize) -> Failure {
    let detail = failure.detail_json();
    let Some(statement) = detail.get("statement").and_then(Value::as_u64) else { return failure };
    let mut before = before as u64;
    if statement <= before {
        return match detail.get("sqlstate").and_then(Value::as_str) {
            Some(DIVISION) => {
                Failure::changed_meanwhile(&format!("the ledger {ledger}"), "its rows as planned", "others")
            }
            _ => failure,
        };
    }
    for file in files {
        let end = before + file.statements.len() as u64;
        if statement <= end {
            return file.failure(failure, before);
        }
        before = end;
    }
    failure
}

/// Whether the ledger was not there before these attempts.
fn made_ledger(done: &[Attempt]) -> bool {
    let first = done.first().map(|attempt| attempt.plan.memo_json()).unwrap_or_default();
    first.get("ledger").and_then(Value::as_bool) == Some(false)
}

/// What these attempts may have applied, newest first.
fn targets(
    server: &impl Server,
    ledger: &Ledger,
    input: &Migration,
    done: &[Attempt],
) -> Result<Vec<Target>, Failure> {
    let mut names: Vec<String> = Vec::new();
    let named = |attempt: &Attempt| {
        let file = file_of(attempt).unwrap_or_else(|| input.file.clone());
        name(&file).to_owned()
    };
    for attempt in done.iter().rev() {
        let name = named(attempt);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut targets: Vec<Target> = Vec::new();
    for name in names {
        let attempts: Vec<&Attempt> = done.iter().filter(|attempt| named(attempt) == name).collect();
        let memos: Vec<Value> = attempts.iter().map(|attempt| attempt.plan.memo_json()).collect();
        let checksum = |memo: &Value| memo.get("checksum")?.as_str().map(str::to_owned);
        let down = attempts
            .last()
            .and_then(|attempt| attempt.input_json().get("down").and_then(Value::as_str).map(str::to_owned));
        let before = memos.first().and_then(|memo| Shape::from_json(memo.get("before")?));
        let after = attempts.iter().rev().find_map(|attempt| left_shape(attempt, &name));
        let mut relations = before.as_ref().map(Shape::relations).unwrap_or_default();
        relations.extend(after.as_ref().map(Shape::relations).unwrap_or_default());
        let now = Shape::now(server, &relations)?;
        let later =
            targets.iter().filter(|later| later.row.is_some()).filter_map(|later| later.before.as_ref());
        targets.push(Target {
            row: ledger.find(server, &name)?,
            then: later.fold(now.clone(), |then, before| then.overlaid(before)),
            checksums: memos.iter().filter_map(checksum).collect(),
            first: before.clone(),
            down,
            before,
            after,
            name,
            now,
        });
    }
    let gone = |target: &Target| target.before.clone().filter(|_| target.row.is_none());
    let befores: Vec<Option<Shape>> = targets.iter().map(gone).collect();
    for (place, target) in targets.iter_mut().enumerate() {
        let earlier = befores.iter().skip(place + 1).flatten();
        let first = target.before.clone();
        target.first = first.map(|own| earlier.fold(own, |shape, earlier| shape.overlaid(earlier)));
    }
    Ok(targets)
}

/// What an attempt saw of what it made.
fn left_shape(attempt: &Attempt, name: &str) -> Option<Shape> {
    attempt.receipts.iter().rev().find_map(|text| {
        let receipt: Value = serde_json::from_str(text).ok()?;
        if receipt.get("name").and_then(Value::as_str) != Some(name) {
            return None;
        }
        Shape::from_json(receipt.get("shape")?)
    })
}

#[cfg(test)]
mod tests {
    use super::{plan, undo};
    use crate::bindings::exports::windlass::contracts::database::Migration;
    use crate::file::tests::folder;
    use crate::ledger::Ledger;
    use crate::migrate::tests::{migration, with_row, without_table};
    use crate::server::tests::Fake;
    use windlass_sdk::{Attempt, Failure, Plan, Status, json};

    fn attempt(file: &str, down: Option<&str>, checksum: &str, ledger: bool) -> Attempt {
        let memo = json!({ "checksum": checksum, "ledger": ledger });
        Attempt {
            key: file.to_owned(),
            number: 1,
            input: json!({ "file": file, "down": down }).to_string(),
            plan: Plan::differs([]).with_memo(&memo),
            receipts: Vec::new(),
            output: None,
        }
    }

    fn done(down: Option<&str>) -> Vec<Attempt> {
        vec![attempt("023.sql", down, "ab", true)]
    }

    fn input() -> Migration {
        migration()
    }

    #[test]
    fn only_what_this_run_applied_is_taken_back() {
        let folders = folder(&[("down.sql", "DROP TABLE events")]);
        let ledger = Ledger::default();
        let planned = |server, done: &[Attempt]| plan(&server, &folders, &ledger, &input(), done).unwrap();
        let with_down = done(Some("down.sql"));
        assert_eq!(planned(without_table(), &with_down).status, Status::InPlace);
        assert_eq!(planned(with_row("ab"), &[]).status, Status::InPlace);
        assert!(matches!(planned(with_row("ab"), &done(None)).status, Status::Unknown(_)));

        let differs = planned(with_row("ab"), &with_down);
        assert_eq!(differs.status, Status::Differs);
        assert_eq!(differs.changes[1].target, "table public.events");
        let server = with_row("ab");
        undo(&server, &folders, &ledger, &input(), &differs).unwrap();
        let scripts = server.scripts.borrow();
        assert!(scripts[0][1].sql.contains("DELETE FROM"));
        assert_eq!(scripts[0][2].sql, "DROP TABLE events");
    }

    #[test]
    fn another_checksum_in_the_ledger_is_a_conflict_that_can_be_decided() {
        let folders = folder(&[("down.sql", "DROP TABLE events")]);
        let ledger = Ledger::default();
        let server = with_row("cd");
        let planned = plan(&server, &folders, &ledger, &input(), &done(Some("down.sql"))).unwrap();
        let Status::Conflict(found) = &planned.status else { unreachable!() };
        assert!(found.starts_with("migration 023 in the ledger: expected checksum ab, found cd"), "{found}");
        assert_eq!(undo(&server, &folders, &ledger, &input(), &planned).unwrap_err().code, "conflict");
        assert!(server.scripts.borrow().is_empty());
        let ours = Plan { status: Status::Differs, ..planned };
        undo(&server, &folders, &ledger, &input(), &ours).unwrap();
        assert_eq!(server.scripts.borrow()[0][1].parameters.len(), 2);
    }

    #[test]
    fn each_file_is_taken_back_by_its_own_newest_first_and_the_ledger_goes_with_its_last_row() {
        let folders = folder(&[("a.sql", "DROP TABLE a"), ("b.sql", "DROP TABLE b")]);
        let ledger = Ledger::default();
        let done =
            [attempt("001.sql", Some("a.sql"), "ab", false), attempt("002.sql", Some("b.sql"), "ab", true)];
        let mut server = with_row("ab");
        server.answers.retain(|(part, _)| !part.contains("others"));
        server.answers.push(("AS others", vec![json!({ "others": 0 })]));
        let planned = plan(&server, &folders, &ledger, &input(), &done).unwrap();
        assert_eq!(planned.changes.last().unwrap().target, "table public.windlass_migrations");
        undo(&server, &folders, &ledger, &input(), &planned).unwrap();
        let texts: Vec<String> = server.scripts.borrow()[0].iter().map(|part| part.sql.clone()).collect();
        assert!(
            texts[3].starts_with("LOCK TABLE") && texts[5].starts_with("DROP TABLE \"public\""),
            "{texts:?}"
        );
        assert_eq!(texts[6..], ["DROP TABLE b", "DROP TABLE a"]);
    }

    #[test]
    fn migrations_of_the_same_table_are_compared_as_they_followed_each_other() {
        let shape = |lines: &[&str]| json!({ "relations": [["public", "t", lines]] });
        let step = |file: &str, before: &[&str], after: &[&str]| {
            let memo = json!({ "checksum": "ab", "before": shape(before) });
            let receipt = json!({ "name": crate::migrate::name(file), "shape": shape(after) }).to_string();
            let plan = Plan::differs([]).with_memo(&memo);
            Attempt { plan, receipts: vec![receipt], ..attempt(file, Some("down.sql"), "ab", true) }
        };
        let done = [step("1.sql", &["a"], &["a", "b"]), step("2.sql", &["a", "b"], &["a", "b", "c"])];
        let folders = folder(&[("down.sql", "SELECT 1")]);
        let status = |mut server: Fake, lines: &[&str]| {
            let rows =
                lines.iter().map(|line| json!({ "schema": "public", "name": "t", "line": line })).collect();
            server.answers.retain(|(part, _)| *part != "pg_get_constraintdef");
            server.answers.push(("pg_get_constraintdef", rows));
            plan(&server, &folders, &Ledger::default(), &input(), &done).unwrap().status
        };
        assert_eq!(status(with_row("ab"), &["a", "b", "c"]), Status::Differs);
        assert!(matches!(status(with_row("ab"), &["a", "b", "x"]), Status::Conflict(_)));
        assert_eq!(status(without_table(), &["a"]), Status::InPlace);
        assert!(matches!(status(without_table(), &["a", "x"]), Status::Conflict(_)));
    }

    #[test]
    fn a_ledger_that_changed_in_the_last_moment_ends_the_transaction() {
        let folders = folder(&[("down.sql", "SELECT 1; DROP TABLE events")]);
        let ledger = Ledger::default();
        let planned = plan(&with_row("ab"), &folders, &ledger, &input(), &done(Some("down.sql"))).unwrap();
        let failing = |statement: u64, sqlstate: &str| {
            let detail =
                json!({ "sqlstate": sqlstate, "message": "it failed", "statement": statement, "line": 1 });
            let failure = Failure::new("sql-error", "as it came").with_detail(&detail);
            let server = Fake { script: Some(failure), ..with_row("ab") };
            undo(&server, &folders, &ledger, &input(), &planned).unwrap_err()
        };
        let failure = failing(2, "22012");
        assert_eq!((failure.code.as_str(), failure.retryable), ("changed-meanwhile", true));
        let failure = failing(4, "22012");
        assert_eq!(failure.message, "down.sql:1: it failed");
        assert_eq!(failure.detail_json()["statement"], 2);
    }
}
