//! `kill -9` at any moment, lost replies: whatever is resumed has every effect once.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::Duration;

use windlass_tests::Api;

#[test]
fn a_run_killed_in_the_middle_of_a_step_goes_on_and_repeats_nothing() {
    let api = Api::start();
    let steps = [
        Api::event("first", "", ""),
        Api::event("second", "fault = \"late-reply\", ms = \"20000\"", ""),
        Api::event("third", "", ""),
    ];
    api.runbook("crash", &steps.concat());
    let running = api.start_command("run", "crash", &[]);
    api.service.wait_until("the second event", |log| log.iter().filter(|entry| entry.effect).count() == 2);
    let killed = running.kill();
    assert_eq!(killed.code, None);

    let run = api.windlass.only_run();
    drop(api.windlass.run(["resume", &run]).expect(0));
    assert_eq!(api.created(), ["first", "second", "third"]);
    assert_eq!(api.sent(), 3, "nothing was even sent twice");
    let record = api.windlass.show(&run);
    assert_eq!(record.status(), "succeeded");
    assert_eq!(record.result("first"), "applied");
    assert_eq!(record.result("second"), "adopted", "{}", record.step("second"));
    assert_eq!(record.result("third"), "applied");
    // Its process is gone, the run is over: there is nothing to resume.
    assert_ne!(api.windlass.run(["resume", &run]).code, Some(9));
}

#[test]
fn a_run_killed_at_any_moment_has_every_effect_once() {
    let api = Api::start();
    let ids = ["a", "b", "c", "d", "e"];
    let steps: Vec<String> =
        ids.iter().map(|id| Api::event(id, "fault = \"late-reply\", ms = \"15\"", "")).collect();
    api.runbook("storm", &steps.concat());
    let mut runs = 0;
    // From before the first event to after the last one; what this machine makes of a moment differs anyway.
    for delay in (0..240).step_by(12) {
        let before = api.created().len();
        let known = api.windlass.runs();
        let running = api.start_command("run", "storm", &[]);
        std::thread::sleep(Duration::from_millis(delay));
        drop(running.kill());
        let Some(run) = api.windlass.runs().into_iter().find(|run| !known.contains(run)) else { continue };
        runs += 1;
        let resumed = api.windlass.run(["resume", &run]);
        let record = api.windlass.show(&run);
        assert_eq!(record.status(), "succeeded", "after {delay} ms: {} {:#}", resumed.all(), record.0);
        let created = api.created();
        assert_eq!(created.get(before..), Some(ids.map(str::to_owned).as_slice()), "after {delay} ms");
    }
    assert!(runs > 5, "only {runs} runs had begun when they were killed");
}

#[test]
fn a_request_whose_reply_was_lost_is_not_sent_twice() {
    let api = Api::start();
    let follower = r#"
[[step]]
id = "found"
do = "api.fetch"
with = { url = "/api/audit/events/${steps.lost.output.captured.id}" }
"#;
    let steps = Api::event("lost", "fault = \"lost-reply\"", "") + follower;
    api.runbook("lost", &steps);
    drop(api.run("run", "lost", &[]).expect(0));
    assert_eq!((api.created().len(), api.sent()), (1, 1));
    let record = api.windlass.show(&api.windlass.only_run());
    assert_eq!(record.result("lost"), "adopted");
    assert_eq!(record.result("found"), "succeeded");
}

#[test]
fn a_request_that_never_landed_is_sent_again_only_where_that_is_harmless() {
    let api = Api::start();
    let steps = Api::event("lost", "fault = \"lost-request\"", "repeatable = true");
    api.runbook(
        "repeatable",
        &(steps.replace("do = ", "retry = { attempts = 3, backoff = \"10ms..20ms\" }\ndo = ")),
    );
    let run = api.run("run", "repeatable", &[]);
    // The service loses every request here, so that in the end a person is asked; but it was tried again.
    assert_eq!(run.code, Some(3), "{}", run.all());
    assert!(api.created().is_empty() && api.sent() >= 2, "{} sent", api.sent());
}

