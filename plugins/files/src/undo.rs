//! Taking writes back.
//!
//! All attempts of a step are undone at once; a changed input may have had another path, so they are taken file by
//! file. Invariants: a file that is neither as before nor as one of the attempts wanted it is touched only where a person
//! decided so, and never when it is not as the plan found it; nothing is written before all files were looked at.

use crate::state::{State, path as slot_path};
use crate::write::{intended, path_of};
use std::collections::BTreeSet;
use windlass_sdk::fs::{self, Error, Folders, Path};
use windlass_sdk::{Attempt, Change, Failure, Plan, Value, json};

/// One file that attempts wrote.
struct Target {
    path: Path,
    before: State,
    intended: Vec<State>,
    now: State,
    /// Missing before the first attempt, outermost first.
    folders: Vec<Path>,
    /// Left by attempts that were cut off.
    drafts: BTreeSet<Path>,
}

impl Target {
    fn is_restored(&self) -> bool {
        self.now.same(&self.before)
    }

    /// Whether someone else changed it.
    fn is_foreign(&self) -> bool {
        !self.is_restored() && !self.intended.iter().any(|intended| self.now.same(intended))
    }

    fn name(&self) -> String {
        format!("file {}", self.path)
    }

    fn change(&self) -> Change {
        let kind = match (&self.before, &self.now) {
            (State::Absent, _) => "delete",
            (_, State::Absent) => "create",
            _ => "update",
        };
        let mut change = Change::new(self.name(), kind);
        change.from = self.now.describe();
        change.to = self.before.describe();
        change
    }

    /// The conflict, for a person.
    fn conflict(&self) -> String {
        let mut wanted: Vec<String> = self.intended.iter().map(ToString::to_string).collect();
        wanted.dedup();
        format!(
            "{}: expected {} as this step wrote it, or {} as before, found {}",
            self.path,
            wanted.join(" or "),
            self.before,
            self.now
        )
    }

    /// The content to restore; none where the file has to go.
    fn content(&self) -> Result<Option<&[u8]>, Failure> {
        match &self.before {
            State::Absent => Ok(None),
            State::Present { content: Some(content), .. } => Ok(Some(content)),
            before => Err(Failure::new(
                "before-not-kept",
                format!("{} can't be restored: what was there ({before}) was too long to keep", self.path),
            )),
        }
    }

    /// That it can be restored from what was found when planning, and is so still.
    fn check(&self, found: &State) -> Result<(), Failure> {
        if !self.now.same(found) {
            return Err(Failure::changed_meanwhile(&self.name(), &found.to_string(), &self.now.to_string()));
        }
        if let State::NoFile(what) = &self.now {
            return Err(Failure::conflict(format!("{what}, and only files are replaced or removed")));
        }
        self.content().map(drop)
    }

    fn restore(&self, folders: &dyn Folders) -> Result<(), Failure> {
        match self.content()? {
            Some(content) => folders.write(&self.path, content)?,
            None => folders.remove(&self.path)?,
        }
        Ok(())
    }
}

/// What undoing these attempts would change.
pub(crate) fn plan(folders: &dyn Folders, done: &[Attempt]) -> Result<Plan, Failure> {
    let targets = targets(folders, done)?;
    let open: Vec<&Target> = targets.iter().filter(|target| !target.is_restored()).collect();
    let left = left_over(folders, &targets)?;
    let found: windlass_sdk::serde_json::Map<String, Value> =
        open.iter().map(|target| (target.path.to_string(), target.now.to_json())).collect();
    let memo = json!({ "found": found });
    let changes = open.iter().map(|target| target.change()).chain(left.changes());

    let foreign: Vec<String> =
        open.iter().filter(|target| target.is_foreign()).map(|target| target.conflict()).collect();
    if !foreign.is_empty() {
        return Ok(Plan::conflict(foreign.join("; "))
            .with_changes(changes)
            .repeatable(true)
            .with_memo(&memo));
    }
    for target in &open {
        target.content()?;
    }
    let plan = if open.is_empty() && left.is_empty() { Plan::in_place() } else { Plan::differs(changes) };
    Ok(plan.repeatable(true).with_memo(&memo))
}

