//! What the TOML says, before any plugin is known: every key read, every value of the right kind, all with places.
//!
//! Reading a document never asks the world anything; `check` does. A document with mistakes is still as whole as it
//! can be, so that `check` finds its own mistakes in the same go, but it never becomes a runbook.

mod approve;
mod guards;
mod places;
mod plugins;
mod steps;
mod times;

use std::sync::Arc;

use crate::catalog::PluginUse;
use crate::diagnostics::Diagnostics;
use crate::model::{Concurrency, Late, OnFailure};
use crate::node::{self, Entry, Node, Table};
use crate::reader::{Reader, string};
use crate::report::{Report, Sources};
use crate::source::{FileId, Located, SourceFile};
use steps::List;

pub(crate) use approve::ApprovalDecl;
pub(crate) use guards::{CriterionDecl, GuardDecl};
pub(crate) use places::{ConnectionDecl, ConnectionKind, CredentialDecl, SecretDecl, SecretPlace, TextDecl};
pub(crate) use plugins::PluginDecl;
pub(crate) use steps::{BodyDecl, StageDecl, StepDecl};
pub(crate) use times::TimesDecl;

/// A runbook's TOML and its environment's, merged.
#[derive(Debug, Clone)]
pub struct Document {
    pub(crate) sources: Sources,
    pub(crate) header: Header,
    pub(crate) inputs: Vec<InputDecl>,
    pub(crate) vars: Vec<Entry>,
    pub(crate) plugins: Vec<PluginDecl>,
    pub(crate) connections: Vec<ConnectionDecl>,
    pub(crate) secrets: Vec<SecretDecl>,
    pub(crate) stages: Vec<StageDecl>,
    pub(crate) steps: Vec<StepDecl>,
    pub(crate) finally: Vec<StepDecl>,
    pub(crate) rollback: Vec<StepDecl>,
    pub(crate) guards: Vec<GuardDecl>,
    pub(crate) baselines: Vec<(Located<String>, Located<String>)>,
    pub(crate) criteria: Vec<CriterionDecl>,
    pub(crate) concurrency: Option<Concurrency>,
    /// Whether nothing was wrong with it.
    pub(crate) sound: bool,
}

/// `[runbook]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) on_failure: Option<OnFailure>,
    pub(crate) rollback_within_ms: Option<u64>,
    pub(crate) late: Late,
}

/// An input as declared.
#[derive(Debug, Clone)]
pub(crate) struct InputDecl {
    pub(crate) name: Located<String>,
    pub(crate) ty: Option<Located<String>>,
    pub(crate) pattern: Option<Located<String>>,
    pub(crate) default: Option<Node>,
    pub(crate) description: Option<String>,
    pub(crate) one_of: Option<Node>,
}

impl Document {
    /// The plugins, environment merged in. Those without a readable source are left out; they have a diagnostic.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginUse> {
        self.plugins.iter().filter_map(PluginDecl::to_use).collect()
    }

    /// The names of the secrets that are declared.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(|secret| secret.name.value.as_str())
    }

    /// The names of the connections that are declared.
    pub fn connections(&self) -> impl Iterator<Item = &str> {
        self.connections.iter().map(|connection| connection.name.value.as_str())
    }

    /// The runbook's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.header.name
    }

    /// The files that it was read from.
    #[must_use]
    pub const fn sources(&self) -> &Sources {
        &self.sources
    }
}

/// Reads a runbook and, where there is one, its environment. No document where one of the two is no TOML at all.
#[must_use]
pub fn parse(runbook: SourceFile, environment: Option<SourceFile>) -> (Option<Document>, Diagnostics) {
    let sources = Sources { runbook: Arc::new(runbook), environment: environment.map(Arc::new) };
    let mut report = Report::new(sources.clone());
    let root = node::read(FileId::Runbook, &sources.runbook, &mut report);
    let environment = match &sources.environment {
        Some(file) => node::read(FileId::Environment, file, &mut report).map(Some),
        None => Some(None),
    };
    let (Some(root), Some(environment)) = (root, environment) else {
        return (None, report.finish().0);
    };
    let mut document = read_runbook(root, &mut report);
    if let Some(environment) = environment {
        read_environment(environment, &mut document, &mut report);
    }
    document.sound = !report.has_errors();
    let (diagnostics, sources) = report.finish();
    document.sources = sources;
    (Some(document), diagnostics)
}

fn read_runbook(root: Table, report: &mut Report) -> Document {
    let sources = report.sources.clone();
    let mut reader = Reader::new(root, "a runbook", report);
    let header = read_header(&mut reader);
    let inputs = reader.named("inputs");
    let plugins = reader.named("plugins");
    let places = Places::take(&mut reader);
    let stages = reader.node("stage");
    let steps = reader.node("step");
    let finally = reader.node("finally");
    let rollback = reader.node("rollback");
    let guards = reader.node("guard");
    let baselines = reader.named("baseline");
    let criteria = reader.node("criterion");
    let concurrency = reader.node("concurrency");
    reader.finish();

    let mut document = Document {
        sources,
        header,
        inputs: inputs.into_iter().filter_map(|entry| read_input(entry, report)).collect(),
        vars: Vec::new(),
        plugins: plugins.into_iter().filter_map(|entry| plugins::read(entry, report)).collect(),
        connections: Vec::new(),
        secrets: Vec::new(),
        stages: Vec::new(),
        steps: Vec::new(),
        finally: finally.map(|node| steps::read_apart(node, List::Finally, report)).unwrap_or_default(),
        rollback: rollback.map(|node| steps::read_apart(node, List::Rollback, report)).unwrap_or_default(),
        guards: guards.map(|node| guards::read_guards(node, report)).unwrap_or_default(),
        baselines: read_baselines(baselines, report),
        criteria: criteria.map(|node| guards::read_criteria(node, report)).unwrap_or_default(),
        concurrency: concurrency.and_then(|node| guards::read_concurrency(node, report)),
        sound: true,
    };
    places.read_into(&mut document, report);
    steps::read_all(stages, steps, &mut document, report);
    document
}

