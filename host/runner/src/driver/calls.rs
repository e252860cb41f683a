//! The calls of a run: each in a task of its own, with what it may ask of the driver.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::{OnceCell, oneshot};
#[cfg(feature = "kill-points")]
use windlass_engine::CallPhase;
use windlass_engine::{CallFailure, CallId, CallReport, CallRequest, Reads};
use windlass_journal::Store;
use windlass_journal::artifacts::Artifacts;
use windlass_sandbox::{Connection, HostFault};

use super::{Driver, Manner, Underway};
use crate::approvals::SignerFiles;
use crate::audit_log::AuditSink;
use crate::clock::Clock;
use crate::prepare::Prepared;
use crate::services::{CallServices, LogSink, Request, Trail};
use crate::session::{Caller, refused};

/// What all calls of a run share.
pub(crate) struct Shared {
    pub(crate) run: String,
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) store: Arc<Store>,
    /// Who may approve, by the files that say so.
    pub(crate) signers: SignerFiles,
    pub(crate) log: Arc<LogSink>,
    pub(crate) artifacts: Arc<Artifacts>,
    pub(crate) audit: Arc<AuditSink>,
    pub(crate) clock: Clock,
    /// Connections by name: whether their identity was looked at in this process. A second call waits for the first's
    /// look, and looks itself where that came to nothing.
    pub(crate) seen: Mutex<HashMap<String, Arc<OnceCell<()>>>>,
}

impl Driver {
    /// Starts a call in a task of its own. It ends with exactly one message, cancelled or not. Where nothing is begun any
    /// more it is not made: whoever goes on asks for it anew.
    pub(super) fn call(
        &mut self,
        call: CallId,
        step: Arc<str>,
        item: Option<Arc<str>>,
        request: CallRequest,
    ) {
        if self.leaving.is_some() || self.manner == Manner::Note {
            return;
        }
        let (cancel, cancelled) = oneshot::channel();
        let writes = request.phase.name().writes();
        self.calls.insert(call, Underway { cancel: Some(cancel), writes });
        self.reads += u64::from(!writes);
        let shared = Arc::clone(&self.shared);
        let asked = self.asked.0.clone();
        let done = self.done.0.clone();
        tokio::spawn(async move {
            let services = Arc::new(CallServices {
                call,
                step: Arc::clone(&step),
                item: item.clone(),
                attempt: request.attempt,
                log: Arc::clone(&shared.log),
                driver: Some(asked),
                artifacts: Some(Arc::clone(&shared.artifacts)),
                trail: shared.prepared.session.digest(&request.plugin).map(|digest| Trail {
                    sink: Arc::clone(&shared.audit),
                    run: shared.run.clone(),
                    plugin: Arc::clone(&request.plugin),
                    digest,
                    action: Arc::clone(&request.action),
                }),
            });
            let work = async {
                if !shared.connections_may_be_used(&request.plugin, &services).await {
                    return refused(CallFailure::Cancelled);
                }
                let caller = Caller { run: &shared.run, step: &step, item: item.as_deref() };
                let redactor = &shared.log.redactor;
                let report = shared.prepared.session.call(caller, &request, services.clone(), redactor).await;
                #[cfg(feature = "kill-points")]
                match request.phase.name() {
                    CallPhase::Apply => windlass_journal::kill_points::reach("effect", "returned"),
                    CallPhase::Undo => windlass_journal::kill_points::reach("effect:undo", "returned"),
                    CallPhase::Read | CallPhase::Plan | CallPhase::Output | CallPhase::PlanUndo => (),
                }
                report
            };
            let report = tokio::select! {
                biased;
                report = work => report,
                Ok(()) = cancelled => cut_off(&request),
            };
            // Nobody listens any more only when the driver ended on an error.
            let _gone = done.send((call, report)).await;
        });
    }
}

impl Shared {
    /// Tells the machine where the plugin's connections lead, before their first use in this process. False where one
    /// leads somewhere else than it did: the call is not to be made.
    async fn connections_may_be_used(&self, plugin: &str, services: &CallServices) -> bool {
        let Some(bindings) = self.prepared.session.bindings(plugin) else { return true };
        for (_, bound) in bindings.iter() {
            let look = {
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(seen.entry(bound.name.clone()).or_default())
            };
            let looked = look.get_or_try_init(|| async {
                match identity_of(&bound.connection).await {
                    // A server that can't be reached now shows itself in the call.
                    Err(_) => Err(true),
                    Ok(None) => Ok(()),
                    Ok(Some(identity)) => {
                        let name = bound.name.clone();
                        // Not answered where it is another place, or where the driver is gone.
                        services.ask(Request::Connection { name, identity }).await.map_err(|_| false)
                    }
                }
            });
            if looked.await == Err(false) {
                return false;
            }
        }
        true
    }
}

/// Where a connection leads, so that a run notices when it is somewhere else; none for what is of this machine.
///
/// # Errors
/// Where a server can't be asked.
pub(crate) async fn identity_of(connection: &Connection) -> Result<Option<Value>, HostFault> {
    match connection {
        Connection::Http { origin, .. } => Ok(Some(origin.clone().into())),
        Connection::Postgres { .. } => windlass_sandbox::postgres_identity(connection).await.map(Some),
        Connection::Program { postgres: Some(postgres), .. } => {
            windlass_sandbox::postgres_identity(postgres).await.map(Some)
        }
        Connection::Folder { .. } | Connection::Program { postgres: None, .. } => Ok(None),
    }
}

/// The report of a call that was cut off. What it may have sent is lost with it, so a write is taken as sent.
fn cut_off(request: &CallRequest) -> CallReport {
    let sent = request.phase.name().writes();
    CallReport { result: Err(CallFailure::Cancelled), sent, reads: Reads::default(), elapsed_ms: 0 }
}
