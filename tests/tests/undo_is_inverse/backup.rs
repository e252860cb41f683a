//! `pg-backup.dump` and `pg-backup.restore` on a real server: archives, folders and databases.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use windlass_runbook::outcome::Status;
use windlass_sandbox::{Connection, Secret};
use windlass_tests::{Postgres, Workspace};

use crate::stage::{Actor, Outcome, Step, check, until};

struct Backups {
    server: Postgres,
    workspace: Workspace,
}

impl Backups {
    /// None where there is no server on this machine.
    fn start() -> Option<Self> {
        let backups = Self { server: Postgres::start()?, workspace: Workspace::new() };
        backups.workspace.folder("backups");
        backups.server.sql("SET ROLE owner; CREATE TABLE notes (id int PRIMARY KEY, text text)");
        backups.server.sql("INSERT INTO notes SELECT n, 'note ' || n FROM generate_series(1, 5000) AS n");
        Some(backups)
    }

    fn database(&self) -> Connection {
        Connection::Postgres {
            url: Secret::new(self.server.url()),
            read_url: Some(Secret::new(self.server.read_url())),
            ca: None,
        }
    }

    fn program(&self, name: &str, postgres: bool) -> Connection {
        Connection::Program {
            path: self.server.program(name),
            digest: None,
            postgres: postgres.then(|| Box::new(self.database())),
            environment: Vec::new(),
            directory: None,
        }
    }

    fn actor(&self, action: &'static str) -> Actor {
        let lines = [
            "postgres db: ddl",
            "folder backups: write",
            "program pg_dump --format=custom --no-password --file={path:backups}",
            "read program pg_restore --list {path:backups}",
            "program restore --exit-on-error --single-transaction --no-password --dbname={ident} {path:backups}",
        ];
        let slots = [
            ("db", self.database()),
            ("backups", Connection::Folder { path: self.workspace.path("backups") }),
            ("pg_dump", self.program("pg_dump", true)),
            ("pg_restore", self.program("pg_restore", false)),
            ("restore", self.program("pg_restore", true)),
        ];
        Actor::new("pg-backup", action, &lines, slots)
    }

    /// An archive under this name.
    fn archive(&self, name: &str) {
        let actor = self.actor("dump");
        assert!(matches!(Step::new(&actor, source(name)).attempt(None), Outcome::Done));
    }

