//! Starting a run, going on with one, and reading one back.

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex};

use indexmap::IndexMap;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use windlass_engine::{
    Answer, Asked, Event, FORMAT, Hold, Machine, Millis, Observation, Phase, PinnedPlugin, Request, RunCreated,
    State, Work,
};
use windlass_journal::artifacts::artifacts;
use windlass_journal::logs::RunLog;
use windlass_journal::{NewRun, RunId, RunWriter, Store, StoredEvent};
use windlass_runbook::coerce::coerce;
use windlass_runbook::model::{Runbook, StepBody};
use windlass_sandbox::Sandbox;

use crate::audit_log::AuditSink;
use crate::catalog::Plugins;
use crate::clock::Clock;
use crate::connect::Connections;
use crate::driver::{Driver, Ending, Shared, identity_of, stored};
use crate::error::RunError;
use crate::project::{Project, Settings};
use crate::services::LogSink;
use crate::session::Session;
use crate::watch::Watcher;

/// What every run of this process shares.
pub struct Host<'a> {
    /// Where runs are kept.
    pub store: &'a Store,
    /// What runs plugins.
    pub sandbox: &'a Sandbox,
    /// Looks into the environment of this process, for secrets.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Who is at the keyboard.
    pub who: String,
    /// What sees the run go on.
    pub watcher: Arc<dyn Watcher>,
}

/// What a person says of an effect that nobody saw the end of.
#[derive(Debug, Clone)]
pub struct Said {
    /// The step's path.
    pub step: String,
    /// The item's key.
    pub item: Option<String>,
    /// Whether it happened.
    pub answer: Answer,
    /// Why that is known.
    pub reason: String,
}

/// A run as its journal has it.
pub struct Recorded {
    /// Its id.
    pub id: RunId,
    /// Every event with its time.
    pub events: Vec<(Millis, Event)>,
    /// What they come to.
    pub state: State,
}

impl Recorded {
    /// Reads a run back.
    ///
    /// # Errors
    /// The store's, and [`RunError::Event`] for an event that can't be understood.
    pub async fn read(store: &Store, id: RunId) -> Result<Self, RunError> {
        let events = store.read_run(&id).await?.iter().map(event_of).collect::<Result<Vec<_>, _>>()?;
        let state = State::replay(events.iter().map(|(at, event)| (event, *at)));
        Ok(Self { id, events, state })
    }

    /// What the run pins.
    ///
    /// # Errors
    /// [`RunError::NoBeginning`].
    pub fn created(&self) -> Result<&RunCreated, RunError> {
        self.state.created().ok_or(RunError::NoBeginning)
    }
}

fn event_of(stored: &StoredEvent) -> Result<(Millis, Event), RunError> {
    let event = serde_json::from_slice(&stored.payload)
        .map_err(|source| RunError::Event { seq: stored.seq, source })?;
    Ok((stored.time_ms, event))
}

/// Starts a run and drives it until it is held or over. `started` is told the id as soon as the run exists.
///
/// # Errors
/// Everything that keeps a run from starting, found before it is created; then the store's.
pub async fn start(
    host: &Host<'_>,
    project: &Project,
    plugins: &Plugins,
    inputs: Map<String, Value>,
    started: impl FnOnce(&RunId),
    interrupts: mpsc::Receiver<String>,
) -> Result<Ending, RunError> {
    let runbook = Arc::clone(&project.runbook);
    let connections = Connections::resolve(&runbook, Path::new(""), host.variable)?;
    let session = prepare(host, &runbook, plugins, &connections, &inputs).await?;
    let clock = Clock::starting(0);
    let id = RunId::random()?;
    let created = created(host, project, &session, &id, inputs);
    let event = Event::RunCreated(Box::new(created));
    let at = clock.now();
    let mut state = State::default();
    state.fold(&event, at);
    let new = NewRun {
        id: id.clone(),
        name: runbook.name.clone(),
        status: "running".to_owned(),
        started_ms: at,
        detached: false,
        components: session
            .plugins()
            .map(|(_, plugin)| (plugin.digest.to_string(), Arc::clone(&plugin.bytes)))
            .collect(),
    };
    let writer = host.store.create_run(new, vec![stored(&event, at)?]).await?;
    started(&id);
    host.watcher.event(at, &event, &state);
    let machine = Machine::new(Arc::clone(&runbook), state);
    drive(host, Arc::clone(&runbook), machine, writer, session, connections, clock, Vec::new(), interrupts)
        .await
}

