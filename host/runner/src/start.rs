//! Making a run: what it pins, what it follows, and its first commit.

use std::sync::Arc;

use serde_json::{Map, Value};
use windlass_engine::{
    Event, FORMAT, Machine, Millis, Parent, ParentKind, PinnedPlugin, RunCreated, State, Verdict, World,
    default_t, may_be_taken_back,
};
use windlass_journal::{NewRun, RunId, Store};
use windlass_runbook::model::{Runbook, WhenBusy};

use crate::catalog::Plugins;
use crate::clock::Clock;
use crate::driver::{Ending, Manner, Signals, stored};
use crate::error::RunError;
use crate::follow;
use crate::host::Host;
use crate::prepare::Prepared;
use crate::project::Project;
use crate::recorded::Recorded;
use crate::session::Session;
use crate::take::{Taken, drive};
use crate::watch::Watcher;

/// What a new run is to be.
pub struct NewRunbook<'a> {
    /// The checked runbook.
    pub project: &'a Project,
    /// Its plugins.
    pub plugins: &'a Plugins,
    /// Its inputs, resolved.
    pub inputs: Map<String, Value>,
    /// When T is; none for the earliest that keeps the timeline.
    pub at: Option<Millis>,
    /// Whether the daemon is to drive it.
    pub detached: bool,
    /// What becomes of what the last run of the group has left.
    pub leftovers: Leftovers,
}

/// What becomes of what the last run of a group has left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Leftovers {
    /// Nobody has said; where there are any, no run is made.
    #[default]
    Refuse,
    /// The new run takes them over.
    Continue(RunId),
    /// They stay as they are.
    Ignore {
        /// Whose they are.
        run: RunId,
        /// Why they may stay.
        reason: String,
    },
}

/// A run that exists and that this process owns.
pub struct Created {
    id: RunId,
    taken: Taken,
    first: Vec<(Millis, Event)>,
}

impl Created {
    /// The run.
    #[must_use]
    pub const fn id(&self) -> &RunId {
        &self.id
    }

    /// Drives it until it is held or over.
    ///
    /// # Errors
    /// The store's.
    pub async fn drive(
        self,
        host: &Host,
        watcher: Arc<dyn Watcher>,
        signals: Signals,
    ) -> Result<Ending, RunError> {
        let mut state = State::default();
        for (at, event) in &self.first {
            state.fold(event, *at);
            watcher.event(*at, event, &state);
        }
        drive(host, self.taken, Vec::new(), watcher, signals, Manner::Stay).await
    }
}

