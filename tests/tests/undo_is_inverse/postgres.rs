//! `postgres.migrate`, with a file for the way back, on a real server: schema, rows and the ledger.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use windlass_runbook::outcome::Status;
use windlass_sandbox::{Connection, Secret};
use windlass_tests::{Postgres, Workspace};

use crate::stage::{Actor, Outcome, Step, check, until};

/// What a migration can do, and how to take it back.
const CHANGES: [(&str, &str); 6] = [
    (
        "CREATE TABLE made (id int PRIMARY KEY, base int REFERENCES base, note text DEFAULT 'x');\n\
         CREATE INDEX made_note ON made (note);\nINSERT INTO made VALUES (1, 1, 'one'), (2, 2, 'two')",
        "DROP TABLE made",
    ),
    ("ALTER TABLE base ADD COLUMN extra int NOT NULL DEFAULT 3", "ALTER TABLE base DROP COLUMN extra"),
    ("UPDATE base SET v = v || 'x'", "UPDATE base SET v = left(v, -1)"),
    ("INSERT INTO base VALUES (100, 'more')", "DELETE FROM base WHERE id = 100"),
    ("CREATE VIEW seen AS SELECT id FROM base", "DROP VIEW seen"),
    (
        "ALTER TABLE base ENABLE ROW LEVEL SECURITY;\nCREATE POLICY all_rows ON base USING (true)",
        "DROP POLICY all_rows ON base;\nALTER TABLE base DISABLE ROW LEVEL SECURITY",
    ),
];

struct Database {
    server: Postgres,
    workspace: Workspace,
}

impl Database {
    /// None where there is no server on this machine.
    fn start() -> Option<Self> {
        let database = Self { server: Postgres::start()?, workspace: Workspace::new() };
        database.workspace.folder("migrations");
        database.reset();
        Some(database)
    }

    /// As every story begins.
    fn reset(&self) {
        self.server.sql(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION owner; SET ROLE owner; \
             CREATE TABLE base (id int PRIMARY KEY, v text); INSERT INTO base VALUES (1, 'a'), (2, 'b')",
        );
    }

    fn actor(&self) -> Actor {
        let db = Connection::Postgres {
            url: Secret::new(self.server.url()),
            read_url: Some(Secret::new(self.server.read_url())),
            ca: None,
        };
        let migrations = Connection::Folder { path: self.workspace.path("migrations") };
        let lines = ["postgres db: ddl", "folder migrations: read"];
        Actor::new("postgres", "migrate", &lines, [("db", db), ("migrations", migrations)])
    }

    /// Writes a migration that makes these changes, with its way back, and gives the input for it.
    fn migration(&self, name: &str, changes: &[usize]) -> Value {
        let up: Vec<&str> = changes.iter().map(|change| CHANGES[*change].0).collect();
        let down: Vec<&str> = changes.iter().rev().map(|change| CHANGES[*change].1).collect();
        self.workspace.write(&format!("migrations/{name}.sql"), &up.join(";\n"));
        self.workspace.write(&format!("migrations/{name}.down.sql"), &down.join(";\n"));
        json!({ "file": format!("{name}.sql"), "down": format!("{name}.down.sql") })
    }

    /// Schema and rows, in an order of its own.
    fn state(&self) -> (String, Vec<String>) {
        let dump = |more: &[&str]| {
            let output = self.server.client("pg_dump").args(more).arg("app").output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).unwrap();
            // Newer versions begin and end a dump with a random word.
            let lines = text.lines().filter(|line| !line.contains("restrict ")).map(str::to_owned);
            lines.collect::<Vec<_>>()
        };
        let mut rows = dump(&["--data-only", "--inserts"]);
        rows.sort();
        (dump(&["--schema-only"]).join("\n"), rows)
    }

    /// Waits until what a call has begun that was cut off is committed or rolled back.
    fn settle(&self) {
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename IN ('owner', 'windlass_read')";
        until("sessions to end", || self.server.sql(sessions) == "0");
    }
}

