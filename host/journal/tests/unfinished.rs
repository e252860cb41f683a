//! What a process leaves that dies while it makes a store.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use support::Place;
use windlass_journal::{Error, Store, StoreOptions};

#[tokio::test]
async fn a_store_that_was_only_half_made_is_none_to_those_who_read() {
    let place = Place::new();
    let options = place.options();
    std::fs::create_dir_all(&options.state_dir).unwrap();
    // A transaction so large that a part of it is in the file, with the journal that takes it back.
    let other = place.folder.path().join("other.db");
    let journal = |path: &std::path::Path| path.with_extension("db-journal");
    let mut connection = support::raw_at(&other).await;
    let script = "PRAGMA cache_size = 2; BEGIN IMMEDIATE; CREATE TABLE t (a); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL \
                  SELECT i + 1 FROM n WHERE i < 500) INSERT INTO t SELECT randomblob(1000) FROM n";
    sqlx::Executor::execute(&mut connection, script).await.unwrap();
    std::fs::copy(&other, &options.path).unwrap();
    std::fs::copy(journal(&other), journal(&options.path)).unwrap();
    assert!(options.path.metadata().unwrap().len() > 0);

    let read = Store::open_read(StoreOptions { create: false, ..options.clone() }).await;
    assert!(matches!(read, Err(Error::NoStore { .. })), "{read:?}");
    // It is made as if nothing had been begun.
    let store = place.open().await;
    assert!(store.runs().await.unwrap().is_empty());
}
