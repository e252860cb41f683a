//! The database behind a trait: the host, or a stand-in in tests.

use windlass_sdk::postgres::{Parameter, Part, Statement};
use windlass_sdk::{Failure, Value, serde_json};

/// The slot of the database.
pub(crate) const SLOT: &str = "db";

/// What answers statements.
pub(crate) trait Server {
    /// The rows of one reading statement, each a JSON text, their columns, and whether there were more.
    fn query(&self, sql: &str, parameters: &[Parameter], limit: u32) -> Result<Answer, Failure>;

    /// All parts in one transaction; the rows touched per statement.
    fn script(&self, parts: &[Part]) -> Result<Vec<u64>, Failure>;

    /// The statements of a text.
    fn split(&self, sql: &str) -> Result<Vec<Statement>, Failure>;

    /// The rows of one of the plugin's own statements, which are few.
    fn rows(&self, sql: &str, parameters: &[Parameter]) -> Result<Vec<Value>, Failure> {
        let answer = self.query(sql, parameters, 10_000)?;
        if answer.truncated {
            let message = "the catalog has more than 10000 rows for this question";
            return Err(Failure::new("too-many-rows", message));
        }
        answer.rows.iter().map(|row| parsed(row)).collect()
    }
}

/// The answer to a query.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<String>,
    pub(crate) truncated: bool,
}

/// The host.
pub(crate) struct Host;

#[cfg(target_arch = "wasm32")]
impl Server for Host {
    fn query(&self, sql: &str, parameters: &[Parameter], limit: u32) -> Result<Answer, Failure> {
        let rows = windlass_sdk::postgres::query(SLOT, sql, parameters, limit)?;
        Ok(Answer { columns: rows.columns, rows: rows.rows, truncated: rows.truncated })
    }

    fn script(&self, parts: &[Part]) -> Result<Vec<u64>, Failure> {
        windlass_sdk::postgres::script(SLOT, parts)
    }

    fn split(&self, sql: &str) -> Result<Vec<Statement>, Failure> {
        windlass_sdk::postgres::split(sql)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Server for Host {
    fn query(&self, _: &str, _: &[Parameter], _: u32) -> Result<Answer, Failure> {
        Err(no_host())
    }

    fn script(&self, _: &[Part]) -> Result<Vec<u64>, Failure> {
        Err(no_host())
    }

    fn split(&self, _: &str) -> Result<Vec<Statement>, Failure> {
        Err(no_host())
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn no_host() -> Failure {
    Failure::new("denied", format!("there is no host to reach `{SLOT}`"))
}

/// A row that the host handed over.
fn parsed(row: &str) -> Result<Value, Failure> {
    serde_json::from_str(row)
        .map_err(|error| Failure::new("bad-row", format!("a row of the catalog is no JSON: {error}")))
}

/// A text of a row; empty where it is null or something else.
pub(crate) fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Answer, Server};
    use std::cell::RefCell;
    use windlass_sdk::postgres::{Parameter, Part, Statement};
    use windlass_sdk::{Failure, Value};

    /// Answers a query by the first of its texts that is found in the statement, and remembers what was sent.
    #[derive(Default)]
    pub(crate) struct Fake {
        pub(crate) answers: Vec<(&'static str, Vec<Value>)>,
        pub(crate) script: Option<Failure>,
        pub(crate) queries: RefCell<Vec<String>>,
        pub(crate) scripts: RefCell<Vec<Vec<Part>>>,
    }

    impl Server for Fake {
        fn query(&self, sql: &str, _: &[Parameter], limit: u32) -> Result<Answer, Failure> {
            self.queries.borrow_mut().push(sql.to_owned());
            let (_, rows) = self
                .answers
                .iter()
                .find(|(part, _)| sql.contains(part))
                .ok_or_else(|| Failure::new("sql-error", format!("the test has no answer to {sql}")))?;
            let columns = rows.first().and_then(Value::as_object);
            Ok(Answer {
                columns: columns.into_iter().flat_map(|row| row.keys().cloned()).collect(),
                rows: rows.iter().take(limit as usize).map(ToString::to_string).collect(),
                truncated: rows.len() > limit as usize,
            })
        }

        fn script(&self, parts: &[Part]) -> Result<Vec<u64>, Failure> {
            self.scripts.borrow_mut().push(parts.to_vec());
            self.script.clone().map_or(Ok(Vec::new()), Err)
        }

        /// By the semicolon alone: enough for the texts of the tests.
        fn split(&self, sql: &str) -> Result<Vec<Statement>, Failure> {
            let mut line = 1;
            let mut statements = Vec::new();
            for piece in sql.split(';') {
                let start = piece.len() - piece.trim_start().len();
                let begins = line + piece[..start].matches('\n').count();
                line += piece.matches('\n').count();
                if !piece.trim().is_empty() {
                    statements.push(Statement {
                        sql: piece.trim().to_owned(),
                        line: u32::try_from(begins).unwrap(),
                    });
                }
            }
            Ok(statements)
        }
    }
}
