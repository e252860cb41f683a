//! The rules of a run, each with a test named after it.
//!
//! This file is long on purpose: a test for each rule, in the order of the rules, is easier to compare with them in
//! one place.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use serde_json::json;
use support::*;
use windlass_engine::{
    Answer, Asked, CallFailure, CallPhase, Hold, Observation, Phase, Reads, Request, StepFailure, Verdict,
    World,
};
use windlass_runbook::outcome::{Failure, Status};

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

// --- commits ---

#[test]
fn a_writing_step_is_two_commits() {
    let mut run = Driver::new(chain(vec![write("one"), write("two"), write("three")]));
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.commits, 6, "two for each; the end rides with the last");
}

#[test]
fn reading_steps_commit_at_the_end_only() {
    let mut run = Driver::new(chain((0..20).map(|n| read(&format!("s{n}"))).collect()));
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.commits, 1);
}

#[test]
fn what_was_read_is_durable_before_an_effect_that_used_it() {
    let mut run = Driver::scripted(chain(vec![read("look"), write("make")]), |_| None);
    run.crash_at = Some(9);
    let _crash = run.start();
    // Wherever it crashed: an attempt in the journal has the reading it was made with before it.
    let kinds = run.kinds();
    if let Some(attempt) = kinds.iter().position(|kind| *kind == "attempt_started") {
        assert!(kinds[..attempt].contains(&"step_succeeded"));
    }
}

#[test]
fn a_long_pause_begins_with_everything_durable() {
    let mut run = Driver::new(chain(vec![read("look"), wait("pause", "5s"), read("again")]));
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.commits, 2);
    let mut run = Driver::new(chain(vec![read("look"), wait("pause", "500ms"), read("again")]));
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.commits, 1);
}

#[test]
fn a_receipt_is_durable_before_the_plugin_goes_on() {
    let mut run = Driver::new(chain(vec![write("make")]));
    let outcome = {
        run.crash_at = Some(7);
        run.start()
    };
    assert_eq!(outcome, Outcome::Crashed, "after the effect, before its report");
    assert_eq!(run.had("make"), 1);
    let commands = run
        .machine
        .decide(Observation::Receipt { call: windlass_engine::CallId(2), text: "id 17".into() }, run.now);
    insta::assert_debug_snapshot!(commands);
}

// --- Do, rule 1 ---

#[test]
fn rule_1_a_step_is_planned_in_the_attempt_that_applies_it() {
    let mut run = Driver::scripted(chain(vec![write("make").retry(3)]), |seen| {
        (seen.writes() && seen.count < 3).then(|| (failed("refused", true, false), false))
    });
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(
        run.calls,
        ["plan make", "apply make", "plan make", "apply make", "plan make", "apply make"],
        "an older plan is never applied"
    );
    let keys: std::collections::BTreeSet<_> =
        run.state().step("make").unwrap().work.attempts.iter().map(|attempt| &attempt.key).collect();
    assert_eq!(keys.len(), 1, "a retry keeps the key");
}

// --- rule 2 ---

#[test]
fn rule_2_in_place_is_not_applied_and_gives_its_output() {
    let mut run = Driver::new(chain(vec![
        write("make").with(json!(1)),
        read("use").with(json!("${steps.make.output.made}")),
    ]));
    run.effects.insert(("make".into(), None), 1);
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.calls, ["plan make", "output make", "read use"]);
    assert_eq!(run.status("make"), "succeeded (unchanged)");
    assert_eq!(run.state().world(), World::Untouched);
    assert_eq!(run.commits, 1, "nothing was written, so nothing had to be durable before the end");
}

#[test]
fn rule_2_in_place_is_not_believed_where_something_asked_was_not_answered() {
    for reads in [Reads { succeeded: 3, failed: 1, denied: 0 }, Reads { succeeded: 3, failed: 0, denied: 1 }]
    {
        let mut run = Driver::scripted(chain(vec![write("make")]), move |seen| {
            let report = windlass_engine::CallReport { reads, ..planned(Status::InPlace, true) };
            seen.is_plan().then_some((report, false))
        });
        assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]), "{reads:?}");
        assert_eq!(run.calls, ["plan make"]);
        assert!(run.failure("make").contains("says that the effect is in place"), "{}", run.failure("make"));
    }
}

// --- rule 3 ---

