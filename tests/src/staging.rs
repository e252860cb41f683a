//! The staging runbook with everything it needs: database, service, workspace, command.
#![allow(clippy::expect_used, clippy::panic, reason = "a rig that fails fails its test")]

use crate::{Finished, Postgres, Service, Windlass, Workspace};

/// Where the rehearsal's environment expects the service.
const SHIPPED_HOST: &str = "127.0.0.1:4780";
/// Where the environments expect PostgreSQL's programs.
const SHIPPED_PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// One rehearsal of the staging runbook.
pub struct Staging {
    /// The database; dropped first, so that nothing is left when its folder goes.
    pub server: Postgres,
    /// In place of the backend.
    pub service: Service,
    /// A copy of the shipped runbooks, the environment pointing at the two above.
    pub workspace: Workspace,
    /// A home with the secrets in its environment.
    pub windlass: Windlass,
}

impl Staging {
    /// Starts it all. None, with a line that says so, on a machine without PostgreSQL.
    #[must_use]
    pub fn start() -> Option<Self> {
        let server = Postgres::start()?;
        let service = Service::start();
        let workspace = Workspace::with_runbooks();
        let programs = server.program("");
        let programs = programs.to_string_lossy();
        workspace.change(
            "runbooks/environments/rehearsal.toml",
            &[(SHIPPED_HOST, service.host()), (SHIPPED_PROGRAMS, programs.trim_end_matches('/'))],
        );
        let windlass = Windlass::new()
            .with("AUDIT_TOKEN", service.token())
            .with("REHEARSAL_DATABASE_URL", server.url())
            .with("REHEARSAL_DATABASE_READ_URL", server.read_url());
        Some(Self { server, service, workspace, windlass })
    }

    /// `windlass COMMAND runbooks/staging.toml --env …` and what else is given.
    pub fn run(&self, command: &str, more: &[&str]) -> Finished {
        let runbook = self.workspace.path("runbooks/staging.toml").display().to_string();
        let environment = self.workspace.path("runbooks/environments/rehearsal.toml").display().to_string();
        let arguments = [command, &runbook, "--env", &environment];
        self.windlass.run(arguments.iter().chain(more))
    }

    /// Everything that defines the database, as `pg_dump` writes it.
    #[must_use]
    pub fn schema(&self) -> String {
        self.dump(&["--schema-only"])
    }

    /// The same with every row.
    #[must_use]
    pub fn database(&self) -> String {
        self.dump(&[])
    }

    fn dump(&self, options: &[&str]) -> String {
        let output = self.server.client("pg_dump").args(options).arg("app").output().expect("pg_dump runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("pg_dump writes UTF-8");
        // Newer versions begin and end a dump with a random word.
        text.lines().filter(|line| !line.contains("restrict ")).collect::<Vec<_>>().join("\n")
    }
}
