//! A file of SQL in the folder of migrations: its text, its statements, its hash, and failures that say where in it.

use crate::server::Server;
use crate::summary;
use windlass_sdk::fs::{Folders, Path};
use windlass_sdk::postgres::Statement;
use windlass_sdk::{Failure, Value, digest, json};

/// The slot of the folder.
const SLOT: &str = "migrations";
/// The longest file that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// A file, read and split.
#[derive(Debug)]
pub(crate) struct File {
    /// As the step names it.
    pub(crate) file: String,
    pub(crate) text: String,
    pub(crate) checksum: String,
    pub(crate) statements: Vec<Statement>,
}

impl File {
    /// Reads a file that can run in one transaction.
    pub(crate) fn read(server: &impl Server, folders: &dyn Folders, file: &str) -> Result<Self, Failure> {
        let path = Path::new(SLOT, file)?;
        let bytes = folders.read(&path, LIMIT)?;
        let checksum = digest::sha256(&bytes);
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = lines(error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default());
            Failure::new("not-text", format!("{file}:{line}: this is no UTF-8 text"))
        })?;
        // The server takes the mark that some editors put first for a syntax error.
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let statements = server.split(&text).map_err(|failure| within(failure, file, 0))?;
        if statements.is_empty() {
            return Err(Failure::new("empty-migration", format!("{file} has no statement")));
        }
        for statement in &statements {
            if let Some(word) = summary::transaction_control(&statement.sql) {
                let message = format!(
                    "{file}:{}: {word} can't stand in a migration: the whole file runs in one transaction",
                    statement.line
                );
                return Err(Failure::new("transaction-control", message)
                    .with_detail(&json!({ "file": file, "line": statement.line })));
            }
        }
        Ok(Self { file: file.to_owned(), text, checksum, statements })
    }

    /// A failure of a script that holds the file's statements after `before` others, said in terms of the file.
    pub(crate) fn failure(&self, failure: Failure, before: u64) -> Failure {
        within(failure, &self.file, before)
    }
}

/// Which line the end of these bytes is on.
fn lines(bytes: &[u8]) -> usize {
    1 + bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// Puts file and line in front of an error of SQL; any other failure is passed on.
fn within(failure: Failure, file: &str, before: u64) -> Failure {
    if failure.code != "sql-error" {
        return failure;
    }
    let mut detail = failure.detail_json();
    let statement = detail.get("statement").and_then(Value::as_u64);
    if statement.is_some_and(|statement| statement <= before) {
        return failure;
    }
    let message = detail.get("message").and_then(Value::as_str).unwrap_or(&failure.message).to_owned();
    let line = detail.get("line").and_then(Value::as_u64);
    let hint = detail.get("hint").and_then(Value::as_str);
    let place = line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"));
    let hint = hint.map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
    let message = format!("{place}: {message}{hint}");
    if let Some(fields) = detail.as_object_mut() {
        fields.insert("file".to_owned(), json!(file));
        if let Some(statement) = statement {
            fields.insert("statement".to_owned(), json!(statement - before));
        }
    }
    Failure { message, ..failure }.with_detail(&detail)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::File;
    use crate::server::tests::Fake;
    use windlass_sdk::fs::{Folders, Path};
    use windlass_sdk::testing::Memory;
    use windlass_sdk::{Failure, json};

    pub(crate) fn folder(files: &[(&str, &str)]) -> Memory {
        let folders = Memory::with_slots(&["migrations"]);
        for (name, text) in files {
            folders.write(&Path::new("migrations", name).unwrap(), text.as_bytes()).unwrap();
        }
        folders
    }

    #[test]
    fn what_can_not_run_in_one_transaction_is_found_before() {
        let folders = folder(&[("a.sql", "CREATE TABLE t ();\nCOMMIT;\n"), ("b.sql", "\n \n")]);
        let failure = File::read(&Fake::default(), &folders, "a.sql").unwrap_err();
        assert_eq!(
            failure.message,
            "a.sql:2: COMMIT can't stand in a migration: the whole file runs in one transaction"
        );
        assert_eq!(File::read(&Fake::default(), &folders, "b.sql").unwrap_err().code, "empty-migration");
        assert_eq!(File::read(&Fake::default(), &folders, "c.sql").unwrap_err().code, "not-found");
    }

    #[test]
    fn errors_name_file_and_line() {
        let folders = folder(&[("a.sql", "CREATE TABLE t ()")]);
        let file = File::read(&Fake::default(), &folders, "a.sql").unwrap();
        let detail = json!({
            "sqlstate": "42601", "message": "syntax error at or near \"x\"", "statement": 7, "line": 41, "hint": "spell it"
        });
        let failure = Failure::new("sql-error", "statement 7, line 41: …").with_detail(&detail);
        let told = file.failure(failure.clone(), 3);
        assert_eq!(told.message, "a.sql:41: syntax error at or near \"x\" (hint: spell it)");
        assert_eq!(told.detail_json()["statement"], 4);
        assert_eq!(told.detail_json()["sqlstate"], "42601");
        assert_eq!(file.failure(failure.clone(), 7).message, failure.message);
    }
}
