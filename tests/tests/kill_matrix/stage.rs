//! What a scenario plays on: the service that records effects, a home, a runbook; and what a person sees who looks.

use std::ffi::OsString;
use std::path::PathBuf;

use windlass_engine::{Event, Millis, State};
use windlass_journal::{Outcome, RunId, Store, StoreOptions};
use windlass_tests::{Api, Postgres, Running};

use crate::points::Class;

/// The head of every runbook here.
const HEAD: &str = r#"[runbook]
name = "kill"
@RUNBOOK@

[plugins.api]
source = "builtin:http"
connections = { api = "audit" }
config = { base-url = "http://${vars.host}" }
allow = [
  "http GET http://{vars.host}/**",
  "http GET http://{vars.host}/stats?window=*",
  "http GET,DELETE http://{vars.host}/fault/*?key=*&times=*",
  "http POST http://{vars.host}/api/audit/events?fault=*&ms=*",
  "http POST http://{vars.host}/fault/401",
  "http DELETE http://{vars.host}/api/audit/events/*?fault=*&ms=*",
]

[plugins.files]
source = "builtin:files"
connections = { out = "out" }
allow = ["folder out: write"]

[plugins.shell]
source = "builtin:command"
connections = { tool = "tool", out = "out" }
allow = [
  "folder out: write",
  "program tool write {path:out}",
  "program tool shaky {path:out}",
  "program tool remove {path:out}",
  "read program tool check {path:out}",
]
"#;

/// What `tool` is: it makes a file, or takes it away; `check` looks, and fails the first time at what `shaky` has made.
const TOOL: &str = r#"#!/bin/sh
case $1 in
write) echo x >> "$2" ;;
shaky) echo x >> "$2"; echo x > "$2.once" ;;
remove) rm "$2" ;;
check) if [ -e "$2.once" ]; then rm "$2.once"; exit 2; fi; [ -e "$2" ] ;;
esac
"#;

/// So many events are told where something went wrong.
const LAST_EVENTS: usize = 40;

/// A place of its own for one play.
pub(crate) struct Stage {
    /// The service and the rest.
    pub(crate) api: Api,
    moments: tempfile::TempDir,
    server: Option<Postgres>,
}

/// What there is to see of the run.
pub(crate) struct Look {
    /// Its id.
    pub(crate) run: RunId,
    /// As its journal has it.
    pub(crate) state: State,
    /// Its events.
    pub(crate) events: Vec<(Millis, Event)>,
}

/// What is to be done to a command.
#[derive(Clone)]
pub(crate) struct Aim {
    /// `WHAT@PHASE:N`.
    pub(crate) point: String,
}

impl Look {
    /// How many events of a kind there are.
    pub(crate) fn count(&self, kind: &str) -> usize {
        assert!(Event::KINDS.contains(&kind), "{kind}");
        self.events.iter().filter(|(_, event)| event.kind() == kind).count()
    }

    /// For messages: how it stands, and its last events.
    pub(crate) fn summary(&self) -> String {
        let last: Vec<String> = self
            .events
            .iter()
            .rev()
            .take(LAST_EVENTS)
            .rev()
            .map(|(_, event)| serde_json::to_string(event).unwrap())
            .collect();
        format!("{}, {:?}\n{}", self.state.status(), self.state.holds(), last.join("\n"))
    }

    /// Whether there is one.
    pub(crate) fn has(&self, kind: &str) -> bool {
        self.count(kind) > 0
    }
}

impl Stage {
    /// A service, and a runbook of these steps. `settings` are further keys of `[runbook]`.
    pub(crate) fn new(settings: &str, steps: &str) -> Self {
        let api = Api::start_with(windlass_tests::kill_points_program());
        let tool = api.workspace.write("tool.sh", TOOL);
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
        let environment = api.workspace.read("environment.toml");
        api.workspace.write(
            "environment.toml",
            &format!("{environment}\n[connections.tool]\nprogram = \"tool.sh\"\n"),
        );
        api.workspace.write("kill.toml", &format!("{}\n{steps}", HEAD.replace("@RUNBOOK@", settings)));
        Self { api, moments: tempfile::tempdir().unwrap(), server: None }
    }

    /// The same with a database server, which `DATABASE` names.
    pub(crate) fn with_server(self) -> Self {
        let server = Postgres::start().unwrap();
        server.sql("CREATE TABLE here ()");
        let Self { api: Api { service, workspace, windlass }, moments, .. } = self;
        let environment = workspace.read("environment.toml");
        let main = "\n[secrets.database]\nenv = \"DATABASE\"\n\n[connections.main]\nurl = { secret = \"database\" }\n\
                    read_url = { secret = \"database\" }\n";
        workspace.write("environment.toml", &format!("{environment}{main}"));
        let windlass = windlass.with("DATABASE", server.read_url());
        Self { api: Api { service, workspace, windlass }, moments, server: Some(server) }
    }

    /// Starts a command whose moments are written down under a number, and which dies at one if that is wanted.
    pub(crate) fn start(&self, number: usize, arguments: &[String], aim: Option<&Aim>) -> Running {
        let mut variables = vec![("WINDLASS_KILL_LOG", self.moments_file(number).into_os_string())];
        let is_variable = |word: &&String| word.starts_with(|letter: char| letter.is_ascii_uppercase());
        let set: Vec<(&str, &str)> =
            arguments.iter().take_while(is_variable).filter_map(|word| word.split_once('=')).collect();
        variables.extend(set.iter().map(|(name, value)| (*name, self.argument(value))));
        let arguments = arguments.iter().skip(set.len()).map(|argument| self.argument(argument));
        let arguments: Vec<OsString> = arguments.collect();
        if let Some(aim) = aim {
            variables.push(("WINDLASS_KILL_POINT", OsString::from(&aim.point)));
        }
        self.api.windlass.start_with(&arguments, &variables)
    }

