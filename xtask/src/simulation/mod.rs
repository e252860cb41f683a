//! `cargo xtask sim`: fifty thousand simulated runs of the engine; `--seed N` replays one and tells all of it,
//! `--mutants` proves that the simulation finds what it is there to find.

mod mutants;

use std::process::Command;

use crate::{Error, programs, workspace};

const USAGE: &str = "usage: cargo xtask sim [--seed N | --seeds N [--findings N] [--kinds] | --mutants]";

/// The command.
pub(crate) fn run(arguments: &[String]) -> Result<(), Error> {
    match arguments {
        [only] if only == "--mutants" => mutants::run(),
        arguments if understood(arguments) => simulate(arguments),
        _ => Err(USAGE.into()),
    }
}

/// Both, as the whole of the tests has it.
pub(crate) fn run_all() -> Result<(), Error> {
    simulate(&[])?;
    mutants::run()
}

fn understood(arguments: &[String]) -> bool {
    let numbered: Vec<&String> = arguments.iter().filter(|argument| *argument != "--kinds").collect();
    numbered.chunks(2).all(|pair| match pair {
        [name, number] => {
            matches!(name.as_str(), "--seed" | "--seeds" | "--findings") && number.parse::<u64>().is_ok()
        }
        _ => false,
    })
}

fn simulate(arguments: &[String]) -> Result<(), Error> {
    programs::build(&["--package", "windlass-simulation"])?;
    let status = Command::new(programs::built("windlass-simulation"))
        .args(arguments)
        .current_dir(workspace::root())
        .status()?;
    if status.success() { Ok(()) } else { Err("the simulation has a finding".into()) }
}
