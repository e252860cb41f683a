//! A process that is killed loses nothing that it was told is stored.
//!
//! The process is this test binary itself, started again with a folder in its environment.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{assert_intact, event, new_run, options_in};
use windlass_journal::{Error, RunId, Store};

const FOLDER: &str = "WINDLASS_TEST_FOLDER";
/// The child's runs; several, so that commits hold several members.
const RUNS: usize = 4;

fn say(text: &str) {
    // One write, so that a kill can't tear a line from its end.
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// Not a test by itself: appends to several runs for ever and says what was answered.
#[test]
fn child_appends() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(options_in(Path::new(&folder))).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..RUNS {
            let id = RunId::random().unwrap();
            let mut run = store.create_run(new_run(&id), vec![event("RunCreated", "")]).await.unwrap();
            say(&format!("{id} 1"));
            tasks.spawn(async move {
                for number in 2_u64.. {
                    let size = if number % 7 == 0 { 6000 } else { 200 };
                    match run.append(vec![event("Note", vec![number as u8; size])]).await {
                        Ok(()) => say(&format!("{id} {number}")),
                        Err(error) => {
                            say(&format!("error {error}"));
                            let again = run.append(vec![event("Note", "again")]).await;
                            assert!(matches!(again, Err(Error::StoreStopped { .. })));
                            return;
                        }
                    }
                }
            });
        }
        tasks.join_all().await;
    });
}

fn child(folder: &Path, wrapper: Option<&str>) -> Child {
    let this = env::current_exe().unwrap();
    let mut command = match wrapper {
        None => Command::new(this),
        Some(script) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{script}; exec \"$0\" \"$@\"")]).arg(this);
            shell
        }
    };
    command.args(["--exact", "child_appends", "--nocapture", "--test-threads=1"]);
    command.env(FOLDER, folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The last number that each run was told is stored.
fn answered(lines: impl Iterator<Item = String>) -> BTreeMap<String, u64> {
    let mut answered = BTreeMap::new();
    for line in lines {
        if let Some((run, number)) = line.split_once(' ')
            && let (Ok(_), Ok(number)) = (RunId::parse(run), number.parse())
        {
            answered.insert(run.to_owned(), number);
        }
    }
    answered
}

async fn check(folder: &Path, answered: &BTreeMap<String, u64>) {
    let store = Store::open(options_in(folder)).await.unwrap();
    for (run, number) in answered {
        let id = RunId::parse(run).unwrap();
        let events = store.read_run(&id).await.unwrap();
        let stored = events.len() as u64;
        assert!(stored == *number || stored == number + 1, "{stored} stored, {number} answered");
        assert_intact(&store, &id, stored).await;
        for event in events.iter().skip(1) {
            assert!(event.payload.iter().all(|byte| *byte == event.seq as u8));
        }
        let mut run = store.take_over(&id).await.unwrap();
        run.append(vec![event("Resumed", vec![(stored + 1) as u8; 3])]).await.unwrap();
    }
    let mut raw = sqlx::ConnectOptions::connect(
        &sqlx::sqlite::SqliteConnectOptions::new().filename(options_in(folder).path),
    )
    .await
    .unwrap();
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut raw).await.unwrap();
    assert_eq!(sound, "ok");
}

#[tokio::test]
async fn what_was_answered_survives_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let mut total = 0;
    for round in 0..12_u64 {
        let mut child = child(folder.path(), None);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut seen: Vec<_> = lines.by_ref().take(10 + 23 * round as usize).collect();
        // Spread the kill over the length of a commit.
        std::thread::sleep(Duration::from_micros(round * 130));
        child.kill().unwrap();
        child.wait().unwrap();
        seen.extend(lines);
        let answered = answered(seen.into_iter());
        assert!(!answered.is_empty());
        total += answered.values().sum::<u64>();
        check(folder.path(), &answered).await;
    }
    assert!(total > 500, "only {total} appends were answered");
}

#[tokio::test]
async fn a_store_that_was_killed_while_it_was_made_opens() {
    for round in 0..16 {
        let folder = tempfile::tempdir().unwrap();
        let mut child = child(folder.path(), None);
        std::thread::sleep(Duration::from_micros(round * 700));
        child.kill().unwrap();
        child.wait().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        check(folder.path(), &answered(lines)).await;
    }
}

#[tokio::test]
async fn a_disk_that_takes_no_more_stops_the_store_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Files of at most 512 KiB, and no signal for trying to grow beyond: writing then fails as on a full disk.
    let mut child = child(folder.path(), Some("trap '' XFSZ; ulimit -f 1024"));
    let lines: Vec<_> = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok).collect();
    assert!(child.wait().unwrap().success(), "{}", lines.join("\n"));
    let errors: Vec<_> = lines.iter().filter(|line| line.starts_with("error ")).collect();
    assert_eq!(errors.len(), RUNS);
    assert!(
        errors.iter().all(|line| line.starts_with("error the store has stopped writing: ")),
        "{errors:?}"
    );
    check(folder.path(), &answered(lines.into_iter())).await;
}
