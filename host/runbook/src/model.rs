//! The checked runbook: all names resolved, all types proven, nothing left to report.
//!
//! It is never stored. A run pins the TOML texts and checks them again, so these types may change from version to
//! version.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use regex::Regex;
use serde_json::{Map, Value};

use crate::expression::{Expression, Template};
use crate::report::Sources;
pub use crate::safety::{
    Approval, At, Bind, Concurrency, Criterion, Day, Guard, Interrupt, Late, MetBy, NoData, OnExpiry,
    RollbackOrder, RollbackStep, Undo, WhenBusy, Window,
};
use crate::source::Span;
use crate::wit::{ActionKind, Record, Signature, Type};

/// A runbook that passed `check`, merged with its environment.
#[derive(Debug, Clone)]
pub struct Runbook {
    /// The files that it was read from.
    pub sources: Sources,
    /// A short word.
    pub name: String,
    /// For people.
    pub title: Option<String>,
    /// By name, in the order of the file.
    pub inputs: IndexMap<String, Input>,
    /// The environment's `[vars]`, durations and all as written.
    pub vars: Map<String, Value>,
    /// By the name that steps use.
    pub plugins: IndexMap<String, Plugin>,
    /// By name; secrets in them are names still.
    pub connections: IndexMap<String, Connection>,
    /// Where each secret is found.
    pub secrets: IndexMap<String, SecretSource>,
    /// Empty for a runbook of plain steps.
    pub stages: Vec<Stage>,
    /// In the order of the file, which is an order they could run in only where `needs` says nothing else.
    pub steps: Vec<Step>,
    /// What always runs at the end, each independent of the others.
    pub finally: Vec<Step>,
    /// What a rollback does besides the undos, each independent of the others.
    pub rollback: Vec<RollbackStep>,
    /// Milliseconds that a rollback should take at most; longer is said, and no reason to stop.
    pub rollback_within_ms: Option<u64>,
    /// What a run does when it comes to a time that has passed.
    pub late: Late,
    /// What watches.
    pub guards: Vec<Guard>,
    /// Values to compare with, by name; over inputs, vars and steps. One is taken once the steps it is over are done.
    pub baselines: IndexMap<String, Expression>,
    /// What must be true in the end.
    pub criteria: Vec<Criterion>,
    /// Which runs can't be at once with this one.
    pub concurrency: Option<Concurrency>,
}

/// A declared input.
#[derive(Debug, Clone)]
pub struct Input {
    /// What it takes.
    pub ty: InputType,
    /// What a string must match, anchored as written.
    pub pattern: Option<Regex>,
    /// In normal form; without one the input must be given.
    pub default: Option<Value>,
    /// For people.
    pub description: Option<String>,
    /// The only values it may have, in normal form; empty for any.
    pub one_of: Vec<Value>,
    /// Where its name stands.
    pub span: Span,
}

/// What an input takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputType {
    /// Text.
    String,
    /// A whole number within 64 bits.
    Int,
    /// A number.
    Float,
    /// `true` or `false`.
    Bool,
    /// "5m"; milliseconds in expressions.
    Duration,
    /// A list of one of the others.
    List(Box<Self>),
}

/// A plugin as the runbook binds it.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// The name that steps use.
    pub name: String,
    /// Which component.
    pub source: PluginSource,
    /// The interface of `windlass:contracts` that it is meant to fulfil.
    pub contract: Option<String>,
    /// Slot to connection name.
    pub connections: IndexMap<String, String>,
    /// For `configure`; only inputs and vars in its expressions. Resolve it, then `coerce_record` with the
    /// signature's `config`.
    pub config: Option<Template>,
    /// Grant lines, `{vars.x}` and `{config.x}` not yet replaced.
    pub allow: Vec<String>,
    /// What the component offers.
    pub signature: Arc<Signature>,
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PluginSource {
    /// One that ships with Windlass.
    Builtin(String),
    /// A file, the folder of the file that names it put in front.
    File(PathBuf),
}

/// As a runbook writes it, with the folder in front.
impl std::fmt::Display for PluginSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Builtin(name) => write!(f, "builtin:{name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A text that stands in the TOML, or the name of a secret that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// As written.
    Plain(String),
    /// The secret's name.
    Secret(String),
}

