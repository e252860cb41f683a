//! `cargo xtask test`: every suite, quick ones first, with what they need installed before. `--quick` stops after
//! those that need no server and no other language's toolchain.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::{Error, plugins, programs, workspace};

/// A part of the tests.
struct Suite {
    name: &'static str,
    /// Whether `--quick` runs it.
    quick: bool,
    run: fn() -> Result<(), Error>,
}

/// In the order in which a mistake is found soonest.
const SUITES: &[Suite] = &[
    Suite { name: "format", quick: true, run: format },
    Suite { name: "tidy", quick: true, run: crate::tidy::run_all },
    Suite { name: "plugins", quick: true, run: build_plugins },
    Suite { name: "plugin logic", quick: true, run: plugin_logic },
    Suite { name: "host", quick: true, run: host },
    Suite { name: "simulation", quick: false, run: crate::simulation::run_all },
    Suite { name: "clippy", quick: false, run: clippy },
    Suite { name: "end to end", quick: false, run: end_to_end },
];

/// Run the suites.
pub(crate) fn run(arguments: &[String]) -> Result<(), Error> {
    let quick = match arguments {
        [] => false,
        [only] if only == "--quick" => true,
        _ => return Err("usage: cargo xtask test [--quick]".into()),
    };
    let mut times = Vec::new();
    for suite in SUITES.iter().filter(|suite| suite.quick || !quick) {
        eprintln!("\n== {} ==", suite.name);
        let started = Instant::now();
        (suite.run)().map_err(|error| format!("suite `{}`: {error}", suite.name))?;
        times.push((suite.name, started.elapsed().as_secs_f64()));
    }
    eprintln!();
    for (name, seconds) in times {
        eprintln!("{name:<14} {seconds:>7.1} s");
    }
    Ok(())
}

fn format() -> Result<(), Error> {
    programs::cargo("fmt", &["--all", "--check"])?;
    programs::cargo("fmt", &["--manifest-path", "plugins/Cargo.toml", "--all", "--check"])
}

fn build_plugins() -> Result<(), Error> {
    plugins::build_named(&[]).map(drop)
}

fn plugin_logic() -> Result<(), Error> {
    let target = workspace::target_dir().join("plugins-native");
    let target = target.to_string_lossy();
    programs::cargo(
        "test",
        &["--manifest-path", "plugins/Cargo.toml", "--workspace", "--target-dir", &target],
    )
}

fn host() -> Result<(), Error> {
    install_packages()?;
    programs::cargo("test", &["--workspace", "--exclude", "windlass-tests"])
}

fn clippy() -> Result<(), Error> {
    programs::cargo("clippy", &["--workspace", "--all-targets", "--", "-D", "warnings"])?;
    let target = workspace::target_dir().join("plugins-native");
    let target = target.to_string_lossy();
    let manifest =
        ["--manifest-path", "plugins/Cargo.toml", "--workspace", "--all-targets", "--target-dir", &target];
    programs::cargo("clippy", &[&manifest[..], &["--", "-D", "warnings"]].concat())
}

fn end_to_end() -> Result<(), Error> {
    install_packages()?;
    programs::build(&["--package", "windlass-cli", "--package", "windlass-tests", "--bins"])?;
    let status = Command::new(env!("CARGO"))
        .args(["test", "--package", "windlass-tests"])
        .current_dir(workspace::root())
        .env("WINDLASS_TESTS_BUILT", "1")
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("ended with {status}").into()) }
}

/// Debian's packages that the suites need, each with a program of it.
const PACKAGES: &[(&str, &str)] = &[
    ("postgresql-15", "/usr/lib/postgresql/15/bin/initdb"),
    // Approvals are signed with its keys, and its `ssh-keygen` verifies what we sign.
    ("openssh-client", "/usr/bin/ssh-keygen"),
];

fn install_packages() -> Result<(), Error> {
    let apt = |arguments: &[&str]| -> Result<(), Error> {
        let status =
            Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("apt-get {} ended with {status}", arguments.join(" ")).into())
        }
    };
    for (package, _) in PACKAGES.iter().filter(|(_, program)| !Path::new(program).exists()) {
        eprintln!("installing {package}");
        apt(&["update", "-qq"])
            .and_then(|()| apt(&["install", "-y", "-qq", package]))
            .map_err(|error| format!("the suites need Debian's package {package}: {error}; install it"))?;
    }
    Ok(())
}
