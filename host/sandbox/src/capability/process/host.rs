//! `windlass:plugin/process` for guests: decides, prepares what the program gets, runs it, and leaves the audit record.
//!
//! A program has an empty environment but for a few fixed variables and what its connection gives, a home of its own that
//! is gone after, and no file of the host. Invariants: a call in read mode runs only what a `read program` line allows,
//! and gives it no connection that can write; the password of a database is in a file in that home alone; a secret that
//! the program itself was given is taken out of what it prints.

use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::child::{self, Ended, Gate, Order, Source, StartError};
use super::launcher::{Orders, ProcessLimits};
use super::libpq;
use super::policy::{self, Allowed, Program, Refusal};
use crate::bindings::outcome::Failure;
use crate::bindings::process::{self, Command, Exit};
use crate::capability::postgres::client::{ClientError, Session};
use crate::capability::postgres::endpoint::Endpoint;
use crate::capability::{denied, failure};
use crate::grant::Effect;
use crate::state::{Booking, CallContext, CallState};
use crate::{Connection, EnvValue, LimitHit, LimitKind, LogLevel, ProcessIdentity, Secret};

/// What the host keeps of the call's time to end a program in order and say so.
const MARGIN: Duration = Duration::from_secs(3);
/// Bytes of memory of a program. It is to stop a runaway, not to be tight.
const MEMORY: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes of a file that a program writes, as a dump may be.
const FILE: u64 = 256 * 1024 * 1024 * 1024;
/// Files a program holds open.
const FILES: u64 = 1024;
/// Processor seconds per second of the time it has: it may use four processors fully.
const PROCESSORS: u64 = 4;
/// Signals that end a program which passed a limit: processor time, size of a file.
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;
/// Shorter secrets are found in any output by chance.
const SHORTEST_SECRET: usize = 4;

impl process::Host for CallState {
    async fn run(&mut self, command: Command) -> wasmtime::Result<Result<Exit, Failure>> {
        let call = self.call.clone();
        Ok(run(&call, command).await)
    }
}

/// Runs a granted program to its end.
pub(super) async fn run(call: &CallContext, command: Command) -> Result<Exit, Failure> {
    let line = shown(&command);
    let deny = |Refusal { reason, allow }| denied(&call.deny("program", "run", &line, reason, allow));
    let allowed = policy::decide(call, &command.slot, &command.arguments).map_err(deny)?;
    let reads = allowed.effect == Effect::Read;
    let booking = Booking::open(
        call,
        ("program", "run".to_owned()),
        format!("{} ({})", allowed.name, allowed.program.path.display()),
        allowed.rule.clone(),
        command.stdin.as_ref().map_or(0, |bytes| bytes.len() as u64),
    );
    let result = prepared(call, &allowed, &command, deny).await;
    let denied = result.as_ref().is_err_and(|failure| failure.code == "denied");
    if reads {
        match &result {
            Ok(_) => call.read_succeeded(),
            // A denial is counted where it is made.
            Err(_) if denied => {}
            Err(_) => call.read_failed(),
        }
    }
    if denied {
        booking.denied();
    } else {
        booking.close(result.as_ref().map_or(0, |exit| (exit.stdout.len() + exit.stderr.len()) as u64));
    }
    result
}

async fn prepared(
    call: &CallContext,
    allowed: &Allowed<'_>,
    command: &Command,
    deny: impl Fn(Refusal) -> Failure,
) -> Result<Exit, Failure> {
    let program = allowed.program;
    check_file(&program, allowed.name).await?;
    let home = home().map_err(|error| failure("spawn-failed", format!("a home for the program: {error}")))?;
    let mut outfit = Outfit::new(home.path(), program.environment);
    if let Some(connection) = program.postgres {
        let databases = libpq::databases(&command.arguments).map_err(|reason| {
            deny(Refusal { reason: format!("{reason}; its connection says where it connects"), allow: None })
        })?;
        let endpoint = endpoint(call, connection, allowed, &deny).await?;
        outfit
            .add_database(home.path(), &endpoint, &databases)
            .map_err(|error| failure("spawn-failed", format!("the password file: {error}")))?;
    }
    let now = Instant::now();
    let left = call.time_left();
    let time = left.saturating_sub(MARGIN).max(left / 2);
    let order = Order {
        launcher: &call.launcher,
        orders: Orders {
            limits: ProcessLimits {
                cpu: time.as_secs().saturating_add(1).saturating_mul(PROCESSORS),
                memory: MEMORY,
                file: FILE,
                files: FILES,
            },
            directory: program.directory.unwrap_or(home.path()).to_owned(),
            program: program.path.to_owned(),
            arguments: allowed.arguments.clone(),
        },
        environment: outfit.environment,
        stdin: command.stdin.clone().unwrap_or_default(),
        until: now + time,
    };
    let watch = Watch { call, allowed, secrets: &outfit.secrets };
    let cpu = order.orders.limits.cpu;
    let ended = child::run(order, &watch).await.map_err(|error| start_failure(allowed, &error))?;
    exit(call, allowed, &ended, &outfit.secrets, now.elapsed(), cpu)
}

