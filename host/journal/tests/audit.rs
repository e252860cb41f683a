//! What an auditor finds, and what someone who has the file but not the keys can't hide.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fmt::Write as _;
use std::fs;

use sha2::{Digest, Sha256};
use sqlx::Row;
use support::{Place, bound_event, event, new_run, verified};
use windlass_journal::{Anchor, Error, Gap, NewRun, Outcome, RunId, State, Store, VerifyReport, Voucher};

const ONE: &str = "aaaa00000001";
const TWO: &str = "bbbb00000002";
const THREE: &str = "cccc00000003";

fn id(text: &str) -> RunId {
    RunId::parse(text).unwrap()
}

/// Two runs that ended, with five events each, and one that goes on, with three.
async fn stored(place: &Place) -> Store {
    let store = place.open().await;
    for (run, ends) in [(ONE, true), (TWO, true), (THREE, false)] {
        let new = NewRun { name: format!("run-{run}"), ..new_run(&id(run)) };
        let mut run = store.create_run(new, vec![event("run_created", "pinned")]).await.unwrap();
        run.append(vec![bound_event("attempt_started", "plan"), event("output", vec![9; 5000])])
            .await
            .unwrap();
        if ends {
            run.append(vec![event("verdict_decided", "succeeded")]).await.unwrap();
            run.set_status("succeeded", Some(1_790_000_000_009));
            run.append(vec![event("run_ended", "")]).await.unwrap();
        }
    }
    store
}

fn text(report: &VerifyReport) -> String {
    let mut text = format!("{}", report.state());
    if let Some(broken) = &report.chain {
        write!(text, "; the chain of the store at {broken}").unwrap();
    }
    for run in &report.runs {
        write!(text, "; {} {}", &run.run.as_str()[..4], run.outcome).unwrap();
        if !run.erased.is_empty() {
            write!(text, ", erased {:?}", run.erased).unwrap();
        }
    }
    text
}

/// What is found after an attack, without and with the store's key; what they have in common once.
async fn found(attack: &str) -> String {
    let place = Place::new();
    drop(stored(&place).await);
    sqlx::raw_sql(sqlx::AssertSqlSafe(attack.to_owned())).execute(&mut place.raw().await).await.unwrap();
    both(&place, None).await
}

async fn both(place: &Place, anchor: Option<&Anchor>) -> String {
    let with = text(&place.open().await.verify(None, anchor).await.unwrap());
    let (key, aside) = (place.key_file(), place.folder.path().join("aside"));
    fs::rename(&key, &aside).unwrap();
    let without = text(&place.open().await.verify(None, anchor).await.unwrap());
    fs::rename(&aside, &key).unwrap();
    if with == without { with } else { format!("{with}\n    without the key: {without}") }
}

/// Makes a run's chain hold again after a change, as anybody can who knows the format.
async fn rehash(place: &Place, run: &str) {
    let raw = &mut place.raw().await;
    let store: String = sqlx::query_scalar("SELECT store FROM meta").fetch_one(&mut *raw).await.unwrap();
    let sql = "SELECT place, seq, epoch, kind, time_ms, digest FROM event \
               WHERE run = (SELECT number FROM run WHERE id = ?) ORDER BY place";
    let rows = sqlx::query(sql).bind(run).fetch_all(&mut *raw).await.unwrap();
    let mut previous = vec![0; 32];
    for row in &rows {
        let mut hash = Sha256::new();
        let (kind, digest): (String, Vec<u8>) = (row.get("kind"), row.get("digest"));
        let number = |column| row.get::<i64, _>(column).to_be_bytes();
        let (seq, epoch, time) = (number("seq"), number("epoch"), number("time_ms"));
        let fields: [&[u8]; 9] = [
            b"windlass-event/1",
            store.as_bytes(),
            run.as_bytes(),
            &seq,
            &epoch,
            &previous,
            kind.as_bytes(),
            &time,
            &digest,
        ];
        for field in fields {
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field);
        }
        let hash = hash.finalize().to_vec();
        sqlx::query("UPDATE event SET previous = ?, hash = ? WHERE place = ?")
            .bind(previous)
            .bind(hash.clone())
            .bind(row.get::<i64, _>("place"))
            .execute(&mut *raw)
            .await
            .unwrap();
        previous = hash;
    }
    sqlx::query("UPDATE run SET head = ?, head_hash = ? WHERE id = ?")
        .bind(rows.len() as i64)
        .bind(previous)
        .bind(run)
        .execute(&mut *raw)
        .await
        .unwrap();
}

