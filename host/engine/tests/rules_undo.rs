//! The rules of undo, rollback, settling and the end, each with a test named after it.
//!
//! This file is long on purpose: a test for each rule, in the order of the rules, is easier to compare with them in one
//! piece.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use serde_json::json;
use support::safety::{approve, asks};
use support::*;
use windlass_engine::{
    Answer, Asked, CallKind, CallReport, Cause, Event, Hold, Millis, Observation, Parent, ParentKind, Reads,
    Request, RunCreated, SkipReason, Verdict, World, may_be_taken_back,
};
use windlass_runbook::model::{
    Invocation, OnFailure, RollbackOrder, RollbackStep, Runbook, Step, StepBody, Undo,
};
use windlass_runbook::outcome::Status;

const ROLLED_BACK: Outcome = Outcome::Ended(Verdict::RolledBack, false);
const FAILED: Outcome = Outcome::Ended(Verdict::Failed, false);

/// A step that fails, and has the run go back if it goes by the default.
fn breaks(id: &str) -> Step {
    read(id).expect("false").on_failure(OnFailure::Auto)
}

fn going_back(id: &str) -> Step {
    undoable(id).on_failure(OnFailure::Auto)
}

fn rollback(only: &[&str], past_commit: bool) -> Request {
    Request::Rollback {
        reason: "wrong day".into(),
        only: only.iter().map(ToString::to_string).collect(),
        past_commit,
    }
}

fn with_rollback(mut runbook: Runbook, steps: Vec<(Step, RollbackOrder)>) -> Runbook {
    runbook.rollback = steps.into_iter().map(|(step, order)| RollbackStep { step, order }).collect();
    runbook
}

fn invocation(value: serde_json::Value) -> Box<Invocation> {
    match write("x").with(value).body {
        StepBody::Call(invocation) => invocation,
        _ => panic!("a write is a call"),
    }
}

fn undo_calls(run: &Driver) -> Vec<&str> {
    run.calls
        .iter()
        .filter(|call| call.contains("undo") || call.contains("rollback/"))
        .map(String::as_str)
        .collect()
}

fn skip_reason(run: &Driver, path: &str) -> SkipReason {
    run.state().step(path).unwrap().work.skipped.as_ref().unwrap().0
}

// --- what begins a rollback ---

#[test]
fn the_default_is_pause_until_something_was_applied_and_rollback_after() {
    let mut run = Driver::new(chain(vec![breaks("check"), going_back("make")]));
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));

    let mut run = Driver::new(chain(vec![going_back("make"), breaks("check")]));
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(run.calls, ["plan make", "apply make", "read check", "plan-undo undo/make", "undo undo/make"]);
    assert_eq!(run.had("make"), 0);
    assert_eq!(run.status("undo/make"), "succeeded (applied)");
    assert_eq!(run.state().world(), World::Restored);
    let started = &run.state().rollback().unwrap().started;
    assert_eq!((started.cause, started.who.as_str()), (Cause::Failure, "check"));
}

#[test]
fn on_failure_rollback_with_nothing_applied_says_that_there_is_nothing_to_undo() {
    let mut run = Driver::new(chain(vec![breaks("check").on_failure(OnFailure::Rollback), undoable("make")]));
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(run.state().world(), World::Untouched);
    assert!(run.state().verdict().unwrap().reason.ends_with("nothing to undo"));
}

#[test]
fn on_failure_pause_holds_and_a_person_may_roll_back() {
    let mut run = Driver::new(chain(vec![undoable("make"), read("check").expect("false")]));
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.ask(rollback(&[], false)), ROLLED_BACK);
    assert_eq!(run.had("make"), 0);
    assert_eq!(run.state().verdict().unwrap().reason, "wrong day");
    assert!(run.state().holds().is_empty());
}

#[test]
fn an_approval_that_expires_holds_and_never_rolls_back_by_itself() {
    use windlass_runbook::model::{Approval, OnExpiry};
    let run = |on_expiry| {
        let asked = Approval { expires_ms: Some(5_000), on_expiry, ..asks() };
        let sign = approve("sign", asked).on_failure(OnFailure::Auto);
        let mut run = Driver::new(chain(vec![going_back("a"), sign, going_back("b")]));
        (run.start(), run.had("a"))
    };
    assert_eq!(run(OnExpiry::Hold), (Outcome::Held(vec![Hold::Failure]), 1));
    assert_eq!(run(OnExpiry::Fail), (ROLLED_BACK, 0));
}

// --- the undo list ---

#[test]
fn the_undo_list_holds_attempts_not_steps() {
    // The step failed for its expectation, after its effect: it is taken back like any other.
    let mut run = Driver::new(chain(vec![going_back("make").expect("false")]));
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(run.had("make"), 0);
}

#[test]
fn an_attempt_that_sent_nothing_is_not_in_the_undo_list() {
    let mut run = Driver::scripted(chain(vec![going_back("a"), going_back("b")]), |seen| {
        (seen.step == "b" && seen.writes()).then(|| (failed("refused", false, false), false))
    });
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(undo_calls(&run), ["plan-undo undo/a", "undo undo/a"]);
}

#[test]
fn an_attempt_after_which_all_was_found_as_before_is_undone_all_the_same() {
    // The reply was lost; planning again found everything as before, which is no proof: it lands late.
    let mut run = Driver::scripted(chain(vec![going_back("a"), going_back("b")]), |seen| {
        let lost = seen.step == "b" && seen.writes();
        lost.then(|| (failed("reply-lost", false, true), false))
    });
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(
        undo_calls(&run),
        ["plan-undo undo/b", "plan-undo undo/a", "undo undo/a"],
        "b is asked after, and nothing is there to undo"
    );
    assert_eq!(run.status("undo/b"), "succeeded (unchanged)");

    let mut run = Driver::scripted(chain(vec![going_back("b")]), |seen| {
        (seen.writes()).then(|| (failed("reply-lost", false, true), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]), "nothing was applied as far as anyone saw");
    assert_eq!(run.state().world(), World::Untouched);
}

#[test]
fn undo_is_given_all_attempts_oldest_first() {
    let mut run = Driver::scripted(chain(vec![going_back("make").retry(3), breaks("check")]), |seen| {
        if let CallKind::PlanUndo { done, .. } = &seen.request.phase {
            assert_eq!(done.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2]);
            assert_eq!(done[1].output, Some(json!({ "made": null })));
        }
        // The first attempt is lost without effect and may be repeated.
        (seen.step == "make" && seen.writes() && seen.count == 1)
            .then(|| (failed("reply-lost", true, true), false))
    });
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(undo_calls(&run).len(), 2, "one undo for all of them");
}

