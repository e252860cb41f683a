//! `windlass plan` changes nothing anywhere, and neither does a plugin that tries to while it plans.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use windlass_tests::hostile::inline;
use windlass_tests::{Postgres, Service, Staging, Windlass, Workspace, target_folder};

#[test]
fn a_plan_of_the_staging_runbook_leaves_no_trace() {
    let Some(staging) = Staging::start() else { return };
    let schema = staging.schema();
    let plan = staging.run("plan", &[]).expect(10);

    assert!(plan.stdout.contains("migrate") && plan.stdout.contains("deferred"), "{}", plan.stdout);
    assert_eq!(staging.schema(), schema);
    assert!(staging.service.effects().is_empty());
    for request in staging.service.requests() {
        let search = request.method == "POST" && request.path == "/api/audit/search";
        assert!(request.method == "GET" || search, "{request:?}");
    }
    for statement in staging.server.statements() {
        assert_eq!(statement.role, "windlass_read", "{statement:?}");
        let sql = statement.sql.lines().find(|line| !line.starts_with("--")).unwrap_or_default();
        let word = sql.split_whitespace().next().unwrap_or_default().to_uppercase();
        let reads = ["BEGIN", "SELECT", "SET", "ROLLBACK", "COMMIT", "SHOW", "WITH"];
        assert!(reads.contains(&word.as_str()), "{statement:?}");
    }
    assert_eq!(staging.workspace.names("runbooks/records"), [".gitignore"]);
    assert_eq!(staging.workspace.names("runbooks/backups"), [".gitignore"]);
    assert!(!staging.windlass.state().join("store.db").exists(), "a plan opens no store");

    // Once everything is there, what is in place says so, with the outputs that later steps need.
    drop(staging.run("run", &[]).expect(0));
    let again = staging.run("plan", &["--output", "json"]);
    let text = again.all();
    assert!(text.contains("unchanged"), "{text}");
}

/// Everything that the hostile plugin could write to.
struct Targets {
    server: Postgres,
    service: Service,
    workspace: Workspace,
    windlass: Windlass,
}

impl Targets {
    fn start() -> Option<Self> {
        let server = Postgres::start()?;
        server.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1); ALTER TABLE t OWNER TO owner");
        let service = Service::start();
        let workspace = Workspace::new();
        workspace.folder("out");
        let windlass = Windlass::new()
            .with("TOKEN", service.token())
            .with("URL", server.url())
            .with("READ_URL", server.read_url());
        Some(Self { server, service, workspace, windlass })
    }

    /// A runbook of the hostile plugin with every write granted, and one step.
    fn runbook(&self, action: &str, with: &Value) -> String {
        let plugin = target_folder().join("plugins/hostile.wasm");
        let (host, out) = (self.service.host(), self.workspace.path("out"));
        let text = format!(
            "[runbook]\nname = \"sneak\"\n\
             [plugins.hostile]\nsource = {plugin:?}\n\
             connections = {{ api = \"api\", db = \"main\", out = \"out\", tool = \"tool\" }}\n\
             allow = [\"http POST http://{host}/api/audit/events\", \"postgres db: ddl\", \"folder out: write\", \
             \"program tool hello\"]\n\
             [[step]]\nid = \"sneak\"\ndo = \"hostile.{action}\"\nwith = {}\n",
            inline(with)
        );
        self.workspace.write("runbook.toml", &text);
        let environment = format!(
            "[secrets]\ntoken = {{ env = \"TOKEN\" }}\nurl = {{ env = \"URL\" }}\nread_url = {{ env = \"READ_URL\" }}\n\
             [connections.api]\norigin = \"http://{host}\"\naddresses = [\"127.0.0.1/32\"]\n\
             credential = {{ type = \"bearer\", token = {{ secret = \"token\" }} }}\n\
             [connections.main]\nurl = {{ secret = \"url\" }}\nread_url = {{ secret = \"read_url\" }}\n\
             [connections.out]\nfolder = {out:?}\n\
             [connections.tool]\nprogram = \"/bin/echo\"\n"
        );
        self.workspace.write("environment.toml", &environment);
        self.workspace.path("runbook.toml").display().to_string()
    }

    fn windlass(&self, command: &str, runbook: &str) -> windlass_tests::Finished {
        let environment = self.workspace.path("environment.toml").display().to_string();
        self.windlass.run([command, runbook, "--env", &environment])
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert!(self.service.effects().is_empty(), "{:?}", self.service.effects());
        assert!(self.workspace.names("out").is_empty(), "{:?}", self.workspace.names("out"));
        assert_eq!(self.server.sql("SELECT string_agg(n::text, ',') FROM t"), "1");
        let tables = self.server.sql(
            "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
        );
        assert_eq!(tables, "1");
    }
}

fn ways(targets: &Targets) -> Vec<(&'static str, Value)> {
    let body =
        json!({ "event_type": "x", "entity_type": "x", "entity_id": "x", "severity": "info" }).to_string();
    let request = json!({
        "method": "POST", "scheme": "http", "authority": targets.service.host(), "path": "/api/audit/events",
        "headers": { "content-type": "application/json", "content-length": body.len().to_string() }, "body": body,
    });
    vec![
        ("http", json!({ "request": request })),
        ("folder", json!({})),
        ("statement", json!({ "sql": "INSERT INTO t VALUES (2)" })),
        ("script", json!({ "sql": "CREATE TABLE u (n int)" })),
        ("program", json!({ "arguments": ["hello"] })),
        ("receipt", json!({})),
        ("artifact", json!({})),
    ]
}

