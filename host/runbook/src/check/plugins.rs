//! Plugins: their signatures, bindings, grants and configuration.

use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;

use super::Checker;
use super::expressions::{Context, Site};
use crate::catalog::{Catalog, GrantFacts};
use crate::diagnostics::Diagnostic;
use crate::document::{ConnectionKind, PluginDecl};
use crate::expression::Template;
use crate::model::Plugin;
use crate::node::{Kind, Node, offset_in_string};
use crate::source::{Located, Span};
use crate::suggest;
use crate::wit::{Record, Signature};

/// What the steps need to know of a plugin.
pub(crate) struct PluginFacts {
    /// None where there is none, which is reported.
    pub(crate) signature: Option<Arc<Signature>>,
    pub(crate) contract: Option<String>,
    pub(crate) used: bool,
}

impl Checker<'_> {
    pub(super) fn check_plugins(&mut self, catalog: &dyn Catalog) -> IndexMap<String, Plugin> {
        let document = self.document;
        document
            .plugins
            .iter()
            .filter_map(|decl| Some((decl.name.value.clone(), self.check_plugin(decl, catalog)?)))
            .collect()
    }

    fn check_plugin(&mut self, decl: &PluginDecl, catalog: &dyn Catalog) -> Option<Plugin> {
        let signature = self.signature(decl, catalog);
        if let Some(signature) = &signature {
            self.check_contract(decl, signature);
        }
        self.check_bindings(decl, signature.as_deref());
        for line in &decl.allow {
            self.check_grant(decl, line, signature.as_deref(), catalog);
        }
        let config = self.check_config(decl, signature.as_deref());
        let facts = PluginFacts {
            signature: signature.clone(),
            contract: decl.contract.as_ref().map(|contract| contract.value.clone()),
            used: false,
        };
        self.plugins.insert(decl.name.value.clone(), facts);
        Some(Plugin {
            name: decl.name.value.clone(),
            source: decl.source.as_ref()?.value.clone(),
            contract: decl.contract.as_ref().map(|contract| contract.value.clone()),
            connections: decl
                .connections
                .iter()
                .map(|(slot, connection)| (slot.value.clone(), connection.value.clone()))
                .collect(),
            config,
            allow: decl.allow.iter().map(|line| line.value.clone()).collect(),
            signature: signature?,
        })
    }

    fn signature(&mut self, decl: &PluginDecl, catalog: &dyn Catalog) -> Option<Arc<Signature>> {
        if !decl.names_source {
            let message = format!("the plugin `{}` has no `source`", decl.name.value);
            let help = "write `source = \"builtin:http\"` or `source = \"./plugin.wasm\"`".to_owned();
            self.report.error("missing-key", decl.name.span, message, Some(help));
        }
        let span = decl.source.as_ref()?.span;
        match catalog.signature(&decl.to_use()?) {
            Ok(signature) => Some(signature),
            Err(error) => {
                self.report.error("unknown-component", span, error.message, error.help);
                None
            }
        }
    }

    fn check_contract(&mut self, decl: &PluginDecl, signature: &Signature) {
        let Some(contract) = &decl.contract else { return };
        let meant = |name: &str, id: &str| contract.value == name || contract.value == id;
        if signature.interfaces.iter().any(|interface| meant(&interface.name, &interface.id)) {
            return;
        }
        let message =
            format!("the plugin `{}` does not fulfil the contract `{}`", decl.name.value, contract.value);
        let names = signature.interfaces.iter().map(|interface| interface.name.as_str());
        let help = suggest::help(&contract.value, names);
        self.report.error("wrong-contract", contract.span, message, help);
    }

    fn check_bindings(&mut self, decl: &PluginDecl, signature: Option<&Signature>) {
        let document = self.document;
        for (slot, connection) in &decl.connections {
            let known = document.connections.iter().find(|known| known.name.value == connection.value);
            if known.is_none() {
                self.unknown_connection(connection);
            }
            let Some(signature) = signature else { continue };
            let looked_for = signature.slots.iter().find(|known| known.name == slot.value);
            match (looked_for, known) {
                (Some(wanted), Some(known)) => self.kind_fits(connection, &known.kind, &wanted.kind),
                (None, _) => {
                    // A plugin may look for slots that it does not name; only what looks like a slip is worth a word.
                    let near =
                        suggest::nearest(&slot.value, signature.slots.iter().map(|slot| slot.name.as_str()));
                    if let Some(near) = near {
                        let message = format!("the plugin does not look for a slot `{}`", slot.value);
                        let diagnostic = Diagnostic::warning("unknown-slot", message)
                            .help(format!("did you mean `{near}`?"));
                        self.report.marked(diagnostic, &[(slot.span, "")]);
                    }
                }
                _ => {}
            }
        }
    }

    fn kind_fits(&mut self, name: &Located<String>, found: &ConnectionKind, wanted: &str) {
        let found = match found {
            ConnectionKind::Http { .. } => "http",
            ConnectionKind::Postgres { .. } => "postgres",
            ConnectionKind::Folder { .. } => "folder",
            ConnectionKind::Program { .. } => "program",
            ConnectionKind::Unreadable => return,
        };
        if found != wanted {
            let message =
                format!("the connection `{}` is of the kind {found}, and {wanted} is needed", name.value);
            self.report.error("wrong-connection", name.span, message, None);
        }
    }

    fn check_grant(
        &mut self,
        decl: &PluginDecl,
        line: &Located<String>,
        signature: Option<&Signature>,
        catalog: &dyn Catalog,
    ) {
        self.check_placeholders(decl, line, signature);
        let GrantFacts { slots, capability, .. } = match catalog.check_grant(&line.value) {
            Ok(facts) => facts,
            Err(problem) => {
                let span = self.span_in_line(line, &problem.range);
                self.report.error("wrong-grant", span, problem.message, problem.help);
                return;
            }
        };
        let document = self.document;
        for (index, slot) in slots.iter().enumerate() {
            let range = line.value.find(slot.as_str()).map_or(0..line.value.len(), |at| at..at + slot.len());
            let bound = decl.connections.iter().find(|(known, _)| known.value == *slot);
            let Some((_, connection)) = bound else {
                let span = self.span_in_line(line, &range);
                let message = format!("the slot `{slot}` of the plugin `{}` is not bound", decl.name.value);
                let help =
                    suggest::nearest(slot, decl.connections.iter().map(|(known, _)| known.value.as_str()))
                        .map_or_else(
                            || format!("add it: `connections = {{ {slot} = \"CONNECTION\" }}`"),
                            |near| format!("did you mean `{near}`?"),
                        );
                self.report.error("unbound-slot", span, message, Some(help));
                continue;
            };
            // What a plugin looks for was compared already; a grant knows its own capability.
            let wanted = if index == 0 { capability.as_str() } else { "folder" };
            let known = document.connections.iter().find(|known| known.name.value == connection.value);
            let compared = signature.is_some_and(|signature| {
                signature.slots.iter().any(|known| known.name == *slot && known.kind == wanted)
            });
            if let (Some(known), false) = (known, compared) {
                self.kind_fits(connection, &known.kind, wanted);
            }
        }
    }

    /// `{vars.x}` and `{config.x}` of a line must exist.
    fn check_placeholders(
        &mut self,
        decl: &PluginDecl,
        line: &Located<String>,
        signature: Option<&Signature>,
    ) {
        for (range, name) in placeholders(&line.value) {
            let span = self.span_in_line(line, &range);
            if let Some(var) = name.strip_prefix("vars.") {
                if !self.vars.contains_key(var) {
                    let help = suggest::help(var, self.vars.keys().map(String::as_str));
                    self.report.error("unknown-var", span, format!("there is no var `{var}`"), help);
                }
            } else if let Some(field) = name.strip_prefix("config.") {
                let record = signature.and_then(|signature| signature.config.as_deref());
                let known = record.is_none_or(|record| record.field(field).is_some());
                if !known {
                    let message =
                        format!("the configuration of `{}` has no field `{field}`", decl.name.value);
                    self.report.error("unknown-field", span, message, None);
                }
            }
        }
    }

    fn span_in_line(&self, line: &Located<String>, range: &Range<usize>) -> Span {
        let text = self.report.text(line.span.file);
        let start = offset_in_string(&text, line.span, range.start);
        let end = offset_in_string(&text, line.span, range.end).max(start + 1);
        Span::new(line.span.file, &(start..end.min(text.len())))
    }

    fn check_config(&mut self, decl: &PluginDecl, signature: Option<&Signature>) -> Option<Template> {
        let context = Context { stage: Site::Config, ..Context::default() };
        let Some(signature) = signature else {
            // The expressions can be checked all the same.
            let table = decl.config.as_ref()?;
            let node = Node { span: table.span, kind: Kind::Table(table.clone()) };
            return Some(self.template(&node, None, &context));
        };
        match (&decl.config, &signature.config) {
            (Some(table), Some(record)) => Some(self.record_template(table, record, table.span, &context)),
            (Some(table), None) => {
                let message = format!("the plugin `{}` takes no configuration", decl.name.value);
                self.report.error(
                    "no-configuration",
                    table.span,
                    message,
                    Some("leave `config` out".to_owned()),
                );
                None
            }
            (None, Some(record)) => {
                if let Some(missing) = needed(record) {
                    let message =
                        format!("the plugin `{}` needs a configuration with {missing}", decl.name.value);
                    let help = format!("add `[plugins.{}.config]`", decl.name.value);
                    self.report.error("missing-field", decl.name.span, message, Some(help));
                }
                Some(Template::Literal(serde_json::Value::Object(serde_json::Map::new())))
            }
            (None, None) => None,
        }
    }

    pub(super) fn warn_of_unused(&mut self) {
        if self.report.has_errors() || !self.document.sound {
            // What looks unused may be used by what could not be read.
            return;
        }
        let document = self.document;
        for decl in &document.plugins {
            if self.plugins.get(&decl.name.value).is_some_and(|facts| !facts.used) {
                let message = format!("no step uses the plugin `{}`", decl.name.value);
                let diagnostic = Diagnostic::warning("unused-plugin", message).help("take it out");
                self.report.marked(diagnostic, &[(decl.name.span, "")]);
            }
        }
    }
}

/// The fields that must be there, as in a sentence.
fn needed(record: &Record) -> Option<String> {
    let names: Vec<String> = record
        .fields
        .iter()
        .filter(|field| !field.may_be_absent())
        .map(|field| format!("`{}`", crate::coerce::snake(&field.name)))
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The `{vars.x}` and `{config.x}` of a grant line, without the braces' other uses.
pub(crate) fn placeholders(line: &str) -> Vec<(Range<usize>, &str)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(open) = line.get(from..).and_then(|rest| rest.find('{')).map(|at| from + at) {
        let Some(close) = line.get(open..).and_then(|rest| rest.find('}')).map(|at| open + at) else { break };
        let inside = line.get(open + 1..close).unwrap_or_default();
        if inside.starts_with("vars.") || inside.starts_with("config.") {
            found.push((open..close + 1, inside));
        }
        from = close + 1;
    }
    found
}
