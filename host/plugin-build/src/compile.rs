//! Running cargo on guests.

use crate::BuildError;
use crate::command::{clean, output};
use crate::toolchain::{TARGET, Toolchain};
use serde::Deserialize;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// As much of `cargo metadata` as is used.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
}

/// One line of cargo's messages, as much as is used.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Compile the crates in these folders; returns the path of each one's module, in order.
pub(crate) fn compile(
    toolchain: &Toolchain,
    dirs: &[&Path],
    target_dir: &Path,
    progress: &dyn Fn(&str),
) -> Result<Vec<PathBuf>, BuildError> {
    let mut crates = Vec::new();
    for dir in dirs {
        crates.push(package(toolchain, dir)?);
    }
    let mut artifacts: Vec<Option<PathBuf>> = vec![None; crates.len()];
    // One cargo per workspace: what its plugins share is then compiled once.
    let mut roots: Vec<&PathBuf> = crates.iter().map(|(root, _)| root).collect();
    roots.dedup();
    for root in roots {
        let members: Vec<&Package> =
            crates.iter().filter(|(of, _)| of == root).map(|(_, package)| package).collect();
        for (id, path) in cargo(toolchain, root, &members, target_dir, progress)? {
            let of = crates.iter().zip(&mut artifacts).find(|((_, package), _)| package.id == id);
            if let Some((_, artifact)) = of {
                *artifact = Some(path);
            }
        }
    }
    let named = crates.into_iter().zip(artifacts);
    named.map(|((_, package), path)| path.ok_or(BuildError::NoArtifact { name: package.name })).collect()
}

/// The crate in a folder and the root of its workspace.
fn package(toolchain: &Toolchain, dir: &Path) -> Result<(PathBuf, Package), BuildError> {
    let path = dir.join("Cargo.toml");
    let path = path.canonicalize().map_err(BuildError::file("find", &path))?;
    let mut command = command(toolchain);
    command.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]).arg(&path);
    let unreadable = |message| BuildError::Manifest { path: path.clone(), message };
    let metadata: Metadata =
        serde_json::from_str(&output(&mut command)?).map_err(|error| unreadable(error.to_string()))?;
    let package = metadata.packages.into_iter().find(|package| package.manifest_path == path);
    let package =
        package.ok_or_else(|| unreadable("is a workspace without a package of its own".to_owned()))?;
    Ok((metadata.workspace_root, package))
}

/// Build these members of a workspace; gives package ids with their modules.
fn cargo(
    toolchain: &Toolchain,
    root: &Path,
    members: &[&Package],
    target_dir: &Path,
    progress: &dyn Fn(&str),
) -> Result<Vec<(String, PathBuf)>, BuildError> {
    let mut command = command(toolchain);
    command.args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    if toolchain.build_std {
        command.args(["-Z", "build-std=std,panic_abort"]);
    }
    for member in members {
        command.args(["--package", &member.name]);
    }
    let target_dir = std::path::absolute(target_dir).map_err(BuildError::file("find", target_dir))?;
    command.arg("--target-dir").arg(target_dir).current_dir(root);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());

    let shown = crate::command::name(&command);
    let failed = |status, output| BuildError::Program { program: shown.clone(), status, output };
    let mut child = command.spawn().map_err(|error| failed(None, error.to_string()))?;
    let mut stdout = child.stdout.take();
    let messages = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.as_mut().map_or(Ok(0), |stdout| stdout.read_to_string(&mut text)).map(|_| text)
    });
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line.map_err(|error| failed(None, error.to_string()))?;
            if line.trim_start().starts_with("Compiling") {
                progress(line.trim());
            } else if !line.trim_start().starts_with("Downloaded") {
                said.push_str(&line);
                said.push('\n');
            }
        }
    }
    let status = child.wait().map_err(|error| failed(None, error.to_string()))?;
    let messages = messages
        .join()
        .map_err(|_| failed(None, "its messages could not be read".to_owned()))?
        .map_err(|error| failed(None, error.to_string()))?;
    if !status.success() {
        let command = format!("cargo build --release --target {TARGET}, in {}", root.display());
        return Err(BuildError::Compile { command, output: said.trim_end().to_owned() });
    }
    Ok(messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter_map(|message| {
            let module = message
                .filenames
                .into_iter()
                .find(|path| path.extension().is_some_and(|end| end == "wasm"))?;
            Some((message.package_id, module))
        })
        .collect())
}

fn command(toolchain: &Toolchain) -> Command {
    let mut command = clean(&toolchain.cargo);
    command.envs(toolchain.environment.iter().cloned());
    command
}

/// Flags that keep this machine's paths out of the panic messages, and with them out of the digest. The workspace's own
/// are relative already; a flag that names it would make cargo compile everything anew for each workspace.
fn flags(toolchain: &Toolchain) -> OsString {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let mut flags = OsString::new();
    for (from, to) in [(cargo_home, "cargo"), (Some(toolchain.sysroot.clone()), "rust")] {
        let Some(from) = from else { continue };
        if !flags.is_empty() {
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    flags
}