/// The file is there, is what it is pinned to, and is named by an absolute path.
async fn check_file(program: &Program<'_>, name: &str) -> Result<(), Failure> {
    let path = program.path;
    let shown = path.display();
    if !path.is_absolute() {
        return Err(failure("spawn-failed", format!("program `{name}`: {shown} is not an absolute path")));
    }
    match tokio::fs::metadata(path).await {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(failure("not-found", format!("program `{name}`: {shown} is no file"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(failure("not-found", format!("program `{name}`: {shown} is not there")));
        }
        Err(error) => return Err(failure("not-found", format!("program `{name}`: {shown}: {error}"))),
    }
    let Some(pinned) = program.digest else { return Ok(()) };
    let content = tokio::fs::read(path)
        .await
        .map_err(|error| failure("spawn-failed", format!("program `{name}`: {shown}: {error}")))?;
    let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    if digest == pinned.trim_start_matches("sha256:") {
        return Ok(());
    }
    let message = format!("program `{name}`: {shown} is not the pinned one; its SHA-256 is {digest}");
    Err(failure("spawn-failed", message))
}

/// The database that the program gets: in what only reads, as a role that was seen to be unable to write.
async fn endpoint(
    call: &CallContext,
    connection: &Connection,
    allowed: &Allowed<'_>,
    deny: &impl Fn(Refusal) -> Failure,
) -> Result<Endpoint, Failure> {
    let name = allowed.name;
    let refuse = |reason: String| deny(Refusal { reason, allow: None });
    let Connection::Postgres { url, read_url, ca } = connection else {
        return Err(failure(
            "spawn-failed",
            format!("program `{name}`: `postgres` names no Postgres connection"),
        ));
    };
    let reads = allowed.effect == Effect::Read;
    let url = match (reads, read_url) {
        (false, _) => url,
        (true, Some(read_url)) => read_url,
        (true, None) => {
            return Err(refuse(format!(
                "the database of `{name}` has no `read_url`, and what only reads connects as a role that can't write: \
                 make such a role, and add `read_url` to that connection"
            )));
        }
    };
    let connect = |reason: String| failure("spawn-failed", format!("program `{name}`: {reason}"));
    let endpoint = Endpoint::parse(url, ca.clone()).map_err(|error| connect(error.to_string()))?;
    if reads {
        let until = Instant::now() + call.time_left() / 2;
        let checked = async {
            let mut session = Session::open(&endpoint, until).await?;
            session.check_read_only().await?;
            session.close().await;
            Ok::<_, ClientError>(())
        };
        checked.await.map_err(|error| match error {
            ClientError::NotReadOnly(reason) => refuse(format!(
                "`read_url` wants a role that can't write, but of `{}` was found: {reason}",
                endpoint.user
            )),
            error => connect(error.to_string()),
        })?;
    }
    Ok(endpoint)
}

/// A folder that only this account can see, and that is gone when this call is.
fn home() -> std::io::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("windlass-home-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
}

/// The environment of a program, and which values in it are secret.
struct Outfit {
    environment: Vec<(String, Zeroizing<String>)>,
    secrets: Vec<Secret>,
}

impl Outfit {
    fn new(home: &Path, given: &[(String, EnvValue)]) -> Self {
        let home = home.display().to_string();
        let mut outfit = Self { environment: Vec::new(), secrets: Vec::new() };
        for (name, value) in [
            ("HOME", home.as_str()),
            ("TMPDIR", &home),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("LANG", "C.UTF-8"),
            ("TZ", "UTC"),
        ] {
            outfit.set(name, value);
        }
        for (name, value) in given {
            match value {
                EnvValue::Plain(text) => outfit.set(name, text),
                EnvValue::Secret(secret) => {
                    outfit.set(name, secret.expose());
                    outfit.secrets.push(secret.clone());
                }
            }
        }
        outfit
    }

    /// The last word on a variable counts.
    fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), Zeroizing::new(value.to_owned())));
    }

    fn add_database(
        &mut self,
        home: &Path,
        endpoint: &Endpoint,
        databases: &[String],
    ) -> std::io::Result<()> {
        let file = home.join("pgpass");
        let mut options = std::fs::OpenOptions::new();
        let mut open = options.write(true).create_new(true).mode(0o600).open(&file)?;
        std::io::Write::write_all(&mut open, libpq::passfile(endpoint, databases).as_bytes())?;
        for (name, value) in libpq::environment(endpoint, home, &file) {
            self.set(&name, &value);
        }
        // Would be taken instead of the file.
        self.environment
            .retain(|(name, _)| !matches!(name.as_str(), "PGPASSWORD" | "PGSERVICE" | "PGHOSTADDR"));
        self.secrets.push(endpoint.password.clone());
        Ok(())
    }
}

