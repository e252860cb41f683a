//! The staging runbook fails behind each of its steps in turn, and goes back: database, files and service are as before.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use windlass_tests::Staging;

const RUNBOOK: &str = "runbooks/staging.toml";
/// Where a step begins, in every stage.
const STEP: &str = "[[stage.step]]\n";
/// What may stand behind a step's table.
const BEHIND: [&str; 4] = ["[[stage.step]]", "# ---", "[[stage]]", "[[finally.step]]"];
/// Asks for something that the service never says.
const BROKEN: &str = r#"[[stage.step]]
id = "broken"
do = "api.check"
with = { url = "/health", expect = { status = "on fire" } }
on_failure = "rollback"

"#;

/// Everything that the runbook can change.
#[derive(Debug, PartialEq, Eq)]
struct World {
    database: String,
    files: BTreeMap<String, Vec<u8>>,
    events: serde_json::Value,
}

#[test]
fn a_failure_behind_any_step_leaves_everything_as_it_was() {
    let Some(staging) = Staging::start() else { return };
    // What is there before is to be there after.
    staging.server.sql("CREATE TABLE customers (id int PRIMARY KEY, name text); INSERT INTO customers VALUES (1, 'a'), (2, 'b')");
    let event = r#"{"event_type": "login", "entity_type": "user", "entity_id": "1", "severity": "info"}"#;
    assert_eq!(staging.service.send("POST", "/api/audit/events", event), 201);
    staging.workspace.write("runbooks/records/staging/release.txt", "the one before\n");
    // How long the error rate stays low is not what this is about.
    staging.workspace.change(RUNBOOK, &[("hold    = \"2s\"", "hold    = \"200ms\"")]);

    let runbook = staging.workspace.read(RUNBOOK);
    let before = world(&staging);
    let steps = steps(&runbook);
    assert!(steps.len() > 15, "{steps:?}");
    for (id, end) in steps {
        let (head, tail) = runbook.split_at(end);
        staging.workspace.write(RUNBOOK, &format!("{head}{BROKEN}{tail}"));
        let known = staging.windlass.runs();
        let run = staging.run("run", &[]);
        assert_eq!(run.code, Some(5), "behind `{id}`: {}", run.all());
        let id_of_run = staging.windlass.runs().into_iter().find(|run| !known.contains(run)).unwrap();
        let record = staging.windlass.show(&id_of_run);
        assert_eq!(record.0["world"], "restored", "behind `{id}`: {:#}", record.0);
        assert_eq!(world(&staging), before, "behind `{id}`: {}", run.all());
    }
}

/// The steps of the stages: id, and where the text behind each begins.
fn steps(runbook: &str) -> Vec<(String, usize)> {
    let begins = runbook.match_indices(STEP).map(|(at, _)| at);
    begins
        .map(|begin| {
            let table = &runbook[begin + STEP.len()..];
            let ends = BEHIND.iter().filter_map(|behind| table.find(behind));
            let id = table.lines().next().unwrap().split('"').nth(1).unwrap();
            (id.to_owned(), begin + STEP.len() + ends.min().unwrap())
        })
        .collect()
}

fn world(staging: &Staging) -> World {
    let mut files = BTreeMap::new();
    for folder in ["runbooks/records", "runbooks/backups"] {
        collect(&staging.workspace.path(folder), &mut files);
    }
    // The record of a run is kept however the run ends.
    files.retain(|name, _| !name.ends_with(".md"));
    World {
        database: staging.database(),
        files,
        events: staging.service.get("/api/audit/events?limit=10000").1,
    }
}

fn collect(folder: &std::path::Path, files: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
}