    /// `@runbook`, `@environment`, `@run` stand for what is only known here.
    fn argument(&self, word: &str) -> OsString {
        match word {
            "@runbook" => self.api.workspace.path("kill.toml").into(),
            "@environment" => self.api.workspace.path("environment.toml").into(),
            "@key" => self.api.workspace.path("ana").into(),
            "@elsewhere" => self.server.as_ref().unwrap().read_url().replace("/app", "/postgres").into(),
            "@run" => self.look().map(|look| look.run.to_string()).unwrap_or_default().into(),
            word => word.into(),
        }
    }

    fn moments_file(&self, number: usize) -> PathBuf {
        self.moments.path().join(number.to_string())
    }

    /// The moments that a command passed: phase and names.
    pub(crate) fn moments(&self, number: usize) -> Vec<(String, Vec<String>)> {
        let text = std::fs::read_to_string(self.moments_file(number)).unwrap_or_default();
        let moment = |line: &str| {
            let (phase, names) = line.split_once(' ').unwrap_or_default();
            (phase.to_owned(), names.split(' ').map(str::to_owned).collect())
        };
        text.lines().map(moment).collect()
    }

    /// The run that a person has to do with: the oldest that is not over, or else the newest.
    pub(crate) fn look(&self) -> Option<Look> {
        in_runtime(async {
            let store = self.store().await?;
            let mut runs = store.runs().await.unwrap();
            runs.sort_by_key(|run| run.started_ms);
            let open =
                runs.iter().position(|run| run.ended_ms.is_none()).unwrap_or(runs.len().checked_sub(1)?);
            let run = runs.swap_remove(open).id;
            let stored = store.read_run(&run).await.unwrap();
            let event = |stored: &windlass_journal::StoredEvent| {
                (stored.time_ms, serde_json::from_slice::<Event>(&stored.payload).unwrap())
            };
            let events: Vec<_> = stored.iter().map(event).collect();
            let state = State::replay(events.iter().map(|(at, event)| (event, *at)));
            Some(Look { run, state, events })
        })
    }

    async fn store(&self) -> Option<Store> {
        let state_dir = self.api.windlass.state();
        let path = state_dir.join("store.db");
        let key_dir = self.api.windlass.home().join("config/windlass/keys");
        // A process that was killed may have left a file with nothing in it.
        Store::open_read(StoreOptions { path, state_dir, key_dir, create: false }).await.ok()
    }

    /// What is wrong with the chain of a run, if anything is.
    pub(crate) fn verify(&self, run: &RunId) -> Option<String> {
        in_runtime(async {
            let store = self.store().await.unwrap();
            let report = store.verify(Some(run), None).await.unwrap();
            let broken = report.runs.iter().find(|run| matches!(run.outcome, Outcome::Broken { .. }));
            broken.map(|run| format!("{:?}", run.outcome)).or(report.chain.map(|fault| format!("{fault:?}")))
        })
    }

    /// Does by hand what takes a step's event back.
    pub(crate) fn take_back(&self, step: &str) {
        let event = format!(
            r#"{{"event_type": "not {step}", "entity_type": "test", "entity_id": "x", "severity": "info"}}"#
        );
        assert_eq!(self.api.service.send("POST", "/api/audit/events", &event), 201);
    }

    /// Whether the effect of a step is there, as the recorder has it; for `undo/STEP`, that of taking it back. Of
    /// `makes_FILE` and `removes_FILE` it is seen in the folder.
    pub(crate) fn has_effect(&self, step: &str) -> bool {
        let done = step.strip_prefix("undo/").unwrap_or(step);
        if let Some((verb, file)) = done.split_once('_') {
            let is_there = self.api.workspace.path(&format!("out/{file}")).exists();
            return is_there == ((verb == "makes") == (done == step));
        }
        let created = self.api.created();
        let is_there = created.iter().any(|event| event == done);
        if done == step { is_there } else { !is_there || created.contains(&format!("not {done}")) }
    }
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A step that creates an event of its id, to be known and taken back as its class says. `query` goes with the request,
/// `back` with the one that takes it back.
pub(crate) fn step(id: &str, class: Class, query: &str, back: &str) -> String {
    let key = "headers = { idempotency-key = \"{idempotency_key}\" }";
    let delete =
        format!("reverse = {{ method = \"DELETE\", url = \"/api/audit/events/{{captured.id}}{back}\" }}");
    let more = match class {
        Class::Repeatable => format!("{key}\nrepeatable = true\n{delete}"),
        Class::Probed => format!(
            "{key}\nprobe = {{ url = \"/api/audit/events/by-key/{{idempotency_key}}\", capture = {{ id = \"id\" }} }}\n{delete}"
        ),
        Class::Once => format!(
            "reverse = {{ method = \"POST\", url = \"/api/audit/events{back}\", json = {{ event_type = \"not {id}\", \
             entity_type = \"test\", entity_id = \"x\", severity = \"info\" }} }}"
        ),
    };
    format!(
        r#"
[[step]]
id = "{id}"
do = "api.send"
[step.with]
method = "POST"
url = "/api/audit/events"
query = {{ {query} }}
json = {{ event_type = "{id}", entity_type = "test", entity_id = "${{run.id}}", severity = "info" }}
capture = {{ id = "id" }}
{more}
"#
    )
}
