//! Crashes between any two commands, and in the middle of any effect: what must hold whatever happens.
//!
//! The driver itself checks at every call that no effect is had without a durable intention and that nothing which is
//! durably over is called again, and after every decision that a replay gives the same state.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use proptest::prelude::*;
use serde_json::json;
use support::*;
use windlass_engine::{Answer, Hold, Phase, Verdict};
use windlass_runbook::model::{Runbook, Step};
use windlass_runbook::outcome::Status;

/// Runs until it ends, as often as it takes: after a crash in a new process, after a failure by resuming, and
/// questions are answered with the truth.
fn to_the_end(run: &mut Driver) -> Outcome {
    let mut outcome = run.start();
    for _ in 0..300 {
        outcome = match outcome {
            Outcome::Ended(..) => return outcome,
            Outcome::Crashed | Outcome::TimeUp => {
                run.restart();
                run.start()
            }
            Outcome::Held(reasons) if reasons.contains(&Hold::Unknown) => {
                let (step, item) = run
                    .state()
                    .questions()
                    .next()
                    .map(|(step, item, _)| (step.to_owned(), item.map(str::to_owned)))
                    .unwrap();
                let had = run.effects.contains_key(&(step.clone(), item.clone()));
                let answer = if had { Answer::Applied { output: None } } else { Answer::NotApplied };
                match run.answer(&step, item.as_deref(), answer) {
                    Outcome::Held(reasons) if reasons == [Hold::Failure] => run.resume(),
                    other => other,
                }
            }
            Outcome::Held(_) => run.resume(),
        };
    }
    panic!("it never ends: {outcome:?}");
}

fn every_effect_once(run: &Driver) {
    for (step, item, work) in run.state().works() {
        let had = run.effects.get(&(step.to_owned(), item.map(str::to_owned))).copied().unwrap_or(0);
        assert!(had <= 1, "{step} {item:?} was had {had} times");
        let is_fan = run.state().step(step).is_some_and(|step| step.items.is_some());
        if work.writes && work.phase == Phase::Succeeded && !(is_fan && item.is_none()) {
            assert_eq!(had, 1, "{step} {item:?} succeeded");
        }
    }
}

type MakeDriver = fn() -> Driver;

/// The runbooks that are crashed at every point.
fn subjects() -> Vec<(&'static str, MakeDriver)> {
    vec![
        ("chain", || {
            Driver::new(chain(vec![
                read("look"),
                write("one").with(json!("${steps.look.output.seen}")),
                wait("pause", "5s"),
                write("two").with(json!("${steps.one.output.made}")),
                read("check"),
            ]))
        }),
        ("parallel", || {
            Driver::new(staged(vec![
                vec![write("a"), write("b"), read("c")],
                vec![write("d").retry(2), write("e")],
            ]))
        }),
        ("items", || {
            Driver::new(chain(vec![
                write("each").with(json!("${item}")).each(json!("${inputs.names}"), 2, 0),
                write("after").with(json!("${steps.each.output.b}")),
            ]))
        }),
        ("lost replies", || {
            Driver::scripted(chain(vec![write("one").retry(3), write("two").retry(3)]), |seen| {
                (seen.writes() && seen.count == 1).then(|| (failed("reply-lost", true, true), true))
            })
        }),
        ("refusals and gates", || {
            Driver::scripted(
                chain(vec![
                    write("one").retry(4),
                    read("gate").gate("result.n > 3", 1000, 2000),
                    write("two"),
                ]),
                |seen| match (seen.step, seen.writes()) {
                    ("one", true) if seen.count < 3 => Some((failed("refused", true, false), false)),
                    ("gate", _) => Some((ok(json!({ "n": seen.count })), false)),
                    _ => None,
                },
            )
        }),
        ("finally", || {
            Driver::new(runbook(
                vec![write("one")],
                vec![write("tidy"), read("record").with(json!("${run.report}"))],
            ))
        }),
        ("neither resolvable nor repeatable", || {
            Driver::scripted(chain(vec![write("post"), read("use"), write("put")]), |seen| {
                (seen.is_plan()).then(|| match seen.before() {
                    [] => (planned(Status::Differs, false), false),
                    _ => (planned(Status::Unknown("nobody can tell".into()), false), false),
                })
            })
        }),
    ]
}

#[test]
fn a_crash_at_any_point_loses_and_repeats_nothing() {
    let mut crashes = 0;
    for (name, make) in subjects() {
        let mut whole = make();
        assert_eq!(to_the_end(&mut whole), SUCCEEDED, "{name}");
        for point in 1..=whole.points {
            let mut run = make();
            run.crash_at = Some(point);
            assert_eq!(to_the_end(&mut run), SUCCEEDED, "{name}, crashed at {point}");
            every_effect_once(&run);
            crashes += 1;
        }
    }
    assert!(crashes > 150, "only {crashes} points");
}

