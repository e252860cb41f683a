//! The plugins of a run, ready to be called: compiled, granted, connected, configured.
//!
//! This is where the engine's requests become calls of the sandbox, and the sandbox's reports become the engine's.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;
use windlass_engine::{CallFailure, CallKind, CallReport, CallRequest, Denied, Reads, Returned};
use windlass_runbook::coerce::coerce_record;
use windlass_runbook::expression::Scope;
use windlass_runbook::model::Runbook;
use windlass_runbook::outcome::Failure;
use windlass_sandbox::grant::{Effect, Grant};
use windlass_sandbox::{
    Bindings, Call, CallError, Grants, Limits, Mode, Phase, ProcessIdentity, RunServices, Sandbox,
    StepContext,
};

use crate::catalog::Plugins;
use crate::connect::Connections;
use crate::error::RunError;
use crate::redact::Redactor;

/// A plugin that can be called.
pub(crate) struct ReadyPlugin {
    /// What was compiled.
    pub(crate) plugin: Arc<windlass_sandbox::Plugin>,
    /// What it may do.
    pub(crate) grants: Arc<Grants>,
    /// What its slots lead to.
    pub(crate) bindings: Arc<Bindings>,
    /// What `configure` is given.
    pub(crate) config: Option<Value>,
    /// The grant lines as they are in force, placeholders replaced.
    pub(crate) allow: Vec<String>,
    /// Where it came from, as the runbook says.
    pub(crate) source: String,
    /// `sha256:` and hex.
    pub(crate) digest: Arc<str>,
    /// Its bytes.
    pub(crate) bytes: Arc<[u8]>,
}

/// The plugins of one run.
pub(crate) struct Session {
    plugins: IndexMap<String, ReadyPlugin>,
}

/// Who calls, besides what is in the request.
pub(crate) struct Caller<'a> {
    /// Empty in `windlass plan`.
    pub(crate) run: &'a str,
    pub(crate) step: &'a str,
    pub(crate) item: Option<&'a str>,
}

impl Session {
    /// Compiles and connects every plugin of the runbook. `scope` has inputs and vars, for configurations.
    ///
    /// # Errors
    /// Where a plugin can't be loaded, or its configuration or grants don't resolve.
    pub(crate) async fn prepare(
        runbook: &Runbook,
        plugins: &Plugins,
        connections: &Connections,
        sandbox: &Sandbox,
        scope: &(dyn Scope + Sync),
    ) -> Result<Self, RunError> {
        let mut ready = IndexMap::with_capacity(runbook.plugins.len());
        for (name, plugin) in &runbook.plugins {
            let fail = |message: String, help: Option<String>| RunError::Plugin {
                plugin: name.clone(),
                message,
                help,
            };
            let found = plugins.find(&plugin.source).map_err(|error| fail(error.message, error.help))?;
            let loaded = sandbox
                .load(Arc::clone(&found.bytes))
                .await
                .map_err(|error| fail(error.message, error.help))?;
            let config = match (&plugin.config, &plugin.signature.config) {
                (given, Some(record)) => {
                    let value = match given {
                        Some(template) => template
                            .resolve(scope)
                            .map_err(|error| fail(format!("its config does not resolve: {error}"), None))?,
                        None => Value::Object(serde_json::Map::new()),
                    };
                    let value = coerce_record(value, record)
                        .map_err(|error| fail(format!("its config does not fit: {error}"), None))?;
                    Some(value)
                }
                (_, None) => None,
            };
            let allow = plugin
                .allow
                .iter()
                .map(|line| {
                    windlass_sandbox::grant::substitute(line, |name| {
                        placeholder(name, config.as_ref(), scope)
                    })
                    .map_err(|error| fail(format!("grant `{line}`: {error}"), None))
                })
                .collect::<Result<Vec<_>, _>>()?;
            let grants = Grants::parse(allow.iter().map(String::as_str))
                .map_err(|error| fail(format!("a grant is wrong: {error}"), None))?;
            ready.insert(
                name.clone(),
                ReadyPlugin {
                    plugin: loaded,
                    grants: Arc::new(grants),
                    bindings: Arc::new(connections.bindings(plugin)),
                    config,
                    allow,
                    source: plugin.source.to_string(),
                    digest: found.digest.as_str().into(),
                    bytes: Arc::clone(&found.bytes),
                },
            );
        }
        Ok(Self { plugins: ready })
    }

    /// One that has no plugin, for a run that calls nothing.
    pub(crate) fn empty() -> Self {
        Self { plugins: IndexMap::new() }
    }

