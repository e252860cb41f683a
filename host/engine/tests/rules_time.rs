//! The rules of times, windows, the clock and group locks, each with a test named after it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use support::safety::{Timed, guard, guarded};
use support::*;
use windlass_engine::{Event, Hold, Millis, Observation, Phase, Verdict, default_t, feasibility};
use windlass_runbook::model::{At, Concurrency, Late, Runbook, WhenBusy};

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;

/// A run whose T is so many milliseconds after its start.
fn with_t(runbook: Runbook, t: Millis) -> Driver {
    let mut run = Driver::new(runbook);
    if let Event::RunCreated(created) = &mut run.journal[0].0 {
        created.t = Some(START + t);
    }
    run.restart();
    run
}

fn stages(offsets: &[Option<Millis>], steps: Vec<Vec<windlass_runbook::model::Step>>) -> Runbook {
    let mut book = staged(steps);
    for (stage, offset) in book.stages.iter_mut().zip(offsets) {
        stage.at = offset.map(|offset_ms| At { offset_ms });
    }
    book
}

fn applied_at(run: &Driver) -> Vec<Millis> {
    let started = run.journal.iter().filter(|(event, _)| event.kind() == "attempt_started");
    started.map(|(_, at)| at - START).collect()
}

/// The time of day, as minutes, of the start of every run here.
fn minute_of_start() -> i64 {
    START / MINUTE % (24 * 60)
}

fn minutes_later(minutes: i64) -> u16 {
    u16::try_from((minute_of_start() + minutes).rem_euclid(24 * 60)).unwrap()
}

#[test]
fn a_stage_starts_at_its_time() {
    let book = stages(
        &[Some(-15 * MINUTE), None, Some(0)],
        vec![vec![read("a")], vec![write("b")], vec![write("c")]],
    );
    let mut run = with_t(book, 20 * MINUTE);
    assert_eq!(run.start(), SUCCEEDED);
    let times = applied_at(&run);
    assert!((5 * MINUTE..5 * MINUTE + 100).contains(&times[0]), "{times:?}");
    assert!((20 * MINUTE..20 * MINUTE + 100).contains(&times[1]), "{times:?}");
    assert_eq!((run.count("scheduled"), run.count("shifted")), (2, 0));
    assert_eq!(run.state().scheduled("stage/stage 2").unwrap().until, START + 20 * MINUTE);
}

#[test]
fn a_step_starts_at_its_time_and_says_that_it_waits() {
    let mut run = with_t(chain(vec![write("a"), write("b").at(10 * MINUTE)]), 0);
    run.time_up = Some(MINUTE);
    assert_eq!(run.start(), Outcome::TimeUp);
    assert_eq!(run.state().step("b").unwrap().work.phase, Phase::Scheduled);
    assert_eq!(run.journal.last().unwrap().0.kind(), "scheduled", "durable before the pause");
    run.restart();
    run.time_up = None;
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.count("scheduled"), 1);
    assert!(applied_at(&run)[1] >= 10 * MINUTE);
}

#[test]
fn a_last_stage_without_steps_is_waited_for() {
    let mut run = with_t(stages(&[None, Some(DAY)], vec![vec![write("a")], vec![]]), 0);
    assert_eq!(run.start(), SUCCEEDED);
    assert!(run.when("run_ended").unwrap() >= DAY);
}

#[test]
fn without_a_time_of_its_own_t_is_when_the_run_was_created() {
    let mut run = Driver::new(chain(vec![write("a").at(MINUTE)]));
    assert_eq!(run.start(), SUCCEEDED);
    assert!((MINUTE..MINUTE + 100).contains(&applied_at(&run)[0]));
}

#[test]
fn late_shift_moves_t_and_keeps_the_spacing() {
    let mut book = stages(&[Some(0), Some(10 * MINUTE)], vec![vec![write("a")], vec![write("b")]]);
    book.late = Late::Shift;
    let mut run = with_t(book, -5 * MINUTE);
    assert_eq!(run.start(), SUCCEEDED);
    let times = applied_at(&run);
    assert!(times[0] < 100 && (10 * MINUTE..10 * MINUTE + 100).contains(&times[1]), "{times:?}");
    let Some(Event::Shifted { at, by_ms }) = run.events("shifted").pop() else { panic!("none") };
    assert_eq!((at - START, by_ms), (0, 5 * MINUTE));
}