async fn found_rehashed(attack: &'static str, runs: &[&str]) -> String {
    let place = Place::new();
    drop(stored(&place).await);
    sqlx::raw_sql(attack).execute(&mut place.raw().await).await.unwrap();
    for run in runs {
        rehash(&place, run).await;
    }
    both(&place, None).await
}

#[tokio::test]
async fn a_store_that_nobody_touched_is_anchored_where_it_is_signed() {
    let place = Place::new();
    let store = stored(&place).await;
    let report = store.verify(None, None).await.unwrap();
    let open = Outcome::Unanchored(vec![Gap::Unsigned { from: 2 }]);
    let outcomes: Vec<_> =
        report.runs.iter().map(|run| (&run.outcome, run.events, run.signed, run.opened)).collect();
    let ended = (&Outcome::Anchored, 5, 5, true);
    assert_eq!(outcomes, [ended, ended, (&open, 3, 1, true)]);
    assert_eq!(
        (report.entries, report.chain.is_none(), report.vouched_by),
        (5, true, Some(Voucher::KeyFile))
    );
    assert_eq!(report.state(), State::Unanchored, "one run goes on");
    assert_eq!(store.verify(Some(&id(ONE)), None).await.unwrap().state(), State::Anchored);
    let unknown = store.verify(Some(&RunId::random().unwrap()), None).await;
    assert!(matches!(unknown, Err(Error::UnknownRun { .. })));
    // A rehash of what was not changed changes nothing: the attacks below are what they seem.
    rehash(&place, ONE).await;
    assert_eq!(text(&report), both(&place, None).await);
}

#[tokio::test]
async fn what_is_signed_when() {
    let place = Place::new();
    let store = stored(&place).await;
    let mut run = store.take_over(&id(THREE)).await.unwrap();
    run.append(vec![event("note", ""); 600]).await.unwrap();
    run.append(vec![event("approval_given", "")]).await.unwrap();
    let heads: Vec<i64> = sqlx::query_scalar("SELECT seq FROM head WHERE run = ? ORDER BY seq")
        .bind(THREE)
        .fetch_all(&mut place.raw().await)
        .await
        .unwrap();
    assert_eq!(heads, [1, 256, 512, 604]);
    assert_eq!(verified(&store, &id(THREE)).await.outcome, Outcome::Anchored);
    run.set_status("cancelled", Some(1_790_000_000_010));
    run.append(Vec::new()).await.unwrap();
    assert_eq!(verified(&store, &id(THREE)).await.outcome, Outcome::Anchored);
    assert_eq!(store.anchor().await.unwrap().entries, 6);
}

#[tokio::test]
async fn steps_are_not_signed_and_cost_one_call() {
    let place = Place::new();
    let store = stored(&place).await;
    let mut run = store.take_over(&id(THREE)).await.unwrap();
    let before = store.stats();
    for _ in 0..50 {
        run.append(vec![event("attempt_started", "plan")]).await.unwrap();
    }
    assert_eq!(store.stats().calls - before.calls, 50);
    let heads: i64 = sqlx::query_scalar("SELECT count(*) FROM head WHERE run = ?")
        .bind(THREE)
        .fetch_one(&mut place.raw().await)
        .await
        .unwrap();
    assert_eq!(heads, 1);
}

const CUT: &str =
    "DELETE FROM event WHERE seq > 3 AND run = (SELECT number FROM run WHERE id = 'aaaa00000001');";

