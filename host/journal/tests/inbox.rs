//! Messages to a run: durable when posted, taken once, in the commit of what they caused.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use support::{Place, event, started};
use windlass_journal::{Error, Message, NewMessage, RunId, RunWriter, Store};

fn message(id: &str, payload: &str) -> NewMessage {
    NewMessage { id: id.to_owned(), payload: payload.into() }
}

fn ids(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.id.as_str()).collect()
}

#[tokio::test]
async fn another_process_puts_a_command_into_the_inbox_and_the_owner_takes_it_with_its_event() {
    let place = Place::new();
    let (owner, other) = (place.open().await, place.open().await);
    let mut run = started(&owner).await;
    let id = run.run_id().clone();
    assert_eq!(run.inbox().await.unwrap(), []);
    // By name the later ones would come first.
    for (name, payload) in [("c", "pause"), ("b", "approve"), ("a", "cancel")] {
        other.post(&id, message(name, payload)).await.unwrap();
    }
    let waiting = run.inbox().await.unwrap();
    assert_eq!(ids(&waiting), ["c", "b", "a"]);
    assert_eq!(waiting[1].payload, b"approve");
    assert!(waiting[0].posted_ms > 1_700_000_000_000);
    assert_eq!(other.inbox(&id).await.unwrap(), waiting);

    run.consume("c");
    assert_eq!(
        ids(&run.inbox().await.unwrap()),
        ["b", "a"],
        "what is about to be taken is not offered again"
    );
    assert_eq!(other.inbox(&id).await.unwrap().len(), 3, "but it waits until the commit");
    let before = owner.stats();
    run.append(vec![event("run_held", "")]).await.unwrap();
    let after = owner.stats();
    assert_eq!((after.commits - before.commits, after.calls - before.calls), (1, 1));
    assert_eq!(ids(&other.inbox(&id).await.unwrap()), ["b", "a"]);
    assert_eq!(ids(&run.inbox().await.unwrap()), ["b", "a"]);
}

#[tokio::test]
async fn an_id_is_taken_once_however_often_it_is_posted() {
    let place = Place::new();
    let (owner, other) = (place.open().await, place.open().await);
    let mut run = started(&owner).await;
    let id = run.run_id().clone();
    other.post(&id, message("a", "first")).await.unwrap();
    other.post(&id, message("a", "again")).await.unwrap();
    let waiting = run.inbox().await.unwrap();
    assert_eq!((waiting.len(), waiting[0].payload.as_slice()), (1, b"first".as_slice()));
    run.consume("a");
    run.append(Vec::new()).await.unwrap();
    other.post(&id, message("a", "late")).await.unwrap();
    assert_eq!(run.inbox().await.unwrap(), []);
    assert_eq!(other.inbox(&id).await.unwrap(), []);
    // Another run's ids are its own.
    let second = started(&owner).await;
    other.post(second.run_id(), message("a", "mine")).await.unwrap();
    assert_eq!(owner.inbox(second.run_id()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_message_that_was_not_taken_waits_for_the_next_owner() {
    let place = Place::new();
    let store = place.open().await;
    let mut run = started(&store).await;
    let id = run.run_id().clone();
    store.post(&id, message("a", "pause")).await.unwrap();
    // Somebody takes the run over: the old owner's commit is refused, and with it the taking.
    run.consume("a");
    sqlx::query("UPDATE run SET epoch = 7").execute(&mut place.raw().await).await.unwrap();
    assert!(matches!(run.append(vec![event("run_held", "")]).await, Err(Error::Fenced { .. })));
    drop(run);
    let mut next = store.take_over(&id).await.unwrap();
    assert_eq!(ids(&next.inbox().await.unwrap()), ["a"]);
}

#[tokio::test]
async fn nobody_posts_to_a_run_that_ended_or_never_was() {
    let place = Place::new();
    let store = place.open().await;
    let mut run = started(&store).await;
    let id = run.run_id().clone();
    run.set_status("succeeded", Some(1_790_000_000_009));
    run.append(vec![event("run_ended", "")]).await.unwrap();
    let refused = store.post(&id, message("a", "pause")).await.unwrap_err();
    assert!(matches!(&refused, Error::RunEnded { run } if *run == id), "{refused}");
    let unknown = RunId::random().unwrap();
    assert!(matches!(store.post(&unknown, message("a", "x")).await, Err(Error::UnknownRun { .. })));
    for wrong in [message("", "x"), message(&"i".repeat(5000), "x"), message("big", &"x".repeat(2_000_000))] {
        assert!(matches!(store.post(&id, wrong).await, Err(Error::BadEvent { .. })));
    }
    let reading = Store::open_read(place.options()).await.unwrap();
    assert!(matches!(reading.post(&id, message("a", "x")).await, Err(Error::ReadOnly)));
}

async fn posted(place: &Place) -> (Store, RunWriter) {
    let store = place.open().await;
    let run = started(&store).await;
    store.post(run.run_id(), message("a", "a secret word")).await.unwrap();
    (store, run)
}

#[tokio::test]
async fn messages_are_sealed_and_bound_to_store_run_and_id() {
    for attack in [
        "UPDATE message SET body = CAST(substr(body, 2) || x'00' AS BLOB)",
        "UPDATE message SET id = 'b'",
        "UPDATE message SET nonce = zeroblob(24)",
    ] {
        let place = Place::new();
        let (store, mut run) = posted(&place).await;
        sqlx::raw_sql(attack).execute(&mut place.raw().await).await.unwrap();
        assert!(matches!(run.inbox().await, Err(Error::BadMessage { .. })), "{attack}");
        assert!(matches!(store.inbox(run.run_id()).await, Err(Error::BadMessage { .. })), "{attack}");
    }
    let place = Place::new();
    let (store, _run) = posted(&place).await;
    let second = started(&store).await;
    let moved = sqlx::query("UPDATE message SET run = ?").bind(second.run_id().to_string());
    moved.execute(&mut place.raw().await).await.unwrap();
    assert!(matches!(store.inbox(second.run_id()).await, Err(Error::BadMessage { .. })));

    let place = Place::new();
    let (store, run) = posted(&place).await;
    drop(run);
    store.close().await;
    let file = std::fs::read(place.options().path).unwrap();
    assert!(!file.windows(8).any(|window| window == b"a secret"));
}