/// A connection, secrets by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// An HTTP service.
    Http {
        /// Scheme, host and port.
        origin: String,
        /// Patterns of the paths on which the credential is attached; empty means all.
        paths: Vec<String>,
        /// What the host attaches.
        credential: Option<Credential>,
        /// Networks in CIDR notation that may be reached though they are private.
        addresses: Vec<String>,
        /// A PEM file of further roots.
        ca: Option<PathBuf>,
    },
    /// A PostgreSQL server.
    Postgres {
        /// For writing.
        url: Text,
        /// For reading, as a role that can't write.
        read_url: Option<Text>,
        /// The password of `url`, where it isn't in it.
        password: Option<Text>,
        /// That of `read_url`.
        read_password: Option<Text>,
        /// A PEM file of further roots.
        ca: Option<PathBuf>,
    },
    /// A folder.
    Folder {
        /// Relative paths have the file's folder put in front.
        path: PathBuf,
    },
    /// A program that may be run.
    Program {
        /// Relative paths have the file's folder put in front.
        path: PathBuf,
        /// `sha256:` and hex, where it is pinned.
        digest: Option<String>,
        /// The connection it gets access to.
        postgres: Option<String>,
        /// Its whole environment.
        environment: IndexMap<String, Text>,
        /// Where it is started.
        directory: Option<PathBuf>,
    },
}

impl Connection {
    /// The word for it in messages and in a plugin's list of slots.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Postgres { .. } => "postgres",
            Self::Folder { .. } => "folder",
            Self::Program { .. } => "program",
        }
    }
}

/// What the host attaches to a request, secrets by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// `authorization: Bearer …`
    Bearer {
        /// The secret's name.
        token: String,
    },
    /// `authorization: Basic …`
    Basic {
        /// As written.
        user: String,
        /// The secret's name.
        password: String,
    },
    /// A header of the service's own.
    Header {
        /// The header.
        name: String,
        /// The secret's name.
        value: String,
    },
}

/// Where a secret's value is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSource {
    /// The place.
    pub location: SecretLocation,
    /// Whether it is hidden in what people see. False only where the operator wrote `redact = false`.
    pub redact: bool,
}

/// The place of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretLocation {
    /// A variable of the engine's own environment.
    Environment(String),
    /// A file, without its last newline.
    File(PathBuf),
}

/// A stage. It starts when every step of the stage before it is done.
#[derive(Debug, Clone)]
pub struct Stage {
    /// For people.
    pub name: String,
    /// Its steps, as indices into `Runbook::steps`. Empty only where `commit` or `at` is there.
    pub steps: std::ops::Range<usize>,
    /// When it starts at the earliest.
    pub at: Option<At>,
    /// The hours within which its steps may start.
    pub window: Option<Window>,
    /// Whether automatic rollback ends with its start.
    pub commit: bool,
}

/// A step.
#[derive(Debug, Clone)]
pub struct Step {
    /// Unique among the steps, or among the finally steps.
    pub id: String,
    /// For people.
    pub title: Option<String>,
    /// The stage it is in. All steps of the stage before gate it, besides `needs`.
    pub stage: Option<usize>,
    /// The steps that gate it: the one before it or what it names. Indices into `Runbook::steps`. Acyclic, without
    /// duplicates; empty for finally steps.
    pub needs: Vec<usize>,
    /// What it does.
    pub body: StepBody,
    /// False skips it. Evaluated once, before the items.
    pub when: Option<Expression>,
    /// Runs the body once per item.
    pub for_each: Option<ForEach>,
    /// Asks again until it holds. Only on reading actions.
    pub gate: Option<Gate>,
    /// What must be true of the result.
    pub expect: Vec<Expression>,
    /// How often to try.
    pub retry: Retry,
    /// Of the whole step, waits and retries included.
    pub timeout_ms: Option<u64>,
    /// What a failure does to the run.
    pub on_failure: OnFailure,
    /// What to do about an effect whose outcome can't be told.
    pub on_unknown: OnUnknown,
    /// How its effect is taken back.
    pub undo: Undo,
    /// Whether automatic rollback ends with its success.
    pub commit: bool,
    /// When it starts at the earliest.
    pub at: Option<At>,
    /// The hours within which it may start.
    pub window: Option<Window>,
    /// Where its table begins.
    pub span: Span,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum StepBody {
    /// Calls a plugin.
    Call(Box<Invocation>),
    /// Lets time pass.
    Wait {
        /// A duration: text such as "5m", or whole milliseconds. See `units::duration_of`.
        duration: Template,
    },
    /// Asks people.
    Approve(Box<Approval>),
}

/// A call of a plugin's action.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The plugin's name in the runbook.
    pub plugin: Arc<str>,
    /// The interface in full, such as `windlass:contracts/health@0.1.0`.
    pub interface: Arc<str>,
    /// The action, such as `check`.
    pub action: Arc<str>,
    /// Whether it can have an effect.
    pub kind: ActionKind,
    /// Resolve it, then `coerce_record` with `input_type`.
    pub input: Template,
    /// The type of the input.
    pub input_type: Arc<Record>,
    /// The type of the output; `None` for nothing.
    pub output_type: Option<Type>,
}

