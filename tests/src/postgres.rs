//! A real PostgreSQL server of its own, in a temporary folder, that ends with its guard.
//!
//! Owns starting and stopping it, its two roles, and reading its statement log. As root it runs as the user
//! `postgres`, since the server refuses root. Invariant: every statement that any client sends is in the log.
#![allow(clippy::expect_used, clippy::panic, reason = "a rig that fails fails its test")]

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::random_hex;

/// The database that a new server has.
pub const DATABASE: &str = "app";
/// The role that owns it, and may create others.
pub const OWNER: &str = "owner";
/// A role that can read everything and write nothing.
pub const READER: &str = "windlass_read";

/// A running server.
pub struct Postgres {
    binaries: PathBuf,
    folder: TempDir,
    port: u16,
    password: String,
    owner_password: String,
    reader_password: String,
}

/// A statement as the server logged it, before it ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Who sent it.
    pub role: String,
    /// Where.
    pub database: String,
    /// The text.
    pub sql: String,
}

impl Postgres {
    /// Starts a server. None, with a line that says so, on a machine without PostgreSQL.
    #[must_use]
    pub fn start() -> Option<Self> {
        let Some(binaries) = binaries() else {
            crate::skip("no PostgreSQL server found: install postgresql-15, or set PG_BIN to its bin folder");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("windlass-pg-").tempdir().expect("a temporary folder");
        let password = random_hex();
        fs::write(folder.path().join("password"), &password).expect("writing the password file");
        if is_root() {
            done(Command::new("chown").args(["-R", "postgres:"]).arg(folder.path()));
            done(Command::new("chmod").arg("711").arg(folder.path()));
        }
        let (owner_password, reader_password) = (random_hex(), random_hex());
        let mut server =
            Self { binaries, folder, port: free_port(), password, owner_password, reader_password };
        server.initialise();
        // Another process can take the port between finding and using it.
        for attempt in 1.. {
            let started = server.control(&["start"]);
            if started.status.success() {
                break;
            }
            assert!(attempt < 4, "PostgreSQL does not start:\n{}", server.log());
            server.port = free_port();
        }
        server.prepare();
        Some(server)
    }

    /// The URL of the owner, with the password.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(OWNER, &self.owner_password, DATABASE)
    }

    /// The URL of the role that only reads, with the password.
    #[must_use]
    pub fn read_url(&self) -> String {
        self.url_of(READER, &self.reader_password, DATABASE)
    }

    /// The URL of the superuser, with the password.
    #[must_use]
    pub fn superuser_url(&self) -> String {
        self.url_of("postgres", &self.password, DATABASE)
    }

    /// The URL of any role in any database.
    #[must_use]
    pub fn url_of(&self, role: &str, password: &str, database: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// The owner's password.
    #[must_use]
    pub fn owner_password(&self) -> &str {
        &self.owner_password
    }

    /// The reading role's password.
    #[must_use]
    pub fn reader_password(&self) -> &str {
        &self.reader_password
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Runs SQL as the superuser and gives back what `psql` prints: a line per row, `|` between columns.
    pub fn sql(&self, sql: &str) -> String {
        self.sql_in(DATABASE, sql)
    }

    /// The same in another database.
    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        let mut psql = self.client("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
        String::from_utf8(done(&mut psql).stdout).expect("psql prints UTF-8").trim_end().to_owned()
    }

    /// A client program, such as `pg_restore`, that connects to this server as the superuser.
    #[must_use]
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string());
        command.env("PGUSER", "postgres").env("PGPASSWORD", &self.password);
        command
    }

    /// The path of a program that came with the server.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// The whole log of the server.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// What clients other than these rigs have sent so far.
    #[must_use]
    pub fn statements(&self) -> Vec<Statement> {
        let mut found: Vec<Statement> = Vec::new();
        let mut open = false;
        for line in self.log().lines() {
            if let (Some(continued), true) = (line.strip_prefix('\t'), open) {
                if let Some(last) = found.last_mut() {
                    last.sql.push('\n');
                    last.sql.push_str(continued);
                }
                continue;
            }
            let statement = statement(line);
            open = statement.is_some();
            found.extend(statement);
        }
        found.retain(|statement| statement.role != "postgres");
        found
    }

    fn initialise(&self) {
        let mut initdb = self.server_command("initdb");
        initdb.args([
            "--auth=scram-sha-256",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        initdb.arg("--pwfile").arg(self.folder.path().join("password")).arg("-D").arg(self.data());
        done(&mut initdb);
    }

    fn prepare(&self) {
        let (owner, reader) = (&self.owner_password, &self.reader_password);
        self.sql_in("postgres", &format!("CREATE ROLE {OWNER} LOGIN CREATEDB PASSWORD '{owner}'"));
        self.sql_in("postgres", &format!("CREATE ROLE {READER} LOGIN PASSWORD '{reader}'"));
        self.sql_in("postgres", &format!("GRANT pg_read_all_data TO {READER}"));
        self.sql_in("postgres", &format!("CREATE DATABASE {DATABASE} OWNER {OWNER}"));
    }

    fn control(&self, action: &[&str]) -> Output {
        let settings = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories='' -c fsync=off \
             -c log_statement=all -c 'log_line_prefix=%u@%d>'",
            self.port
        );
        let mut control = self.server_command("pg_ctl");
        control.args(action).arg("-w").arg("-D").arg(self.data()).arg("-l").arg(self.log_file());
        control.arg("-o").arg(settings);
        // The server inherits these; a pipe would then never end.
        control.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        control.output().expect("pg_ctl starts")
    }

    fn server_command(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        let mut command = if is_root() {
            let mut setpriv = Command::new("setpriv");
            setpriv.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
            setpriv
        } else {
            Command::new(program)
        };
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").current_dir("/");
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.control(&["stop", "-m", "fast"]));
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres")
            .field("port", &self.port)
            .field("folder", &self.folder.path())
            .finish_non_exhaustive()
    }
}

/// `owner@app>LOG:  statement: SELECT 1` or `…>LOG:  execute NAME: SELECT 1`.
fn statement(line: &str) -> Option<Statement> {
    let (who, message) = line.split_once(">LOG:  ")?;
    let (role, database) = who.split_once('@')?;
    let sql = match message.strip_prefix("statement: ") {
        Some(sql) => sql,
        None => message.strip_prefix("execute ")?.split_once(": ")?.1,
    };
    Some(Statement { role: role.to_owned(), database: database.to_owned(), sql: sql.to_owned() })
}

/// The folder of the server's programs: `PG_BIN`, or the newest that Debian installed, 15 first.
fn binaries() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("PG_BIN") {
        return Some(PathBuf::from(folder));
    }
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    found.sort_by_key(|folder| (folder == Path::new("/usr/lib/postgresql/15/bin"), folder.clone()));
    found.pop()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Runs a command that has to succeed.
fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", name(command)));
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} failed: {problem}", name(command));
    output
}

fn name(command: &Command) -> String {
    [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
