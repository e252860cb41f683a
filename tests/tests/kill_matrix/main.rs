//! `kill -9` at every point around a write of the journal and around an effect: nothing is lost, nothing is repeated.
//!
//! Each scenario is played once undisturbed, with every moment that its processes pass written down. Then it is played
//! again for each of these moments, on a new stage, with the process killed there; the person looks, goes on, and the
//! recorder, who is not asked by anybody, has to have seen what it would have seen otherwise. `WINDLASS_KILL_SCENARIO`
//! names the one that is played, where only one is wanted.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking, and this one prints its numbers"
)]

mod backward;
mod drive;
mod forward;
mod people;
mod points;
mod stage;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use drive::{At, Death, Scenario, play};
use points::Point;
use stage::Aim;

/// Plays at once. A play waits for disks and for other processes most of the time.
const AT_ONCE: usize = 4;
/// At least so many different moments, or the suite has lost some.
const LEAST: usize = 200;

/// A moment of an undisturbed play.
struct Moment {
    scenario: usize,
    death: Death,
    points: BTreeSet<Point>,
}

#[test]
fn a_process_killed_at_any_point_loses_nothing_and_repeats_nothing() {
    let began = Instant::now();
    let only = std::env::var("WINDLASS_KILL_SCENARIO").ok();
    let scenarios = forward::scenarios().into_iter().chain(backward::scenarios()).chain(people::scenarios());
    let scenarios: Vec<Scenario> =
        scenarios.filter(|scenario| only.as_ref().is_none_or(|only| scenario.name == only)).collect();
    let traced = Mutex::new(BTreeMap::new());
    let failed = at_once((0..scenarios.len()).collect(), |index| {
        let moments = trace(index, &scenarios[index]);
        traced.lock().unwrap().insert(index, moments);
    });
    assert_eq!(failed, 0, "scenarios fail undisturbed");
    let passed: Vec<Moment> = traced.into_inner().unwrap().into_values().flatten().collect();
    let chosen = choose(passed, &scenarios);
    let moments = chosen.len();

    let hits = Mutex::new(BTreeSet::new());
    let failed = at_once(chosen, |moment| {
        let points = kill(&scenarios[moment.scenario], &moment.death);
        hits.lock().unwrap().extend(points);
    });
    let hits = hits.into_inner().unwrap();
    let all = points::all();
    let unknown: Vec<String> = hits.difference(&all).map(Point::to_string).collect();
    assert!(unknown.is_empty(), "not on the list: {unknown:#?}");
    let missed: Vec<String> = all.difference(&hits).map(Point::to_string).collect();
    eprintln!(
        "kill matrix: {moments} moments in {} scenarios, {} of {} points hit, {:.1} s",
        scenarios.len(),
        hits.len(),
        all.len(),
        began.elapsed().as_secs_f64()
    );
    if only.is_none() {
        eprintln!("missed: {missed:#?}");
    }
    assert_eq!(failed, 0, "moments at which something was lost or repeated");
    if only.is_some() {
        return;
    }
    assert!(missed.is_empty(), "no scenario has died at: {missed:#?}");
    assert!(moments >= LEAST, "only {moments} moments");
}

#[test]
fn the_list_of_points_comes_from_the_code() {
    let all = points::all();
    assert!(all.len() >= LEAST, "{}", all.len());
    for point in &all {
        println!("point {point}");
    }
}

/// Plays a scenario undisturbed, and gives the moments at which its processes can be killed.
fn trace(index: usize, scenario: &Scenario) -> Vec<Moment> {
    let stage = (scenario.stage)();
    let played = play(scenario, &stage, None);
    let mut moments = Vec::new();
    for command in 0..played.commands {
        let passed = stage.moments(command);
        let times = |name: &str, phase: &str| {
            passed.iter().filter(|(at, names)| at == phase && names.iter().any(|other| other == name)).count()
        };
        for (place, (phase, names)) in passed.iter().enumerate() {
            // What comes by the clock is not in the same commit each time, so a moment is aimed at by each of its names.
            // Where each moment is wanted once, it is by the rarest: how often a gate is sampled is not the same, either.
            let rarest = || names.iter().min_by_key(|name| times(name, phase)).into_iter().collect();
            let aims: BTreeSet<&String> =
                if scenario.every_moment { rarest() } else { names.iter().collect() };
            for name in aims {
                let before = &passed[..=place];
                let count = before
                    .iter()
                    .filter(|(at, names)| at == phase && names.iter().any(|other| other == name))
                    .count();
                let aim = Aim { point: format!("{name}@{phase}:{count}") };
                let death = Death { command, at: At::Point(aim) };
                let certain = if scenario.every_moment { names } else { std::slice::from_ref(name) };
                moments.push(Moment {
                    scenario: index,
                    death,
                    points: points::of(phase, certain, scenario.class),
                });
            }
        }
    }
    moments.extend(scenario.landed.iter().map(|(command, name, holds)| Moment {
        scenario: index,
        death: Death { command: *command, at: At::Recorded(*holds) },
        points: points::of("landed", &[(*name).to_owned()], scenario.class),
    }));
    moments
}

/// Every moment of the scenarios that want it so, and of the others those that nothing else has.
fn choose(passed: Vec<Moment>, scenarios: &[Scenario]) -> Vec<Moment> {
    let (mut chosen, others): (Vec<Moment>, Vec<Moment>) =
        passed.into_iter().partition(|moment| scenarios[moment.scenario].every_moment);
    let mut covered: BTreeSet<Point> = chosen.iter().flat_map(|moment| moment.points.clone()).collect();
    for moment in others {
        if !moment.points.is_subset(&covered) {
            covered.extend(moment.points.clone());
            chosen.push(moment);
        }
    }
    chosen
}

/// Plays a scenario with a process killed, and gives the points that this was.
fn kill(scenario: &Scenario, death: &Death) -> BTreeSet<Point> {
    let stage = (scenario.stage)();
    let at = match &death.at {
        At::Point(aim) => aim.point.clone(),
        At::Recorded(_) => "landed".to_owned(),
    };
    let context = Context(format!("{}, command {} killed at {at}", scenario.name, death.command));
    let played = play(scenario, &stage, Some(death));
    assert!(
        played.died,
        "it was not killed: {}",
        stage.look().map_or_else(String::new, |look| look.summary())
    );
    drop(context);
    match &death.at {
        At::Point(_) => {
            let moments = stage.moments(death.command);
            let (phase, names) = moments.last().unwrap();
            points::of(phase, names, scenario.class)
        }
        At::Recorded(_) => scenario
            .landed
            .iter()
            .filter(|(command, ..)| *command == death.command)
            .flat_map(|(_, name, _)| points::of("landed", &[(*name).to_owned()], scenario.class))
            .collect(),
    }
}

/// Says where it was when something goes wrong.
struct Context(String);

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in {}", self.0);
        }
    }
}

/// Does all of it, some at once, and tells how many have panicked.
fn at_once<T: Send>(work: Vec<T>, act: impl Fn(T) + Sync) -> usize {
    let queue = Mutex::new(VecDeque::from(work));
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().pop_front();
                    let Some(next) = next else { break };
                    // What it says is on standard error by then; the others are worth knowing too.
                    if catch_unwind(AssertUnwindSafe(|| act(next))).is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    failed.into_inner()
}