#[test]
fn late_compress_keeps_t() {
    let mut book = stages(&[Some(0), Some(10 * MINUTE)], vec![vec![write("a")], vec![write("b")]]);
    book.late = Late::Compress;
    let mut run = with_t(book, -5 * MINUTE);
    assert_eq!(run.start(), SUCCEEDED);
    let times = applied_at(&run);
    assert!(times[0] < 100 && (5 * MINUTE..5 * MINUTE + 100).contains(&times[1]), "{times:?}");
    assert_eq!(run.count("shifted"), 0);
}

#[test]
fn late_abort_ends_the_run_before_its_first_effect() {
    let mut book = stages(&[Some(0)], vec![vec![write("a")]]);
    book.late = Late::Abort;
    let mut run = with_t(book, -5 * MINUTE);
    assert_eq!(run.start(), Outcome::Ended(Verdict::Failed, false));
    assert_eq!(run.had("a"), 0);
    insta::assert_snapshot!(run.state().verdict().unwrap().reason, @"`stage/stage 0` is late by 5m");
}

#[test]
fn late_abort_holds_after_an_effect_and_a_person_lets_it_go_on() {
    let mut book =
        chain(vec![write("a"), wait("long", "20m"), write("b").at(10 * MINUTE), write("c").at(30 * MINUTE)]);
    book.late = Late::Abort;
    let mut run = with_t(book, 0);
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Late]));
    assert_eq!(run.had("b"), 0);
    assert_eq!(run.resume(), SUCCEEDED);
    let times = applied_at(&run);
    assert!((20 * MINUTE..21 * MINUTE).contains(&times[1]), "{times:?}");
    assert!((40 * MINUTE..41 * MINUTE).contains(&times[2]), "the spacing is kept: {times:?}");
}

#[test]
fn a_process_that_was_down_is_late() {
    let mut run =
        with_t(stages(&[Some(10 * MINUTE), Some(20 * MINUTE)], vec![vec![write("a")], vec![write("b")]]), 0);
    run.time_up = Some(MINUTE);
    assert_eq!(run.start(), Outcome::TimeUp);
    run.restart();
    run.now = START + HOUR;
    run.time_up = None;
    assert_eq!(run.start(), SUCCEEDED);
    let times = applied_at(&run);
    assert!((70 * MINUTE..71 * MINUTE).contains(&times[1]), "{times:?}");
}

#[test]
fn a_stage_that_had_begun_is_not_late_for_a_new_process() {
    let steps = vec![vec![write("a"), wait("w", "30m")], vec![write("b")]];
    let mut run = with_t(stages(&[Some(0), Some(40 * MINUTE)], steps), 0);
    run.time_up = Some(MINUTE);
    assert_eq!(run.start(), Outcome::TimeUp);
    run.restart();
    run.now = START + 10 * MINUTE;
    run.time_up = None;
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.count("shifted"), 0);
    assert!((40 * MINUTE..41 * MINUTE).contains(&applied_at(&run)[1]));
}

// --- windows ---

#[test]
fn work_starts_inside_its_window_only() {
    let mut run =
        Driver::new(chain(vec![write("a"), write("b").window(minutes_later(90), minutes_later(120))]));
    assert_eq!(run.start(), SUCCEEDED);
    let times = applied_at(&run);
    assert!(times[0] < MINUTE && (89 * MINUTE..=91 * MINUTE).contains(&times[1]), "{times:?}");
    assert_eq!(run.state().scheduled("b").unwrap().why.as_str(), "window");
}

#[test]
fn the_window_of_a_stage_is_that_of_its_steps() {
    let mut book = staged(vec![vec![write("a")], vec![write("b")]]);
    let step = write("x").window(minutes_later(60), minutes_later(70));
    book.stages[1].window = step.window;
    let mut run = Driver::new(book);
    assert_eq!(run.start(), SUCCEEDED);
    let times = applied_at(&run);
    assert!(times[0] < MINUTE && times[1] >= 59 * MINUTE, "{times:?}");
}