/// Takes a run over and goes on with it, as it was pinned. `said` answers a question of the run first.
///
/// # Errors
/// [`RunError::Ended`] where there is nothing to go on with, the store's (busy among them), and what keeps the pinned
/// runbook from being prepared here.
pub async fn resume(
    host: &Host<'_>,
    id: &RunId,
    mut said: Option<Said>,
    interrupts: mpsc::Receiver<String>,
) -> Result<Ending, RunError> {
    let before = Recorded::read(host.store, id.clone()).await?;
    if let Some(ended) = before.state.ended() {
        return Err(RunError::Ended { verdict: ended.verdict });
    }
    if let Some(said) = &said {
        answerable(&before.state, said)?;
    }
    let pinned = before.created()?;
    let plugins = pinned_plugins(host.store, pinned).await?;
    let environment = pinned.environment.as_ref().map(Project::unpinned);
    let project = Project::check(Project::unpinned(&pinned.runbook), environment, &plugins)?;
    let runbook = Arc::clone(&project.runbook);
    if let Some(said) = &mut said {
        fits(&runbook, said)?;
    }
    let connections = Connections::resolve(&runbook, Path::new(""), host.variable)?;
    let session = prepare(host, &runbook, &plugins, &connections, &pinned.inputs).await?;

    let writer = host.store.take_over(id).await?;
    // Another process may have gone on with it until the lock was ours.
    let run = Recorded::read(host.store, id.clone()).await?;
    let clock = Clock::starting(run.state.last_at());
    let who = || host.who.clone();
    let mut first = looked_at_again(&run.state, &connections).await;
    if let Some(said) = said {
        let request = Request::Answer {
            step: said.step,
            item: said.item,
            answer: said.answer,
            reason: said.reason,
        };
        first.push(Observation::Asked(Asked::here(who(), request)));
    }
    first.push(Observation::Asked(Asked::here(who(), Request::Resume)));
    let machine = Machine::new(Arc::clone(&runbook), run.state);
    drive(host, Arc::clone(&runbook), machine, writer, session, connections, clock, first, interrupts).await
}

/// Where a run is held because a connection led somewhere else, nothing is called that would find it right again: so
/// what is pinned is looked at before. One that can't be looked at leaves the run held.
async fn looked_at_again(state: &State, connections: &Connections) -> Vec<Observation> {
    let mut seen = Vec::new();
    if state.is_held_for(Hold::Identity) {
        for (name, connection) in
            connections.iter().filter(|(name, _)| state.connections().contains_key(*name))
        {
            if let Ok(Some(identity)) = identity_of(connection).await {
                seen.push(Observation::ConnectionSeen { connection: name.to_owned(), identity });
            }
        }
    }
    seen
}

/// Brings the output that a person gives into the form that the action would have returned. One that does not fit would
/// fail every step that reads it, and can't be said again.
fn fits(runbook: &Runbook, said: &mut Said) -> Result<(), RunError> {
    let Answer::Applied { output: Some(output) } = &mut said.answer else { return Ok(()) };
    let steps = runbook.steps.iter().map(|step| (step.id.clone(), step));
    let finally = runbook.finally.iter().map(|step| (format!("finally/{}", step.id), step));
    let step = steps.chain(finally).find_map(|(path, step)| (path == said.step).then_some(step));
    let ty = match step.map(|step| &step.body) {
        Some(StepBody::Call(call)) => call.output_type.as_ref(),
        _ => None,
    };
    let Some(ty) = ty else {
        return Err(RunError::Refused {
            message: format!("step `{}` returns nothing; leave --result out", said.step),
        });
    };
    match coerce((**output).clone(), ty) {
        Ok(value) => {
            *output = Arc::new(value);
            Ok(())
        }
        Err(mismatch) => Err(RunError::Refused {
            message: format!("--result does not fit what step `{}` returns: {mismatch}", said.step),
        }),
    }
}

