//! Where the programs under test are, and building them once per test process.
//!
//! `cargo xtask test` builds what users have and sets `WINDLASS_TESTS_BUILT`; a plain `cargo test` builds them here, so that no
//! suite ever judges a command of yesterday.
#![allow(clippy::expect_used, clippy::panic, reason = "a rig that fails fails its test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

/// The folder of the checkout.
#[must_use]
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the checkout").to_owned()
}

/// The folder that cargo builds into, found from where this test was built.
#[must_use]
pub fn target_folder() -> PathBuf {
    profile_folder().parent().expect("profiles are in the target folder").to_owned()
}

/// A program of this workspace, by its name.
#[must_use]
pub fn built_program(name: &str) -> PathBuf {
    profile_folder().join(name)
}

/// The command under test: `WINDLASS_BIN`, or the one that was just built.
#[must_use]
pub fn windlass_program() -> PathBuf {
    std::env::var_os("WINDLASS_BIN").map_or_else(|| built_program("windlass"), PathBuf::from)
}

/// Builds the command and the plugins, the first time it is called.
pub fn build() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("WINDLASS_TESTS_BUILT").is_some() {
            return;
        }
        cargo(&["build", "--quiet", "--package", "windlass-cli"]);
        cargo(&["run", "--quiet", "--package", "xtask", "--", "plugins"]);
    });
}

/// The command with the feature `kill-points`, built the first time it is asked for, whoever runs the suites: nothing
/// but they need it. Beside the other, since both are used at once; of what is compiled for it nearly all is shared.
pub fn kill_points_program() -> PathBuf {
    static ONCE: Once = Once::new();
    build();
    let folder = target_folder().join("kill-points");
    ONCE.call_once(|| {
        let target = folder.display().to_string();
        let arguments = [
            "build",
            "--quiet",
            "--package",
            "windlass-cli",
            "--features",
            "kill-points",
            "--target-dir",
            &target,
        ];
        cargo_with(&arguments, &[("CARGO_BUILD_BUILD_DIR", target_folder())]);
        // It looks for the plugins near itself.
        match std::os::unix::fs::symlink("../plugins", folder.join("plugins")) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("a link: {error}"),
            Ok(()) | Err(_) => {}
        }
    });
    folder.join(profile_folder().file_name().expect("a profile has a name")).join("windlass")
}

fn cargo(arguments: &[&str]) {
    cargo_with(arguments, &[]);
}

fn cargo_with(arguments: &[&str], variables: &[(&str, PathBuf)]) {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(checkout()).envs(variables.iter().cloned());
    let output = command.output().expect("cargo starts");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {} failed:\n{problem}", arguments.join(" "));
}

/// `target/debug`, say: tests lie in its `deps`, programs in itself.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("where this test is");
    let folder = test.parent().expect("it is in a folder");
    if folder.ends_with("deps") {
        folder.parent().expect("deps is in a folder").to_owned()
    } else {
        folder.to_owned()
    }
}
