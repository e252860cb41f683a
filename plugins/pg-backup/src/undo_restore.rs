//! Dropping databases again that were made for an archive, with all that was written to them since.
//!
//! A changed input may have made another one; each is looked at. Invariant: a database that this step did not make goes only
//! where a person decided so, and only as the plan found it.

use crate::restore::{Found, draft, drop_database, find, is_marked};
use crate::world::World;
use windlass_sdk::{Attempt, Change, Failure, Plan, Value, json};

/// Whether there is anything to drop.
pub(crate) fn plan(world: &impl World, done: &[Attempt]) -> Result<Plan, Failure> {
    let (mut changes, mut databases, mut conflicts) = (Vec::new(), Vec::new(), Vec::new());
    for name in names(done) {
        let attempts: Vec<&Attempt> = done.iter().filter(|attempt| database_of(attempt) == name).collect();
        let mut keys: Vec<&str> = attempts.iter().map(|attempt| attempt.key.as_str()).collect();
        keys.dedup();
        for key in &keys {
            // Nobody else makes one of that name.
            let draft = draft(&name, key);
            if let Some(found) = find(world, &draft)? {
                changes.push(delete(&draft).now("half restored"));
                databases.push(json!({ "name": draft, "oid": found.oid, "comment": found.comment }));
            }
        }
        let Some(found) = find(world, &name)? else { continue };
        if !keys.iter().any(|key| is_marked(&found.comment, key)) {
            conflicts.push(format!(
                "database {name}: expected none as before, or one with the mark of this step, found one with {}",
                described(&found)
            ));
        }
        changes.push(delete(&name).now("with all that was written to it since"));
        databases.push(json!({ "name": name, "oid": found.oid, "comment": found.comment }));
    }
    let plan = if !conflicts.is_empty() {
        Plan::conflict(conflicts.join("; ")).with_changes(changes)
    } else if changes.is_empty() {
        Plan::in_place()
    } else {
        Plan::differs(changes)
    };
    Ok(plan.repeatable(true).with_memo(&json!({ "databases": databases })))
}

/// Drop what the plan found.
pub(crate) fn undo(world: &impl World, plan: &Plan) -> Result<(), Failure> {
    if !plan.restores()? {
        return Ok(());
    }
    let memo = plan.memo_json();
    let databases = || memo.get("databases").and_then(Value::as_array).into_iter().flatten();
    let text = |database: &Value, name: &str| {
        database.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut there = Vec::new();
    for database in databases() {
        let (name, oid, comment) = (text(database, "name"), text(database, "oid"), text(database, "comment"));
        let Some(now) = find(world, &name)? else { continue };
        if now.oid != oid || now.comment != comment {
            let then = described(&Found { oid, comment });
            let target = format!("database {name}");
            return Err(Failure::changed_meanwhile(&target, &then, &described(&now)));
        }
        there.push(name);
    }
    there.iter().try_for_each(|name| drop_database(world, name))
}

fn described(found: &Found) -> String {
    match found.comment.as_str() {
        "" => format!("oid {} and no comment", found.oid),
        comment => format!("oid {} and the comment `{comment}`", found.oid),
    }
}

fn delete(name: &str) -> Change {
    Change::new(format!("database {name}"), "delete")
}

/// The databases that these attempts were to make, in the order they first did.
fn names(done: &[Attempt]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in done.iter().map(database_of) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn database_of(attempt: &Attempt) -> String {
    attempt.input_json().get("database").and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{plan, undo};
    use crate::restore::draft;
    use crate::world::tests::Fake;
    use windlass_sdk::{Attempt, Plan, Status};

    fn done(world: &Fake) -> [Attempt; 1] {
        [world.attempt(&Plan::differs([]))]
    }

    fn make(world: &Fake, name: &str, comment: &str) {
        world.databases.borrow_mut().insert(name.to_owned(), comment.to_owned());
    }

    #[test]
    fn what_this_step_made_is_dropped_whole_or_half() {
        let world = Fake::default();
        assert_eq!(plan(&world, &done(&world)).unwrap().status, Status::InPlace);
        make(&world, "fresh", "windlass restore key=test-key sha256=ab");
        make(&world, &draft("fresh", "test-key"), "");
        make(&world, &draft("fresh", "another"), "");
        let back = plan(&world, &done(&world)).unwrap();
        assert_eq!((back.status.clone(), back.changes.len()), (Status::Differs, 2));
        undo(&world, &back).unwrap();
        assert_eq!(world.databases.borrow().keys().collect::<Vec<_>>(), [&draft("fresh", "another")]);
        assert_eq!(plan(&world, &done(&world)).unwrap().status, Status::InPlace);
    }

    #[test]
    fn a_database_of_someone_else_stays_until_a_person_decides() {
        let world = Fake::default();
        make(&world, "fresh", "ours for years");
        let conflict = plan(&world, &done(&world)).unwrap();
        let found = "database fresh: expected none as before, or one with the mark of this step, found one with oid 7 and \
                     the comment `ours for years`";
        assert_eq!(conflict.status, Status::Conflict(found.to_owned()));
        assert_eq!(undo(&world, &conflict).unwrap_err().code, "conflict");
        let ours = Plan { status: Status::Differs, ..conflict };
        make(&world, "fresh", "another's");
        assert_eq!(undo(&world, &ours).unwrap_err().code, "changed-meanwhile");
        make(&world, "fresh", "ours for years");
        undo(&world, &ours).unwrap();
        assert!(world.databases.borrow().is_empty());
    }
}