#[test]
fn whatever_was_migrated_is_as_before() {
    let Some(database) = Database::start() else { return };
    let cut = || prop_oneof![2 => Just(None), 3 => (0_u64..60_000).prop_map(|micros| Some(Duration::from_micros(micros)))];
    let changes = prop::sample::subsequence((0..CHANGES.len()).collect::<Vec<_>>(), 1..=3);
    // One file, or a second one by a changed input, with changes that the first has not made.
    let story =
        (changes, 0..3_usize, prop::collection::vec(cut(), 1..3), prop::collection::vec(0_u64..60_000, 0..2));
    check(20, &story, |(changes, second, attempts, cuts)| {
        database.reset();
        let before = database.state();
        let actor = database.actor();
        let (now, later) = changes.split_at(changes.len().saturating_sub(second).max(1));
        let mut step = Step::new(&actor, database.migration("001", now));
        for cut in &attempts {
            let outcome = step.attempt(*cut);
            database.settle();
            prop_assert!(matches!(outcome, Outcome::Done | Outcome::InPlace | Outcome::Cut), "{:?}", outcome);
        }
        if !later.is_empty() {
            step.take(database.migration("002", later));
            let outcome = step.attempt(attempts[0]);
            database.settle();
            prop_assert!(matches!(outcome, Outcome::Done | Outcome::Cut), "{:?}", outcome);
        }
        let cuts: Vec<Duration> = cuts.into_iter().map(Duration::from_micros).collect();
        step.roll_back(&cuts, || database.settle());
        prop_assert_eq!(database.state(), before);
        Ok(())
    });
}

#[test]
fn an_apply_that_is_repeated_migrates_once_and_is_undone_once() {
    let Some(database) = Database::start() else { return };
    let before = database.state();
    let actor = database.actor();
    let mut step = Step::new(&actor, database.migration("001", &[0, 2]));
    let plan = step.plan().unwrap();
    assert!(matches!(step.apply(&plan, None), Outcome::Done));
    assert!(
        matches!(step.apply(&plan, None), Outcome::Failed(failure) if failure.code == "changed-meanwhile")
    );
    let back = step.plan_undo().unwrap();
    assert!(matches!(step.undo(&back, None), Outcome::Done));
    // The same once more: its way back has run, and does not run again.
    step.refused(&back, "public.made");
    assert_eq!(database.state(), before);

    // What is in place has nothing to undo.
    database.reset();
    assert!(matches!(Step::new(&actor, database.migration("001", &[0])).attempt(None), Outcome::Done));
    let mut again = Step::new(&actor, database.migration("001", &[0]));
    assert!(matches!(again.attempt(None), Outcome::InPlace));
    assert_eq!(again.plan_undo().unwrap().status, Status::InPlace);
    // Another step's migration stays in the ledger, and so does the ledger.
    let mut other = Step::new(&actor, database.migration("002", &[1]));
    let with_one = database.state();
    assert!(matches!(other.attempt(None), Outcome::Done));
    other.roll_back(&[], || database.settle());
    assert_eq!(database.state(), with_one);
}

#[test]
fn what_a_stranger_changed_stays_until_a_person_decides() {
    let Some(database) = Database::start() else { return };
    let actor = database.actor();
    let other = "ab".repeat(32);
    let strangers = [
        (format!("UPDATE windlass_migrations SET checksum = '{other}'"), "found abababababab", "ledger"),
        ("ALTER TABLE made ADD COLUMN theirs text".to_owned(), "found `column theirs text`", "public.made"),
        ("DELETE FROM windlass_migrations".to_owned(), "the ledger has no 001 any more", "ledger"),
        ("DROP TABLE made".to_owned(), "found no such relation", "public.made"),
    ];
    for (sql, found, target) in &strangers {
        database.reset();
        let before = database.state();
        let mut step = Step::new(&actor, database.migration("001", &[0]));
        assert!(matches!(step.attempt(None), Outcome::Done));
        // Between planning the undo and undoing.
        let plan = step.plan_undo().unwrap();
        assert_eq!(plan.status, Status::Differs, "{plan:#?}");
        database.server.sql(&format!("SET ROLE owner; {sql}"));
        let theirs = database.state();
        step.refused(&plan, target);
        assert_eq!(database.state(), theirs);
        // Before planning it.
        let ours = step.conflict(&[found]);
        assert_eq!(database.state(), theirs);
        if sql.starts_with("DROP") {
            // There is no way from here by the file that takes it back, and nothing of it is kept.
            assert!(
                matches!(step.undo(&ours, None), Outcome::Failed(failure) if failure.code == "sql-error")
            );
            assert_eq!(database.state(), theirs);
            continue;
        }
        database.server.sql("SET ROLE owner; ALTER TABLE made ADD COLUMN more text");
        let further = database.state();
        step.refused(&ours, "public.made");
        assert_eq!(database.state(), further);
        let ours = step.conflict(&[]);
        assert!(matches!(step.undo(&ours, None), Outcome::Done));
        assert_eq!(database.state(), before);
        assert_eq!(step.plan_undo().unwrap().status, Status::InPlace);
    }
}
