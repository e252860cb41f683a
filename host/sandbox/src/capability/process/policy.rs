//! Whether a command line may run, and as what: decides, without starting anything.
//!
//! It looks at grants, mode and what is bound to slots. Invariant: a program gets exactly the arguments that one grant
//! line let through, with each guest path replaced by the real one, which lies inside the folder that the operator bound.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::grant::{Effect, Piece, ProgramGrant};
use crate::state::{CallContext, Mode};
use crate::{Connection, EnvValue};

/// Why a command line may not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: String,
    /// The grant line to add, where one would help.
    pub(super) allow: Option<String>,
}

impl Refusal {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), allow: None }
    }
}

/// A command line that may run.
#[derive(Debug)]
pub(super) struct Allowed<'a> {
    /// The line that allowed it.
    pub(super) rule: String,
    /// Whether it runs as what changes nothing.
    pub(super) effect: Effect,
    /// What the operator calls the program's connection.
    pub(super) name: &'a str,
    pub(super) program: Program<'a>,
    /// As the program gets them.
    pub(super) arguments: Vec<OsString>,
}

/// A program's connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program<'a> {
    pub(super) path: &'a Path,
    pub(super) digest: Option<&'a str>,
    pub(super) postgres: Option<&'a Connection>,
    pub(super) environment: &'a [(String, EnvValue)],
    pub(super) directory: Option<&'a Path>,
}

/// The arguments, each in its pieces.
type Pieces = Vec<Vec<Piece>>;

/// Decides on a command line.
pub(super) fn decide<'a>(
    call: &'a CallContext,
    slot: &str,
    arguments: &[String],
) -> Result<Allowed<'a>, Refusal> {
    let lines: Vec<&ProgramGrant> =
        call.grants().iter().filter_map(program_line).filter(|line| line.slot == slot).collect();
    let bound = call.bound(slot).and_then(|bound| Some((bound.name.as_str(), program(&bound.connection)?)));
    let wanted = |effect| {
        let line = line_for(call, effect, slot, arguments);
        // Where that line is there already, its reason says more.
        let known = lines.iter().any(|known| known.to_string() == line);
        if known { None } else { Some(line) }
    };
    let usual = if call.mode == Mode::Read { Effect::Read } else { Effect::Write };
    // A slot that nothing is bound to and one that no line names look alike to the guest.
    let (Some((name, program)), false) = (bound, lines.is_empty()) else {
        let reason = "no line grants it, or no program is bound to it";
        return Err(Refusal { reason: reason.to_owned(), allow: wanted(usual) });
    };
    let fits: Vec<(&ProgramGrant, Result<Pieces, String>)> =
        lines.iter().map(|line| (*line, line.check(arguments))).collect();
    let mut fitting: Vec<(&ProgramGrant, &Pieces)> =
        fits.iter().filter_map(|(line, fit)| Some((*line, fit.as_ref().ok()?))).collect();
    // Where two lines fit, the one that gives less.
    fitting.sort_by_key(|(line, _)| line.effect);
    let Some((line, pieces)) = fitting.first() else {
        let reason = match fits.as_slice() {
            [(line, Err(reason))] => format!("`{line}` does not fit: {reason}"),
            lines => format!("none of its {} lines fits these arguments", lines.len()),
        };
        return Err(Refusal { reason, allow: wanted(usual) });
    };
    if line.effect == Effect::Write && call.mode == Mode::Read {
        let reason =
            format!("this call may only read, and `{line}` does not say that running it changes nothing");
        return Err(Refusal { reason, allow: Some(format!("read {line}")) });
    }
    let arguments =
        pieces.iter().map(|pieces| argument(call, line.effect, pieces)).collect::<Result<Vec<_>, _>>()?;
    Ok(Allowed { rule: line.to_string(), effect: line.effect, name, program, arguments })
}

const fn program_line(grant: &crate::grant::Grant) -> Option<&ProgramGrant> {
    match grant {
        crate::grant::Grant::Program(line) => Some(line),
        _ => None,
    }
}

fn program(connection: &Connection) -> Option<Program<'_>> {
    match connection {
        Connection::Program { path, digest, postgres, environment, directory } => Some(Program {
            path,
            digest: digest.as_deref(),
            postgres: postgres.as_deref(),
            environment,
            directory: directory.as_deref(),
        }),
        _ => None,
    }
}

/// One argument, with paths of the guest replaced.
fn argument(call: &CallContext, effect: Effect, pieces: &[Piece]) -> Result<OsString, Refusal> {
    let mut argument = OsString::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => argument.push(text),
            Piece::Path { folder, relative } => argument.push(real_path(call, effect, folder, relative)?),
        }
    }
    Ok(argument)
}

fn real_path(call: &CallContext, effect: Effect, folder: &str, relative: &str) -> Result<PathBuf, Refusal> {
    let granted = call.grants().folder(folder);
    let bound = call.bound(folder).map(|bound| &bound.connection);
    let (Some(granted), Some(Connection::Folder { path })) = (granted, bound) else {
        return Err(Refusal {
            reason: format!(
                "it names a path in `/{folder}`, and no line grants that folder, or none is bound"
            ),
            allow: Some(format!("folder {folder}: {effect}")),
        });
    };
    // What a program that may write does to a path it is given can't be seen.
    if granted < effect {
        return Err(Refusal {
            reason: format!("it names a path in `/{folder}`, which may only be read"),
            allow: Some(format!("folder {folder}: write")),
        });
    }
    let root =
        path.canonicalize().map_err(|error| Refusal::new(format!("the folder `/{folder}`: {error}")))?;
    let whole = if relative.is_empty() { root.clone() } else { root.join(relative) };
    if inside(&root, &whole) {
        Ok(whole)
    } else {
        Err(Refusal::new(format!("`/{folder}/{relative}` leads out of the folder by a symbolic link")))
    }
}

/// Whether the path lies inside the folder once all links are followed. Its end need not exist yet.
fn inside(root: &Path, whole: &Path) -> bool {
    let mut existing = whole;
    loop {
        match existing.canonicalize() {
            Ok(real) => return real.starts_with(root),
            // A link to nowhere exists all the same, and the program would make what it points to.
            Err(_) if existing.symlink_metadata().is_ok() => return false,
            Err(_) => match existing.parent() {
                Some(parent) => existing = parent,
                None => return false,
            },
        }
    }
}

/// The line that would let exactly these arguments through. A path in a folder of the plugin is written as such.
fn line_for(call: &CallContext, effect: Effect, slot: &str, arguments: &[String]) -> String {
    let mut line =
        if effect == Effect::Read { format!("read program {slot}") } else { format!("program {slot}") };
    for argument in arguments {
        line.push(' ');
        line.push_str(&quoted(&template(call, argument)));
    }
    line
}

fn template(call: &CallContext, argument: &str) -> String {
    for (slot, bound) in call.bindings().iter() {
        let place = format!("/{slot}/");
        if matches!(bound.connection, Connection::Folder { .. })
            && let Some((before, _)) = argument.split_once(&place)
            && (before.is_empty() || before.ends_with('='))
        {
            return format!("{}{{path:{slot}}}", braced(before));
        }
    }
    braced(argument)
}

/// Braces stand for placeholders in a line; doubled they stand for themselves.
fn braced(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// The word as it is written in a line.
fn quoted(word: &str) -> String {
    let bare = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '\'' | '"' | '\\');
    if !word.is_empty() && word.chars().all(bare) {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}
