//! `command.run` with a `probe` and a `reverse`: a program that keeps a file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use windlass_runbook::outcome::Status;
use windlass_sandbox::Connection;

use crate::stage::{Actor, Outcome, Step, check};

/// `keep add|has|remove NAME`: a line of a file, written in one piece.
const KEEP: &str = "#!/bin/sh
cd \"$FOLDER\" || exit 9
touch kept
case $1 in
add) grep -qx \"$2\" kept || { cat kept > draft; echo \"$2\" >> draft; mv draft kept; } ;;
has) grep -qx \"$2\" kept ;;
remove) grep -vx \"$2\" kept > draft; mv draft kept ;;
esac
";

fn actor(folder: &Path) -> Actor {
    let program = folder.join("keep");
    fs::write(&program, KEEP).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let keeper = Connection::Program {
        path: program,
        digest: None,
        postgres: None,
        environment: vec![
            ("FOLDER".to_owned(), windlass_sandbox::EnvValue::Plain(folder.display().to_string())),
            ("PATH".to_owned(), windlass_sandbox::EnvValue::Plain("/usr/bin:/bin".to_owned())),
        ],
        directory: None,
    };
    let lines =
        ["read program program has {ident}", "program program add {ident}", "program program remove {ident}"];
    Actor::new("command", "run", &lines, [("program", keeper)])
}

fn effect(name: &str) -> Value {
    json!({ "arguments": ["add", name], "probe": ["has", name], "reverse": ["remove", name] })
}

fn kept(folder: &Path) -> String {
    fs::read_to_string(folder.join("kept")).unwrap_or_default()
}

/// What was cut off is gone before the next call, programs included.
fn settle() {}

#[test]
fn whatever_was_run_is_as_before() {
    let cut = || prop_oneof![1 => Just(None), 1 => (0_u64..30_000).prop_map(|micros| Some(Duration::from_micros(micros)))];
    let runs = prop::collection::vec((prop::sample::select(vec!["x", "y", "z"]), cut()), 1..4);
    let story =
        (prop::sample::subsequence(vec!["a", "x"], 0..=2), runs, prop::collection::vec(0_u64..30_000, 0..2));
    check(16, &story, |(before, runs, cuts)| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("kept"),
            before.iter().map(|name| format!("{name}\n")).collect::<String>(),
        )
        .unwrap();
        let was = kept(folder.path());
        let actor = actor(folder.path());
        let mut step = Step::new(&actor, Value::Null);
        for (name, cut) in &runs {
            step.take(effect(name));
            let outcome = step.attempt(*cut);
            prop_assert!(matches!(outcome, Outcome::Done | Outcome::InPlace | Outcome::Cut), "{:?}", outcome);
        }
        let cuts: Vec<Duration> = cuts.into_iter().map(Duration::from_micros).collect();
        step.roll_back(&cuts, settle);
        prop_assert_eq!(kept(folder.path()), was);
        Ok(())
    });
}

#[test]
fn what_someone_else_took_away_is_not_taken_away_again() {
    let folder = tempfile::tempdir().unwrap();
    let actor = actor(folder.path());
    let mut step = Step::new(&actor, effect("x"));
    assert!(matches!(step.attempt(None), Outcome::Done));
    let plan = step.plan_undo().unwrap();
    assert_eq!(plan.status, Status::Differs);
    fs::write(folder.path().join("kept"), "theirs\n").unwrap();
    assert!(matches!(step.undo(&plan, None), Outcome::Done));
    assert_eq!(step.plan_undo().unwrap().status, Status::InPlace);
    assert_eq!(kept(folder.path()), "theirs\n");
}

#[test]
fn without_a_reverse_nobody_but_a_person_can_take_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let actor = actor(folder.path());
    let mut step = Step::new(&actor, json!({ "arguments": ["add", "x"] }));
    assert!(matches!(step.attempt(None), Outcome::Done));
    let plan = step.plan_undo().unwrap();
    assert!(matches!(&plan.status, Status::Unknown(why) if why.contains("no `reverse`")), "{plan:?}");
    // Whoever decides *ours* all the same is told that there is no such thing.
    let ours = windlass_runbook::outcome::Plan { status: Status::Differs, ..plan };
    assert!(matches!(step.undo(&ours, None), Outcome::Failed(failure) if failure.code == "conflict"));
    assert_eq!(kept(folder.path()), "x\n");
}
