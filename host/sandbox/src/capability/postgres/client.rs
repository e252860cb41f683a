//! Speaks to one server for one host call: connects, runs statements, closes.
//!
//! It refuses to know of grants and slots; what may be sent was decided before. Invariants: a session serves one call
//! and is then closed, so that nothing of it (temporary tables, SET ROLE, prepared statements) reaches another; every
//! statement is sent alone, by the extended protocol; no error holds a password.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgArguments, PgColumn, PgDatabaseError, PgErrorPosition, PgRow};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Executor as _, PgConnection, Row as _,
    SqlSafeStr as _, Statement as _, TypeInfo as _, ValueRef as _,
};

use super::endpoint::Endpoint;
use super::values;

/// How long a server may take to let the host in.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the goodbye may take; the socket is closed in any case.
const CLOSE: Duration = Duration::from_secs(1);
/// What the statement timeout of the server is shorter than the host's, so that its message arrives.
const MARGIN: Duration = Duration::from_millis(250);

/// Why a database did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientError {
    /// The server was not reached, did not let the host in, or went away.
    #[error("{}", connection_text(*.lost, .endpoint, .reason))]
    Connection {
        /// Whether it was there before, so that it can't be told what the last statement did.
        lost: bool,
        /// Whether it can be there later without anybody changing anything.
        retryable: bool,
        /// Host, port and database.
        endpoint: String,
        reason: String,
    },
    /// The server refused a statement.
    #[error("{}", .0.message)]
    Sql(SqlError),
    /// The answer is longer than the host takes.
    #[error("the answer is longer than {0} bytes; ask for fewer rows or columns")]
    TooLong(u64),
    /// The time of the call is over.
    #[error("the database did not answer within the {} ms that were left", .0.as_millis())]
    TimedOut(Duration),
    /// A column that has no JSON form here.
    #[error(
        "the column `{column}` is of type `{kind}`, which has no JSON form here; cast it to text: `{column}::text`"
    )]
    UnsupportedType { column: String, kind: String },
    /// A row is an object, so each column needs a name of its own.
    #[error("two columns are called `{0}`; give one of them another name with AS")]
    ColumnTwice(String),
    /// The role of a read-only connection is not one.
    #[error("{0}")]
    NotReadOnly(String),
}

/// What the server said of a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SqlError {
    pub(crate) sqlstate: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// In the statement, from 1.
    pub(crate) line: Option<u32>,
}

/// The answer to a query.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<String>,
    /// Each a JSON object.
    pub(crate) rows: Vec<String>,
    pub(crate) truncated: bool,
    /// Bytes of all rows.
    pub(crate) bytes: u64,
}

/// How much of an answer is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) rows: usize,
    pub(crate) bytes: u64,
}

/// One connection, for one host call.
pub(crate) struct Session {
    connection: PgConnection,
    endpoint: String,
    until: Instant,
    read_only: bool,
    /// Whether rows are on their way that nobody takes.
    left: bool,
}

impl Session {
    /// Connects. Everything that the session does must be done by `until`.
    pub(crate) async fn open(endpoint: &Endpoint, until: Instant) -> Result<Self, ClientError> {
        let failed = |reason: String, retryable: bool| ClientError::Connection {
            lost: false,
            retryable,
            endpoint: endpoint.to_string(),
            reason,
        };
        let options = endpoint.options();
        let most = CONNECT.min(until.saturating_duration_since(Instant::now()));
        let connection = tokio::time::timeout(most, options.connect())
            .await
            .map_err(|_| failed(format!("no answer within {} ms", most.as_millis()), true))?
            .map_err(|error| failed(connect_reason(&error), may_pass(&error)))?;
        let mut session =
            Self { connection, endpoint: endpoint.to_string(), until, read_only: false, left: false };
        let statement =
            until.saturating_duration_since(Instant::now()).saturating_sub(MARGIN).as_millis().max(1);
        session
            .command(format!(
                "SET statement_timeout = {statement}; SET idle_in_transaction_session_timeout = {statement}; \
                 SET standard_conforming_strings = on"
            ))
            .await?;
        Ok(session)
    }

