//! What the plugin needs of its host, behind one trait: programs, the server, the folder, and what belongs to the step.

use windlass_sdk::fs::{Error, Folders, Path};
use windlass_sdk::postgres::Parameter;
use windlass_sdk::process::{Command, Exit};
use windlass_sdk::{Failure, Value, digest};

/// The slot of the folder with the archives.
const BACKUPS: &str = "backups";
/// The slot of the server that archives are brought back to.
#[cfg(target_arch = "wasm32")]
const DB: &str = "db";

/// The host, or a stand-in for tests.
pub(crate) trait World {
    /// The granted folders.
    fn folders(&self) -> &dyn Folders;

    /// Gives a finished file its name, which must be free.
    fn publish(&self, from: &Path, to: &Path) -> Result<(), Error>;

    /// Runs a program to its end.
    fn run(&self, command: &Command) -> Result<Exit, Failure>;

    /// The rows of a reading statement with texts for its parameters.
    fn query(&self, sql: &str, parameters: &[Parameter]) -> Result<Vec<Value>, Failure>;

    /// Runs a statement for its effect.
    fn execute(&self, sql: &str) -> Result<(), Failure>;

    /// Keeps a text with the attempt.
    fn receipt(&self, text: &str) -> Result<(), Failure>;

    /// The key of this effect.
    fn key(&self) -> String;
}

/// The path of an archive.
pub(crate) fn path(file: &str) -> Result<Path, Failure> {
    Ok(Path::new(BACKUPS, file)?)
}

/// A word for a name that belongs to the effect with this key alone.
pub(crate) fn short(key: &str) -> String {
    digest::sha256(key.as_bytes()).chars().take(12).collect()
}

/// A command line.
pub(crate) fn command(slot: &str, arguments: impl IntoIterator<Item = impl Into<String>>) -> Command {
    Command { slot: slot.to_owned(), arguments: arguments.into_iter().map(Into::into).collect(), stdin: None }
}

/// The last lines of what a program complained about.
pub(crate) fn last_words(exit: &Exit) -> String {
    const LINES: usize = 3;
    let text = String::from_utf8_lossy(&exit.stderr);
    // The file is one that the host made for this program, and gone by now.
    let tells = |line: &&str| !line.is_empty() && !line.starts_with("password retrieved from file");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(tells).collect();
    let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
    match (last.is_empty(), exit.code, exit.signal) {
        (false, ..) => last.join(" / "),
        (true, Some(code), _) => format!("it ended with {code} and said nothing"),
        (true, None, signal) => format!("it was ended by signal {}", signal.unwrap_or_default()),
    }
}

/// The host.
pub(crate) struct Host;

#[cfg(target_arch = "wasm32")]
impl World for Host {
    fn folders(&self) -> &dyn Folders {
        &windlass_sdk::fs::Host
    }

    fn publish(&self, from: &Path, to: &Path) -> Result<(), Error> {
        use windlass_sdk::bindings::wasi::filesystem::preopens::get_directories;
        use windlass_sdk::bindings::wasi::filesystem::types::{ErrorCode, PathFlags};

        let other = |code: ErrorCode| Error::Other(to.clone(), code.message().to_owned());
        let folder = get_directories()
            .into_iter()
            .find_map(|(folder, name)| (name.trim_start_matches('/') == to.slot()).then_some(folder))
            .ok_or_else(|| Error::NotGranted { slot: to.slot().to_owned(), granted: Vec::new() })?;
        // A link fails where the name is taken; a rename would replace what bears it.
        match folder.link_at(PathFlags::empty(), from.inner(), &folder, to.inner()) {
            Ok(()) => folder.unlink_file_at(from.inner()).map_err(other),
            Err(ErrorCode::Exist) => Err(Error::Exists(to.clone())),
            // Not every file system has links.
            Err(ErrorCode::Unsupported | ErrorCode::NotPermitted | ErrorCode::TooManyLinks) => {
                match self.folders().metadata(to) {
                    Ok(_) => Err(Error::Exists(to.clone())),
                    Err(Error::NotFound(_)) => {
                        folder.rename_at(from.inner(), &folder, to.inner()).map_err(other)
                    }
                    Err(error) => Err(error),
                }
            }
            Err(code) => Err(other(code)),
        }
    }

    fn run(&self, command: &Command) -> Result<Exit, Failure> {
        windlass_sdk::process::run(command)
    }

    fn query(&self, sql: &str, parameters: &[Parameter]) -> Result<Vec<Value>, Failure> {
        let answer = windlass_sdk::postgres::query(DB, sql, parameters, 1_000)?;
        let parsed = answer.rows.iter().map(|row| windlass_sdk::serde_json::from_str(row));
        parsed.collect::<Result<_, _>>().map_err(|error| Failure::new("bad-row", error.to_string()))
    }

    fn execute(&self, sql: &str) -> Result<(), Failure> {
        windlass_sdk::postgres::execute(DB, sql, &[]).map(drop)
    }

    fn receipt(&self, text: &str) -> Result<(), Failure> {
        windlass_sdk::step::receipt(text)
    }