#[test]
fn an_unknown_outcome_asks_and_the_answer_is_obeyed() {
    let api = Api::start();
    let steps = Api::event_without_probe("lost", "fault = \"lost-reply\"", "") + &Api::event("next", "", "");
    api.runbook("asks", &steps);

    let asked = api.run("run", "asks", &[]).expect(3);
    let run = api.windlass.only_run();
    assert!(asked.all().contains("--applied") && asked.all().contains(&run), "{}", asked.all());
    assert_eq!(api.created(), ["lost"]);
    // Without an answer nothing moves.
    drop(api.windlass.run(["resume", &run]).expect(3));
    assert_eq!(api.sent(), 1);
    let answer = ["resume", &run, "--step", "lost", "--applied", "--reason", "it is in the audit trail"];
    drop(api.windlass.run(answer).expect(0));
    assert_eq!(api.created(), ["lost", "next"]);
    let record = api.windlass.run(["show", &run]).expect(0);
    assert!(
        record.stdout.contains("it is in the audit trail") || record.stdout.contains("accepted"),
        "{}",
        record.stdout
    );

    drop(api.run("run", "asks", &[]).expect(3));
    let second = api.windlass.runs().into_iter().find(|id| *id != run).unwrap();
    let answer = ["resume", &second, "--step", "lost", "--not-applied", "--reason", "it is not there"];
    // It is sent again, under the same key, and its reply is lost again.
    drop(api.windlass.run(answer).expect(3));
    assert_eq!(api.sent(), 4);
    let keys: Vec<_> = api.service.requests().into_iter().filter_map(|entry| entry.idempotency_key).collect();
    assert_eq!(keys[2], keys[3]);
}

#[test]
fn a_run_that_is_owned_is_not_taken_over() {
    let api = Api::start();
    api.runbook("busy", &Api::event("slow", "fault = \"late-reply\", ms = \"20000\"", ""));
    let running = api.start_command("run", "busy", &[]);
    api.service.wait_until("the event", |log| log.iter().any(|entry| entry.effect));
    let run = api.windlass.only_run();
    // Its process hears that somebody asked, and goes on as it did.
    let second = api.windlass.run(["resume", &run]).expect(0);
    assert!(second.all().contains("heard by the process that drives"), "{}", second.all());
    drop(running.kill());
    drop(api.windlass.run(["resume", &run]).expect(0));
    assert_eq!(api.sent(), 1);
}

#[test]
fn a_program_killed_with_the_run_is_gone_before_anybody_goes_on() {
    let api = Api::start();
    let script = api.workspace.write(
        "append.sh",
        "#!/bin/sh\n[ \"$1\" = check ] && { grep -q done \"$2\" 2>/dev/null; exit; }\n\
         echo begun >> \"$2\"\nsleep 5\necho done >> \"$2\"\n",
    );
    make_executable(&script);
    let environment = api.workspace.read("environment.toml");
    api.workspace
        .write("environment.toml", &format!("{environment}\n[connections.tool]\nprogram = \"append.sh\"\n"));
    api.workspace.write(
        "program.toml",
        r#"[runbook]
name = "program"

[plugins.shell]
source = "builtin:command"
connections = { tool = "tool", out = "out" }
allow = ["program tool write {path:out}", "folder out: write"]

[[step]]
id = "append"
do = "shell.run"
with = { program = "tool", arguments = ["write", "/out/effect"] }
"#,
    );
    let running = api.start_command("run", "program", &[]);
    let effect = api.workspace.path("out/effect");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !std::fs::metadata(&effect).is_ok_and(|file| file.len() > 0) {
        assert!(std::time::Instant::now() < deadline, "the program never began: {}", running.kill().all());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(running.kill());
    let run = api.windlass.only_run();
    // What the program started outlives it for a while, and is waited for. Then nobody can tell whether it did what it
    // should, so that it is not started a second time.
    let resumed = api.windlass.run(["resume", &run]);
    assert_eq!(resumed.code, Some(3), "{}", resumed.all());
    assert_eq!(api.workspace.read("out/effect"), "begun\n");
    let still_there =
        std::process::Command::new("pgrep").args(["-f", &script.display().to_string()]).output().unwrap();
    assert!(still_there.stdout.is_empty(), "the program outlived its host");
}

fn make_executable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_a_run_has_pinned_is_enough_to_go_on() {
    let api = Api::start();
    let steps =
        [Api::event("first", "fault = \"late-reply\", ms = \"20000\"", ""), Api::event("second", "", "")];
    api.runbook("pinned", &steps.concat());
    let running = api.start_command("run", "pinned", &[]);
    api.service.wait_until("the first event", |log| log.iter().any(|entry| entry.effect));
    drop(running.kill());
    for file in ["pinned.toml", "environment.toml"] {
        std::fs::remove_file(api.workspace.path(file)).unwrap();
    }
    let run = api.windlass.only_run();
    drop(api.windlass.run(["resume", &run]).expect(0));
    assert_eq!(api.created(), ["first", "second"]);
    drop(api.windlass.run(["show", &run]).expect(0));
}
