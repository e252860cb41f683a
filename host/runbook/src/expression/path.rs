//! Dotted paths below the roots: `inputs.version`, `steps.a.output.rows[0].id`.

use std::ops::Range;

use super::syntax::ExpressionIssue;
use super::{Reference, Root, Segment};
use crate::suggest;

/// The first names of paths.
pub(super) const ROOTS: [&str; 7] = ["inputs", "vars", "steps", "item", "result", "run", "baseline"];

/// The fields of `run`.
const RUN_FIELDS: [&str; 6] = ["id", "name", "started", "now", "reason", "report"];

/// The fields of a step.
const STEP_FIELDS: [&str; 3] = ["output", "status", "effect"];

/// Whether it can stand behind a dot.
pub(super) fn is_identifier(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
}

/// A path as it was written, root first.
pub(super) struct Path {
    pub(super) root: String,
    pub(super) segments: Vec<Segment>,
    pub(super) range: Range<usize>,
}

/// Reads a text that is a path and nothing else. `None` leaves it to CEL.
pub(super) fn lone_path(source: &str) -> Option<Path> {
    let trimmed = source.trim();
    let start = source.len() - source.trim_start().len();
    let bytes = trimmed.as_bytes();
    let word = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        trimmed.get(from..from + length).filter(|word| is_identifier(word))
    };
    let root = word(0)?;
    if !ROOTS.contains(&root) {
        return None;
    }
    let mut at = root.len();
    let mut segments = Vec::new();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'.' => {
                let name = word(at + 1)?;
                segments.push(Segment::Name(name.to_owned()));
                at += 1 + name.len();
            }
            b'[' => {
                let end = at + bytes.get(at..)?.iter().position(|byte| *byte == b']')?;
                let inside = trimmed.get(at + 1..end)?;
                segments.push(Segment::Index(inside.parse().ok()?));
                at = end + 1;
            }
            _ => return None,
        }
    }
    // CEL has words that can't be names; it says so better.
    let reserved = |segment: &Segment| matches!(segment, Segment::Name(name) if matches!(name.as_str(), "in" | "true" | "false" | "null"));
    if segments.iter().any(reserved) {
        return None;
    }
    Some(Path { root: root.to_owned(), segments, range: start..start + trimmed.len() })
}

/// A path as a reference, or what is wrong with it.
pub(super) fn reference(path: Path, presence: bool, issues: &mut Vec<ExpressionIssue>) -> Option<Reference> {
    let Path { root, segments, range } = path;
    let mut segments = segments.into_iter();
    let mut issue = |code, message: String, help: Option<String>| {
        issues.push(ExpressionIssue { code, message, help, range: range.clone() });
        None
    };
    let mut name = || match segments.next() {
        Some(Segment::Name(name)) => Some(name),
        _ => None,
    };
    let root = match root.as_str() {
        "inputs" => match name() {
            Some(name) => Root::Input(name),
            None => {
                return issue(
                    "incomplete-path",
                    "which input?".to_owned(),
                    Some("write `inputs.NAME`".to_owned()),
                );
            }
        },
        "vars" => match name() {
            Some(name) => Root::Var(name),
            None => {
                return issue(
                    "incomplete-path",
                    "which var?".to_owned(),
                    Some("write `vars.NAME`".to_owned()),
                );
            }
        },
        "run" => match name() {
            Some(field) if RUN_FIELDS.contains(&field.as_str()) => Root::Run(field),
            Some(field) => {
                let help = suggest::help(&field, RUN_FIELDS);
                return issue("unknown-field", format!("`run` has no `{field}`"), help);
            }
            None => {
                return issue(
                    "incomplete-path",
                    "which field of the run?".to_owned(),
                    suggest::help("", RUN_FIELDS),
                );
            }
        },
        "steps" => {
            let Some(id) = name() else {
                let help = Some("write `steps.ID.output` or `steps.ID.status`".to_owned());
                return issue("incomplete-path", "which step?".to_owned(), help);
            };
            match name().as_deref() {
                Some("output") => Root::StepOutput(id),
                Some("status") => Root::StepStatus(id),
                Some("effect") => Root::StepEffect(id),
                Some(other) => {
                    let help = suggest::nearest(other, STEP_FIELDS).map_or_else(
                        || format!("what it returned is in `steps.{id}.output`: `steps.{id}.output.{other}`"),
                        |near| format!("did you mean `{near}`?"),
                    );
                    return issue("unknown-field", format!("a step has no `{other}`"), Some(help));
                }
                None => {
                    let help = Some(format!(
                        "write `steps.{id}.output`, `steps.{id}.status` or `steps.{id}.effect`"
                    ));
                    return issue("incomplete-path", format!("what of step `{id}`?"), help);
                }
            }
        }
        "baseline" => match name() {
            Some(name) => Root::Baseline(name),
            None => {
                let help = Some("write `baseline.NAME`".to_owned());
                return issue("incomplete-path", "which baseline?".to_owned(), help);
            }
        },
        "item" => Root::Item,
        _ => Root::Result,
    };
    Some(Reference { root, path: segments.collect(), presence, range })
}

/// Where the path that begins at `start` ends in the text.
pub(super) fn end_of_path(source: &str, start: usize) -> usize {
    let bytes = source.as_bytes();
    let mut at = start;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'[' => {
                let Some(close) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b']'))
                else {
                    break;
                };
                let inside = source.get(at + 1..at + close).unwrap_or_default();
                let literal =
                    inside.starts_with(['"', '\'']) || inside.bytes().all(|byte| byte.is_ascii_digit());
                if !literal {
                    break;
                }
                at += close + 1;
            }
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') => at += 1,
            _ => break,
        }
    }
    at.max(start)
}
