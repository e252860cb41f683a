//! One terminal runs, another one approves, pauses, cancels, rolls back: also when the first was killed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use windlass_tests::{Api, Running};

/// Writes a file whose undo removes it.
fn write(id: &str) -> String {
    format!(
        "\n[[step]]\nid = \"{id}\"\ndo = \"files.write\"\nwith = {{ path = \"{id}.txt\", text = \"by {id}\\n\" }}\n"
    )
}

fn sleep(id: &str, span: &str) -> String {
    format!("\n[[step]]\nid = \"{id}\"\nwait = \"{span}\"\n")
}

fn asks(id: &str, more: &str) -> String {
    format!("\n[[step]]\nid = \"{id}\"\napprove = {{ roles = [\"owner\"], text = \"Go on?\"{more} }}\n")
}

/// Fails whenever it is called.
const BROKEN: &str = "\n[[step]]\nid = \"broken\"\ndo = \"api.fetch\"\nwith = { url = \"/fault/500\" }\n";

fn until(what: &str, running: &Running, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never {what}:\n{}", running.stdout());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts a run and waits until a step stands at something.
fn start(api: &Api, name: &str, steps: &str, step: &str, phase: &str) -> (Running, String) {
    api.runbook(name, steps);
    let known = api.windlass.runs();
    let running = api.start_command("run", name, &[]);
    let mut run = String::new();
    until("the run begins", &running, || api.windlass.runs().len() > known.len());
    run.extend(api.windlass.runs().into_iter().find(|run| !known.contains(run)));
    until(&format!("`{step}` is {phase}"), &running, || {
        let steps = api.windlass.show(&run).0["steps"].clone();
        steps.as_array().unwrap().iter().any(|row| row["step"] == step && row["phase"] == phase)
    });
    (running, run)
}

/// A run that has come to its good end.
fn ended(api: &Api, name: &str, steps: &str) -> String {
    api.runbook(name, steps);
    drop(api.run("run", name, &[]).expect(0));
    api.windlass.only_run()
}

fn is_there(api: &Api, file: &str) -> bool {
    api.workspace.path(&format!("out/{file}.txt")).exists()
}

/// A key that the real `ssh-keygen` made, with a signers file that knows it under these names and roles.
fn keys(api: &Api, signers: &[(&str, &str)]) {
    let mut file = String::new();
    for (name, role) in signers {
        let path = api.workspace.path(name);
        new_key(&path);
        let public = api.workspace.read(&format!("{name}.pub"));
        let public = public.trim();
        writeln!(file, "[[signer]]\nname = \"{name}\"\nkey = \"{public}\"\nroles = [\"{role}\"]").unwrap();
    }
    let folder = api.windlass.home().join("config/windlass");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("signers.toml"), file).unwrap();
}

fn new_key(path: &std::path::Path) {
    assert!(made_ok(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path)));
}

fn made_ok(command: &mut Command) -> bool {
    command.status().unwrap().success()
}

fn word<'a>(verb: &'a str, run: &'a str, key: &'a str) -> [&'a str; 8] {
    [verb, run, "sign_off", "--reason", "looked at it", "--yes", "--key", key]
}

#[test]
fn a_second_terminal_pauses_a_run_and_lets_it_go_on() {
    let api = Api::start();
    let steps = write("first") + &sleep("pause", "2s") + &write("second");
    let (running, run) = start(&api, "paused", &steps, "pause", "waiting");
    drop(api.windlass.run(["pause", &run, "--reason", "lunch"]).expect(0));
    let ended = running.wait().expect(3);
    assert!(ended.all().contains(&format!("windlass resume {run}")), "{}", ended.all());
    assert_eq!(api.windlass.show(&run).status(), "held");
    assert!(is_there(&api, "first") && !is_there(&api, "second"));
    drop(api.windlass.run(["resume", &run]).expect(0));
    assert!(is_there(&api, "second"));
}

#[test]
fn a_second_terminal_cancels_a_run() {
    let api = Api::start();
    let steps = write("first") + &sleep("pause", "1h") + &write("second");
    let (running, run) = start(&api, "cancelled", &steps, "pause", "waiting");
    drop(api.windlass.run(["cancel", &run, "--reason", "wrong version"]).expect(0));
    drop(running.wait().expect(6));
    assert_eq!(api.windlass.show(&run).status(), "cancelled");
    assert!(is_there(&api, "first") && !is_there(&api, "second"));
    // It is over: nobody hears anything any more.
    drop(api.windlass.run(["pause", &run]).expect(2).says("has ended"));
}

