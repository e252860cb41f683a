//! Runs that go back: one for each class of effects, and one with whatever else is written while a run goes back.

use windlass_tests::service::log::Entry;

use crate::drive::Scenario;
use crate::forward::nothing;
use crate::points::Class;
use crate::stage::{Look, Stage, step};

/// Fails, and is the reason to go back.
pub(crate) const FAILS: &str = r#"
[[step]]
id = "fails"
do = "api.check"
with = { url = "/fault/500" }
on_failure = "rollback"
"#;

pub(crate) fn scenarios() -> Vec<Scenario> {
    let calm = |name, class, stage: fn() -> Stage| Scenario {
        name,
        class: Some(class),
        every_moment: true,
        stage,
        person: nothing,
        landed: &[],
        check: match class {
            Class::Repeatable => deleted_at_most_twice,
            Class::Probed => deleted_once,
            Class::Once => noted_once,
        },
    };
    let late = |name, class, landed, stage: fn() -> Stage| Scenario {
        every_moment: false,
        landed,
        ..calm(name, class, stage)
    };
    vec![
        calm("repeatable, back", Class::Repeatable, || two_steps(Class::Repeatable, "")),
        calm("probed, back", Class::Probed, || two_steps(Class::Probed, "")),
        calm("once, back", Class::Once, || two_steps(Class::Once, "")),
        late("repeatable, back, landed", Class::Repeatable, &[(0, "effect:undo", is_deleted)], || {
            two_steps(Class::Repeatable, LATE)
        }),
        late("probed, back, landed", Class::Probed, &[(0, "effect:undo", is_deleted)], || {
            two_steps(Class::Probed, LATE)
        }),
        late("once, back, landed", Class::Once, &[(0, "effect:undo", is_noted)], || {
            two_steps(Class::Once, LATE)
        }),
        Scenario {
            name: "all sorts of undos",
            class: None,
            every_moment: false,
            stage: all_sorts,
            person: nothing,
            landed: &[],
            check: all_sorts_are_back,
        },
    ]
}

const LATE: &str = "?fault=late-reply&ms=1200";

fn two_steps(class: Class, back: &str) -> Stage {
    let steps = [step("first", class, "", ""), step("second", class, "", back), FAILS.to_owned()];
    Stage::new("", &steps.concat())
}

fn is_deleted(log: &[Entry]) -> bool {
    log.iter().any(|entry| entry.method == "DELETE" && entry.effect)
}

fn is_noted(log: &[Entry]) -> bool {
    log.iter().filter(|entry| entry.method == "POST" && entry.effect).count() == 3
}

/// The requests that delete, by path.
fn deletions(stage: &Stage) -> Vec<Entry> {
    let requests = stage.api.service.requests();
    requests.into_iter().filter(|entry| entry.method == "DELETE").collect()
}

fn is_back(stage: &Stage, look: &Look) {
    assert_eq!(look.state.status(), "rolled_back", "{:?}", look.state.steps());
    assert!(stage.api.created().is_empty(), "{:?}", stage.api.created());
    let effects = deletions(stage).into_iter().filter(|entry| entry.effect).count();
    assert_eq!(effects, 2, "each event is deleted once");
}

fn deleted_once(stage: &Stage, look: &Look) {
    is_back(stage, look);
    assert_eq!(deletions(stage).len(), 2, "nothing was even sent twice");
    assert_eq!(stage.api.sent(), 2, "nothing was even sent twice");
}

fn deleted_at_most_twice(stage: &Stage, look: &Look) {
    is_back(stage, look);
    let repeated = deletions(stage).len() + stage.api.sent();
    assert!(repeated <= 5, "one crash, one repetition");
}

fn noted_once(stage: &Stage, look: &Look) {
    assert_eq!(look.state.status(), "rolled_back", "{:?}", look.state.steps());
    assert_eq!(stage.api.created(), ["first", "second", "not second", "not first"]);
    assert_eq!(stage.api.sent(), 4, "nothing was even sent twice");
}

/// A step taken back in each way there is, and rollback steps.
fn all_sorts() -> Stage {
    let lost = "?fault=lost-reply";
    let steps = [
        r#"
[[step]]
id = "gone"
do = "files.write"
with = { path = "gone", text = "soon\n" }

[[step]]
id = "removes_gone"
do = "shell.run"
with = { program = "tool", arguments = ["remove", "/out/gone"] }
undo = false

[[step]]
id = "makes_made"
do = "shell.run"
[step.with]
program = "tool"
arguments = ["write", "/out/made"]
probe = ["check", "/out/made"]
reverse = ["remove", "/out/made"]

[[step]]
id = "makes_shaky"
do = "shell.run"
retry = { attempts = 3, backoff = "10ms..20ms" }
[step.with]
program = "tool"
arguments = ["shaky", "/out/shaky"]
probe = ["check", "/out/shaky"]
reverse = ["remove", "/out/shaky"]

[[step]]
id = "stubborn"
do = "files.write"
with = { path = "stubborn", text = "there\n" }
undo = { do = "api.send", with = { method = "DELETE", url = "/fault/503-once?key=stubborn&times=1", repeatable = true } }

[[step]]
id = "patient"
do = "files.write"
with = { path = "patient", text = "there\n" }
retry = { attempts = 3, backoff = "10ms..20ms" }
undo = { do = "api.send", with = { method = "DELETE", url = "/fault/503-once?key=patient&times=1", repeatable = true } }
"#
        .to_owned(),
        step("adopted", Class::Probed, "", lost),
        step("asked", Class::Once, "", lost),
        step("accepted", Class::Once, "", lost).replace("do = ", "on_unknown = \"accept\"\ndo = "),
        FAILS.to_owned(),
        r#"
[[rollback.step]]
id = "tells"
order = "before"
do = "files.write"
with = { path = "before", text = "${run.reason}\n" }

[[rollback.step]]
id = "told"
do = "files.write"
with = { path = "after", text = "done\n" }
"#
        .to_owned(),
    ];
    Stage::new("rollback_within = \"1ms\"", &steps.concat())
}

fn all_sorts_are_back(stage: &Stage, look: &Look) {
    assert_eq!(look.state.status(), "rolled_back", "{:?}", look.state.steps());
    let created = stage.api.created();
    // Accepting what nobody knows means that it may not be there, or not be taken back, after a crash.
    let certain: Vec<&String> = created.iter().filter(|event| !event.ends_with("accepted")).collect();
    assert_eq!(certain, ["asked", "not asked"]);
    assert!(stage.api.sent() <= 5, "nothing was even sent twice");
    assert_eq!(deletions(stage).into_iter().filter(|entry| entry.effect).count(), 1);
    let left = stage.api.workspace.names("out");
    let wanted = ["after", "before", "patient", "stubborn"];
    assert_eq!(left, wanted, "what these two have for an undo leaves the file\n{}", look.summary());
}
