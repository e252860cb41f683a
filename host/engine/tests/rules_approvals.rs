//! The rules of approvals, each with a test named after it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use serde_json::json;
use support::safety::{approve, asks, word};
use support::*;
use windlass_engine::{Answer, ApprovalRequest, Decision, Event, Hold, Phase, Request, StepFailure, Verdict};
use windlass_runbook::model::{Approval, Bind, OnExpiry, OnFailure};
use windlass_runbook::outcome::{Change, Plan, Status};

const WAITS: Outcome = Outcome::Held(Vec::new());

fn request(run: &Driver, step: &str) -> ApprovalRequest {
    (**run.state().approval(step).unwrap().request.as_ref().unwrap()).clone()
}

fn release(approval: Approval) -> Driver {
    Driver::new(chain(vec![read("look"), approve("sign", approval), write("a"), write("b")]))
}

#[test]
fn an_approval_is_asked_for_with_what_it_covers_and_waits() {
    let mut run = release(asks());
    assert_eq!(run.start(), WAITS, "nothing more happens without a person");
    assert_eq!(run.calls, ["read look", "plan a", "plan b"], "planned, and nothing done");
    let asked = request(&run, "sign");
    let covered: Vec<&str> = asked.covers.iter().map(|covered| &*covered.step).collect();
    assert_eq!(covered, ["a", "b"]);
    assert_eq!(asked.covers[0].changes.as_ref().unwrap()[0].target, "thing");
    assert_eq!(asked.round, 1);
    assert!(asked.digest.starts_with("sha256:") && asked.runbook.starts_with("sha256:"));
    assert_eq!(run.status("sign"), "approving (none)");
    assert_eq!(run.journal.last().unwrap().0.kind(), "approval_requested", "durable");
    assert_eq!(run.approves("sign", "bob", &["owner"]), SUCCEEDED);
    assert_eq!(run.calls[3..], ["plan a", "apply a", "plan b", "apply b"], "planned afresh to be applied");
}

#[test]
fn a_request_is_the_same_after_a_crash_and_still_waits() {
    let mut run = release(asks());
    assert_eq!(run.start(), WAITS);
    let before = request(&run, "sign");
    run.restart();
    assert_eq!(run.start(), WAITS);
    assert_eq!(request(&run, "sign"), before);
    assert_eq!(run.count("approval_requested"), 1);
    assert_eq!(run.approves("sign", "bob", &["owner"]), SUCCEEDED);
}

#[test]
fn it_covers_everything_up_to_the_next_approval() {
    let mut run =
        Driver::new(chain(vec![approve("first", asks()), write("a"), approve("second", asks()), write("b")]));
    assert_eq!(run.start(), WAITS);
    assert_eq!(request(&run, "first").covers.len(), 1);
    assert_eq!(run.approves("first", "bob", &["owner"]), WAITS);
    assert_eq!(run.had("a"), 1);
    assert_eq!(&*request(&run, "second").covers[0].step, "b");
    assert_eq!(run.approves("second", "bob", &["owner"]), SUCCEEDED);
}

#[test]
fn covers_names_what_it_is_about() {
    let mut run = Driver::new(chain(vec![
        approve("sign", Approval { covers: Some(vec![2]), ..asks() }),
        write("a"),
        write("b"),
    ]));
    assert_eq!(run.start(), WAITS);
    let covered = request(&run, "sign").covers;
    assert_eq!(covered.iter().map(|covered| &*covered.step).collect::<Vec<_>>(), ["b"]);
    assert_eq!(run.approves("sign", "bob", &["owner"]), SUCCEEDED);
}

#[test]
fn what_is_not_known_yet_is_deferred_and_then_anything_is_approved() {
    let steps =
        || vec![approve("sign", asks()), write("a"), write("b").with(json!("${steps.a.output.made}"))];
    let mut run = Driver::new(chain(steps()));
    assert_eq!(run.start(), WAITS);
    let asked = request(&run, "sign");
    assert!(asked.covers[0].deferred.is_none() && asked.covers[0].changes.is_some());
    assert!(asked.covers[1].deferred.as_ref().unwrap().contains("`a`"), "{:?}", asked.covers[1]);
    assert!(asked.covers[1].input.is_none() && asked.covers[1].changes.is_none());
    assert_eq!(run.approves("sign", "bob", &["owner"]), SUCCEEDED);
}

