//! What goes in comes out; who may read the files; what happens without store or key.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use support::{Place, assert_intact, bound_event, component, event, new_run, started, verified};
use windlass_journal::{Binding, Broken, Error, NewEvent, NewRun, Outcome, RunId, Store, StoreOptions};

#[tokio::test]
async fn events_come_back_as_they_were_given() {
    let place = Place::new();
    let store = place.open().await;
    let mut run = started(&store).await;
    let long = vec![7; 100_000];
    run.append(vec![bound_event("AttemptStarted", "plan"), event("Note", long.clone())]).await.unwrap();
    run.set_status("ended", Some(1_790_000_000_009));
    run.append(vec![event("VerdictDecided", "")]).await.unwrap();

    let events = store.read_run(run.run_id()).await.unwrap();
    let kinds: Vec<_> = events.iter().map(|event| (event.seq, event.epoch, event.kind.as_str())).collect();
    assert_eq!(
        kinds,
        [(1, 1, "RunCreated"), (2, 1, "AttemptStarted"), (3, 1, "Note"), (4, 1, "VerdictDecided")]
    );
    assert_eq!(events[1].payload, b"plan");
    assert_eq!(events[1].binding, bound_event("", "").binding);
    assert_eq!(events[2].payload, long);
    assert_eq!(events[3].payload, b"");

    let rows = store.runs().await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].status.as_str(), rows[0].ended_ms, rows[0].head),
        ("ended", Some(1_790_000_000_009), 4)
    );
    assert_eq!(store.run(run.run_id()).await.unwrap(), rows[0]);
    assert_intact(&store, run.run_id(), 4).await;
}

#[tokio::test]
async fn a_second_process_reads_while_the_first_writes() {
    let place = Place::new();
    let store = place.open().await;
    let mut run = started(&store).await;
    let reading = Store::open_read(place.options()).await.unwrap();
    run.append(vec![event("Note", "later")]).await.unwrap();
    assert_eq!(reading.read_run(run.run_id()).await.unwrap().len(), 2);
    assert_eq!(reading.owner(run.run_id()).unwrap().unwrap().pid, Some(std::process::id()));
    assert!(matches!(reading.take_over(run.run_id()).await, Err(Error::ReadOnly)));
    let id = run.run_id().clone();
    drop(run);
    assert_eq!(reading.owner(&id).unwrap(), None);
}

#[tokio::test]
async fn blobs_are_sealed_and_plugins_are_stored_once() {
    let place = Place::new();
    let store = place.open().await;
    let id = RunId::random().unwrap();
    let new = NewRun { components: vec![component()], ..new_run(&id) };
    let mut run = store.create_run(new, vec![event("RunCreated", "")]).await.unwrap();
    let blob = run.put_blob(b"a secret table of values").unwrap();
    let (digest, bytes) = component();
    run.put_component(&format!("sha256:{digest}"), bytes.clone()).unwrap();
    assert!(matches!(store.blob(&id, &blob).await, Err(Error::BadBlob { .. })), "not before the commit");
    run.append(Vec::new()).await.unwrap();
    assert_eq!(store.blob(&id, &blob).await.unwrap(), b"a secret table of values");
    assert_eq!(store.component(&digest).await.unwrap(), *bytes);
    let unknown = "0".repeat(64);
    assert!(matches!(store.component(&unknown).await, Err(Error::UnknownComponent { .. })));
    assert!(matches!(run.put_component(&unknown, bytes), Err(Error::BadEvent { .. })));

    store.close().await;
    let file = fs::read(place.options().path).unwrap();
    assert!(!file.windows(8).any(|window| window == b"a secret"));
}

#[tokio::test]
async fn all_files_are_private() {
    let place = Place::new();
    let store = place.open().await;
    let mut run = started(&store).await;
    run.append(vec![event("Note", "x")]).await.unwrap();
    let mut seen = Vec::new();
    collect(place.folder.path(), place.folder.path(), &mut seen);
    for name in ["state/store.db", "state/store.db-wal", "state/store.db-shm", "state/locks", "config/keys"] {
        assert!(seen.iter().any(|(path, _)| path == name), "{name} in {seen:?}");
    }
    for (path, mode) in seen {
        assert!(mode == 0o600 || mode == 0o700, "{path} has mode {mode:o}");
    }
}

fn collect(top: &Path, folder: &Path, seen: &mut Vec<(String, u32)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.metadata().unwrap();
        let name = path.strip_prefix(top).unwrap().display().to_string();
        seen.push((name, meta.permissions().mode() & 0o777));
        if meta.is_dir() {
            collect(top, &path, seen);
        }
    }
}