#[test]
fn rule_3_a_failure_before_anything_was_sent_has_no_effect() {
    let mut run = Driver::scripted(chain(vec![write("make")]), |seen| {
        seen.writes().then(|| (failed("refused", false, false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.status("make"), "failed (none)");
    assert_eq!(run.state().world(), World::Untouched);
}

#[test]
fn rule_3_a_failure_after_something_was_sent_is_unknown_and_resolved() {
    let mut run = Driver::scripted(chain(vec![write("make"), read("next")]), |seen| {
        // The reply is lost after the effect landed.
        seen.writes().then(|| (failed("reply-lost", true, true), true))
    });
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.calls, ["plan make", "apply make", "plan make", "output make", "read next"]);
    assert_eq!(run.status("make"), "succeeded (adopted)");
    assert_eq!(run.had("make"), 1);
}

#[test]
fn rule_3_after_a_crash_it_is_always_unknown() {
    let mut run = Driver::new(chain(vec![write("make")]));
    run.crash_at = Some(6);
    assert_eq!(run.start(), Outcome::Crashed);
    assert_eq!(run.calls, ["plan make"], "the attempt is durable, but was never called");
    run.restart();
    run.crash_at = None;
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.calls, ["plan make", "plan make", "apply make"]);
    let attempts = &run.state().step("make").unwrap().work.attempts;
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].failure, None, "nobody saw it fail");
    assert_eq!(run.had("make"), 1);
}

// --- rule 4 ---

/// A run whose first apply lost its reply, with what planning again says.
fn lost(had: bool, again: impl Fn(&Seen<'_>) -> windlass_engine::CallReport + 'static) -> Driver {
    Driver::scripted(chain(vec![write("make").timeout(60_000)]), move |seen| {
        if seen.writes() && seen.count == 1 {
            return Some((failed("reply-lost", false, true), had));
        }
        (seen.is_plan() && !seen.before().is_empty()).then(|| (again(seen), false))
    })
}

#[test]
fn rule_4_planning_again_is_given_the_attempts_before() {
    let mut run = lost(true, |seen| {
        let before = seen.before();
        assert_eq!(before.len(), 1);
        assert_eq!((before[0].number, before[0].plan.memo.as_str()), (1, "m"));
        assert_eq!(before[0].key, &*seen.request.idempotency_key);
        planned(Status::InPlace, true)
    });
    assert_eq!(run.start(), SUCCEEDED);
}

#[test]
fn rule_4_in_place_is_adopted_only_if_the_reads_prove_it() {
    for reads in [
        Reads::default(),
        Reads { succeeded: 3, failed: 1, denied: 0 },
        Reads { succeeded: 3, failed: 0, denied: 1 },
    ] {
        let mut run =
            lost(true, move |_| windlass_engine::CallReport { reads, ..planned(Status::InPlace, true) });
        assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]), "{reads:?}");
        assert_eq!(run.status("make"), "asking (none)");
    }
}

#[test]
fn rule_4_a_lost_effect_that_still_differs_is_had_again_if_that_is_safe() {
    let mut run = lost(false, |_| planned(Status::Differs, true));
    run.crash_at = Some(6);
    assert_eq!(run.start(), Outcome::Crashed);
    run.crash_at = None;
    run.restart();
    run.script = Box::new(|_| None);
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.had("make"), 1);

    let mut run = lost(false, |_| planned(Status::Differs, false));
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]));
    let (step, _, question) = run.state().questions().next().unwrap();
    assert_eq!(step, "make");
    assert_eq!(
        question.message,
        "it failed: it is reply-lost (reply-lost); the effect seems not to be there, but repeating it may do harm"
    );
}

#[test]
fn rule_4_in_progress_is_asked_again_until_the_deadline() {
    let mut run =
        lost(true, |seen| planned(if seen.count < 5 { Status::InProgress } else { Status::InPlace }, true));
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.calls.iter().filter(|call| *call == "plan make").count(), 5);

    let mut run = lost(true, |_| planned(Status::InProgress, true));
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]));
    assert!((60_000..61_000).contains(&(run.now - START)), "{}", run.now - START);
}

#[test]
fn rule_4_conflict_and_unknown_are_asked() {
    for status in [Status::Conflict("it is blue".into()), Status::Unknown("no answer".into())] {
        let mut run = lost(true, move |_| planned(status.clone(), true));
        assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]));
        assert_eq!(run.state().open_questions(), 1);
        run.restart();
        assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]), "the question survives the process");
        assert_eq!(run.answer("make", None, Answer::Applied { output: None }), SUCCEEDED);
        assert_eq!(run.status("make"), "succeeded (accepted)");
    }
}

