//! `windlass check`: every mistake of a runbook at once, each where it stands.

use std::mem::ManuallyDrop;

use serde_json::{Value, json};
use windlass_runbook::{Diagnostic, Diagnostics, Severity};
use windlass_runner::catalog::Plugins;
use windlass_runner::{Project, RunError};
use windlass_sandbox::plain_text;

use crate::app::App;
use crate::args::Target;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Printer;

pub(crate) fn run(app: &App, target: &Target) -> Result<Exit, CliError> {
    let plugins = app.plugins();
    // The process ends with this command: taking ten thousand steps apart first would only make it later.
    let opened = ManuallyDrop::new(Project::open(&target.runbook, target.environment.as_deref(), &plugins));
    let name = target.runbook.display();
    if app.printer.json() {
        let (diagnostics, exit) = match &*opened {
            Ok(project) => (&project.warnings, Exit::Succeeded),
            Err(RunError::Check(diagnostics)) => (diagnostics, Exit::Usage),
            Err(_) => {
                return ManuallyDrop::into_inner(opened).map(|_| Exit::Succeeded).map_err(CliError::from);
            }
        };
        app.printer.document(&json!({
            "version": 1,
            "runbook": name.to_string(),
            "ok": exit == Exit::Succeeded,
            "diagnostics": diagnostics.iter().map(machine_readable).collect::<Vec<_>>(),
        }))?;
        return Ok(exit);
    }
    match &*opened {
        Ok(project) => {
            tell(&app.printer, &project.warnings);
            let runbook = &project.runbook;
            let (steps, plugins) = (runbook.steps.len() + runbook.finally.len(), runbook.plugins.len());
            app.printer.line(&format!(
                "{} {name}: {steps} {}, {plugins} {}",
                app.printer.style().green("ok"),
                plural(steps, "step"),
                plural(plugins, "plugin"),
            ))?;
            Ok(Exit::Succeeded)
        }
        Err(_) => ManuallyDrop::into_inner(opened)
            .map(|_| Exit::Succeeded)
            .map_err(|error| report(&app.printer, error)),
    }
}

/// Opens the project of another command, with its warnings told.
pub(crate) fn open(app: &App, target: &Target, plugins: &Plugins) -> Result<Project, CliError> {
    let project = Project::open(&target.runbook, target.environment.as_deref(), plugins)
        .map_err(|error| report(&app.printer, error))?;
    tell(&app.printer, &project.warnings);
    Ok(project)
}

/// Draws what is wrong, if the error is of that kind, and sums it up.
pub(crate) fn report(printer: &Printer, error: RunError) -> CliError {
    let RunError::Check(diagnostics) = error else { return error.into() };
    tell(printer, &diagnostics);
    let count = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let mut summary = format!("{errors} {}", plural(errors, "mistake"));
    if warnings > 0 {
        summary = format!("{summary}, {warnings} {}", plural(warnings, "warning"));
    }
    CliError::new(Exit::Usage, format!("{summary}; nothing was run"))
}

/// Draws what is wrong.
pub(crate) fn tell(printer: &Printer, diagnostics: &Diagnostics) {
    let theme = if printer.talk_style().color {
        miette::GraphicalTheme::unicode()
    } else {
        miette::GraphicalTheme::unicode_nocolor()
    };
    let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
    for diagnostic in diagnostics.iter() {
        let mut text = String::new();
        if handler.render_report(&mut text, diagnostic).is_ok() {
            printer.talk(tamed(&text, printer.talk_style().color).trim_end());
            printer.talk("");
        }
    }
}

/// What quotes a stranger's file must not reach the terminal as orders: of control characters only line breaks and the
/// colours are left, where there are any.
fn tamed(text: &str, colors: bool) -> String {
    text.split_inclusive('\n')
        .map(|line| {
            let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
            let mut tame = String::with_capacity(line.len());
            for (index, part) in line.split('\u{1b}').enumerate() {
                let sequence = part.strip_prefix('[').and_then(|rest| rest.split_once('m'));
                match sequence {
                    Some((codes, rest))
                        if colors && index > 0 && codes.chars().all(|c| c.is_ascii_digit() || c == ';') =>
                    {
                        tame.extend(["\u{1b}[", codes, "m"]);
                        tame.push_str(&plain_text(rest));
                    }
                    _ => tame.push_str(&plain_text(part)),
                }
            }
            tame + end
        })
        .collect()
}

/// What is wrong, for programs.
pub(crate) fn machine_readable(diagnostic: &Diagnostic) -> Value {
    json!({
        "severity": match diagnostic.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "code": diagnostic.code,
        "message": diagnostic.message,
        "file": diagnostic.file(),
        "line": diagnostic.line(),
        "column": diagnostic.column(),
        "help": diagnostic.help,
    })
}

/// `word` as it goes with that number.
pub(crate) fn plural(number: usize, word: &str) -> String {
    if number == 1 { word.to_owned() } else { format!("{word}s") }
}
