//! Known bugs put into a copy of the engine, one at a time: each has to be found by the simulation.
//!
//! The copy lies in the target folder and has the workspace's lock, profile and target folder, so that only the
//! engine and the simulation are built again. A bug whose text is no longer found in the engine fails: it is to be
//! brought up to date, or it proves nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::{Error, workspace};

/// Within so many seeds each bug has to be found.
const SEEDS: &str = "6000";

/// A bug.
struct Mutant {
    /// What it does wrong.
    bug: &'static str,
    /// Below the engine's `src`.
    file: &'static str,
    find: &'static str,
    replace: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        bug: "an effect is let loose before its intention is durable",
        file: "machine/writing.rs",
        find: "self.record(Event::AttemptStarted { attempt, key, plan: Arc::clone(&plan) });\n        self.commit();",
        replace: "self.record(Event::AttemptStarted { attempt, key, plan: Arc::clone(&plan) });",
    },
    Mutant {
        bug: "an effect begins while the run is held",
        file: "machine/writing.rs",
        find: "if !self.may_start() {\n            // No effect begins",
        replace: "if false {\n            // No effect begins",
    },
    Mutant {
        bug: "whatever was sent counts as never having happened",
        file: "machine/writing.rs",
        find: "let effect = if sent { Effect::Unknown } else { Effect::None };",
        replace: "let effect = Effect::None;",
    },
    Mutant {
        bug: "an undo waits for nothing that came after its step",
        file: "layout.rs",
        find: "*count = dependents.len();",
        replace: "*count = 0;",
    },
    Mutant {
        bug: "an undo writes over what someone else changed",
        file: "machine/undo.rs",
        find: "Status::Conflict(_) if restore => {",
        replace: "Status::Conflict(_) => {",
    },
    Mutant {
        bug: "an effect of which nobody knows is not on the undo list",
        file: "work.rs",
        find: "!self.taken_back && (self.effect != Some(Effect::None) || self.seemed_none)",
        replace: "!self.taken_back && !matches!(self.effect, None | Some(Effect::None | Effect::Unknown))",
    },
    Mutant {
        bug: "a lost program may still run when its effect is planned again",
        file: "machine/calls.rs",
        find: ".filter(|attempt| attempt.is_unknown())\n                    .flat_map(|attempt| attempt.processes",
        replace: ".filter(|_| false)\n                    .flat_map(|attempt| attempt.processes",
    },
    Mutant {
        bug: "a running effect outlives the grace of a rollback",
        file: "machine/rollback.rs",
        find: "self.batch.cancels.extend(cancels);\n        }\n        if let Some(at) = self.overdue_at()",
        replace: "drop(cancels);\n        }\n        if let Some(at) = self.overdue_at()",
    },
    Mutant {
        bug: "a guard looks every fourth time only",
        file: "machine/guards.rs",
        find: "watch.next_at = began.saturating_add(period)",
        replace: "watch.next_at = began.saturating_add(period * 4)",
    },
    Mutant {
        bug: "a failure past the commit rolls back by itself",
        file: "machine/rollback.rs",
        find: "        if self.is_committed() {\n            let message =",
        replace: "        if false {\n            let message =",
    },
    Mutant {
        bug: "work starts without the lock of the group",
        file: "machine/mod.rs",
        find: "if over || self.awaiting_report || self.waits_for_lock() {",
        replace: "if over || self.awaiting_report {",
    },
    Mutant {
        bug: "an output is lost on its way into the journal",
        file: "event/mod.rs",
        find: "        /// What it returned.\n        #[serde(default, skip_serializing_if = \"Option::is_none\")]\n        output: Option<Arc<Value>>,\n        /// How it failed; absent",
        replace: "        /// What it returned.\n        #[serde(skip)]\n        output: Option<Arc<Value>>,\n        /// How it failed; absent",
    },
    Mutant {
        bug: "nobody is told that the run waits for a person",
        file: "machine/mod.rs",
        find: "self.batch.rest.push(Command::Held { reasons });",
        replace: "drop(reasons);",
    },
];

