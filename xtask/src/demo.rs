//! `cargo xtask demo`: builds host and plugins, starts a small HTTP service, and runs `runbooks/quickstart.toml`
//! against it, with a store of its own below `target/demo`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{Error, plugins, programs, workspace};

/// Where the service listens in `runbooks/environments/quickstart.toml`.
const ADDRESS_IN_ENVIRONMENT: &str = "127.0.0.1:4780";
/// It only opens the service that this command starts, on this machine, and for as long as it runs.
const TOKEN: &str = "demo-token-of-the-quickstart";

/// Run the demo.
pub(crate) fn run(_arguments: &[String]) -> Result<(), Error> {
    plugins::build_named(&[])?;
    programs::build(&["--package", "windlass-cli", "--package", "windlass-tests", "--bins"])?;
    let demo = workspace::target_dir().join("demo");
    let runbooks = workspace::root().join("runbooks");
    for folder in ["environments", "scripts", "records"] {
        std::fs::create_dir_all(demo.join(folder))?;
    }
    let service = Service::start()?;
    let environment = std::fs::read_to_string(runbooks.join("environments/quickstart.toml"))?;
    let environment_file = demo.join("environments/quickstart.toml");
    std::fs::write(&environment_file, environment.replace(ADDRESS_IN_ENVIRONMENT, &service.address))?;
    std::fs::copy(runbooks.join("scripts/smoke.sh"), demo.join("scripts/smoke.sh"))?;

    let windlass = |arguments: &[&str]| {
        println!("\n$ windlass {}", arguments.join(" "));
        windlass(&demo, arguments)
    };
    let runbook = "runbooks/quickstart.toml";
    let environment = environment_file.to_string_lossy();
    windlass(&["check", runbook, "--env", &environment])?;
    windlass(&["audit", runbook, "--env", &environment])?;
    windlass(&["run", runbook, "--env", &environment])?;
    windlass(&["list"])?;
    println!("\nthe record is in {}", demo.join("records/quickstart").display());
    Ok(())
}

/// Runs the command with state of its own, and fails where it does not succeed.
fn windlass(demo: &Path, arguments: &[&str]) -> Result<(), Error> {
    let status = Command::new(programs::built("windlass"))
        .args(arguments)
        .current_dir(workspace::root())
        .env("XDG_STATE_HOME", demo.join("state"))
        .env("XDG_CONFIG_HOME", demo.join("config"))
        .env("XDG_CACHE_HOME", demo.join("cache"))
        .env("AUDIT_TOKEN", TOKEN)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("windlass {} ended with {status}", arguments.join(" ")).into())
    }
}

/// The audit service, ended with this value.
struct Service {
    child: Child,
    address: String,
}

impl Service {
    fn start() -> Result<Self, Error> {
        let mut child = Command::new(programs::built("demo-service"))
            .env("DEMO_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        match line.trim().strip_prefix("listening on http://") {
            Some(address) => Ok(Self { address: address.to_owned(), child }),
            None => {
                child.kill()?;
                Err(format!("the demo service did not start: {line}").into())
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
