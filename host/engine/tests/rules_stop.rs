//! The rules of what people say to stop a run or turn it back, while something is under way.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use serde_json::json;
use support::safety::{Timed, approve, asks, guard, guarded};
use support::*;
use windlass_engine::{
    Answer, Asked, CallReport, Hold, Observation, Phase, Reads, Request, Stand, Verdict, World,
};
use windlass_runbook::model::{Approval, Concurrency, OnExpiry, OnFailure, Step, WhenBusy};
use windlass_runbook::outcome::Status;

const ROLLED_BACK: Outcome = Outcome::Ended(Verdict::RolledBack, false);

fn going_back(id: &str) -> Step {
    undoable(id).on_failure(OnFailure::Auto)
}

fn says(at: i64, request: Request) -> (i64, Observation) {
    (at, Observation::Asked(Asked::here("ada", request)))
}

fn cancel() -> Request {
    Request::Cancel { reason: "wrong version".into() }
}

fn rollback() -> Request {
    Request::Rollback { reason: "wrong day".into(), only: Vec::new(), past_commit: false }
}

/// The second step is applied until it is cut off.
fn busy() -> Driver {
    let steps = vec![going_back("a"), going_back("slow")];
    Driver::scripted(chain(steps), |seen| (seen.step == "slow" && seen.writes()).then(|| (hangs(), true)))
}

#[test]
fn a_rollback_asked_for_after_a_cancel_happens() {
    let mut run = busy();
    run.timed = vec![says(1_000, cancel()), says(2_000, rollback())];
    assert_eq!(run.start(), ROLLED_BACK);
    assert!(run.refused.is_empty(), "{:?}", run.refused);
    assert_eq!((run.had("a"), run.had("slow")), (0, 0));
    assert_eq!(run.state().verdict().unwrap().reason, "wrong day");
    assert_eq!(run.state().world(), World::Restored);
}

#[test]
fn a_rollback_asked_for_after_a_cancel_happens_after_a_crash_too() {
    let make = || {
        let mut run = busy();
        run.timed = vec![says(1_000, cancel()), says(2_000, rollback())];
        run
    };
    let mut whole = make();
    assert_eq!(whole.start(), ROLLED_BACK);
    for point in 1..=whole.points {
        let mut run = make();
        run.crash_at = Some(point);
        let mut outcome = run.start();
        let asked = run.journal.iter().any(|(event, _)| event.kind() == "rollback_started");
        while outcome == Outcome::Crashed {
            run.restart();
            outcome = run.start();
        }
        if asked {
            assert_eq!(outcome, ROLLED_BACK, "crashed at {point}");
            assert_eq!((run.had("a"), run.had("slow")), (0, 0), "crashed at {point}");
        }
    }
}

#[test]
fn a_failure_after_a_cancel_turns_nothing_back() {
    let mut run = Driver::scripted(chain(vec![going_back("a"), going_back("b")]), |seen| {
        (seen.step == "b" && seen.writes()).then(|| (failed("refused", false, false), false))
    });
    // While `b` is being applied: a plan and an apply of `a`, and the plan of `b`.
    run.plot = vec![(3, Observation::Asked(Asked::here("ada", cancel())))];
    assert_eq!(run.start(), Outcome::Ended(Verdict::Failed, false));
    assert_eq!(run.had("a"), 1, "it ends where it is");
    assert!(!run.kinds().contains(&"rollback_started"));
    assert!(run.state().verdict().unwrap().reason.ends_with("ada ended it: wrong version"));
}

#[test]
fn a_way_back_that_is_cancelled_is_not_begun_again_before_it_has_ended() {
    let steps = vec![going_back("a"), read("check").expect("false").on_failure(OnFailure::Auto)];
    let mut run = Driver::scripted(chain(steps), |seen| {
        (seen.step == "undo/a" && seen.writes()).then(|| (hangs(), true))
    });
    let terminate = Request::Terminate { reason: "enough".into() };
    run.timed = vec![says(2_000, cancel()), says(3_000, rollback()), says(4_000, terminate)];
    assert_eq!(run.start(), Outcome::Ended(Verdict::Failed, false));
    assert_eq!(run.refused, ["can't rollback: the run is about to end: roll it back when it has ended"]);
}

