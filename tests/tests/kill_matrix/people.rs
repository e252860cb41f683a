//! Runs that people have their say in: from a second terminal, about a step that failed, with their key, by the clock.

use std::process::Command;

use windlass_engine::Verdict;

use crate::backward::FAILS;
use crate::drive::{Move, RUN, Scenario, Then, When, words};
use crate::forward::{LATE, nothing};
use crate::points::Class;
use crate::stage::{Look, Stage, step};

/// A scenario that is there for what only it writes.
const PLAIN: Scenario = Scenario {
    name: "",
    class: None,
    every_moment: false,
    stage: slow,
    person: nothing,
    landed: &[],
    check: is_consistent,
};

pub(crate) fn scenarios() -> Vec<Scenario> {
    let from_outside = |name, person| Scenario { name, person, ..PLAIN };
    let of = |name, stage: fn() -> Stage, person| Scenario { name, stage, person, ..PLAIN };
    vec![
        from_outside("paused from outside", |_, look| besides(look, "pause @run --reason lunch")),
        from_outside("cancelled from outside", |_, look| besides(look, "cancel @run --reason wrong")),
        from_outside("terminated from outside", |_, look| besides(look, "terminate @run --reason wrong")),
        from_outside("rolled back from outside", |_, look| besides(look, "rollback @run --reason wrong")),
        of("refused", refused, nothing),
        of("another input", fails, another_input),
        of("one step back", slow, one_step_back),
        of("back after its end", slow, back_after_its_end),
        of("signed", to_be_signed, signs),
        of("signed too late", to_be_signed_at_once, signs_too_late),
        of("a commit, a baseline, a group", with_group, nothing),
        Scenario { check: each_ran_once, ..of("one after the other", with_group, one_after_the_other) },
        of("at its time", at_a_time, nothing),
        of("too late", at_a_time, too_late),
        of("the clock is set", at_a_time, sets_the_clock),
        of("leads elsewhere", bound_to_a_server, leads_elsewhere),
        of("watched", watched, raises_the_alarm),
    ]
}

/// Two steps, the first of which takes a while.
fn slow() -> Stage {
    Stage::new("", &[step("first", Class::Probed, LATE, ""), step("second", Class::Probed, "", "")].concat())
}

/// Whatever became of the run, no effect is there twice, and none that the record does not tell of.
fn is_consistent(stage: &Stage, look: &Look) {
    let created = stage.api.created();
    let mut once = created.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), created.len(), "{created:?}");
    let deleted = stage.api.service.effects().into_iter().filter(|entry| entry.method == "DELETE").count();
    assert_eq!(stage.api.sent(), created.len() + deleted, "nothing was even sent twice");
    match look.state.verdict().unwrap().verdict {
        Verdict::Succeeded => assert!(created.contains(&"first".to_owned()), "{}", look.summary()),
        Verdict::RolledBack => assert!(created.is_empty(), "{created:?} {}", look.summary()),
        Verdict::Partial | Verdict::Cancelled | Verdict::Failed => (),
    }
}

/// Starts the run, and while its first effect has landed and not ended, types something in another terminal.
fn besides(look: Option<&Look>, line: &str) -> Option<Move> {
    look.is_none().then(|| Move::Besides(words(RUN), vec![(When::Requests(2), Then::Type(words(line)))]))
}

fn fails() -> Stage {
    let failing = FAILS.replace("\"rollback\"", "\"pause\"");
    Stage::new("", &[step("first", Class::Probed, "", ""), failing].concat())
}

/// A step that the service refuses, which the plugin leaves a word about.
fn refused() -> Stage {
    let refused = r#"
[[step]]
id = "refused"
do = "api.send"
with = { method = "POST", url = "/fault/401" }
on_failure = "continue"
"#;
    Stage::new("", &[&step("first", Class::Probed, "", ""), refused].concat())
}

fn another_input(_: &Stage, look: Option<&Look>) -> Option<Move> {
    let look = look?;
    let held = look.state.ended().is_none()
        && look.state.step("fails").is_some_and(|step| step.work.failure.is_some());
    held.then(|| Move::line("resume @run --step fails --retry --input url=/health --reason 'it moved'"))
}

fn one_step_back(_: &Stage, look: Option<&Look>) -> Option<Move> {
    let Some(look) = look else { return besides(None, "pause @run --reason 'not yet'") };
    if look.state.ended().is_some() {
        return None;
    }
    if look.has("rollback_finished") {
        return Some(Move::line("cancel @run --reason 'seen enough'"));
    }
    if look.has("rollback_started") || !look.has("run_held") {
        return None;
    }
    Some(Move::line("rollback @run --only first --reason 'try that again'"))
}

fn back_after_its_end(_: &Stage, look: Option<&Look>) -> Option<Move> {
    let look = look?;
    let verdict = look.state.verdict()?.verdict;
    (look.state.ended().is_some() && verdict == Verdict::Succeeded)
        .then(|| Move::line("rollback @run --reason 'customers complain'"))
}

const ASKS: &str = r#"
[[step]]
id = "sign_off"
approve = { roles = ["owner"], text = "Go on?" }

[[step]]
id = "makes_signed"
do = "files.write"
with = { path = "signed", text = "by hand\n" }
"#;

fn to_be_signed() -> Stage {
    with_signer(Stage::new("", &[&step("first", Class::Probed, "", ""), ASKS].concat()))
}

fn to_be_signed_at_once() -> Stage {
    let expires = ASKS.replace("text = \"Go on?\"", "text = \"Go on?\", expires = \"300ms\"");
    with_signer(Stage::new("", &[step("first", Class::Probed, "", ""), expires].concat()))
}

