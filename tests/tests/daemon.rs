//! Detached runs: one process drives them all, leaves them in good order, and takes them up again.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::process::Command;
use std::time::{Duration, Instant};

use windlass_tests::{Api, Running};

fn until(what: &str, daemon: &Running, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < deadline, "never {what}:\n{}", daemon.stdout());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn detach(api: &Api, name: &str) -> String {
    let made = api.run("run", name, &["--detach"]).expect(0);
    made.stdout.trim().to_owned()
}

fn write(id: &str, wait: &str) -> String {
    format!(
        "\n[[step]]\nid = \"pause\"\nwait = \"{wait}\"\n\n[[step]]\nid = \"{id}\"\ndo = \"files.write\"\n\
         with = {{ path = \"{id}.txt\", text = \"done\\n\" }}\n"
    )
}

fn stop(daemon: Running) {
    assert!(Command::new("kill").args(["-TERM", &daemon.id().to_string()]).status().unwrap().success());
    drop(daemon.wait().expect(0));
}

#[test]
fn a_detached_run_is_driven_by_the_daemon_and_by_nobody_else() {
    let api = Api::start();
    api.runbook("soon", &write("soon", "10ms"));
    let made = api.run("run", "soon", &["--detach"]).expect(0).says("windlass daemon");
    let run = made.stdout.trim().to_owned();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(api.windlass.show(&run).result("pause"), "pending");

    let daemon = api.windlass.start(["daemon"]);
    let status = |run: &str| api.windlass.show(run).status().to_owned();
    until("the run ends", &daemon, || status(&run) == "succeeded");
    drop(api.windlass.run(["daemon"]).expect(9));
    // One that comes later is taken up as well.
    let began = Instant::now();
    let second = detach(&api, "soon");
    until("the second run ends", &daemon, || status(&second) == "succeeded");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    stop(daemon);
}

#[test]
fn what_a_daemon_leaves_or_dies_with_the_next_one_takes_up() {
    let api = Api::start();
    api.runbook(
        "slow",
        &(Api::event("sent", "fault = \"late-reply\", ms = \"1500\"", "") + &write("after", "1s")),
    );
    let runs: Vec<String> = (0..3).map(|_| detach(&api, "slow")).collect();
    let daemon = api.windlass.start(["daemon"]);
    api.service.wait_until("the events", |log| log.iter().filter(|entry| entry.effect).count() == 3);
    // Told to leave, it lets what is being applied come to its end.
    stop(daemon);
    for run in &runs {
        assert_eq!(api.windlass.show(run).result("sent"), "applied", "{:#}", api.windlass.show(run).0);
        assert_eq!(api.windlass.show(run).result("after"), "pending");
    }
    let daemon = api.windlass.start(["daemon"]);
    std::thread::sleep(Duration::from_millis(400));
    drop(daemon.kill());
    let daemon = api.windlass.start(["daemon"]);
    until("all runs end", &daemon, || runs.iter().all(|run| api.windlass.show(run).status() == "succeeded"));
    assert_eq!(api.sent(), 3, "nothing was sent twice");
    stop(daemon);
}

#[test]
fn a_run_that_rests_hears_what_is_asked_of_it() {
    let api = Api::start();
    api.runbook("resting", &write("after", "1h"));
    let (paused, cancelled) = (detach(&api, "resting"), detach(&api, "resting"));
    let daemon = api.windlass.start(["daemon"]);
    until("both rest", &daemon, || {
        let waits = |run: &str| daemon.stdout().contains(&format!("{run} waits"));
        waits(&paused) && waits(&cancelled)
    });
    drop(api.windlass.run(["cancel", &cancelled, "--reason", "no"]).expect(0));
    assert_eq!(api.windlass.show(&cancelled).status(), "cancelled");
    drop(api.windlass.run(["pause", &paused, "--reason", "not now"]).expect(0));
    assert_eq!(api.windlass.show(&paused).status(), "held");
    drop(api.windlass.run(["resume", &paused]).expect(0));
    until("it waits again", &daemon, || api.windlass.show(&paused).status() == "running");
    stop(daemon);
}

#[test]
fn many_runs_in_flight_go_on_at_once_when_the_daemon_comes_back() {
    let api = Api::start();
    let many: usize = 60;
    api.runbook("many", &write("after", "1h"));
    let runs: Vec<String> = (0..many).map(|_| detach(&api, "many")).collect();
    let daemon = api.windlass.start(["daemon"]);
    until("all rest", &daemon, || daemon.stdout().matches(" waits").count() == many);
    drop(daemon.kill());
    let daemon = api.windlass.start(["daemon"]);
    let began = Instant::now();
    until("all rest again", &daemon, || daemon.stdout().matches(" waits").count() == many);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(runs.iter().all(|run| api.windlass.show(run).status() == "running"));
    stop(daemon);
}