#[tokio::test]
async fn attacks_on_the_file_are_named() {
    let mut report = String::new();
    let of_one = "run = (SELECT number FROM run WHERE id = 'aaaa00000001')";
    let drop_one = format!(
        "DELETE FROM event WHERE {of_one}; DELETE FROM blob WHERE run = 'aaaa00000001'; \
         DELETE FROM head WHERE run = 'aaaa00000001'; DELETE FROM run WHERE id = 'aaaa00000001';"
    );
    let swap = |table: &str, column: &str| {
        format!(
            "UPDATE {table} SET {column} = 'tmp' WHERE {column} = 'aaaa00000001'; \
             UPDATE {table} SET {column} = 'aaaa00000001' WHERE {column} = 'bbbb00000002'; \
             UPDATE {table} SET {column} = 'bbbb00000002' WHERE {column} = 'tmp';"
        )
    };
    for (name, attack) in [
        ("a flipped byte in a body", format!("UPDATE event SET body = CAST(x'00' || substr(body, 2) AS BLOB) WHERE seq = 2 AND {of_one}")),
        ("a changed column", format!("UPDATE event SET step = 'deploy.other' WHERE seq = 2 AND {of_one}")),
        ("a changed kind", format!("UPDATE event SET kind = 'attempt_stopped' WHERE seq = 2 AND {of_one}")),
        ("a changed status", "UPDATE run SET status = 'failed' WHERE id = 'aaaa00000001'".to_owned()),
        ("a changed name", "UPDATE run SET name = 'production' WHERE id = 'aaaa00000001'".to_owned()),
        ("a changed start", "UPDATE run SET started_ms = started_ms + 1 WHERE id = 'aaaa00000001'".to_owned()),
        ("a changed end", "UPDATE run SET ended_ms = NULL WHERE id = 'aaaa00000001'".to_owned()),
        ("an end that never was", "UPDATE run SET ended_ms = 5 WHERE id = 'cccc00000003'".to_owned()),
        ("a dropped run", drop_one.clone()),
        ("a dropped run with its entries", format!("{drop_one} DELETE FROM chain WHERE run = 'aaaa00000001'")),
        ("swapped runs", swap("run", "id")),
        ("swapped runs with all that bears their ids", ["run.id", "blob.run", "head.run"].map(|place| {
            let (table, column) = place.split_once('.').unwrap();
            swap(table, column)
        }).concat()),
        ("a missing signature", "DELETE FROM head WHERE run = 'aaaa00000001' AND seq = 4".to_owned()),
        ("all signatures of a run missing", "DELETE FROM head WHERE run = 'aaaa00000001'".to_owned()),
        ("a bad signature", "UPDATE head SET signature = CAST(x'00' || substr(signature, 2) AS BLOB) WHERE run = 'aaaa00000001' AND seq = 4".to_owned()),
        ("a signature of another time", "UPDATE head SET time_ms = 5 WHERE run = 'aaaa00000001' AND seq = 4".to_owned()),
        ("a signature of another run", "UPDATE head SET run = 'cccc00000003' WHERE run = 'aaaa00000001' AND seq = 4".to_owned()),
        ("an entry of the chain dropped", "DELETE FROM chain WHERE number = 2".to_owned()),
        ("an entry of the chain changed", "UPDATE chain SET label = 'failed' WHERE number = 2".to_owned()),
        ("an entry of the chain with a bad signature", "UPDATE chain SET signature = zeroblob(64) WHERE number = 2".to_owned()),
        ("a payload erased on purpose", format!("UPDATE event SET body = NULL, erased = 1 WHERE seq = 2 AND {of_one}")),
    ] {
        writeln!(report, "{name}\n    {}", found(&attack).await).unwrap();
    }
    for (name, attack, runs) in [
        ("a cut tail whose head was set back", CUT, vec![ONE]),
        ("a cut tail of a run that goes on", "DELETE FROM event WHERE seq > 2 AND run = 3", vec![THREE]),
        ("a rewritten chain", "UPDATE event SET time_ms = time_ms - 5 WHERE seq >= 3 AND run = 1", vec![ONE]),
        (
            "a rewritten chain without its signatures",
            "UPDATE event SET time_ms = time_ms - 5 WHERE seq >= 3 AND run = 1; DELETE FROM head WHERE run = 'aaaa00000001' AND seq > 3",
            vec![ONE],
        ),
        (
            "a rewritten tail that is not signed yet",
            "UPDATE event SET time_ms = time_ms - 5 WHERE seq >= 2 AND run = 3",
            vec![THREE],
        ),
        (
            "swapped runs with a rewritten chain",
            "UPDATE run SET id = 'tmp' WHERE id = 'aaaa00000001'; UPDATE run SET id = 'aaaa00000001' WHERE id = 'bbbb00000002'; UPDATE run SET id = 'bbbb00000002' WHERE id = 'tmp'; UPDATE blob SET run = 'tmp' WHERE run = 'aaaa00000001'; UPDATE blob SET run = 'aaaa00000001' WHERE run = 'bbbb00000002'; UPDATE blob SET run = 'bbbb00000002' WHERE run = 'tmp'",
            vec![ONE, TWO],
        ),
        (
            "a run made up by someone else",
            "INSERT INTO run SELECT 9, 'dddd00000004', name, status, started_ms, ended_ms, epoch, head, head_hash, key_id, wrapped_key, detached FROM run WHERE number = 1; INSERT INTO event (place, format, epoch, previous, kind, time_ms, nonce, digest, body, hash) SELECT (9 << 32) + seq, format, epoch, previous, kind, time_ms, nonce, digest, body, hash FROM event WHERE run = 1 AND body IS NOT NULL AND seq < 3",
            vec!["dddd00000004"],
        ),
    ] {
        writeln!(report, "{name}\n    {}", found_rehashed(attack, &runs).await).unwrap();
    }
    insta::assert_snapshot!(report);
}