/// What the call learns while the program runs.
struct Watch<'a> {
    call: &'a CallContext,
    allowed: &'a Allowed<'a>,
    secrets: &'a [Secret],
}

impl Gate for Watch<'_> {
    async fn started(&self, process: ProcessIdentity) -> Result<(), String> {
        self.call.services.process_started(process).await.map_err(|error| error.message)?;
        if self.allowed.effect == Effect::Write {
            self.call.mark_sent();
        }
        Ok(())
    }

    fn line(&self, source: Source, line: &[u8]) {
        let text = redacted(line, self.secrets);
        let source = match source {
            Source::Stdout => "stdout",
            Source::Stderr => "stderr",
        };
        let fields =
            vec![("program".to_owned(), self.allowed.name.into()), ("source".to_owned(), source.into())];
        self.call.log(LogLevel::Info, &String::from_utf8_lossy(&text), fields);
    }
}

fn exit(
    call: &CallContext,
    allowed: &Allowed<'_>,
    ended: &Ended,
    secrets: &[Secret],
    elapsed: Duration,
    cpu: u64,
) -> Result<Exit, Failure> {
    let name = allowed.name;
    if ended.timed_out {
        let message = format!("program `{name}` did not end within {} ms and was ended", millis(elapsed));
        return Err(failure("timeout", message));
    }
    let (code, signal) = child::code_and_signal(ended.status);
    match signal {
        Some(SIGXCPU) => {
            call.limit(LimitHit::new(LimitKind::ProcessorTime, cpu));
            return Err(failure(
                "limit",
                format!("program `{name}` used more than {cpu} s of processor time"),
            ));
        }
        Some(SIGXFSZ) => {
            return Err(failure("limit", format!("program `{name}` wrote a file of more than {FILE} bytes")));
        }
        _ => {}
    }
    Ok(Exit {
        code,
        signal,
        truncated: ended.stdout.truncated() || ended.stderr.truncated(),
        stdout: redacted(&ended.stdout.bytes, secrets),
        stderr: redacted(&ended.stderr.bytes, secrets),
        elapsed: millis(elapsed),
    })
}

fn start_failure(allowed: &Allowed<'_>, error: &StartError) -> Failure {
    let code = if matches!(error, StartError::TimedOut) { "timeout" } else { "spawn-failed" };
    failure(code, format!("program `{}`: {error}", allowed.name))
}

/// The bytes without the secrets that the program was given.
fn redacted(bytes: &[u8], secrets: &[Secret]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for secret in secrets.iter().map(|secret| secret.expose().as_bytes()) {
        if secret.len() < SHORTEST_SECRET {
            continue;
        }
        let mut clean = Vec::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        while let Some(at) = rest.windows(secret.len()).position(|window| window == secret) {
            let (before, found) = rest.split_at(at);
            clean.extend_from_slice(before);
            clean.extend_from_slice(b"***");
            rest = found.get(secret.len()..).unwrap_or_default();
        }
        clean.extend_from_slice(rest);
        bytes = clean;
    }
    bytes
}

/// The command line for a denial, short enough to read.
fn shown(command: &Command) -> String {
    let mut line = command.slot.clone();
    for argument in &command.arguments {
        line.push(' ');
        line.push_str(argument);
    }
    crate::text::cut(crate::text::plain(&line), 300)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_of_output() {
        let secrets = [Secret::new("hunter2".to_owned()), Secret::new("xy".to_owned())];
        assert_eq!(redacted(b"a hunter2hunter2 xy", &secrets), b"a ****** xy");
        assert_eq!(redacted(b"", &secrets), b"");
    }
}