#[test]
fn ctrl_c_on_the_way_back_that_a_person_asked_for_pauses_it_first() {
    let mut run = busy();
    let press = || Observation::Interrupt { who: "ada".into() };
    run.timed =
        vec![(1_000, press()), (1_500, Observation::Asked(Asked::here("ada", rollback()))), (2_000, press())];
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Operator]));
    assert!(run.state().goes_back());
    assert_eq!(run.resume(), ROLLED_BACK);
}

#[test]
fn a_run_that_is_resumed_while_a_pause_still_drains_goes_on() {
    let mut run = Driver::new(chain(vec![write("a"), write("b")]));
    // The apply of `a` is under way, of which only the plan was answered.
    run.plot = vec![(1, Observation::Interrupt { who: "ada".into() }), (1, says(0, Request::Resume).1)];
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!((run.count("run_held"), run.count("run_released")), (1, 1));
}

// --- a pause holds what an approval's expiry leads to ---

fn expiring(on_expiry: OnExpiry) -> Driver {
    let asked = Approval { expires_ms: Some(60_000), on_expiry, ..asks() };
    let sign = approve("sign", asked).on_failure(OnFailure::Auto);
    let mut run = Driver::new(chain(vec![going_back("a"), sign, going_back("b")]));
    run.timed = vec![(1_000, Observation::Interrupt { who: "ada".into() })];
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Operator]), "nobody need stay for it");
    run.now = START + 120_000;
    run
}

#[test]
fn an_approval_that_expires_in_a_pause_is_written_down_and_nothing_more() {
    let mut run = expiring(OnExpiry::Fail);
    run.restart();
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Operator]));
    assert_eq!(run.count("approval_expired"), 1);
    assert!(!run.kinds().contains(&"step_failed") && !run.state().goes_back());
    let sign = &run.state().step("sign").unwrap().work;
    assert_eq!(
        (sign.phase, &run.state().approval("sign").unwrap().stand),
        (Phase::Approving, &Stand::Expired)
    );
    assert_eq!(run.had("a"), 1);
}

#[test]
fn an_approval_that_expired_in_a_pause_acts_when_the_run_is_resumed() {
    for restarts in [false, true] {
        let mut run = expiring(OnExpiry::Fail);
        if restarts {
            run.restart();
            run.start();
        }
        assert_eq!(run.resume(), ROLLED_BACK);
        assert_eq!(run.had("a"), 0);
        let mut run = expiring(OnExpiry::Hold);
        assert_eq!(run.resume(), Outcome::Held(vec![Hold::Failure]));
        assert_eq!((run.had("a"), run.had("b"), run.count("approval_requested")), (1, 0, 1));
    }
}

#[test]
fn an_approval_that_expired_in_a_pause_can_be_asked_again_instead() {
    let mut run = expiring(OnExpiry::Fail);
    run.restart();
    run.start();
    let retry = Request::Retry { step: "sign".into(), item: None, input: None, reason: "bob is back".into() };
    assert_eq!(run.ask(retry), Outcome::Held(vec![Hold::Operator]));
    run.time_up = Some(150_000);
    assert_eq!(run.resume(), Outcome::TimeUp);
    assert!(run.state().approval("sign").unwrap().is_open());
    assert_eq!(run.state().approval("sign").unwrap().request.as_ref().unwrap().round, 2);
    run.time_up = None;
    assert_eq!(run.approves("sign", "bob", &["owner"]), SUCCEEDED);
}

#[test]
fn whoever_has_another_role_is_told_which_it_takes_and_which_they_have() {
    let mut run = Driver::new(chain(vec![approve("sign", asks()), write("a")]));
    run.start();
    run.approves("sign", "eve", &["dev", "ops"]);
    assert_eq!(run.refused, ["`sign` takes the word of owner; eve has dev, ops, so this does not count"]);
}

// --- what keeps a process, and how it is left ---