#[test]
fn a_crash_at_any_two_points_loses_and_repeats_nothing() {
    for (name, make) in subjects() {
        let mut whole = make();
        to_the_end(&mut whole);
        for first in 1..=whole.points {
            for second in [1, 2, 3, 4, 5, 6, 8, 11, 15] {
                let mut run = make();
                run.crash_at = Some(first);
                assert_eq!(run.start(), Outcome::Crashed, "{name}, {first}");
                run.restart();
                run.crash_at = Some(first + second);
                assert_eq!(to_the_end(&mut run), SUCCEEDED, "{name}, crashed at {first} and {second} later");
                every_effect_once(&run);
            }
        }
    }
}

// --- random runbooks ---

#[derive(Debug, Clone)]
struct Plot {
    runbook: Runbook,
    /// What the calls of a kind do, by how often they were made; after the last they work.
    faults: Vec<Fault>,
    crashes: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Works,
    Refused,
    RefusedForGood,
    ReplyLost,
    SentInVain,
    PlanFails,
    PlanCannotTell,
    InProgress,
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::Works),
        1 => Just(Fault::Refused),
        1 => Just(Fault::RefusedForGood),
        2 => Just(Fault::ReplyLost),
        1 => Just(Fault::SentInVain),
        1 => Just(Fault::PlanFails),
        1 => Just(Fault::PlanCannotTell),
        1 => Just(Fault::InProgress),
    ]
}

fn any_step(index: usize) -> impl Strategy<Value = Step> {
    let id = format!("s{index}");
    let needs = prop::collection::btree_set(0..index.max(1), 0..=index.min(2));
    (0..5_u8, needs, 1..4_u32, any::<bool>(), 1..4_usize).prop_map(
        move |(kind, needs, attempts, go_on, parallel)| {
            let mut step = match kind {
                0 => read(&id),
                1 => wait(&id, "3s"),
                2 => write(&id).with(json!("${item}")).each(json!("${inputs.names}"), parallel, 0),
                _ => write(&id),
            };
            if index > 0 {
                step.needs = needs.into_iter().collect();
            }
            step = step.retry(attempts).timeout(600_000);
            if go_on {
                step = step.go_on();
            }
            step
        },
    )
}

fn any_plot() -> impl Strategy<Value = Plot> {
    let steps = (1..6_usize).prop_flat_map(|count| (0..count).map(any_step).collect::<Vec<_>>());
    (
        steps,
        prop::collection::vec(any_fault(), 0..12),
        prop::collection::vec(1..40_usize, 0..5),
        any::<bool>(),
    )
        .prop_map(|(steps, faults, crashes, tidy)| Plot {
            runbook: runbook(steps, if tidy { vec![write("tidy").retry(3)] } else { Vec::new() }),
            faults,
            crashes,
        })
}

fn drive(plot: &Plot) -> (Driver, Outcome) {
    let faults = plot.faults.clone();
    let mut calls = 0;
    let mut run = Driver::scripted(plot.runbook.clone(), move |seen| {
        let fault = faults.get(calls).copied().unwrap_or(Fault::Works);
        calls += 1;
        match fault {
            Fault::Works => None,
            Fault::PlanFails if seen.is_plan() => Some((failed("busy", true, false), false)),
            Fault::PlanCannotTell if seen.is_plan() => {
                Some((planned(Status::Unknown("no answer".into()), true), false))
            }
            Fault::InProgress if seen.is_plan() => Some((planned(Status::InProgress, true), false)),
            Fault::Refused => Some((failed("refused", true, false), false)),
            Fault::RefusedForGood => Some((failed("refused", false, false), false)),
            Fault::ReplyLost if seen.writes() => Some((failed("reply-lost", false, true), true)),
            Fault::SentInVain if seen.writes() => Some((failed("reset", true, true), false)),
            _ => None,
        }
    });
    let mut outcome = Outcome::Crashed;
    for crash in &plot.crashes {
        if outcome == Outcome::Crashed {
            run.restart();
            run.crash_at = Some(run.points + crash);
            outcome = run.start();
        }
    }
    run.crash_at = None;
    if !matches!(outcome, Outcome::Ended(..)) {
        run.restart();
        outcome = to_the_end(&mut run);
    }
    (run, outcome)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_runs_with_faults_and_crashes_end_with_every_effect_once(plot in any_plot()) {
        let (run, outcome) = drive(&plot);
        every_effect_once(&run);
        let Outcome::Ended(verdict, _) = outcome else { panic!("{outcome:?}") };
        prop_assert!(matches!(verdict, Verdict::Succeeded | Verdict::Partial));
        for (path, step) in run.state().steps() {
            prop_assert!(step.work.phase.is_over(), "{path} is {}", step.work.phase);
        }
    }
}
