//! Taking a migration back by the file that the step names for it, and forgetting it, in one transaction.

use crate::bindings::exports::windlass::contracts::database::Migration;
use crate::file::File;
use crate::ledger::{Ledger, lock_timeout, plain};
use crate::migrate::{name, short};
use crate::server::Server;
use crate::summary;
use windlass_sdk::fs::Folders;
use windlass_sdk::{Attempt, Change, Failure, Plan, Value, info, json};

/// Whether it has to be taken back, and whether it can be.
pub(crate) fn plan(
    server: &impl Server,
    folders: &dyn Folders,
    ledger: &Ledger,
    input: &Migration,
    done: &[Attempt],
) -> Result<Plan, Failure> {
    let name = name(&input.file);
    let Some(row) = ledger.find(server, name)? else { return Ok(Plan::in_place().repeatable(true)) };
    let applied = done.iter().rev().find_map(|attempt| {
        attempt.plan.memo_json().get("checksum").and_then(Value::as_str).map(str::to_owned)
    });
    if applied.is_some_and(|applied| applied != row.checksum) {
        return Ok(Plan::conflict(format!(
            "the ledger has {name} with another checksum, {}, applied at {}",
            short(&row.checksum),
            row.applied_at
        )));
    }
    let Some(down) = &input.down else {
        return Ok(Plan::unknown(format!("{name} names no `down` file, so nothing here can take it back")));
    };
    let file = File::read(server, folders, down)?;
    let content = format!("{} statements of {down}, sha256 {}", file.statements.len(), short(&file.checksum));
    let mut changes = vec![Change::new(format!("migration {name}"), "delete").now(content)];
    changes.extend(summary::changes(&file.statements));
    let memo = json!({ "name": name, "checksum": row.checksum, "down": file.checksum });
    Ok(Plan::differs(changes).repeatable(true).with_memo(&memo))
}

/// Take it back.
pub(crate) fn undo(
    server: &impl Server,
    folders: &dyn Folders,
    ledger: &Ledger,
    input: &Migration,
    plan: &Plan,
) -> Result<(), Failure> {
    if plan.is_in_place() {
        return Ok(());
    }
    let name = name(&input.file);
    let Some(down) = &input.down else {
        return Err(Failure::invalid_input(format!("{name} names no `down` file")));
    };
    let file = File::read(server, folders, down)?;
    let memo = plan.memo_json();
    if memo.get("down").and_then(Value::as_str) != Some(&file.checksum) {
        let message = format!("{down} was changed between planning and applying");
        return Err(Failure::new("changed-meanwhile", message).retryable());
    }
    let checksum = memo.get("checksum").and_then(Value::as_str).unwrap_or_default();
    let parts = [lock_timeout(input.lock_timeout), ledger.forget(name, checksum), plain(file.text.clone())];
    server.script(&parts).map_err(|failure| file.failure(failure, 2))?;
    info!("took {name} back"; statements = file.statements.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{plan, undo};
    use crate::bindings::exports::windlass::contracts::database::Migration;
    use crate::file::tests::folder;
    use crate::ledger::Ledger;
    use crate::migrate::tests::{migration, with_row, without_table};
    use windlass_sdk::{Attempt, Plan, Status, json};

    fn done(checksum: &str) -> Vec<Attempt> {
        vec![Attempt {
            key: "k".to_owned(),
            number: 1,
            input: "{}".to_owned(),
            plan: Plan::differs([]).with_memo(&json!({ "checksum": checksum })),
            receipts: Vec::new(),
            output: None,
        }]
    }

    fn with_down() -> Migration {
        Migration { down: Some("down.sql".to_owned()), ..migration() }
    }

    #[test]
    fn only_what_this_run_applied_is_taken_back() {
        let folders = folder(&[("down.sql", "DROP TABLE events")]);
        let ledger = Ledger::default();
        let planned =
            |server, input: &Migration| plan(&server, &folders, &ledger, input, &done("ab")).unwrap();
        assert_eq!(planned(without_table(), &with_down()).status, Status::InPlace);
        assert!(matches!(planned(with_row("cd"), &with_down()).status, Status::Conflict(_)));
        assert!(matches!(planned(with_row("ab"), &migration()).status, Status::Unknown(_)));

        let differs = planned(with_row("ab"), &with_down());
        assert_eq!(differs.status, Status::Differs);
        assert_eq!(differs.changes[1].target, "table public.events");
        let server = with_row("ab");
        undo(&server, &folders, &ledger, &with_down(), &differs).unwrap();
        let scripts = server.scripts.borrow();
        assert!(scripts[0][1].sql.starts_with("DELETE FROM"));
        assert_eq!(scripts[0][2].sql, "DROP TABLE events");
    }
}
