//! Drives one run: hands observations to the machine and carries its commands out, in order.
//!
//! The driver alone writes the run's journal. Invariant: nothing that stands behind a commit is begun before the commit
//! is durable if it has an effect or tells somebody something. Calls that only read are begun before, and where there
//! are some the commit waits a moment for what they bring: so the result of one step and the intent of the next, whose
//! plan takes microseconds, are one commit.

mod calls;
mod mail;

pub(crate) use calls::{Shared, identity_of};

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use windlass_engine::{CallId, CallReport, Command, Event, Hold, Machine, Millis, Observation, Verdict};
use windlass_journal::{Binding, NewEvent, RunWriter};

use crate::error::RunError;
use crate::inbox::Mail;
use crate::report::for_finally;
use crate::services::{Asked, Request};
use crate::steps::Steps;
use crate::watch::{Look, Sample, Watcher};

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
    /// Nothing happens for a while.
    Parked {
        /// When something does by itself; none where a person is waited for.
        wake: Option<Millis>,
    },
    /// The process was to leave the run, which somebody else may go on with.
    Left,
}

/// How a run is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Until it is held or over.
    Stay,
    /// The same, but it is parked where nothing happens for a while.
    Park,
    /// What was asked is recorded, and nothing is called.
    Note,
}

/// How long a commit may wait for what calls that only read bring.
const COMMIT_DELAY: Duration = Duration::from_millis(1);
/// A run that sleeps longer than this is parked.
const PARKED_MS: Millis = 30_000;
/// How long applies may take to come to their end when the process is to leave.
const GRACE: Duration = Duration::from_secs(10);

/// Drives one run.
pub(crate) struct Driver {
    machine: Machine,
    writer: RunWriter,
    shared: Arc<Shared>,
    watcher: Arc<dyn Watcher>,
    manner: Manner,
    ears: Ears,
    /// Messages that the machine was told of and whose consumption is not durable yet.
    heard: HashSet<String>,
    /// Those that the next commit consumes.
    consumed: Vec<String>,
    /// Recorded and not yet committed.
    buffer: Vec<NewEvent>,
    /// Until when the next commit may wait; none where there is nothing to commit.
    due: Option<Instant>,
    /// Calls that only read, counted as they are begun.
    reads: u64,
    /// The lock that the next commit is to take.
    locking: Option<String>,
    /// The word for lists that was written last.
    status: &'static str,
    wake: Option<Millis>,
    calls: HashMap<CallId, Underway>,
    asked: Channel<Asked>,
    done: Channel<(CallId, CallReport)>,
    /// Observations that the driver itself has made.
    pending: VecDeque<Observation>,
    refusals: Vec<String>,
    /// Until when it waits for what writes, once the process is to leave.
    leaving: Option<Instant>,
}

/// A call under way.
struct Underway {
    cancel: Option<oneshot::Sender<()>>,
    writes: bool,
}

/// What a driver hears of the process that it is in.
pub(crate) struct Ears {
    pub(crate) mail: Mail,
    pub(crate) steps: Steps,
}