/// Makes a run. Everything that would keep it from starting is found before.
///
/// # Errors
/// What is wrong with its plugins, connections and secrets; [`RunError::GroupBusy`]; [`RunError::Leftovers`]; the
/// store's.
pub async fn create(host: &Host, new: NewRunbook<'_>) -> Result<Created, RunError> {
    let runbook = Arc::clone(&new.project.runbook);
    let parent = in_group(&host.store, &runbook, &new.leftovers).await?;
    let prepared =
        Prepared::new(Arc::clone(&runbook), new.plugins, &new.inputs, &host.sandbox, &host.variable).await?;
    let claim = match &new.leftovers {
        Leftovers::Continue(run) => Some(follow::alone(&host.store, run).await?),
        Leftovers::Refuse | Leftovers::Ignore { .. } => None,
    };
    let clock = Clock::starting(0);
    let id = RunId::random()?;
    let t = new.at.or_else(|| default_t(&runbook, clock.now()));
    let created = RunCreated {
        format: FORMAT,
        run: id.to_string(),
        name: runbook.name.clone(),
        title: runbook.title.clone(),
        runbook: Project::pinned(&new.project.source),
        environment: new.project.environment.as_ref().map(Project::pinned),
        inputs: new.inputs,
        vars: runbook.vars.clone(),
        plugins: pinned(&runbook, &prepared.session),
        lock: None,
        policy: None,
        t,
        parent,
        started_by: host.who.clone(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let components = prepared
        .session
        .plugins()
        .map(|(_, plugin)| (plugin.digest.to_string(), Arc::clone(&plugin.bytes)))
        .collect();
    let made = begin(host, created, components, new.detached, Arc::new(prepared), clock).await;
    drop(claim);
    made
}

/// Makes the child run that takes back what an ended run has left. `only` limits it to those steps, with everything
/// applied that depends on them.
///
/// # Errors
/// [`RunError::NotEnded`]; [`RunError::Refused`] where another run has taken over what it left, where it crosses the
/// commit unasked, or a step is not there; what keeps the pinned runbook from being prepared here; the store's.
pub async fn create_rollback(
    host: &Host,
    of: &RunId,
    reason: String,
    only: Vec<String>,
    past_commit: bool,
) -> Result<Created, RunError> {
    let parent = Recorded::read(&host.store, of.clone()).await?;
    if parent.state.ended().is_none() {
        return Err(RunError::NotEnded);
    }
    let pinned = parent.created()?;
    if let Some(message) = follow::taken_up_already(&host.store, &parent).await? {
        return Err(RunError::Refused { message });
    }
    let prepared = host.shelf.prepared(&host.store, pinned, &host.sandbox, &host.variable).await?;
    let refused = |message: String| RunError::Refused { message };
    may_be_taken_back(Arc::clone(&prepared.runbook), &parent.state, &only, past_commit)
        .map_err(|refusal| refused(refusal.to_string()))?;
    if past_commit && reason.trim().is_empty() {
        return Err(refused("rolling back past the commit needs a reason".to_owned()));
    }
    let claim = follow::alone(&host.store, of).await?;
    let clock = Clock::starting(parent.state.last_at());
    let id = RunId::random()?;
    let created = RunCreated {
        run: id.to_string(),
        t: None,
        parent: Some(Parent { run: of.to_string(), kind: ParentKind::Rollback, reason, only, past_commit }),
        started_by: host.who.clone(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..pinned.clone()
    };
    let made = begin(host, created, Vec::new(), false, prepared, clock).await;
    drop(claim);
    made
}

/// The first commit of a run.
async fn begin(
    host: &Host,
    created: RunCreated,
    components: Vec<(String, Arc<[u8]>)>,
    detached: bool,
    prepared: Arc<Prepared>,
    clock: Clock,
) -> Result<Created, RunError> {
    let at = clock.now();
    let id = RunId::parse(&created.run)?;
    let new = NewRun {
        id: id.clone(),
        name: created.name.clone(),
        status: if detached { "queued" } else { "running" }.to_owned(),
        started_ms: at,
        components,
        detached,
    };
    let mut first = Vec::with_capacity(2);
    let inherited = match &created.parent {
        Some(parent) if parent.kind != ParentKind::Ignore => {
            Some(follow::inherited(&host.store, parent).await?)
        }
        _ => None,
    };
    first.push((at, Event::RunCreated(Box::new(created))));
    first.extend(inherited.map(|event| (at, event)));
    let state = State::replay(first.iter().map(|(at, event)| (event, *at)));
    let events = first.iter().map(|(at, event)| stored(event, *at)).collect::<Result<Vec<_>, _>>()?;
    let writer = host.store.create_run(new, events).await?;
    let machine = Machine::new(Arc::clone(&prepared.runbook), state);
    Ok(Created { id, taken: Taken { machine, writer, prepared, clock }, first })
}

/// Finds out whether a run of this group may be made now, and what it takes over.
async fn in_group(
    store: &Store,
    runbook: &Runbook,
    leftovers: &Leftovers,
) -> Result<Option<Parent>, RunError> {
    let Some(concurrency) = &runbook.concurrency else {
        return match leftovers {
            Leftovers::Refuse => Ok(None),
            _ => Err(RunError::NoGroup),
        };
    };
    let group = &concurrency.group;
    let holder = store.group(group).await?;
    if let Some(holder) = holder.filter(|_| concurrency.when_busy == WhenBusy::Reject) {
        return Err(RunError::GroupBusy { group: group.clone(), by: holder.run });
    }
    let Some(last) = store.last_of_group(group).await? else { return Ok(None) };
    let recorded = Recorded::read(store, last.clone()).await?;
    let left = left_something(&recorded.state);
    let parent = |kind, reason: &str| Parent {
        run: last.to_string(),
        kind,
        reason: reason.to_owned(),
        only: Vec::new(),
        past_commit: false,
    };
    match leftovers {
        Leftovers::Refuse if left => Err(RunError::Leftovers { group: group.clone(), run: last }),
        Leftovers::Refuse => Ok(None),
        Leftovers::Continue(run) | Leftovers::Ignore { run, .. } if *run != last => {
            Err(RunError::NotLast { group: group.clone(), last })
        }
        Leftovers::Continue(_) => {
            if recorded.state.ended().is_none() {
                return Err(RunError::NotEnded);
            }
            follow::has_all(runbook, &recorded)?;
            Ok(Some(parent(ParentKind::Continue, "")))
        }
        Leftovers::Ignore { reason, .. } => Ok(Some(parent(ParentKind::Ignore, reason))),
    }
}

/// Whether a run has ended with effects that neither succeeded nor were undone.
fn left_something(state: &State) -> bool {
    let Some(decided) = state.ended().and_then(|_| state.verdict()) else { return false };
    !matches!(decided.verdict, Verdict::Succeeded | Verdict::Partial)
        && !matches!(decided.world, World::Untouched | World::Restored)
}

fn pinned(runbook: &Runbook, session: &Session) -> indexmap::IndexMap<String, PinnedPlugin> {
    let pin = |(name, plugin): (&str, &crate::session::ReadyPlugin)| {
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
    };
    session.plugins().map(pin).collect()
}
