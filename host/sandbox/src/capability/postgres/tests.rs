//! The rules against a real server.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use windlass_tests::Postgres;

use super::client::Rows;
use super::host::{execute, query, script};
use crate::bindings::outcome::Failure;
use crate::bindings::postgres::{Parameter, Part};
use crate::capability::testing::Scene;
use crate::{Connection, Mode, Secret};

/// A database of a test's own with a role that owns it and one that only reads.
struct Database {
    server: Arc<Postgres>,
    name: String,
}

/// One server for all tests that run at the same time; the last of them ends it.
fn server() -> Option<Arc<Postgres>> {
    static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap();
    if let Some(server) = shared.upgrade() {
        return Some(server);
    }
    let server = Arc::new(Postgres::start()?);
    *shared = Arc::downgrade(&server);
    Some(server)
}

const PASSWORD: &str = "correct-horse-battery";

impl Database {
    /// None where there is no server on this machine.
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let server = server()?;
        let name = format!("d{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        for sql in [
            format!("CREATE ROLE {name}_app LOGIN CREATEDB PASSWORD '{PASSWORD}'"),
            format!("CREATE ROLE {name}_look LOGIN PASSWORD '{PASSWORD}'"),
            format!("CREATE DATABASE {name} OWNER {name}_app"),
        ] {
            server.sql_in("postgres", &sql);
        }
        let database = Self { server, name };
        database.psql(&format!(
            "SET ROLE {0}_app; CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'one'); \
             GRANT SELECT ON t TO {0}_look",
            database.name
        ));
        Some(database)
    }

    fn psql(&self, sql: &str) -> String {
        self.server.sql_in(&self.name, sql)
    }

    fn url(&self, role: &str) -> Secret {
        Secret::new(self.server.url_of(&format!("{}_{role}", self.name), PASSWORD, &self.name))
    }

    fn connection(&self) -> Connection {
        Connection::Postgres { url: self.url("app"), read_url: Some(self.url("look")), ca: None }
    }

    fn scene(&self, mode: Mode, grant: &str) -> Scene {
        Scene::new(mode, &[grant]).bind("db", self.connection())
    }
}

fn part(sql: &str) -> Part {
    Part { sql: sql.to_owned(), parameters: Vec::new() }
}

fn first(rows: &Rows) -> Value {
    serde_json::from_str(&rows.rows[0]).unwrap()
}

fn detail(failure: &Failure) -> Value {
    serde_json::from_str(failure.detail.as_deref().unwrap()).unwrap()
}

#[tokio::test]
async fn values_of_all_kinds_come_back_exactly() {
    let Some(database) = Database::new() else { return };
    let call = database.scene(Mode::Read, "postgres db: read").call();
    let sql = "SELECT true AS b, 1::int2 AS i2, -2::int4 AS i4, 9007199254740993 AS i8, 1.5::float4 AS f4, \
               'NaN'::float8 AS f8, 12345678901234567890.12300 AS n, -0.00012 AS small, 'x'::text AS t, \
               'ab'::char(4) AS c, 'q'::\"char\" AS one, 'nm'::name AS nm, '{\"a\": 12345678901234567890}'::json AS j, \
               '{\"b\": [1, null]}'::jsonb AS jb, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS u, \
               '\\x00ff'::bytea AS y, '1999-12-31'::date AS d, '02:03:04.5'::time AS tm, \
               '2026-01-16 02:00:00'::timestamp AS ts, '2026-01-16 02:00:00.25+02'::timestamptz AS tz, \
               'infinity'::timestamptz AS forever, ARRAY[[1,2],[3,NULL]] AS a, '{}'::text[] AS empty, \
               NULL::int AS nothing, 26::oid AS o, ARRAY['2026-01-16'::date] AS dates";
    let rows = query(&call, "db", sql, &[], 10).await.unwrap();
    assert!(rows.rows[0].contains("\"a\": 12345678901234567890"), "{}", rows.rows[0]);
    let mut row = first(&rows);
    row.as_object_mut().unwrap().remove("j");
    assert_eq!(
        row,
        json!({
            "b": true, "i2": 1, "i4": -2, "i8": 9_007_199_254_740_993_i64, "f4": 1.5, "f8": "NaN",
            "n": "12345678901234567890.12300", "small": "-0.00012", "t": "x", "c": "ab  ", "one": "q", "nm": "nm",
            "jb": {"b": [1, null]}, "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "y": "AP8=", "d": "1999-12-31",
            "tm": "02:03:04.5", "ts": "2026-01-16T02:00:00", "tz": "2026-01-16T00:00:00.25Z", "forever": "infinity",
            "a": [[1, 2], [3, null]], "empty": [], "nothing": null, "o": 26, "dates": ["2026-01-16"]
        })
    );
    assert_eq!(call.reads().succeeded, 1);
    assert!(!call.sent());

    let error = query(&call, "db", "SELECT 1 AS ok, '1 day'::interval AS wait", &[], 1).await.unwrap_err();
    assert_eq!(error.code, "unsupported-type");
    assert_eq!(
        error.message,
        "the column `wait` is of type `interval`, which has no JSON form here; cast it to text: `wait::text`"
    );
    let error = query(&call, "db", "SELECT 1 AS a, 2 AS a", &[], 1).await.unwrap_err();
    assert_eq!(error.message, "two columns are called `a`; give one of them another name with AS");
}