/// Has somebody who may sign.
fn with_signer(stage: Stage) -> Stage {
    let key = stage.api.workspace.path("ana");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
    assert!(made.success());
    let public = stage.api.workspace.read("ana.pub");
    let signers = format!("[[signer]]\nname = \"ana\"\nkey = \"{}\"\nroles = [\"owner\"]\n", public.trim());
    let folder = stage.api.windlass.home().join("config/windlass");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("signers.toml"), signers).unwrap();
    stage
}

const SIGN: &str = "approve @run sign_off --reason 'looked at it' --yes --key @key";

/// Signs what is asked. The first time something has come in the way by then, so that it has to be asked again.
fn signs(_: &Stage, look: Option<&Look>) -> Option<Move> {
    let sign = |count| (When::Events("approval_requested", count), Then::Type(words(SIGN)));
    let Some(look) = look else {
        let intrude = (When::Events("approval_requested", 1), Then::Do(intrude));
        return Some(Move::Besides(words(RUN), vec![intrude, sign(1), sign(2)]));
    };
    if look.state.ended().is_some() {
        return None;
    }
    let asked = look.count("approval_requested");
    let open = look.state.approval("sign_off").is_some_and(|approval| approval.is_open());
    let next = if open { asked } else { asked + 1 };
    Some(Move::Besides(words("resume @run"), vec![sign(next), sign(next + 1)]))
}

fn intrude(stage: &Stage) {
    stage.api.workspace.write("out/signed", "by someone else\n");
}

fn signs_too_late(_: &Stage, look: Option<&Look>) -> Option<Move> {
    let look = look?;
    (look.state.ended().is_none() && look.has("approval_expired"))
        .then(|| Move::line("cancel @run --reason 'nobody is there'"))
}

/// A commit, a value to compare with, and a group that nobody else is in.
fn with_group() -> Stage {
    let more = "
[baseline]
before = \"steps.look.output.body.requests\"

[concurrency]
group = \"production\"
";
    let look = "\n[[step]]\nid = \"look\"\ndo = \"api.fetch\"\nwith = { url = \"/stats?window=x\" }\n";
    let first = step("first", Class::Probed, LATE, "").replace("do = ", "commit = true\ndo = ");
    Stage::new("", &[look, &first, more].concat())
}

/// A second run of the group waits for the first.
fn one_after_the_other(_: &Stage, look: Option<&Look>) -> Option<Move> {
    besides(look, RUN)
}

/// Each run of the group has its effect once: of a second one that was killed there is a third.
fn each_ran_once(stage: &Stage, look: &Look) {
    assert_eq!(look.state.status(), "succeeded");
    let created = stage.api.created();
    assert!(created.iter().all(|event| event == "first") && (1..=3).contains(&created.len()), "{created:?}");
    assert_eq!(stage.api.sent(), created.len());
}

fn at_a_time() -> Stage {
    let first = step("first", Class::Probed, "", "").replace("do = ", "at = \"T\"\ndo = ");
    let second = step("second", Class::Probed, "", "").replace("do = ", "at = \"T+1500ms\"\ndo = ");
    Stage::new("", &[first, second].concat())
}

fn too_late(_: &Stage, look: Option<&Look>) -> Option<Move> {
    look.is_none().then(|| Move::line(&format!("{RUN} --at 2026-01-01T00:00:00Z")))
}

/// Somebody sets the clock while the run waits.
fn sets_the_clock(_: &Stage, look: Option<&Look>) -> Option<Move> {
    look.is_none().then(|| Move::line(&format!("WINDLASS_CLOCK_STEP=10000 {RUN}")))
}

/// A guard, and an alarm while the run waits.
fn watched() -> Stage {
    let guard = r#"
[[step]]
id = "waits"
wait = "4s"

[[guard]]
id = "errors"
do = "api.fetch"
with = { url = "/figures" }
every = "100ms"
rollback_when = "result.body.error_rate > 0.05"
no_data = "ignore"
"#;
    let stage = Stage::new("", &[&step("first", Class::Probed, LATE, ""), guard].concat());
    assert_eq!(stage.api.service.send("PUT", "/figures", r#"{"error_rate": 0.01}"#), 204);
    stage
}

/// The alarm comes while the run waits.
fn raises_the_alarm(_: &Stage, look: Option<&Look>) -> Option<Move> {
    let alarm = (When::Events("guard_sampled", 1), Then::Do(alarm));
    look.is_none().then(|| Move::Besides(words(RUN), vec![alarm]))
}

fn alarm(stage: &Stage) {
    assert_eq!(stage.api.service.send("PUT", "/figures", r#"{"error_rate": 0.06}"#), 204);
}

/// Reads a database that a variable names.
fn bound_to_a_server() -> Stage {
    let steps = r#"
[plugins.db]
source = "builtin:postgres"
connections = { db = "main" }
allow = ["postgres db: read"]

[[step]]
id = "reads"
do = "db.assert"
with = { tables = ["here"] }
"#;
    let fails = FAILS.replace("\"rollback\"", "\"pause\"").replace("/fault/500", "/fault/503-once?key=once");
    let again = "\n[[step]]\nid = \"reads_again\"\ndo = \"db.assert\"\nwith = { tables = [\"here\"] }\n";
    Stage::new("", &[steps, &step("first", Class::Probed, "", ""), &fails, again].concat()).with_server()
}

/// Takes the run up again with the variable naming another database; and then with the right one.
fn leads_elsewhere(_: &Stage, look: Option<&Look>) -> Option<Move> {
    let look = look?;
    let held = look.state.ended().is_none() && look.has("run_held") && !look.has("connection_changed");
    held.then(|| Move::line("DATABASE=@elsewhere resume @run"))
}