#[test]
fn a_window_that_shuts_over_a_step_holds_the_run_until_it_opens() {
    let steps = chain(vec![write("a").retry(3).window(minutes_later(-10), minutes_later(1))]);
    let mut run = Driver::scripted(steps, |seen| {
        (seen.writes() && seen.count == 1).then(|| {
            let mut report = failed("busy", true, false);
            // It takes until after the window.
            report.elapsed_ms = 5 * 60_000;
            (report, false)
        })
    });
    assert_eq!(run.start(), SUCCEEDED);
    let times = applied_at(&run);
    assert!(times[1] > 20 * HOUR, "the next day: {times:?}");
    let Some(Event::RunHeld { reason, .. }) = run.events("run_held").pop() else { panic!("none") };
    assert_eq!(reason, Hold::Window);
    assert_eq!(run.count("run_released"), 1, "by itself");
}

// --- the clock ---

#[test]
fn a_step_of_the_wall_clock_is_an_event_and_moves_what_is_scheduled_by_it() {
    let mut run = with_t(chain(vec![write("a"), write("b").at(HOUR)]), 0);
    run.timed = vec![
        (MINUTE, Observation::ClockStepped { by_ms: 2_000 }),
        (2 * MINUTE, Observation::ClockStepped { by_ms: 30 * MINUTE }),
    ];
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.count("clock_stepped"), 1, "two seconds are nobody's concern");
    let times = applied_at(&run);
    assert!((29 * MINUTE..=30 * MINUTE).contains(&times[1]), "{times:?}");
}

#[test]
fn a_wait_does_not_follow_the_wall_clock() {
    let mut run = with_t(chain(vec![wait("w", "1h"), write("b")]), 0);
    run.timed = vec![(MINUTE, Observation::ClockStepped { by_ms: 30 * MINUTE })];
    assert_eq!(run.start(), SUCCEEDED);
    assert!(applied_at(&run)[0] >= HOUR);
}

#[test]
fn a_clock_that_went_back_starts_nothing_early() {
    let mut run = with_t(chain(vec![write("b").at(HOUR)]), 0);
    run.timed = vec![(30 * MINUTE, Observation::ClockStepped { by_ms: -20 * MINUTE })];
    assert_eq!(run.start(), SUCCEEDED);
    assert!((80 * MINUTE..81 * MINUTE).contains(&applied_at(&run)[0]));
}

// --- group locks ---

fn grouped(when_busy: WhenBusy) -> Runbook {
    let mut book = chain(vec![write("a"), write("b")]);
    book.concurrency = Some(Concurrency { group: "production".into(), when_busy });
    book
}

fn busy() -> Observation {
    Observation::LockBusy { group: "production".into(), by: "other".into() }
}

#[test]
fn nothing_starts_before_the_lock_is_had_and_it_goes_with_the_last_event() {
    let mut run = Driver::new(grouped(WhenBusy::Queue));
    assert_eq!(run.start(), SUCCEEDED);
    let kinds = run.kinds();
    assert_eq!(kinds[1], "lock_acquired");
    assert_eq!(kinds[kinds.len() - 2..], ["run_ended", "lock_released"]);
    assert_eq!(run.unlocked, 1);
    assert!(!run.state().has_lock());
}

#[test]
fn a_busy_group_is_waited_for() {
    let mut run = Driver::new(grouped(WhenBusy::Queue));
    run.locks = [busy(), busy(), busy()].into();
    run.time_up = Some(3_000);
    assert_eq!(run.start(), Outcome::TimeUp);
    assert_eq!(run.state().status(), "queued");
    assert!(run.calls.is_empty());
    run.time_up = None;
    run.restart();
    assert_eq!(run.start(), SUCCEEDED);
    assert_eq!(run.count("lock_awaited"), 1, "once for each holder");
    assert!(applied_at(&run)[0] >= 2_000);
}

#[test]
fn a_busy_group_ends_a_run_that_does_not_queue() {
    let mut run = Driver::new(grouped(WhenBusy::Reject));
    run.locks = [busy()].into();
    assert_eq!(run.start(), Outcome::Ended(Verdict::Failed, false));
    assert_eq!(run.state().verdict().unwrap().reason, "the group `production` is busy with run other");
    assert!(run.calls.is_empty());
}

#[test]
fn the_lock_is_kept_while_the_run_is_held_and_given_back_at_its_commit() {
    let mut book = grouped(WhenBusy::Queue);
    book.steps[0].commit = true;
    book.steps[1].timeout_ms = Some(1_000);
    let mut run = Driver::scripted(book, |seen| {
        (seen.step == "b" && seen.is_plan()).then(|| (failed("no", false, false), false))
    });
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Failure]));
    let kinds = run.kinds();
    let committed = kinds.iter().position(|kind| *kind == "committed").unwrap();
    let released = kinds.iter().position(|kind| *kind == "lock_released").unwrap();
    assert!(committed < released);
    assert_eq!(run.unlocked, 1);
}