/// Restore what was before, from what the plan found.
pub(crate) fn undo(folders: &dyn Folders, done: &[Attempt], plan: &Plan) -> Result<(), Failure> {
    if !plan.restores()? {
        return Ok(());
    }
    let memo = plan.memo_json();
    let targets = targets(folders, done)?;
    let left = left_over(folders, &targets)?;
    let open: Vec<&Target> = targets.iter().filter(|target| !target.is_restored()).collect();
    for target in &open {
        // What the plan says nothing about was as before then.
        let found = memo.get("found").and_then(|found| State::from_json(found.get(target.path.to_string())?));
        target.check(found.as_ref().unwrap_or(&target.before))?;
    }
    for target in open {
        target.restore(folders)?;
    }
    for draft in &left.drafts {
        match folders.remove(draft) {
            // Writing has removed a draft of its own.
            Ok(()) | Err(Error::NotFound(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Ok(fs::remove_emptied(folders, &left.folders)?)
}

/// What attempts left beside their files.
struct LeftOver {
    drafts: Vec<Path>,
    /// Innermost first.
    folders: Vec<Path>,
}

impl LeftOver {
    fn is_empty(&self) -> bool {
        self.drafts.is_empty() && self.folders.is_empty()
    }

    fn changes(&self) -> impl Iterator<Item = Change> {
        let drafts = self.drafts.iter().map(|draft| Change::new(format!("file {draft}"), "delete"));
        drafts.chain(self.folders.iter().map(|folder| Change::new(format!("folder {folder}"), "delete")))
    }
}

/// Drafts, and the folders that are empty once these and the files are gone.
fn left_over(folders: &dyn Folders, targets: &[Target]) -> Result<LeftOver, Failure> {
    let drafts: Vec<Path> = targets.iter().flat_map(|target| &target.drafts).cloned().collect();
    let goes = |target: &&Target| target.before == State::Absent && target.now.sha256().is_some();
    let files = targets.iter().filter(goes).map(|target| &target.path);
    let made = targets.iter().flat_map(|target| &target.folders);
    let emptied = fs::emptied(folders, made, files.chain(&drafts))?;
    Ok(LeftOver { drafts, folders: emptied })
}

/// The files that these attempts may have written, in the order they first did.
fn targets(folders: &dyn Folders, done: &[Attempt]) -> Result<Vec<Target>, Failure> {
    let mut targets: Vec<Target> = Vec::new();
    for attempt in done {
        let path = path_of(attempt)?;
        let draft = Some(fs::draft(&path, &attempt.key)).filter(|draft| folders.metadata(draft).is_ok());
        if let Some(target) = targets.iter_mut().find(|target| target.path == path) {
            target.intended.push(intended(attempt));
            target.drafts.extend(draft);
            continue;
        }
        let memo = attempt.plan.memo_json();
        let before = memo.get("before").and_then(State::from_json).ok_or_else(|| {
            Failure::new(
                "before-not-kept",
                format!("the attempt on {path} left no note of what was there before"),
            )
        })?;
        let missing = memo.get("folders").and_then(Value::as_array).into_iter().flatten();
        let made = missing.filter_map(|inner| slot_path(Some(path.slot()), inner.as_str()?).ok()).collect();
        let now = State::now(folders, &path)?;
        let drafts = draft.into_iter().collect();
        targets.push(Target { path, before, intended: vec![intended(attempt)], now, folders: made, drafts });
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::{plan, undo};
    use crate::write;
    use crate::write::tests::{attempt, file, put, text};
    use windlass_sdk::fs::{Folders, Path, draft};
    use windlass_sdk::testing::Memory;
    use windlass_sdk::{Attempt, Plan, Status};

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

        undo(&folders, &attempts, &planned).unwrap();
        assert_eq!((text(&folders, "a").as_deref(), text(&folders, "b")), (Some("one"), None));
        assert_eq!(plan(&folders, &attempts).unwrap().status, Status::InPlace);
        undo(&folders, &attempts, &planned).unwrap();
    }

    #[test]
    fn what_someone_else_wrote_is_never_touched() {
        let folders = Memory::with_slots(&["out"]);
        put(&folders, "a", "one");
        let attempts = done(&folders, &[("a", "two"), ("b", "new")]);
        put(&folders, "b", "mine");

        let planned = plan(&folders, &attempts).unwrap();
        let found = "/out/b: expected 3 bytes, sha256 11507a0e2f5e as this step wrote it, or no file as before, found 4 \
                     bytes, sha256 3fd30542fe3f";
        assert_eq!(planned.status, Status::Conflict(found.to_owned()));
        assert_eq!(undo(&folders, &attempts, &planned).unwrap_err().code, "conflict");
        assert_eq!(
            (text(&folders, "a").as_deref(), text(&folders, "b").as_deref()),
            (Some("two"), Some("mine"))
        );

        // A person says that the state before counts; but what nobody has seen yet is kept all the same.
        let ours = Plan { status: Status::Differs, ..planned };
        put(&folders, "b", "newer");
        let failure = undo(&folders, &attempts, &ours).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable), ("changed-meanwhile", true));
        assert_eq!(failure.detail_json()["target"], "file /out/b");
        assert_eq!(text(&folders, "a").as_deref(), Some("two"));
        put(&folders, "b", "mine");
        undo(&folders, &attempts, &ours).unwrap();
        assert_eq!((text(&folders, "a").as_deref(), text(&folders, "b")), (Some("one"), None));
    }

    #[test]
    fn a_change_after_the_plan_is_not_overwritten() {
        let folders = Memory::with_slots(&["out"]);
        let attempts = done(&folders, &[("a", "two")]);
        let planned = plan(&folders, &attempts).unwrap();
        put(&folders, "a", "mine");
        let failure = undo(&folders, &attempts, &planned).unwrap_err();
        assert_eq!(
            failure.message,
            "file /out/a changed between planning and doing: expected 3 bytes, sha256 3fc4ccfe7458, found 4 bytes, \
             sha256 3fd30542fe3f"
        );
        assert_eq!(text(&folders, "a").as_deref(), Some("mine"));
    }

    #[test]
    fn drafts_and_folders_that_were_made_go_too() {
        let folders = Memory::with_slots(&["out"]);
        let attempts = done(&folders, &[("new/deep/a", "two")]);
        let path = |inner: &str| Path::new("out", inner).unwrap();
        put(&folders, draft(&path("new/deep/a"), "k").inner(), "half");
        let planned = plan(&folders, &attempts).unwrap();
        let targets: Vec<_> = planned.changes.iter().map(|change| change.target.as_str()).collect();
        assert_eq!(targets.len(), 4, "{targets:?}");
        assert_eq!(targets[2..], ["folder /out/new/deep", "folder /out/new"]);
        undo(&folders, &attempts, &planned).unwrap();
        assert!(folders.list("out", "").unwrap().is_empty());

        // A folder in which someone else has put something stays.
        let attempts = done(&folders, &[("new/deep/a", "two")]);
        put(&folders, "new/mine", "x");
        let planned = plan(&folders, &attempts).unwrap();
        undo(&folders, &attempts, &planned).unwrap();
        assert_eq!(folders.list("out", "new").unwrap(), ["mine"]);
        assert_eq!(plan(&folders, &attempts).unwrap().status, Status::InPlace);
    }

    #[test]
    fn what_is_no_file_any_more_is_a_conflict_that_nobody_can_decide() {
        let folders = Memory::with_slots(&["out"]);
        let attempts = done(&folders, &[("a", "two")]);
        folders.remove(&Path::new("out", "a").unwrap()).unwrap();
        folders.create_dir_all(&Path::new("out", "a").unwrap()).unwrap();
        let planned = plan(&folders, &attempts).unwrap();
        let Status::Conflict(found) = &planned.status else { unreachable!() };
        assert!(found.ends_with("found /out/a is a folder"), "{found}");
        let ours = Plan { status: Status::Differs, ..planned };
        assert_eq!(undo(&folders, &attempts, &ours).unwrap_err().code, "conflict");
    }

    #[test]
    fn what_was_not_kept_is_said_before_anything_is_written() {
        let folders = Memory::with_slots(&["out"]);
        put(&folders, "a", &"x".repeat(300 << 10));
        let attempts = done(&folders, &[("a", "short")]);
        assert_eq!(plan(&folders, &attempts).unwrap_err().code, "before-not-kept");
        let ours = Plan::differs([]);
        assert_eq!(undo(&folders, &attempts, &ours).unwrap_err().code, "changed-meanwhile");
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