#[test]
fn a_plugin_that_writes_while_it_plans_is_denied() {
    let Some(targets) = Targets::start() else { return };
    for (means, mut with) in ways(&targets) {
        with["means"] = json!(means);
        with["moment"] = json!("planning");
        let runbook = targets.runbook("sneak", &with);
        let plan = targets.windlass("plan", &runbook);
        assert_eq!(plan.code, Some(1), "{means}: {}", plan.all());
        assert!(plan.all().contains("denied"), "{means}: {}", plan.all());
        targets.assert_untouched();
        // What is kept with a run is no write to the world, and a run has a place for it.
        if means == "artifact" {
            continue;
        }
        // In a run it plans too, before anything is written.
        let run = targets.windlass("run", &runbook);
        assert_eq!(run.code, Some(3), "{means}: {}", run.all());
        targets.assert_untouched();
    }
}

#[test]
fn an_apply_with_nothing_to_do_can_not_write_either() {
    let Some(targets) = Targets::start() else { return };
    for (means, mut with) in ways(&targets) {
        // What an apply leaves with the run is no write to the world.
        if matches!(means, "receipt" | "artifact") {
            continue;
        }
        with["means"] = json!(means);
        with["moment"] = json!("in-place");
        let runbook = targets.runbook("sneak", &with);
        let run = targets.windlass("run", &runbook);
        assert_ne!(run.code, Some(0), "{means}: {}", run.all());
        assert!(run.all().contains("denied"), "{means}: {}", run.all());
        targets.assert_untouched();
    }
}

#[test]
fn no_statement_leads_out_of_a_read_only_transaction() {
    let Some(targets) = Targets::start() else { return };
    let ways_out = [
        "INSERT INTO t VALUES (2)",
        "SET TRANSACTION READ WRITE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "COMMIT",
        "COMMIT; INSERT INTO t VALUES (2)",
        "ROLLBACK; BEGIN READ WRITE; INSERT INTO t VALUES (2); COMMIT",
        "SELECT 1; INSERT INTO t VALUES (2)",
        "WITH x AS (INSERT INTO t VALUES (2) RETURNING n) SELECT n FROM x",
        "SELECT set_config('transaction_read_only', 'off', false) FROM t",
        "DO $$ BEGIN SET TRANSACTION READ WRITE; INSERT INTO t VALUES (2); END $$",
        "EXPLAIN ANALYZE INSERT INTO t VALUES (2)",
        "CREATE TABLE u (n int)",
        "SET ROLE owner",
        "SET SESSION AUTHORIZATION owner",
        "COPY t FROM PROGRAM 'echo 2'",
        "COPY (SELECT 1) TO PROGRAM 'cat > /tmp/windlass-was-here'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_creat(-1)",
        "SELECT nextval(pg_get_serial_sequence('t', 'n'))",
        "SELECT * FROM t FOR UPDATE",
    ];
    for sql in ways_out {
        let runbook = targets.runbook("query", &json!({ "sql": sql }));
        let run = targets.windlass("run", &runbook);
        if run.code == Some(0) {
            // A statement that only looks like a way out may pass, if nothing came of it.
            assert!(sql.starts_with("SET") || sql.starts_with("SELECT"), "{sql}: {}", run.all());
        }
        targets.assert_untouched();
        assert!(!std::path::Path::new("/tmp/windlass-was-here").exists());
    }
    // As the owner the host only asks which database it is, before the first use of the connection in a run.
    let its_own = ["SET statement_timeout = ", "SELECT system_identifier::text, "];
    let statements = targets.server.statements();
    let stray = statements.iter().find(|statement| {
        statement.role != "windlass_read" && !its_own.iter().any(|own| statement.sql.starts_with(own))
    });
    assert!(stray.is_none(), "{stray:#?}");
}

#[test]
fn without_a_reading_role_a_plan_is_refused() {
    let Some(targets) = Targets::start() else { return };
    let runbook = targets.runbook("query", &json!({ "sql": "SELECT n FROM t" }));
    let run = targets.windlass("run", &runbook);
    assert_eq!(run.code, Some(0), "{}", run.all());
    // The owner in place of the reader is found out.
    let windlass = Windlass::new()
        .with("TOKEN", targets.service.token())
        .with("URL", targets.server.url())
        .with("READ_URL", targets.server.url());
    let environment = targets.workspace.path("environment.toml").display().to_string();
    let run = windlass.run(["run", &runbook, "--env", &environment]);
    assert_eq!(run.code, Some(3), "{}", run.all());
    targets.workspace.change(
        "environment.toml",
        &[("\nread_url = { secret = \"read_url\" }\n[connections.out]", "\n[connections.out]")],
    );
    let run = targets.windlass("run", &runbook);
    assert_eq!(run.code, Some(3), "{}", run.all());
    drop(run.says("read_url"));
}
