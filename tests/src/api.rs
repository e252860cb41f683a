//! Small runbooks against the demo service: what every suite would otherwise write again.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a rig that fails fails its test"
)]

use crate::{Finished, Running, Service, Windlass, Workspace};

/// The demo service with a workspace, a command, and an environment that binds one to the other.
pub struct Api {
    /// The service.
    pub service: Service,
    /// `environment.toml`, the runbooks of the test, and the folder `out`.
    pub workspace: Workspace,
    /// A home with the token in `TOKEN`.
    pub windlass: Windlass,
}

impl Api {
    /// Starts the service and writes the environment: connections `audit` (the service, token on `/api/` and
    /// `/fault/`) and `out` (a folder).
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(crate::windlass_program())
    }

    /// The same with another program in place of the command.
    #[must_use]
    pub fn start_with(program: std::path::PathBuf) -> Self {
        let service = Service::start();
        let workspace = Workspace::new();
        workspace.folder("out");
        let host = service.host();
        workspace.write(
            "environment.toml",
            &format!(
                r#"[vars]
host = "{host}"

[secrets]
token = {{ env = "TOKEN" }}

[connections.audit]
origin = "http://{host}"
paths = ["/api/**", "/fault/**"]
addresses = ["127.0.0.1/32"]
credential = {{ type = "bearer", token = {{ secret = "token" }} }}

[connections.out]
folder = "out"
"#
            ),
        );
        let windlass = Windlass::new().with_program(program).with("TOKEN", service.token());
        Self { service, workspace, windlass }
    }

    /// Writes a runbook: a plugin `api` that may do everything at the service, a plugin `files` for the folder `out`,
    /// and these steps.
    pub fn runbook(&self, name: &str, steps: &str) {
        let head = format!(
            r#"[runbook]
name = "{name}"

[plugins.api]
source = "builtin:http"
connections = {{ api = "audit" }}
config = {{ base-url = "http://${{vars.host}}" }}
allow = [
  "http GET http://{{vars.host}}/**",
  "http GET http://{{vars.host}}/stats?window=*",
  "http GET http://{{vars.host}}/fault/*?ms=*&characters=*&mib=*&to=*&key=*&times=*",
  "http POST http://{{vars.host}}/api/audit/events?fault=*&ms=*",
  "http POST http://{{vars.host}}/api/session",
]

[plugins.files]
source = "builtin:files"
connections = {{ out = "out" }}
allow = ["folder out: write"]

"#
        );
        self.workspace.write(&format!("{name}.toml"), &format!("{head}{steps}"));
    }

    /// The step that creates an audit event, known again by its idempotency key.
    #[must_use]
    pub fn event(id: &str, query: &str, more: &str) -> String {
        let probe =
            "probe = { url = \"/api/audit/events/by-key/{idempotency_key}\", capture = { id = \"id\" } }";
        Self::event_without_probe(id, query, &format!("{more}\n{probe}"))
    }

    /// The same without a way to find out whether it landed.
    #[must_use]
    pub fn event_without_probe(id: &str, query: &str, more: &str) -> String {
        format!(
            r#"
[[step]]
id = "{id}"
do = "api.send"
[step.with]
method = "POST"
url = "/api/audit/events"
query = {{ {query} }}
headers = {{ idempotency-key = "{{idempotency_key}}" }}
json = {{ event_type = "{id}", entity_type = "test", entity_id = "${{run.id}}", severity = "info" }}
capture = {{ id = "id" }}
{more}
"#
        )
    }

    /// `windlass COMMAND NAME.toml --env environment.toml` and what else is given.
    pub fn run(&self, command: &str, name: &str, more: &[&str]) -> Finished {
        self.start_command(command, name, more).wait()
    }

    /// The same, not waited for.
    pub fn start_command(&self, command: &str, name: &str, more: &[&str]) -> Running {
        let runbook = self.workspace.path(&format!("{name}.toml")).display().to_string();
        let environment = self.workspace.path("environment.toml").display().to_string();
        let arguments = [command, &runbook, "--env", &environment];
        self.windlass.start(arguments.iter().chain(more))
    }

    /// The types of the events that were created, in order: their steps.
    #[must_use]
    pub fn created(&self) -> Vec<String> {
        let events = self.service.get("/api/audit/events?limit=10000").1;
        let events = events["events"].as_array().expect("a list of events").clone();
        events.iter().map(|event| event["event_type"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// How many times something was sent that would create an event, effect or not.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.service.count("POST", "/api/audit/events")
    }
}