/// What tells a driver from outside what to do.
pub struct Signals {
    /// What a person at this process does.
    pub person: mpsc::Receiver<Observation>,
    /// True once the process is to leave its runs.
    pub leave: watch::Receiver<bool>,
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
        ears: Ears,
        manner: Manner,
        first: impl IntoIterator<Item = Observation>,
    ) -> Self {
        Self {
            machine,
            writer,
            shared,
            watcher,
            manner,
            ears,
            heard: HashSet::new(),
            consumed: Vec::new(),
            buffer: Vec::new(),
            due: None,
            reads: 0,
            locking: None,
            status: "",
            wake: None,
            calls: HashMap::new(),
            asked: mpsc::channel(CHANNEL),
            done: mpsc::channel(CHANNEL),
            pending: first.into_iter().collect(),
            refusals: Vec::new(),
            leaving: None,
        }
    }

    /// Goes on until the run is held or over, or as its manner says.
    pub(crate) async fn drive(mut self, mut signals: Signals) -> Result<Ending, RunError> {
        self.read_mail().await?;
        loop {
            let (observation, answer) = match self.pending.pop_front() {
                Some(observation) => (observation, None),
                None => match self.next(&mut signals).await? {
                    Some(next) => next,
                    None if self.has_left() => return self.end(Ending::Left).await,
                    None => continue,
                },
            };
            let ending = self.decide(observation, answer).await?;
            if matches!(ending, Some(Ending::Ended { .. })) {
                // The answer to the last question ends a run; there is nothing left to be resumed.
                self.pending.clear();
            }
            if !self.pending.is_empty() {
                continue;
            }
            if let Some(ending) = ending.or_else(|| self.rests()) {
                return self.end(ending).await;
            }
        }
    }

    /// Tells the machine what was observed and carries out what it wants.
    async fn decide(
        &mut self,
        observation: Observation,
        answer: Option<oneshot::Sender<()>>,
    ) -> Result<Option<Ending>, RunError> {
        let asks_for_place = matches!(observation, Observation::ConnectionSeen { .. });
        let message = match &observation {
            Observation::Asked(asked) => asked.id.clone(),
            _ => String::new(),
        };
        let commands = self.machine.decide(observation, self.shared.clock.now());
        let mut ending = None;
        self.show_samples(&commands);
        self.tell_refusals(&commands, &message);
        let reads_before = self.reads;
        for command in commands {
            if let Some(end) = self.carry_out(command).await? {
                ending = Some(end);
            }
        }
        // What was refused is consumed without an event of its own.
        let outward = answer.is_some() || self.locking.is_some() || !self.consumed.is_empty();
        if outward || (self.due.is_some() && self.reads == reads_before) {
            self.commit().await?;
        }
        let strange = asks_for_place && self.machine.state().is_held_for(Hold::Identity);
        if let Some(answer) = answer.filter(|_| !strange) {
            // Answered after the commands, so after the commit. The call may be gone by now.
            let _gone = answer.send(());
        }
        Ok(ending)
    }

    /// How a driver ends that has nothing to do for now, by its manner.
    fn rests(&self) -> Option<Ending> {
        if !self.calls.is_empty() || self.leaving.is_some() {
            return (self.manner == Manner::Note).then_some(Ending::Left);
        }
        match self.manner {
            Manner::Stay => None,
            Manner::Note => Some(Ending::Left),
            Manner::Park => {
                let far = |at: Millis| at - self.shared.clock.now() > PARKED_MS;
                self.wake.is_none_or(far).then_some(Ending::Parked { wake: self.wake })
            }
        }
    }

    async fn end(mut self, ending: Ending) -> Result<Ending, RunError> {
        let ended = matches!(ending, Ending::Ended { .. }).then(|| self.shared.clock.now());
        let status = match &ending {
            Ending::Held { .. } => "held",
            Ending::Ended { verdict, .. } => verdict.as_str(),
            Ending::Parked { .. } | Ending::Left => self.machine.state().status(),
        };
        self.writer.set_status(status, ended);
        self.commit().await?;
        match self.refusals.pop() {
            Some(message) => Err(RunError::Refused { message }),
            None => Ok(ending),
        }
    }

    /// Waits for whatever comes first. None where it is nothing for the machine.
    async fn next(&mut self, signals: &mut Signals) -> Result<Next, RunError> {
        let wake = self.wake.map(|at| self.shared.clock.instant(at).into());
        let patience = self.leaving;
        tokio::select! {
            biased;
            Some((call, report)) = self.done.1.recv() => {
                let writes = self.calls.remove(&call).is_some_and(|call| call.writes);
                // What was read for a process that leaves is read again by whoever goes on.
                let told = self.leaving.is_none() || writes;
                Ok(told.then_some((Observation::Called { call, report }, None)))
            }
            Some(asked) = self.asked.1.recv() => Ok(self.asked(asked)),
            () = moment(self.due) => {
                self.commit().await?;
                Ok(None)
            }
            Some(observation) = signals.person.recv(), if patience.is_none() => {
                Ok(Some((observation, None)))
            }
            () = wanted(&mut signals.leave), if patience.is_none() => {
                self.leave();
                Ok(None)
            }
            () = moment(patience) => {
                self.calls.clear();
                Ok(None)
            }
            () = self.ears.mail.for_run(self.writer.run_id()), if patience.is_none() => {
                self.read_mail().await?;
                Ok(None)
            }
            by_ms = self.ears.steps.next(), if patience.is_none() => {
                Ok(Some((Observation::ClockStepped { by_ms }, None)))
            }
            () = moment(wake), if patience.is_none() => {
                self.wake = None;
                Ok(Some((Observation::Tick, None)))
            }
        }
    }

    /// From now on nothing is begun; what only reads is cut off.
    fn leave(&mut self) {
        self.leaving = Some(Instant::now() + GRACE);
        for call in self.calls.values_mut().filter(|call| !call.writes) {
            // The task may have ended on its own just now; then its report is on the way.
            let _gone = call.cancel.take().map(|cancel| cancel.send(()));
        }
    }

    fn has_left(&self) -> bool {
        self.leaving.is_some() && !self.calls.values().any(|call| call.writes)
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
        if self.due.is_some() && needs_commit(&command) {
            self.commit().await?;
        }
        match command {
            Command::Record { event, at } => {
                self.watcher.event(at, &event, self.machine.state());
                self.buffer.push(stored(&event, at)?);
            }
            Command::Commit => {
                self.due.get_or_insert_with(|| Instant::now() + COMMIT_DELAY);
            }
            Command::Cancel { call } => {
                if let Some(cancel) = self.calls.get_mut(&call).and_then(|call| call.cancel.take()) {
                    // The task may have ended on its own just now; then its report is on the way.
                    let _gone = cancel.send(());
                }
            }
            Command::Call { call, step, item, request } => self.call(call, step, item, request),
            // Shown and told before the events that came of them.
            Command::Sampled { .. } | Command::Watched { .. } | Command::Refused { .. } => (),
            Command::Report => {
                let text = for_finally(self.machine.state(), &self.shared.prepared.runbook);
                let text = self.shared.log.redactor.text(&text).into_owned();
                self.pending.push_back(Observation::Report { text });
            }
            Command::WakeAt { at } => self.wake = Some(at),
            Command::Consumed { id } => {
                self.writer.consume(&id);
                self.consumed.push(id);
            }
            Command::Lock { group } => {
                self.writer.queue_lock(&group)?;
                self.locking = Some(group);
            }
            Command::Unlock { group } => self.writer.queue_unlock(&group)?,
            Command::Waiting { reasons } => self.watcher.waiting(&reasons, self.machine.state()),
            Command::Held { reasons } if reasons.is_empty() && self.manner != Manner::Note => {
                // Nothing stops the run: it waits for somebody's word, and goes on by itself when that comes.
                self.wake = None;
                self.watcher.waiting(&reasons, self.machine.state());
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
            match command {
                Command::Sampled { step, item, open, measured, compared, open_ms, hold_ms } => {
                    let (item, compared) = (item.as_deref(), compared.as_ref());
                    let (open, open_ms, hold_ms) = (*open, *open_ms, *hold_ms);
                    self.watcher.sample(&Sample { step, item, open, measured, compared, open_ms, hold_ms });
                }
                Command::Watched { guard, band, measured, compared, since_ms, for_ms } => {
                    let (band, since_ms, for_ms) = (*band, *since_ms, *for_ms);
                    let compared = compared.as_ref();
                    self.watcher.look(&Look { guard, band, measured, compared, since_ms, for_ms });
                }
                _ => (),
            }
        }
    }

    async fn commit(&mut self) -> Result<(), RunError> {
        self.due = None;
        let status = self.machine.state().status();
        if status != self.status && !self.buffer.is_empty() {
            self.status = status;
            self.writer.set_status(status, None);
        }
        let events = std::mem::take(&mut self.buffer);
        match self.locking.take() {
            None => self.writer.append(events).await?,
            Some(group) => self.commit_with_lock(group, events).await?,
        }
        for id in self.consumed.drain(..) {
            self.heard.remove(&id);
        }
        Ok(())
    }

    async fn commit_with_lock(&mut self, group: String, events: Vec<NewEvent>) -> Result<(), RunError> {
        let observation = match self.writer.append(events.clone()).await {
            Ok(()) => {
                let holder = self.shared.store.group(&group).await?;
                Observation::Locked { fence: holder.map_or(0, |holder| holder.fence), group }
            }
            Err(windlass_journal::Error::GroupBusy { group, by }) => {
                // The lock was not to be had, and nothing was written; the events stand without it.
                self.writer.append(events).await?;
                Observation::LockBusy { group, by: by.to_string() }
            }
            Err(error) => return Err(error.into()),
        };
        self.pending.push_back(observation);
        Ok(())
    }
}

/// Whether what was to be committed before this command has to be durable first.
const fn needs_commit(command: &Command) -> bool {
    match command {
        Command::Call { request, .. } => request.phase.name().writes(),
        Command::Cancel { .. }
        | Command::Waiting { .. }
        | Command::Held { .. }
        | Command::Ended { .. }
        | Command::Report => true,
        Command::Record { .. }
        | Command::Commit
        | Command::Consumed { .. }
        | Command::Lock { .. }
        | Command::Unlock { .. }
        | Command::Sampled { .. }
        | Command::Watched { .. }
        | Command::Refused { .. }
        | Command::WakeAt { .. } => false,
    }
}

/// Waits for a moment, or for ever.
async fn moment(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits until it is wanted.
async fn wanted(leave: &mut watch::Receiver<bool>) {
    if leave.wait_for(|wanted| *wanted).await.is_err() {
        // Nobody is left who could want it.
        std::future::pending::<()>().await;
    }
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
