//! Everything that goes wrong is told apart, readably, and leaves things as they were.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use windlass_tests::{Api, Postgres, Staging};

/// The failure of a step, as its line in the record has it.
fn failure(api: &Api, name: &str) -> String {
    let known = api.windlass.runs();
    let run = api.run("run", name, &[]);
    assert_eq!(run.code, Some(3), "{name}: {}", run.all());
    assert!(!run.all().contains("panicked"), "{}", run.all());
    let id = api.windlass.runs().into_iter().find(|id| !known.contains(id)).unwrap();
    let record = api.windlass.show(&id);
    assert_eq!(record.result("ask"), "failed", "{:#}", record.0);
    record.detail("ask").replace(api.service.host(), "HOST")
}

#[test]
fn every_way_to_fail_over_http_reads_differently() {
    let api = Api::start();
    let faults = [
        "500",
        "401",
        "429",
        "html",
        "hang",
        "close-early",
        "close-at-once",
        "garbage",
        "slow-dribble",
        "huge",
        "redirect?to=http://elsewhere.example/",
    ];
    let mut told = Vec::new();
    for fault in faults {
        let step = format!(
            "[[step]]\nid = \"ask\"\ndo = \"api.check\"\n\
             with = {{ url = \"/fault/{fault}\", expect = {{ status = \"healthy\" }}, timeout = \"700ms\" }}\n"
        );
        api.runbook("fault", &step);
        told.push((fault, failure(&api, "fault")));
    }
    api.runbook("fault", "[[step]]\nid = \"ask\"\ndo = \"api.check\"\nwith = { url = \"/health\", expect = { version = \"2.0.0\" } }\n");
    told.push(("unmet expectation", failure(&api, "fault")));
    let texts: std::collections::BTreeSet<_> = told.iter().map(|(_, text)| text).collect();
    assert_eq!(texts.len(), told.len(), "{told:#?}");
    let lines: Vec<String> = told.iter().map(|(fault, text)| format!("{fault}\n    {text}")).collect();
    insta::with_settings!({ filters => vec![(r"\d+(\.\d+)? ms", "N ms")] }, {
        insta::assert_snapshot!(lines.join("\n"));
    });
}

#[test]
fn a_service_that_is_gone_refuses_the_connection() {
    let api = Api::start();
    let host = api.service.host().to_owned();
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().to_string();
    api.workspace.change("environment.toml", &[(&host, &free)]);
    api.runbook("gone", "[[step]]\nid = \"ask\"\ndo = \"api.check\"\nwith = { url = \"/health\" }\n");
    let text = failure(&api, "gone");
    assert!(text.contains("refused"), "{text}");
}

#[test]
fn a_retry_gets_over_a_service_that_is_just_starting() {
    let api = Api::start();
    let step = "[[step]]\nid = \"ask\"\ndo = \"api.check\"\nretry = { attempts = 3, backoff = \"10ms..50ms\" }\n\
                with = { url = \"/fault/503-once\", expect = { status = \"healthy\" } }\n";
    api.runbook("starting", step);
    drop(api.run("run", "starting", &[]).expect(0));
    assert_eq!(api.service.count("GET", "/fault/503-once"), 2);
}

#[test]
fn a_gate_that_never_opens_shows_what_it_measured() {
    let api = Api::start();
    let step = "[[step]]\nid = \"ask\"\ndo = \"api.check\"\nwith = { url = \"/health/openai\" }\n\
                until = \"result.latency_ms < 1.0\"\nevery = \"50ms\"\ntimeout = \"400ms\"\n";
    api.runbook("gate", step);
    let text = failure(&api, "gate");
    assert!(text.contains("result.latency_ms < 1.0"), "{text}");
    assert!(api.service.count("GET", "/health/openai") > 2);
}

#[test]
fn a_failed_run_goes_on_once_the_cause_is_gone() {
    let api = Api::start();
    let steps = Api::event("first", "", "")
        + "[[step]]\nid = \"ask\"\ndo = \"api.check\"\nwith = { url = \"/fault/503-once\", expect = { status = \"healthy\" } }\non_failure = \"pause\"\n"
        + &Api::event("last", "", "");
    api.runbook("held", &steps);
    drop(api.run("run", "held", &[]).expect(3).says("resume"));
    let run = api.windlass.only_run();
    drop(api.windlass.run(["resume", &run]).expect(0));
    assert_eq!(api.created(), ["first", "last"]);
}

#[test]
fn a_migration_with_a_syntax_error_in_the_middle_leaves_the_database_as_it_was() {
    let Some(staging) = Staging::start() else { return };
    let broken = "CREATE TABLE one (id int PRIMARY KEY);\nINSERT INTO one VALUES (1);\n\
                  CREATE TABEL two (id int);\nCREATE TABLE three (id int);\n";
    staging.workspace.write("runbooks/migrations/023_ai_empowered_audit_trail.sql", broken);
    let before = staging.schema();
    let run = staging.run("run", &[]).expect(3);
    assert_eq!(staging.schema(), before);
    let record = staging.windlass.show(&staging.windlass.only_run());
    assert_eq!(record.result("migrate"), "failed");
    let told = record.detail("migrate");
    assert!(told.contains("TABEL") && told.contains('3'), "{told}");
    assert_eq!(record.0["world"], "untouched", "{}", run.all());

    // Put right, the same run goes on with what it pinned, and a new one with the new file.
    staging
        .workspace
        .write("runbooks/migrations/023_ai_empowered_audit_trail.sql", "CREATE TABLE one (id int);\n");
    let again = staging.run("run", &[]);
    assert_eq!(again.code, Some(3), "the assertion of nine tables fails: {}", again.all());
    assert_eq!(staging.server.sql("SELECT count(*) FROM pg_tables WHERE tablename = 'one'"), "1");
    assert!(again.all().contains("audit_anomalies"), "every missing table is named: {}", again.all());
}

#[test]
fn a_wrong_password_is_told_without_the_password() {
    let Some(server) = Postgres::start() else { return };
    let api = Api::start();
    let windlass = windlass_tests::Windlass::new()
        .with("URL", server.url_of("owner", "wrong-password-1", "app"))
        .with("READ_URL", server.url_of("windlass_read", "wrong-password-2", "app"));
    api.workspace.write(
        "db.toml",
        "[runbook]\nname = \"db\"\n[plugins.db]\nsource = \"builtin:postgres\"\nconnections = { db = \"main\" }\n\
         allow = [\"postgres db: read\"]\n[[step]]\nid = \"ask\"\ndo = \"db.query\"\nwith = { sql = \"SELECT 1\" }\n",
    );
    api.workspace.write(
        "db-environment.toml",
        "[secrets]\nurl = { env = \"URL\" }\nread_url = { env = \"READ_URL\" }\n\
         [connections.main]\nurl = { secret = \"url\" }\nread_url = { secret = \"read_url\" }\n",
    );
    let path = |name: &str| api.workspace.path(name).display().to_string();
    let run = windlass.run(["run", &path("db.toml"), "--env", &path("db-environment.toml")]).expect(3);
    assert!(run.all().contains("password authentication failed"), "{}", run.all());
    assert!(!run.all().contains("wrong-password"), "{}", run.all());
}