#[test]
fn a_second_terminal_rolls_a_run_back() {
    let api = Api::start();
    let steps = write("first") + &write("second") + &sleep("pause", "1h");
    let (running, run) = start(&api, "back", &steps, "pause", "waiting");
    assert!(is_there(&api, "first") && is_there(&api, "second"));
    drop(api.windlass.run(["rollback", &run, "--reason", "errors in the log"]).expect(0));
    drop(running.wait().expect(5));
    let record = api.windlass.show(&run);
    assert_eq!((record.status(), record.0["world"].as_str()), ("rolled_back", Some("restored")));
    assert!(!is_there(&api, "first") && !is_there(&api, "second"));
}

/// The file, and an event whose reply takes so long.
fn slow_after_a_file(ms: u32) -> String {
    write("first") + &Api::event("slow", &format!("fault = \"late-reply\", ms = \"{ms}\""), "")
}

/// Starts it, and waits until the event is on its way.
fn start_slow(api: &Api, name: &str, ms: u32) -> (Running, String) {
    api.runbook(name, &slow_after_a_file(ms));
    let running = api.start_command("run", name, &[]);
    api.service.wait_until("the event", |log| log.iter().any(|entry| entry.effect));
    let run = api.windlass.only_run();
    (running, run)
}

/// Cancelled is stopped on the way forward; who then asks for the way back gets it.
#[test]
fn a_rollback_after_a_cancel_wins_while_something_is_applied() {
    let api = Api::start();
    let (running, run) = start_slow(&api, "regretted", 3_000);
    drop(api.windlass.run(["cancel", &run, "--reason", "wrong version"]).expect(0));
    drop(api.windlass.run(["rollback", &run, "--reason", "take it back"]).expect(0));
    // The event has no `reverse`, which is a person's to settle; then the file goes.
    drop(running.wait().expect(3).says("the rollback begins"));
    drop(api.windlass.run(["resume", &run, "--step", "undo/slow", "--leave", "--reason", "seen"]).expect(1));
    assert!(!is_there(&api, "first"));
}

#[test]
fn a_rollback_that_comes_when_a_cancelled_run_has_ended_is_a_run_of_its_own() {
    let api = Api::start();
    let steps = write("first") + &sleep("pause", "1h");
    let (running, run) = start(&api, "late", &steps, "pause", "waiting");
    drop(api.windlass.run(["cancel", &run]).expect(0));
    drop(api.windlass.run(["rollback", &run, "--reason", "take it back"]).expect(5));
    drop(running.wait().expect(6));
    assert!(!is_there(&api, "first"));
}

#[test]
fn a_run_that_still_drains_its_pause_is_resumed_by_its_own_process() {
    let api = Api::start();
    let (running, run) = start_slow(&api, "drained", 3_000);
    drop(api.windlass.run(["pause", &run]).expect(0));
    drop(api.windlass.run(["resume", &run]).expect(0).says("asked, and heard"));
    drop(running.wait().expect(0));
    assert_eq!(api.windlass.show(&run).status(), "succeeded");
}

#[test]
fn who_asks_with_wait_is_answered_as_the_run_is() {
    let api = Api::start();
    let steps = write("first") + &sleep("pause", "1h");
    let (running, run) = start(&api, "awaited", &steps, "pause", "waiting");
    drop(api.windlass.run(["rollback", &run, "--wait", "--reason", "errors in the log"]).expect(5));
    drop(running.wait().expect(5));
    assert!(!is_there(&api, "first"));
}

/// Both look at what is there before either is; one of them makes the run that takes it back.
#[test]
fn of_two_rollbacks_of_an_ended_run_in_the_same_instant_one_happens() {
    let api = Api::start();
    let run = ended(&api, "once", &(write("first") + &write("second")));
    let back = || api.windlass.start(["rollback", &run, "--reason", "both saw it"]);
    let both = [back(), back(), back()];
    let codes: Vec<Option<i32>> = both.into_iter().map(|one| one.wait().code).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(5)).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Some(2)).count(), 2, "{codes:?}");
    assert_eq!(api.windlass.runs().len(), 2);
}

