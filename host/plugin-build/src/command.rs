//! Running other programs, with an environment that is known.

use crate::BuildError;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// Cargo's settings that are the machine's and not the outer build's: where its home is, and how to reach registries.
const KEPT: [&str; 8] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "RUSTUP_",
];

/// A command without what an outer `cargo run` leaves in the environment. With it, the inner cargo would take the
/// outer one's compiler, flags and target folder for its own.
pub(crate) fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let cargos = text.starts_with("CARGO") || text.starts_with("RUST") || text == "LD_LIBRARY_PATH";
        if cargos && !KEPT.iter().any(|kept| text.starts_with(kept)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Run to the end and give what it wrote to standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, BuildError> {
    let name = name(command);
    let failed = |status, output| BuildError::Program { program: name.clone(), status, output };
    let output = command.output().map_err(|error| failed(None, error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(output.status.code(), said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A command's program and first arguments, for messages.
pub(crate) fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut name = program.to_string_lossy().into_owned();
    for argument in
        command.get_args().filter(|argument| !argument.as_encoded_bytes().starts_with(b"-")).take(2)
    {
        name.push(' ');
        name.push_str(&argument.to_string_lossy());
    }
    name
}

/// Where a program is on the search path.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
