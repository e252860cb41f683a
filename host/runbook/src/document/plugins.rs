//! `[plugins.NAME]`, in the runbook and as an environment changes it.

use crate::catalog::PluginUse;
use crate::model::PluginSource;
use crate::node::{Entry, Kind, Table};
use crate::reader::{Reader, wrong_type};
use crate::report::Report;
use crate::source::{Located, SourceFile};
use crate::suggest;

use super::{bad_name, is_identifier, string_entries};

/// A plugin as declared.
#[derive(Debug, Clone)]
pub(crate) struct PluginDecl {
    pub(crate) name: Located<String>,
    pub(crate) source: Option<Located<PluginSource>>,
    /// Whether a source or a provider is named at all, readable or not.
    pub(crate) names_source: bool,
    pub(crate) contract: Option<Located<String>>,
    /// Slot and connection.
    pub(crate) connections: Vec<(Located<String>, Located<String>)>,
    pub(crate) config: Option<Table>,
    pub(crate) allow: Vec<Located<String>>,
}

impl PluginDecl {
    pub(crate) fn to_use(&self) -> Option<PluginUse> {
        Some(PluginUse {
            name: self.name.value.clone(),
            source: self.source.as_ref()?.value.clone(),
            contract: self.contract.as_ref().map(|contract| contract.value.clone()),
        })
    }
}

/// What either file may say.
struct Parts {
    source: Option<Located<PluginSource>>,
    names_source: bool,
    contract: Option<Located<String>>,
    connections: Option<Vec<(Located<String>, Located<String>)>>,
    config: Option<Table>,
    allow: Option<Vec<Located<String>>>,
}

fn read_parts(entry: Entry, report: &mut Report) -> Option<(Located<String>, Parts)> {
    let name = entry.name();
    let what = format!("the plugin `{}`", name.value);
    let mut reader = Reader::of(entry.value, &what, report)?;
    let names_source = reader.has("source") || reader.has("provider");
    reader.unsupported(
        "provider",
        "`provider` is",
        "write the provider's `source`, `connections`, `config` and `allow` here or into the environment",
    );
    let source = reader.string("source").and_then(|text| read_source(&text, reader.report));
    let contract = reader.string("contract");
    let connections = reader.has("connections").then(|| {
        let entries = reader.named("connections");
        string_entries(entries, "the name of a connection", reader.report)
    });
    let config = reader.node("config").and_then(|node| match node.kind {
        Kind::Table(table) => Some(table),
        _ => {
            wrong_type(reader.report, &node, "`config`", "a table");
            None
        }
    });
    let allow = reader.strings("allow").map(|lines| lines.value);
    reader.finish();
    Some((name, Parts { source, names_source, contract, connections, config, allow }))
}

/// A plugin of the runbook.
pub(super) fn read(entry: Entry, report: &mut Report) -> Option<PluginDecl> {
    let (name, parts) = read_parts(entry, report)?;
    if !is_identifier(&name.value) {
        bad_name(report, &name, "a plugin's name");
    }
    Some(PluginDecl {
        name,
        source: parts.source,
        names_source: parts.names_source,
        contract: parts.contract,
        connections: parts.connections.unwrap_or_default(),
        config: parts.config,
        allow: parts.allow.unwrap_or_default(),
    })
}

/// What the environment says about a plugin: all replaces, only `config` is merged key by key.
pub(super) fn merge(entry: Entry, plugins: &mut [PluginDecl], report: &mut Report) {
    let Some((name, parts)) = read_parts(entry, report) else { return };
    let known: Vec<String> = plugins.iter().map(|plugin| plugin.name.value.clone()).collect();
    let Some(plugin) = plugins.iter_mut().find(|plugin| plugin.name.value == name.value) else {
        let message = format!("the runbook has no plugin `{}`", name.value);
        let help = suggest::help(&name.value, known.iter().map(String::as_str));
        report.error("unknown-plugin", name.span, message, help);
        return;
    };
    if parts.names_source {
        plugin.source = parts.source;
        plugin.names_source = true;
    }
    if parts.contract.is_some() {
        plugin.contract = parts.contract;
    }
    if let Some(connections) = parts.connections {
        plugin.connections = connections;
    }
    if let Some(allow) = parts.allow {
        plugin.allow = allow;
    }
    match (&mut plugin.config, parts.config) {
        (Some(config), Some(changes)) => merge_tables(config, changes),
        (config @ None, changes) => *config = changes,
        (Some(_), None) => {}
    }
}

fn merge_tables(base: &mut Table, changes: Table) {
    for change in changes.entries {
        let same =
            |entry: &&mut Entry| crate::wit::same_name(&entry.key.value.replace('_', "-"), &change.key.value);
        match base.entries.iter_mut().find(same) {
            Some(entry) => *entry = change,
            None => base.entries.push(change),
        }
    }
}

fn read_source(text: &Located<String>, report: &mut Report) -> Option<Located<PluginSource>> {
    let file = std::sync::Arc::clone(report.sources.file(text.span.file));
    match source_of(&text.value, &file) {
        Ok(source) => Some(Located::new(source, text.span)),
        Err((code, message, help)) => {
            report.error(code, text.span, message, Some(help));
            None
        }
    }
}

fn source_of(text: &str, file: &SourceFile) -> Result<PluginSource, (&'static str, String, String)> {
    if let Some(name) = text.strip_prefix("builtin:") {
        return Ok(PluginSource::Builtin(name.to_owned()));
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err((
            "not-supported",
            format!("plugins from `{scheme}://` are not supported by this version of windlass"),
            "download the component and name the file: `source = \"./plugin.wasm\"`".to_owned(),
        ));
    }
    if text.is_empty() || (!text.contains('/') && !text.ends_with(".wasm")) {
        return Err((
            "wrong-value",
            format!("`{text}` is neither a builtin plugin nor a file"),
            format!("write `builtin:{text}`, or the path of a component such as `./{text}.wasm`"),
        ));
    }
    Ok(PluginSource::File(file.resolve(text)))
}
