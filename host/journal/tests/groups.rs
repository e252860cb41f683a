//! One run of a group at a time, and a later one is told from an earlier one by its fence.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use support::{Place, event, started};
use windlass_journal::{Error, GroupHolder, RunId, RunWriter, Store};

async fn lock(run: &mut RunWriter, group: &str) -> Result<(), Error> {
    run.queue_lock(group).unwrap();
    run.append(vec![event("lock_acquired", "")]).await
}

async fn unlock(run: &mut RunWriter, group: &str) {
    run.queue_unlock(group).unwrap();
    run.append(vec![event("lock_released", "")]).await.unwrap();
}

async fn fence(store: &Store, group: &str) -> Option<u64> {
    store.group(group).await.unwrap().map(|holder| holder.fence)
}

fn busy_by(outcome: Result<(), Error>) -> RunId {
    match outcome {
        Err(Error::GroupBusy { group, by }) if group == "production" => by,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_run_of_a_group_holds_its_lock_and_the_next_has_a_greater_fence() {
    let place = Place::new();
    let store = place.open().await;
    let (mut first, mut second) = (started(&store).await, started(&store).await);
    assert_eq!(store.group("production").await.unwrap(), None);
    assert_eq!(store.last_of_group("production").await.unwrap(), None);

    lock(&mut first, "production").await.unwrap();
    let holder = store.group("production").await.unwrap().unwrap();
    assert_eq!(holder, GroupHolder { run: first.run_id().clone(), fence: 1, before: None });
    lock(&mut first, "production").await.unwrap();
    assert_eq!(fence(&store, "production").await, Some(1), "who holds it already does not change");

    let refused = lock(&mut second, "production").await;
    assert_eq!(busy_by(refused), *first.run_id());
    lock(&mut second, "staging").await.unwrap();

    unlock(&mut first, "production").await;
    assert_eq!(store.group("production").await.unwrap(), None);
    assert_eq!(store.last_of_group("production").await.unwrap().as_ref(), Some(first.run_id()));
    lock(&mut second, "production").await.unwrap();
    let holder = store.group("production").await.unwrap().unwrap();
    let before = Some(first.run_id().clone());
    assert_eq!(holder, GroupHolder { run: second.run_id().clone(), fence: 2, before });
    unlock(&mut second, "production").await;
    lock(&mut second, "production").await.unwrap();
    assert_eq!(fence(&store, "production").await, Some(3));
}

#[tokio::test]
async fn a_refused_lock_writes_nothing_and_is_forgotten() {
    let place = Place::new();
    let store = place.open().await;
    let (mut first, mut second) = (started(&store).await, started(&store).await);
    lock(&mut first, "production").await.unwrap();
    // Two locks: one is free, and must stay so. Without events the run's place does not tell whether it was written.
    for events in [vec![event("lock_acquired", "")], Vec::new()] {
        second.queue_lock("staging").unwrap();
        second.queue_lock("production").unwrap();
        second.set_status("closing", None);
        second.consume("none");
        let head = second.head();
        assert_eq!(busy_by(second.append(events).await), *first.run_id());
        assert_eq!((second.head(), store.run(second.run_id()).await.unwrap().head), (head, head));
        assert_eq!(store.run(second.run_id()).await.unwrap().status, "forward");
        assert_eq!(fence(&store, "staging").await, None);
    }
    second.append(vec![event("lock_awaited", "")]).await.unwrap();
    assert_eq!(store.run(second.run_id()).await.unwrap().status, "closing", "all but the locks was kept");
    assert_eq!(store.group("production").await.unwrap().unwrap().run, *first.run_id());
}

#[tokio::test]
async fn a_lock_survives_a_crash_with_its_run() {
    let place = Place::new();
    let store = place.open().await;
    let mut first = started(&store).await;
    lock(&mut first, "production").await.unwrap();
    let id = first.run_id().clone();
    drop(first);
    drop(store);

    let store = place.open().await;
    let mut second = started(&store).await;
    assert_eq!(busy_by(lock(&mut second, "production").await), id);
    let mut first = store.take_over(&id).await.unwrap();
    lock(&mut first, "production").await.unwrap();
    assert_eq!(fence(&store, "production").await, Some(1));
    unlock(&mut first, "production").await;
    lock(&mut second, "production").await.unwrap();
}

#[tokio::test]
async fn of_many_runs_that_want_a_lock_at_once_one_has_it() {
    let place = Place::new();
    let (one, two) = (place.open().await, place.open().await);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..24 {
        let mut run = started(if number % 2 == 0 { &one } else { &two }).await;
        tasks.spawn(async move {
            let outcome = lock(&mut run, "production").await;
            if let Err(error) = &outcome {
                assert!(matches!(error, Error::GroupBusy { .. }), "{error}");
            }
            (run, outcome.is_ok())
        });
    }
    let outcomes = tasks.join_all().await;
    let holders: Vec<_> = outcomes.iter().filter(|(_, had)| *had).collect();
    assert_eq!(holders.len(), 1);
    assert_eq!(one.group("production").await.unwrap().unwrap().run, *holders[0].0.run_id());
    for (run, had) in &outcomes {
        assert_eq!(one.read_run(run.run_id()).await.unwrap().len(), if *had { 2 } else { 1 });
    }
}

#[tokio::test]
async fn the_last_word_about_a_group_counts() {
    let place = Place::new();
    let store = place.open().await;
    let mut run = started(&store).await;
    run.queue_lock("production").unwrap();
    run.queue_unlock("production").unwrap();
    run.append(vec![event("note", "")]).await.unwrap();
    assert_eq!(store.last_of_group("production").await.unwrap(), None);
    run.queue_unlock("production").unwrap();
    run.queue_lock("production").unwrap();
    run.append(vec![event("note", "")]).await.unwrap();
    assert_eq!(fence(&store, "production").await, Some(1));
    assert!(matches!(run.queue_lock(""), Err(Error::BadEvent { .. })));
    assert!(matches!(run.queue_unlock(&"g".repeat(5000)), Err(Error::BadEvent { .. })));
}
