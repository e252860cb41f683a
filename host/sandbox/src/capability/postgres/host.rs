//! `windlass:plugin/postgres` for guests: decides, sends, and leaves the audit record.
//!
//! A reading call connects by `read_url`, as a role that is checked on each connection, and in a read-only transaction
//! that is rolled back. A call in write mode that only reads does the same where there is a `read_url`; where there is
//! none it reads by `url`, in a read-only transaction, and counts as sent, since a function may still have an effect
//! outside the database. Invariant: nothing is sent before the grant, the mode and the statement's class allowed it.

use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::client::{ClientError, Room, Rows, Session, SqlError};
use super::endpoint::Endpoint;
use super::lexer::{self, LexError, Statement};
use super::policy::{self, Class};
use super::values;
use crate::bindings::outcome::Failure;
use crate::bindings::postgres::{self, Parameter, Part};
use crate::capability::{denied, failure};
use crate::grant::PostgresAccess;
use crate::state::{Booking, CallContext, CallState, Mode};
use crate::{Connection, LimitHit, LimitKind};

/// Rows of one answer, whatever the guest asks for: more belongs into a file.
const MOST_ROWS: usize = 10_000;
/// Bytes of one answer; a guest has 64 MiB of memory for everything.
const MOST_BYTES: u64 = 4 * 1024 * 1024;
/// What the host keeps of the call's time, to say what happened before the call is cut off.
const MARGIN: Duration = Duration::from_millis(200);

impl postgres::Host for CallState {
    async fn query(
        &mut self,
        slot: String,
        sql: String,
        parameters: Vec<Parameter>,
        limit: u32,
    ) -> wasmtime::Result<Result<postgres::Rows, Failure>> {
        let rows = query(&self.call, &slot, &sql, &parameters, limit).await;
        Ok(rows.map(|Rows { columns, rows, truncated, .. }| postgres::Rows { columns, rows, truncated }))
    }

    async fn execute(
        &mut self,
        slot: String,
        sql: String,
        parameters: Vec<Parameter>,
    ) -> wasmtime::Result<Result<u64, Failure>> {
        Ok(execute(&self.call, &slot, &sql, &parameters).await)
    }

    async fn script(
        &mut self,
        slot: String,
        parts: Vec<Part>,
    ) -> wasmtime::Result<Result<Vec<u64>, Failure>> {
        Ok(script(&self.call, &slot, &parts).await)
    }

    async fn split(&mut self, sql: String) -> wasmtime::Result<Result<Vec<postgres::Statement>, Failure>> {
        let statements = lexer::split(&sql).map_err(|error| lexical(&error));
        Ok(statements.map(|statements| {
            let owned = |Statement { sql, line, .. }: Statement<'_>| postgres::Statement {
                sql: sql.to_owned(),
                line,
            };
            statements.into_iter().map(owned).collect()
        }))
    }
}

/// Runs one statement that returns rows.
pub(super) async fn query(
    call: &CallContext,
    slot: &str,
    sql: &str,
    parameters: &[Parameter],
    limit: u32,
) -> Result<Rows, Failure> {
    let request = Request::new(call, "query", slot);
    let statement = request.single(sql)?;
    let (need, alone) = request.need(&statement, None)?;
    let target = request.target(need)?;
    if alone {
        return Err(not_alone(&statement, 1, "use `execute`"));
    }
    let arguments = values::arguments(parameters).map_err(no_json)?;
    let booking = request.book(&target, &[&statement]);
    let room = Room { rows: MOST_ROWS.min(limit as usize), bytes: MOST_BYTES };
    let work = async {
        let mut session = target.open(request.until()).await?;
        let reads = need == PostgresAccess::Read;
        session.begin(reads).await?;
        if !reads || !target.checked {
            call.mark_sent();
        }
        let mut rows = session.rows(statement.sql, arguments, room).await?;
        if reads {
            session.rollback().await?;
        } else {
            session.commit().await?;
        }
        if rows.columns.is_empty() {
            rows.columns = session.columns(statement.sql).await;
        }
        session.close().await;
        Ok(rows)
    };
    let result = work.await;
    if need == PostgresAccess::Read {
        count(call, result.as_ref().err());
    }
    let bytes = result.as_ref().map_or(0, |rows| rows.bytes);
    request.finish(&target, booking, bytes, result.map_err(|error| Failed::at(error, 1, &statement)))
}

