//! Taking an archive away again: only one that this run has written.

use crate::bindings::exports::windlass::contracts::backup::Source;
use crate::dump::{exists, partial, receipts};
use crate::world::{World, path};
use windlass_sdk::fs::Path;
use windlass_sdk::{Attempt, Change, Failure, Plan, Value, digest, json};

/// Whether there is anything to take away.
pub(crate) fn plan(world: &impl World, input: &Source, done: &[Attempt]) -> Result<Plan, Failure> {
    let path = path(&input.file)?;
    let partial = partial(&path);
    let mut changes = Vec::new();
    let mut sha256 = None;
    if exists(world, &path)? {
        let (found, _) = digest::sha256_of_file(world.folders(), &path)?;
        if !receipts(done).contains(&found) {
            return Ok(Plan::conflict(format!("{path} is not the archive that this step wrote")));
        }
        changes.push(delete(&path));
        sha256 = Some(found);
    }
    let left = !done.is_empty() && exists(world, &partial)?;
    if left {
        changes.push(delete(&partial));
    }
    if changes.is_empty() {
        return Ok(Plan::in_place().repeatable(true));
    }
    Ok(Plan::differs(changes).repeatable(true).with_memo(&json!({ "sha256": sha256, "left": left })))
}

/// Take it away.
pub(crate) fn undo(world: &impl World, input: &Source, plan: &Plan) -> Result<(), Failure> {
    let path = path(&input.file)?;
    let memo = plan.memo_json();
    if let Some(wanted) = memo.get("sha256").and_then(Value::as_str)
        && exists(world, &path)?
    {
        if digest::sha256_of_file(world.folders(), &path)?.0 != wanted {
            let message = format!("{path} was changed between planning and removing");
            return Err(Failure::new("changed-meanwhile", message).retryable());
        }
        world.folders().remove(&path)?;
    }
    let partial = partial(&path);
    if memo.get("left").and_then(Value::as_bool) == Some(true) && exists(world, &partial)? {
        world.folders().remove(&partial)?;
    }
    Ok(())
}

fn delete(path: &Path) -> Change {
    Change::new(format!("archive {path}"), "delete")
}

#[cfg(test)]
mod tests {
    use super::{plan, undo};
    use crate::dump;
    use crate::dump::tests::source;
    use crate::world::tests::Fake;
    use windlass_sdk::Status;

    #[test]
    fn only_the_archive_of_this_run_is_taken_away() {
        let world = Fake::default();
        let planned = dump::plan(&world, &source(), &[]).unwrap();
        assert_eq!(plan(&world, &source(), &[]).unwrap().status, Status::InPlace);
        dump::apply(&world, &source(), &planned).unwrap();
        let done = [world.attempt(&planned)];
        let back = plan(&world, &source(), &done).unwrap();
        assert_eq!(back.status, Status::Differs);
        world.put("a.dump", b"another");
        assert_eq!(undo(&world, &source(), &back).unwrap_err().code, "changed-meanwhile");
        assert!(matches!(plan(&world, &source(), &done).unwrap().status, Status::Conflict(_)));
        world.put("a.dump", world.content.get());
        world.put("a.dump.partial", b"half");
        undo(&world, &source(), &plan(&world, &source(), &done).unwrap()).unwrap();
        assert!(!world.has("a.dump") && !world.has("a.dump.partial"));
    }
}
