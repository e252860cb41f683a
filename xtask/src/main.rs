//! The project's own commands: `cargo xtask COMMAND`.
//!
//! It owns nothing but the choice of the command; each command is a module.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a command does is for a person to read")]

mod bench;
mod demo;
mod plugins;
mod programs;
mod simulation;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

/// Whatever ended a command, for a person.
type Error = Box<dyn std::error::Error>;

/// What a command runs, with the arguments after its name.
type Command = fn(&[String]) -> Result<(), Error>;

/// The commands, each with what it does.
const COMMANDS: &[(&str, &str, Command)] = &[
    ("plugins", "build the plugins into target/plugins (all, or those named)", plugins::run),
    ("demo", "build everything and run runbooks/quickstart.toml against a small service", demo::run),
    ("test", "run every suite, installing what it needs; --quick for those that take seconds", test::run),
    (
        "sim",
        "simulate fifty thousand runs of the engine; --seed N tells one, --mutants tries it on known bugs",
        simulation::run,
    ),
    ("tidy", "check what no compiler does: sizes, leftovers, undocumented items of the contract", tidy::run),
    ("bench", "measure what the host costs, each figure beside its floor", bench::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = arguments.first().map(String::as_str).unwrap_or_default();
    let Some((_, _, run)) = COMMANDS.iter().find(|(name, ..)| *name == asked) else {
        eprintln!("usage: cargo xtask COMMAND\n\ncommands:");
        for (name, does, _) in COMMANDS {
            eprintln!("  {name:<10} {does}");
        }
        return if matches!(asked, "help" | "--help" | "-h") { ExitCode::SUCCESS } else { ExitCode::from(2) };
    };
    match run(arguments.get(1..).unwrap_or_default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