/// Builds each bug and looks whether it is found.
pub(crate) fn run() -> Result<(), Error> {
    // Always the same place, or each time would leave another set of built crates behind.
    let folder = workspace::target_dir().join("mutants");
    copy_workspace(&folder)?;
    let mut missed = Vec::new();
    for mutant in MUTANTS {
        let began = Instant::now();
        let outcome = try_out(&folder, mutant)?;
        let seconds = began.elapsed().as_secs_f64();
        eprintln!("{} {} ({seconds:.0} s)", if outcome.is_some() { "found " } else { "MISSED" }, mutant.bug);
        match outcome {
            Some(how) => eprintln!("       {how}"),
            None => missed.push(mutant.bug),
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("not found: {}", missed.join("; ")).into()) }
}

/// How the bug was found; none where it was not.
fn try_out(folder: &Path, mutant: &Mutant) -> Result<Option<String>, Error> {
    let path = folder.join("host/engine/src").join(mutant.file);
    let sound = std::fs::read_to_string(&path)?;
    if sound.matches(mutant.find).count() != 1 {
        return Err(
            format!("`{}` is not exactly once in {}: {}", mutant.find, mutant.file, mutant.bug).into()
        );
    }
    std::fs::write(&path, sound.replace(mutant.find, mutant.replace))?;
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--package", "mutated-simulation"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", workspace::target_dir())
        .output()?;
    if !built.status.success() {
        let told = String::from_utf8_lossy(&built.stderr).into_owned();
        return Err(format!("{} does not compile:\n{told}", mutant.bug).into());
    }
    let run = Command::new(workspace::target_dir().join("debug/mutated-simulation"))
        .args(["--seeds", SEEDS])
        .output()?;
    std::fs::write(&path, sound)?;
    let told = String::from_utf8_lossy(&run.stdout).into_owned();
    let how = told.lines().find(|line| line.contains("broken:")).map(|line| shortened(line).to_owned());
    Ok(how.filter(|_| !run.status.success()))
}

fn shortened(line: &str) -> &str {
    const LONGEST: usize = 160;
    line.char_indices().nth(LONGEST).and_then(|(end, _)| line.get(..end)).unwrap_or(line)
}

/// The engine, what it is made of, and the simulation: a workspace of their own.
fn copy_workspace(to: &Path) -> Result<(), Error> {
    let from = workspace::root();
    for part in ["host/engine/src", "host/runbook/src", "tests/simulation/src"] {
        // A file that is gone from the checkout must be gone from the copy of last time.
        let copy = to.join(part);
        if copy.exists() {
            std::fs::remove_dir_all(&copy)?;
        }
        copy_folder(&from.join(part), &copy)?;
    }
    for part in ["host/engine/Cargo.toml", "host/runbook/Cargo.toml", "Cargo.lock"] {
        std::fs::copy(from.join(part), to.join(part))?;
    }
    let simulation = std::fs::read_to_string(from.join("tests/simulation/Cargo.toml"))?;
    let named = simulation.replace("name = \"windlass-simulation\"", "name = \"mutated-simulation\"");
    // The program is another, and must not be built in the place of the sound one; the library keeps its name.
    let parts = "\n[lib]\nname = \"windlass_simulation\"\n\n[[bin]]\nname = \"mutated-simulation\"\npath = \"src/main.rs\"\n";
    std::fs::write(to.join("tests/simulation/Cargo.toml"), named + parts)?;
    let workspace = std::fs::read_to_string(from.join("Cargo.toml"))?;
    let members = ["members = [", "exclude = ["];
    let lines = workspace.lines().map(|line| match members.iter().find(|begin| line.starts_with(**begin)) {
        Some(&"members = [") => "members = [\"host/*\", \"tests/simulation\"]".to_owned(),
        Some(_) => String::new(),
        None => {
            line.replace("profile.dev.package.windlass-simulation", "profile.dev.package.mutated-simulation")
        }
    });
    let lines: Vec<String> = lines.collect();
    std::fs::write(to.join("Cargo.toml"), lines.join("\n") + "\n")?;
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
