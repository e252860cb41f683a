//! Drives one run: hands observations to the machine and carries its commands out, in order.
//!
//! The driver alone writes the run's journal. Invariant: a command that stands behind a commit is not begun before the
//! commit is durable.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::{OnceCell, mpsc, oneshot};
use windlass_engine::{
    CallFailure, CallId, CallReport, CallRequest, Command, Event, Hold, Machine, Millis,
    Observation, Reads, Verdict,
};
use windlass_journal::artifacts::Artifacts;
use windlass_journal::{Binding, NewEvent, RunWriter};
use windlass_runbook::model::Runbook;
use windlass_sandbox::{Connection, HostFault};

use crate::audit_log::AuditSink;
use crate::clock::Clock;
use crate::error::RunError;
use crate::report::for_finally;
use crate::services::{Asked, CallServices, LogSink, Request, Trail};
use crate::session::{Caller, Session, refused};
use crate::watch::{Sample, Watcher};

/// How far a run came in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Nothing more happens without a person.
    Held {
        /// Why.
        reasons: Vec<Hold>,
    },
    /// Nothing more happens at all.
    Ended {
        /// How.
        verdict: Verdict,
        /// Whether a finally step failed.
        finally_failed: bool,
    },
}

impl Ending {
    /// The word for lists.
    const fn status(&self) -> &'static str {
        match self {
            Self::Held { .. } => "held",
            Self::Ended { verdict, .. } => verdict.as_str(),
        }
    }
}

/// What all calls of a run share.
pub(crate) struct Shared {
    pub(crate) run: String,
    pub(crate) runbook: Arc<Runbook>,
    pub(crate) session: Session,
    pub(crate) log: Arc<LogSink>,
    pub(crate) artifacts: Arc<Artifacts>,
    pub(crate) audit: Arc<AuditSink>,
    pub(crate) clock: Clock,
    /// Connections by name: whether their identity was looked at in this process. A second call waits for the first's
    /// look, and looks itself where that came to nothing.
    pub(crate) seen: Mutex<HashMap<String, Arc<OnceCell<()>>>>,
}

/// Drives one run.
pub(crate) struct Driver {
    machine: Machine,
    writer: RunWriter,
    shared: Arc<Shared>,
    watcher: Arc<dyn Watcher>,
    /// Recorded and not yet committed.
    buffer: Vec<NewEvent>,
    wake: Option<Millis>,
    calls: HashMap<CallId, oneshot::Sender<()>>,
    asked: Channel<Asked>,
    done: Channel<(CallId, CallReport)>,
    /// Observations that the driver itself has made.
    pending: VecDeque<Observation>,
    refusals: Vec<String>,
}

/// Both ends: calls are given clones of the sender.
type Channel<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

/// Something the driver waited for, and who waits for an answer to it. None for a request about a call that is over.
type Next = Option<(Observation, Option<oneshot::Sender<()>>)>;

/// Enough for every step of a fan-out to speak at once without waiting for the others.
const CHANNEL: usize = 1024;

impl Driver {
    pub(crate) fn new(
        machine: Machine,
        writer: RunWriter,
        shared: Arc<Shared>,
        watcher: Arc<dyn Watcher>,
        first: impl IntoIterator<Item = Observation>,
    ) -> Self {
        Self {
            machine,
            writer,
            shared,
            watcher,
            buffer: Vec::new(),
            wake: None,
            calls: HashMap::new(),
            asked: mpsc::channel(CHANNEL),
            done: mpsc::channel(CHANNEL),
            pending: first.into_iter().collect(),
            refusals: Vec::new(),
        }
    }

    /// Goes on until the run is held or over. Each message on `interrupts` is a person's ctrl-c.
    pub(crate) async fn drive(mut self, mut interrupts: mpsc::Receiver<String>) -> Result<Ending, RunError> {
        loop {
            let (observation, answer) = match self.pending.pop_front() {
                Some(observation) => (observation, None),
                None => match self.next(&mut interrupts).await {
                    Some(next) => next,
                    None => continue,
                },
            };
            let asks_for_place = matches!(observation, Observation::ConnectionSeen { .. });
            let commands = self.machine.decide(observation, self.shared.clock.now());
            let mut ending = None;
            self.show_samples(&commands);
            for command in commands {
                if let Some(end) = self.carry_out(command).await? {
                    ending = Some(end);
                }
            }
            let strange = asks_for_place && self.machine.state().is_held_for(Hold::Identity);
            if let Some(answer) = answer.filter(|_| !strange) {
                // Answered after the commands, so after the commit. The call may be gone by now.
                let _gone = answer.send(());
            }
            if matches!(ending, Some(Ending::Ended { .. })) {
                // The answer to the last question ends a run; there is nothing left to be resumed.
                self.pending.clear();
            }
            if let Some(ending) = ending.filter(|_| self.pending.is_empty()) {
                let ended = matches!(ending, Ending::Ended { .. }).then(|| self.shared.clock.now());
                self.writer.set_status(ending.status(), ended);
                self.commit().await?;
                return match self.refusals.pop() {
                    Some(message) => Err(RunError::Refused { message }),
                    None => Ok(ending),
                };
            }
        }
    }