    /// Every file and folder, files with their content.
    fn files(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let root = self.workspace.path("backups");
        let (mut found, mut open) = (Vec::new(), vec![root.clone()]);
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                found.push((name, if path.is_dir() { None } else { Some(fs::read(&path).unwrap()) }));
                if path.is_dir() {
                    open.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// Every database with its comment.
    fn databases(&self) -> String {
        self.server.sql(
            "SELECT datname, oid, shobj_description(oid, 'pg_database') FROM pg_database ORDER BY datname",
        )
    }

    /// Waits until what a call has begun that was cut off is over.
    fn settle(&self) {
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename IN ('owner', 'windlass_read')";
        until("sessions to end", || self.server.sql(sessions) == "0");
        std::thread::sleep(Duration::from_millis(15));
    }
}

fn source(file: &str) -> Value {
    json!({ "file": file })
}

fn target(database: &str) -> Value {
    json!({ "file": "kept.dump", "database": database })
}

/// When a call is cut off; the longer half of the time at some later point of it.
fn cut(most: u64) -> impl Strategy<Value = Option<Duration>> {
    prop_oneof![1 => Just(None), 2 => (0..most).prop_map(|micros| Some(Duration::from_micros(micros)))]
}

/// What an action may be asked for, and the state that it must leave as it was.
fn stories(
    backups: &Backups,
    action: &'static str,
    inputs: &[Value],
    most: u64,
    cases: u32,
    state: impl Fn() -> String,
) {
    let tries = prop::collection::vec((prop::sample::select(inputs.to_vec()), cut(most)), 1..4);
    let story = (tries, prop::collection::vec(0..most, 0..2));
    check(cases, &story, |(tries, cuts)| {
        let before = state();
        let actor = backups.actor(action);
        let mut step = Step::new(&actor, Value::Null);
        for (input, cut) in &tries {
            step.take(input.clone());
            match step.attempt(*cut) {
                Outcome::Done | Outcome::InPlace => {}
                Outcome::Cut => backups.settle(),
                // The same file or database in another generation is there already.
                Outcome::Question(Status::Conflict(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        let cuts: Vec<Duration> = cuts.into_iter().map(Duration::from_micros).collect();
        step.roll_back(&cuts, || backups.settle());
        prop_assert_eq!(state(), before);
        Ok(())
    });
}

#[test]
fn whatever_was_dumped_is_gone_and_nothing_else() {
    let Some(backups) = Backups::start() else { return };
    backups.archive("kept.dump");
    let inputs = [source("a.dump"), source("2026/11/a.dump")];
    stories(&backups, "dump", &inputs, 300_000, 8, || format!("{:?}", backups.files()));
}

#[test]
fn whatever_was_restored_is_gone_and_nothing_else() {
    let Some(backups) = Backups::start() else { return };
    backups.archive("kept.dump");
    let inputs = [target("fresh"), target("other")];
    stories(&backups, "restore", &inputs, 500_000, 8, || backups.databases());
}

#[test]
fn an_archive_that_a_stranger_put_there_stays_until_a_person_decides() {
    let Some(backups) = Backups::start() else { return };
    let actor = backups.actor("dump");
    let mut step = Step::new(&actor, source("a.dump"));
    assert!(matches!(step.attempt(None), Outcome::Done));
    let file: &Path = &backups.workspace.path("backups/a.dump");
    let plan = step.plan_undo().unwrap();
    fs::write(file, "theirs").unwrap();
    step.refused(&plan, "/backups/a.dump");
    let ours = step.conflict(&["/backups/a.dump: expected sha256", "found sha256"]);
    fs::write(file, "newer").unwrap();
    step.refused(&ours, "/backups/a.dump");
    assert_eq!(fs::read(file).unwrap(), b"newer");
    let ours = step.conflict(&["found sha256"]);
    assert!(matches!(step.undo(&ours, None), Outcome::Done));
    assert!(backups.files().is_empty());

    // What is there already is no effect of ours.
    fs::write(file, "theirs").unwrap();
    let mut step = Step::new(&actor, source("a.dump"));
    assert!(matches!(step.attempt(None), Outcome::Question(Status::Conflict(_))));
    assert_eq!(step.plan_undo().unwrap().status, Status::InPlace);
}

#[test]
fn a_database_that_a_stranger_made_stays_until_a_person_decides() {
    let Some(backups) = Backups::start() else { return };
    backups.archive("kept.dump");
    let before = backups.databases();
    let actor = backups.actor("restore");
    let mut step = Step::new(&actor, target("fresh"));
    assert!(matches!(step.attempt(None), Outcome::Done));
    assert_eq!(backups.server.sql_in("fresh", "SELECT count(*) FROM notes"), "5000");
    let replace = || {
        backups.server.sql_in("postgres", "DROP DATABASE fresh");
        backups.server.sql_in("postgres", "CREATE DATABASE fresh OWNER owner");
    };
    let plan = step.plan_undo().unwrap();
    replace();
    let theirs = backups.databases();
    step.refused(&plan, "database fresh");
    let ours = step.conflict(&["database fresh: expected none", "found one with oid"]);
    assert_eq!(backups.databases(), theirs);
    replace();
    step.refused(&ours, "database fresh");
    let ours = step.conflict(&["found one with oid"]);
    assert!(matches!(step.undo(&ours, None), Outcome::Done));
    assert_eq!(backups.databases(), before);
}
