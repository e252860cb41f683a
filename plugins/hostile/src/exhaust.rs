//! Using up what there is: time, memory, stack, log, output.

use std::hint::black_box;
use std::time::Duration;

use windlass_sdk::bindings::windlass::plugin::step;
use windlass_sdk::{Failure, time};

use crate::bindings::exports::windlass::hostile::attacks::{Content, Nothing};

const MEBIBYTE: usize = 1024 * 1024;

fn nothing() -> Nothing {
    Nothing { extra: Vec::new() }
}

pub(crate) fn spin() -> Result<Nothing, Failure> {
    let mut turns = 0_u64;
    while black_box(turns) < u64::MAX {
        turns = turns.wrapping_add(2);
    }
    Ok(nothing())
}

pub(crate) fn sleep(seconds: u64) -> Result<Nothing, Failure> {
    time::sleep(Duration::from_secs(seconds));
    Ok(nothing())
}

pub(crate) fn grow(mebibytes: u64) -> Result<Nothing, Failure> {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    for _ in 0..mebibytes {
        taken.push(black_box(vec![1; MEBIBYTE]));
    }
    black_box(&taken);
    Ok(nothing())
}

#[allow(unconditional_recursion, reason = "that is the attack")]
pub(crate) fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame.iter().sum::<u64>()
}

pub(crate) fn flood_log(lines: u64) -> Result<Nothing, Failure> {
    let line = "x".repeat(1000);
    for _ in 0..lines {
        step::log(step::Level::Info, &line, &[]);
    }
    Ok(nothing())
}

pub(crate) fn flood_output(mebibytes: u64) -> Content {
    let size = mebibytes.saturating_mul(MEBIBYTE as u64);
    Content { text: "x".repeat(usize::try_from(size).unwrap_or(usize::MAX)), size }
}

/// What would clear the screen, retitle the window, forge a line and turn the reading direction.
const PAINT: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\nrun succeeded \u{202e}deliaf\u{202c} \u{9b}31m";

pub(crate) fn paint() -> Result<Nothing, Failure> {
    step::log(step::Level::Info, PAINT, &[]);
    Err(Failure::new("painted", format!("before {PAINT} after")))
}

#[allow(clippy::panic, reason = "that is the attack")]
pub(crate) fn crash() -> Result<Nothing, Failure> {
    panic!("the hostile plugin crashes on purpose")
}
