//! Building and finding the programs of the host's workspace.

use std::path::PathBuf;
use std::process::Command;

use crate::{Error, workspace};

/// `cargo build` with these arguments.
pub(crate) fn build(arguments: &[&str]) -> Result<(), Error> {
    cargo("build", arguments)
}

/// Runs cargo in the workspace and fails where it does.
pub(crate) fn cargo(subcommand: &str, arguments: &[&str]) -> Result<(), Error> {
    let mut command = Command::new(env!("CARGO"));
    command.arg(subcommand).args(arguments).current_dir(workspace::root());
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo {subcommand} {} ended with {status}", arguments.join(" ")).into())
    }
}

/// A program that [`build`] has built.
pub(crate) fn built(name: &str) -> PathBuf {
    workspace::target_dir().join("debug").join(name)
}