/// Runs one statement for its effect.
pub(super) async fn execute(
    call: &CallContext,
    slot: &str,
    sql: &str,
    parameters: &[Parameter],
) -> Result<u64, Failure> {
    let request = Request::new(call, "execute", slot);
    let statement = request.single(sql)?;
    let (need, alone) = request.need(&statement, None)?;
    let target = request.target(need.max(PostgresAccess::Write))?;
    let arguments = values::arguments(parameters).map_err(no_json)?;
    let booking = request.book(&target, &[&statement]);
    let work = async {
        let mut session = target.open(request.until()).await?;
        if !alone {
            session.begin(false).await?;
        }
        call.mark_sent();
        let touched = session.execute(statement.sql, arguments).await?;
        if !alone {
            session.commit().await?;
        }
        session.close().await;
        Ok(touched)
    };
    let result = work.await.map_err(|error| Failed::at(error, 1, &statement));
    request.finish(&target, booking, 0, result)
}

/// Runs all statements in one transaction.
pub(super) async fn script(call: &CallContext, slot: &str, parts: &[Part]) -> Result<Vec<u64>, Failure> {
    let request = Request::new(call, "script", slot);
    let mut statements = Vec::new();
    let mut need = PostgresAccess::Write;
    let mut alone = None;
    for part in parts {
        let found = lexer::split(&part.sql).map_err(|error| lexical(&error))?;
        if !part.parameters.is_empty() && found.len() != 1 {
            let message = format!("a part with parameters holds one statement, not {}", found.len());
            return Err(sql_failure(&syntax(message), None));
        }
        for statement in found {
            let number = statements.len() + 1;
            let (more, must_stand_alone) = request.need(&statement, Some(number))?;
            need = need.max(more);
            if must_stand_alone {
                alone.get_or_insert(number);
            }
            statements.push((statement, part.parameters.as_slice()));
        }
    }
    let target = request.target(need)?;
    if let Some((number, (statement, _))) =
        alone.and_then(|number| Some((number, statements.get(number - 1)?)))
    {
        return Err(not_alone(statement, number, "use `execute`, which runs it outside a transaction"));
    }
    let sent: Vec<&Statement<'_>> = statements.iter().map(|(statement, _)| statement).collect();
    let booking = request.book(&target, &sent);
    let work = async {
        let mut session = target.open(request.until()).await?;
        session.begin(false).await?;
        let mut touched = Vec::with_capacity(statements.len());
        for (statement, parameters) in &statements {
            let number = touched.len() + 1;
            let arguments = values::arguments(parameters).map_err(|number| Failed::Own(no_json(number)))?;
            call.mark_sent();
            let rows = session.execute(statement.sql, arguments).await;
            touched.push(rows.map_err(|error| Failed::at(error, number, statement))?);
        }
        session.commit().await?;
        session.close().await;
        Ok(touched)
    };
    let result = work.await;
    request.finish(&target, booking, 0, result)
}

/// One host call: who asks for what.
struct Request<'a> {
    call: &'a CallContext,
    operation: &'static str,
    slot: &'a str,
}

/// Where a request goes, once it was allowed.
struct Target {
    /// The connection as the operator calls it, and the database.
    name: String,
    endpoint: Endpoint,
    /// Whether the role is checked to be unable to write before anything is sent.
    checked: bool,
    /// The grant line that allowed it.
    rule: String,
}

impl Target {
    async fn open(&self, until: Instant) -> Result<Session, ClientError> {
        let mut session = Session::open(&self.endpoint, until).await?;
        if self.checked {
            session.check_read_only().await?;
        }
        Ok(session)
    }
}

impl<'a> Request<'a> {
    fn new(call: &'a CallContext, operation: &'static str, slot: &'a str) -> Self {
        Self { call, operation, slot }
    }

    fn until(&self) -> Instant {
        self.call.deadline.checked_sub(MARGIN).unwrap_or(self.call.deadline)
    }

    fn deny(&self, target: &str, reason: impl Into<String>, allow: Option<String>) -> Failure {
        denied(&self.call.deny("postgres", self.operation, target, reason, allow))
    }