#[test]
fn exact_forbids_deferred() {
    let exact = Approval { bind: Bind::Exact, ..asks() };
    let mut run = Driver::new(chain(vec![
        approve("sign", exact),
        write("a"),
        write("b").with(json!("${steps.a.output.made}")),
    ]));
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    insta::assert_snapshot!(run.failure("sign"), @r#"`bind = "exact"` wants all of it known, and this is not: `b`: `with` needs the output of `a`, which is not known yet"#);
}

#[test]
fn what_differs_at_apply_makes_it_void_and_it_is_asked_again() {
    let change = |to: &str| Change {
        target: "route".into(),
        kind: "update".into(),
        from: Some("whatever".into()),
        to: Some(to.into()),
    };
    let mut run =
        Driver::scripted(chain(vec![approve("sign", asks()), write("a"), write("b")]), move |seen| {
            if seen.step != "a" || !seen.is_plan() {
                return None;
            }
            let to = if seen.count == 1 { "10" } else { "90" };
            let plan = Plan {
                status: Status::Differs,
                changes: vec![change(to)],
                repeatable: true,
                memo: format!("{}", seen.count),
            };
            Some((report(Ok(windlass_engine::Returned::Plan(plan)), false), false))
        });
    assert_eq!(run.start(), WAITS);
    let first = request(&run, "sign");
    assert_eq!(run.approves("sign", "bob", &["owner"]), WAITS);
    assert_eq!(run.had("a"), 0, "nothing but what was approved");
    let Some(Event::ApprovalVoided { covered, difference, .. }) = run.events("approval_voided").pop() else {
        panic!("none")
    };
    insta::assert_snapshot!(format!("{covered}: {difference}"), @"a: not approved: update route to 90");
    let second = request(&run, "sign");
    assert_eq!(second.round, 2);
    assert_ne!(second.digest, first.digest);
    let mut old = word(run.state(), "sign", "bob", &["owner"]);
    old.request = first.digest;
    assert_eq!(run.say(old), WAITS);
    assert!(run.refused.pop().unwrap().contains("has changed"));
    assert_eq!(run.approves("sign", "bob", &["owner"]), SUCCEEDED);
    assert_eq!((run.had("a"), run.had("b")), (1, 1));
}

#[test]
fn a_void_approval_is_asked_again_by_the_next_process_too() {
    let mut run = Driver::scripted(chain(vec![approve("sign", asks()), write("a")]), |seen| {
        (seen.is_plan() && seen.count == 1).then(|| (planned(Status::InPlace, true), false))
    });
    assert_eq!(run.start(), WAITS);
    run.crash_at = Some(run.points + 16);
    let mut outcome = run.approves("sign", "bob", &["owner"]);
    for _ in 0..20 {
        outcome = match outcome {
            Outcome::Crashed => {
                run.restart();
                run.crash_at = None;
                run.start()
            }
            Outcome::Held(_) => run.approves("sign", "bob", &["owner"]),
            ended => {
                outcome = ended;
                break;
            }
        };
    }
    assert_eq!(outcome, SUCCEEDED);
    assert_eq!(run.had("a"), 1);
    assert_eq!(run.count("approval_voided"), 1);
}

#[test]
fn less_than_was_approved_is_within_it() {
    let mut run = Driver::scripted(chain(vec![approve("sign", asks()), write("a")]), |seen| {
        (seen.is_plan() && seen.count == 2).then(|| (planned(Status::InPlace, true), false))
    });
    assert_eq!(run.start(), WAITS);
    assert_eq!(run.approves("sign", "bob", &["owner"]), SUCCEEDED);
    assert_eq!(run.status("a"), "succeeded (unchanged)");
}

#[test]
fn items_are_covered_one_by_one() {
    let mut run = Driver::new(chain(vec![
        approve("sign", asks()),
        write("each").with(json!("${item}")).each(json!("${inputs.names}"), 2, 0),
    ]));
    assert_eq!(run.start(), WAITS);
    let asked = request(&run, "sign");
    let items: Vec<_> = asked.covers.iter().map(|covered| covered.item.as_deref().unwrap()).collect();
    assert_eq!(items, ["a", "b", "c"]);
    assert_eq!(asked.covers[1].input.as_deref(), Some(&json!({ "value": "b" })));
    assert_eq!(run.approves("sign", "bob", &["owner"]), SUCCEEDED);
}

#[test]
fn each_role_is_wanted_and_a_person_counts_once_in_each() {
    let both = Approval { roles: vec!["owner".into(), "security".into()], each: 2, ..asks() };
    let mut run = release(both);
    assert_eq!(run.start(), WAITS);
    assert_eq!(run.approves("sign", "bob", &["owner", "security"]), WAITS);
    assert_eq!(run.approves("sign", "bob", &["owner"]), WAITS);
    assert!(run.refused.pop().unwrap().contains("already"));
    assert_eq!(run.approves("sign", "eve", &["guest"]), WAITS);
    assert!(run.refused.pop().unwrap().contains("takes the word of owner or security; eve has guest"));
    assert_eq!(run.approves("sign", "cem", &["owner"]), WAITS);
    assert_eq!(run.approves("sign", "dan", &["security"]), SUCCEEDED);
}

#[test]
fn a_role_that_is_spoken_in_is_the_only_one_that_counts() {
    let both = Approval { roles: vec!["owner".into(), "security".into()], ..asks() };
    let mut run = release(both);
    assert_eq!(run.start(), WAITS);
    let mut given = word(run.state(), "sign", "bob", &["owner", "security"]);
    given.role = Some("owner".into());
    assert_eq!(run.say(given.clone()), WAITS);
    given.role = Some("security".into());
    assert_eq!(run.say(given), SUCCEEDED);
}

#[test]
fn any_counts_people() {
    let any = Approval { roles: vec!["owner".into(), "security".into()], any: Some(2), ..asks() };
    let mut run = release(any);
    assert_eq!(run.start(), WAITS);
    assert_eq!(run.approves("sign", "bob", &["owner", "security"]), WAITS, "one person, whatever the roles");
    assert_eq!(run.approves("sign", "cem", &["owner"]), SUCCEEDED);
}

#[test]
fn nobody_approves_alone_what_they_started() {
    let mut run = release(asks());
    assert_eq!(run.start(), WAITS);
    assert_eq!(run.approves("sign", "ada", &["owner"]), WAITS, "ada started it");
    assert_eq!(run.approves("sign", "bob", &["owner"]), SUCCEEDED);
    let mut run = release(Approval { own: true, ..asks() });
    assert_eq!(run.start(), WAITS);
    assert_eq!(run.approves("sign", "ada", &["owner"]), SUCCEEDED, "where the runbook allows it");
}

#[test]
fn rejected_is_not_failed() {
    let mut run = release(asks());
    assert_eq!(run.start(), WAITS);
    let mut no = word(run.state(), "sign", "bob", &["owner"]);
    no.decision = Decision::Reject;
    no.reason = "not on a Friday".into();
    assert_eq!(run.say(no), Outcome::Held(vec![Hold::Failure]));
    let work = &run.state().step("sign").unwrap().work;
    assert_eq!(
        work.failure,
        Some(StepFailure::Rejected { who: "bob".into(), because: "not on a Friday".into() })
    );
    assert_eq!(run.had("a"), 0);
    // Asked again where somebody lets the run go on.
    assert_eq!(run.resume(), WAITS);
    assert_eq!(request(&run, "sign").round, 2);
    assert_eq!(run.approves("sign", "bob", &["owner"]), SUCCEEDED);
}

#[test]
fn a_rejection_is_never_passed_over() {
    let mut sign = approve("sign", asks());
    sign.on_failure = OnFailure::Continue;
    let mut run = Driver::new(chain(vec![sign, write("a")]));
    assert_eq!(run.start(), WAITS);
    let mut no = word(run.state(), "sign", "bob", &["owner"]);
    no.decision = Decision::Reject;
    assert_eq!(run.say(no), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.had("a"), 0);
}

#[test]
fn a_rejection_after_an_effect_rolls_back_by_default() {
    let mut sign = approve("sign", asks());
    sign.on_failure = OnFailure::Auto;
    let mut run = Driver::new(chain(vec![undoable("a"), sign, write("b")]));
    assert_eq!(run.start(), WAITS);
    let mut no = word(run.state(), "sign", "bob", &["owner"]);
    no.decision = Decision::Reject;
    assert_eq!(run.say(no), Outcome::Ended(Verdict::RolledBack, false));
    assert_eq!(run.had("b"), 0);
}

#[test]
fn expiry_never_approves() {
    let soon = Approval { expires_ms: Some(60_000), ..asks() };
    let mut run = release(soon.clone());
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.when("approval_expired"), Some(run.when("approval_requested").unwrap() + 60_000));
    assert_eq!(run.failure("sign"), "not approved within 1m");
    assert_eq!(run.approves("sign", "bob", &["owner"]), Outcome::Held(vec![Hold::Failure]));
    assert!(run.refused.pop().unwrap().contains("does not ask"));
    assert_eq!(run.had("a"), 0);
    let mut sign = approve("sign", Approval { on_expiry: OnExpiry::Hold, ..soon });
    sign.on_failure = OnFailure::Continue;
    let mut run = Driver::new(chain(vec![sign, write("a")]));
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.had("a"), 0);
}

