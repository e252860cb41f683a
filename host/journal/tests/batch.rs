//! Several runs share commits, and one that can't be written does not harm the others.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use sqlx::sqlite::SqliteConnection;
use support::{Place, event, started};
use tokio::task::JoinHandle;
use windlass_journal::{Error, RunWriter, Store};

fn append(mut run: RunWriter) -> JoinHandle<(RunWriter, Result<(), Error>)> {
    tokio::spawn(async move {
        let outcome = run.append(vec![event("Note", "x"), event("Note", vec![1; 9000])]).await;
        (run, outcome)
    })
}

async fn execute(raw: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(raw).await.unwrap();
}

/// Lets the first run's append wait for the write lock, so that those of the others gather behind it.
async fn gather(first: RunWriter, others: Vec<RunWriter>) -> Vec<JoinHandle<(RunWriter, Result<(), Error>)>> {
    let mut tasks = vec![append(first)];
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    tasks.extend(others.into_iter().map(append));
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    tasks
}

#[tokio::test]
async fn a_commit_is_one_call() {
    let place = Place::new();
    let store = place.open().await;
    let mut run = started(&store).await;
    let before = store.stats();
    for _ in 0..20 {
        run.append(vec![event("Note", "x"), event("Note", vec![1; 9000])]).await.unwrap();
    }
    let after = store.stats();
    assert_eq!(after.calls - before.calls, 20);
    assert_eq!(after.commits - before.commits, 20);
    run.append(Vec::new()).await.unwrap();
    assert_eq!(store.stats(), after, "nothing to write is no commit");
}

#[tokio::test]
async fn runs_that_wait_together_are_committed_together() {
    let place = Place::new();
    let store = place.open().await;
    let mut runs = Vec::new();
    for _ in 0..40 {
        runs.push(started(&store).await);
    }
    let before = store.stats();
    let mut raw = place.raw().await;
    execute(&mut raw, "BEGIN IMMEDIATE").await;
    let tasks = gather(runs.pop().unwrap(), runs).await;
    execute(&mut raw, "COMMIT").await;
    for task in tasks {
        let (run, outcome) = task.await.unwrap();
        outcome.unwrap();
        assert_eq!(store.read_run(run.run_id()).await.unwrap().len(), 3);
    }
    let after = store.stats();
    assert_eq!((after.commits - before.commits, after.calls - before.calls), (2, 2));
    assert_eq!(after.members - before.members, 40);
}

async fn four(store: &Store) -> (RunWriter, Vec<RunWriter>) {
    let first = started(store).await;
    (first, vec![started(store).await, started(store).await, started(store).await])
}

#[tokio::test]
async fn a_fenced_member_fails_alone_in_the_same_commit() {
    let place = Place::new();
    let store = place.open().await;
    let (first, others) = four(&store).await;
    let before = store.stats();
    let mut raw = place.raw().await;
    execute(&mut raw, "BEGIN IMMEDIATE").await;
    sqlx::query("UPDATE run SET epoch = 5 WHERE id = ?")
        .bind(others[1].run_id().to_string())
        .execute(&mut raw)
        .await
        .unwrap();
    let tasks = gather(first, others).await;
    execute(&mut raw, "COMMIT").await;
    let mut outcomes = Vec::new();
    for task in tasks {
        let (run, outcome) = task.await.unwrap();
        outcomes.push((outcome.is_ok(), store.run(run.run_id()).await.unwrap().head));
        if let Err(error) = outcome {
            assert!(matches!(error, Error::Fenced { .. }), "{error}");
        }
    }
    assert_eq!(outcomes, [(true, 3), (true, 3), (false, 1), (true, 3)]);
    assert_eq!(store.stats().commits - before.commits, 2);
}

/// A statement about the second of four runs, whose appends then meet in one commit. How the second one's ended.
async fn second_fails_alone(sql: &str) -> Error {
    let place = Place::new();
    let store = place.open().await;
    let (first, mut others) = four(&store).await;
    let mut raw = place.raw().await;
    execute(&mut raw, "BEGIN IMMEDIATE").await;
    execute(&mut raw, &sql.replace("RUN", &others[0].run_id().to_string())).await;
    let last = others.pop().unwrap();
    let tasks = gather(first, others).await;
    execute(&mut raw, "COMMIT").await;
    let (mut outcomes, mut errors) = (Vec::new(), Vec::new());
    for task in tasks {
        let (run, outcome) = task.await.unwrap();
        let events = store.run(run.run_id()).await.unwrap().head;
        outcomes.push((outcome.is_ok(), events));
        errors.extend(outcome.err());
    }
    assert!(matches!(outcomes[..], [(true, 3), (false, 1 | 2), (true, 3)]), "{outcomes:?}");
    let (_, outcome) = append(last).await.unwrap();
    outcome.unwrap();
    errors.pop().unwrap()
}

#[tokio::test]
async fn a_member_that_the_database_refuses_fails_alone() {
    let error = second_fails_alone(
        "CREATE TRIGGER refuses BEFORE INSERT ON event WHEN NEW.place >> 32 = (SELECT number FROM run WHERE id = 'RUN') \
         BEGIN SELECT RAISE(ABORT, 'refused'); END",
    )
    .await;
    assert!(matches!(error, Error::Database(_)), "{error}");
}

#[tokio::test]
async fn a_member_whose_run_has_an_event_of_somebody_else_fails_alone() {
    let error = second_fails_alone(
        "INSERT INTO event (place, format, epoch, previous, kind, time_ms, nonce, digest, hash) \
         SELECT (number << 32) + 2, 1, 1, x'', 'Stray', 0, x'', x'', x'' FROM run WHERE id = 'RUN'",
    )
    .await;
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
}

#[tokio::test]
async fn after_a_failed_commit_nothing_is_written_any_more() {
    let place = Place::new();
    let store = place.open().await;
    let (mut first, mut others) = four(&store).await;
    let mut raw = place.raw().await;
    execute(&mut raw, "ALTER TABLE event RENAME TO gone").await;
    let error = first.append(vec![event("Note", "x")]).await.unwrap_err();
    assert!(matches!(&error, Error::StoreStopped { why } if why.contains("no such table")), "{error}");
    execute(&mut raw, "ALTER TABLE gone RENAME TO event").await;
    let later = others[0].append(vec![event("Note", "x")]).await.unwrap_err();
    assert_eq!(later.to_string(), error.to_string());
    assert_eq!(store.read_run(others[0].run_id()).await.unwrap().len(), 1, "reading still works");
}

#[tokio::test]
async fn a_closed_store_takes_nothing() {
    let place = Place::new();
    let store = place.open().await;
    let mut run = started(&store).await;
    store.close().await;
    let error = run.append(vec![event("Note", "x")]).await.unwrap_err();
    assert_eq!(error.to_string(), "the store has stopped writing: it was closed");
}
