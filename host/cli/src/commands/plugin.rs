//! `windlass plugin`: look into a component, and build one.

use std::path::{Path, PathBuf};

use serde_json::json;
use windlass_plugin_build::BuildOptions;
use windlass_runbook::model::PluginSource;
use windlass_runbook::wit::{Action, ActionKind, Record, Type};
use windlass_runner::catalog::Found;
use windlass_sandbox::{Import, ImportGroup};

use crate::app::App;
use crate::args::Plugin;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Style;

pub(crate) fn run(app: &App, command: &Plugin) -> Result<Exit, CliError> {
    match command {
        Plugin::Inspect { plugin } => inspect(app, plugin),
        Plugin::Build { folder, out } => build(app, folder, out),
    }
}

fn inspect(app: &App, plugin: &str) -> Result<Exit, CliError> {
    let source = match plugin.strip_prefix("builtin:") {
        Some(name) => PluginSource::Builtin(name.to_owned()),
        None => PluginSource::File(PathBuf::from(plugin)),
    };
    let found = app.plugins().find(&source).map_err(|error| {
        let told = CliError::new(Exit::Usage, error.message);
        match error.help {
            Some(help) => told.hint(help),
            None => told,
        }
    })?;
    if app.printer.json() {
        let inspection = &found.inspection;
        app.printer.document(&json!({
            "version": 1,
            "place": found.place,
            "digest": found.digest,
            "size": inspection.size,
            "description": inspection.description,
            "signature": inspection.signature,
            "imports": inspection.imports,
            "ignored_exports": inspection.ignored_exports,
            "notes": inspection.notes,
        }))?;
        return Ok(Exit::Succeeded);
    }
    app.printer.data(&describe(&found, app.printer.style()))?;
    Ok(Exit::Succeeded)
}

/// What a component offers and can do, for people.
fn describe(found: &Found, style: Style) -> String {
    let inspection = &found.inspection;
    let mut lines = vec![format!("{} {}", style.bold(&found.place), style.dim(&found.digest))];
    if let Some(description) = &inspection.description {
        lines.push(description.clone());
    }
    lines.push(format!("{} bytes", inspection.size));
    for interface in &inspection.signature.interfaces {
        lines.push(String::new());
        lines.push(style.bold(&interface.id));
        for action in &interface.actions {
            lines.extend(describe_action(action, style));
        }
    }
    if let Some(config) = &inspection.signature.config {
        lines.push(String::new());
        lines.push(style.bold("config"));
        lines.extend(describe_record(config, "  ", style));
    }
    if !inspection.signature.slots.is_empty() {
        lines.push(String::new());
        lines.push(style.bold("slots"));
        for slot in &inspection.signature.slots {
            lines.push(format!("  {} ({}): {}", slot.name, slot.kind, slot.docs));
        }
    }
    lines.push(String::new());
    lines.extend(imports(&inspection.imports, style));
    if !inspection.ignored_exports.is_empty() {
        lines.push(format!(
            "{} {}",
            style.bold("exports that are no actions:"),
            inspection.ignored_exports.join(", ")
        ));
    }
    lines.extend(inspection.notes.iter().map(|note| format!("{} {note}", style.yellow("note:"))));
    lines.push(String::new());
    lines.join("\n")
}

fn describe_action(action: &Action, style: Style) -> Vec<String> {
    let kind = match action.kind {
        ActionKind::Reading => style.green("reads"),
        ActionKind::Effect => style.yellow("has an effect, cannot be undone"),
        ActionKind::UndoableEffect => style.yellow("has an effect, can be undone"),
    };
    let mut lines = vec![format!("  {}  {kind}", style.bold(&action.name))];
    lines.extend(
        action.docs.iter().flat_map(|docs| docs.lines()).map(|line| format!("    {}", style.dim(line))),
    );
    lines.extend(describe_record(&action.input, "      ", style));
    if let Some(output) = &action.output {
        lines.push(format!("      → {}", type_name(output)));
    }
    lines
}

fn describe_record(record: &Record, indent: &str, style: Style) -> Vec<String> {
    record
        .fields
        .iter()
        .map(|field| {
            let needed = if field.may_be_absent() { "" } else { " (needed)" };
            let docs = field.docs.as_deref().and_then(|docs| docs.lines().next()).unwrap_or_default();
            let text =
                format!("{indent}{}: {}{needed}  {}", field.name, type_name(&field.ty), style.dim(docs));
            text.trim_end().to_owned()
        })
        .collect()
}

/// A type as a runbook's author thinks of it.
fn type_name(ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::Integer { .. } => "integer".to_owned(),
        Type::Float => "number".to_owned(),
        Type::Char => "character".to_owned(),
        Type::String => "string".to_owned(),
        Type::Bytes => "bytes (base64)".to_owned(),
        Type::List(item) => format!("list of {}", type_name(item)),
        Type::Map(value) => format!("table of {}", type_name(value)),
        Type::Option(inner) => format!("{}, optional", type_name(inner)),
        Type::Tuple(parts) => parts.iter().map(type_name).collect::<Vec<_>>().join(" and "),
        Type::Record(record) => {
            let fields: Vec<_> = record
                .fields
                .iter()
                .map(|field| format!("{}: {}", field.name, type_name(&field.ty)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Type::Variant(variant) => {
            variant.cases.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" | ")
        }
        Type::Enum(cases) => cases.join(" | "),
        Type::Flags(flags) => format!("any of {}", flags.join(", ")),
        Type::Json => "any value".to_owned(),
        Type::Duration => "duration".to_owned(),
        Type::ByteSize => "size".to_owned(),
        Type::Timestamp => "timestamp".to_owned(),
        Type::SecretName => "name of a secret".to_owned(),
    }
}

/// The imports in the groups in which a security team reads them.
pub(crate) fn imports(imports: &[Import], style: Style) -> Vec<String> {
    let names = |wanted: &dyn Fn(ImportGroup) -> bool| -> Vec<&str> {
        imports.iter().filter(|import| wanted(import.group)).map(|import| import.interface.as_str()).collect()
    };
    let mut lines = vec![style.bold("can ask for, and gets only what a grant allows:")];
    let mut any = false;
    for import in imports {
        if let ImportGroup::Capability(kind) = import.group {
            any = true;
            lines.push(format!(
                "  {} {} ({})",
                style.yellow(kind),
                import.interface,
                import.functions.join(", ")
            ));
        }
    }
    if !any {
        lines.push("  nothing".to_owned());
    }
    let always = names(&|group| group == ImportGroup::AlwaysGiven);
    if !always.is_empty() {
        lines.push(format!("{} {}", style.bold("needs no grant:"), always.join(", ")));
    }
    let baggage = names(&|group| group == ImportGroup::Baggage);
    if !baggage.is_empty() {
        lines.push(format!(
            "{} {}",
            style.bold("runtime baggage, linked empty, can do nothing by itself:"),
            style.dim(&baggage.join(", "))
        ));
    }
    lines
}

fn build(app: &App, folder: &Path, out: &Path) -> Result<Exit, CliError> {
    let tell = |line: &str| app.printer.talk(line);
    let built = windlass_plugin_build::build(&BuildOptions {
        plugin_dirs: &[folder.to_owned()],
        out_dir: out,
        target_dir: &out.join("build"),
        progress: &tell,
    })
    .map_err(|error| CliError::from_error(Exit::Failed, &error))?;
    for plugin in built {
        app.printer.line(&format!("{}  {}  {} bytes", plugin.path.display(), plugin.digest, plugin.size))?;
    }
    Ok(Exit::Succeeded)
}
