//! Taking writes back.
//!
//! All attempts of a step are undone at once; a changed input may have had another path, so they are taken file by
//! file. Invariant: a file that is neither as before nor as one of the attempts wanted it is never touched.

use crate::state::{State, path};
use crate::write::intended;
use windlass_sdk::fs::{Folders, Path};
use windlass_sdk::{Attempt, Change, Failure, Plan, Value};

/// One file that attempts wrote.
struct Target {
    path: Path,
    before: State,
    intended: Vec<State>,
    now: State,
}

impl Target {
    fn is_restored(&self) -> bool {
        self.now.same(&self.before)
    }

    /// Whether someone else changed it.
    fn is_foreign(&self) -> bool {
        !self.is_restored() && !self.intended.iter().any(|intended| self.now.same(intended))
    }

    fn change(&self) -> Change {
        let kind = if self.before == State::Absent { "delete" } else { "update" };
        let mut change = Change::new(format!("file {}", self.path), kind);
        change.from = self.now.describe();
        change.to = self.before.describe();
        change
    }

    /// The text to restore; none where the file has to go.
    fn text(&self) -> Result<Option<&str>, Failure> {
        match &self.before {
            State::Absent => Ok(None),
            State::Present { text: Some(text), .. } => Ok(Some(text)),
            State::Present { size, sha256, text: None } => Err(Failure::new(
                "before-not-kept",
                format!(
                    "{} can't be restored: what was there ({size} bytes, sha256 {sha256}) was too long to keep, or no text",
                    self.path
                ),
            )),
        }
    }
}

/// What undoing these attempts would change.
pub(crate) fn plan(folders: &dyn Folders, done: &[Attempt]) -> Result<Plan, Failure> {
    let open: Vec<Target> =
        targets(folders, done)?.into_iter().filter(|target| !target.is_restored()).collect();
    let foreign: Vec<String> =
        open.iter().filter(|target| target.is_foreign()).map(|target| target.path.to_string()).collect();
    let changes = open.iter().map(Target::change);
    if !foreign.is_empty() {
        let found = format!("{} is neither as it was before nor as this step wrote it", foreign.join(", "));
        return Ok(Plan::conflict(found).with_changes(changes));
    }
    for target in &open {
        target.text()?;
    }
    let plan = if open.is_empty() { Plan::in_place() } else { Plan::differs(changes) };
    Ok(plan.repeatable(true))
}

/// Restore what was before. Folders that were made on the way stay.
pub(crate) fn undo(folders: &dyn Folders, done: &[Attempt]) -> Result<(), Failure> {
    let targets = targets(folders, done)?;
    if let Some(foreign) = targets.iter().find(|target| target.is_foreign()) {
        let message = format!("{} was changed by someone else", foreign.path);
        return Err(Failure::new("conflict", message));
    }
    for target in targets.iter().filter(|target| !target.is_restored()) {
        match target.text()? {
            Some(text) => folders.write(&target.path, text.as_bytes())?,
            None => folders.remove(&target.path)?,
        }
    }
    Ok(())
}

/// The files that these attempts may have written, in the order they first did.
fn targets(folders: &dyn Folders, done: &[Attempt]) -> Result<Vec<Target>, Failure> {
    let mut targets: Vec<Target> = Vec::new();
    for attempt in done {
        let input = attempt.input_json();
        let inner = input.get("path").and_then(Value::as_str).unwrap_or_default();
        let path = path(input.get("folder").and_then(Value::as_str), inner)?;
        if let Some(target) = targets.iter_mut().find(|target| target.path == path) {
            target.intended.push(intended(attempt));
            continue;
        }
        let memo = attempt.plan.memo_json();
        let before = memo.get("before").and_then(State::from_json).ok_or_else(|| {
            Failure::new(
                "before-not-kept",
                format!("the attempt on {path} left no note of what was there before"),
            )
        })?;
        let now = State::now(folders, &path)?;
        targets.push(Target { path, before, intended: vec![intended(attempt)], now });
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::{plan, undo};
    use crate::write;
    use crate::write::tests::{attempt, file, put, text};
    use windlass_sdk::testing::Memory;
    use windlass_sdk::{Attempt, Status};

    /// Write files one after the other, as one step.
    fn done(folders: &Memory, writes: &[(&str, &str)]) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        for (path, text) in writes {
            let wanted = file(path, text);
            let planned = write::plan(folders, &wanted, &[]).unwrap();
            write::apply(folders, &wanted, &planned).unwrap();
            attempts.push(attempt(&wanted, &planned));
        }
        attempts
    }

    #[test]
    fn undo_restores_the_text_or_removes_the_file() {
        let folders = Memory::with_slots(&["out"]);
        put(&folders, "a", "one");
        // A changed input wrote to another file too.
        let attempts = done(&folders, &[("a", "two"), ("a", "three"), ("b", "new")]);

        let planned = plan(&folders, &attempts).unwrap();
        assert_eq!(planned.status, Status::Differs);
        let changes: Vec<_> =
            planned.changes.iter().map(|change| (change.target.as_str(), change.kind.as_str())).collect();
        assert_eq!(changes, [("file /out/a", "update"), ("file /out/b", "delete")]);

        undo(&folders, &attempts).unwrap();
        assert_eq!((text(&folders, "a").as_deref(), text(&folders, "b")), (Some("one"), None));
        assert_eq!(plan(&folders, &attempts).unwrap().status, Status::InPlace);
        undo(&folders, &attempts).unwrap();
    }

    #[test]
    fn what_someone_else_wrote_is_never_touched() {
        let folders = Memory::with_slots(&["out"]);
        put(&folders, "a", "one");
        let attempts = done(&folders, &[("a", "two"), ("b", "new")]);
        put(&folders, "b", "mine");

        let planned = plan(&folders, &attempts).unwrap();
        let found = "/out/b is neither as it was before nor as this step wrote it";
        assert_eq!(planned.status, Status::Conflict(found.to_owned()));
        assert_eq!(undo(&folders, &attempts).unwrap_err().code, "conflict");
        assert_eq!(
            (text(&folders, "a").as_deref(), text(&folders, "b").as_deref()),
            (Some("two"), Some("mine"))
        );
    }

    #[test]
    fn what_was_not_kept_is_said_before_anything_is_written() {
        let folders = Memory::with_slots(&["out"]);
        put(&folders, "a", &"x".repeat(300 << 10));
        let attempts = done(&folders, &[("a", "short")]);
        assert_eq!(plan(&folders, &attempts).unwrap_err().code, "before-not-kept");
        assert_eq!(undo(&folders, &attempts).unwrap_err().code, "before-not-kept");
        assert_eq!(text(&folders, "a").as_deref(), Some("short"));
    }

    #[test]
    fn an_attempt_without_effect_needs_no_undo() {
        let folders = Memory::with_slots(&["out"]);
        put(&folders, "a", "one");
        let wanted = file("a", "two");
        let attempts = [attempt(&wanted, &write::plan(&folders, &wanted, &[]).unwrap())];
        assert_eq!(plan(&folders, &attempts).unwrap().status, Status::InPlace);
    }
}
