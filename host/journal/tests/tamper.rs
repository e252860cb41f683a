//! Whatever is changed in the file is found, and the event is named.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fmt::Write as _;

use support::{Place, bound_event, event, started, verified};
use windlass_journal::{Error, Gap, Outcome, RunId, Store};

/// Four events: the second belongs to a step, the third is long enough to be a blob.
async fn stored(place: &Place) -> (Store, RunId) {
    let store = place.open().await;
    let mut run = started(&store).await;
    run.append(vec![bound_event("AttemptStarted", "plan"), event("Output", vec![9; 5000])]).await.unwrap();
    run.append(vec![event("VerdictDecided", "succeeded")]).await.unwrap();
    (store, run.run_id().clone())
}

async fn change(place: &Place, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&mut place.raw().await).await.unwrap();
}

/// What reading and verifying say about the run after a change.
async fn found(sql: &'static str) -> String {
    let place = Place::new();
    let (store, id) = stored(&place).await;
    drop(store);
    change(&place, sql).await;
    let store = place.open().await;
    let read = match store.read_run(&id).await {
        Ok(_) => "read".to_owned(),
        Err(Error::Broken { seq, what, .. }) => format!("{seq}: {what}"),
        Err(other) => panic!("{other}"),
    };
    let verified = match verified(&store, &id).await.outcome {
        Outcome::Broken(broken) => broken.to_string(),
        _ => "read".to_owned(),
    };
    assert_eq!(read, verified, "reading and verifying agree after: {sql}");
    read
}

#[tokio::test]
async fn every_column_of_an_event_is_guarded() {
    let mut report = String::new();
    for sql in [
        "UPDATE event SET place = place + 7 WHERE seq = 2",
        "UPDATE event SET format = 2 WHERE seq = 2",
        "UPDATE event SET epoch = 0 WHERE seq = 2",
        "UPDATE event SET epoch = 2 WHERE seq = 2",
        "UPDATE event SET previous = zeroblob(32) WHERE seq = 2",
        "UPDATE event SET previous = x'' WHERE seq = 2",
        "UPDATE event SET kind = 'AttemptStartec' WHERE seq = 2",
        "UPDATE event SET time_ms = time_ms + 1 WHERE seq = 2",
        "UPDATE event SET step = 'deploy.migratf' WHERE seq = 2",
        "UPDATE event SET item = 'eu-2' WHERE seq = 2",
        "UPDATE event SET item = NULL WHERE seq = 2",
        "UPDATE event SET attempt = 2 WHERE seq = 2",
        "UPDATE event SET attempt = -1 WHERE seq = 2",
        "UPDATE event SET plugin = replace(plugin, 'ab', 'ac') WHERE seq = 2",
        "UPDATE event SET action = action || 'x' WHERE seq = 2",
        "UPDATE event SET step = NULL WHERE seq = 2",
        "UPDATE event SET step = 'stray' WHERE seq = 4",
        "UPDATE event SET action = 'stray' WHERE seq = 4",
        "UPDATE event SET nonce = CAST(iif(substr(nonce, 1, 1) = x'77', x'78', x'77') || substr(nonce, 2) AS BLOB) WHERE seq = 2",
        "UPDATE event SET nonce = x'' WHERE seq = 2",
        "UPDATE event SET digest = zeroblob(32) WHERE seq = 2",
        "UPDATE event SET body = CAST(iif(substr(body, 1, 1) = x'77', x'78', x'77') || substr(body, 2) AS BLOB) WHERE seq = 2",
        "UPDATE event SET body = NULL WHERE seq = 2",
        "UPDATE event SET erased = 1 WHERE seq = 2",
        "UPDATE event SET hash = zeroblob(32) WHERE seq = 2",
        "UPDATE blob SET body = CAST(iif(substr(body, 1, 1) = x'77', x'78', x'77') || substr(body, 2) AS BLOB)",
        "UPDATE blob SET digest = zeroblob(32)",
        "DELETE FROM blob",
        "DELETE FROM event WHERE seq = 2",
        // The row names the third event: that there was a fourth one only a signature can say.
        "DELETE FROM event WHERE seq = 4",
        "DELETE FROM event WHERE seq > 2",
        "DELETE FROM event",
        "UPDATE run SET head = 2",
        "UPDATE run SET head = 5",
        "UPDATE run SET head_hash = zeroblob(32)",
        "UPDATE run SET epoch = 0",
    ] {
        writeln!(report, "{sql}\n    {}", found(sql).await).unwrap();
    }
    insta::assert_snapshot!(report);
}

#[tokio::test]
async fn two_events_that_change_places_are_found() {
    let swap = "UPDATE event SET place = place + 10 WHERE seq = 2; UPDATE event SET place = place - 1 WHERE seq = 3; \
                UPDATE event SET place = place - 9 WHERE seq = 12";
    assert_eq!(found(swap).await, "2: it does not name the hash of the event before");
}

#[tokio::test]
async fn a_payload_of_another_event_does_not_fit() {
    let place = Place::new();
    let (store, id) = stored(&place).await;
    drop(store);
    // Even when the attacker recomputes what needs no key, the payload is sealed to its place.
    change(
        &place,
        "UPDATE event SET (nonce, digest, body) = (SELECT nonce, digest, body FROM event WHERE seq = 4) WHERE seq = 2",
    )
    .await;
    let store = place.open().await;
    assert!(matches!(store.read_run(&id).await, Err(Error::Broken { seq: 2, .. })));
}

#[tokio::test]
async fn nobody_takes_over_a_run_whose_head_was_cut() {
    let place = Place::new();
    let (store, id) = stored(&place).await;
    change(&place, "DELETE FROM event WHERE seq > 2").await;
    assert!(matches!(store.take_over(&id).await, Err(Error::Broken { seq: 3, .. })));
}

#[tokio::test]
async fn an_erased_payload_is_shown_as_erased_and_the_chain_holds() {
    let place = Place::new();
    let (store, id) = stored(&place).await;
    change(&place, "UPDATE event SET body = NULL, erased = 1 WHERE seq = 2").await;
    let report = verified(&store, &id).await;
    let gaps = vec![Gap::Unsigned { from: 2 }];
    assert_eq!((report.outcome, report.erased, report.opened), (Outcome::Unanchored(gaps), vec![2], true));
    assert!(matches!(store.read_run(&id).await, Err(Error::Erased { seq: 2, .. })));
}

#[tokio::test]
async fn a_plugin_that_was_changed_is_not_handed_out() {
    let place = Place::new();
    let store = place.open().await;
    let mut run = started(&store).await;
    let (digest, bytes) = support::component();
    run.put_component(&digest, bytes).unwrap();
    run.append(Vec::new()).await.unwrap();
    change(&place, "UPDATE component SET body = x'616264'").await;
    assert!(matches!(store.component(&digest).await, Err(Error::BrokenComponent { .. })));
}

#[tokio::test]
async fn a_run_moved_to_another_store_is_found() {
    let place = Place::new();
    let (store, id) = stored(&place).await;
    drop(store);
    change(&place, "UPDATE meta SET store = 'another'").await;
    let store = place.open().await;
    assert!(matches!(store.read_run(&id).await, Err(Error::WrongKey { .. })));
    let report = store.verify(Some(&id), None).await.unwrap();
    assert_eq!(report.chain.unwrap().to_string(), "1: it is not what was written");
    assert_eq!(report.vouched_by, None);
}