    /// The one statement of the text.
    fn single<'s>(&self, sql: &'s str) -> Result<Statement<'s>, Failure> {
        let mut statements = lexer::split(sql).map_err(|error| lexical(&error))?;
        // The way out of the transaction is named even where it is only one of several statements.
        for statement in &statements {
            self.need(statement, None)?;
        }
        match (statements.pop(), statements.len()) {
            (Some(statement), 0) => Ok(statement),
            (None, _) => Err(sql_failure(&syntax("the text has no statement"), None)),
            (Some(_), others) => {
                let message =
                    format!("`{}` runs one statement, and the text has {}", self.operation, others + 1);
                Err(sql_failure(&syntax(message), None))
            }
        }
    }

    /// What the statement needs, where it may be sent at all, and whether it has to stand outside a transaction.
    fn need(
        &self,
        statement: &Statement<'_>,
        number: Option<usize>,
    ) -> Result<(PostgresAccess, bool), Failure> {
        match policy::classify(statement) {
            Class::Denied(reason) => {
                let keyword = policy::keyword(statement);
                let place = number.map(|number| format!(" (statement {number}, line {})", statement.line));
                let reason = format!("{reason}: {keyword}{}", place.unwrap_or_default());
                Err(self.deny(self.slot, reason, None))
            }
            Class::Impossible { reason, hint, sqlstate } => {
                let error = SqlError {
                    sqlstate: sqlstate.to_owned(),
                    message: format!("{}: {reason}", policy::keyword(statement)),
                    hint: Some(hint.to_owned()),
                    line: Some(1),
                };
                Err(sql_failure(&error, Some((number.unwrap_or(1), statement.line))))
            }
            Class::Needs(need) => Ok((need, false)),
            Class::Database => Ok((PostgresAccess::Ddl, true)),
        }
    }

    /// The connection to use, where mode and grant allow what is needed.
    fn target(&self, need: PostgresAccess) -> Result<Target, Failure> {
        let (call, slot) = (self.call, self.slot);
        let line = |access: PostgresAccess| format!("postgres {slot}: {}", access.as_str());
        let bound = call.bound(slot);
        let found = call.grants().postgres(slot).zip(bound.map(|bound| (&bound.name, &bound.connection)));
        // A slot that nothing is bound to and one that no line names look alike to the guest.
        let Some((granted, (name, Connection::Postgres { url, read_url, ca }))) = found else {
            return Err(self.deny(
                slot,
                "no line grants it, or no database is bound to it",
                Some(line(need)),
            ));
        };
        if need > PostgresAccess::Read && call.mode == Mode::Read {
            return Err(self.deny(slot, "it would write, and this call may only read", None));
        }
        if need > granted {
            let reason = format!("`{}` is not enough for it", line(granted));
            return Err(self.deny(slot, reason, Some(line(need))));
        }
        let reads = call.mode == Mode::Read || granted == PostgresAccess::Read;
        if reads && read_url.is_none() {
            let reason = format!(
                "the connection `{name}` has no `read_url`, and what only reads connects as a role that can't write: \
                 make such a role, and add `read_url` under `[connections.{name}]`"
            );
            return Err(self.deny(slot, reason, None));
        }
        let reader = read_url.as_ref().filter(|_| need == PostgresAccess::Read);
        let endpoint = Endpoint::parse(reader.unwrap_or(url), ca.clone())
            .map_err(|error| failure("connect-failed", format!("connection `{name}`: {error}")))?;
        let name = format!("{name}/{}", endpoint.database);
        Ok(Target { name, checked: reader.is_some(), endpoint, rule: line(granted) })
    }

    /// Opens the audit record: the statements by their first keyword and their hash, never by their text.
    fn book(&self, target: &Target, statements: &[&Statement<'_>]) -> Booking<'a> {
        let mut hash = Sha256::new();
        let mut bytes_out = 0;
        for statement in statements {
            hash.update(statement.sql);
            hash.update(";");
            bytes_out += statement.sql.len() as u64;
        }
        let keyword = statements.first().map(|statement| policy::keyword(statement)).unwrap_or_default();
        let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let operation = format!("{} {keyword} sha256:{digest}", self.operation);
        Booking::open(self.call, ("postgres", operation), target.name.clone(), target.rule.clone(), bytes_out)
    }

    /// Leaves the audit record and turns what went wrong into what the guest is told.
    fn finish<T>(
        &self,
        target: &Target,
        booking: Booking<'_>,
        bytes_in: u64,
        result: Result<T, Failed>,
    ) -> Result<T, Failure> {
        if let Err(Failed::Client { error: ClientError::NotReadOnly(reason), .. }) = &result {
            booking.denied();
            let user = &target.endpoint.user;
            return Err(self.deny(
                &target.name,
                format!("`read_url` wants a role that can't write, but of `{user}` was found: {reason}"),
                None,
            ));
        }
        booking.close(bytes_in);
        result.map_err(|failed| match failed {
            Failed::Own(failure) => failure,
            Failed::Client { error, place } => self.client_failure(target, error, place),
        })
    }

    fn client_failure(&self, target: &Target, error: ClientError, place: Option<(usize, u32)>) -> Failure {
        let message = error.to_string();
        match error {
            // The server's own timeout is set to what the call has left.
            ClientError::Sql(error)
                if error.sqlstate == "57014" && Instant::now() + MARGIN * 2 >= self.until() =>
            {
                self.call.limit(self.call.deadline_hit());
                failure("limit", message)
            }
            ClientError::Sql(mut error) => {
                let unread = ["table", "view", "schema", "sequence"]
                    .iter()
                    .any(|kind| error.message.starts_with(&format!("permission denied for {kind} ")));
                if target.checked && unread {
                    let user = &target.endpoint.user;
                    error.hint = Some(format!(
                        "it was read as `{user}`, the role of `read_url`: GRANT pg_read_all_data TO {user} lets it read all"
                    ));
                }
                sql_failure(&error, place)
            }
            ClientError::Connection { retryable, .. } => {
                Failure { retryable, ..failure("connect-failed", message) }
            }
            ClientError::TooLong(limit) => {
                self.call.limit(LimitHit::new(LimitKind::Rows, limit));
                failure("limit", message)
            }
            ClientError::TimedOut(_) => {
                self.call.limit(self.call.deadline_hit());
                failure("limit", message)
            }
            ClientError::UnsupportedType { .. } => failure("unsupported-type", message),
            ClientError::ColumnTwice(_) => sql_failure(&syntax(message), None),
            ClientError::NotReadOnly(_) => failure("denied", message),
        }
    }
}

/// What ended a request, with the statement's number and line where it is about one.
enum Failed {
    Client {
        error: ClientError,
        place: Option<(usize, u32)>,
    },
    /// Found before anything was sent.
    Own(Failure),
}

impl Failed {
    fn at(error: ClientError, number: usize, statement: &Statement<'_>) -> Self {
        Self::Client { error, place: Some((number, statement.line)) }
    }
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self::Client { error, place: None }
    }
}