    /// Waits for whatever comes first.
    async fn next(&mut self, interrupts: &mut mpsc::Receiver<String>) -> Next {
        let wake = self.wake.map(|at| self.shared.clock.instant(at).into());
        let timer = async move {
            match wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some((call, report)) = self.done.1.recv() => {
                self.calls.remove(&call);
                Some((Observation::Called { call, report }, None))
            }
            Some(asked) = self.asked.1.recv() => self.asked(asked),
            Some(who) = interrupts.recv() => Some((Observation::Interrupt { who }, None)),
            () = timer => {
                self.wake = None;
                Some((Observation::Tick, None))
            }
        }
    }

    fn asked(&self, Asked { call, request, answer }: Asked) -> Next {
        if !self.calls.contains_key(&call) {
            return None;
        }
        let observation = match request {
            Request::Receipt(text) => Observation::Receipt { call, text },
            Request::Process(identity) => Observation::ProcessStarted { call, identity },
            Request::Connection { name, identity } => {
                Observation::ConnectionSeen { connection: name, identity }
            }
        };
        Some((observation, Some(answer)))
    }

    async fn carry_out(&mut self, command: Command) -> Result<Option<Ending>, RunError> {
        match command {
            Command::Record { event, at } => {
                self.watcher.event(at, &event, self.machine.state());
                self.buffer.push(stored(&event, at)?);
            }
            Command::Commit => self.commit().await?,
            Command::Cancel { call } => {
                if let Some(cancel) = self.calls.remove(&call) {
                    // The task may have ended on its own just now; then its report is on the way.
                    let _gone = cancel.send(());
                }
            }
            Command::Call { call, step, item, request } => self.call(call, step, item, request),
            // Shown before the events that came of them.
            Command::Sampled { .. } => (),
            // No inbox and no group is in use yet, so none of these is asked for.
            Command::Consumed { .. } | Command::Lock { .. } | Command::Unlock { .. } => (),
            Command::Waiting { .. } => (),
            Command::Report => {
                let text = for_finally(self.machine.state(), &self.shared.runbook);
                let text = self.shared.log.redactor.text(&text).into_owned();
                self.pending.push_back(Observation::Report { text });
            }
            Command::WakeAt { at } => self.wake = Some(at),
            Command::Refused { message } => {
                self.watcher.refused(&message);
                self.refusals.push(message);
            }
            Command::Held { reasons } => return Ok(Some(Ending::Held { reasons })),
            Command::Ended { verdict, finally_failed } => {
                return Ok(Some(Ending::Ended { verdict, finally_failed }));
            }
        }
        Ok(None)
    }

    fn show_samples(&self, commands: &[Command]) {
        for command in commands {
            if let Command::Sampled { step, item, open, measured, open_ms, hold_ms } = command {
                let (item, open_ms, hold_ms) = (item.as_deref(), *open_ms, *hold_ms);
                self.watcher.sample(&Sample { step, item, open: *open, measured, open_ms, hold_ms });
            }
        }
    }

    async fn commit(&mut self) -> Result<(), RunError> {
        let events = std::mem::take(&mut self.buffer);
        Ok(self.writer.append(events).await?)
    }

    /// Starts a call in a task of its own. It ends with exactly one message, cancelled or not.
    fn call(&mut self, call: CallId, step: Arc<str>, item: Option<Arc<str>>, request: CallRequest) {
        let (cancel, cancelled) = oneshot::channel();
        self.calls.insert(call, cancel);
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
                trail: shared.session.digest(&request.plugin).map(|digest| Trail {
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
                shared.session.call(caller, &request, services.clone(), redactor).await
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
        let Some(bindings) = self.session.bindings(plugin) else { return true };
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

/// The event as the journal takes it.
pub(crate) fn stored(event: &Event, at: Millis) -> Result<NewEvent, RunError> {
    let payload = serde_json::to_vec(event).map_err(|source| RunError::Event { seq: 0, source })?;
    let binding = event.binding().map(|binding| Binding {
        step: binding.step.to_owned(),
        item: binding.item.map(item_index),
        attempt: Some(binding.attempt),
        plugin_digest: Some(binding.plugin_digest.to_owned()),
        action: Some(binding.action.to_owned()),
    });
    Ok(NewEvent { kind: event.kind().to_owned(), time_ms: at, binding, payload })
}

/// What the journal's readable column has of an item. Its key can be a value that a step captured, a token even, so the
/// column has a hash of it; the payload has the key itself, sealed.
fn item_index(key: &str) -> String {
    let hash = crate::catalog::digest(key.as_bytes());
    hash.chars().take("sha256:".len() + 16).collect()
}
