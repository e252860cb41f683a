//! `windlass audit`: who may do what, without reading code and without running any.

use serde_json::{Value, json};
use windlass_runbook::model::{Plugin, Runbook, StepBody};
use windlass_runner::catalog::{Found, Plugins};
use windlass_sandbox::grant::{Grant, substitute};

use super::{check, plugin};
use crate::app::App;
use crate::args::Target;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Style;

pub(crate) fn run(app: &App, target: Option<&Target>) -> Result<Exit, CliError> {
    let Some(target) = target else {
        return Err(CliError::new(Exit::Usage, "say which runbook".to_owned()));
    };
    let plugins = app.plugins();
    let project = check::open(app, target, &plugins)?;
    let runbook = &project.runbook;
    let rows = runbook
        .plugins
        .values()
        .map(|plugin| Row::new(runbook, plugin, &plugins))
        .collect::<Result<Vec<_>, _>>()?;
    if app.printer.json() {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        app.printer.document(&json!({ "version": 1, "runbook": project.source.name, "plugins": rows }))?;
        return Ok(Exit::Succeeded);
    }
    for row in &rows {
        for line in row.lines(app.printer.style()) {
            app.printer.line(&line)?;
        }
        app.printer.line("")?;
    }
    Ok(Exit::Succeeded)
}

/// One plugin with everything that a security team asks about it.
struct Row<'a> {
    plugin: &'a Plugin,
    found: std::sync::Arc<Found>,
    /// Slot, what the operator calls it, and what kind of thing that is.
    slots: Vec<(&'a str, &'a str, &'static str)>,
    /// Each grant line, and whether it lets anything be changed.
    grants: Vec<(String, bool)>,
    /// Step, action, and whether the action has an effect.
    steps: Vec<(String, String, bool)>,
}

impl<'a> Row<'a> {
    fn new(runbook: &'a Runbook, plugin: &'a Plugin, plugins: &Plugins) -> Result<Self, CliError> {
        let found =
            plugins.find(&plugin.source).map_err(|error| CliError::new(Exit::Usage, error.message))?;
        let slots = plugin
            .connections
            .iter()
            .map(|(slot, name)| {
                let kind = runbook.connections.get(name).map_or("", |connection| connection.kind());
                (slot.as_str(), name.as_str(), kind)
            })
            .collect();
        let grants = plugin.allow.iter().map(|line| (expanded(line, runbook), writes(line))).collect();
        let finally = runbook.finally.iter().map(|step| (format!("finally/{}", step.id), step));
        let steps = runbook
            .steps
            .iter()
            .map(|step| (step.id.clone(), step))
            .chain(finally)
            .filter_map(|(path, step)| match &step.body {
                StepBody::Call(call) if *call.plugin == *plugin.name => {
                    Some((path, call.action.to_string(), call.kind.has_effect()))
                }
                _ => None,
            })
            .collect();
        Ok(Self { plugin, found, slots, grants, steps })
    }

    fn lines(&self, style: Style) -> Vec<String> {
        let mut lines = vec![
            format!("{} {}", style.bold(&self.plugin.name), self.plugin.source),
            format!("  digest {}", self.found.digest),
        ];
        for (slot, name, kind) in &self.slots {
            lines.push(format!("  slot {slot} = {name} ({kind})"));
        }
        lines.push(format!("  {}", style.bold("may:")));
        for (line, writes) in &self.grants {
            let word = if *writes { style.yellow("write") } else { style.green("read ") };
            lines.push(format!("    {word}  {line}"));
        }
        if self.grants.is_empty() {
            lines.push("    nothing".to_owned());
        }
        lines.push(format!("  {}", style.bold("steps:")));
        for (path, action, effect) in &self.steps {
            let word = if *effect { style.yellow("effect") } else { style.green("reads ") };
            lines.push(format!("    {word}  {path}  {action}"));
        }
        if self.steps.is_empty() {
            lines.push("    none".to_owned());
        }
        lines.extend(
            plugin::imports(&self.found.inspection.imports, style)
                .into_iter()
                .map(|line| format!("  {line}")),
        );
        lines
    }

    fn json(&self) -> Value {
        json!({
            "name": self.plugin.name,
            "source": self.plugin.source.to_string(),
            "digest": self.found.digest,
            "slots": self.slots.iter().map(|(slot, name, kind)| json!({
                "slot": slot, "connection": name, "kind": kind,
            })).collect::<Vec<_>>(),
            "grants": self.grants.iter().map(|(line, writes)| json!({
                "line": line, "writes": writes,
            })).collect::<Vec<_>>(),
            "steps": self.steps.iter().map(|(step, action, effect)| json!({
                "step": step, "action": action, "effect": effect,
            })).collect::<Vec<_>>(),
            "imports": self.found.inspection.imports,
        })
    }
}

/// The line with the environment's vars in place, where that can be told without inputs.
fn expanded(line: &str, runbook: &Runbook) -> String {
    let var = |name: &str| match runbook.vars.get(name.strip_prefix("vars.")?)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    substitute(line, var).unwrap_or_else(|_| line.to_owned())
}

/// Whether a line lets anything be changed. One that can't be read, which `check` refuses, counts as if it did.
fn writes(line: &str) -> bool {
    let grant = substitute(line, |_| Some("x".to_owned())).and_then(|line| line.parse::<Grant>());
    grant.map_or(true, |grant| !grant.reads_only())
}