#[test]
fn an_ended_run_is_taken_back_in_part_and_says_so() {
    let api = Api::start();
    let run = ended(&api, "part", &(write("first") + &write("second")));
    let only = ["rollback", &run, "--only", "second", "--reason", "only this one"];
    drop(api.windlass.run(only).expect(4).says("left as it is: `first`"));
    assert!(is_there(&api, "first") && !is_there(&api, "second"));
}

/// One undo in the way keeps none of the others from being shown.
#[test]
fn a_plan_of_a_rollback_shows_every_step_whatever_stands_in_the_way_of_one() {
    let api = Api::start();
    let run = ended(&api, "shown", &(write("first") + &write("second") + &write("third")));
    std::fs::write(api.workspace.path("out/third.txt"), "somebody else\n").unwrap();
    std::fs::remove_file(api.workspace.path("out/second.txt")).unwrap();
    let planned = api.windlass.run(["rollback", &run, "--plan"]).expect(1);
    let line =
        |step: &str| planned.stdout.lines().find(|line| line.contains(step)).unwrap_or_default().to_owned();
    assert!(line("undo/third").contains("would ask a person (conflict)"), "{}", planned.stdout);
    assert!(line("undo/second").contains("is not needed"), "{}", planned.stdout);
    assert!(line("undo/first").ends_with("undo/first"), "{}", planned.stdout);
    assert!(planned.stdout.contains("first.txt"), "{}", planned.stdout);
}

#[test]
fn an_ended_run_goes_back_past_its_commit_only_by_word_and_with_a_reason() {
    let api = Api::start();
    let run = ended(&api, "committed", &(write("first") + "commit = true\n" + &write("second")));
    let refused = api.windlass.run(["rollback", &run, "--reason", "x"]).expect(2);
    drop(refused.says("needs --past-commit"));
    drop(api.windlass.run(["rollback", &run, "--past-commit"]).expect(2).says("needs a reason"));
    assert!(is_there(&api, "first") && is_there(&api, "second"));
    drop(api.windlass.run(["rollback", &run, "--past-commit", "--reason", "it leaks"]).expect(5));
    assert!(!is_there(&api, "first") && !is_there(&api, "second"));
}

#[test]
fn a_run_whose_process_was_killed_is_rolled_back() {
    let api = Api::start();
    let steps = write("first") + &sleep("pause", "1h");
    let (running, run) = start(&api, "killed", &steps, "pause", "waiting");
    drop(running.kill());
    drop(api.windlass.run(["rollback", &run, "--reason", "it is gone"]).expect(5));
    assert!(!is_there(&api, "first"));
}

#[test]
fn a_pause_without_a_process_is_recorded_and_the_run_is_left_alone() {
    let api = Api::start();
    let steps = write("first") + &sleep("pause", "1s") + &write("second");
    let (running, run) = start(&api, "noted", &steps, "pause", "waiting");
    drop(running.kill());
    let noted = api.windlass.run(["pause", &run, "--reason", "not now"]).expect(0);
    assert!(noted.all().contains(&format!("windlass resume {run}")), "{}", noted.all());
    assert_eq!(api.windlass.show(&run).status(), "held");
    assert!(!is_there(&api, "second"));
    drop(api.windlass.run(["resume", &run]).expect(0));
    assert!(is_there(&api, "second"));
}

#[test]
fn a_run_that_has_ended_is_rolled_back_by_a_run_of_its_own() {
    let api = Api::start();
    let run = ended(&api, "over", &(write("first") + &write("second")));
    let planned = api.windlass.run(["rollback", &run, "--plan"]).expect(10);
    assert!(
        planned.stdout.contains("undo/first") && planned.stdout.contains("first.txt"),
        "{}",
        planned.stdout
    );
    assert!(is_there(&api, "first") && api.windlass.runs().len() == 1, "a plan changes nothing");
    let rolled = api.windlass.run(["rollback", &run, "--reason", "customers complain"]).expect(5);
    assert!(!is_there(&api, "first") && !is_there(&api, "second"), "{}", rolled.all());
    let child = api.windlass.runs().into_iter().find(|other| *other != run).unwrap();
    assert!(rolled.all().contains(&child), "{}", rolled.all());
    assert_eq!(api.windlass.show(&run).status(), "succeeded");
    assert_eq!(api.windlass.show(&child).status(), "rolled_back");
}

