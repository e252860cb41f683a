//! Components in other languages, built from packages into a cache outside the checkout.
//!
//! Owns installing the tools and building `tests/guests/`. A component is named after the digest of everything that
//! went into it, so that an unchanged one is built once per machine.
#![allow(clippy::expect_used, clippy::panic, reason = "a rig that fails fails its test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::checkout;

/// Which tool builds Python guests.
const PYTHON_TOOL: &str = "componentize-py==0.25.1";
/// Which tool builds JavaScript guests.
const JAVASCRIPT_TOOL: &str = "@bytecodealliance/componentize-js@0.23.0";

/// Tools are installed, and components built, one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The `health` provider in Python. None, with a line that says so, where there is no Python.
#[must_use]
pub fn python() -> Option<PathBuf> {
    if !is_there("python3") {
        crate::skip("no python3 found, so no Python guest can be built");
        return None;
    }
    Some(build("python", PYTHON_TOOL, |job| {
        let environment = cache().join("python");
        let tool = environment.join("bin/componentize-py");
        if !tool.exists() {
            run(Command::new("python3").args(["-m", "venv"]).arg(&environment));
            run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", PYTHON_TOOL]));
        }
        let mut command = Command::new(tool);
        command.arg("-d").arg(&job.wit).args(["-w", "python", "componentize", "-p"]).arg(&job.sources);
        command.args(["app", "-o"]).arg(&job.component);
        command
    }))
}

/// The `health` provider in JavaScript. None, with a line that says so, where there is no npm.
#[must_use]
pub fn javascript() -> Option<PathBuf> {
    if !is_there("npm") {
        crate::skip("no npm found, so no JavaScript guest can be built");
        return None;
    }
    Some(build("javascript", JAVASCRIPT_TOOL, |job| {
        let prefix = cache().join("javascript");
        let tool = prefix.join("node_modules/.bin/componentize-js");
        if !tool.exists() {
            let mut npm = Command::new("npm");
            npm.args(["install", "--silent", "--no-fund", "--no-audit", "--prefix"]).arg(&prefix);
            run(npm.arg(JAVASCRIPT_TOOL));
        }
        let mut command = Command::new(tool);
        command.arg(job.sources.join("app.js")).arg("--wit").arg(&job.wit);
        command.args(["--world-name", "javascript", "-o"]).arg(&job.component);
        command
    }))
}

/// What a tool is pointed at.
struct Job {
    wit: PathBuf,
    sources: PathBuf,
    component: PathBuf,
}

fn build(language: &str, tool: &str, command: impl FnOnce(&Job) -> Command) -> PathBuf {
    let turn = ONE_AT_A_TIME.lock().expect("no builder panicked");
    let sources = checkout().join("tests/guests").join(language);
    let parts = [sources.clone(), checkout().join("wit"), checkout().join("tests/guests/wit")];
    let component = cache().join(format!("{language}-{}.wasm", digest(tool, &parts)));
    if !component.exists() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let unfinished = component.with_extension(format!("{}.tmp", std::process::id()));
        // A copy, since Python leaves what it compiles beside its sources.
        copy_files(&sources, &folder.path().join("sources"));
        let job = Job {
            wit: arrange_wit(folder.path()),
            sources: folder.path().join("sources"),
            component: unfinished,
        };
        fs::create_dir_all(cache()).expect("the cache");
        run(&mut command(&job));
        fs::rename(&job.component, &component).expect("the component moves into the cache");
    }
    drop(turn);
    component
}

/// The worlds of the guests with their dependencies, a package per folder, as the tools want them.
fn arrange_wit(folder: &Path) -> PathBuf {
    let wit = checkout().join("wit");
    let packages = ["plugin", "contracts"].map(|name| (name.to_owned(), wit.join(name)));
    for (name, from) in packages {
        copy_files(&from, &folder.join("wit/deps").join(name));
    }
    for file in files(&wit.join("wasi")) {
        let package = folder.join("wit/deps").join(file.file_stem().expect("a name"));
        fs::create_dir_all(&package).expect("a folder");
        fs::copy(&file, package.join("package.wit")).expect("a copy");
    }
    copy_files(&checkout().join("tests/guests/wit"), &folder.join("wit"));
    folder.join("wit")
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for file in files(from) {
        fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("a copy");
    }
}

/// The files below a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn digest(tool: &str, folders: &[PathBuf]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(tool);
    for file in folders.iter().flat_map(|folder| files(folder)) {
        let content = fs::read(&file).expect("a source file");
        hasher.update(content.len().to_le_bytes());
        hasher.update(content);
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// `$XDG_CACHE_HOME/windlass-tests`.
fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    base.expect("HOME or XDG_CACHE_HOME is set").join("windlass-tests")
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} failed:\n{problem}{}",
        String::from_utf8_lossy(&output.stdout)
    );
}