/// A refusal by the server is an answer, as a 404 is; a server that is gone or out of resources gives none.
fn count(call: &CallContext, error: Option<&ClientError>) {
    match error {
        None => call.read_succeeded(),
        Some(ClientError::Sql(error))
            if !matches!(error.sqlstate.get(..2), Some("08" | "53" | "57" | "58")) =>
        {
            call.read_succeeded();
        }
        // A denial is counted where it is made.
        Some(ClientError::NotReadOnly(_)) => {}
        Some(_) => call.read_failed(),
    }
}

fn syntax(message: impl Into<String>) -> SqlError {
    SqlError { sqlstate: "42601".to_owned(), message: message.into(), hint: None, line: None }
}

fn lexical(error: &LexError) -> Failure {
    let mut error_of = syntax(error.to_string());
    error_of.line = Some(error.line());
    error_of.hint = error.hint().map(str::to_owned);
    sql_failure(&error_of, None)
}

fn not_alone(statement: &Statement<'_>, number: usize, hint: &str) -> Failure {
    let mut error = syntax(format!("{} DATABASE can't run in a transaction", policy::keyword(statement)));
    error.sqlstate = "25001".to_owned();
    error.hint = Some(hint.to_owned());
    sql_failure(&error, Some((number, statement.line)))
}

fn no_json(number: usize) -> Failure {
    sql_failure(&syntax(format!("parameter {number} is given as JSON and is none")), None)
}

/// The failure for an error of SQL. `place` is the number of the statement and the line it begins on in its text.
fn sql_failure(error: &SqlError, place: Option<(usize, u32)>) -> Failure {
    let mut detail = serde_json::Map::new();
    detail.insert("sqlstate".to_owned(), json!(error.sqlstate));
    detail.insert("message".to_owned(), json!(error.message));
    let mut message = error.message.clone();
    let line = match (place, error.line) {
        (Some((_, begins)), line) => Some(begins + line.unwrap_or(1) - 1),
        (None, line) => line,
    };
    if let Some((number, _)) = place {
        detail.insert("statement".to_owned(), json!(number));
        message = format!("statement {number}, line {}: {message}", line.unwrap_or(1));
    }
    if let Some(line) = line {
        detail.insert("line".to_owned(), json!(line));
    }
    if let Some(hint) = &error.hint {
        detail.insert("hint".to_owned(), json!(hint));
        message = format!("{message} (hint: {hint})");
    }
    Failure {
        detail: Some(serde_json::Value::Object(detail).to_string()),
        // Serialisation failures and deadlocks are for trying again.
        retryable: matches!(error.sqlstate.as_str(), "40001" | "40P01"),
        ..failure("sql-error", message)
    }
}