#[test]
fn undo_is_planned_journalled_and_then_applied() {
    let mut run = Driver::new(chain(vec![going_back("make"), breaks("check")]));
    assert_eq!(run.start(), ROLLED_BACK);
    let kinds = run.kinds();
    let from = kinds.iter().position(|kind| *kind == "rollback_started").unwrap();
    assert_eq!(
        kinds[from..],
        [
            "rollback_started",
            "step_started",
            "attempt_started",
            "attempt_finished",
            "step_succeeded",
            "verdict_decided",
            "run_ended"
        ]
    );
    let undo = &run.state().step("undo/make").unwrap().work;
    let effect = &undo.attempts[0].attempt.effect;
    assert_eq!((&*effect.step, effect.generation), ("undo/make", 1));
    assert_eq!(effect.direction, windlass_engine::Direction::Undo);
}

#[test]
fn a_step_without_an_undo_is_said_to_have_none_and_never_blocks() {
    let mut run = Driver::new(chain(vec![going_back("a"), write("post"), breaks("check")]));
    assert_eq!(run.start(), FAILED);
    assert_eq!(skip_reason(&run, "undo/post"), SkipReason::NoUndo);
    assert_eq!(run.had("a"), 0);
    assert_eq!(run.state().world(), World::Mixed);
    assert!(run.state().verdict().unwrap().reason.ends_with("not taken back: `post`"));
}

#[test]
fn what_needs_no_undo_counts_as_undone() {
    let mut run = Driver::new(chain(vec![going_back("a"), write("post").undo(Undo::Never), breaks("check")]));
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(skip_reason(&run, "undo/post"), SkipReason::NotNeeded);
    assert_eq!(run.state().world(), World::Restored);
}

#[test]
fn unknowns_without_an_undo_never_block() {
    let mut run = Driver::scripted(
        chain(vec![going_back("a"), write("post").accept(), breaks("check")]),
        |seen| match (seen.step, seen.is_plan(), seen.writes()) {
            ("post", true, _) if !seen.before().is_empty() => {
                Some((planned(Status::Unknown("nobody can tell".into()), false), false))
            }
            ("post", _, true) => Some((failed("reply-lost", false, true), true)),
            _ => None,
        },
    );
    assert_eq!(run.start(), FAILED);
    assert_eq!(run.had("a"), 0, "what came before it is undone");
}

// --- never clobber ---

fn changed_by_a_stranger(answers: impl Fn(&Seen<'_>) -> Option<CallReport> + 'static) -> Driver {
    Driver::scripted(chain(vec![going_back("a"), going_back("b"), breaks("check")]), move |seen| {
        let plans = matches!(seen.request.phase, CallKind::PlanUndo { .. });
        match answers(seen) {
            Some(report) => Some((report, false)),
            None if seen.step == "undo/b" && plans && seen.had > 0 => {
                Some((planned(Status::Conflict("weight is 30".into()), true), false))
            }
            None => None,
        }
    })
}

#[test]
fn never_clobber_a_conflict_is_a_persons_to_decide_and_blocks_what_came_before() {
    let mut run = changed_by_a_stranger(|_| None);
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]));
    assert_eq!(undo_calls(&run), ["plan-undo undo/b"], "nothing is written, and a waits for b");
    assert_eq!(run.state().status(), "held");
}

#[test]
fn a_conflict_answered_with_ours_restores_under_a_fresh_plan() {
    let mut run = changed_by_a_stranger(|_| None);
    run.start();
    assert_eq!(run.answer("undo/b", None, Answer::Restore), ROLLED_BACK);
    assert_eq!(
        undo_calls(&run),
        ["plan-undo undo/b", "plan-undo undo/b", "undo undo/b", "plan-undo undo/a", "undo undo/a"]
    );
    let undo = &run.state().step("undo/b").unwrap().work;
    assert_eq!(undo.attempts[0].plan.status, Status::Differs, "as if it differed");
    assert_eq!((run.had("a"), run.had("b")), (0, 0));
}

#[test]
fn a_conflict_answered_with_theirs_leaves_it_and_goes_on() {
    let mut run = changed_by_a_stranger(|_| None);
    run.start();
    assert_eq!(run.answer("undo/b", None, Answer::Leave), FAILED);
    assert_eq!((run.had("a"), run.had("b")), (0, 1));
    assert_eq!(run.state().world(), World::Mixed);
}

#[test]
fn a_conflict_can_be_put_right_by_hand() {
    let mut run = changed_by_a_stranger(|_| None);
    run.start();
    assert_eq!(run.answer("undo/b", None, Answer::Applied { output: None }), ROLLED_BACK);
    assert_eq!(run.status("undo/b"), "succeeded (accepted)");
    assert_eq!(run.had("a"), 0);
}

#[test]
fn what_a_step_did_is_not_asked_of_its_undo() {
    let mut run = changed_by_a_stranger(|_| None);
    run.start();
    run.answer("a", None, Answer::NotApplied);
    run.ask(Request::Retry { step: "check".into(), item: None, input: None, reason: String::new() });
    assert_eq!(
        run.refused,
        [
            "can't answer: the run goes back, and its steps go forward no more",
            "can't retry: the run goes back, and its steps go forward no more"
        ]
    );
}

