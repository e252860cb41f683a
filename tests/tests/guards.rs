//! Guards against a service whose figures turn bad: in whatever a run is at, it goes back within two periods; and what
//! no figures at all lead to is what the runbook says.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and this one prints its figures"
)]

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use windlass_tests::{Api, Finished, Running};

const PERIOD_MS: i64 = 500;
/// How long what is being applied may go on.
const GRACE_MS: i64 = 100;
const GOOD: &str = r#"{"error_rate": 0.01, "age_s": 1}"#;
const BAD: &str = r#"{"error_rate": 0.06, "age_s": 1}"#;

/// A run under a guard that reads the figures of the service.
struct Watched {
    api: Api,
    running: Running,
}

impl Watched {
    /// Starts a run that creates an event and then does what `step` says. `guard` are further keys of the guard.
    fn start(step: &str, guard: &str) -> Self {
        let api = Api::start();
        let first = Api::event(
            "first",
            "",
            "reverse = { method = \"DELETE\", url = \"/api/audit/events/{captured.id}\" }",
        );
        let guard = format!(
            r#"
[[guard]]
id = "errors"
do = "api.fetch"
with = {{ url = "/figures" }}
every = "{PERIOD_MS}ms"
grace = "{GRACE_MS}ms"
rollback_when = "result.body.error_rate > 0.05"
{guard}
"#
        );
        api.runbook("watched", &[&first, step, &guard].concat());
        api.workspace.change(
            "watched.toml",
            &[(
                "\"http POST http://{vars.host}/api/session\"",
                "\"http DELETE http://{vars.host}/api/audit/events/*\"",
            )],
        );
        show(&api, GOOD);
        let running = api.start_command("run", "watched", &["--output", "json"]);
        Self { api, running }
    }