    /// Finds out whether the role could change anything, before anything else is done with it.
    pub(crate) async fn check_read_only(&mut self) -> Result<(), ClientError> {
        self.command("BEGIN READ ONLY; SET LOCAL search_path = pg_catalog".to_owned()).await?;
        let found =
            self.rows(include_str!("reader.sql"), PgArguments::default(), Room { rows: 3, bytes: 10_000 });
        let found = found.await?;
        self.command("ROLLBACK".to_owned()).await?;
        let findings: Vec<String> = found
            .rows
            .iter()
            .filter_map(|row| serde_json::from_str::<serde_json::Value>(row).ok())
            .filter_map(|row| Some(row.get("finding")?.as_str()?.to_owned()))
            .collect();
        // A row that can't be read is a finding too.
        if found.rows.is_empty() { Ok(()) } else { Err(ClientError::NotReadOnly(findings.join(", "))) }
    }

    pub(crate) async fn begin(&mut self, read_only: bool) -> Result<(), ClientError> {
        self.read_only = read_only;
        self.command(if read_only { "BEGIN READ ONLY" } else { "BEGIN READ WRITE" }.to_owned()).await
    }

    pub(crate) async fn commit(&mut self) -> Result<(), ClientError> {
        self.command("COMMIT".to_owned()).await
    }

    /// Ends a transaction whose effect is not wanted. Where rows were left, closing the connection does it.
    pub(crate) async fn rollback(&mut self) -> Result<(), ClientError> {
        if self.left {
            return Ok(());
        }
        self.command("ROLLBACK".to_owned()).await
    }