#[tokio::test]
async fn the_rights_of_an_open_store_file_are_narrowed() {
    let place = Place::new();
    place.open().await.close().await;
    let path = place.options().path;
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let store = place.open().await;
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    drop(store);
}

#[tokio::test]
async fn a_store_is_made_only_when_asked() {
    let place = Place::new();
    let asked = StoreOptions { create: false, ..place.options() };
    assert!(matches!(Store::open(asked.clone()).await, Err(Error::NoStore { .. })));
    assert!(matches!(Store::open_read(place.options()).await, Err(Error::NoStore { .. })));
    assert!(!place.options().path.exists() && !place.options().key_dir.exists());
    let made = place.open().await;
    assert_eq!(Store::open(asked).await.unwrap().id(), made.id());
}

#[tokio::test]
async fn two_processes_that_make_a_store_at_once_make_one() {
    let place = Place::new();
    let (one, two) = tokio::join!(Store::open(place.options()), Store::open(place.options()));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.id(), two.id());
    let first = started(&one).await;
    let second = started(&two).await;
    assert_eq!(one.read_run(second.run_id()).await.unwrap().len(), 1);
    assert_eq!(two.read_run(first.run_id()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn without_its_key_a_store_is_listed_and_verified_but_starts_nothing() {
    let place = Place::new();
    let store = place.open().await;
    let id = started(&store).await.run_id().clone();
    drop(store);
    fs::rename(place.key_file(), place.folder.path().join("elsewhere")).unwrap();

    let store = place.open().await;
    assert_eq!(store.runs().await.unwrap().len(), 1);
    let report = verified(&store, &id).await;
    assert_eq!((report.outcome, report.events, report.opened), (Outcome::Anchored, 1, false));
    let error = store.check_key().unwrap_err();
    assert!(matches!(error, Error::NoKey { .. }), "{error}");
    assert!(matches!(store.read_run(&id).await, Err(Error::NoKey { .. })));
    assert!(matches!(store.take_over(&id).await, Err(Error::NoKey { .. })));
    let fresh = RunId::random().unwrap();
    assert!(matches!(store.create_run(new_run(&fresh), Vec::new()).await, Err(Error::NoKey { .. })));
    assert_eq!(store.runs().await.unwrap().len(), 1);
    assert_eq!(store.run(&id).await.unwrap().epoch, 1, "taking over without a key must not raise the epoch");
}

#[tokio::test]
async fn an_exposed_key_starts_nothing() {
    let place = Place::new();
    drop(place.open().await);
    fs::set_permissions(place.key_file(), Permissions::from_mode(0o604)).unwrap();
    let store = place.open().await;
    let fresh = RunId::random().unwrap();
    assert!(matches!(store.create_run(new_run(&fresh), Vec::new()).await, Err(Error::UnsafeKey { .. })));
}

#[tokio::test]
async fn a_run_sealed_with_another_key_is_refused_by_name() {
    let place = Place::new();
    let store = place.open().await;
    let id = started(&store).await.run_id().clone();
    let mut raw = place.raw().await;
    sqlx::query("UPDATE run SET name = 'production'").execute(&mut raw).await.unwrap();
    assert!(matches!(store.read_run(&id).await, Err(Error::WrongKey { .. })));
    let outcome = verified(&store, &id).await.outcome;
    assert!(matches!(outcome, Outcome::Broken(Broken { at: 0, .. })), "{outcome}");
}

#[tokio::test]
async fn runs_are_found_by_any_unique_beginning() {
    let place = Place::new();
    let store = place.open().await;
    for id in ["aaaa00000001", "aaaa00000002", "bz0000000001"] {
        let id = RunId::parse(id).unwrap();
        drop(store.create_run(new_run(&id), vec![event("RunCreated", "")]).await.unwrap());
    }
    assert_eq!(store.resolve("BZ").await.unwrap().as_str(), "bz0000000001");
    assert_eq!(store.resolve("aaaa00000002").await.unwrap().as_str(), "aaaa00000002");
    let ambiguous = store.resolve("aa").await.unwrap_err();
    assert!(matches!(&ambiguous, Error::AmbiguousRun { candidates, .. } if candidates.len() == 2));
    insta::assert_snapshot!(ambiguous, @"several runs begin with `aa`: `aaaa00000001`, `aaaa00000002`");
    insta::assert_snapshot!(store.resolve("c").await.unwrap_err(), @"there is no run `c`; the latest are `aaaa00000001`, `aaaa00000002`, `bz0000000001`");
    insta::assert_snapshot!(store.resolve("run 1").await.unwrap_err(), @"`run 1` is not a run id: a run id has only digits and lower-case letters without `u`");
    insta::assert_snapshot!(store.resolve("").await.unwrap_err(), @"`` is not a run id: it is empty");
}

#[tokio::test]
async fn what_no_event_can_be_is_refused() {
    let place = Place::new();
    let store = place.open().await;
    let mut run = started(&store).await;
    for wrong in [event("", "x"), event(&"k".repeat(5000), "x"), event("Big", vec![0; 64 * 1024 * 1024 + 1])]
    {
        assert!(matches!(run.append(vec![wrong]).await, Err(Error::BadEvent { .. })));
    }
    run.append(vec![event("Note", "still good")]).await.unwrap();
    assert_eq!(run.head(), 2);
}

#[tokio::test]
async fn a_run_id_is_used_once() {
    let place = Place::new();
    let store = place.open().await;
    let id = started(&store).await.run_id().clone();
    let again = store.create_run(new_run(&id), vec![event("RunCreated", "again")]).await;
    assert!(matches!(again, Err(Error::RunExists { .. })));
    assert_eq!(store.read_run(&id).await.unwrap()[0].payload, b"pinned");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
    #[test]
    fn any_events_come_back_as_they_were_given(
        batches in proptest::collection::vec(proptest::collection::vec(any_event(), 0..4), 1..5),
        many in 0_usize..450,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = Place::new();
            let store = place.open().await;
            let id = RunId::random().unwrap();
            let mut run = store.create_run(new_run(&id), Vec::new()).await.unwrap();
            let mut given = vec![event("Item", "x"); many];
            run.append(given.clone()).await.unwrap();
            for batch in batches {
                run.append(batch.clone()).await.unwrap();
                given.extend(batch);
            }
            let stored = store.read_run(&id).await.unwrap();
            let came: Vec<_> = stored
                .into_iter()
                .map(|event| NewEvent {
                    kind: event.kind,
                    time_ms: event.time_ms,
                    binding: event.binding,
                    payload: event.payload,
                })
                .collect();
            assert_eq!(came, given);
        });
    }
}

