//! Runs that go forward: one for each class of effects, and one with whatever else a run writes on its way.

use windlass_tests::service::log::Entry;

use crate::drive::{Move, Scenario};
use crate::points::Class;
use crate::stage::{Look, Stage, step};

const CREATES: &str = "/api/audit/events";

pub(crate) fn scenarios() -> Vec<Scenario> {
    let calm = |name, class, stage: fn() -> Stage| Scenario {
        name,
        class: Some(class),
        every_moment: true,
        stage,
        person: nothing,
        landed: &[],
        check: match class {
            Class::Repeatable => repeated_at_most_once,
            Class::Probed | Class::Once => had_once,
        },
    };
    let late = |name, class, stage: fn() -> Stage| Scenario {
        every_moment: false,
        landed: &[(0, "effect", first_has_landed)],
        ..calm(name, class, stage)
    };
    vec![
        calm("repeatable", Class::Repeatable, || two_steps(Class::Repeatable, "")),
        calm("probed", Class::Probed, || two_steps(Class::Probed, "")),
        calm("once", Class::Once, || two_steps(Class::Once, "")),
        late("repeatable, landed", Class::Repeatable, || two_steps(Class::Repeatable, LATE)),
        late("probed, landed", Class::Probed, || two_steps(Class::Probed, LATE)),
        late("once, landed", Class::Once, || two_steps(Class::Once, LATE)),
        Scenario {
            name: "all sorts of steps",
            class: None,
            every_moment: true,
            stage: all_sorts,
            person: nothing,
            landed: &[],
            check: all_sorts_are_there,
        },
    ]
}

/// The answer comes long after the effect.
pub(crate) const LATE: &str = "fault = \"late-reply\", ms = \"1200\"";

fn two_steps(class: Class, query: &str) -> Stage {
    Stage::new("", &[step("first", class, query, ""), step("second", class, "", "")].concat())
}

pub(crate) fn nothing(_: &Stage, _: Option<&Look>) -> Option<Move> {
    None
}

pub(crate) fn first_has_landed(log: &[Entry]) -> bool {
    log.iter().any(|entry| entry.effect)
}

fn had_once(stage: &Stage, look: &Look) {
    assert_eq!(look.state.status(), "succeeded");
    assert_eq!(stage.api.created(), ["first", "second"]);
    assert_eq!(stage.api.sent(), 2, "nothing was even sent twice");
}

fn repeated_at_most_once(stage: &Stage, look: &Look) {
    assert_eq!(look.state.status(), "succeeded");
    assert_eq!(stage.api.created(), ["first", "second"]);
    let mut keys: Vec<_> = sent(stage).into_iter().map(|entry| entry.idempotency_key.unwrap()).collect();
    assert!(keys.len() <= 3, "one crash, one repetition: {keys:?}");
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 2, "what is repeated has the same key");
}

pub(crate) fn sent(stage: &Stage) -> Vec<Entry> {
    let requests = stage.api.service.requests();
    requests.into_iter().filter(|entry| entry.method == "POST" && entry.path == CREATES).collect()
}

/// Every sort of step once, every way to be done, and every way to be held that a runbook alone can bring about.
fn all_sorts() -> Stage {
    let lost = "fault = \"lost-reply\"";
    let steps = [
        r#"
[[step]]
id = "skipped"
when = "false"
do = "api.fetch"
with = { url = "/health" }

[[step]]
id = "pause"
wait = "10ms"

[[step]]
id = "flaky"
do = "api.check"
with = { url = "/fault/503-once?key=flaky" }
retry = { attempts = 3, backoff = "10ms..20ms" }

[[step]]
id = "gate"
do = "api.fetch"
with = { url = "/stats", query = { window = "${run.id}" } }
until = "result.body.error_rate < 0.05"
every = "20ms"

[[step]]
id = "same"
do = "files.write"
with = { path = "same", text = "as it was\n" }

[[step]]
id = "makes_made"
do = "shell.run"
retry = { attempts = 3, backoff = "10ms..20ms" }
[step.with]
program = "tool"
arguments = ["write", "/out/made"]
probe = ["check", "/out/made"]

[[step]]
id = "makes_shy"
do = "shell.run"
on_failure = "pause"
[step.with]
program = "tool"
arguments = ["write", "/out/shy"]
probe = ["check", "/out/shy"]
"#
        .to_owned(),
        step("many", Class::Probed, "", "").replace("do = ", "for_each = [\"a\", \"b\"]\ndo = "),
        step("adopted", Class::Probed, lost, ""),
        step("asked", Class::Once, lost, ""),
        step("accepted", Class::Once, lost, "").replace("do = ", "on_unknown = \"accept\"\ndo = "),
        r#"
[[step]]
id = "failing"
do = "api.check"
with = { url = "/fault/503-once?key=failing" }
on_failure = "pause"

[[finally.step]]
id = "note"
do = "files.write"
with = { path = "note", text = "over\n" }
"#
        .to_owned(),
    ];
    let stage = Stage::new("", &steps.concat());
    stage.api.workspace.write("out/same", "as it was\n");
    // The first look at `shy` fails.
    stage.api.workspace.write("out/shy.once", "");
    stage
}

fn all_sorts_are_there(stage: &Stage, look: &Look) {
    assert_eq!(look.state.status(), "succeeded", "{:?}", look.state.steps());
    let mut created = stage.api.created();
    // Accepting what nobody knows means that it may not be there after a crash.
    if created.last().is_some_and(|event| event == "accepted") {
        created.pop();
    }
    assert_eq!(created, ["many", "many", "adopted", "asked"]);
    assert!(stage.api.sent() <= 5, "nothing was even sent twice");
    for file in ["out/made", "out/shy"] {
        assert_eq!(stage.api.workspace.read(file), "x\n", "the program ran once");
    }
    assert_eq!(stage.api.workspace.read("out/note"), "over\n");
}
