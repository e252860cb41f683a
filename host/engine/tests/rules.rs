//! The rules of a run, each with a test named after it.

mod support;

use serde_json::json;
use support::*;
use windlass_engine::{Hold, Verdict, World};

#[test]
fn a_chain_runs_in_order_and_passes_outputs_on() {
    let mut run = Driver::new(chain(vec![
        read("look").with(json!("${inputs.limit}")),
        write("make").with(json!("${steps.look.output.seen}")),
        read("check").with(json!("${steps.make.output.made}")).expect("result.seen == 20"),
    ]));
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.calls, ["read look", "plan make", "apply make", "read check"]);
    assert_eq!(run.state().world(), World::Changed);
    assert_eq!(
        run.kinds(),
        [
            "run_created",
            "step_started",
            "step_succeeded",
            "step_started",
            "attempt_started",
            "attempt_finished",
            "step_succeeded",
            "step_started",
            "step_succeeded",
            "verdict_decided",
            "run_ended"
        ]
    );
}

#[test]
fn a_writing_step_is_two_commits() {
    let mut run = Driver::new(chain(vec![write("one"), write("two"), write("three")]));
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.commits, 7, "two for each, and one for the end");
}

#[test]
fn reading_steps_commit_at_the_end_only() {
    let mut run = Driver::new(chain((0..20).map(|n| read(&format!("s{n}"))).collect()));
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.commits, 1);
}

#[test]
fn a_failure_holds_the_run_and_resume_begins_the_step_anew() {
    let mut run = Driver::scripted(chain(vec![read("a"), read("b"), read("c")]), |seen| {
        (seen.step == "b" && seen.count == 1).then(|| (failed("down", false, false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.failure("b"), "reading failed: it is down (down)");
    run.restart();
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.resume(), SUCCEEDED);
    assert_eq!(run.calls, ["read a", "read b", "read b", "read c"]);
    let _verdict: Verdict = run.state().verdict().unwrap().verdict;
}