    /// Runs the host's own statements.
    async fn command(&mut self, sql: String) -> Result<(), ClientError> {
        let until = self.until;
        let done = within(until, sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection)).await?;
        done.map(|_| ()).map_err(|error| sql_error(&error, "", &self.endpoint))
    }

    /// Runs one statement; the number of rows it touched.
    pub(crate) async fn execute(&mut self, sql: &str, arguments: PgArguments) -> Result<u64, ClientError> {
        let until = self.until;
        let query = sqlx::query_with(AssertSqlSafe(sql.to_owned()), arguments);
        let done = within(until, query.execute(&mut self.connection)).await?;
        done.map(|result| result.rows_affected()).map_err(|error| sql_error(&error, sql, &self.endpoint))
    }

    /// Runs one statement and takes its rows. A statement that only looks is left as soon as there is no room; of any
    /// other the rest is read and dropped, since it is not done before its last row.
    pub(crate) async fn rows(
        &mut self,
        sql: &str,
        arguments: PgArguments,
        room: Room,
    ) -> Result<Rows, ClientError> {
        let until = self.until;
        let endpoint = self.endpoint.clone();
        let leave = self.read_only;
        let work = async {
            let mut answer = Rows::default();
            // A named statement, as is the driver's default: the unnamed one would be lost where the driver looks up types.
            let query = sqlx::query_with(AssertSqlSafe(sql.to_owned()), arguments);
            let mut rows = query.fetch(&mut self.connection);
            while let Some(row) = rows.try_next().await.map_err(|error| sql_error(&error, sql, &endpoint))? {
                if answer.columns.is_empty() {
                    answer.columns = names(row.columns())?;
                }
                if answer.rows.len() >= room.rows {
                    answer.truncated = true;
                    if leave {
                        break;
                    }
                    continue;
                }
                let row = object(&row)?;
                answer.bytes += row.len() as u64;
                if answer.bytes > room.bytes {
                    return Err(ClientError::TooLong(room.bytes));
                }
                answer.rows.push(row);
            }
            Ok(answer)
        };
        let answer = within(until, work).await??;
        self.left = answer.truncated && leave;
        Ok(answer)
    }

    /// The columns of a statement that gave no row to read them from. To be asked after the transaction, which an error
    /// here would break; where the server can't tell, there are none.
    pub(crate) async fn columns(&mut self, sql: &str) -> Vec<String> {
        let until = self.until;
        let asked =
            within(until, (&mut self.connection).prepare(AssertSqlSafe(sql.to_owned()).into_sql_str()));
        match asked.await {
            Ok(Ok(statement)) => names(statement.columns()).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Says goodbye, so that the server ends the session now and not when it notices.
    pub(crate) async fn close(self) {
        // A goodbye would wait for all the rows that were left.
        if self.left {
            return;
        }
        let closing = tokio::time::timeout(CLOSE, self.connection.close());
        // Whether or not it went well, the socket is closed.
        drop(closing.await);
    }
}

async fn within<T>(until: Instant, work: impl Future<Output = T>) -> Result<T, ClientError> {
    let left = until.saturating_duration_since(Instant::now());
    tokio::time::timeout(left, work).await.map_err(|_| ClientError::TimedOut(left))
}

fn names(columns: &[PgColumn]) -> Result<Vec<String>, ClientError> {
    let mut names = Vec::with_capacity(columns.len());
    for column in columns {
        let name = column.name().to_owned();
        if names.contains(&name) {
            return Err(ClientError::ColumnTwice(name));
        }
        names.push(name);
    }
    Ok(names)
}

/// The row as the text of one JSON object, its fields in the order of the columns.
fn object(row: &PgRow) -> Result<String, ClientError> {
    let mut text = String::from("{");
    for (at, column) in row.columns().iter().enumerate() {
        let unsupported = || ClientError::UnsupportedType {
            column: column.name().to_owned(),
            kind: column.type_info().name().to_lowercase(),
        };
        if at > 0 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(column.name()).to_string());
        text.push(':');
        let value = row.try_get_raw(at).map_err(|_| unsupported())?;
        if value.is_null() {
            text.push_str("null");
        } else {
            let bytes = value.as_bytes().map_err(|_| unsupported())?;
            text.push_str(&values::to_json(column.type_info(), bytes).map_err(|_| unsupported())?);
        }
    }
    text.push('}');
    Ok(text)
}

fn connection_text(lost: bool, endpoint: &str, reason: &str) -> String {
    if lost {
        format!(
            "the connection to {endpoint} broke, and what the server did of the last statement can't be told: {reason}"
        )
    } else {
        format!("can't connect to {endpoint}: {reason}")
    }
}

/// A server that is down, starting or full may not be so later; a wrong password stays wrong.
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() != std::io::ErrorKind::InvalidData,
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P03" | "53300")),
        _ => false,
    }
}

fn connect_reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Tls(error) => format!("TLS: {error}"),
        other => other.to_string(),
    }
}

fn sql_error(error: &sqlx::Error, sql: &str, endpoint: &str) -> ClientError {
    let sqlx::Error::Database(error) = error else {
        return ClientError::Connection {
            lost: true,
            retryable: false,
            endpoint: endpoint.to_owned(),
            reason: connect_reason(error),
        };
    };
    let Some(error) = error.try_downcast_ref::<PgDatabaseError>() else {
        return ClientError::Sql(SqlError { message: error.to_string(), ..SqlError::default() });
    };
    let line = match error.position() {
        Some(PgErrorPosition::Original(position)) => {
            let before = sql.chars().take(position.saturating_sub(1)).filter(|c| *c == '\n').count();
            u32::try_from(before + 1).ok()
        }
        _ => None,
    };
    let message = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.message()),
        None => error.message().to_owned(),
    };
    ClientError::Sql(SqlError {
        sqlstate: error.code().to_owned(),
        message,
        hint: error.hint().map(str::to_owned),
        line,
    })
}