    fn key(&self) -> String {
        windlass_sdk::step::idempotency_key()
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl World for Host {
    fn folders(&self) -> &dyn Folders {
        &windlass_sdk::fs::Host
    }

    fn publish(&self, _: &Path, to: &Path) -> Result<(), Error> {
        Err(Error::NotGranted { slot: to.slot().to_owned(), granted: Vec::new() })
    }

    fn run(&self, command: &Command) -> Result<Exit, Failure> {
        Err(no_host(&command.slot))
    }

    fn query(&self, _: &str, _: &[Parameter]) -> Result<Vec<Value>, Failure> {
        Err(no_host("db"))
    }

    fn execute(&self, _: &str) -> Result<(), Failure> {
        Err(no_host("db"))
    }

    fn receipt(&self, _: &str) -> Result<(), Failure> {
        Err(no_host("step"))
    }

    fn key(&self) -> String {
        windlass_sdk::step::idempotency_key()
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn no_host(what: &str) -> Failure {
    Failure::new("denied", format!("there is no host to reach `{what}`"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::World;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;
    use windlass_sdk::fs::{Error, Folders, Path};
    use windlass_sdk::postgres::Parameter;
    use windlass_sdk::process::{Command, Exit};
    use windlass_sdk::testing::Memory;
    use windlass_sdk::{Attempt, Failure, Plan, Value, json};

    /// What `pg_restore --list` says of the archives here.
    pub(crate) const LIST: &str = "\
;
; Archive created at 2026-01-16 02:00:00 UTC
;     Format: CUSTOM
;
216; 1259 16394 TABLE public We ird owner
215; 1259 16387 TABLE public events owner
217; 1259 16398 TABLE s empty owner
219; 0 0 TABLE ATTACH public part owner
3350; 0 16394 TABLE DATA public We ird owner
3349; 0 16387 TABLE DATA public events owner
3206; 2606 16393 CONSTRAINT public events events_pkey owner
";

    /// Programs and a server that do as told.
    pub(crate) struct Fake {
        pub(crate) memory: Memory,
        /// How each program ends, by its slot and first argument: status and complaint.
        pub(crate) ends: BTreeMap<&'static str, (i32, &'static str)>,
        /// Each database with its comment.
        pub(crate) databases: RefCell<BTreeMap<String, String>>,
        pub(crate) receipts: RefCell<Vec<String>>,
        pub(crate) ran: RefCell<Vec<String>>,
        pub(crate) content: Cell<&'static [u8]>,
    }

    impl Default for Fake {
        fn default() -> Self {
            Self {
                memory: Memory::with_slots(&["backups"]),
                ends: BTreeMap::new(),
                databases: RefCell::default(),
                receipts: RefCell::default(),
                ran: RefCell::default(),
                content: Cell::new(b"PGDMP\x01\x0e\x00\x04\x08\x01 rows"),
            }
        }
    }

    impl Fake {
        pub(crate) fn put(&self, file: &str, content: &[u8]) {
            self.memory.write(&super::path(file).unwrap(), content).unwrap();
        }

        pub(crate) fn has(&self, file: &str) -> bool {
            self.memory.metadata(&super::path(file).unwrap()).is_ok()
        }

        /// A started attempt with what is left of it here.
        pub(crate) fn attempt(&self, plan: &Plan) -> Attempt {
            Attempt {
                key: "test-key".to_owned(),
                number: 1,
                input: json!({ "file": "a.dump", "database": "fresh" }).to_string(),
                plan: plan.clone(),
                receipts: self.receipts.borrow().clone(),
                output: None,
            }
        }
    }

    impl World for Fake {
        fn folders(&self) -> &dyn Folders {
            &self.memory
        }

        fn publish(&self, from: &Path, to: &Path) -> Result<(), Error> {
            if self.memory.metadata(to).is_ok() {
                return Err(Error::Exists(to.clone()));
            }
            let content = self.memory.read(from, 1 << 20)?;
            self.memory.write(to, &content)?;
            self.memory.remove(from)
        }

        fn run(&self, command: &Command) -> Result<Exit, Failure> {
            let line = format!("{} {}", command.slot, command.arguments.join(" "));
            self.ran.borrow_mut().push(line.clone());
            let end = self.ends.iter().find(|(start, _)| line.starts_with(**start));
            let (code, stderr) = end.map_or((0, ""), |(_, end)| *end);
            if let Some(file) =
                command.arguments.iter().find_map(|word| word.strip_prefix("--file=/backups/"))
            {
                self.put(file, self.content.get());
            }
            let stdout = if line.contains("--list") && code == 0 { LIST } else { "" };
            Ok(Exit {
                code: Some(code),
                signal: None,
                stdout: stdout.as_bytes().to_vec(),
                stderr: stderr.as_bytes().to_vec(),
                truncated: false,
                elapsed: 1,
            })
        }

        fn query(&self, _: &str, parameters: &[Parameter]) -> Result<Vec<Value>, Failure> {
            let Some(Parameter::Text(name)) = parameters.first() else { return Ok(Vec::new()) };
            let databases = self.databases.borrow();
            Ok(databases
                .get(name)
                .map(|comment| json!({ "oid": "7", "comment": comment }))
                .into_iter()
                .collect())
        }

        fn execute(&self, sql: &str) -> Result<(), Failure> {
            let name = sql.split('"').nth(1).unwrap_or_default().to_owned();
            let mut databases = self.databases.borrow_mut();
            if sql.starts_with("CREATE DATABASE") {
                databases.insert(name, String::new());
            } else if sql.starts_with("ALTER DATABASE") {
                let comment = databases.remove(&name).unwrap();
                databases.insert(sql.split('"').nth(3).unwrap().to_owned(), comment);
            } else if sql.starts_with("DROP DATABASE") {
                databases.remove(&name);
            } else {
                databases.insert(name, sql.split('\'').nth(1).unwrap_or_default().to_owned());
            }
            Ok(())
        }

        fn receipt(&self, text: &str) -> Result<(), Failure> {
            self.receipts.borrow_mut().push(text.to_owned());
            Ok(())
        }

        fn key(&self) -> String {
            "test-key".to_owned()
        }
    }
}