    /// The events so far.
    fn events(&self) -> Vec<Value> {
        let stdout = self.running.stdout();
        // The last line may not be whole yet.
        let whole = stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for an event, and gives it.
    fn event(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(event) = self.events().into_iter().find(&is) {
                return event;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}:\n{}", self.running.stdout());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn kind(&self, kind: &str) -> Value {
        self.event(kind, |event| event["kind"] == kind)
    }

    /// Turns the figures bad, and gives how many milliseconds it took from there until the run went back.
    fn turns_bad(&self) -> i64 {
        let bad_since = Timestamp::now();
        show(&self.api, BAD);
        millis_between(bad_since, &self.kind("rollback_started"))
    }

    fn end(self, code: i32) -> (Api, Finished) {
        (self.api, self.running.wait().expect(code))
    }
}

fn millis_between(from: Timestamp, event: &Value) -> i64 {
    let at: Timestamp = event["time"].as_str().unwrap().parse().unwrap();
    at.as_millisecond() - from.as_millisecond()
}

fn show(api: &Api, figures: &str) {
    assert_eq!(api.service.send("PUT", "/figures", figures), 204);
}

/// The run is at `at`, when the figures turn bad: it goes back within two periods, and nothing is left.
fn goes_back(what: &str, step: &str, at: impl Fn(&Value) -> bool, prepare: impl Fn(&Watched)) {
    let watched = Watched::start(step, "no_data = \"hold\"");
    watched.event(what, at);
    watched.kind("guard_sampled");
    prepare(&watched);
    let bad_since = Timestamp::now();
    let started = watched.turns_bad();
    let undo = watched.event("an undo", |event| {
        event["kind"] == "attempt_started" && event["attempt"]["effect"]["direction"] == "undo"
    });
    let undo = millis_between(bad_since, &undo);
    eprintln!("{what}: going back after {started} ms, first undo after {undo} ms");
    assert!(started <= 2 * PERIOD_MS, "{what}: it went back after {started} ms");
    assert!(undo <= 2 * PERIOD_MS + GRACE_MS, "{what}: the first undo was after {undo} ms");
    let (api, _) = watched.end(5);
    assert!(api.created().is_empty(), "{what}: {:?}", api.created());
}

fn is(kind: &'static str, step: &'static str) -> impl Fn(&Value) -> bool {
    move |event| {
        event["kind"] == kind && (event["step"] == step || event["attempt"]["effect"]["step"] == step)
    }
}

const SLEEPS: &str = "\n[[step]]\nid = \"sleeps\"\nwait = \"1h\"\n";

#[test]
fn a_guard_turns_a_run_back_while_a_step_is_applied() {
    let reverse = "reverse = { method = \"DELETE\", url = \"/api/audit/events/{captured.id}\" }";
    let slow = Api::event("slow", "fault = \"late-reply\", ms = \"20000\"", reverse);
    goes_back("applying", &slow, is("attempt_started", "slow"), |watched| {
        watched
            .api
            .service
            .wait_until("the effect", |log| log.iter().filter(|entry| entry.effect).count() == 2);
    });
}

#[test]
fn a_guard_turns_a_run_back_while_it_sleeps() {
    goes_back("sleeping", SLEEPS, is("wait_started", "sleeps"), |_| ());
}

#[test]
fn a_guard_turns_a_run_back_while_people_are_asked() {
    let asks = "\n[[step]]\nid = \"asks\"\napprove = { roles = [\"owner\"], text = \"Go on?\" }\n";
    goes_back("waiting for approval", asks, is("approval_requested", "asks"), |_| ());
}

#[test]
fn a_guard_turns_a_run_back_while_a_step_waits_for_its_next_try() {
    let retries = r#"
[[step]]
id = "retries"
do = "api.check"
with = { url = "/fault/500" }
retry = { attempts = 3, backoff = "1h..1h" }
"#;
    goes_back("waiting to retry", retries, is("retry_scheduled", "retries"), |_| ());
}

#[test]
fn a_guard_turns_a_run_back_while_a_failure_holds_it() {
    let fails = "\n[[step]]\nid = \"fails\"\ndo = \"api.check\"\nwith = { url = \"/fault/500\" }\non_failure = \"pause\"\n";
    goes_back("held by a failure", fails, |event| event["kind"] == "run_held", |_| ());
}

#[test]
fn a_guard_turns_a_run_back_that_a_person_holds_and_its_undos_wait_for_the_person() {
    let watched = Watched::start(SLEEPS, "no_data = \"hold\"");
    watched.event("the wait", is("wait_started", "sleeps"));
    let run = watched.api.windlass.only_run();
    drop(watched.api.windlass.run(["pause", &run, "--reason", "lunch"]).expect(0));
    watched.kind("run_held");
    let started = watched.turns_bad();
    eprintln!("held by a person: going back after {started} ms");
    assert!(started <= 2 * PERIOD_MS, "it went back after {started} ms");
    let (api, _) = watched.end(3);
    assert_eq!(api.created(), ["first"]);
    drop(api.windlass.run(["resume", &run]).expect(5));
    assert!(api.created().is_empty());
}

/// Answers that are no figures.
const NO_FIGURES: [(&str, &str); 4] = [
    ("NaN", r#"{"error_rate": NaN, "age_s": 1}"#),
    ("nothing", ""),
    ("a field that is null", r#"{"error_rate": null, "age_s": 1}"#),
    ("figures of yesterday", r#"{"error_rate": 0.01, "age_s": 86400}"#),
];

/// A run whose figures are gone while it waits.
fn without_figures(word: &str, figures: &str) -> Watched {
    let short = "\n[[step]]\nid = \"sleeps\"\nwait = \"3s\"\n";
    let guard = format!("no_data = \"{word}\"\nfresh_when = \"result.body.age_s < 60\"");
    let watched = Watched::start(short, &guard);
    watched.event("the wait", is("wait_started", "sleeps"));
    watched.kind("guard_sampled");
    show(&watched.api, figures);
    watched
}

fn has_no_data(event: &Value) -> bool {
    event["kind"] == "guard_sampled" && event["band"] == "no_data"
}

#[test]
fn no_data_holds_where_the_runbook_says_so_until_there_is_data_again() {
    for (what, figures) in NO_FIGURES {
        let watched = without_figures("hold", figures);
        watched.event(what, has_no_data);
        watched.event(what, |event| event["kind"] == "run_held" && event["reason"] == "guard");
        show(&watched.api, GOOD);
        watched.event(what, |event| event["kind"] == "run_released" && event["reason"] == "guard");
        let (api, _) = watched.end(0);
        assert_eq!(api.created(), ["first"], "{what}");
    }
}

#[test]
fn no_data_turns_back_where_the_runbook_says_so() {
    for (what, figures) in NO_FIGURES {
        let watched = without_figures("rollback", figures);
        watched.event(what, has_no_data);
        let (api, _) = watched.end(5);
        assert!(api.created().is_empty(), "{what}");
    }
}

#[test]
fn no_data_is_ignored_where_the_runbook_says_so() {
    for (what, figures) in NO_FIGURES {
        let watched = without_figures("ignore", figures);
        watched.event(what, has_no_data);
        let (api, _) = watched.end(0);
        assert_eq!(api.created(), ["first"], "{what}");
    }
}
