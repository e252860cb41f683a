//! `windlass test`: plays the stories that lie beside runbooks, and says which went otherwise than written.

use serde_json::{Value, json};
use windlass_engine::Span;
use windlass_runner::RunError;
use windlass_runner::rehearsal::{self, Case, Coverage, Rehearsal};

use super::check;
use crate::app::App;
use crate::args::Test;
use crate::error::CliError;
use crate::exit::Exit;

pub(crate) fn run(app: &App, asked: &Test) -> Result<Exit, CliError> {
    let mut files = Vec::new();
    for path in &asked.files {
        files.extend(rehearsal::find(path).map_err(|error| check::report(&app.printer, error))?);
    }
    if files.is_empty() {
        let error = CliError::new(Exit::Usage, "there are no stories: no file ends in `.test.toml`");
        return Err(error.hint("write one beside the runbook: docs/testing-runbooks.md"));
    }
    let plugins = app.plugins();
    let wanted = |name: &str| asked.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let (mut documents, mut mistaken, mut passed, mut failed) = (Vec::new(), false, 0, 0);
    for file in &files {
        let played = match rehearsal::rehearse(file, &plugins, &wanted) {
            Ok(played) => played,
            Err(RunError::Check(diagnostics)) if app.printer.json() => {
                mistaken = true;
                let found: Vec<Value> = diagnostics.iter().map(check::machine_readable).collect();
                documents
                    .push(json!({ "file": file.display().to_string(), "ok": false, "diagnostics": found }));
                continue;
            }
            Err(error) => {
                mistaken = true;
                app.printer.talk(&check::report(&app.printer, error).to_string());
                continue;
            }
        };
        let right = played.cases.iter().filter(|case| case.passed()).count();
        passed += right;
        failed += played.cases.len() - right;
        if app.printer.json() {
            documents.push(document(&played));
        } else {
            print(app, &played, asked)?;
        }
    }
    let exit = match (mistaken, failed) {
        (true, _) => Exit::Usage,
        (false, 0) => Exit::Succeeded,
        (false, _) => Exit::Failed,
    };
    if app.printer.json() {
        let ok = exit == Exit::Succeeded;
        app.printer.document(&json!({ "version": 1, "ok": ok, "files": documents }))?;
    } else {
        let style = app.printer.style();
        let told = format!("{passed} {} as written", if passed == 1 { "story" } else { "stories" });
        let failed =
            if failed == 0 { String::new() } else { format!(", {}", style.red(&format!("{failed} not"))) };
        app.printer.line(&format!("{}{failed}", style.green(&told)))?;
    }
    Ok(exit)
}

fn print(app: &App, played: &Rehearsal, asked: &Test) -> Result<(), CliError> {
    let style = app.printer.style();
    app.printer.line(&format!(
        "{} {}",
        style.bold(&played.file),
        style.dim(&format!("for {}", played.runbook))
    ))?;
    for case in &played.cases {
        let mark = if case.passed() { style.green("ok    ") } else { style.red("FAILED") };
        let outcome = format!("{} in {}", case.outcome, Span(case.took_ms));
        app.printer.line(&format!("  {mark}  {}  {}", case.name, style.dim(&outcome)))?;
        if asked.events {
            for (after, line) in case.timed() {
                app.printer.line(&format!("          {:>9}  {line}", Span(after).to_string()))?;
            }
        }
        check::tell(&app.printer, &case.wrong);
    }
    for line in summary(&played.coverage) {
        app.printer.line(&format!("  {}", style.dim(&line)))?;
    }
    app.printer.line("")
}

/// What the stories have been through, and what they have not.
fn summary(coverage: &Coverage) -> Vec<String> {
    let mut lines = Vec::new();
    let mut part = |what: &str, of: usize, missed: Vec<&str>| {
        if of == 0 {
            return;
        }
        let seen = of - missed.len();
        let missing = if missed.is_empty() { String::new() } else { format!("; not {}", missed.join(", ")) };
        lines.push(format!("{seen} of {of} {what}{missing}"));
    };
    part("steps ran", coverage.steps.len(), coverage.never_ran().collect());
    part("steps met a failure", coverage.steps.len(), coverage.never_failed().collect());
    part("undos ran", coverage.undos.len(), coverage.never_undone().collect());
    part("guards tripped", coverage.guards(), coverage.never_tripped().collect());
    lines
}

fn document(played: &Rehearsal) -> Value {
    let coverage = &played.coverage;
    json!({
        "file": played.file,
        "runbook": played.runbook,
        "ok": played.passed(),
        "cases": played.cases.iter().map(case_document).collect::<Vec<_>>(),
        "coverage": {
            "steps": coverage.steps,
            "undos": coverage.undos,
            "never_ran": coverage.never_ran().collect::<Vec<_>>(),
            "never_failed": coverage.never_failed().collect::<Vec<_>>(),
            "never_undone": coverage.never_undone().collect::<Vec<_>>(),
            "never_tripped": coverage.never_tripped().collect::<Vec<_>>(),
        },
    })
}

fn case_document(case: &Case) -> Value {
    let events: Vec<Value> =
        case.timed().map(|(after, event)| json!({ "after_ms": after, "event": event })).collect();
    json!({
        "name": case.name,
        "ok": case.passed(),
        "outcome": case.outcome,
        "took_ms": case.took_ms,
        "wrong": case.wrong.iter().map(check::machine_readable).collect::<Vec<_>>(),
        "events": events,
    })
}
