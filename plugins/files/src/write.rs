//! Writing a file.
//!
//! The memo holds the file as it was before the effect, the folders that were missing then, and the file as it was found
//! when planning; the first two are what undo restores, the third is what apply insists on. Attempts of a changed input
//! may have written another file: they say nothing about this one.

use crate::bindings::exports::windlass::contracts::files::{File, Written};
use crate::state::{State, path};
use windlass_sdk::fs::{self, Folders, Path};
use windlass_sdk::{Attempt, Change, Failure, Plan, Value, digest, json};

/// Whether the file has to be written.
pub(crate) fn plan(folders: &dyn Folders, input: &File, before: &[Attempt]) -> Result<Plan, Failure> {
    let path = path(input.folder.as_deref(), &input.path)?;
    let now = State::now(folders, &path)?;
    if let State::NoFile(what) = &now {
        return Err(Failure::new("not-a-file", what));
    }
    let wanted = State::of(input.text.clone().into_bytes());
    let attempts: Vec<&Attempt> = before.iter().filter(|attempt| writes(attempt, &path)).collect();
    let first = attempts.first().map(|attempt| attempt.plan.memo_json()).unwrap_or_default();
    let original = first.get("before").and_then(State::from_json);
    let missing = match first.get("folders") {
        Some(missing) => missing.clone(),
        None => {
            fs::missing_folders(folders, &path)?.iter().map(|folder| Value::from(folder.inner())).collect()
        }
    };
    let memo = json!({
        "before": original.as_ref().unwrap_or(&now).to_json(),
        "folders": missing,
        "found": now.sha256(),
    });
    if now.same(&wanted) {
        return Ok(Plan::in_place().repeatable(true).with_memo(&memo));
    }
    let kind = if now == State::Absent { "create" } else { "update" };
    let mut change = Change::new(format!("file {path}"), kind);
    change.from = now.describe();
    change.to = Some(wanted.to_string());
    let plan = match original {
        // Writing is whole or not at all: after an attempt the file is as before it, or as one of them wanted it.
        Some(original)
            if !now.same(&original) && !attempts.iter().any(|attempt| now.same(&intended(attempt))) =>
        {
            Plan::conflict(format!("{path} was changed since the first attempt")).with_changes([change])
        }
        _ => Plan::differs([change]),
    };
    Ok(plan.repeatable(true).with_memo(&memo))
}

/// Write it, if the plan says so.
pub(crate) fn apply(folders: &dyn Folders, input: &File, plan: &Plan) -> Result<Written, Failure> {
    let path = path(input.folder.as_deref(), &input.path)?;
    if !plan.is_in_place() {
        let now = State::now(folders, &path)?;
        let memo = plan.memo_json();
        let found = memo.get("found").and_then(Value::as_str);
        if matches!(now, State::NoFile(_)) || found != now.sha256() {
            let message = format!("{path} was changed between planning and writing");
            return Err(Failure::new("changed-meanwhile", message).retryable());
        }
        folders.write(&path, input.text.as_bytes())?;
    }
    Ok(Written {
        path: path.to_string(),
        size: input.text.len() as u64,
        sha256: digest::sha256(input.text.as_bytes()),
    })
}

/// The path that an attempt wrote to.
pub(crate) fn path_of(attempt: &Attempt) -> Result<Path, Failure> {
    let input = attempt.input_json();
    let inner = input.get("path").and_then(Value::as_str).unwrap_or_default();
    Ok(path(input.get("folder").and_then(Value::as_str), inner)?)
}

fn writes(attempt: &Attempt, path: &Path) -> bool {
    path_of(attempt).is_ok_and(|written| written == *path)
}

