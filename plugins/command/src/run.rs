//! One run of a program, and what its end means.

use crate::bindings::exports::windlass::contracts::command::{Completed, Invocation};
use windlass_sdk::process::{Command, Exit};
use windlass_sdk::{Failure, Value, json};

/// The slot where the step names none.
pub(crate) const DEFAULT_SLOT: &str = "program";

/// What runs programs: the host, or a stand-in in tests.
pub(crate) trait Programs {
    fn run(&self, command: &Command) -> Result<Exit, Failure>;
}

/// The host.
pub(crate) struct Host;

impl Programs for Host {
    #[cfg(target_arch = "wasm32")]
    fn run(&self, command: &Command) -> Result<Exit, Failure> {
        windlass_sdk::process::run(command)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn run(&self, command: &Command) -> Result<Exit, Failure> {
        Err(Failure::new("denied", format!("there is no host to run `{}`", command.slot)))
    }
}

/// What to run and what to make of it.
pub(crate) struct Run<'a> {
    pub(crate) program: Option<&'a str>,
    pub(crate) arguments: &'a [String],
    pub(crate) stdin: Option<&'a str>,
    pub(crate) exit_codes: &'a [i32],
    pub(crate) parse_json: bool,
}

/// Runs a program that only looks. What it finds bad now can be good later, so its exit status may be retried.
pub(crate) fn check(programs: &impl Programs, input: &Invocation) -> Result<Completed, Failure> {
    let run = Run {
        program: input.program.as_deref(),
        arguments: &input.arguments,
        stdin: input.stdin.as_deref(),
        exit_codes: &input.exit_codes,
        parse_json: input.parse_json,
    };
    run.complete(programs)
        .map_err(|failure| if failure.code == "exit-code" { failure.retryable() } else { failure })
}

impl Run<'_> {
    /// The slot of the program.
    pub(crate) fn slot(&self) -> &str {
        self.program.unwrap_or(DEFAULT_SLOT)
    }

    /// Runs it, whatever its end.
    pub(crate) fn start(&self, programs: &impl Programs) -> Result<Exit, Failure> {
        programs.run(&Command {
            slot: self.slot().to_owned(),
            arguments: self.arguments.to_vec(),
            stdin: self.stdin.map(|text| text.as_bytes().to_vec()),
        })
    }

    /// Runs it; a bad end is a failure.
    pub(crate) fn complete(&self, programs: &impl Programs) -> Result<Completed, Failure> {
        let exit = self.start(programs)?;
        self.judge(&exit)
    }

    /// What the end of it means.
    pub(crate) fn judge(&self, exit: &Exit) -> Result<Completed, Failure> {
        let stdout = String::from_utf8_lossy(&exit.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&exit.stderr).into_owned();
        let slot = self.slot();
        let Some(code) = exit.code else {
            let signal = exit.signal.unwrap_or_default();
            return Err(Failure::new(
                "killed",
                format!("`{slot}` was ended by signal {signal}{}", last_words(&stderr)),
            )
            .with_detail(&json!({ "signal": signal })));
        };
        let good = if self.exit_codes.is_empty() { code == 0 } else { self.exit_codes.contains(&code) };
        if !good {
            return Err(Failure::new(
                "exit-code",
                format!("`{slot}` ended with {code}{}", last_words(&stderr)),
            )
            .with_detail(&json!({ "exit_code": code })));
        }
        let json = if self.parse_json { parse(slot, &stdout, exit.truncated)? } else { Value::Null };
        Ok(Completed { exit_code: code, stdout, stderr, json: json.to_string(), elapsed: exit.elapsed })
    }
}

fn parse(slot: &str, stdout: &str, truncated: bool) -> Result<Value, Failure> {
    if truncated {
        return Err(Failure::new(
            "not-json",
            format!("`{slot}` printed more than is kept, so it can't be read as JSON"),
        ));
    }
    serde_json::from_str(stdout).map_err(|error| {
        let shown: String = stdout.chars().take(80).collect();
        Failure::new(
            "not-json",
            format!("`{slot}` did not print one JSON text: {error}; it begins with {shown:?}"),
        )
    })
}

/// The last lines of standard error, for a failure's message.
fn last_words(stderr: &str) -> String {
    const LINES: usize = 3;
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
    if last.is_empty() { String::new() } else { format!(": {}", last.join(" / ")) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Answers by the first argument, and keeps what was run.
    #[derive(Default)]
    pub(crate) struct Fake {
        pub(crate) answers: Vec<(&'static str, i32, &'static str)>,
        pub(crate) ran: RefCell<Vec<Vec<String>>>,
    }

    impl Programs for Fake {
        fn run(&self, command: &Command) -> Result<Exit, Failure> {
            self.ran.borrow_mut().push(command.arguments.clone());
            let first = command.arguments.first().map_or("", String::as_str);
            let (_, code, stdout) =
                self.answers.iter().find(|(name, ..)| *name == first).expect("the test says what it answers");
            Ok(Exit {
                code: Some(*code),
                signal: None,
                stdout: stdout.as_bytes().to_vec(),
                stderr: b"first\nsecond\n".to_vec(),
                truncated: false,
                elapsed: 1,
            })
        }
    }

    fn run(arguments: &[String], parse_json: bool) -> Run<'_> {
        Run { program: None, arguments, stdin: None, exit_codes: &[], parse_json }
    }

    #[test]
    fn a_bad_exit_status_tells_the_last_words() {
        let fake = Fake { answers: vec![("x", 3, "")], ..Fake::default() };
        let failure = run(&["x".to_owned()], false).complete(&fake).unwrap_err();
        assert_eq!(failure.code, "exit-code");
        assert_eq!(failure.message, "`program` ended with 3: first / second");
    }

    #[test]
    fn json_is_parsed_where_asked_for() {
        let fake = Fake { answers: vec![("x", 0, "{\"failed\": 0}"), ("y", 0, "<html>")], ..Fake::default() };
        assert_eq!(run(&["x".to_owned()], true).complete(&fake).unwrap().json, "{\"failed\":0}");
        assert_eq!(run(&["x".to_owned()], false).complete(&fake).unwrap().json, "null");
        assert_eq!(run(&["y".to_owned()], true).complete(&fake).unwrap_err().code, "not-json");
    }
}