#[test]
fn rule_4_a_person_who_says_not_applied_has_it_planned_and_applied_anew() {
    let mut run = lost(false, |_| planned(Status::Unknown("no answer".into()), true));
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]));
    assert_eq!(run.answer("make", None, Answer::NotApplied), SUCCEEDED);
    assert_eq!(run.calls, ["plan make", "apply make", "plan make", "plan make", "apply make"]);
    assert_eq!(run.had("make"), 1);
}

#[test]
fn rule_4_an_answer_with_an_output_lets_later_steps_use_it() {
    let mut run = Driver::scripted(
        chain(vec![write("make"), read("use").with(json!("${steps.make.output.made}"))]),
        |seen| {
            (seen.writes() && seen.count == 1).then(|| (failed("reply-lost", false, true), true)).or_else(
                || (!seen.before().is_empty()).then(|| (planned(Status::Unknown("?".into()), true), false)),
            )
        },
    );
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]));
    let output = Some(std::sync::Arc::new(json!({ "made": 17 })));
    assert_eq!(run.answer("make", None, Answer::Applied { output }), SUCCEEDED);
    assert_eq!(run.state().step("use").unwrap().work.output.as_deref(), Some(&json!({ "seen": 17 })));
}

#[test]
fn rule_4_accept_takes_it_as_done_without_output() {
    let mut run = Driver::scripted(
        chain(vec![
            write("post").accept(),
            read("use").with(json!("${steps.post.output.made}")),
            read("next"),
        ]),
        |seen| {
            (seen.writes()).then(|| (failed("reply-lost", false, true), true)).or_else(|| {
                (!seen.before().is_empty()).then(|| (planned(Status::Unknown("?".into()), false), false))
            })
        },
    );
    assert_eq!(run.start(), Outcome::Ended(Verdict::Partial, false));
    assert_eq!(run.status("post"), "succeeded (accepted)");
    assert_eq!(run.status("use"), "skipped (none)");
    assert_eq!(run.status("next"), "succeeded (none)");
    assert_eq!(run.had("post"), 1);
}

#[test]
fn rule_4_a_program_of_a_lost_attempt_must_be_gone() {
    let mut run = Driver::new(chain(vec![write("dump")]));
    run.crash_at = Some(7);
    assert_eq!(run.start(), Outcome::Crashed);
    let identity = json!({ "group": 17 });
    let commands = run.machine.decide(
        Observation::ProcessStarted { call: windlass_engine::CallId(2), identity: identity.clone() },
        run.now,
    );
    for command in commands {
        if let windlass_engine::Command::Record { event, at } = command {
            run.journal.push((event, at));
        }
    }
    run.crash_at = None;
    run.restart();
    run.script = Box::new(move |seen| {
        if seen.is_plan() {
            assert_eq!(seen.request.require_gone, std::slice::from_ref(&identity));
        }
        None
    });
    assert_eq!(run.start(), SUCCEEDED);
}

// --- rule 5 ---

