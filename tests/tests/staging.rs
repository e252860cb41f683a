//! The staging runbook against a real PostgreSQL and a real HTTP service, start to end, twice.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use windlass_tests::Staging;

const TABLES: [&str; 9] = [
    "audit_access_log",
    "audit_ai_predictions",
    "audit_anomalies",
    "audit_bias_metrics",
    "audit_embeddings",
    "audit_integrations",
    "audit_ml_models",
    "audit_scheduled_reports",
    "roche_audit_logs",
];

#[test]
fn check_finds_nothing_in_the_shipped_runbooks() {
    let windlass = windlass_tests::Windlass::new();
    let runbooks = windlass_tests::checkout().join("runbooks");
    let check = |runbook: &str, environment: &str| {
        let runbook = runbooks.join(runbook).display().to_string();
        let environment = runbooks.join("environments").join(environment).display().to_string();
        drop(windlass.run(["check", &runbook, "--env", &environment]).expect(0));
    };
    check("quickstart.toml", "quickstart.toml");
    check("staging.toml", "staging.toml");
    check("staging.toml", "rehearsal.toml");
    check("restore.toml", "staging.toml");
}

#[test]
fn the_staging_guide_runs_and_running_it_again_changes_nothing_twice() {
    let Some(staging) = Staging::start() else { return };
    drop(staging.run("run", &[]).expect(0));

    let run = staging.windlass.only_run();
    let record = staging.windlass.show(&run);
    assert_eq!(record.status(), "succeeded");
    for (step, result) in [
        ("migrate", "applied"),
        ("schema", "succeeded"),
        ("dump", "applied"),
        ("verify", "succeeded"),
        ("openai", "succeeded"),
        ("event", "applied"),
        ("event_found", "succeeded"),
        ("smoke", "succeeded"),
        ("frontend_env", "applied"),
        ("finally/record", "applied"),
    ] {
        assert_eq!(record.result(step), result, "{step}: {}", record.step(step));
    }
    let tables = staging.server.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1");
    assert_eq!(tables.lines().filter(|name| TABLES.contains(name)).count(), 9, "{tables}");
    let created = |service: &windlass_tests::Service| {
        service.effects().iter().filter(|entry| entry.path == "/api/audit/events").count()
    };
    assert_eq!(created(&staging.service), 1);
    let frontend = staging.workspace.read("runbooks/records/staging/frontend.env");
    assert!(frontend.contains("NEXT_PUBLIC_ENVIRONMENT=staging"), "{frontend}");
    let note = staging.workspace.read("runbooks/records/staging/release.txt");
    let report = staging.workspace.read(&format!("runbooks/records/staging/{run}.md"));
    assert!(report.contains("Apply migration 023") && report.contains("succeeded"), "{report}");

    let schema = staging.schema();
    drop(staging.run("run", &[]).expect(0));
    let second = staging.windlass.runs().into_iter().find(|id| *id != run).unwrap();
    let record = staging.windlass.show(&second);
    assert_eq!(record.status(), "succeeded");
    for step in ["migrate", "frontend_env", "release"] {
        assert_eq!(record.result(step), "unchanged", "{}", record.step(step));
    }
    // The note has the migration's checksum in it: an unchanged step gives its output all the same.
    assert_eq!(staging.workspace.read("runbooks/records/staging/release.txt"), note);
    assert!(note.contains("023_ai_empowered_audit_trail"), "{note}");
    assert_eq!(staging.schema(), schema);
    assert_eq!(created(&staging.service), 2);
}

#[test]
fn the_archive_restores_into_a_scratch_database_with_the_same_rows() {
    let Some(staging) = Staging::start() else { return };
    drop(staging.run("run", &[]).expect(0));
    // Rows that the next archive has to hold.
    staging.server.sql(
        "INSERT INTO audit_ml_models (tenant_id, name, version, kind, trained_at, training_rows, artifact_uri)
         SELECT gen_random_uuid(), 'm', n::text, 'embedding', now(), n, 's3://x' FROM generate_series(1, 40) n;
         INSERT INTO roche_audit_logs (tenant_id, event_type, entity_type, entity_id, hash)
         SELECT gen_random_uuid(), 'test_event', 't', n::text, sha256(n::text::bytea) FROM generate_series(1, 250) n",
    );
    let first = staging.windlass.only_run();
    drop(staging.run("run", &[]).expect(0));
    let second = staging.windlass.runs().into_iter().find(|id| *id != first).unwrap();

    // The rehearsal's environment without what only the staging runbook has.
    let environment = staging.workspace.read("runbooks/environments/rehearsal.toml");
    let (before, rest) = environment.split_once("[plugins.api]").unwrap();
    let (_, after) = rest.split_once("[connections.migrations]").unwrap();
    let environment = format!("{before}[connections.migrations]{after}");
    let environment =
        staging.workspace.write("runbooks/environments/restore.toml", &environment).display().to_string();
    let runbook = staging.workspace.path("runbooks/restore.toml").display().to_string();
    let file = format!("file=staging-{second}.dump");
    let restore = |database: &str| {
        let database = format!("database={database}");
        let inputs = ["--input", &file, "--input", &database];
        staging.windlass.run(["run", &runbook, "--env", &environment].into_iter().chain(inputs))
    };
    drop(restore("scratch").expect(0));
    let count = |database: &str, table: &str| {
        staging.server.sql_in(database, &format!("SELECT count(*) FROM public.{table}"))
    };
    for table in TABLES {
        assert_eq!(count("scratch", table), count("app", table), "{table}");
    }
    assert_eq!(count("scratch", "roche_audit_logs"), "250");
    // A database that is there is never restored into.
    staging.server.sql_in("postgres", "CREATE DATABASE precious OWNER owner");
    staging.server.sql_in("precious", "CREATE TABLE keep AS SELECT 1 AS n");
    let refused = restore("precious");
    assert_eq!(refused.code, Some(3), "{}", refused.all());
    assert_eq!(staging.server.sql_in("precious", "SELECT count(*) FROM keep"), "1");
}