/// What both files may have: vars, connections, secrets.
struct Places {
    vars: Vec<Entry>,
    connections: Vec<Entry>,
    secrets: Vec<Entry>,
}

impl Places {
    fn take(reader: &mut Reader<'_>) -> Self {
        Self {
            vars: reader.named("vars"),
            connections: reader.named("connections"),
            secrets: reader.named("secrets"),
        }
    }

    /// What the environment says about a name replaces what the runbook says.
    fn read_into(self, document: &mut Document, report: &mut Report) {
        for entry in self.vars {
            replace(&mut document.vars, entry, |entry| &entry.key.value);
        }
        for connection in
            self.connections.into_iter().filter_map(|entry| places::read_connection(entry, report))
        {
            replace(&mut document.connections, connection, |connection| &connection.name.value);
        }
        for secret in self.secrets.into_iter().filter_map(|entry| places::read_secret(entry, report)) {
            replace(&mut document.secrets, secret, |secret| &secret.name.value);
        }
    }
}

fn replace<T>(list: &mut Vec<T>, new: T, name: impl Fn(&T) -> &str) {
    match list.iter_mut().find(|old| name(old) == name(&new)) {
        Some(old) => *old = new,
        None => list.push(new),
    }
}

fn read_header(reader: &mut Reader<'_>) -> Header {
    let Some(node) = reader.node("runbook") else {
        reader.report.error(
            "missing-key",
            reader.span(),
            "a runbook begins with `[runbook]` and a name",
            Some("write:\n[runbook]\nname = \"release\"".to_owned()),
        );
        return Header::default();
    };
    let Some(mut header) = Reader::of(node, "`[runbook]`", reader.report) else {
        return Header::default();
    };
    let name = header.required_string("name");
    let title = header.string("title");
    let on_failure = read_on_failure(&mut header);
    let rollback_within_ms = header.duration("rollback_within").map(|within| within.value);
    let late = [("shift", Late::Shift), ("compress", Late::Compress), ("abort", Late::Abort)];
    let late = header.word("late", &late).unwrap_or_default();
    if let Some(name) = &name
        && !is_name(&name.value)
    {
        bad_name(header.report, name, "a runbook's name");
    }
    header.finish();
    Header {
        name: name.map(|name| name.value).unwrap_or_default(),
        title: title.map(|title| title.value),
        on_failure,
        rollback_within_ms,
        late,
    }
}

/// Reads `on_failure` of a step, a stage or the runbook.
pub(crate) fn read_on_failure(reader: &mut Reader<'_>) -> Option<OnFailure> {
    const WORDS: [(&str, OnFailure); 3] =
        [("pause", OnFailure::Pause), ("continue", OnFailure::Continue), ("rollback", OnFailure::Rollback)];
    reader.word("on_failure", &WORDS)
}

fn read_environment(root: Table, document: &mut Document, report: &mut Report) {
    let mut reader = Reader::new(root, "an environment", report);
    let places = Places::take(&mut reader);
    let overrides = reader.named("plugins");
    reader.finish();
    places.read_into(document, report);
    for entry in overrides {
        plugins::merge(entry, &mut document.plugins, report);
    }
}

fn read_input(entry: Entry, report: &mut Report) -> Option<InputDecl> {
    let name = entry.name();
    let what = format!("the input `{}`", name.value);
    if !is_identifier(&name.value) {
        bad_name(report, &name, "an input's name");
    }
    let mut reader = Reader::of(entry.value, &what, report)?;
    let ty = reader.required_string("type");
    let pattern = reader.string("pattern");
    let default = reader.node("default");
    let description = reader.string("description").map(|text| text.value);
    let one_of = reader.node("one_of");
    reader.finish();
    Some(InputDecl { name, ty, pattern, default, description, one_of })
}

fn read_baselines(entries: Vec<Entry>, report: &mut Report) -> Vec<(Located<String>, Located<String>)> {
    for entry in &entries {
        if !is_identifier(&entry.key.value) {
            bad_name(report, &entry.name(), "a baseline's name");
        }
    }
    string_entries(entries, "a baseline", report)
}

/// Whether it can be a name in an expression.
pub(crate) fn is_identifier(name: &str) -> bool {
    const RESERVED: [&str; 21] = [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ];
    let mut letters = name.bytes();
    name.len() <= 100
        && letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
        && !RESERVED.contains(&name)
}

/// Whether it can be a name outside expressions, where `-` is a letter as well.
pub(crate) fn is_name(name: &str) -> bool {
    let mut letters = name.bytes();
    name.len() <= 100
        && letters.next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'_' | b'-'))
}

pub(crate) fn bad_name(report: &mut Report, name: &Located<String>, what: &str) {
    let fixed: String =
        name.value.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    let message = format!(
        "{what} has only letters, digits and `_`, does not begin with a digit, and is no word of CEL"
    );
    let help = (is_identifier(&fixed) && fixed != name.value).then(|| format!("write `{fixed}`"));
    report.error("bad-name", name.span, message, help);
}

/// A table of strings, as `slot = "connection"`.
pub(crate) fn string_entries(
    entries: Vec<Entry>,
    what: &str,
    report: &mut Report,
) -> Vec<(Located<String>, Located<String>)> {
    entries
        .into_iter()
        .filter_map(|entry| {
            let name = entry.name();
            string(entry.value, what, report).map(|value| (name, value))
        })
        .collect()
}
