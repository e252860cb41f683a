//! The simulation: the engine's pure machine with virtual time, random runbooks, scripted plugins, people, strangers
//! and crashes, all from one seed, checked at every step against a world that it does not know.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "it checks the engine as a test does, and may fail as loudly"
)]

mod catalogue;
mod fate;
mod people;
mod random;
mod rules;
mod run;
mod subject;
mod world;

pub use rules::Broken;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use random::Random;
use run::Run;

/// How often each kind of event was recorded.
pub type Kinds = BTreeMap<&'static str, u64>;

/// What a seed came to.
#[derive(Debug)]
pub struct Finding {
    /// The seed.
    pub seed: u64,
    /// The rule that was broken.
    pub broken: Broken,
    /// The runbook.
    pub runbook: String,
    /// Everything that happened, where that was wanted.
    pub told: Vec<String>,
}

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many were run.
    pub seeds: u64,
    /// How many events of each kind they recorded.
    pub kinds: Kinds,
    /// The findings, by seed.
    pub findings: Vec<Finding>,
}

/// Runs one seed; the events that it recorded. `told` keeps everything that happened.
///
/// # Errors
/// The rule that was broken.
pub fn simulate(seed: u64, told: bool) -> Result<Kinds, Box<Finding>> {
    let mut random = Random::new(seed);
    let text = subject::written(&mut random);
    let finding =
        |broken: Broken, told: Vec<String>| Box::new(Finding { seed, broken, runbook: text.clone(), told });
    let runbook = subject::checked(&text)
        .map_err(|seen| finding(Broken { rule: "a random runbook is right", seen }, Vec::new()))?;
    let mut run = Run::new(random, runbook, told);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.drive()));
    let told = run.told.take().unwrap_or_default();
    match outcome {
        Ok(Ok(())) => Ok(run.kinds()),
        Ok(Err(broken)) => Err(finding(broken, told)),
        Err(_) => Err(finding(Broken { rule: "nothing panics", seen: String::new() }, told)),
    }
}

/// Runs seeds on all cores, and stops after so many findings.
#[must_use]
pub fn simulate_all(seeds: std::ops::Range<u64>, findings: usize) -> Tally {
    let next = AtomicU64::new(seeds.start);
    let count = AtomicU64::new(0);
    let kinds = Mutex::new(Kinds::new());
    let enough = AtomicBool::new(false);
    let found = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                    match simulate(seed, false) {
                        Ok(recorded) => {
                            let mut kinds = kinds.lock().unwrap_or_else(PoisonError::into_inner);
                            for (kind, count) in recorded {
                                *kinds.entry(kind).or_default() += count;
                            }
                        }
                        Err(finding) => {
                            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                            found.push(*finding);
                            enough.store(found.len() >= findings, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let mut findings = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    findings.sort_by_key(|finding| finding.seed);
    Tally {
        seeds: count.into_inner(),
        kinds: kinds.into_inner().unwrap_or_else(PoisonError::into_inner),
        findings,
    }
}