#[test]
fn a_paused_run_leaves_its_place_in_the_queue_and_its_process_ends() {
    let mut book = chain(vec![write("a")]);
    book.concurrency = Some(Concurrency { group: "production".into(), when_busy: WhenBusy::Queue });
    let mut run = Driver::new(book);
    let busy = || Observation::LockBusy { group: "production".into(), by: "other".into() };
    run.locks = [busy(), busy()].into();
    run.timed = vec![(3_000, Observation::Interrupt { who: "ada".into() })];
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Operator]));
    assert_eq!(run.resume(), SUCCEEDED, "the lock is asked for when it goes on");
}

#[test]
fn a_guard_keeps_a_paused_run_until_the_process_is_to_leave_it() {
    let make = || {
        let book = guarded(chain(vec![going_back("a"), wait("soak", "1h")]), vec![guard("up")]);
        Driver::scripted(book, |seen| {
            seen.step.starts_with("guard/").then(|| (ok(json!({ "n": 0.0 })), false))
        })
    };
    let press = |at| (at, Observation::Interrupt { who: "ada".into() });
    let mut run = make();
    run.timed = vec![press(5_000)];
    run.time_up = Some(60_000);
    assert_eq!(run.start(), Outcome::TimeUp, "it watches on");
    let mut run = make();
    run.timed = vec![press(5_000), press(20_000)];
    run.time_up = Some(60_000);
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Operator]));
    assert!(run.state().cancelled().is_none() && run.state().verdict().is_none(), "paused, and no more");
    run.time_up = None;
    assert_eq!(run.resume(), SUCCEEDED);
}

#[test]
fn a_step_that_waits_for_its_window_can_be_left_out() {
    let mut run = Driver::new(chain(vec![write("a"), write("b").at(3_600_000), write("c")]));
    run.time_up = Some(10_000);
    let skip = Request::Skip { step: "b".into(), item: None, reason: "not today".into() };
    assert_eq!(run.start(), Outcome::TimeUp);
    assert_eq!(run.ask(skip), Outcome::Ended(Verdict::Partial, false));
    assert_eq!((run.had("b"), run.had("c")), (0, 1));
}

// --- what an undo can be answered ---

/// The undo of `a` can't be planned, and `reads` tells what planning it has asked.
fn without_a_way_back(status: Status, reads: Reads) -> Driver {
    let steps = vec![going_back("a"), read("check").expect("false").on_failure(OnFailure::Auto)];
    let mut run = Driver::scripted(chain(steps), move |seen| {
        (seen.step == "undo/a" && !seen.writes())
            .then(|| (CallReport { reads, ..planned(status.clone(), true) }, false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]));
    run
}

#[test]
fn only_a_conflict_can_be_put_back() {
    let unknown = Status::Unknown("the step has no `reverse`".into());
    let mut run = without_a_way_back(unknown, Reads { succeeded: 1, failed: 0, denied: 0 });
    run.answer("undo/a", None, Answer::Restore);
    assert_eq!(
        run.refused,
        ["can't restore `undo/a`: its undo has nothing to put back: the step has no `reverse`"]
    );
    run.answer("undo/a", None, Answer::NotApplied);
    assert_eq!(run.refused.len(), 1, "it has looked, and may find something else");
    assert_eq!(run.answer("undo/a", None, Answer::Leave), Outcome::Ended(Verdict::Failed, false));
}

#[test]
fn what_looked_at_nothing_is_not_looked_at_once_more() {
    let unknown = Status::Unknown("the step has no `reverse`".into());
    let mut run = without_a_way_back(unknown, Reads::default());
    run.answer("undo/a", None, Answer::NotApplied);
    let why = "can't answer `undo/a`: its undo looks at nothing, so it would say the same: the step has no `reverse`";
    assert_eq!(run.refused, [why]);
    let by_hand = Answer::Applied { output: None };
    assert_eq!(run.answer("undo/a", None, by_hand), ROLLED_BACK);
}

#[test]
fn a_question_says_how_the_attempt_failed_where_that_was_seen() {
    let mut run = Driver::scripted(chain(vec![write("make")]), |seen| {
        if seen.writes() {
            return Some((failed("exit-3", false, true), true));
        }
        (seen.is_plan() && !seen.before().is_empty())
            .then(|| (planned(Status::Unknown("nothing tells".into()), true), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]));
    let (_, _, question) = run.state().questions().next().unwrap();
    assert_eq!(question.message, "it failed: it is exit-3 (exit-3); nothing tells");
}
