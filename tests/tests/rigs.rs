//! The rigs do what the suites rely on.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use windlass_tests::{Postgres, Service, Workspace};

#[test]
fn the_service_logs_every_request_with_its_effect() {
    let service = Service::start();
    assert_eq!(service.get("/health").1["status"], "healthy");
    assert_eq!(service.get("/api/audit/events").1["total"], 0);
    let requests = service.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|entry| !entry.effect && entry.authorization.is_some()));
    assert!(!std::fs::read_to_string("/proc/self/cmdline").unwrap().contains(service.token()));
}

#[test]
fn the_reading_role_reads_and_can_not_write() {
    let Some(server) = Postgres::start() else { return };
    server.sql("CREATE TABLE t (n int); ALTER TABLE t OWNER TO owner; INSERT INTO t VALUES (1)");
    let as_reader = |sql: &str| {
        let output = std::process::Command::new(server.program("psql"))
            .args(["-XAtq", &server.read_url(), "-c", sql])
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(as_reader("SELECT n FROM t\n-- on two lines"), (true, "1\n".to_owned()));
    assert!(!as_reader("INSERT INTO t VALUES (2)").0);
    assert!(!as_reader("CREATE TABLE u ()").0);
    let seen: Vec<_> = server.statements().into_iter().map(|s| (s.role, s.database, s.sql)).collect();
    let reader = || ("windlass_read".to_owned(), "app".to_owned());
    assert_eq!(seen[0], (reader().0, reader().1, "SELECT n FROM t\n-- on two lines".to_owned()));
    assert_eq!(seen.len(), 3);
}

#[test]
fn the_shipped_runbooks_can_be_copied_and_changed() {
    let workspace = Workspace::with_runbooks();
    workspace.change("runbooks/environments/rehearsal.toml", &[("127.0.0.1:4780", "127.0.0.1:1")]);
    assert!(workspace.read("runbooks/environments/rehearsal.toml").contains("127.0.0.1:1\""));
    assert!(workspace.names("runbooks/migrations").contains(&"rollback_023.sql".to_owned()));
}
