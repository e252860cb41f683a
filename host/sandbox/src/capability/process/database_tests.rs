//! Programs of PostgreSQL against a real server: what they are given, and what they are not.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use windlass_tests::Postgres;

use super::host::run;
use crate::bindings::process::Command;
use crate::capability::testing::{Scene, folder};
use crate::{Connection, Mode, Secret};

struct Database {
    server: Postgres,
    folder: tempfile::TempDir,
}

impl Database {
    /// None where there is no server on this machine.
    fn new() -> Option<Self> {
        let server = Postgres::start()?;
        server.sql("SET ROLE owner; CREATE TABLE public.notes (id int PRIMARY KEY, text text)");
        server.sql("INSERT INTO notes SELECT n, 'note ' || n FROM generate_series(1, 1000) AS n");
        Some(Self { server, folder: tempfile::tempdir().unwrap() })
    }

    fn connection(&self, program: &str, read_url: bool) -> Connection {
        self.connection_to(self.server.program(program).to_str().unwrap(), read_url)
    }

    fn connection_to(&self, path: &str, read_url: bool) -> Connection {
        Connection::Program {
            path: path.into(),
            digest: None,
            postgres: Some(Box::new(Connection::Postgres {
                url: Secret::new(self.server.url()),
                read_url: read_url.then(|| Secret::new(self.server.read_url())),
                ca: None,
            })),
            environment: Vec::new(),
            directory: None,
        }
    }

    fn scene(&self, mode: Mode, lines: &[&str], connection: Connection) -> Scene {
        Scene::new(mode, lines).bind("tool", connection).bind("out", folder(self.folder.path()))
    }
}

fn command(arguments: &[&str]) -> Command {
    Command {
        slot: "tool".to_owned(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        stdin: None,
    }
}

#[tokio::test]
async fn a_dump_restores_into_a_new_database() {
    let Some(database) = Database::new() else { return };
    let lines = ["program tool --format=custom --file={path:out}", "folder out: write"];
    let scene = database.scene(Mode::Write, &lines, database.connection("pg_dump", false));
    let exit = run(&scene.call(), command(&["--format=custom", "--file=/out/a.dump"])).await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", String::from_utf8_lossy(&exit.stderr));
    assert!(fs::read(database.folder.path().join("a.dump")).unwrap().starts_with(b"PGDMP"));

    database.server.sql("CREATE DATABASE scratch OWNER owner");
    let lines = ["program tool --exit-on-error --no-owner --dbname={ident} {path:out}", "folder out: write"];
    let scene = database.scene(Mode::Write, &lines, database.connection("pg_restore", false));
    let arguments = ["--exit-on-error", "--no-owner", "--dbname=scratch", "/out/a.dump"];
    let exit = run(&scene.call(), command(&arguments)).await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", String::from_utf8_lossy(&exit.stderr));
    assert_eq!(database.server.sql_in("scratch", "SELECT count(*) FROM notes"), "1000");

    // Listing an archive needs no database and changes nothing.
    let lines = ["read program tool --list {path:out}", "folder out: read"];
    let scene = database.scene(Mode::Read, &lines, database.connection("pg_restore", true));
    let exit = run(&scene.call(), command(&["--list", "/out/a.dump"])).await.unwrap();
    assert!(String::from_utf8(exit.stdout).unwrap().contains("TABLE DATA public notes owner"));
}

#[tokio::test]
async fn a_reading_program_gets_the_role_that_cannot_write() {
    let Some(database) = Database::new() else { return };
    let lines = ["read program tool -Atc {match:.*}"];
    let psql = |read_url| database.scene(Mode::Read, &lines, database.connection("psql", read_url));
    let call = psql(true).call();
    let exit = run(&call, command(&["-Atc", "SELECT current_user"])).await.unwrap();
    assert_eq!(String::from_utf8(exit.stdout).unwrap(), "windlass_read\n");
    let exit = run(&call, command(&["-Atc", "DELETE FROM notes"])).await.unwrap();
    assert!(String::from_utf8(exit.stderr).unwrap().contains("permission denied for table notes"));
    assert!(!call.sent());

    let error = run(&psql(false).call(), command(&["-Atc", "SELECT 1"])).await.unwrap_err();
    assert_eq!(error.code, "denied");
    assert!(error.message.contains("has no `read_url`"), "{}", error.message);

    database.server.sql("GRANT INSERT ON notes TO windlass_read");
    let error = run(&psql(true).call(), command(&["-Atc", "SELECT 1"])).await.unwrap_err();
    assert_eq!(error.code, "denied");
    assert!(error.message.contains("it may change the rows of public.notes"), "{}", error.message);
}

#[tokio::test]
async fn the_password_is_in_its_file_alone() {
    let Some(database) = Database::new() else { return };
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let script = database.folder.path().join(format!("look-{}.sh", NUMBER.fetch_add(1, Ordering::Relaxed)));
    fs::write(
        &script,
        "#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/cmdline; tr '\\0' '\\n' < /proc/$$/environ; stat -c '%a %U' \"$PGPASSFILE\"; \
         cut -d: -f1-4 \"$PGPASSFILE\"; cat \"$PGPASSFILE\"\n",
    )
    .unwrap();
    std::os::unix::fs::PermissionsExt::set_mode(&mut fs::metadata(&script).unwrap().permissions(), 0o755);
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let connection = database.connection_to(script.to_str().unwrap(), false);
    let scene = database.scene(Mode::Write, &["program tool {ident}"], connection);
    let call = scene.call();
    let exit = run(&call, command(&["scratch"])).await.unwrap();
    let text = String::from_utf8(exit.stdout).unwrap();
    let port = database.server.port();
    for line in [
        "PGHOST=127.0.0.1".to_owned(),
        format!("PGPORT={port}"),
        "PGUSER=owner".to_owned(),
        "PGDATABASE=app".to_owned(),
        "PGSERVICEFILE=/dev/null".to_owned(),
        "PGSSLMODE=prefer".to_owned(),
        format!("127.0.0.1:{port}:app:owner"),
        format!("127.0.0.1:{port}:scratch:owner"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("\n600 "), "{text}");
    // The file was printed, with the password taken out: it is nowhere else, or it would be seen here as stars too.
    assert_eq!(text.matches("***").count(), 2, "{text}");
    let everything = format!("{text}{:?}{:?}", scene.services.logs.lock().unwrap(), call.take_audit());
    assert!(!everything.contains(database.server.owner_password()));
}

#[tokio::test]
async fn arguments_cannot_lead_to_another_server() {
    let Some(database) = Database::new() else { return };
    let lines = ["program tool {match:.*}", "program tool --host=elsewhere", "program tool -h elsewhere"];
    let call = database.scene(Mode::Write, &lines, database.connection("psql", false)).call();
    for arguments in
        [&["--host=elsewhere"][..], &["-h", "elsewhere"], &["postgres://elsewhere/app"], &["host=elsewhere"]]
    {
        let error = run(&call, command(arguments)).await.unwrap_err();
        assert_eq!(error.code, "denied", "{arguments:?}");
    }
    assert!(!call.sent());
}
