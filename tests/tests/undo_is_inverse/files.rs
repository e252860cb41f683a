//! `files.write`: content, mode and owner of files, and which files and folders there are.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use windlass_runbook::outcome::Status;
use windlass_sandbox::Connection;

use crate::stage::{Actor, Outcome, Step, check};

/// Where files are, and are written.
const PATHS: [&str; 4] = ["a.conf", "b.sh", "old/c", "new/deep/d"];

fn actor(folder: &Path) -> Actor {
    let out = Connection::Folder { path: folder.to_owned() };
    Actor::new("files", "write", &["folder out: write"], [("out", out)])
}

/// Mode with kind, owner, group, and a file's content.
type Entry = (u32, u32, u32, Option<Vec<u8>>);
/// What someone else does in a folder.
type Change = fn(&Path);

/// Everything in a folder, by path.
fn state(folder: &Path) -> BTreeMap<String, Entry> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_file() { Some(fs::read(&path).unwrap()) } else { None };
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            found.insert(name, (metadata.mode(), metadata.uid(), metadata.gid(), content));
            if metadata.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

fn put(folder: &Path, name: &str, content: &[u8], mode: u32) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn file(path: &str, text: &str) -> Value {
    json!({ "path": path, "text": text })
}

/// What the host has begun when a call is cut off may end after it.
fn settle() {
    std::thread::sleep(Duration::from_millis(15));
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof!["[a-z]{0,6}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..6)]
}

fn cut() -> impl Strategy<Value = Option<Duration>> {
    prop_oneof![3 => Just(None), 2 => (0_u64..1_500).prop_map(|micros| Some(Duration::from_micros(micros)))]
}

#[test]
fn whatever_was_written_is_as_before() {
    let before = prop::collection::btree_map(
        prop::sample::select(&PATHS[..3]),
        (content(), prop::sample::select(vec![0o600_u32, 0o640, 0o755])),
        0..3,
    );
    let write = (prop::sample::select(&PATHS[..]), "[a-z]{0,4}", cut());
    let story = (before, prop::collection::vec(write, 1..5), prop::collection::vec(0_u64..1_500, 0..2));
    check(64, &story, |(before, writes, cuts)| {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("old")).unwrap();
        for (name, (content, mode)) in &before {
            put(folder.path(), name, content, *mode);
        }
        let actor = actor(folder.path());
        let state_before = state(folder.path());
        let mut step = Step::new(&actor, Value::Null);
        for (path, text, cut) in &writes {
            step.take(file(path, text));
            match step.attempt(*cut) {
                Outcome::Done | Outcome::InPlace => {
                    prop_assert_eq!(fs::read(folder.path().join(path)).unwrap(), text.as_bytes());
                }
                Outcome::Cut => settle(),
                other => panic!("{other:?}"),
            }
        }
        let cuts: Vec<Duration> = cuts.into_iter().map(Duration::from_micros).collect();
        step.roll_back(&cuts, settle);
        prop_assert_eq!(state(folder.path()), state_before);
        Ok(())
    });
}

#[test]
fn an_apply_that_is_repeated_writes_once_and_is_undone_once() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "a.conf", b"one", 0o640);
    let before = state(folder.path());
    let actor = actor(folder.path());
    let mut step = Step::new(&actor, file("a.conf", "two"));
    let plan = step.plan().unwrap();
    assert!(matches!(step.apply(&plan, None), Outcome::Done));
    assert!(
        matches!(step.apply(&plan, None), Outcome::Failed(failure) if failure.code == "changed-meanwhile")
    );
    step.roll_back(&[], settle);
    assert_eq!(state(folder.path()), before);
}

#[test]
fn what_was_in_place_has_nothing_to_undo() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "a.conf", b"one", 0o640);
    let before = state(folder.path());
    let actor = actor(folder.path());
    let mut step = Step::new(&actor, file("a.conf", "one"));
    assert!(matches!(step.attempt(None), Outcome::InPlace));
    assert!(step.done.is_empty());
    assert_eq!(step.plan_undo().unwrap().status, Status::InPlace);
    assert_eq!(state(folder.path()), before);
}

/// What someone else may do to the file at `a.conf`, and what a message must say was found.
fn strangers() -> [(&'static str, Change); 4] {
    [
        ("4 bytes", |folder| put(folder, "a.conf", b"mine", 0o600)),
        ("no file", |folder| fs::remove_file(folder.join("a.conf")).unwrap()),
        ("is a folder", |folder| {
            fs::remove_file(folder.join("a.conf")).unwrap();
            fs::create_dir(folder.join("a.conf")).unwrap();
        }),
        ("is a symbolic link", |folder| {
            fs::remove_file(folder.join("a.conf")).unwrap();
            std::os::unix::fs::symlink("b.sh", folder.join("a.conf")).unwrap();
        }),
    ]
}

#[test]
fn what_a_stranger_changed_stays() {
    for (found, change) in strangers() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "a.conf", b"before", 0o640);
        let actor = actor(folder.path());
        let mut step = Step::new(&actor, file("a.conf", "after"));
        assert!(matches!(step.attempt(None), Outcome::Done));
        // Between planning the undo and undoing.
        let plan = step.plan_undo().unwrap();
        change(folder.path());
        let theirs = state(folder.path());
        step.refused(&plan, "/out/a.conf");
        assert_eq!(state(folder.path()), theirs);
        // Before planning it; *theirs* is to do nothing more.
        step.conflict(&["/out/a.conf", "expected 5 bytes", found]);
        assert_eq!(state(folder.path()), theirs);
    }
}

#[test]
fn ours_restores_what_was_before_a_stranger_came_and_no_further_change() {
    for (found, change) in &strangers()[..2] {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "a.conf", b"before", 0o640);
        let actor = actor(folder.path());
        let mut step = Step::new(&actor, file("a.conf", "after"));
        assert!(matches!(step.attempt(None), Outcome::Done));
        change(folder.path());
        let ours = step.conflict(&[found]);
        put(folder.path(), "a.conf", b"newer still", 0o640);
        step.refused(&ours, "/out/a.conf");
        assert_eq!(fs::read(folder.path().join("a.conf")).unwrap(), b"newer still");
        let ours = step.conflict(&["11 bytes"]);
        assert!(matches!(step.undo(&ours, None), Outcome::Done));
        assert_eq!(fs::read(folder.path().join("a.conf")).unwrap(), b"before");
        assert_eq!(step.plan_undo().unwrap().status, Status::InPlace);
    }
}