/// A later run's effects look like this one's: they are not its own to take back.
#[test]
fn what_was_taken_back_once_is_not_taken_back_again() {
    let api = Api::start();
    let run = ended(&api, "over", &(write("first") + &write("second")));
    let typo = ["rollback", &run, "--only", "frist", "--reason", "a slip"];
    drop(api.windlass.run(typo).expect(2).says("no step `frist`"));
    assert!(is_there(&api, "first"), "a slip takes nothing back");
    drop(api.windlass.run(["rollback", &run, "--reason", "customers complain"]).expect(5));
    drop(api.run("run", "over", &[]).expect(0));
    let again = api.windlass.run(["rollback", &run, "--reason", "once more"]).expect(2);
    drop(again.says("has taken it back already"));
    assert!(is_there(&api, "first") && is_there(&api, "second"));
}

#[test]
fn a_second_terminal_approves_with_a_key_that_the_first_one_knows() {
    let api = Api::start();
    keys(&api, &[("ana", "owner"), ("boris", "auditor")]);
    let steps = write("before") + &asks("sign_off", "") + &write("after");
    let (running, run) = start(&api, "asked", &steps, "sign_off", "approving");
    let key = |name: &str| api.workspace.path(name).display().to_string();
    let says = |name: &str| api.windlass.run(word("approve", &run, &key(name)));

    drop(says("boris").expect(2).says("this takes one of `owner`, and `boris` has `auditor`"));
    let stranger = api.workspace.path("stranger");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(stranger).status();
    assert!(made.unwrap().success());
    drop(says("stranger").expect(2).says("is not in the signers file"));
    assert!(!is_there(&api, "after"));

    let approved = says("ana").expect(0);
    assert!(approved.all().contains("after.txt"), "what is approved is shown: {}", approved.all());
    drop(running.wait().expect(0));
    assert!(is_there(&api, "after"));
}

#[test]
fn an_approval_of_someone_who_was_taken_out_of_the_signers_file_counts_no_more() {
    let api = Api::start();
    keys(&api, &[("ana", "owner")]);
    let (running, run) =
        start(&api, "struck", &(asks("sign_off", "") + &write("after")), "sign_off", "approving");
    let key = api.workspace.path("ana").display().to_string();
    let signers = api.windlass.home().join("config/windlass/signers.toml");
    // The process that runs reads the file anew; the one that signs has its own idea of who may.
    let text = std::fs::read_to_string(&signers).unwrap();
    let elsewhere = api.windlass.home().join("elsewhere/windlass");
    std::fs::create_dir_all(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("signers.toml"), text).unwrap();
    std::fs::rename(api.windlass.home().join("config/windlass/keys"), elsewhere.join("keys")).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("keys"), api.windlass.home().join("config/windlass/keys"))
        .unwrap();
    std::fs::write(&signers, "").unwrap();
    let mut forged = api.windlass.command(word("approve", &run, &key));
    let forged = forged.env("XDG_CONFIG_HOME", api.windlass.home().join("elsewhere")).output().unwrap();
    let said = String::from_utf8_lossy(&forged.stderr).into_owned();
    assert_eq!(forged.status.code(), Some(2), "{said}");
    assert!(said.contains("is not in the signers file"), "{said}");
    assert!(!is_there(&api, "after"));
    drop(running.kill());
}

#[test]
fn a_rejection_is_no_failure_and_nothing_after_it_runs() {
    let api = Api::start();
    keys(&api, &[("ana", "owner")]);
    let (running, run) =
        start(&api, "rejected", &(asks("sign_off", "") + &write("after")), "sign_off", "approving");
    let key = api.workspace.path("ana").display().to_string();
    drop(api.windlass.run(word("reject", &run, &key)).expect(0));
    let ended = running.wait();
    assert_ne!(ended.code, Some(0), "{}", ended.all());
    assert!(ended.all().contains("rejected"), "{}", ended.all());
    assert!(!is_there(&api, "after"));
}