/// A fan-out.
#[derive(Debug, Clone)]
pub struct ForEach {
    /// A list.
    pub items: Template,
    /// Over `item`; the item itself where none.
    pub key: Option<Expression>,
    /// How many at once.
    pub max_parallel: usize,
    /// How many items may fail before no further one starts; 0 stops at the first.
    pub max_failures: usize,
}

/// A gate.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Over `result`.
    pub until: Expression,
    /// Milliseconds between samples.
    pub every_ms: u64,
    /// For how many milliseconds it must stay true; 0 for once.
    pub hold_ms: u64,
}

/// How often to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// At least 1.
    pub attempts: u32,
    /// Milliseconds before the second attempt.
    pub min_ms: u64,
    /// The longest pause.
    pub max_ms: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 1, min_ms: 1_000, max_ms: 30_000 }
    }
}

/// What a failure does to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// `Pause` until something was applied, `Rollback` after.
    #[default]
    Auto,
    /// The run is held for a person.
    Pause,
    /// The run goes on, and is `partial` in the end.
    Continue,
    /// What was applied is undone.
    Rollback,
}

/// What to do about an effect whose outcome can't be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnknown {
    /// Ask a person.
    #[default]
    Ask,
    /// Take it as done, without output.
    Accept,
}

/// A grant line that can't be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the grant `{line}`: `{placeholder}` {reason}")]
pub struct GrantLineError {
    /// The line as written.
    pub line: String,
    /// Such as `{vars.host}`.
    pub placeholder: String,
    /// Why.
    pub reason: &'static str,
}

impl Plugin {
    /// The grant lines with `{vars.x}` and `{config.x}` replaced. A value stands for one literal host or segment, so
    /// that it can never widen a grant.
    ///
    /// # Errors
    /// A value that is absent, or has any letter that means something in a grant.
    pub fn grants(
        &self,
        vars: &Map<String, Value>,
        config: Option<&Value>,
    ) -> Result<Vec<String>, GrantLineError> {
        self.allow.iter().map(|line| fill(line, vars, config)).collect()
    }
}

fn fill(line: &str, vars: &Map<String, Value>, config: Option<&Value>) -> Result<String, GrantLineError> {
    let mut filled = String::with_capacity(line.len());
    let mut copied = 0;
    for (range, name) in crate::check::placeholders(line) {
        let wrong =
            |reason| GrantLineError { line: line.to_owned(), placeholder: format!("{{{name}}}"), reason };
        let value = match name.split_once('.') {
            Some(("vars", var)) => vars.get(var),
            Some((_, field)) => config.and_then(|config| config.get(field.replace('-', "_"))),
            None => None,
        };
        let text = match value {
            Some(Value::String(text)) => text.clone(),
            Some(value @ Value::Number(_)) => value.to_string(),
            Some(_) => return Err(wrong("is neither a string nor a number")),
            None => return Err(wrong("is not there")),
        };
        let literal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
        if text.is_empty() || !text.bytes().all(literal) || text.split('.').all(str::is_empty) {
            return Err(wrong("must be one plain host or segment"));
        }
        filled.push_str(line.get(copied..range.start).unwrap_or_default());
        filled.push_str(&text);
        copied = range.end;
    }
    filled.push_str(line.get(copied..).unwrap_or_default());
    Ok(filled)
}
