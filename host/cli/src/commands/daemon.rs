//! `windlass daemon`: drives the detached runs of a store until it is told to end.

use std::sync::Arc;

use windlass_journal::RunId;
use windlass_runner::watch::{Unwatched, Watcher};
use windlass_runner::{Attendant, Daemon, Ending, RunError, rfc3339};

use crate::app::App;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Printer;
use crate::signals;

pub(crate) async fn run(app: &App) -> Result<Exit, CliError> {
    let store = Arc::new(app.store().await?);
    store.check_key()?;
    let daemon = Daemon::claim(&store)?;
    allow_many_files();
    let host = app.host(&store)?;
    app.printer.talk("driving the detached runs of this store; ctrl-c to leave them");
    daemon.serve(&host, Arc::new(Told(app.printer)), signals::end()).await?;
    store.close().await;
    Ok(Exit::Succeeded)
}

/// A run at work holds a lock file open, and its calls hold connections.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it is not allowed, runs that find no room are tried again later.
    let _refused = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// A line for each run that rests.
struct Told(Printer);

impl Told {
    fn tell(&self, run: &RunId, status: &str, detail: &str) {
        if self.0.json() {
            let record = serde_json::json!({ "run": run.as_str(), "status": status, "detail": detail });
            // A closed pipe must not stop the runs.
            let _closed = self.0.record(&record);
        } else {
            let gap = if detail.is_empty() { "" } else { ": " };
            let _closed = self.0.line(&format!("{run} {status}{gap}{detail}"));
        }
    }
}

impl Attendant for Told {
    fn taken_up(&self, _run: &RunId) -> Arc<dyn Watcher> {
        Arc::new(Unwatched)
    }

    fn rests(&self, run: &RunId, ending: &Ending) {
        match ending {
            Ending::Held { reasons } => {
                let reasons: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
                self.tell(run, "held", &reasons.join(", "));
            }
            Ending::Ended { verdict, finally_failed } => {
                self.tell(run, verdict.as_str(), if *finally_failed { "a finally step failed" } else { "" });
            }
            Ending::Parked { wake: Some(at) } => self.tell(run, "waits", &format!("until {}", rfc3339(*at))),
            Ending::Parked { wake: None } => self.tell(run, "waits", "for a person"),
            Ending::Left => (),
        }
    }

    fn failed(&self, run: &RunId, error: &RunError) {
        self.0.talk(&format!("{run}: {}", CliError::from_error(Exit::Fault, error).message));
    }
}