    /// The plugins by their names in the runbook.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = (&str, &ReadyPlugin)> {
        self.plugins.iter().map(|(name, plugin)| (name.as_str(), plugin))
    }

    /// The lines that count as reading only because the operator says so, with the plugin that has them.
    pub(crate) fn taken_as_reading(&self) -> Vec<(String, String)> {
        let by_word = |grant: &Grant| match grant {
            Grant::Http(grant) => grant.is_read_by_word(),
            Grant::Program(grant) => grant.effect == Effect::Read,
            Grant::Postgres(_) | Grant::Folder(_) => false,
        };
        self.plugins
            .iter()
            .flat_map(|(name, plugin)| {
                plugin
                    .grants
                    .iter()
                    .filter(|grant| by_word(grant))
                    .map(|grant| (name.clone(), grant.to_string()))
            })
            .collect()
    }

    /// The digest of the plugin's bytes.
    pub(crate) fn digest(&self, plugin: &str) -> Option<Arc<str>> {
        self.plugins.get(plugin).map(|plugin| Arc::clone(&plugin.digest))
    }

    /// What the plugin's slots lead to.
    pub(crate) fn bindings(&self, plugin: &str) -> Option<&Bindings> {
        self.plugins.get(plugin).map(|plugin| &*plugin.bindings)
    }

    /// Makes one call, to its end.
    pub(crate) async fn call(
        &self,
        caller: Caller<'_>,
        request: &CallRequest,
        services: Arc<dyn RunServices>,
        redactor: &Redactor,
    ) -> CallReport {
        let Some(ready) = self.plugins.get(&*request.plugin) else {
            let message = format!("the run has no plugin `{}`", request.plugin);
            return refused(CallFailure::Fault { message });
        };
        if let Err(failure) = prove_gone(&request.require_gone).await {
            return refused(failure);
        }
        let phase = match &request.phase {
            CallKind::Read { input } => Phase::Read { input },
            CallKind::Plan { input, before } => Phase::Plan { input, before },
            CallKind::PlanUndo { input, done } => Phase::PlanUndo { input, done },
            CallKind::Undo { input, done, plan } => Phase::Undo { input, done, plan },
            CallKind::Apply { input, plan, write } => {
                Phase::Apply { input, plan, mode: if *write { Mode::Write } else { Mode::Read } }
            }
        };
        let limits = Limits { deadline: Duration::from_millis(request.timeout_ms), ..Limits::default() };
        let call = Call {
            interface: &request.interface,
            action: &request.action,
            phase,
            grants: Arc::clone(&ready.grants),
            bindings: Arc::clone(&ready.bindings),
            config: ready.config.as_ref(),
            context: StepContext {
                run: caller.run.to_owned(),
                step: caller.step.to_owned(),
                item: caller.item.map(str::to_owned),
                attempt: request.attempt,
                idempotency_key: request.idempotency_key.to_string(),
                plugin: request.plugin.to_string(),
            },
            limits,
        };
        let report = ready.plugin.call(call, services).await;
        CallReport {
            result: match report.result {
                Ok(windlass_sandbox::Returned::Output(value)) => Ok(Returned::Output(value)),
                Ok(windlass_sandbox::Returned::Plan(plan)) => Ok(Returned::Plan(plan)),
                Err(error) => Err(without_secrets(failure_of(error), redactor)),
            },
            sent: report.sent,
            reads: Reads {
                succeeded: report.reads.succeeded,
                failed: report.reads.failed,
                denied: report.reads.denied,
            },
            elapsed_ms: u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The value of `config.x` or `vars.x` in a grant line.
fn placeholder(name: &str, config: Option<&Value>, scope: &dyn Scope) -> Option<String> {
    let value = match name.split_once('.')? {
        ("config", field) => config?.get(field.replace('-', "_"))?.clone(),
        ("vars", var) => scope.var(var)?.into_owned(),
        _ => return None,
    };
    Some(match value {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

/// A report of a call that was never made.
pub(crate) fn refused(failure: CallFailure) -> CallReport {
    CallReport { result: Err(failure), sent: false, reads: Reads::default(), elapsed_ms: 0 }
}

/// Waits a little for programs of earlier attempts to be gone. They were ended with their group when the process that
/// started them died, so this is quick; a program that lives on could still change what is about to be planned.
async fn prove_gone(identities: &[Value]) -> Result<(), CallFailure> {
    const LOOKS: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(100);
    for identity in identities {
        let identity: ProcessIdentity =
            serde_json::from_value(identity.clone()).map_err(|error| CallFailure::Fault {
                message: format!("the identity of an earlier process can't be read: {error}"),
            })?;
        let mut looks = 0;
        while !windlass_sandbox::process_group_is_gone(&identity) {
            looks += 1;
            if looks > LOOKS {
                return Err(CallFailure::Failure {
                    failure: Failure {
                        code: "still-running".to_owned(),
                        message: format!(
                            "the program that an earlier attempt started still runs (process group {})",
                            identity.group
                        ),
                        detail: None,
                        retryable: true,
                        retry_after: Some(5_000),
                    },
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

fn failure_of(error: CallError) -> CallFailure {
    match error {
        CallError::Failure(failure) => CallFailure::Failure { failure },
        CallError::Denied { denial, failure } => CallFailure::Denied(Denied {
            capability: denial.capability,
            target: denial.target,
            reason: denial.reason,
            allow: denial.allow,
            plugin: denial.plugin,
            failure,
        }),
        CallError::Limit(hit) => CallFailure::Limit {
            limit: serde_json::to_value(hit.kind)
                .ok()
                .and_then(|word| word.as_str().map(str::to_owned))
                .unwrap_or_default(),
            message: hit.to_string(),
        },
        CallError::Fault(fault) => CallFailure::Fault { message: fault.0 },
    }
}

/// The failure as it may be kept and shown. Failures are for reading, unlike inputs and outputs, so they are cleaned
/// before the journal has them and every later view is clean as well.
fn without_secrets(failure: CallFailure, redactor: &Redactor) -> CallFailure {
    let clean = |text: String| redactor.text(&text).into_owned();
    let clean_failure = |failure: Failure| Failure {
        message: clean(failure.message),
        detail: failure.detail.map(|detail| redactor.value(&detail)),
        ..failure
    };
    match failure {
        CallFailure::Failure { failure } => CallFailure::Failure { failure: clean_failure(failure) },
        CallFailure::Denied(denied) => CallFailure::Denied(Denied {
            target: clean(denied.target),
            reason: clean(denied.reason),
            allow: denied.allow.map(clean),
            failure: denied.failure.map(clean_failure),
            ..denied
        }),
        CallFailure::Fault { message } => CallFailure::Fault { message: clean(message) },
        other => other,
    }
}