#[test]
fn an_approval_without_a_process_is_recorded_for_whoever_goes_on() {
    let api = Api::start();
    keys(&api, &[("ana", "owner")]);
    let steps = write("before") + &asks("sign_off", "") + &write("after");
    let (running, run) = start(&api, "orphan", &steps, "sign_off", "approving");
    drop(running.kill());
    let key = api.workspace.path("ana").display().to_string();
    drop(api.windlass.run(word("approve", &run, &key)).expect(0));
    assert!(!is_there(&api, "after"));
    drop(api.windlass.run(["resume", &run]).expect(0));
    assert!(is_there(&api, "after"));
}

#[test]
fn what_a_failed_step_needs_is_said_in_one_command() {
    let api = Api::start();
    let held = |name: &str| {
        api.runbook(name, &(BROKEN.to_owned() + &write(name)));
        let known = api.windlass.runs();
        drop(api.run("run", name, &[]).expect(3));
        api.windlass.runs().into_iter().find(|run| !known.contains(run)).unwrap()
    };
    let because = ["--reason", "checked by hand"];

    let run = held("skipped");
    let skip = ["resume", &run, "--step", "broken", "--skip"];
    drop(api.windlass.run(skip.iter().chain(&because)).expect(4));
    assert!(is_there(&api, "skipped"));

    let run = held("mended");
    let retry = ["resume", &run, "--step", "broken", "--retry", "--input", "url=/health"];
    drop(api.windlass.run(retry.iter().chain(&because)).expect(0));
    assert!(is_there(&api, "mended"));

    let run = held("refused");
    let wrong = ["resume", &run, "--step", "broken", "--retry", "--input", "uri=/health"];
    drop(api.windlass.run(wrong.iter().chain(&because)).expect(2).says("--input does not fit"));
    let nowhere = ["resume", &run, "--step", "brocken", "--skip"];
    drop(api.windlass.run(nowhere.iter().chain(&because)).expect(2));
    assert!(!is_there(&api, "refused"));
}

#[test]
fn a_process_that_is_told_to_end_leaves_its_run_paused() {
    let api = Api::start();
    let steps = write("first") + &sleep("pause", "5s") + &write("second");
    let (running, run) = start(&api, "ended", &steps, "pause", "waiting");
    assert!(made_ok(Command::new("kill").args(["-TERM", &running.id().to_string()])));
    drop(running.wait().expect(3));
    assert!(!is_there(&api, "second"));
    drop(api.windlass.run(["resume", &run]).expect(0));
    assert!(is_there(&api, "second"));
}

/// A guard watches in holds too, but not in a process that is to end.
#[test]
fn a_process_that_is_told_to_end_leaves_also_what_a_guard_watches() {
    let api = Api::start();
    let guard = "\n[[guard]]\nid = \"up\"\ndo = \"api.check\"\nwith = { url = \"/health/db\" }\nevery = \"1s\"\n\
                 hold_when = \"false\"\nno_data = \"ignore\"\n";
    let steps = write("first") + &sleep("pause", "60s") + guard;
    let (running, run) = start(&api, "watched", &steps, "pause", "waiting");
    assert!(made_ok(Command::new("kill").args(["-TERM", &running.id().to_string()])));
    drop(running.wait().expect(3));
    assert_eq!(api.windlass.show(&run).status(), "held");
}

/// The first ctrl-c says what keeps the process; the second leaves the run as it is, since nothing is being applied.
#[test]
fn ctrl_c_says_that_a_guard_watches_on_and_leaves_it_at_the_second() {
    let api = Api::start();
    let guard = "\n[[guard]]\nid = \"up\"\ndo = \"api.check\"\nwith = { url = \"/health/db\" }\nevery = \"1s\"\n\
                 hold_when = \"false\"\nno_data = \"ignore\"\n";
    let steps = write("first") + &sleep("pause", "60s") + guard;
    let (running, run) = start(&api, "kept", &steps, "pause", "waiting");
    let press = || assert!(made_ok(Command::new("kill").args(["-INT", &running.id().to_string()])));
    press();
    until("it says why it stays", &running, || running.stdout().contains("`guard/up` still watches"));
    press();
    drop(running.wait().expect(3));
    let record = api.windlass.show(&run);
    assert_eq!(record.status(), "held", "paused, and not cancelled");
}

