//! Facts about the sources that no compiler checks: nothing of one machine in them, files of a readable size, nothing
//! left unfinished, every item of the contract documented.

use std::path::Path;
use std::process::Command;

use crate::{Error, workspace};

/// Files over this are split, or say in their first lines why not.
const LINES: usize = 600;
/// What a long file says in its module documentation.
const LONG_FILE_REASON: &str = "long on purpose:";

/// The command.
pub(crate) fn run(_arguments: &[String]) -> Result<(), Error> {
    run_all()
}

/// Check every file that git tracks.
pub(crate) fn run_all() -> Result<(), Error> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(workspace::root()).output()?;
    let mut problems = Vec::new();
    for name in String::from_utf8(listed.stdout)?.split('\0').filter(|name| !name.is_empty()) {
        let path = workspace::root().join(name);
        // Binary files, and files that were deleted and not committed yet.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        check(Path::new(name), &text, &mut problems);
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n").into()) }
}

fn check(path: &Path, text: &str, problems: &mut Vec<String>) {
    let is = |extension: &str| path.extension().is_some_and(|found| found == extension);
    let vendored = path.starts_with("wit/wasi") || path.file_name().is_some_and(|name| name == "LICENSE");
    if vendored || path == Path::new("xtask/src/tidy.rs") {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        for place in ["/root/", "/work/"] {
            if line.contains(place) {
                problems.push(format!(
                    "{}:{}: a path of one machine: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
        for word in ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("] {
            if is("rs") && line.contains(word) {
                problems.push(format!("{}:{}: unfinished: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    if is("wit") && path.starts_with("wit") {
        undocumented(path, text, problems);
    }
    let lines = text.lines().count();
    if is("rs") && lines > LINES && !text.contains(LONG_FILE_REASON) {
        problems.push(format!(
            "{}: {lines} lines; split it, or say why it is `{LONG_FILE_REASON}`",
            path.display()
        ));
    }
}

/// The contract is an API: every record, case, field and function in it says what it is.
fn undocumented(path: &Path, text: &str, problems: &mut Vec<String>) {
    let mut documented = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let is_item = ["record ", "variant ", "enum ", "flags ", "interface ", "type "]
            .iter()
            .any(|word| line.starts_with(word))
            || line.split_once(": ").is_some_and(|(name, _)| is_name(name))
            || line.strip_suffix(',').is_some_and(|case| is_name(case.split('(').next().unwrap_or_default()));
        let one_line = line.starts_with("enum ") && line.ends_with('}');
        if is_item && !documented && !line.starts_with("use ") {
            problems.push(format!("{}:{}: undocumented: {line}", path.display(), number + 1));
        }
        documented = line.starts_with("///") || (documented && line.is_empty()) || (one_line && documented);
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-%".contains(&byte))
}