#[test]
fn an_undo_that_is_in_place_is_believed_only_if_it_could_look() {
    for reads in [Reads { succeeded: 3, failed: 1, denied: 0 }, Reads { succeeded: 3, failed: 0, denied: 1 }]
    {
        let mut run = Driver::scripted(chain(vec![going_back("make"), breaks("check")]), move |seen| {
            matches!(seen.request.phase, CallKind::PlanUndo { .. })
                .then(|| (CallReport { reads, ..planned(Status::InPlace, true) }, false))
        });
        assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]), "{reads:?}");
    }
}

// --- retried and resolved as do is ---

#[test]
fn an_undo_is_retried_as_its_step_is() {
    let mut run = Driver::scripted(chain(vec![going_back("make").retry(3), breaks("check")]), |seen| {
        (seen.step == "undo/make" && seen.writes() && seen.count < 3)
            .then(|| (failed("busy", true, false), false))
    });
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(undo_calls(&run).len(), 6, "planned each time");
}

#[test]
fn an_undo_whose_reply_was_lost_is_found_done() {
    let mut run = Driver::scripted(chain(vec![going_back("make"), breaks("check")]), |seen| {
        (seen.step == "undo/make" && seen.writes()).then(|| (failed("reply-lost", false, true), true))
    });
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(undo_calls(&run), ["plan-undo undo/make", "undo undo/make", "plan-undo undo/make"]);
    assert_eq!(run.status("undo/make"), "succeeded (adopted)");
    assert_eq!(run.had("make"), 0);
}