#[tokio::test]
async fn parameters_are_sent_apart_from_the_text() {
    let Some(database) = Database::new() else { return };
    database.psql("CREATE TYPE mood AS ENUM ('good', 'bad')");
    let call = database.scene(Mode::Read, "postgres db: read").call();
    let parameters = [
        Parameter::Null,
        Parameter::Boolean(true),
        Parameter::Integer(7),
        Parameter::Float(0.5),
        Parameter::Text("'; DROP TABLE t; --".to_owned()),
        Parameter::Json("{\"x\": [1]}".to_owned()),
        Parameter::Bytes(vec![1, 2]),
        Parameter::Text("good".to_owned()),
        Parameter::Text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".to_owned()),
    ];
    let sql = "SELECT $1::int AS a, $2 AS b, $3 AS c, $4 AS d, $5 AS e, $6->'x' AS f, $7 AS g, $8::text::mood AS h, \
               $9::uuid AS i";
    let rows = query(&call, "db", sql, &parameters, 1).await.unwrap();
    assert_eq!(
        first(&rows),
        json!({"a": null, "b": true, "c": 7, "d": 0.5, "e": "'; DROP TABLE t; --", "f": [1], "g": "AQI=",
               "h": "good", "i": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"})
    );
    let broken = [Parameter::Json("{".to_owned())];
    let error = query(&call, "db", "SELECT $1", &broken, 1).await.unwrap_err();
    assert_eq!(error.message, "parameter 1 is given as JSON and is none");
}

#[tokio::test]
async fn answers_are_limited_in_rows_and_bytes() {
    let Some(database) = Database::new() else { return };
    let call = database.scene(Mode::Read, "postgres db: read").call();
    let rows = query(&call, "db", "SELECT * FROM generate_series(1, 2000000) AS n", &[], 3).await.unwrap();
    assert_eq!((rows.rows.len(), rows.truncated), (3, true));
    let rows = query(&call, "db", "SELECT * FROM t", &[], 1).await.unwrap();
    assert_eq!((rows.rows.len(), rows.truncated), (1, false));
    let rows = query(&call, "db", "SELECT id, name FROM t WHERE id = $1", &[Parameter::Integer(5)], 1)
        .await
        .unwrap();
    assert_eq!((rows.columns, rows.rows.len()), (vec!["id".to_owned(), "name".to_owned()], 0));
    let error = query(&call, "db", "SELECT repeat('x', 5000000) AS x", &[], 1).await.unwrap_err();
    assert_eq!(error.code, "limit");
    assert_eq!(error.message, "the answer is longer than 4194304 bytes; ask for fewer rows or columns");
    assert!(call.take_limit().is_some());
}

#[tokio::test]
async fn a_plan_cannot_leave_its_read_only_transaction() {
    let Some(database) = Database::new() else { return };
    // Even the widest grant gives a call in read mode the role that can't write.
    let call = database.scene(Mode::Read, "postgres db: ddl").call();
    let attacks = [
        ("SET TRANSACTION READ WRITE", "denied"),
        ("COMMIT", "denied"),
        ("COMMIT; DELETE FROM t", "denied"),
        ("SELECT 1; COMMIT; DELETE FROM t", "denied"),
        ("END; DELETE FROM t", "denied"),
        ("ROLLBACK; DELETE FROM t", "denied"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "denied"),
        ("SET transaction_read_only = off", "denied"),
        ("DELETE FROM t", "denied"),
        ("WITH d AS (DELETE FROM t RETURNING 1) SELECT * FROM d", "denied"),
        ("EXPLAIN ANALYZE DELETE FROM t", "denied"),
        ("SELECT * INTO stolen FROM t", "denied"),
        ("SELECT * FROM t FOR UPDATE", "denied"),
        ("DO $$ BEGIN COMMIT; DELETE FROM t; END $$", "denied"),
        ("CALL p()", "denied"),
        ("COPY t TO PROGRAM 'id'", "denied"),
        ("CREATE DATABASE x", "denied"),
        ("SELECT pg_read_file('/etc/passwd')", "sql-error"),
        ("SELECT lo_import('/etc/passwd')", "sql-error"),
        ("SELECT f()", "sql-error"),
        ("SELECT set_config('transaction_read_only', 'off', true), f()", "sql-error"),
        (
            "SELECT set_config('role', session_user, true), query_to_xml('DELETE FROM t', true, true, '')",
            "sql-error",
        ),
    ];
    database.psql("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DELETE FROM t'");
    for (sql, code) in attacks {
        let error = query(&call, "db", sql, &[], 10).await.unwrap_err();
        assert_eq!(error.code, code, "{sql}: {}", error.message);
    }
    for sql in ["DELETE FROM t", "SELECT f()", "CREATE DATABASE x"] {
        assert_eq!(execute(&call, "db", sql, &[]).await.unwrap_err().code, "denied", "{sql}");
    }
    assert_eq!(script(&call, "db", &[part("SELECT 1")]).await.unwrap_err().code, "denied");
    assert_eq!(database.psql("SELECT count(*) FROM t"), "1");
    assert!(!call.sent());
    let log = database.server.log();
    let reached = format!("{}_app", database.name);
    assert!(!log.contains(&format!("{reached}@{}>LOG:  execute", database.name)));
}

#[tokio::test]
async fn a_reader_that_may_not_look_is_told_what_it_lacks() {
    let Some(database) = Database::new() else { return };
    database.psql("CREATE TABLE hidden (a int)");
    let call = database.scene(Mode::Read, "postgres db: read").call();
    let error = query(&call, "db", "SELECT * FROM hidden", &[], 1).await.unwrap_err();
    assert_eq!(
        error.message.replace(&database.name, "app"),
        "statement 1, line 1: permission denied for table hidden (hint: it was read as `app_look`, the role of \
         `read_url`: GRANT pg_read_all_data TO app_look lets it read all)"
    );
}

#[tokio::test]
async fn a_role_that_could_write_is_no_reader() {
    let Some(database) = Database::new() else { return };
    let name = &database.name;
    let look = format!("{name}_look");
    let before = "SELECT 1 AS one";
    let scene = database.scene(Mode::Read, "postgres db: read");
    query(&scene.call(), "db", before, &[], 1).await.unwrap();
    let cases = [
        ("ALTER ROLE {} SUPERUSER", "ALTER ROLE {} NOSUPERUSER", "it is a superuser"),
        ("ALTER ROLE {} CREATEROLE", "ALTER ROLE {} NOCREATEROLE", "it may make roles or databases"),
        ("ALTER ROLE {} BYPASSRLS", "ALTER ROLE {} NOBYPASSRLS", "bypass row security"),
        (
            "GRANT pg_read_server_files TO {}",
            "REVOKE pg_read_server_files FROM {}",
            "it is a member of pg_read_server_files",
        ),
        (
            "GRANT pg_signal_backend TO {}",
            "REVOKE pg_signal_backend FROM {}",
            "it is a member of pg_signal_backend",
        ),
        (
            "GRANT pg_write_all_data TO {}",
            "REVOKE pg_write_all_data FROM {}",
            "it is a member of pg_write_all_data",
        ),
        ("GRANT INSERT ON t TO {}", "REVOKE INSERT ON t FROM {}", "it may change the rows of public.t"),
        (
            "GRANT UPDATE (name) ON t TO {}",
            "REVOKE UPDATE (name) ON t FROM {}",
            "it may change the rows of public.t",
        ),
        ("GRANT TRUNCATE ON t TO {}", "REVOKE TRUNCATE ON t FROM {}", "it may change the rows of public.t"),
        (
            "GRANT INSERT ON t TO PUBLIC",
            "REVOKE INSERT ON t FROM PUBLIC",
            "it may change the rows of public.t",
        ),
        (
            "GRANT CREATE ON SCHEMA public TO {}",
            "REVOKE CREATE ON SCHEMA public FROM {}",
            "it may create tables in the schema public",
        ),
        (
            "CREATE SEQUENCE s; GRANT USAGE ON s TO {}",
            "DROP SEQUENCE s",
            "it may advance the sequence public.s",
        ),
        (
            "CREATE ROLE {}_w; GRANT INSERT ON t TO {}_w; ALTER ROLE {} NOINHERIT; GRANT {}_w TO {}",
            "REVOKE {}_w FROM {}; REVOKE INSERT ON t FROM {}_w",
            "_w it may change the rows of public.t",
        ),
        (
            "CREATE EXTENSION dblink",
            "DROP EXTENSION dblink",
            "it may open other connections by public.dblink",
        ),
    ];
    for (grant, revoke, finding) in cases {
        database.psql(&grant.replace("{}", &look));
        let call = scene.call();
        let error = query(&call, "db", before, &[], 1).await.unwrap_err();
        assert_eq!(error.code, "denied", "{grant}");
        assert!(error.message.contains(finding), "{grant}: {}", error.message);
        assert_eq!(call.reads().denied, 1);
        database.psql(&revoke.replace("{}", &look));
    }
    database.psql(&format!("GRANT CREATE ON DATABASE {name} TO {look}"));
    let error = query(&scene.call(), "db", before, &[], 1).await.unwrap_err();
    insta::assert_snapshot!(
        error.message.replace(name.as_str(), "app"),
        @"denied: plugin `database` in step `migrate` asked for postgres `the_db/app`: `read_url` wants a role that can't write, but of `app_look` was found: it may create schemas in the database app"
    );
    database.psql(&format!("REVOKE CREATE ON DATABASE {name} FROM {look}; GRANT pg_read_all_data TO {look}"));
    query(&scene.call(), "db", before, &[], 1).await.unwrap();
}

#[tokio::test]
async fn what_is_not_granted_is_denied_with_the_line_to_add() {
    let Some(database) = Database::new() else { return };
    let mut messages = Vec::new();
    let call = Scene::new(Mode::Write, &[]).bind("db", database.connection()).call();
    messages.push(query(&call, "db", "SELECT 1", &[], 1).await.unwrap_err());
    let call = Scene::new(Mode::Write, &["postgres db: write"]).call();
    messages.push(query(&call, "db", "SELECT 1", &[], 1).await.unwrap_err());
    let call = database.scene(Mode::Write, "postgres db: read").call();
    messages.push(execute(&call, "db", "DELETE FROM t", &[]).await.unwrap_err());
    let call = database.scene(Mode::Write, "postgres db: write").call();
    messages.push(script(&call, "db", &[part("SELECT 1;\nCREATE TABLE u ()")]).await.unwrap_err());
    messages.push(script(&call, "db", &[part("SELECT 1;\nCOMMIT")]).await.unwrap_err());
    messages.push(execute(&call, "db", "COPY t FROM PROGRAM 'id'", &[]).await.unwrap_err());
    let call = database.scene(Mode::Read, "postgres db: write").call();
    messages.push(execute(&call, "db", "DELETE FROM t", &[]).await.unwrap_err());
    let lonely = Connection::Postgres { url: database.url("app"), read_url: None, ca: None };
    let call = Scene::new(Mode::Read, &["postgres db: write"]).bind("db", lonely).call();
    messages.push(query(&call, "db", "SELECT 1", &[], 1).await.unwrap_err());
    assert!(messages.iter().all(|failure| failure.code == "denied"));
    let messages: Vec<_> = messages.into_iter().map(|failure| failure.message).collect();
    insta::assert_snapshot!(messages.join("\n"), @"
    denied: plugin `database` in step `migrate` asked for postgres `db`: no line grants it, or no database is bound to it; to allow it, grant `postgres db: read`
    denied: plugin `database` in step `migrate` asked for postgres `db`: no line grants it, or no database is bound to it; to allow it, grant `postgres db: read`
    denied: plugin `database` in step `migrate` asked for postgres `db`: `postgres db: read` is not enough for it; to allow it, grant `postgres db: write`
    denied: plugin `database` in step `migrate` asked for postgres `db`: `postgres db: write` is not enough for it; to allow it, grant `postgres db: ddl`
    denied: plugin `database` in step `migrate` asked for postgres `db`: the host begins and ends the transaction; a statement may not: COMMIT (statement 2, line 2)
    denied: plugin `database` in step `migrate` asked for postgres `db`: COPY to or from a file or program runs on the server's machine: COPY
    denied: plugin `database` in step `migrate` asked for postgres `db`: it would write, and this call may only read
    denied: plugin `database` in step `migrate` asked for postgres `db`: the connection `the_db` has no `read_url`, and what only reads connects as a role that can't write: make such a role, and add `read_url` under `[connections.the_db]`
    ");
}

#[tokio::test]
async fn writing_needs_write_mode_and_is_recorded() {
    let Some(database) = Database::new() else { return };
    let call = database.scene(Mode::Write, "postgres db: write").call();
    assert_eq!(
        first(&query(&call, "db", "SELECT count(*) AS n FROM t", &[], 1).await.unwrap()),
        json!({"n": 1})
    );
    assert!(!call.sent(), "a checked reader can't have had an effect");
    assert_eq!(
        execute(&call, "db", "UPDATE t SET name = $1", &[Parameter::Text("x".into())]).await.unwrap(),
        1
    );
    assert!(call.sent());
    let sql = "INSERT INTO t SELECT n, 'y' FROM generate_series(2, 9) AS n RETURNING id";
    let rows = query(&call, "db", sql, &[], 2).await.unwrap();
    assert_eq!(
        (rows.rows.as_slice(), rows.truncated),
        (["{\"id\":2}".to_owned(), "{\"id\":3}".to_owned()].as_slice(), true)
    );
    assert_eq!(database.psql("SELECT count(*) FROM t"), "9", "rows beyond the limit are written too");
    let audit = call.take_audit();
    assert_eq!(audit.len(), 3);
    assert_eq!(audit[1].target, format!("the_db/{}", database.name));
    assert!(audit[1].operation.starts_with("execute UPDATE sha256:"), "{}", audit[1].operation);
    assert_eq!(audit[1].rule.as_deref(), Some("postgres db: write"));
    assert!(!serde_json::to_string(&audit).unwrap().contains(PASSWORD));
}

#[tokio::test]
async fn without_a_reader_a_reading_statement_in_write_mode_counts_as_sent() {
    let Some(database) = Database::new() else { return };
    let lonely = Connection::Postgres { url: database.url("app"), read_url: None, ca: None };
    let call = Scene::new(Mode::Write, &["postgres db: write"]).bind("db", lonely).call();
    query(&call, "db", "SELECT 1 AS one", &[], 1).await.unwrap();
    assert!(call.sent());
    let error = query(&call, "db", "SELECT nextval('t_missing')", &[], 1).await.unwrap_err();
    assert_eq!(error.code, "sql-error");
}

#[tokio::test]
async fn a_script_is_all_or_nothing_and_says_where_it_broke() {
    let Some(database) = Database::new() else { return };
    let call = database.scene(Mode::Write, "postgres db: ddl").call();
    let good = part(
        "CREATE TABLE u (a int);\nINSERT INTO u VALUES (1), (2); -- two\nDO $$ BEGIN PERFORM 1; END $$;",
    );
    let with = Part { sql: "INSERT INTO u VALUES ($1)".to_owned(), parameters: vec![Parameter::Integer(3)] };
    assert_eq!(script(&call, "db", &[good, with]).await.unwrap(), [0, 2, 0, 1]);
    assert_eq!(database.psql("SELECT sum(a) FROM u"), "6");

    let bad = part(
        "CREATE TABLE v (a int);\n\nINSERT INTO v VALUES (1);\nCREATE TABLE w (\n  a int,\n  b itn\n);\n",
    );
    let error = script(&call, "db", &[bad]).await.unwrap_err();
    assert_eq!(
        detail(&error),
        json!({"sqlstate": "42704", "message": "type \"itn\" does not exist", "statement": 3, "line": 6})
    );
    assert_eq!(error.message, "statement 3, line 6: type \"itn\" does not exist");
    assert_eq!(database.psql("SELECT count(*) FROM pg_class WHERE relname IN ('v', 'w')"), "0");

    let hidden = part("SELECT 1; DO $$ BEGIN COMMIT; END $$");
    assert_eq!(detail(&script(&call, "db", &[hidden]).await.unwrap_err())["sqlstate"], "2D000");
    let error = script(&call, "db", &[part("INSERT INTO u VALUES (1);\n\\i other.sql\n")]).await.unwrap_err();
    insta::assert_snapshot!(error.message, @r"line 2 has a command for psql, `\i`, which only psql understands (hint: write it as SQL, or run the file with a granted psql)");
    let error = script(&call, "db", &[part("CREATE INDEX CONCURRENTLY i ON t (id)")]).await.unwrap_err();
    insta::assert_snapshot!(error.message, @"statement 1, line 1: CREATE: it can't run in a transaction, and the host runs all statements in one (hint: leave out CONCURRENTLY, or run it with a granted psql)");
    let error = script(&call, "db", &[part("VACUUM t")]).await.unwrap_err();
    insta::assert_snapshot!(error.message, @"statement 1, line 1: VACUUM: it can't run in a transaction, and the host runs all statements in one (hint: leave it to autovacuum, or run it with a granted psql)");
}

#[tokio::test]
async fn deferred_constraints_break_the_script_at_its_end() {
    let Some(database) = Database::new() else { return };
    let call = database.scene(Mode::Write, "postgres db: ddl").call();
    let sql =
        "CREATE TABLE c (p int REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED); INSERT INTO c VALUES (99)";
    let error = script(&call, "db", &[part(sql)]).await.unwrap_err();
    assert_eq!(detail(&error)["sqlstate"], "23503");
    assert_eq!(database.psql("SELECT count(*) FROM pg_class WHERE relname = 'c'"), "0");
}

#[tokio::test]
async fn databases_are_made_and_dropped_only_by_execute_under_ddl() {
    let Some(database) = Database::new() else { return };
    let name = format!("{}_scratch", database.name);
    let call = database.scene(Mode::Write, "postgres db: ddl").call();
    execute(&call, "db", &format!("CREATE DATABASE {name}"), &[]).await.unwrap();
    let error = script(&call, "db", &[part(&format!("DROP DATABASE {name}"))]).await.unwrap_err();
    insta::assert_snapshot!(error.message, @"statement 1, line 1: DROP DATABASE can't run in a transaction (hint: use `execute`, which runs it outside a transaction)");
    execute(&call, "db", &format!("DROP DATABASE {name}"), &[]).await.unwrap();
    let call = database.scene(Mode::Write, "postgres db: write").call();
    let error = execute(&call, "db", &format!("CREATE DATABASE {name}"), &[]).await.unwrap_err();
    assert_eq!(error.code, "denied");
}

#[tokio::test]
async fn nothing_of_a_session_reaches_the_next() {
    let Some(database) = Database::new() else { return };
    let call = database.scene(Mode::Write, "postgres db: ddl").call();
    execute(&call, "db", "CREATE TEMP TABLE secret_notes AS SELECT 1 AS a", &[]).await.unwrap();
    execute(&call, "db", "SET search_path = nowhere", &[]).await.unwrap();
    let error = query(&call, "db", "SELECT * FROM secret_notes", &[], 1).await.unwrap_err();
    assert_eq!(detail(&error)["sqlstate"], "42P01");
    let rows = query(&call, "db", "SHOW search_path", &[], 1).await.unwrap();
    assert_eq!(first(&rows), json!({"search_path": "\"$user\", public"}));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_the_password() {
    let Some(database) = Database::new() else { return };
    let with = |url: String| Connection::Postgres {
        url: Secret::new(url.clone()),
        read_url: Some(Secret::new(url)),
        ca: None,
    };
    for (url, expected) in [
        (
            format!("postgres://u:{PASSWORD}@127.0.0.1:1/d"),
            "can't connect to 127.0.0.1:1/d: Connection refused",
        ),
        (
            database.server.url_of(&format!("{}_look", database.name), "wrong-password", &database.name),
            "password authentication failed for user",
        ),
        (
            database.server.url_of(&format!("{}_look", database.name), PASSWORD, "absent"),
            "database \"absent\" does not exist",
        ),
        (format!("{}?sslmode=verify-full", database.url("look").expose()), "server does not support TLS"),
    ] {
        let call = Scene::new(Mode::Read, &["postgres db: read"]).bind("db", with(url)).call();
        let error = query(&call, "db", "SELECT 1", &[], 1).await.unwrap_err();
        assert_eq!(error.code, "connect-failed");
        assert!(error.message.contains(expected), "{}", error.message);
        assert!(!error.message.contains(PASSWORD) && !error.message.contains("wrong-password"));
        assert_eq!(call.reads().failed, 1);
        assert_eq!(call.reads().succeeded, 0);
    }
}

#[tokio::test]
async fn a_statement_ends_with_the_time_of_its_call() {
    let Some(database) = Database::new() else { return };
    let scene = database.scene(Mode::Write, "postgres db: write").within(Duration::from_millis(1500));
    let call = scene.call();
    let started = std::time::Instant::now();
    let error = execute(&call, "db", "SELECT pg_sleep(30)", &[]).await.unwrap_err();
    assert_eq!(error.code, "limit", "{}", error.message);
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(call.take_limit().is_some() && call.sent());
}

/// Makes a certificate and its key; none where there is no openssl. Without an issuer it is one itself.
fn certificate(folder: &Path, name: &str, issuer: Option<&str>) -> Option<()> {
    let file = |name: &str, kind: &str| folder.join(format!("{name}.{kind}"));
    let mut openssl = std::process::Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]);
    openssl.arg("-subj").arg(format!("/CN={name}"));
    openssl.arg("-keyout").arg(file(name, "key")).arg("-out").arg(file(name, "pem"));
    if let Some(issuer) = issuer {
        openssl.arg("-CA").arg(file(issuer, "pem")).arg("-CAkey").arg(file(issuer, "key"));
        openssl.args([
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ]);
    }
    let made = openssl.output().ok()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(())
}

#[tokio::test]
async fn a_server_is_verified_by_the_connections_certificates() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let Some(server) = Postgres::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let made = [("ours", None), ("other", None), ("server", Some("ours"))]
        .into_iter()
        .try_for_each(|(name, issuer)| certificate(folder.path(), name, issuer));
    if made.is_none() {
        return;
    }
    let ca = |name: &str| folder.path().join(format!("{name}.pem"));
    let data = PathBuf::from(server.sql("SHOW data_directory"));
    let owner = std::fs::metadata(&data).unwrap();
    for (from, name) in [("server.pem", "server.crt"), ("server.key", "server.key")] {
        std::fs::copy(folder.path().join(from), data.join(name)).unwrap();
        chown(data.join(name), Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    server.sql("ALTER SYSTEM SET ssl = on");
    server.sql("SELECT pg_reload_conf()");
    let ask = async |ca: Option<&Path>, suffix: &str| {
        let connection = Connection::Postgres {
            url: Secret::new(server.url()),
            read_url: Some(Secret::new(format!("{}{suffix}", server.read_url()))),
            ca: ca.map(Into::into),
        };
        let call = Scene::new(Mode::Read, &["postgres db: read"]).bind("db", connection).call();
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        query(&call, "db", sql, &[], 1).await.map(|rows| rows.rows.concat())
    };
    assert_eq!(ask(Some(&ca("ours")), "").await.unwrap(), "{\"ssl\":true}");
    assert_eq!(ask(None, "?sslmode=require").await.unwrap(), "{\"ssl\":true}");
    assert_eq!(ask(None, "?sslmode=disable").await.unwrap(), "{\"ssl\":false}");
    for (ca, suffix) in [(Some(ca("other")), ""), (None, "?sslmode=verify-full")] {
        let error = ask(ca.as_deref(), suffix).await.unwrap_err();
        assert_eq!(error.code, "connect-failed");
        assert!(error.message.contains("invalid peer certificate: UnknownIssuer"), "{}", error.message);
    }
}
