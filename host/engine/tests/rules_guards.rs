//! The rules of guards, gates and baselines, each with a test named after it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use serde_json::json;
use support::safety::{guard, guarded};
use support::*;
use windlass_engine::{
    Band, CallKind, Command, Event, GuardAction, Hold, Millis, Observation, Phase, Verdict,
};
use windlass_runbook::model::{Guard, Interrupt, NoData, Runbook};
use windlass_runbook::outcome::Status;

/// A run whose guards see `n` of the time since the start, none for a call that fails.
fn seeing(runbook: Runbook, n: impl Fn(&str, Millis) -> Option<f64> + 'static) -> Driver {
    Driver::scripted(runbook, move |seen| {
        let id = seen.step.strip_prefix("guard/")?;
        Some(match n(id, seen.now - START) {
            Some(n) => (ok(json!({ "n": n })), false),
            None => (failed("down", true, false), false),
        })
    })
}

fn bands(run: &Driver) -> Vec<(Band, Millis)> {
    run.events("guard_sampled")
        .into_iter()
        .map(|event| match event {
            Event::GuardSampled(sampled) => (sampled.band, sampled.since - START),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn held(run: &Driver) -> bool {
    run.state().is_held_for(Hold::Guard)
}

#[test]
fn a_guard_watches_through_a_sleep_and_costs_a_change_of_band_only() {
    let mut run = seeing(guarded(chain(vec![wait("soak", "1m")]), vec![guard("errors")]), |_, _| Some(0.0));
    assert_eq!(run.start(), SUCCEEDED);
    assert!(run.calls.iter().filter(|call| *call == "read guard/errors").count() >= 55, "{:?}", run.calls);
    assert_eq!(bands(&run).len(), 2, "the first sample, and what is left at the end");
    assert_eq!(run.count("guard_ended"), 1);
    let end = run.kinds().iter().position(|kind| *kind == "guard_ended").unwrap();
    assert_eq!(run.kinds()[end + 1], "verdict_decided", "nothing is watched after it");
    let samples: u64 = run.state().guard("guard/errors").unwrap().samples;
    assert!(samples >= 55, "{samples}: all are on record");
}

#[test]
fn samples_can_be_drawn() {
    let mut run = seeing(guarded(chain(vec![wait("soak", "10s")]), vec![guard("errors")]), |_, at| {
        Some(if at < 5_000 { 0.25 } else { 0.5 })
    });
    assert_eq!(run.start(), SUCCEEDED);
    let Some(Event::GuardSampled(sampled)) = run.events("guard_sampled").pop() else { panic!("none") };
    assert_eq!(sampled.samples.values.len() as u64, sampled.samples.count);
    assert!(sampled.samples.values.iter().any(|(after, n)| *after >= 5_000 && n.as_f64() == Some(0.5)));
}

#[test]
fn a_hold_lasts_until_good_samples_have_cleared_it() {
    let mut watched = guard("errors");
    watched.clear_for_ms = 5_000;
    let steps = chain(vec![wait("first", "10s"), write("second")]);
    let mut run = seeing(guarded(steps, vec![watched]), |_, at| {
        Some(if (4_000..20_000).contains(&at) { 2.0 } else { 0.0 })
    });
    assert_eq!(run.start(), SUCCEEDED, "it ends by itself");
    let (from, to) = (run.when("run_held").unwrap(), run.when("run_released").unwrap());
    assert!((4_000..6_000).contains(&from), "{from}");
    assert!((25_000..27_500).contains(&to), "{to}");
    assert!(run.when("attempt_started").unwrap() >= to, "nothing starts while it is held");
    let waiting = run.shown.iter().filter(|command| matches!(command, Command::Waiting { .. })).count();
    assert_eq!(waiting, 1, "said once");
}

#[test]
fn a_reason_must_last_without_a_break() {
    let mut watched = guard("errors");
    watched.for_ms = 3_000;
    let blinking = |_: &str, at: Millis| Some(if (at / 1_000) % 3 == 2 { 0.0 } else { 2.0 });
    let mut run = seeing(guarded(chain(vec![wait("soak", "30s")]), vec![watched.clone()]), blinking);
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.count("guard_tripped"), 0);
    let lasting = |_: &str, at: Millis| Some(if at < 9_000 { 0.0 } else { 2.0 });
    let mut run = seeing(guarded(chain(vec![wait("soak", "30s"), read("x")]), vec![watched]), lasting);
    run.time_up = Some(60_000);
    assert_eq!(run.start(), Outcome::TimeUp);
    let at = run.when("guard_tripped").unwrap();
    assert!((12_000..14_500).contains(&at), "{at}");
}

#[test]
fn a_gap_of_more_than_two_periods_restarts_what_must_last() {
    let mut watched = guard("errors");
    watched.for_ms = 4_000;
    // Ignored samples are no samples: a gap of five of them is in what would have lasted.
    watched.no_data = NoData::Ignore;
    let mut run =
        seeing(guarded(chain(vec![wait("soak", "20s")]), vec![watched]), |_, at| match at / 1_000 {
            8..=10 | 16..=17 => Some(2.0),
            3..=7 | 11..=15 => None,
            _ => Some(0.0),
        });
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.count("guard_tripped"), 0);
}

#[test]
fn no_data_does_what_the_guard_says() {
    let of = |no_data: NoData| {
        let mut watched = guard("errors");
        watched.no_data = no_data;
        let mut run = seeing(guarded(chain(vec![wait("soak", "20s")]), vec![watched]), |_, _| None);
        run.time_up = Some(40_000);
        let outcome = run.start();
        (outcome, run)
    };
    let (outcome, run) = of(NoData::Hold);
    assert_eq!((outcome, held(&run)), (Outcome::TimeUp, true));
    assert!(run.state().holds()[0].message.contains("no data"), "{}", run.state().holds()[0].message);
    let (outcome, run) = of(NoData::Ignore);
    assert_eq!((outcome, run.count("guard_tripped")), (SUCCEEDED, 0));
    assert!(bands(&run).iter().all(|(band, _)| *band == Band::NoData));
}

#[test]
fn a_stale_failing_or_empty_answer_is_no_data() {
    for answer in [
        json!({ "n": 0.0, "age": 90 }),
        json!({ "age": 1 }),
        json!({ "n": null, "age": 1 }),
        json!({ "n": "NaN", "age": 1 }),
    ] {
        let mut watched = guard("errors");
        watched.fresh_when = Some(expression("result.age < 60"));
        watched.no_data = NoData::Ignore;
        let shown = answer.clone();
        let mut run =
            Driver::scripted(guarded(chain(vec![wait("soak", "3s")]), vec![watched]), move |seen| {
                seen.step.starts_with("guard/").then(|| (ok(shown.clone()), false))
            });
        assert_eq!(run.start(), SUCCEEDED);
        assert!(bands(&run).iter().all(|(band, _)| *band == Band::NoData), "{answer}: {:?}", bands(&run));
    }
}

#[test]
fn a_guard_watches_after_its_step_and_until_the_other() {
    let steps =
        chain(vec![read("a"), wait("b", "5s"), write("c"), wait("d", "5s"), read("e"), wait("f", "5s")]);
    let watched = Guard { from: Some(2), until: Some(4), ..guard("errors") };
    let mut run = seeing(guarded(steps, vec![watched]), |_, _| Some(0.0));
    assert_eq!(run.start(), SUCCEEDED);
    let (from, to) = (run.when("guard_started").unwrap(), run.when("guard_ended").unwrap());
    assert!((5_000..6_000).contains(&from) && (10_000..11_000).contains(&to), "{from} {to}");
}

#[test]
fn two_guards_hold_and_each_lifts_its_own() {
    let steps = chain(vec![wait("first", "30s"), read("x")]);
    let mut run = seeing(guarded(steps, vec![guard("a"), guard("b")]), |id, at| {
        let until = if id == "a" { 8_000 } else { 16_000 };
        Some(if at > 2_000 && at < until { 2.0 } else { 0.0 })
    });
    assert_eq!(run.start(), SUCCEEDED);
    let released: Vec<_> = run
        .events("run_released")
        .into_iter()
        .map(|event| match event {
            Event::RunReleased { step, .. } => step.unwrap().to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(released, ["guard/a", "guard/b"]);
}

#[test]
fn a_guard_watches_in_a_hold_of_another_kind() {
    let steps = chain(vec![write("a"), read("b")]);
    let mut run = Driver::scripted(guarded(steps, vec![guard("errors")]), |seen| match seen.step {
        "b" => Some((failed("broken", false, false), false)),
        _ if seen.step.starts_with("guard/") => Some((ok(json!({ "n": 0.0 })), false)),
        _ => None,
    });
    run.time_up = Some(30_000);
    assert_eq!(run.start(), Outcome::TimeUp, "not left alone: a guard watches");
    assert!(run.state().is_held_for(Hold::Failure));
    assert!(run.calls.iter().filter(|call| *call == "read guard/errors").count() >= 25);
}

#[test]
fn after_a_gap_each_guard_gives_a_good_sample_before_the_next_effect() {
    let steps = chain(vec![write("a"), wait("b", "10s"), write("c")]);
    let mut run = seeing(guarded(steps, vec![guard("errors")]), |_, at| {
        Some(if (10_000..60_000).contains(&at) { 1.5 } else { 0.0 })
    });
    run.time_up = Some(8_000);
    assert_eq!(run.start(), Outcome::TimeUp);
    // The process is away for twenty seconds; when it is back, the wait is over and the guard sees nothing good.
    run.restart();
    run.now = START + 30_000;
    run.time_up = Some(120_000);
    assert_eq!(run.start(), SUCCEEDED);
    let applies: Vec<Millis> = run
        .journal
        .iter()
        .filter(|(event, _)| event.kind() == "attempt_started")
        .map(|(_, at)| at - START)
        .collect();
    assert!(applies[1] >= 60_000, "{applies:?}");
}

#[test]
fn without_a_trip_a_guard_that_was_away_lets_effects_begin_after_one_sample() {
    let steps = chain(vec![write("a"), wait("b", "10s"), write("c")]);
    let mut run = seeing(guarded(steps, vec![guard("errors")]), |_, _| Some(0.0));
    run.time_up = Some(8_000);
    assert_eq!(run.start(), Outcome::TimeUp);
    run.restart();
    run.now = START + 30_000;
    run.time_up = None;
    let before = run.calls.len();
    assert_eq!(run.start(), SUCCEEDED);
    let since: Vec<&str> = run.calls[before..].iter().map(String::as_str).collect();
    let looked = since.iter().position(|call| *call == "read guard/errors").unwrap();
    let applied = since.iter().position(|call| *call == "apply c").unwrap();
    assert!(looked < applied, "{since:?}");
}

#[test]
fn a_guard_can_be_told_with_value_comparator_and_limit() {
    let mut run = seeing(guarded(chain(vec![wait("soak", "2s")]), vec![guard("errors")]), |_, _| Some(0.5));
    assert_eq!(run.start(), SUCCEEDED);
    let Some(Command::Watched { band, compared: Some(compared), .. }) = run.shown.first() else {
        panic!("{:?}", run.shown)
    };
    assert_eq!(*band, Band::Good);
    assert_eq!((compared.value.clone(), compared.comparator.as_str()), (Some(json!(0.5)), ">"));
    assert_eq!(compared.limit, Some(json!(5.0)));
}

#[test]
fn a_guard_that_trips_is_in_the_journal_with_what_it_saw() {
    let mut run = seeing(guarded(chain(vec![wait("soak", "9s")]), vec![guard("errors")]), |_, _| Some(2.0));
    run.time_up = Some(5_000);
    assert_eq!(run.start(), Outcome::TimeUp);
    let Some(Event::GuardTripped { action, message, measured, .. }) = run.events("guard_tripped").pop()
    else {
        panic!("none")
    };
    assert_eq!(action, GuardAction::Hold);
    assert_eq!(measured[0].value, Some(json!(2.0)));
    insta::assert_snapshot!(message, @"`guard/errors`: `result.n > 1.0` with result.n = 2.0");
}

#[test]
fn a_guard_that_trips_turns_the_run_back_whatever_it_does() {
    for last in [wait("soak", "1h"), read("gate").gate("result.never == true", 1_000, 0).timeout(3_600_000)] {
        let steps = chain(vec![undoable("a"), undoable("b"), last]);
        let mut run = Driver::scripted(guarded(steps, vec![guard("errors")]), |seen| match seen.step {
            "guard/errors" => {
                let n = if seen.now - START > 10_000 { 9.0 } else { 0.0 };
                Some((ok(json!({ "n": n })), false))
            }
            "gate" => Some((ok(json!({ "never": false })), false)),
            _ => None,
        });
        assert_eq!(run.start(), Outcome::Ended(Verdict::RolledBack, false));
        let (tripped, undoing) = (run.when("guard_tripped").unwrap(), run.when("rollback_started").unwrap());
        assert!((10_000..12_000).contains(&tripped), "{tripped}");
        assert_eq!(tripped, undoing, "at once");
        let undone: Vec<_> = run.calls.iter().filter(|call| call.starts_with("undo ")).collect();
        assert_eq!(undone, ["undo undo/b", "undo undo/a"]);
        let after = run.calls.iter().position(|call| call.starts_with("plan-undo")).unwrap();
        assert!(
            !run.calls[after..].iter().any(|call| call == "read guard/errors"),
            "only while going forward"
        );
    }
}

#[test]
fn a_guard_without_data_that_says_so_turns_the_run_back() {
    let mut watched = guard("errors");
    watched.no_data = NoData::Rollback;
    watched.for_ms = 3_000;
    let steps = chain(vec![undoable("a"), wait("soak", "1m")]);
    let mut run = seeing(guarded(steps, vec![watched]), |_, at| (at < 5_000).then_some(0.0));
    assert_eq!(run.start(), Outcome::Ended(Verdict::RolledBack, false));
    let tripped = run.when("guard_tripped").unwrap();
    assert!((8_000..10_500).contains(&tripped), "{tripped}");
}

#[test]
fn past_the_commit_a_guard_ends_or_only_holds() {
    let steps = || {
        let mut book = chain(vec![undoable("a"), wait("soak", "20s"), read("end")]);
        book.steps[0].commit = true;
        book
    };
    let bad = |_: &str, at: Millis| Some(if at > 5_000 { 9.0 } else { 0.0 });
    let mut run = seeing(guarded(steps(), vec![guard("errors")]), bad);
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!((run.count("guard_ended"), run.count("guard_tripped")), (1, 0));
    let watched = Guard { past_commit: true, ..guard("errors") };
    let mut run = seeing(guarded(steps(), vec![watched]), bad);
    run.time_up = Some(40_000);
    assert_eq!(run.start(), Outcome::TimeUp);
    assert!(held(&run));
    assert!(run.state().holds()[0].message.contains("past its commit"));
    assert_eq!(run.count("rollback_started"), 0);
}

#[test]
fn an_effect_under_way_is_given_its_grace_and_no_more() {
    let steps = || chain(vec![undoable("a"), undoable("slow")]);
    let tripped = |interrupt: Interrupt| {
        let watched = Guard { interrupt, grace_ms: 3_000, ..guard("errors") };
        let mut run = Driver::new(guarded(steps(), vec![watched]));
        let mut next = vec![Observation::Started { epoch: 1, who: "ada".into() }];
        let (mut slow, mut cancelled, mut tripped) = (None, None, None);
        for _ in 0..60 {
            let observation = next.pop().unwrap_or(Observation::Tick);
            let mut wake = None;
            for command in run.machine.decide(observation, run.now) {
                match command {
                    Command::Call { call, step, request, .. } => {
                        let answer = match (&*step, &request.phase) {
                            ("guard/errors", _) => {
                                ok(json!({ "n": if run.now > START + 2_000 { 9.0 } else { 0.0 } }))
                            }
                            ("slow", CallKind::Apply { .. }) => {
                                slow = Some(call);
                                continue;
                            }
                            (_, CallKind::Plan { .. }) => planned(Status::Differs, true),
                            _ => ok(json!(null)),
                        };
                        next.push(Observation::Called { call, report: answer });
                    }
                    Command::Cancel { call } if Some(call) == slow => cancelled = Some(run.now - START),
                    Command::Record { event: Event::GuardTripped { .. }, at } => tripped = Some(at - START),
                    Command::WakeAt { at } => wake = Some(at),
                    _ => (),
                }
            }
            if next.is_empty() {
                run.now = wake.unwrap_or(run.now + 1_000);
            }
        }
        (tripped.unwrap(), cancelled)
    };
    let (at, cancelled) = tripped(Interrupt::AfterGrace);
    assert_eq!(cancelled, Some(at + 3_000));
    assert_eq!(tripped(Interrupt::Never).1, None, "it may use all of its time");
}

#[test]
fn a_crash_at_any_point_of_a_run_that_a_guard_turns_back_takes_all_of_it_back_once() {
    let make = || {
        let mut watched = guard("errors");
        watched.for_ms = 2_000;
        let mut book = guarded(chain(vec![undoable("a"), undoable("b"), wait("soak", "1m")]), vec![watched]);
        book.baselines.insert("usual".into(), expression("inputs.limit"));
        let mut run = seeing(book, |_, at| Some(if at > 5_000 { 9.0 } else { 0.0 }));
        run.time_up = Some(3_600_000);
        run
    };
    let to_the_end = |run: &mut Driver| {
        let mut outcome = run.start();
        for _ in 0..10 {
            if outcome != Outcome::Crashed {
                break;
            }
            run.restart();
            outcome = run.start();
        }
        outcome
    };
    let rolled_back = Outcome::Ended(Verdict::RolledBack, false);
    let mut whole = make();
    assert_eq!(to_the_end(&mut whole), rolled_back);
    for point in 1..=whole.points {
        let mut run = make();
        run.crash_at = Some(point);
        assert_eq!(to_the_end(&mut run), rolled_back, "crashed at {point}");
        assert_eq!((run.had("a"), run.had("b")), (0, 0), "crashed at {point}");
        assert_eq!(run.count("rollback_started"), 1, "crashed at {point}");
        assert_eq!(run.count("baseline_recorded"), 1, "crashed at {point}");
        let kinds = run.kinds();
        let position = |kind: &str| kinds.iter().position(|other| *other == kind).unwrap();
        assert!(position("guard_tripped") < position("rollback_started"), "crashed at {point}");
    }
}

// --- baselines ---

#[test]
fn a_baseline_is_taken_once_its_steps_are_done_and_guards_compare_with_it() {
    let steps = chain(vec![read("measure"), wait("soak", "5s"), read("end")]);
    let mut watched = guard("errors");
    watched.from = Some(0);
    watched.rollback_when = None;
    watched.hold_when = Some(expression("result.n > baseline.usual * 2.0"));
    let mut book = guarded(steps, vec![watched]);
    book.baselines.insert("usual".into(), expression("steps.measure.output.p"));
    let mut run = Driver::scripted(book, |seen| match seen.step {
        "measure" => Some((ok(json!({ "p": 10.0 })), false)),
        "guard/errors" => Some((ok(json!({ "n": if seen.count > 2 { 25.0 } else { 15.0 } })), false)),
        _ => None,
    });
    run.time_up = Some(20_000);
    assert_eq!(run.start(), Outcome::TimeUp);
    assert_eq!(run.state().baselines()["usual"].as_f64(), Some(10.0));
    assert_eq!(run.count("baseline_recorded"), 1);
    assert!(held(&run));
}

#[test]
fn a_baseline_that_never_is_makes_no_data() {
    let steps = chain(vec![read("measure").when("false"), wait("soak", "5s")]);
    let mut watched = guard("errors");
    watched.hold_when = Some(expression("result.n > baseline.usual"));
    watched.rollback_when = None;
    watched.no_data = NoData::Ignore;
    let mut book = guarded(steps, vec![watched]);
    book.baselines.insert("usual".into(), expression("steps.measure.output.p"));
    let mut run = seeing(book, |_, _| Some(0.0));
    assert_eq!(run.start(), SUCCEEDED);
    assert!(bands(&run).iter().all(|(band, _)| *band == Band::NoData));
}

// --- gates ---

#[test]
fn a_gate_given_a_number_of_tries_fails_after_that_many_failures_in_a_row() {
    let steps = || chain(vec![read("gate").gate("result.n > 3", 1_000, 0).retry(3)]);
    let mut run = Driver::scripted(steps(), |seen| {
        Some(match seen.count {
            3 => (ok(json!({ "n": 1 })), false),
            _ => (failed("down", true, false), false),
        })
    });
    assert!(matches!(run.start(), Outcome::Held(_)));
    assert_eq!(run.calls.len(), 6, "two, a sample, and three");
    assert_eq!(run.state().step("gate").unwrap().work.phase, Phase::Failed);
}

#[test]
fn a_gate_tells_what_it_compares_and_keeps_it_for_a_plot() {
    let mut run = Driver::scripted(chain(vec![read("gate").gate("result.n >= 4", 1_000, 0)]), |seen| {
        Some((ok(json!({ "n": seen.count })), false))
    });
    let mut told = Vec::new();
    run.now = START;
    let mut next = Some(Observation::Started { epoch: 1, who: "ada".into() });
    while let Some(observation) = next.take() {
        for command in run.machine.decide(observation, run.now) {
            match command {
                Command::Sampled { compared: Some(compared), .. } => told.push(compared),
                Command::Call { call, .. } => {
                    let n = told.len() + 1;
                    next = Some(Observation::Called { call, report: ok(json!({ "n": n })) });
                }
                Command::WakeAt { at } => {
                    run.now = at;
                    next.get_or_insert(Observation::Tick);
                }
                Command::Record { event: Event::GateSampled { samples, .. }, .. } => {
                    assert_eq!(samples.values.len() as u64, samples.count);
                }
                _ => (),
            }
        }
    }
    assert_eq!(told.len(), 4);
    assert_eq!(
        (told[3].value.clone(), told[3].comparator.as_str(), told[3].limit.clone()),
        (Some(json!(4)), ">=", Some(json!(4)))
    );
    assert_eq!(run.machine.state().verdict().unwrap().verdict, Verdict::Succeeded);
}