fn any_event() -> impl Strategy<Value = NewEvent> {
    let words =
        (any::<Option<String>>(), any::<Option<u32>>(), any::<Option<String>>(), any::<Option<String>>());
    let binding = (any::<String>(), words).prop_map(|(step, (item, attempt, plugin_digest, action))| {
        Binding { step, item, attempt, plugin_digest, action }
    });
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..50),
        (4090_usize..4100).prop_map(|length| vec![5; length]),
    ];
    (".{1,30}", any::<i64>(), proptest::option::of(binding), payload)
        .prop_map(|(kind, time_ms, binding, payload)| NewEvent { kind, time_ms, binding, payload })
}

#[tokio::test]
async fn runs_in_flight_are_found_and_taken_over_together() {
    const RUNS: usize = 200;
    let place = Place::new();
    let store = std::sync::Arc::new(place.open().await);
    for number in 0..RUNS {
        let id = RunId::random().unwrap();
        let new = NewRun {
            started_ms: 1_790_000_000_000 - number as i64,
            detached: number % 2 == 0,
            ..new_run(&id)
        };
        let mut run = store.create_run(new, vec![event("RunCreated", "")]).await.unwrap();
        if number % 4 == 0 {
            run.set_status("succeeded", Some(1_790_000_000_009));
            run.append(Vec::new()).await.unwrap();
        }
    }
    let unfinished = store.unfinished().await.unwrap();
    assert_eq!(unfinished.len(), RUNS * 3 / 4);
    assert!(unfinished.is_sorted_by_key(|row| row.started_ms));
    assert!(unfinished.iter().all(|row| row.ended_ms.is_none()));
    assert_eq!(unfinished.iter().filter(|row| row.detached).count(), RUNS / 4);

    let before = store.stats();
    let mut tasks = tokio::task::JoinSet::new();
    for row in unfinished {
        let store = std::sync::Arc::clone(&store);
        tasks.spawn(async move { store.take_over(&row.id).await.unwrap().epoch() });
    }
    assert!(tasks.join_all().await.iter().all(|epoch| *epoch == 2));
    let commits = store.stats().commits - before.commits;
    assert!(commits < RUNS as u64 / 2, "{commits} commits");
}