#[test]
fn a_crash_at_any_point_leaves_the_lock_had_once_and_given_back() {
    let mut whole = Driver::new(grouped(WhenBusy::Queue));
    assert_eq!(whole.start(), SUCCEEDED);
    for point in 1..=whole.points {
        let mut run = Driver::new(grouped(WhenBusy::Queue));
        run.crash_at = Some(point);
        let mut outcome = run.start();
        while outcome == Outcome::Crashed {
            run.restart();
            outcome = run.start();
        }
        assert_eq!(outcome, SUCCEEDED, "crashed at {point}");
        assert_eq!(run.count("lock_acquired"), 1, "crashed at {point}");
        assert_eq!(run.count("lock_released"), 1, "crashed at {point}");
    }
}

// --- crashes with all of it at once ---

#[test]
fn a_crash_at_any_point_of_a_guarded_timed_run_loses_and_repeats_nothing() {
    let make = || {
        let mut book = guarded(
            chain(vec![
                write("a"),
                read("gate").gate("result.seen == null", 1_000, 2_000),
                write("b").at(8_000),
                wait("soak", "3s"),
                write("c"),
            ]),
            vec![guard("errors")],
        );
        book.baselines.insert("seen".into(), expression("steps.gate.status"));
        let mut run = Driver::scripted(book, |seen| {
            seen.step.starts_with("guard/").then(|| (ok(serde_json::json!({ "n": 0.0 })), false))
        });
        run.time_up = Some(HOUR);
        run
    };
    let to_the_end = |run: &mut Driver| {
        let mut outcome = run.start();
        for _ in 0..20 {
            if outcome != Outcome::Crashed {
                break;
            }
            run.restart();
            outcome = run.start();
        }
        outcome
    };
    let mut whole = make();
    assert_eq!(to_the_end(&mut whole), SUCCEEDED);
    for point in 1..=whole.points {
        let mut run = make();
        run.crash_at = Some(point);
        assert_eq!(to_the_end(&mut run), SUCCEEDED, "crashed at {point}");
        for step in ["a", "b", "c"] {
            assert_eq!(run.had(step), 1, "{step}, crashed at {point}");
        }
    }
}

// --- what a plan says ---

#[test]
fn a_plan_tells_when_all_would_start_and_what_can_not_be_met() {
    let mut book = stages(
        &[Some(-30 * MINUTE), Some(-10 * MINUTE), Some(0)],
        vec![
            vec![read("a")],
            vec![write("b").window(minutes_later(120), minutes_later(180))],
            vec![write("c")],
        ],
    );
    assert_eq!(default_t(&book, START), Some(START + 30 * MINUTE));
    let told = |book: &Runbook, t: Option<Millis>| -> Vec<String> {
        feasibility(book, t.map(|t| START + t), START)
            .into_iter()
            .map(|slot| {
                let starts = (slot.starts - START) / MINUTE;
                format!("{} +{starts}m {}", slot.name, slot.problem.unwrap_or_default()).trim_end().to_owned()
            })
            .collect()
    };
    insta::assert_debug_snapshot!(told(&book, Some(HOUR)), @r#"
    [
        "stage 0 +30m",
        "stage 1 +50m",
        "b +119m",
        "stage 2 +119m its time will have passed by 59m40s: T would move by that",
    ]
    "#);
    book.late = Late::Abort;
    insta::assert_debug_snapshot!(told(&book, Some(0)), @r#"
    [
        "stage 0 +0m its time will have passed by 30m: the run would not go on",
        "stage 1 +0m its time will have passed by 10m: the run would not go on",
        "b +119m",
        "stage 2 +119m its time will have passed by 1h59m40s: the run would not go on",
    ]
    "#);
    assert!(feasibility(&chain(vec![read("a")]), None, START).is_empty());
}

#[test]
fn without_times_before_t_now_is_t() {
    let book = stages(&[Some(HOUR), Some(DAY)], vec![vec![read("a")], vec![write("b")]]);
    assert_eq!(default_t(&book, START), Some(START), "the first stage waits its hour");
}
