//! Only the owner of a run appends to it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::time::Duration;

use support::{Place, assert_intact, event, started};
use windlass_journal::{Error, RunId};

#[tokio::test]
async fn a_run_has_one_owner_at_a_time() {
    let place = Place::new();
    let (one, two) = (place.open().await, place.open().await);
    let run = started(&one).await;
    let id = run.run_id().clone();
    let busy = two.take_over(&id).await.unwrap_err();
    assert!(matches!(&busy, Error::Busy { owner: Some(pid), .. } if *pid == std::process::id()), "{busy}");
    assert_eq!(busy.to_string(), format!("run `{id}` is busy: process {} owns it", std::process::id()));

    drop(run);
    let mut run = two.take_over(&id).await.unwrap();
    assert_eq!((run.epoch(), run.head()), (2, 1));
    run.append(vec![event("Resumed", "")]).await.unwrap();
    let epochs: Vec<_> = one.read_run(&id).await.unwrap().iter().map(|event| event.epoch).collect();
    assert_eq!(epochs, [1, 2]);
}

#[tokio::test]
async fn an_owner_that_lost_the_run_is_fenced() {
    let place = Place::new();
    let (one, two) = (place.open().await, place.open().await);
    let mut old = started(&one).await;
    let id = old.run_id().clone();
    // A lock file that someone removed locks nobody out: the epoch must.
    fs::remove_file(place.options().state_dir.join(format!("locks/{id}.lock"))).unwrap();
    let mut new = two.take_over(&id).await.unwrap();

    let blob = old.put_blob(b"late").unwrap();
    old.set_status("late", None);
    for _ in 0..2 {
        assert!(matches!(old.append(vec![event("Late", "")]).await, Err(Error::Fenced { .. })));
    }
    new.append(vec![event("Resumed", "")]).await.unwrap();
    assert!(matches!(old.append(vec![event("Later", "")]).await, Err(Error::Fenced { .. })));

    let kinds: Vec<_> = one.read_run(&id).await.unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["RunCreated", "Resumed"]);
    assert_eq!(one.run(&id).await.unwrap().status, "forward");
    assert!(matches!(one.blob(&id, &blob).await, Err(Error::BadBlob { .. })));
    assert_intact(&one, &id, 2).await;
}

#[tokio::test]
async fn looking_at_owners_does_not_make_one_fail() {
    let place = Place::new();
    let store = place.open().await;
    let id = started(&store).await.run_id().clone();
    let (folder, looked) = (place.options(), id.clone());
    let looking = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = windlass_journal::Store::open_read(folder).await.unwrap();
            for _ in 0..2000 {
                store.owner(&looked).unwrap();
            }
        });
    });
    for _ in 0..30 {
        drop(store.take_over(&id).await.unwrap());
    }
    looking.join().unwrap();
}

#[tokio::test]
async fn an_append_that_was_given_up_is_found_again() {
    let place = Place::new();
    let store = place.open().await;
    let mut run = started(&store).await;
    let mut raw = place.raw().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut raw).await.unwrap();
    let given_up =
        tokio::time::timeout(Duration::from_millis(30), run.append(vec![event("First", "")])).await;
    assert!(given_up.is_err());
    assert_eq!(run.head(), 1);
    run.set_status("settling", None);
    sqlx::query("COMMIT").execute(&mut raw).await.unwrap();
    run.append(vec![event("Second", "")]).await.unwrap();
    assert_eq!(store.run(run.run_id()).await.unwrap().status, "settling");
    let kinds: Vec<_> =
        store.read_run(run.run_id()).await.unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["RunCreated", "First", "Second"]);
}

#[tokio::test]
async fn an_unknown_run_has_no_owner() {
    let place = Place::new();
    let store = place.open().await;
    let id = RunId::random().unwrap();
    assert_eq!(store.owner(&id).unwrap(), None);
    assert!(matches!(store.take_over(&id).await, Err(Error::UnknownRun { .. })));
}