/// Refuses what answers no question before anything is touched: the run must not go on, with effects, where what was
/// asked of it was a slip.
fn answerable(state: &State, said: &Said) -> Result<(), RunError> {
    let item = said.item.as_deref();
    let name = |step: &str, item: Option<&str>| match item {
        Some(item) => format!("`{step}`, item `{item}`"),
        None => format!("`{step}`"),
    };
    let work = state.work(&said.step, item);
    let failed = |work: &Work| work.phase == Phase::Failed && work.writes && item.is_none();
    if work.is_some_and(|work| work.phase == Phase::Asking || failed(work)) {
        return Ok(());
    }
    let mut message = match work {
        Some(work) => format!("step {} is {} and asks nothing", name(&said.step, item), work.phase),
        None => format!("no step {} has begun, so it asks nothing", name(&said.step, item)),
    };
    for (index, (step, item, _)) in state.questions().take(5).enumerate() {
        message.push_str(if index == 0 { "; open: " } else { ", " });
        message.push_str(&name(step, item));
    }
    Err(RunError::Refused { message })
}

async fn prepare(
    host: &Host<'_>,
    runbook: &Runbook,
    plugins: &Plugins,
    connections: &Connections,
    inputs: &Map<String, Value>,
) -> Result<Session, RunError> {
    let settings = Settings { inputs, vars: &runbook.vars };
    Session::prepare(runbook, plugins, connections, host.sandbox, &settings).await
}

fn created(
    host: &Host<'_>,
    project: &Project,
    session: &Session,
    id: &RunId,
    inputs: Map<String, Value>,
) -> RunCreated {
    let runbook = &project.runbook;
    let plugins = session.plugins().map(|(name, plugin)| {
        let connections =
            runbook.plugins.get(name).map(|plugin| plugin.connections.clone()).unwrap_or_default();
        let pinned = PinnedPlugin {
            source: plugin.source.clone(),
            digest: plugin.digest.to_string(),
            config: plugin.config.clone(),
            allow: plugin.allow.clone(),
            connections,
        };
        (name.to_owned(), pinned)
    });
    RunCreated {
        format: FORMAT,
        run: id.to_string(),
        name: runbook.name.clone(),
        title: runbook.title.clone(),
        runbook: Project::pinned(&project.source),
        environment: project.environment.as_ref().map(Project::pinned),
        inputs,
        vars: runbook.vars.clone(),
        plugins: plugins.collect(),
        lock: None,
        policy: None,
        t: None,
        parent: None,
        started_by: host.who.clone(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The components that the run has pinned, by the source that its runbook names.
///
/// # Errors
/// The store's.
pub async fn pinned_plugins(store: &Store, pinned: &RunCreated) -> Result<Plugins, RunError> {
    let mut components = IndexMap::new();
    for plugin in pinned.plugins.values() {
        let bytes = store.component(&plugin.digest).await?;
        components.insert(plugin.source.clone(), Arc::from(bytes));
    }
    Ok(Plugins::pinned(components))
}

#[expect(clippy::too_many_arguments, reason = "both callers have made each of these themselves")]
async fn drive(
    host: &Host<'_>,
    runbook: Arc<Runbook>,
    machine: Machine,
    writer: RunWriter,
    session: Session,
    connections: Connections,
    clock: Clock,
    then: Vec<Observation>,
    interrupts: mpsc::Receiver<String>,
) -> Result<Ending, RunError> {
    let id = writer.run_id().clone();
    let state_dir = host.store.state_dir();
    let log = LogSink {
        file: Some(Mutex::new(RunLog::new(state_dir, &id))),
        redactor: Arc::new(connections.into_redactor()),
        watcher: Arc::clone(&host.watcher),
        clock,
    };
    let shared = Shared {
        run: id.to_string(),
        runbook,
        session,
        log: Arc::new(log),
        artifacts: Arc::new(artifacts(state_dir)),
        audit: Arc::new(AuditSink::new(state_dir, id.as_str())),
        clock,
        seen: Mutex::default(),
    };
    let mut first = vec![Observation::Started { epoch: writer.epoch(), who: host.who.clone() }];
    first.extend(then);
    let driver = Driver::new(machine, writer, Arc::new(shared), Arc::clone(&host.watcher), first);
    // A task of the runtime's own: awaiting commits from outside of it costs two thread hops each.
    match tokio::spawn(driver.drive(interrupts)).await {
        Ok(ending) => ending,
        Err(lost) => Err(RunError::Lost { reason: lost.to_string() }),
    }
}
