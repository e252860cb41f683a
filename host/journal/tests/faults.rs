//! Whichever write, truncation, sync or deletion fails, the store stops writing and loses nothing that it acknowledged.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;
#[path = "support/vfs.rs"]
mod vfs;

use std::fs;
use std::path::Path;

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use support::{event, new_run, options_in};
use vfs::{Failure, Fault, Watch};
use windlass_journal::{Error, NewMessage, RunId, Store};

const APPENDS: u64 = 45;
/// At least so many failures are tried.
const POINTS: usize = 1000;

/// What was acknowledged before something failed.
#[derive(Default)]
struct Acknowledged {
    head: u64,
    message: bool,
}

fn payload(seq: u64) -> Vec<u8> {
    vec![seq as u8; if seq.is_multiple_of(5) { 9000 } else { 200 }]
}

/// A run from its start to its end, with a message and a lock; ends early when something fails.
async fn work(store: &Store, id: &RunId, done: &mut Acknowledged) -> Result<(), Error> {
    let mut run = store.create_run(new_run(id), vec![event("run_created", payload(1))]).await?;
    done.head = 1;
    for seq in 2..=APPENDS {
        match seq {
            3 => {
                store.post(id, NewMessage { id: "a".to_owned(), payload: payload(seq) }).await?;
                done.message = true;
            }
            4 => run.queue_lock("production")?,
            APPENDS => run.set_status("succeeded", Some(1_790_000_000_009)),
            _ => {}
        }
        if let Err(error) = run.append(vec![event("note", payload(seq))]).await {
            for _ in 0..2 {
                let again = run.append(vec![event("note", payload(seq))]).await;
                assert!(matches!(again, Err(Error::StoreStopped { .. })), "{again:?} after {error}");
            }
            return Err(error);
        }
        done.head = seq;
    }
    Ok(())
}

/// Does the work while one call fails; answers how it ended, and how many calls there were.
async fn attempt(
    watch: &Watch,
    folder: &Path,
    id: &RunId,
    fault: Fault,
) -> (Acknowledged, Option<Error>, usize) {
    watch.fail(folder, fault);
    let mut done = Acknowledged::default();
    let outcome = match Store::open(options_in(folder)).await {
        Ok(store) => {
            let outcome = work(&store, id, &mut done).await;
            store.close().await;
            outcome
        }
        Err(error) => Err(error),
    };
    (done, outcome.err(), watch.end().1)
}

/// What is there after a failure is what was acknowledged, or that and what was being written.
async fn check(folder: &Path, id: &RunId, done: &Acknowledged, fault: Fault) {
    let store = Store::open(options_in(folder)).await.unwrap();
    let stored = match store.read_run(id).await {
        Ok(events) => {
            assert!(events.iter().all(|event| event.payload == payload(event.seq)), "{fault:?}");
            events.len() as u64
        }
        Err(Error::UnknownRun { .. }) => 0,
        Err(other) => panic!("{other} after {fault:?}"),
    };
    assert!(stored == done.head || stored == done.head + 1, "{stored} stored, {} told, {fault:?}", done.head);
    if done.message {
        assert_eq!(store.inbox(id).await.unwrap().len(), 1, "{fault:?}");
    }
    if done.head >= 4 {
        assert_eq!(store.group("production").await.unwrap().unwrap().run, *id, "{fault:?}");
    }
    let report = store.verify(None, None).await.unwrap();
    assert_ne!(report.state(), windlass_journal::State::Broken, "{report:?} after {fault:?}");
    let mut raw = SqliteConnectOptions::new().filename(options_in(folder).path).connect().await.unwrap();
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut raw).await.unwrap();
    assert_eq!(sound, "ok", "{fault:?}");
    if (1..APPENDS).contains(&stored) {
        let mut run = store.take_over(id).await.unwrap();
        run.append(vec![event("resumed", payload(stored + 1))]).await.unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copied = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            fs::copy(&path, copied).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_call_that_fails_stops_the_store_and_loses_nothing() {
    let watch = Watch::new();
    let made = tempfile::tempdir().unwrap();
    Store::open(options_in(made.path())).await.unwrap().close().await;
    let id = RunId::random().unwrap();

    let never = Fault { call: usize::MAX, failure: Failure::Io, lasting: false };
    let whole = tempfile::tempdir().unwrap();
    copy(made.path(), whole.path());
    let (done, error, calls) = attempt(&watch, whole.path(), &id, never).await;
    assert!(error.is_none() && done.head == APPENDS && done.message, "{error:?}");
    assert!(calls * 4 >= POINTS, "only {calls} calls");

    let (mut points, mut stopped) = (0, 0);
    for call in 0..calls {
        for (failure, lasting) in
            [(Failure::Io, false), (Failure::Io, true), (Failure::Full, false), (Failure::Full, true)]
        {
            let fault = Fault { call, failure, lasting };
            let folder = tempfile::tempdir().unwrap();
            copy(made.path(), folder.path());
            let (done, error, _) = attempt(&watch, folder.path(), &id, fault).await;
            match error {
                // While it is opened nothing can be lost; a checkpoint that fails is made later.
                None => {}
                Some(Error::Database(_)) => assert_eq!(done.head, 0, "{fault:?}"),
                Some(Error::StoreStopped { .. }) => stopped += 1,
                Some(other) => panic!("{other} after {fault:?}"),
            }
            check(folder.path(), &id, &done, fault).await;
            points += 1;
        }
    }
    assert!(points >= POINTS && stopped > points / 2, "{stopped} of {points} stopped the store");
}