#[test]
fn ctrl_c_pauses_and_a_second_one_cancels() {
    let api = Api::start();
    let slow = Api::event("slow", "fault = \"late-reply\", ms = \"20000\"", "");
    api.runbook("pressed", &slow);
    let running = api.start_command("run", "pressed", &[]);
    api.service.wait_until("the event", |log| log.iter().any(|entry| entry.effect));
    let press = || assert!(made_ok(Command::new("kill").args(["-INT", &running.id().to_string()])));
    press();
    std::thread::sleep(Duration::from_millis(300));
    press();
    let began = Instant::now();
    let ended = running.wait();
    assert!(began.elapsed() < Duration::from_secs(10), "what is applied is cut off");
    assert_eq!(ended.code, Some(6), "{}", ended.all());
    assert!(ended.all().contains("pausing"), "{}", ended.all());
}

const GROUP: &str = "[concurrency]\ngroup = \"production\"\n";

#[test]
fn runs_of_a_group_come_one_after_the_other() {
    let api = Api::start();
    let (first, run) =
        start(&api, "one", &format!("{}{GROUP}", write("one") + &sleep("pause", "5s")), "pause", "waiting");
    api.runbook("two", &format!("{}{GROUP}", write("two")));
    let second = api.start_command("run", "two", &[]);
    std::thread::sleep(Duration::from_millis(500));
    assert!(!is_there(&api, "two"), "{}", second.stdout());
    api.runbook("three", &format!("{}{GROUP}when_busy = \"reject\"\n", write("three")));
    let third = api.run("run", "three", &[]).expect(9);
    assert!(third.all().contains(&run), "{}", third.all());
    drop(first.wait().expect(0));
    drop(second.wait().expect(0));
    assert!(is_there(&api, "two") && !is_there(&api, "three"));
}

/// Nothing is at work in it, so nothing has to come to its end.
#[test]
fn ctrl_c_leaves_a_run_at_once_that_waits_for_its_group() {
    let api = Api::start();
    let steps = format!("{}{GROUP}", write("one") + &sleep("pause", "20s"));
    let (first, _) = start(&api, "one", &steps, "pause", "waiting");
    api.runbook("two", &format!("{}{GROUP}", write("two")));
    let second = api.start_command("run", "two", &[]);
    until("the second waits", &second, || second.stdout().contains("waits for group"));
    let began = Instant::now();
    assert!(made_ok(Command::new("kill").args(["-INT", &second.id().to_string()])));
    drop(second.wait().expect(3));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(made_ok(Command::new("kill").args(["-INT", &first.id().to_string()])));
    drop(first.wait().expect(3));
}

/// Effects of a step that the new runbook does not have could not be taken back by it.
#[test]
fn what_is_taken_over_must_be_of_steps_that_the_runbook_has() {
    let api = Api::start();
    let steps = write("one") + &sleep("pause", "1h");
    let (running, run) = start(&api, "left", &format!("{steps}{GROUP}"), "pause", "waiting");
    drop(api.windlass.run(["cancel", &run]).expect(0));
    drop(running.wait().expect(6));
    api.runbook("next", &format!("{}{GROUP}", write("next")));
    drop(api.run("run", "next", &["--continue", &run]).expect(2).says("`one`"));
    assert!(is_there(&api, "one") && !is_there(&api, "next"));
}

#[test]
fn what_a_run_of_the_group_has_left_is_taken_over_or_left_by_word_only() {
    let api = Api::start();
    let steps = write("one") + &sleep("pause", "1h");
    let (running, run) = start(&api, "left", &format!("{steps}{GROUP}"), "pause", "waiting");
    drop(api.windlass.run(["cancel", &run]).expect(0));
    drop(running.wait().expect(6));
    api.runbook("next", &format!("{}{GROUP}", write("next")));
    let refused = api.run("run", "next", &[]).expect(2);
    assert!(refused.all().contains(&format!("--continue {run}")), "{}", refused.all());
    assert!(!is_there(&api, "next"));
    drop(api.run("run", "next", &["--ignore", &run, "--reason", "it is meant to stay"]).expect(0));
    assert!(is_there(&api, "next") && is_there(&api, "one"));
}
