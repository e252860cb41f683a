//! Crashes between any two commands of runs that go back: whatever happens, everything is taken back once.
//!
//! The driver itself checks at every call that nothing is had or taken back without a durable intention, and after
//! every decision that a replay gives the same state.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use serde_json::json;
use support::*;
use windlass_engine::{Answer, CallKind, CallReport, Hold, Verdict};
use windlass_runbook::model::{OnFailure, RollbackOrder, RollbackStep, Runbook, Step, StepBody, Undo};
use windlass_runbook::outcome::Status;

const ROLLED_BACK: Outcome = Outcome::Ended(Verdict::RolledBack, false);

fn going_back(id: &str) -> Step {
    undoable(id).on_failure(OnFailure::Auto)
}

fn breaks(id: &str) -> Step {
    read(id).expect("false").on_failure(OnFailure::Rollback)
}

/// Runs until it ends, as often as it takes; questions are answered with the truth.
fn to_the_end(run: &mut Driver) -> Outcome {
    let mut outcome = run.start();
    for _ in 0..300 {
        outcome = match outcome {
            Outcome::Ended(..) => return outcome,
            Outcome::Crashed => {
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
                let of = step.strip_prefix("undo/").unwrap_or(&step).to_owned();
                let had = run.effects.get(&(of, item.clone())).is_some_and(|had| *had > 0);
                let done = had != step.starts_with("undo/");
                let answer = if done { Answer::Applied { output: None } } else { Answer::NotApplied };
                run.answer(&step, item.as_deref(), answer)
            }
            Outcome::Held(_) => run.resume(),
            Outcome::TimeUp => panic!("nobody set a time"),
        };
    }
    panic!("it never ends: {outcome:?}");
}

/// No effect is had while it is there, and none is taken back that is not there.
fn once(seen: &Seen<'_>) {
    match seen.request.phase {
        CallKind::Apply { write: true, .. } => assert_eq!(seen.had, 0, "{} is had again", seen.step),
        CallKind::Undo { .. } => assert_eq!(seen.had, 1, "{} takes back what is not there", seen.step),
        _ => (),
    }
}

fn watched(
    runbook: Runbook,
    mut script: impl FnMut(&Seen<'_>) -> Option<(CallReport, bool)> + 'static,
) -> Driver {
    Driver::scripted(runbook, move |seen| {
        once(seen);
        script(seen)
    })
}

fn with_rollback(mut runbook: Runbook) -> Runbook {
    runbook.rollback = vec![
        RollbackStep { step: write("shift"), order: RollbackOrder::Before },
        RollbackStep { step: read("tell").with(json!("${run.reason}")), order: RollbackOrder::After },
    ];
    runbook
}

type MakeDriver = fn() -> Driver;

fn subjects() -> Vec<(&'static str, MakeDriver)> {
    vec![
        ("chain", || {
            watched(chain(vec![going_back("a"), read("look"), going_back("b"), breaks("check")]), |_| None)
        }),
        ("stages", || {
            watched(
                staged(vec![
                    vec![going_back("a"), going_back("b")],
                    vec![going_back("c"), going_back("d")],
                    vec![breaks("check")],
                ]),
                |_| None,
            )
        }),
        ("items", || {
            let each = going_back("each").with(json!("${item}")).each(json!("${inputs.names}"), 2, 0);
            watched(chain(vec![going_back("a"), each, breaks("check")]), |_| None)
        }),
        ("lost replies of undos", || {
            watched(chain(vec![going_back("a"), going_back("b"), breaks("check")]), |seen| {
                let lost = seen.count == 1 && matches!(seen.request.phase, CallKind::Undo { .. });
                lost.then(|| (failed("reply-lost", true, true), true))
            })
        }),
        ("undos that fail at first", || {
            watched(chain(vec![going_back("a"), going_back("b").retry(2), breaks("check")]), |seen| {
                let refuses = seen.count <= 2 && matches!(seen.request.phase, CallKind::Undo { .. });
                refuses.then(|| (failed("busy", true, false), false))
            })
        }),
        ("undos that can't be repeated", || {
            watched(chain(vec![going_back("a"), going_back("b"), breaks("check")]), |seen| {
                let plans = matches!(seen.request.phase, CallKind::PlanUndo { .. }) && seen.had > 0;
                plans.then(|| (planned(Status::Differs, false), false))
            })
        }),
        ("an undo of its own", || {
            let StepBody::Call(undo) = write("x").with(json!("${steps.a.output.made}")).body else {
                panic!("a write is a call")
            };
            let a = going_back("a").with(json!(7)).undo(Undo::Call(undo));
            watched(chain(vec![a, going_back("b"), breaks("check")]), |_| None)
        }),
        ("beside the undos", || {
            let book = runbook(vec![going_back("a"), breaks("check").needs(&[0])], vec![read("tidy")]);
            watched(with_rollback(book), |_| None)
        }),
        ("nothing to undo", || {
            watched(with_rollback(chain(vec![breaks("check"), going_back("a")])), |_| None)
        }),
    ]
}

fn all_is_taken_back(run: &Driver, name: &str) {
    for ((step, item), had) in &run.effects {
        // What an undo of its own or a rollback step does stays.
        let stays = step.contains('/') || run.effects.contains_key(&(format!("undo/{step}"), item.clone()));
        assert_eq!(*had, u32::from(stays), "{name}: {step} {item:?}");
    }
}

#[test]
fn a_crash_at_any_point_of_going_back_takes_everything_back_once() {
    let mut crashes = 0;
    for (name, make) in subjects() {
        let mut whole = make();
        assert_eq!(to_the_end(&mut whole), ROLLED_BACK, "{name}");
        all_is_taken_back(&whole, name);
        for point in 1..=whole.points {
            let mut run = make();
            run.crash_at = Some(point);
            assert_eq!(to_the_end(&mut run), ROLLED_BACK, "{name}, crashed at {point}");
            all_is_taken_back(&run, name);
            crashes += 1;
        }
    }
    assert!(crashes > 200, "only {crashes} points");
}

#[test]
fn a_crash_at_any_two_points_of_going_back_takes_everything_back_once() {
    for (name, make) in subjects() {
        let mut whole = make();
        to_the_end(&mut whole);
        for first in 1..=whole.points {
            for second in [1, 2, 3, 5, 8, 12, 17] {
                let mut run = make();
                run.crash_at = Some(first);
                let mut outcome = run.start();
                if outcome == Outcome::Crashed {
                    run.restart();
                    run.crash_at = Some(first + second);
                    outcome = to_the_end(&mut run);
                } else {
                    // Held before: the first point comes after a person has spoken.
                    outcome = match outcome {
                        Outcome::Ended(..) => outcome,
                        _ => {
                            run.restart();
                            to_the_end(&mut run)
                        }
                    };
                }
                assert_eq!(outcome, ROLLED_BACK, "{name}, crashed at {first} and {second} later");
                all_is_taken_back(&run, name);
            }
        }
    }
}
