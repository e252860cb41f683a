//! `windlass-simulation [--seed N | --seeds N] [--findings N] [--kinds]`: what `cargo xtask sim` runs.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it finds is for a person to read")]

use std::process::ExitCode;
use std::time::Instant;

use windlass_simulation::{Finding, simulate, simulate_all};

/// So many seeds by default.
const SEEDS: u64 = 50_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    if let Some(seed) = number("--seed") {
        return match simulate(seed, true) {
            Ok(kinds) => {
                let events: u64 = kinds.values().sum();
                println!("seed {seed}: every rule held over {events} events");
                ExitCode::SUCCESS
            }
            Err(finding) => {
                show(&finding);
                ExitCode::FAILURE
            }
        };
    }
    let seeds = number("--seeds").unwrap_or(SEEDS);
    let findings = number("--findings").and_then(|count| usize::try_from(count).ok()).unwrap_or(1);
    let began = Instant::now();
    let tally = simulate_all(0..seeds, findings);
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for a person")]
    let rate = tally.seeds as f64 / seconds;
    let events: u64 = tally.kinds.values().sum();
    println!("{} seeds, {events} events, {seconds:.1} s, {rate:.0} seeds/s", tally.seeds);
    for (kind, count) in tally.kinds.iter().filter(|_| arguments.iter().any(|argument| argument == "--kinds"))
    {
        println!("{count:>9} {kind}");
    }
    for finding in &tally.findings {
        let seen = finding.broken.seen.replace('\n', "; ");
        println!("seed {}: broken: {}: {seen}", finding.seed, finding.broken.rule);
    }
    match tally.findings.first() {
        None => ExitCode::SUCCESS,
        Some(first) => {
            println!("replay it with: cargo xtask sim --seed {}", first.seed);
            ExitCode::FAILURE
        }
    }
}

fn show(finding: &Finding) {
    println!("{}", finding.runbook);
    for line in &finding.told {
        println!("{line}");
    }
    println!("seed {}: broken: {}\n{}", finding.seed, finding.broken.rule, finding.broken.seen);
}