#[test]
fn the_time_of_an_approval_goes_on_while_nobody_runs_the_engine() {
    let mut run = release(Approval { expires_ms: Some(60_000), ..asks() });
    run.time_up = Some(10_000);
    assert_eq!(run.start(), Outcome::TimeUp);
    run.restart();
    run.time_up = None;
    run.now = START + 120_000;
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.count("approval_expired"), 1);
}

#[test]
fn evidence_and_owner_are_wanted_where_the_runbook_says_so() {
    let mut run = release(Approval { evidence: true, owner: Some("bob".into()), ..asks() });
    assert_eq!(run.start(), WAITS);
    assert_eq!(run.approves("sign", "bob", &["owner"]), WAITS);
    assert!(run.refused.pop().unwrap().contains("evidence"));
    let mut given = word(run.state(), "sign", "cem", &["owner"]);
    given.evidence = Some("ticket 17".into());
    assert_eq!(run.say(given.clone()), WAITS);
    assert!(run.refused.pop().unwrap().contains("is for bob"));
    given.who = "bob".into();
    assert_eq!(run.say(given), SUCCEEDED);
}

#[test]
fn what_can_not_be_planned_is_not_asked() {
    let mut run = Driver::scripted(chain(vec![approve("sign", asks()), write("a")]), |seen| {
        (seen.is_plan()).then(|| (failed("no-such-route", false, false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    insta::assert_snapshot!(run.failure("sign"), @"what it covers can't be planned: `a`: planning failed: it is no-such-route (no-such-route)");
    assert_eq!(run.count("approval_requested"), 0);
}

#[test]
fn an_approval_that_its_when_skips_gates_nothing() {
    let mut run = Driver::new(chain(vec![approve("sign", asks()).when("false"), write("a")]));
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.state().step("sign").unwrap().work.phase, Phase::Skipped);
}

#[test]
fn an_approval_is_not_gone_round() {
    let mut run = release(asks());
    assert_eq!(run.start(), WAITS);
    let mut no = word(run.state(), "sign", "bob", &["owner"]);
    no.decision = Decision::Reject;
    assert_eq!(run.say(no), Outcome::Held(vec![Hold::Failure]));
    let (step, item, reason) = ("sign".to_owned(), None, "we are in a hurry".to_owned());
    for request in [
        Request::Skip { step: step.clone(), item: item.clone(), reason: reason.clone() },
        Request::Done { step: step.clone(), item: item.clone(), output: None, reason: reason.clone() },
        Request::Answer { step, item, answer: Answer::Applied { output: None }, reason },
    ] {
        assert_eq!(run.ask(request), Outcome::Held(vec![Hold::Failure]));
        let message = run.refused.pop().unwrap();
        assert!(message.contains("`sign`"), "{message}");
    }
    assert_eq!(run.had("a"), 0);
}

#[test]
fn a_crash_at_any_point_of_an_approval_approves_nothing_twice_or_unasked() {
    let make = || release(asks());
    let to_the_end = |run: &mut Driver| {
        let mut outcome = run.start();
        for _ in 0..50 {
            outcome = match outcome {
                Outcome::Crashed => {
                    run.restart();
                    run.start()
                }
                Outcome::Held(_) => run.approves("sign", "bob", &["owner"]),
                ended => return ended,
            };
        }
        panic!("it never ends: {outcome:?}");
    };
    let mut whole = make();
    assert_eq!(to_the_end(&mut whole), SUCCEEDED);
    for point in 1..=whole.points {
        let mut run = make();
        run.crash_at = Some(point);
        assert_eq!(to_the_end(&mut run), SUCCEEDED, "crashed at {point}");
        assert_eq!((run.had("a"), run.had("b")), (1, 1), "crashed at {point}");
        let kinds = run.kinds();
        let position = |kind: &str| kinds.iter().position(|other| *other == kind).unwrap();
        assert!(position("approval_given") < position("attempt_started"), "crashed at {point}");
    }
}
