//! `kill -9` at random moments, several times in the life of one run, forward and back: every effect is had once and
//! taken back once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and this one prints its numbers"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use windlass_tests::{Api, Running};

/// Kills in all.
const KILLS: usize = 200;
/// Kills of one run, at most: then it is left to come to its end.
const OF_ONE_RUN: usize = 6;
/// Runs at once.
const AT_ONCE: usize = 4;
/// No moment is later; a run takes about as long.
const LATEST_MS: u64 = 160;
/// Fails, and is the reason to go back.
const FAILS: &str = r#"
[[step]]
id = "fails"
do = "api.check"
with = { url = "/fault/500" }
on_failure = "rollback"
"#;

#[test]
fn a_run_killed_again_and_again_has_each_effect_once_and_takes_it_back_once() {
    let began = Instant::now();
    let (kills, runs) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let api = stage();
                while kills.load(Ordering::Relaxed) < KILLS {
                    kills.fetch_add(live_and_die(&api), Ordering::Relaxed);
                    runs.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (kills, runs) = (kills.into_inner(), runs.into_inner());
    eprintln!("kill soak: {kills} kills of {runs} runs, {:.1} s", began.elapsed().as_secs_f64());
}

/// Three events, a failure, and the way back.
fn stage() -> Api {
    let api = Api::start();
    let back = "reverse = { method = \"DELETE\", url = \"/api/audit/events/{captured.id}\" }";
    let steps: Vec<String> = ["a", "b", "c"].iter().map(|id| Api::event(id, "", back)).collect();
    api.runbook("soak", &[&steps.concat(), FAILS].concat());
    let session = "http POST http://{vars.host}/api/session";
    api.workspace.change("soak.toml", &[(session, "http DELETE http://{vars.host}/api/audit/events/*")]);
    api
}

/// One run from its start to its end, killed on its way. How often it was.
fn live_and_die(api: &Api) -> usize {
    let (known, before, sent) = (api.windlass.runs(), deletions(api), api.sent());
    let mut kills = 0;
    let run = loop {
        kills += usize::from(is_killed(api.start_command("run", "soak", &[])));
        if let Some(run) = api.windlass.runs().into_iter().find(|run| !known.contains(run)) {
            break run;
        }
        assert_eq!(api.sent(), sent, "nothing is sent by a run that does not exist");
    };
    while kills < OF_ONE_RUN && is_open(api, &run) {
        kills += usize::from(is_killed(api.windlass.start(["resume", &run])));
    }
    if is_open(api, &run) {
        drop(api.windlass.run(["resume", &run]).expect(5));
    }
    let record = api.windlass.show(&run);
    let stands = (record.status(), record.0["world"].as_str());
    assert_eq!(stands, ("rolled_back", Some("restored")), "{:#}", record.0);
    assert!(api.created().is_empty(), "{:?}", api.created());
    let after = deletions(api);
    assert_eq!(api.sent() - sent, 3, "each event was sent once");
    assert_eq!(after - before, 3, "each event was deleted once");
    kills
}

/// Kills a process at some moment; whether it was still there.
fn is_killed(running: Running) -> bool {
    let random = u64::from_str_radix(&windlass_tests::random_hex()[..8], 16).unwrap();
    std::thread::sleep(Duration::from_millis(random % LATEST_MS));
    running.kill().code.is_none()
}

fn is_open(api: &Api, run: &str) -> bool {
    api.windlass.show(run).status() != "rolled_back"
}

/// How many deletions had an effect. One that a killed process sent may still be under way when the next one looks, and
/// so be sent twice.
fn deletions(api: &Api) -> usize {
    api.service.requests().iter().filter(|entry| entry.method == "DELETE" && entry.effect).count()
}
