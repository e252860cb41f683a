//! The `windlass` command as a person uses it, in a home of its own.
//!
//! Invariant: the command sees nothing of the environment of the tests but what a test gives it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a rig that fails fails its test"
)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::{build, target_folder};

/// No command of a test takes this long; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// A home with state, configuration and cache, and variables that commands get.
pub struct Windlass {
    home: TempDir,
    cache: PathBuf,
    program: PathBuf,
    variables: Vec<(OsString, OsString)>,
}

impl Windlass {
    /// A new home. Compiled plugins are shared between tests, everything else is its own.
    #[must_use]
    pub fn new() -> Self {
        build();
        let home = tempfile::tempdir().expect("a temporary folder");
        let cache = target_folder().join("tests-cache");
        Self { home, cache, program: crate::windlass_program(), variables: Vec::new() }
    }

    /// The same with another program in place of the command.
    #[must_use]
    pub fn with_program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    /// The same with a cache of its own, empty at first.
    #[must_use]
    pub fn with_own_cache(mut self) -> Self {
        self.cache = self.home.path().join("cache");
        self
    }

    /// The same with one more environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Where state, configuration and what else belongs to this home lies.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The folder that state lies in.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.home.path().join("state/windlass")
    }

    /// A command that was not started yet.
    #[must_use]
    pub fn command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().stdin(Stdio::null());
        command.env("PATH", "/usr/bin:/bin").env("HOME", self.home.path()).env("LANG", "C.UTF-8");
        command.env("XDG_STATE_HOME", self.home.path().join("state"));
        command.env("XDG_CONFIG_HOME", self.home.path().join("config"));
        command.env("XDG_CACHE_HOME", &self.cache);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub fn run<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Finished {
        self.start(arguments).wait()
    }

    /// Starts a command, to be waited for or killed.
    pub fn start<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Running {
        self.start_with(arguments, &[])
    }

    /// The same with variables of its own.
    pub fn start_with<I: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = I>,
        variables: &[(&str, OsString)],
    ) -> Running {
        let mut command = self.command(arguments);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let name = format!("{command:?}")
            .rsplit_once("windlass\"")
            .map_or_else(String::new, |(_, rest)| rest.to_owned());
        // To files, not pipes: nobody has to read while it runs, and what a killed one wrote is kept.
        let output = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| fs::File::create(output.path().join(name)).expect("a file for output");
        command.stdout(file("stdout")).stderr(file("stderr"));
        let child = command.spawn().expect("windlass starts");
        Running { child, output, name }
    }

    /// The ids of the runs of the store, as `list --output json` has them; none before there is a store.
    #[must_use]
    pub fn runs(&self) -> Vec<String> {
        let listed = self.run(["list", "--output", "json"]);
        if listed.code == Some(2) && listed.stderr.contains("there is no store") {
            return Vec::new();
        }
        let listed = listed.expect(0).json();
        let runs = listed["runs"].as_array().unwrap_or_else(|| panic!("no runs in {listed}"));
        runs.iter()
            .map(|run| run["run"].as_str().unwrap_or_else(|| panic!("no id in {run}")).to_owned())
            .collect()
    }

    /// The only run of the store.
    #[must_use]
    pub fn only_run(&self) -> String {
        let runs = self.runs();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs.into_iter().next().unwrap_or_default()
    }

    /// The record of a run, as `show --output json` has it.
    #[must_use]
    pub fn show(&self, run: &str) -> Record {
        Record(self.run(["show", run, "--output", "json"]).expect(0).json())
    }
}

impl Default for Windlass {
    fn default() -> Self {
        Self::new()
    }
}

/// The record of a run.
#[derive(Debug)]
pub struct Record(pub Value);

impl Record {
    /// What became of the run.
    #[must_use]
    pub fn status(&self) -> &str {
        self.0["status"].as_str().unwrap_or_default()
    }

    /// The line of a step, by its path.
    #[track_caller]
    #[must_use]
    pub fn step(&self, path: &str) -> &Value {
        let steps = self.0["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        steps
            .iter()
            .find(|step| step["step"] == path)
            .unwrap_or_else(|| panic!("no step `{path}` in {:#}", self.0))
    }

    /// What became of a step, in one word.
    #[track_caller]
    #[must_use]
    pub fn result(&self, path: &str) -> &str {
        self.step(path)["result"].as_str().unwrap_or_default()
    }

    /// What else its line says.
    #[track_caller]
    #[must_use]
    pub fn detail(&self, path: &str) -> &str {
        self.step(path)["detail"].as_str().unwrap_or_default()
    }
}

/// A command that runs. Dropping it kills it.
pub struct Running {
    child: Child,
    output: TempDir,
    name: String,
}

impl Running {
    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.text("stdout")
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_some()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) -> Finished {
        self.child.kill().expect("it can be killed");
        self.finish()
    }

    /// Waits for its end; fails if it takes far too long.
    pub fn wait(mut self) -> Finished {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_over() {
            if Instant::now() > deadline {
                drop(self.child.kill());
                panic!("windlass{} hangs\n{}\n{}", self.name, self.text("stdout"), self.text("stderr"));
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        self.finish()
    }

    fn finish(mut self) -> Finished {
        let status = self.child.wait().expect("its status");
        let name = std::mem::take(&mut self.name);
        Finished { name, code: status.code(), stdout: self.text("stdout"), stderr: self.text("stderr") }
    }

    fn text(&self, stream: &str) -> String {
        let bytes = fs::read(self.output.path().join(stream)).expect("its output");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    name: String,
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Fails the test, showing everything, unless the exit code is this one.
    #[track_caller]
    #[must_use]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "windlass{}\n--- stdout\n{}\n--- stderr\n{}",
            self.name,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output and error, one after the other.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Standard output as one JSON text.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("windlass{}: {error}\n{}", self.name, self.stdout))
    }

    /// Standard output as one JSON text per line.
    #[track_caller]
    #[must_use]
    pub fn json_lines(&self) -> Vec<Value> {
        let line = |line: &str| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("windlass{}: {error}\n{line}", self.name))
        };
        self.stdout.lines().map(line).collect()
    }

    /// Fails the test unless standard output or error has this text.
    #[track_caller]
    #[must_use]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.all().contains(text),
            "`{text}` is not in the output of windlass{}\n--- stdout\n{}\n--- stderr\n{}",
            self.name,
            self.stdout,
            self.stderr
        );
        self
    }
}