#[test]
fn rule_5_retry_counts_attempts_and_failed_plannings() {
    let mut run = Driver::scripted(chain(vec![write("make").retry(3)]), |seen| {
        (seen.is_plan() && seen.count <= 2 || seen.writes()).then(|| (failed("busy", true, false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.calls, ["plan make", "plan make", "plan make", "apply make"]);
    assert_eq!(run.failure("make"), "applying failed (3 tries): it is busy (busy)");
}

#[test]
fn rule_5_only_what_is_retryable_is_tried_again() {
    let mut run = Driver::scripted(chain(vec![read("look").retry(5)]), |_| {
        Some((failed("wrong", false, false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.calls.len(), 1);
    for failure in [
        CallFailure::Fault { message: "no disk".into() },
        CallFailure::Limit { limit: "memory".into(), message: "64 MiB".into() },
    ] {
        let mut run = Driver::scripted(chain(vec![read("look").retry(5)]), move |_| {
            Some((report(Err(failure.clone()), false), false))
        });
        assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
        assert_eq!(run.calls.len(), 1);
    }
}

#[test]
fn rule_5_pauses_double_have_jitter_and_heed_the_other_side() {
    let mut run = Driver::scripted(chain(vec![read("look").retry(6)]), |seen| {
        let retry_after = (seen.count == 5).then_some(60_000);
        let failure = Failure {
            code: "busy".into(),
            message: "busy".into(),
            detail: None,
            retryable: true,
            retry_after,
        };
        Some((report(Err(CallFailure::plugin(failure)), false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    let mut last = START;
    let pauses: Vec<i64> = run
        .journal
        .iter()
        .filter_map(|(event, at)| match event {
            windlass_engine::Event::RetryScheduled { at: until, .. } => {
                last = *at;
                Some(until - last)
            }
            _ => None,
        })
        .collect();
    assert_eq!(pauses.len(), 5);
    for (pause, longest) in pauses.iter().zip([1000, 2000, 4000, 8000, 60_000]) {
        assert!(*pause <= longest && *pause >= 1000, "{pauses:?}");
    }
    assert_eq!(pauses[4], 60_000);
}

#[test]
fn rule_5_a_retry_starts_from_a_resolved_outcome() {
    // It fails after sending, three times, and nothing changes: found out each time before the next.
    let mut run = Driver::scripted(chain(vec![write("make").retry(3)]), |seen| {
        seen.writes().then(|| (failed("syntax", true, true), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.calls.iter().filter(|call| *call == "apply make").count(), 3);
    assert_eq!(run.status("make"), "failed (none)", "everything stands exactly as before");
    assert_eq!(run.state().world(), World::Untouched);
}

#[test]
fn rule_5_resolutions_that_fail_use_up_no_tries() {
    let mut run = Driver::scripted(chain(vec![write("make").retry(2)]), |seen| {
        let resolves = seen.is_plan() && !seen.before().is_empty();
        (resolves && seen.count <= 4)
            .then(|| (failed("down", true, false), false))
            .or_else(|| (seen.writes() && seen.count == 1).then(|| (failed("reply-lost", true, true), false)))
    });
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.calls.iter().filter(|call| *call == "apply make").count(), 2);
}

#[test]
fn rule_5_a_failure_that_is_not_retryable_is_not_repeated_even_if_that_were_safe() {
    let mut run = Driver::scripted(chain(vec![write("migrate").retry(3)]), |seen| {
        seen.writes().then(|| (failed("syntax", false, true), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.calls, ["plan migrate", "apply migrate", "plan migrate"]);
    assert_eq!(run.failure("migrate"), "applying failed: it is syntax (syntax)");
    assert_eq!(run.status("migrate"), "failed (none)");
}

// --- rule 6 ---

#[test]
fn rule_6_a_reading_step_runs_again_after_a_crash() {
    let mut run = Driver::new(chain(vec![read("look")]));
    run.crash_at = Some(3);
    assert_eq!(run.start(), Outcome::Crashed);
    run.crash_at = None;
    run.restart();
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.calls, ["read look", "read look"]);
}

#[test]
fn rule_6_a_retryable_failure_is_a_false_sample_and_another_fails_the_step() {
    let mut run =
        Driver::scripted(chain(vec![read("gate").gate("result.n > 2", 1000, 0).timeout(60_000)]), |seen| {
            Some(if seen.count == 2 {
                (failed("busy", true, false), false)
            } else {
                (ok(json!({ "n": seen.count })), false)
            })
        });
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.calls.len(), 3);
    let mut run = Driver::scripted(chain(vec![read("gate").gate("result.n > 2", 1000, 0)]), |_| {
        Some((failed("gone", false, false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.calls.len(), 1);
}

#[test]
fn rule_6_a_timeout_covers_the_whole_step() {
    let mut run = Driver::scripted(chain(vec![read("look").retry(100).timeout(20_000)]), |_| {
        Some((failed("busy", true, false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert!(run.now - START <= 20_000, "{}", run.now - START);
    let mut run = Driver::scripted(chain(vec![write("make").timeout(5_000)]), |seen| {
        assert!(seen.request.timeout_ms <= 5_000);
        seen.writes().then(|| {
            let limit = CallFailure::Limit { limit: "deadline".into(), message: "5s".into() };
            (windlass_engine::CallReport { elapsed_ms: 5_000, ..report(Err(limit), false) }, false)
        })
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.failure("make"), "not done within 5s, while applying; last: limit on deadline: 5s");
}

#[test]
fn rule_6_each_call_has_a_cap_of_its_own() {
    let mut run = Driver::scripted(chain(vec![read("look"), write("make")]), |seen| {
        let cap = seen.request.timeout_ms;
        let expected = match seen.request.phase.name() {
            CallPhase::Read => 60_000,
            CallPhase::Plan => 30_000,
            _ => 600_000,
        };
        assert_eq!(cap, expected);
        None
    });
    assert_eq!(run.start(), SUCCEEDED);
}

// --- gates ---

#[test]
fn a_gate_holds_for_an_unbroken_window() {
    // Open from the second sample on, shut once at the fourth.
    let mut run = Driver::scripted(
        chain(vec![read("gate").gate("result.n != 1 && result.n != 4", 1000, 3000).timeout(60_000)]),
        |seen| Some((ok(json!({ "n": seen.count })), false)),
    );
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.calls.len(), 8, "the window began again with the fifth sample");
    let bands: Vec<bool> = run
        .journal
        .iter()
        .filter_map(|(event, _)| match event {
            windlass_engine::Event::GateSampled { open, .. } => Some(*open),
            _ => None,
        })
        .collect();
    assert_eq!(bands, [false, true, false, true, true], "changes of band, and the last evidence");
    let gate = run.state().step("gate").unwrap().work.gate.clone().unwrap();
    assert_eq!(gate.samples, 8, "every sample is on record in a batch");
}

#[test]
fn a_gap_of_more_than_two_periods_restarts_the_window() {
    let mut run =
        Driver::scripted(chain(vec![read("gate").gate("result.ok", 1000, 3000).timeout(60_000)]), |seen| {
            let elapsed_ms = if seen.count == 3 { 5_000 } else { 1 };
            Some((windlass_engine::CallReport { elapsed_ms, ..ok(json!({ "ok": true })) }, false))
        });
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.calls.len(), 7, "two samples, the late one, and a window of three seconds after it");
}

#[test]
fn a_gate_that_does_not_open_fails_with_what_was_measured() {
    let mut run = Driver::scripted(
        chain(vec![read("gate").gate("result.latency_ms < inputs.limit", 1000, 0).timeout(3_500)]),
        |_| Some((ok(json!({ "latency_ms": 23 })), false)),
    );
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(
        run.failure("gate"),
        "not reached within 3.5s: `result.latency_ms < inputs.limit` was false at last \
         with result.latency_ms = 23, inputs.limit = 20"
    );
    assert_eq!(run.calls.len(), 4);
    assert_eq!(run.now - START, 3_500);
}

// --- expectations ---

#[test]
fn an_expectation_that_is_not_met_fails_with_the_effect_there() {
    let mut run = Driver::new(chain(vec![write("make").with(json!(1)).retry(3).expect("result.made == 2")]));
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.status("make"), "failed (applied)");
    assert_eq!(run.failure("make"), "not as expected: `result.made == 2` is false with result.made = 1");
    assert_eq!(run.state().world(), World::Changed);
    assert_eq!(run.had("make"), 1);
    // Resuming plans again, finds it in place, and does not have the effect twice.
    assert_eq!(run.resume(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.had("make"), 1);
}

#[test]
fn a_reading_step_is_not_retried_for_an_expectation() {
    let mut run = Driver::new(chain(vec![read("look").retry(3).expect("result.seen == 2")]));
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.calls.len(), 1);
    assert_eq!(run.status("look"), "failed (none)");
}

// --- rule 7 ---

#[test]
fn rule_7_a_reader_of_a_missing_output_is_skipped_and_that_passes_on() {
    let mut run = Driver::scripted(
        chain(vec![
            read("a").go_on(),
            read("b").with(json!("${steps.a.output.seen}")),
            read("c").with(json!("${steps.b.output.seen}")),
            read("d").when("steps.a.status == 'failed'"),
            read("e").when("steps.a.status == 'succeeded'"),
        ]),
        |seen| (seen.step == "a").then(|| (failed("down", false, false), false)),
    );
    assert_eq!(run.start(), Outcome::Ended(Verdict::Partial, false));
    assert_eq!(run.calls, ["read a", "read d"]);
    let skipped = |step: &str| run.state().step(step).unwrap().work.skipped.clone().unwrap();
    insta::assert_debug_snapshot!([skipped("b"), skipped("c"), skipped("e")]);
}

// --- edges ---

#[test]
fn steps_without_edges_between_them_run_at_once() {
    let mut run = Driver::new(runbook(vec![read("a"), read("b"), read("c").needs(&[0, 1])], vec![]));
    let commands = run.machine.decide(Observation::Started { epoch: 1, who: "ada".into() }, run.now);
    let calls =
        commands.iter().filter(|command| matches!(command, windlass_engine::Command::Call { .. })).count();
    assert_eq!(calls, 2);
}

#[test]
fn a_stage_waits_for_all_of_the_one_before() {
    let mut run = Driver::new(staged(vec![
        vec![read("a"), read("b")],
        vec![read("c"), read("d")],
        vec![],
        vec![read("e")],
    ]));
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.calls, ["read a", "read b", "read c", "read d", "read e"]);
}

#[test]
fn what_runs_beside_a_failure_ends_and_nothing_new_starts() {
    let mut run = Driver::scripted(
        runbook(vec![read("bad"), write("slow"), read("after").needs(&[1])], vec![]),
        |seen| (seen.step == "bad" && seen.count == 1).then(|| (failed("down", false, false), false)),
    );
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.calls, ["read bad", "plan slow"], "no effect begins while the run is held");
    assert_eq!(run.resume(), SUCCEEDED);
    assert_eq!(run.had("slow"), 1);
}

// --- for_each ---

#[test]
fn items_are_keyed_by_value_and_their_outputs_are_a_map() {
    let mut run = Driver::new(chain(vec![
        write("each").with(json!("${item}")).each(json!("${inputs.names}"), 2, 0),
        read("use").with(json!("${steps.each.output.b.made}")),
    ]));
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(
        run.state().step("each").unwrap().work.output.as_deref(),
        Some(&json!({ "a": { "made": "a" }, "b": { "made": "b" }, "c": { "made": "c" } }))
    );
    assert_eq!(run.state().step("use").unwrap().work.output.as_deref(), Some(&json!({ "seen": "b" })));
    assert_eq!(run.status("each"), "succeeded (applied)");
}

#[test]
fn two_items_with_one_key_are_an_error() {
    let mut run = Driver::new(chain(vec![
        read("each").each(json!([{ "n": 1, "v": 1 }, { "n": 1, "v": 2 }]), 2, 0).key("item.n"),
    ]));
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(
        run.failure("each"),
        "two items of `for_each` have the key `1`; give them a `key` that tells them apart"
    );
}

#[test]
fn no_items_is_an_empty_success() {
    let mut run = Driver::new(chain(vec![read("each").each(json!([]), 8, 0), read("next")]));
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.state().step("each").unwrap().work.output.as_deref(), Some(&json!({})));
}

#[test]
fn items_stop_after_too_many_failures_and_resume_runs_the_rest() {
    let items: Vec<u32> = (0..20).collect();
    let mut run = Driver::scripted(
        chain(vec![write("each").with(json!("${item}")).each(json!(items), 3, 1)]),
        |seen| {
            let bad = matches!(seen.item, Some("4" | "6")) && seen.count == 1;
            (bad && seen.is_plan()).then(|| (failed("down", false, false), false))
        },
    );
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.failure("each"), "2 of 20 items failed, the first was `4`");
    let done = run.effects.len();
    assert!(done < 12, "{done} items ran though two had failed");
    run.restart();
    run.start();
    assert_eq!(run.resume(), SUCCEEDED);
    assert_eq!(run.effects.len(), 20);
    assert!(run.effects.values().all(|had| *had == 1));
}

#[test]
fn a_question_about_an_item_is_answered_by_its_key() {
    let mut run = Driver::scripted(
        chain(vec![write("each").with(json!("${item}")).each(json!("${inputs.names}"), 1, 0)]),
        |seen| {
            if seen.item != Some("b") {
                return None;
            }
            match (seen.writes(), seen.before().is_empty()) {
                (true, _) => Some((failed("reply-lost", false, true), true)),
                (false, false) => Some((planned(Status::Unknown("?".into()), false), false)),
                _ => None,
            }
        },
    );
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]));
    run.restart();
    run.start();
    run.answer("each", None, Answer::NotApplied);
    assert_eq!(run.refused, ["can't answer: `each` has items; say which one with its key"]);
    assert_eq!(run.answer("each", Some("b"), Answer::Applied { output: None }), SUCCEEDED);
    assert_eq!(run.effects.len(), 3);
}

#[test]
fn the_cost_of_an_item_does_not_grow_with_their_number() {
    let cost = |count: u32| {
        let items: Vec<u32> = (0..count).collect();
        let runbook = chain(vec![read("each").each(json!(items), 8, 0)]);
        let mut driver = Driver::new(runbook);
        let mut queue: Vec<_> = Vec::new();
        let mut next = Some(Observation::Started { epoch: 1, who: "ada".into() });
        while let Some(observation) = next.take() {
            for command in driver.machine.decide(observation, START) {
                match command {
                    windlass_engine::Command::Call { call, .. } => queue.push(call),
                    windlass_engine::Command::Ended { .. } => return driver.machine.looked_at(),
                    _ => (),
                }
            }
            next = queue.pop().map(|call| Observation::Called { call, report: ok(json!({})) });
        }
        panic!("the run did not end");
    };
    let (few, many) = (cost(100), cost(10_000));
    assert!(many < few * 101, "{few} for 100 items, {many} for 10000");
}

// --- people ---

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
}

#[test]
fn a_person_can_say_that_a_failed_step_was_applied_after_all() {
    let mut run = Driver::scripted(chain(vec![write("make"), read("next")]), |seen| {
        seen.writes().then(|| (failed("refused", false, false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.answer("make", None, Answer::Applied { output: None }), SUCCEEDED);
    assert_eq!(run.calls, ["plan make", "apply make", "read next"]);
    run.answer("make", None, Answer::NotApplied);
    assert_eq!(run.refused, ["can't answer: the run has ended"]);
}

#[test]
fn an_interrupt_drops_reads_lets_applies_end_and_holds() {
    let mut run = Driver::new(runbook(vec![read("look"), write("make")], vec![]));
    run.plot = vec![(2, Observation::Interrupt { who: "ada".into() })];
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Operator]));
    assert_eq!(run.calls, ["read look", "plan make", "apply make"]);
    assert_eq!(run.status("make"), "succeeded (applied)", "the apply under way came to its end");
    assert_eq!(run.resume(), SUCCEEDED);

    let mut run = Driver::new(chain(vec![read("look"), write("make")]));
    run.plot = vec![(0, Observation::Interrupt { who: "ada".into() })];
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Operator]));
    assert_eq!(run.calls, [""; 0]);
    assert_eq!(run.resume(), SUCCEEDED);
}

#[test]
fn a_second_interrupt_cancels_and_cuts_applies_off() {
    let mut run = Driver::new(chain(vec![write("make"), write("next")]));
    let who = || Observation::Interrupt { who: "ada".into() };
    run.plot = vec![(1, who()), (1, who())];
    assert_eq!(run.start(), Outcome::Ended(Verdict::Cancelled, false));
    assert_eq!(run.calls, ["plan make"]);
    assert_eq!(run.state().world(), World::Unknown, "nobody knows what it had sent");
}

#[test]
fn a_cancelled_run_ends_where_it_is_and_finally_runs() {
    let mut run = Driver::new(runbook(
        vec![read("a"), wait("pause", "1h").needs(&[0]), read("b").needs(&[1])],
        vec![read("tidy")],
    ));
    run.plot =
        vec![(1, Observation::Asked(Asked::here("ada", Request::Cancel { reason: "wrong day".into() })))];
    assert_eq!(run.start(), Outcome::Ended(Verdict::Cancelled, false));
    assert_eq!(run.calls, ["read a", "read finally/tidy"]);
    assert_eq!(run.state().verdict().unwrap().reason, "ada ended it: wrong day");
}

#[test]
fn another_identity_under_the_same_name_holds_the_run() {
    let seen = |id: u32| Observation::ConnectionSeen { connection: "pg".into(), identity: json!(id) };
    let mut run = Driver::new(chain(vec![read("a"), read("b"), read("c")]));
    run.plot = vec![(1, seen(7)), (2, seen(8))];
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Identity]));
    assert_eq!(run.resume(), Outcome::Held(vec![Hold::Identity]), "a person can't wish it away");
    assert_eq!(run.observe(seen(7)), SUCCEEDED);
}

#[test]
fn what_is_read_when_the_identity_turns_out_another_is_read_again() {
    let seen = |id: u32| Observation::ConnectionSeen { connection: "pg".into(), identity: json!(id) };
    let mut run = Driver::new(chain(vec![read("a"), read("b")]));
    run.plot = vec![(0, seen(7)), (1, seen(8))];
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Identity]));
    assert_eq!(run.calls, ["read a"], "the call that was about to be made is dropped");
    assert_eq!(run.observe(seen(7)), SUCCEEDED);
    assert_eq!(run.calls, ["read a", "read b"]);
}

// --- the end ---

#[test]
fn the_verdict_comes_before_finally_whose_failure_does_not_change_it() {
    let mut run = Driver::scripted(
        runbook(
            vec![write("make")],
            vec![read("record").with(json!("${run.report}")), read("bad"), read("tell")],
        ),
        |seen| (seen.step == "finally/bad").then(|| (failed("down", false, false), false)),
    );
    assert_eq!(run.start(), Outcome::Ended(Verdict::Succeeded, true));
    assert_eq!(
        run.state().step("finally/record").unwrap().work.output.as_deref(),
        Some(&json!({ "seen": "the report" }))
    );
    let kinds = run.kinds();
    let verdict = kinds.iter().position(|kind| *kind == "verdict_decided").unwrap();
    assert_eq!(kinds.iter().skip(verdict).filter(|kind| **kind == "step_succeeded").count(), 2);
    assert_eq!(windlass_engine::exit_code::of_end(Verdict::Succeeded, true), 7);
}

#[test]
fn too_large_an_output_fails_with_the_effect_there_and_too_large_a_plan_before_any() {
    let mut run = Driver::scripted(chain(vec![write("make")]), |seen| {
        seen.writes()
            .then(|| (windlass_engine::CallReport { sent: true, ..ok(json!("x".repeat(1 << 20))) }, true))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.status("make"), "failed (applied)");
    assert!(matches!(
        run.state().step("make").unwrap().work.failure,
        Some(StepFailure::OutputTooLarge { bytes: 1_048_578, limit: 1_048_576 })
    ));
    let mut run = Driver::scripted(chain(vec![write("make")]), |_| {
        let mut plan = plan_of(Status::Differs, true);
        plan.memo = "x".repeat(1 << 20);
        Some((report(Ok(windlass_engine::Returned::Plan(plan)), false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.status("make"), "failed (none)");
    assert_eq!(run.calls, ["plan make"]);
}

#[test]
fn a_changed_input_is_a_new_generation() {
    let mut run = Driver::scripted(chain(vec![write("make").with(json!("${run.now}"))]), |seen| {
        (seen.writes() && seen.count == 1).then(|| (failed("refused", false, false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    run.now += 1000;
    assert_eq!(run.resume(), SUCCEEDED);
    let work = &run.state().step("make").unwrap().work;
    assert_eq!(work.generation, 2);
    assert_ne!(work.attempts[0].key, work.attempts[1].key);
    assert_eq!(work.attempts[1].attempt.effect.attempt, 1);
}

#[test]
fn a_step_that_waits_to_be_tried_again_does_so_after_a_crash_too() {
    let mut run = Driver::scripted(chain(vec![read("look").retry(2)]), |seen| {
        (seen.count == 1).then(|| (failed("busy", true, false), false))
    });
    assert_eq!(run.start(), SUCCEEDED);
    let scheduled = run.journal.iter().position(|(event, _)| event.kind() == "retry_scheduled").unwrap();
    run.journal.truncate(scheduled + 1);
    run.restart();
    assert_eq!(run.state().step("look").unwrap().work.phase, Phase::Retrying);
    assert_eq!(run.start(), SUCCEEDED);
}

#[test]
fn a_failure_with_an_effect_that_can_t_be_told_is_tried_anew_after_resume() {
    // Half of it landed: what is left differs from what was planned.
    let mut run = Driver::scripted(chain(vec![write("files")]), |seen| {
        if seen.writes() && seen.count == 1 {
            return Some((failed("disk-full", false, true), false));
        }
        (!seen.before().is_empty() && seen.had == 0).then(|| {
            let mut plan = plan_of(Status::Differs, true);
            plan.changes.clear();
            (report(Ok(windlass_engine::Returned::Plan(plan)), false), false)
        })
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    assert_eq!(run.status("files"), "failed (unknown)");
    assert_eq!(run.state().world(), World::Unknown);
    assert_eq!(run.resume(), SUCCEEDED);
    assert_eq!(run.had("files"), 1);
}

#[test]
fn a_deep_chain_needs_no_deep_stack() {
    let steps = (0..10_000).map(|n| read(&format!("s{n}")).when("false")).collect();
    let mut run = Driver::new(chain(steps));
    assert_eq!(run.start(), SUCCEEDED);
    assert!(run.machine.looked_at() < 20_000);
}