/// The file as an attempt wanted it.
pub(crate) fn intended(attempt: &Attempt) -> State {
    let input = attempt.input_json();
    State::of(input.get("text").and_then(Value::as_str).unwrap_or_default().as_bytes().to_vec())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{apply, plan};
    use crate::bindings::exports::windlass::contracts::files::File;
    use windlass_sdk::fs::{Folders, Path};
    use windlass_sdk::testing::Memory;
    use windlass_sdk::{Attempt, Plan, Status, json};

    pub(crate) fn file(path: &str, text: &str) -> File {
        File { folder: None, path: path.to_owned(), text: text.to_owned(), extra: Vec::new() }
    }

    pub(crate) fn attempt(file: &File, plan: &Plan) -> Attempt {
        Attempt {
            key: "k".to_owned(),
            number: 1,
            input: json!({ "path": file.path, "text": file.text }).to_string(),
            plan: plan.clone(),
            receipts: Vec::new(),
            output: None,
        }
    }

    pub(crate) fn put(folders: &Memory, path: &str, text: &str) {
        folders.write(&Path::new("out", path).unwrap(), text.as_bytes()).unwrap();
    }

    pub(crate) fn text(folders: &Memory, path: &str) -> Option<String> {
        let bytes = folders.read(&Path::new("out", path).unwrap(), 1 << 20).ok()?;
        Some(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_new_file_is_created_and_then_in_place() {
        let folders = Memory::with_slots(&["out"]);
        let wanted = file("a/b.md", "hello");
        let first = plan(&folders, &wanted, &[]).unwrap();
        assert_eq!(first.status, Status::Differs);
        let change = &first.changes[0];
        assert_eq!((change.target.as_str(), change.kind.as_str()), ("file /out/a/b.md", "create"));
        assert_eq!(
            (change.from.as_deref(), change.to.as_deref()),
            (None, Some("5 bytes, sha256 2cf24dba5fb0"))
        );

        let written = apply(&folders, &wanted, &first).unwrap();
        assert_eq!((written.path.as_str(), written.size), ("/out/a/b.md", 5));
        let again = plan(&folders, &wanted, &[]).unwrap();
        assert_eq!(again.status, Status::InPlace);

        // An apply in place writes nothing and returns the same.
        folders.set_read_only(true);
        assert_eq!(apply(&folders, &wanted, &again).unwrap().sha256, written.sha256);
        assert_eq!(
            apply(&folders, &file("c", ""), &plan(&folders, &file("c", ""), &[]).unwrap()).unwrap_err().code,
            "denied"
        );
    }

    #[test]
    fn a_change_between_planning_and_writing_is_not_overwritten() {
        let folders = Memory::with_slots(&["out"]);
        put(&folders, "a", "one");
        let planned = plan(&folders, &file("a", "two"), &[]).unwrap();
        put(&folders, "a", "mine");
        let failure = apply(&folders, &file("a", "two"), &planned).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable), ("changed-meanwhile", true));
        assert_eq!(text(&folders, "a").as_deref(), Some("mine"));
    }

    #[test]
    fn an_attempt_on_another_file_says_nothing_about_this_one() {
        let folders = Memory::with_slots(&["out"]);
        put(&folders, "a", "one");
        let other = file("a", "two");
        let attempts = [attempt(&other, &plan(&folders, &other, &[]).unwrap())];
        put(&folders, "b", "mine");
        let resumed = plan(&folders, &file("b", "new"), &attempts).unwrap();
        assert_eq!(resumed.status, Status::Differs);
        assert_eq!(resumed.memo_json()["before"]["text"], "mine");
    }

    #[test]
    fn after_an_unknown_attempt_the_state_before_is_not_forgotten() {
        let folders = Memory::with_slots(&["out"]);
        put(&folders, "a", "one");
        let wanted = file("a", "two");
        let attempts = [attempt(&wanted, &plan(&folders, &wanted, &[]).unwrap())];

        // It had not landed.
        let resumed = plan(&folders, &wanted, &attempts).unwrap();
        assert_eq!((resumed.status.clone(), resumed.repeatable), (Status::Differs, true));
        // It had.
        put(&folders, "a", "two");
        let resumed = plan(&folders, &wanted, &attempts).unwrap();
        assert_eq!(resumed.status, Status::InPlace);
        assert_eq!(resumed.memo_json()["before"]["text"], "one");
        // Someone else was there.
        put(&folders, "a", "mine");
        let resumed = plan(&folders, &wanted, &attempts).unwrap();
        assert_eq!(resumed.status, Status::Conflict("/out/a was changed since the first attempt".to_owned()));
    }
}