#[test]
fn a_failed_undo_blocks_only_what_came_before_it_and_resume_tries_again() {
    // b and c both came after a.
    let steps = vec![
        going_back("a"),
        going_back("b").needs(&[0]),
        going_back("c").needs(&[0]),
        breaks("check").needs(&[1, 2]),
    ];
    let mut run = Driver::scripted(runbook(steps, vec![]), |seen| {
        (seen.step == "undo/b" && seen.writes() && seen.count == 1)
            .then(|| (failed("refused", false, false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!((run.had("a"), run.had("b"), run.had("c")), (1, 1, 0), "c is undone, a waits for b");
    assert_eq!(run.resume(), ROLLED_BACK);
    assert_eq!((run.had("a"), run.had("b")), (0, 0));
}

#[test]
fn a_person_can_skip_an_undo_with_a_reason() {
    let mut run = Driver::scripted(chain(vec![going_back("a"), going_back("b"), breaks("check")]), |seen| {
        (seen.step == "undo/b" && seen.writes()).then(|| (failed("refused", false, false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    let skip = Request::Skip { step: "undo/b".into(), item: None, reason: "the region is gone".into() };
    assert_eq!(run.ask(skip), FAILED);
    assert_eq!((run.had("a"), run.had("b")), (0, 1));
    let skipped = run.journal.iter().find_map(|(event, _)| match event {
        Event::StepSkipped { step, because, who, .. } => Some((step, because, who)),
        _ => None,
    });
    let (step, because, who) = skipped.unwrap();
    assert_eq!(&**step, "undo/b");
    assert_eq!((because.as_deref(), who.as_deref()), (Some("the region is gone"), Some("ada")));
}

#[test]
fn after_a_crash_a_rollback_goes_on_by_itself() {
    let make = || Driver::new(chain(vec![going_back("a"), going_back("b"), breaks("check")]));
    let mut whole = make();
    assert_eq!(whole.start(), ROLLED_BACK);
    for point in 1..=whole.points {
        let mut run = make();
        run.crash_at = Some(point);
        let mut outcome = run.start();
        while outcome == Outcome::Crashed {
            run.restart();
            outcome = run.start();
        }
        assert_eq!(outcome, ROLLED_BACK, "crashed at {point}");
        assert_eq!((run.had("a"), run.had("b")), (0, 0), "crashed at {point}");
    }
}

// --- order ---

#[test]
fn undo_takes_the_edges_that_gated_the_start_in_reverse() {
    let mut run = Driver::new(staged(vec![
        vec![going_back("a"), going_back("b")],
        vec![going_back("c"), going_back("d")],
        vec![breaks("check")],
    ]));
    assert_eq!(run.start(), ROLLED_BACK);
    let calls = undo_calls(&run);
    let at = |call: &str| calls.iter().position(|one| *one == call).unwrap();
    for late in ["undo undo/c", "undo undo/d"] {
        for early in ["plan-undo undo/a", "plan-undo undo/b"] {
            assert!(at(late) < at(early), "{calls:?}");
        }
    }
    assert!(
        at("plan-undo undo/c") < at("undo undo/d") && at("plan-undo undo/d") < at("undo undo/c"),
        "at once"
    );
}

#[test]
fn the_edges_are_closed_transitively_over_steps_without_effect() {
    let mut run = Driver::new(chain(vec![
        going_back("a"),
        read("look"),
        wait("pause", "1s"),
        going_back("b"),
        breaks("check"),
    ]));
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(undo_calls(&run), ["plan-undo undo/b", "undo undo/b", "plan-undo undo/a", "undo undo/a"]);
}

#[test]
fn the_items_of_a_step_are_undone_by_their_keys() {
    let each = going_back("each").with(json!("${item}")).each(json!("${inputs.names}"), 1, 0);
    let mut run = Driver::scripted(chain(vec![each, breaks("check")]), |seen| {
        // What one left behind keeps no other from its turn.
        (seen.item == Some("a") && matches!(seen.request.phase, CallKind::PlanUndo { .. }) && seen.count == 1)
            .then(|| (planned(Status::Conflict("it moved".into()), true), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]));
    let had = |run: &Driver, item: &str| run.effects[&("each".to_owned(), Some(item.to_owned()))];
    assert_eq!((had(&run, "a"), had(&run, "b"), had(&run, "c")), (1, 0, 0));
    assert_eq!(run.answer("undo/each", Some("a"), Answer::NotApplied), ROLLED_BACK);
    assert_eq!(had(&run, "a"), 0);
}

#[test]
fn only_items_with_an_effect_are_undone() {
    let each = going_back("each").with(json!("${item}")).each(json!("${inputs.names}"), 1, 0);
    let mut run = Driver::scripted(chain(vec![each]), |seen| {
        (seen.item == Some("b") && seen.writes()).then(|| (failed("refused", false, false), false))
    });
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(undo_calls(&run), ["plan-undo undo/each[a]", "undo undo/each[a]"]);
}

// --- an undo of its own ---

#[test]
fn an_undo_of_its_own_is_resolved_when_the_step_is_done_not_at_the_rollback() {
    let undo = Undo::Call(invocation(json!("${steps.make.output.made}")));
    let mut run = Driver::new(chain(vec![going_back("make").with(json!(17)).undo(undo), breaks("check")]));
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(undo_calls(&run), ["plan undo/make", "apply undo/make"]);
    let kinds = run.kinds();
    let at = |kind: &str| kinds.iter().position(|one| *one == kind).unwrap();
    assert!(at("undo_prepared") < at("rollback_started"));
    let undo = &run.state().step("undo/make").unwrap().work;
    assert_eq!(undo.input.as_deref(), Some(&json!({ "value": 17 })));
    assert_eq!(run.state().world(), World::Restored);
}

#[test]
fn an_undo_of_its_own_whose_input_is_not_to_be_had_fails_and_can_be_given_one() {
    let undo = || Undo::Call(invocation(json!("${steps.make.output.made}")));
    let mut run = Driver::scripted(
        chain(vec![going_back("a"), going_back("make").on_failure(OnFailure::Rollback).undo(undo())]),
        |seen| match (seen.step, seen.is_plan(), seen.writes()) {
            ("make", _, true) => Some((failed("broken", false, true), true)),
            ("make", true, _) if !seen.before().is_empty() => Some((planned(Status::Differs, true), false)),
            _ => None,
        },
    );
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert!(run.failure("undo/make").contains("`undo` can't be evaluated"), "{}", run.failure("undo/make"));
    let retry = Request::Retry {
        step: "undo/make".into(),
        item: None,
        input: Some(json!({ "value": 4 })),
        reason: "looked it up".into(),
    };
    assert_eq!(run.ask(retry), ROLLED_BACK);
    assert_eq!(run.state().step("undo/make").unwrap().work.input.as_deref(), Some(&json!({ "value": 4 })));
}

// --- steps of a rollback ---

#[test]
fn rollback_steps_run_before_and_after_the_undos_and_know_the_reason() {
    let book = || {
        with_rollback(
            chain(vec![going_back("make"), breaks("check")]),
            vec![
                (read("tell").with(json!("${run.reason}")), RollbackOrder::After),
                (write("shift"), RollbackOrder::Before),
            ],
        )
    };
    let mut run = Driver::new(book());
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(
        undo_calls(&run),
        [
            "plan rollback/shift",
            "apply rollback/shift",
            "plan-undo undo/make",
            "undo undo/make",
            "read rollback/tell"
        ]
    );
    let told = run.state().step("rollback/tell").unwrap().work.input.clone().unwrap();
    assert!(told["value"].as_str().unwrap().starts_with("step `check` failed"), "{told}");
}

#[test]
fn rollback_steps_run_also_when_nothing_needs_undoing() {
    let mut run = Driver::new(with_rollback(
        chain(vec![breaks("check").on_failure(OnFailure::Rollback)]),
        vec![(read("tell"), RollbackOrder::After)],
    ));
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(undo_calls(&run), ["read rollback/tell"]);
}

#[test]
fn a_rollback_step_that_fails_never_stops_the_undos() {
    let mut run = Driver::scripted(
        with_rollback(
            chain(vec![going_back("make"), breaks("check")]),
            vec![(write("shift"), RollbackOrder::Before), (read("tell"), RollbackOrder::After)],
        ),
        |seen| match seen.step {
            "rollback/shift" if seen.is_plan() && !seen.before().is_empty() => {
                Some((planned(Status::Unknown("nobody can tell".into()), false), false))
            }
            "rollback/shift" if seen.writes() => Some((failed("lost", false, true), false)),
            "rollback/tell" => Some((failed("refused", false, false), false)),
            _ => None,
        },
    );
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(run.had("make"), 0);
    let reason = &run.state().verdict().unwrap().reason;
    assert!(reason.ends_with("failed beside the undos: `rollback/shift`, `rollback/tell`"), "{reason}");
}

// --- within, only, horizon ---

#[test]
fn a_rollback_over_its_limit_is_announced_and_goes_on() {
    let mut book = chain(vec![going_back("make").retry(5), breaks("check")]);
    book.rollback_within_ms = Some(2_000);
    let mut run = Driver::scripted(book, |seen| {
        (seen.step == "undo/make" && seen.writes() && seen.count < 5)
            .then(|| (failed("busy", true, false), false))
    });
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(run.kinds().iter().filter(|kind| **kind == "rollback_overdue").count(), 1);
}

#[test]
fn rollback_only_takes_applied_dependants_along_and_the_run_is_held_afterwards() {
    let steps = vec![
        undoable("a"),
        undoable("b").needs(&[0]),
        undoable("c").needs(&[1]),
        undoable("other"),
        read("check").needs(&[2, 3]).expect("steps.c.status == 'succeeded' && false"),
    ];
    let mut run = Driver::new(runbook(steps, vec![]));
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.ask(rollback(&["b"], false)), Outcome::Held(vec![Hold::Operator]));
    assert_eq!(
        undo_calls(&run),
        ["plan-undo undo/c", "undo undo/c", "plan-undo undo/b", "undo undo/b"],
        "c came after b; a and other stay"
    );
    assert_eq!((run.had("a"), run.had("other")), (1, 1));
    assert_eq!(run.state().status(), "held");
    assert_eq!(run.state().world(), World::Mixed);
    assert!(run.state().verdict().is_none());
}

#[test]
fn running_again_after_an_undo_is_a_new_generation() {
    let mut run = Driver::scripted(
        chain(vec![undoable("a"), read("look"), undoable("b"), read("check").expect("result.ok")]),
        |seen| (seen.step == "check").then(|| (ok(json!({ "ok": seen.count > 1 })), false)),
    );
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.ask(rollback(&["b"], false)), Outcome::Held(vec![Hold::Operator]));
    let before = run.calls.len();
    assert_eq!(run.resume(), SUCCEEDED);
    assert_eq!(run.calls[before..], ["plan b", "apply b", "read check"]);
    assert_eq!(run.had("b"), 1);
    let b = &run.state().step("b").unwrap().work;
    assert_eq!(b.generation, 2);
    assert_eq!(b.attempts.iter().map(|one| one.attempt.effect.generation).collect::<Vec<_>>(), [1, 2]);
    assert_ne!(b.attempts[0].key, b.attempts[1].key);
}

#[test]
fn an_undone_step_that_was_had_again_can_be_undone_again() {
    let mut run = Driver::scripted(chain(vec![undoable("a"), read("check").expect("false")]), |seen| {
        if let CallKind::PlanUndo { done, .. } = &seen.request.phase {
            assert_eq!(done.len(), 1, "only what was not taken back yet");
        }
        None
    });
    run.start();
    assert_eq!(run.ask(rollback(&["a"], false)), Outcome::Held(vec![Hold::Operator]));
    assert_eq!(run.resume(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.had("a"), 1);
    assert_eq!(run.ask(rollback(&[], false)), ROLLED_BACK);
    assert_eq!(run.had("a"), 0);
}

#[test]
fn rollback_only_of_what_was_not_applied_is_refused() {
    let mut run = Driver::new(chain(vec![undoable("a"), read("look").expect("false"), undoable("b")]));
    run.start();
    run.ask(rollback(&["b"], false));
    run.ask(rollback(&["nope"], false));
    assert_eq!(run.refused, ["there is nothing of step `b` to take back", "the run has no step `nope`"]);
}

#[test]
fn past_the_horizon_automatic_rollback_is_a_hold_and_a_person_must_say_so() {
    let mut run = Driver::new(chain(vec![going_back("a"), going_back("b").commits(), breaks("check")]));
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert!(run.state().holds()[0].message.contains("past its commit"));
    run.ask(rollback(&[], false));
    assert_eq!(run.refused, ["the run is past its commit: rolling back needs --past-commit"]);
    assert_eq!(run.ask(rollback(&[], true)), ROLLED_BACK);
    assert_eq!((run.had("a"), run.had("b")), (0, 0));
}

#[test]
fn a_stage_with_commit_is_the_horizon_from_its_start() {
    let mut book = staged(vec![vec![going_back("a")], vec![going_back("b"), breaks("check").needs(&[1])]]);
    book.stages[1].commit = true;
    let mut run = Driver::new(book);
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.state().horizons(), [std::sync::Arc::from("stage/stage 1")]);
    assert_eq!(run.ask(rollback(&["b"], false)), Outcome::Held(vec![Hold::Operator]), "b came after it");
}

// --- settling ---

fn asks_at(at: Millis, request: Request) -> (Millis, Observation) {
    (at, Observation::Asked(Asked::here("ada", request)))
}

#[test]
fn settling_interrupts_a_running_apply_after_its_grace_and_its_undo_finds_out() {
    let steps = vec![undoable("a"), undoable("slow").needs(&[0]), read("idle").needs(&[0])];
    let mut run = Driver::scripted(runbook(steps, vec![]), |seen| {
        (seen.step == "slow" && seen.writes()).then(|| (hangs(), true))
    });
    run.timed = vec![asks_at(10_000, rollback(&[], false))];
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!((run.had("a"), run.had("slow")), (0, 0));
    let started = run.state().rollback().unwrap().at;
    let lost = run.journal.iter().find_map(|(event, at)| match event {
        Event::AttemptFinished { attempt, effect, .. } if &*attempt.effect.step == "slow" => {
            Some((*at, *effect))
        }
        _ => None,
    });
    assert_eq!(lost, Some((started + 5_000, windlass_engine::Effect::Unknown)));
}

#[test]
fn branches_with_nothing_running_undo_at_once() {
    let steps = vec![undoable("quick"), undoable("slow")];
    let mut run = Driver::scripted(runbook(steps, vec![]), |seen| {
        (seen.step == "slow" && seen.writes()).then(|| (hangs(), true))
    });
    run.timed = vec![asks_at(10_000, rollback(&[], false))];
    assert_eq!(run.start(), ROLLED_BACK);
    let at = |wanted: &str| {
        run.journal
            .iter()
            .find_map(|(event, at)| match event {
                Event::AttemptStarted { attempt, .. } if &*attempt.effect.step == wanted => Some(*at),
                _ => None,
            })
            .unwrap()
    };
    let started = run.state().rollback().unwrap().at;
    assert!(at("undo/quick") < started + 100);
    assert!(at("undo/slow") >= started + 5_000);
}

#[test]
fn while_settling_nothing_new_starts_and_reads_are_dropped() {
    let steps = vec![undoable("a"), read("slow").needs(&[0]), undoable("next").needs(&[1])];
    let mut run =
        Driver::scripted(runbook(steps, vec![]), |seen| (seen.step == "slow").then(|| (hangs(), false)));
    run.timed = vec![asks_at(10_000, rollback(&[], false))];
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(run.calls, ["plan a", "apply a", "read slow", "plan-undo undo/a", "undo undo/a"]);
    assert_eq!(run.journal.last().unwrap().1 - START, 10_001 + 1, "nothing was waited for");
}

#[test]
fn an_undo_obeys_the_operator_and_no_failure() {
    let mut run = Driver::new(chain(vec![going_back("a"), going_back("b"), breaks("check")]));
    // While the first undo is under way, which comes to its end.
    run.plot = vec![(6, Observation::Interrupt { who: "ada".into() })];
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Operator]));
    assert_eq!((run.had("a"), run.had("b")), (1, 0));
    assert_eq!(run.resume(), ROLLED_BACK);
}

// --- guided failure ---

fn held_by(step: Step) -> Driver {
    let mut run = Driver::scripted(chain(vec![write("a"), step, read("use")]), |seen| {
        (seen.step == "make"
            && seen.writes()
            && seen.request.phase != CallKind::Read { input: Default::default() })
        .then(|| match &seen.request.phase {
            CallKind::Apply { input, .. } if input["value"] == json!(2) => (usual(seen).0, true),
            _ => (failed("refused", false, false), false),
        })
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    run
}

#[test]
fn a_failed_step_is_retried_with_another_input_as_a_new_generation() {
    let mut run = held_by(write("make").with(json!(1)));
    let retry = |input| Request::Retry { step: "make".into(), item: None, input, reason: "typo".into() };
    run.ask(retry(Some(json!({ "nope": 2 }))));
    assert!(run.refused[0].starts_with("the input does not fit the action"), "{:?}", run.refused);
    assert_eq!(run.ask(retry(Some(json!({ "value": 2 })))), SUCCEEDED);
    let make = &run.state().step("make").unwrap().work;
    assert_eq!((make.generation, make.input.as_deref()), (2, Some(&json!({ "value": 2 }))));
}

#[test]
fn a_failed_step_is_skipped_and_the_run_is_partial() {
    let mut run = held_by(write("make").with(json!(1)));
    let skip = Request::Skip { step: "make".into(), item: None, reason: "not today".into() };
    assert_eq!(run.ask(skip), Outcome::Ended(Verdict::Partial, false));
    assert_eq!(run.calls.last().unwrap(), "read use");
}

#[test]
fn a_failed_step_is_done_by_hand_with_its_output() {
    let mut run = held_by(write("make").with(json!(1)));
    let done = Request::Done {
        step: "make".into(),
        item: None,
        output: Some(json!({ "made": 9 })),
        reason: "did it".into(),
    };
    assert_eq!(run.ask(done), SUCCEEDED);
    assert_eq!(run.state().step("make").unwrap().work.output.as_deref(), Some(&json!({ "made": 9 })));
}

#[test]
fn one_item_is_retried_or_done_and_the_step_goes_on() {
    let book = || chain(vec![write("each").with(json!("${item}")).each(json!("${inputs.names}"), 1, 0)]);
    let make = || {
        let mut run = Driver::scripted(book(), |seen| {
            (seen.item == Some("b") && seen.writes() && seen.count == 1)
                .then(|| (failed("refused", false, false), false))
        });
        assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
        run
    };
    let item = || Some("b".to_owned());
    let mut run = make();
    let retry = Request::Retry { step: "each".into(), item: item(), input: None, reason: String::new() };
    assert_eq!(run.ask(retry), SUCCEEDED);
    let mut run = make();
    let done = Request::Done { step: "each".into(), item: item(), output: None, reason: String::new() };
    assert_eq!(run.ask(done), SUCCEEDED);
    assert_eq!(run.calls.last().unwrap(), "apply each[c]", "the rest of the items ran");
    let mut run = make();
    let skip = Request::Skip { step: "each".into(), item: item(), reason: String::new() };
    assert_eq!(run.ask(skip), SUCCEEDED);
}

#[test]
fn a_question_is_answered_right_after_a_crash_before_any_resume() {
    let mut run = Driver::scripted(chain(vec![write("make")]), |seen| {
        if seen.writes() && seen.count == 1 {
            return Some((failed("reply-lost", false, true), false));
        }
        (seen.is_plan() && seen.count == 2)
            .then(|| (planned(Status::Unknown("no answer".into()), true), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]));
    run.restart();
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]));
    assert_eq!(run.answer("make", None, Answer::NotApplied), SUCCEEDED);
}

#[test]
fn a_message_is_consumed_with_what_came_of_it_or_with_its_refusal() {
    let mut run = held_by(write("make").with(json!(1)));
    let asked =
        |id: &str, request| Observation::Asked(Asked { id: id.into(), ..Asked::here("ada", request) });
    run.observe(asked("m1", rollback(&["nope"], false)));
    assert_eq!((run.consumed.as_slice(), run.refused.len()), (&["m1".to_owned()][..], 1));
    let later = Asked { version: 99, id: "m2".into(), ..Asked::here("ada", Request::Resume) };
    run.observe(Observation::Asked(later));
    assert_eq!(run.consumed, ["m1", "m2"]);
}

// --- the end ---

#[test]
fn terminate_ends_at_once_without_finally_and_lists_what_is_unknown() {
    let mut run =
        Driver::scripted(runbook(vec![undoable("slow"), read("look")], vec![read("tidy")]), |seen| {
            (seen.step == "slow" && seen.writes()).then(|| (hangs(), true))
        });
    run.timed = vec![asks_at(1_000, Request::Terminate { reason: "fire".into() })];
    assert_eq!(run.start(), Outcome::Ended(Verdict::Cancelled, false));
    assert_eq!(run.state().world(), World::Unknown);
    assert!(!run.calls.iter().any(|call| call.contains("finally")));
    assert_eq!(run.state().undo_list().count(), 1);
    assert_eq!(run.state().verdict().unwrap().reason, "ada ended it at once: fire");
}

#[test]
fn cancel_while_going_back_ends_it_where_it_is() {
    let mut run = changed_by_a_stranger(|_| None);
    run.start();
    assert_eq!(run.ask(Request::Cancel { reason: "enough".into() }), FAILED);
    assert_eq!(run.state().world(), World::Changed);
    let reason = &run.state().verdict().unwrap().reason;
    assert!(reason.ends_with("ada ended it: enough, before all was taken back"), "{reason}");
}

#[test]
fn the_verdict_comes_before_finally_after_a_rollback_too() {
    let mut run = Driver::new(runbook(
        vec![going_back("make"), breaks("check").needs(&[0])],
        vec![read("tidy").with(json!("${run.reason}"))],
    ));
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(run.calls.last().unwrap(), "read finally/tidy");
}

#[test]
fn succeeded_only_if_all_criteria_are_met() {
    use windlass_runbook::model::{Criterion, MetBy};
    let book = |met_by| {
        let mut book = chain(vec![read("a"), read("b").when("false")]);
        let span = book.steps[0].span;
        book.criteria = vec![Criterion { text: "b was looked at".into(), met_by, span }];
        book
    };
    let mut run = Driver::new(book(MetBy::Step(0)));
    assert_eq!(run.start(), SUCCEEDED);
    let mut run = Driver::new(book(MetBy::Step(1)));
    assert_eq!(run.start(), Outcome::Ended(Verdict::Partial, false));
    assert_eq!(run.state().verdict().unwrap().reason, "not met: b was looked at");
}

// --- runs that follow others ---

fn follower(of: &Driver, kind: ParentKind, book: Runbook) -> Driver {
    let mut run = Driver::new(book);
    let Event::RunCreated(created) = &mut run.journal[0].0 else { panic!("it begins with its creation") };
    **created = RunCreated {
        run: "p2m8".into(),
        parent: Some(Parent {
            run: "k3n9".into(),
            kind,
            reason: "second thoughts".into(),
            only: Vec::new(),
            past_commit: false,
        }),
        ..(**created).clone()
    };
    let entries = of.state().inheritance(kind);
    run.journal.push((Event::UndoListInherited { run: "k3n9".into(), entries }, START));
    run.effects = of.effects.clone();
    run.restart();
    run
}

#[test]
fn rolling_back_an_ended_run_is_a_child_run_over_its_undo_list() {
    let book = || {
        with_rollback(
            chain(vec![
                undoable("a"),
                undoable("each").with(json!("${item}")).each(json!("${inputs.names}"), 2, 0),
                undoable("b"),
            ]),
            vec![(
                read("tell").with(json!("${steps.a.output.made}")).when("steps.a.status == 'succeeded'"),
                RollbackOrder::After,
            )],
        )
    };
    let mut parent = Driver::new(book());
    assert_eq!(parent.start(), SUCCEEDED);
    parent.ask(rollback(&[], false));
    assert_eq!(parent.refused, ["can't rollback: the run has ended: its rollback is a run of its own"]);
    let mut run = follower(&parent, ParentKind::Rollback, book());
    assert_eq!(run.start(), ROLLED_BACK);
    assert!(run.effects.values().all(|had| *had == 0), "{:?}", run.effects);
    assert_eq!(undo_calls(&run)[0], "plan-undo undo/b");
    assert_eq!(undo_calls(&run).last(), Some(&"read rollback/tell"));
    assert!(!run.kinds().contains(&"owner_changed"));
    assert_eq!(run.state().verdict().unwrap().reason, "second thoughts");
}

#[test]
fn a_child_run_limited_to_a_step_that_is_not_there_takes_nothing_back() {
    let book = || chain(vec![undoable("a")]);
    let mut parent = Driver::new(book());
    assert_eq!(parent.start(), SUCCEEDED);
    let mut run = follower(&parent, ParentKind::Rollback, book());
    let Event::RunCreated(created) = &mut run.journal[0].0 else { panic!("it begins with its creation") };
    created.parent.as_mut().unwrap().only = vec!["b".into()];
    run.restart();
    assert_eq!(run.start(), FAILED);
    assert_eq!(run.had("a"), 1);
}

#[test]
fn a_child_run_limited_to_a_step_ends_partial_and_names_what_it_left() {
    let book = || chain(vec![undoable("a"), undoable("b"), undoable("c")]);
    let limited = |only: &str| {
        let mut parent = Driver::new(book());
        assert_eq!(parent.start(), SUCCEEDED);
        let mut run = follower(&parent, ParentKind::Rollback, book());
        let Event::RunCreated(created) = &mut run.journal[0].0 else { panic!("it begins with its creation") };
        created.parent.as_mut().unwrap().only = vec![only.into()];
        run.restart();
        (run.start(), run)
    };
    let (outcome, run) = limited("b");
    assert_eq!(outcome, Outcome::Ended(Verdict::Partial, false));
    assert_eq!((run.had("a"), run.had("b"), run.had("c")), (1, 0, 0), "c came after b");
    let decided = run.state().verdict().unwrap();
    assert_eq!(decided.reason, "second thoughts; taken back in part, as asked for; left as it is: `a`");
    assert_eq!(decided.world, World::Mixed);
    assert_eq!(limited("a").0, ROLLED_BACK, "nothing is left");
}

#[test]
fn an_ended_run_is_taken_back_past_its_commit_only_by_word() {
    let book = chain(vec![undoable("a"), undoable("b").commits(), undoable("c"), read("look")]);
    let mut parent = Driver::new(book.clone());
    assert_eq!(parent.start(), SUCCEEDED);
    let may = |only: &[&str], past_commit| {
        let only: Vec<String> = only.iter().map(ToString::to_string).collect();
        let runbook = std::sync::Arc::new(book.clone());
        may_be_taken_back(runbook, parent.state(), &only, past_commit).map_err(|refusal| refusal.message)
    };
    let needs = Err("the run is past its commit: rolling back needs --past-commit".to_owned());
    assert_eq!(may(&[], false), needs);
    assert_eq!(may(&["b"], false), needs, "what commits came before the commit");
    assert_eq!(may(&["c"], false), Ok(()));
    assert_eq!(may(&[], true), Ok(()));
    assert_eq!(may(&["look"], true), Err("there is nothing of step `look` to take back".to_owned()));
    assert_eq!(may(&["nope"], true), Err("the run has no step `nope`".to_owned()));
}

#[test]
fn past_the_commit_a_rollback_needs_a_reason() {
    let mut run = Driver::new(chain(vec![going_back("a").commits(), breaks("check")]));
    run.start();
    run.ask(Request::Rollback { reason: " ".into(), only: Vec::new(), past_commit: true });
    assert_eq!(run.refused, ["rolling back past the commit needs a reason"]);
}

#[test]
fn a_run_that_continues_another_has_its_effects_in_its_undo_list() {
    let book = || chain(vec![going_back("a"), going_back("b"), breaks("check")]);
    let mut parent = Driver::new(book());
    parent.plot =
        vec![(2, Observation::Asked(Asked::here("ada", Request::Cancel { reason: "later".into() })))];
    assert_eq!(parent.start(), Outcome::Ended(Verdict::Cancelled, false));
    assert_eq!((parent.had("a"), parent.effects.len()), (1, 1));
    let mut run = follower(&parent, ParentKind::Continue, book());
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(run.calls[..2], ["plan a", "output a"], "it is there already, and adopted");
    assert_eq!((run.had("a"), run.had("b")), (0, 0));
}

// --- found by simulation ---

#[test]
fn an_item_of_a_step_that_the_run_has_passed_is_not_begun_again() {
    let each = write("each").with(json!("${item}")).each(json!("${inputs.names}"), 1, 0);
    let mut run = Driver::scripted(chain(vec![each, read("check").expect("false")]), |seen| {
        (seen.item == Some("b") && seen.writes()).then(|| (failed("refused", false, false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    run.ask(Request::Skip { step: "each".into(), item: None, reason: String::new() });
    let item = Some("b".to_owned());
    run.ask(Request::Retry { step: "each".into(), item, input: None, reason: String::new() });
    assert_eq!(run.refused, ["`each` is skipped, and the run went on after it"]);
}

#[test]
fn a_step_that_was_taken_back_in_part_is_no_success() {
    let each = undoable("each").with(json!("${item}")).each(json!("${inputs.names}"), 1, 0);
    let mut run =
        Driver::scripted(chain(vec![each, read("check").expect("result.ok")]), |seen| match seen.step {
            "check" => Some((ok(json!({ "ok": seen.count > 1 })), false)),
            "undo/each" if seen.item == Some("b") && !seen.writes() => {
                Some((planned(Status::Conflict("it moved".into()), true), false))
            }
            _ => None,
        });
    run.start();
    run.ask(rollback(&["each"], false));
    assert_eq!(run.answer("undo/each", Some("b"), Answer::Leave), Outcome::Held(vec![Hold::Operator]));
    let had = |run: &Driver, item: &str| run.effects[&("each".to_owned(), Some(item.to_owned()))];
    assert_eq!((had(&run, "a"), had(&run, "b"), had(&run, "c")), (0, 1, 0));
    assert_eq!(run.resume(), SUCCEEDED);
    assert_eq!((had(&run, "a"), had(&run, "b"), had(&run, "c")), (1, 1, 1), "the others were had again");
}

#[test]
fn a_second_resume_begins_nothing_anew_that_is_at_work_again() {
    let each = undoable("each").with(json!("${item}")).each(json!("${inputs.names}"), 1, 0);
    let mut run = Driver::scripted(chain(vec![each, read("check").expect("result.ok")]), |seen| {
        (seen.step == "check").then(|| (ok(json!({ "ok": seen.count > 1 })), false))
    });
    run.start();
    assert_eq!(run.ask(rollback(&["each"], false)), Outcome::Held(vec![Hold::Operator]));
    let before = run.calls.len();
    let resume = || Observation::Asked(Asked::here("ada", Request::Resume));
    // With its plan made and its effect under way.
    run.plot = (0..7).map(|calls| (run.answered + calls, resume())).collect();
    assert_eq!(run.resume(), SUCCEEDED);
    assert_eq!(
        run.calls[before..],
        [
            "plan each[a]",
            "apply each[a]",
            "plan each[b]",
            "apply each[b]",
            "plan each[c]",
            "apply each[c]",
            "read check"
        ]
    );
}

#[test]
fn a_second_undo_is_of_the_items_that_were_had_again() {
    let each = undoable("each").with(json!("${item}")).each(json!("${inputs.names}"), 1, 0);
    let mut run = Driver::scripted(chain(vec![each, read("check").expect("false")]), |seen| {
        if let CallKind::PlanUndo { done, .. } = &seen.request.phase {
            assert_eq!(done.len(), 1, "{:?} has something to take back", seen.item);
        }
        match (seen.item, seen.step, seen.writes()) {
            // Taken back, it can't be had again.
            (Some("c"), "each", true) if seen.count > 1 => Some((failed("refused", false, false), false)),
            (Some("a"), "undo/each", true) if seen.count == 2 => {
                Some((failed("refused", false, false), false))
            }
            _ => None,
        }
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.ask(rollback(&["each"], false)), Outcome::Held(vec![Hold::Operator]));
    assert_eq!(run.resume(), Outcome::Held(vec![Hold::Failure]), "c fails");
    let before = run.calls.len();
    assert_eq!(run.ask(rollback(&[], false)), Outcome::Held(vec![Hold::Failure]), "the undo of a fails");
    let retry = Request::Retry { step: "undo/each".into(), item: None, input: None, reason: String::new() };
    assert_eq!(run.ask(retry), ROLLED_BACK);
    assert!(!run.calls[before..].iter().any(|call| call.contains("[c]")), "{:?}", &run.calls[before..]);
    assert!(run.effects.values().all(|had| *had == 0), "{:?}", run.effects);
}