/// Takes away the last run and every trace of it.
const CUT_STORE: &str = "DELETE FROM event WHERE run = 3; DELETE FROM blob WHERE run = 'cccc00000003'; \
    DELETE FROM head WHERE run = 'cccc00000003'; DELETE FROM chain WHERE run = 'cccc00000003'; \
    DELETE FROM run WHERE id = 'cccc00000003'";

#[tokio::test]
async fn a_store_that_was_cut_back_shows_against_an_anchor() {
    let place = Place::new();
    let anchor = stored(&place).await.anchor().await.unwrap();
    let kept = serde_json::to_string(&anchor).unwrap();
    let anchor: Anchor = serde_json::from_str(&kept).unwrap();
    assert_eq!(both(&place, Some(&anchor)).await, both(&place, None).await);
    sqlx::raw_sql(CUT_STORE).execute(&mut place.raw().await).await.unwrap();
    assert_eq!(both(&place, None).await, "anchored; aaaa anchored; bbbb anchored", "nothing inside shows it");
    let found = both(&place, Some(&anchor)).await;
    assert!(
        found.starts_with("broken; the chain of the store at 5: it is missing: the last of 5 were cut off;"),
        "{found}"
    );

    let elsewhere = Place::new();
    stored(&elsewhere).await;
    let found = both(&elsewhere, Some(&anchor)).await;
    assert!(
        found.starts_with("broken; the chain of the store at 0: the anchor is of another store;"),
        "{found}"
    );
    let other = Anchor { hash: [3; 32], ..elsewhere.open().await.anchor().await.unwrap() };
    let found = both(&elsewhere, Some(&other)).await;
    assert!(found.starts_with("broken; the chain of the store at 5: it was written anew"), "{found}");
}

#[tokio::test]
async fn no_anchor_is_taken_of_a_broken_chain() {
    let place = Place::new();
    let store = stored(&place).await;
    sqlx::query("DELETE FROM chain WHERE number = 2").execute(&mut place.raw().await).await.unwrap();
    let error = store.anchor().await.unwrap_err();
    insta::assert_snapshot!(error, @"the store's chain is broken at entry 2: it is missing");
}

#[tokio::test]
async fn a_key_that_only_the_store_names_proves_nothing() {
    let place = Place::new();
    let anchor = stored(&place).await.anchor().await.unwrap();
    let (file, aside) = (place.engine_file(), place.folder.path().join("engine"));
    fs::rename(&file, &aside).unwrap();
    let store = place.open().await;
    let report = store.verify(Some(&id(ONE)), None).await.unwrap();
    assert_eq!(report.runs[0].outcome, Outcome::Unanchored(vec![Gap::UnknownEngine]));
    assert_eq!((report.state(), report.vouched_by), (State::Unanchored, None));
    let report = store.verify(Some(&id(ONE)), Some(&anchor)).await.unwrap();
    assert_eq!((report.state(), report.vouched_by), (State::Anchored, Some(Voucher::Anchor)));

    // Without the key nothing is begun, and a new one is not made in its place.
    assert!(matches!(store.check_key(), Err(Error::NoKey { .. })));
    assert!(matches!(store.take_over(&id(THREE)).await, Err(Error::NoKey { .. })));
    let fresh = RunId::random().unwrap();
    assert!(matches!(store.create_run(new_run(&fresh), Vec::new()).await, Err(Error::NoKey { .. })));

    // An attacker who signs everything anew has to name another key.
    fs::rename(&aside, &file).unwrap();
    let forger = Place::new();
    forger.open().await;
    let key: Vec<u8> =
        sqlx::query_scalar("SELECT engine_key FROM meta").fetch_one(&mut forger.raw().await).await.unwrap();
    sqlx::query("UPDATE meta SET engine_key = ?").bind(key).execute(&mut place.raw().await).await.unwrap();
    let report = place.open().await.verify(None, None).await.unwrap();
    let broken = report.chain.unwrap();
    assert_eq!(broken.to_string(), "0: the store names another engine key than the one that is known");
    fs::remove_file(&file).unwrap();
    let report = place.open().await.verify(None, Some(&anchor)).await.unwrap();
    assert_eq!(report.chain.unwrap(), broken);
}
