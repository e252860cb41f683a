//! What must hold whatever happens, checked against the runbook and the world and not against the engine's own words.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use windlass_engine::{
    CallKind, Command, Event, Hold, Millis, Phase, RollbackStarted, Stand, State, StepFailure, Verdict,
    World as Left,
};
use windlass_runbook::model::{OnExpiry, OnFailure, Runbook, StepBody, Undo};
use windlass_runbook::outcome::Status;
use windlass_runbook::wit::ActionKind;

use crate::fate::Flying;
use crate::world::{Place, World, nonce};

/// A rule and how it was broken.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The rule, in a few words.
    pub rule: &'static str,
    /// What was seen.
    pub seen: String,
}

pub(crate) type Checked = Result<(), Broken>;

pub(crate) fn broken<T>(rule: &'static str, seen: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { rule, seen: seen.into() })
}

/// A machine that is busy wakes so much later than it asked to be woken, milliseconds.
pub(crate) const WAKES_LATE: Millis = 300;
/// A store can take so long, milliseconds.
pub(crate) const SLOW_STORE: Millis = 900;

/// What was seen of a plan.
#[derive(Debug, Clone)]
struct Seen {
    place: Place,
    process: u64,
    /// How often the unit's writing calls had ended by then.
    writes: u64,
    status: Status,
    used: bool,
}

/// The rules of one run, with what they have to remember.
#[derive(Debug)]
pub(crate) struct Rules {
    runbook: Arc<Runbook>,
    /// By step: the steps that come after it, directly or not.
    after: Vec<BTreeSet<usize>>,
    plans: BTreeMap<u64, Seen>,
    writes: BTreeMap<Place, u64>,
    verdict: Option<Verdict>,
    ended: bool,
    /// The rollback under way: since when, and how long a running effect may go on.
    rollback: Option<(Millis, Option<u64>)>,
    cancelled: bool,
    committed: bool,
    /// Undos of which a person said: put it back all the same.
    restore: HashSet<Place>,
    /// When each guard began or last looked; none while it looks.
    guards: BTreeMap<String, Option<Millis>>,
}

impl Rules {
    pub(crate) fn new(runbook: Arc<Runbook>) -> Self {
        let count = runbook.steps.len();
        let mut after = vec![BTreeSet::new(); count];
        for (index, step) in runbook.steps.iter().enumerate() {
            for &need in &step.needs {
                after[need].insert(index);
            }
            for (other, later) in runbook.steps.iter().enumerate() {
                if step.stage < later.stage {
                    after[index].insert(other);
                }
            }
        }
        loop {
            let mut grown = false;
            for step in 0..count {
                let further: BTreeSet<usize> =
                    after[step].iter().flat_map(|next| after[*next].iter().copied()).collect();
                let before = after[step].len();
                after[step].extend(further);
                grown |= after[step].len() > before;
            }
            if !grown {
                break;
            }
        }
        Self {
            runbook,
            after,
            plans: BTreeMap::new(),
            writes: BTreeMap::new(),
            verdict: None,
            ended: false,
            rollback: None,
            cancelled: false,
            committed: false,
            restore: HashSet::new(),
            guards: BTreeMap::new(),
        }
    }

    fn step(&self, path: &str) -> Option<usize> {
        self.runbook.steps.iter().position(|step| step.id == path)
    }

    /// Whether an effect of a step stays because nothing takes it back.
    pub(crate) fn stays(&self, step: usize) -> bool {
        let step = &self.runbook.steps[step];
        match (&step.undo, &step.body) {
            (Undo::Never, _) => true,
            (Undo::Call(_), _) => false,
            (Undo::Own, StepBody::Call(call)) => call.kind != ActionKind::UndoableEffect,
            (Undo::Own, _) => true,
        }
    }

    // --- commands ---

    /// Records, what goes with them, one commit, cancellations, calls, cancellations of these, the rest.
    pub(crate) fn order(commands: &[Command]) -> Checked {
        let begins =
            |id| commands.iter().any(|command| matches!(command, Command::Call { call, .. } if *call == id));
        let rank = |command: &Command| match command {
            Command::Cancel { call } if begins(*call) => 5,
            Command::Record { .. } => 0,
            Command::Consumed { .. } | Command::Lock { .. } | Command::Unlock { .. } => 1,
            Command::Commit => 2,
            Command::Cancel { .. } => 3,
            Command::Call { .. } => 4,
            _ => 6,
        };
        let ordered = commands.windows(2).all(|pair| rank(&pair[0]) <= rank(&pair[1]));
        let commits = commands.iter().filter(|command| matches!(command, Command::Commit)).count();
        if ordered && commits <= 1 { Ok(()) } else { broken("commands in order", format!("{commands:#?}")) }
    }

    // --- events, as they are recorded ---

    /// `before` is the state that the event is not folded into yet.
    pub(crate) fn event(&mut self, event: &Event, at: Millis, before: &State, world: &World) -> Checked {
        if self.ended && !matches!(event, Event::LockReleased { .. }) {
            return broken("nothing happens after the end", format!("{event:?}"));
        }
        if at < before.last_at() {
            return broken("the run's time never goes back", format!("{at} after {}", before.last_at()));
        }
        match event {
            Event::AttemptStarted { attempt, .. } if !attempt.effect.step.contains('/') => {
                let path = &attempt.effect.step;
                if !before.holds().is_empty() {
                    return broken(
                        "nothing starts while the run is held",
                        format!("{path}: {:?}", before.holds()),
                    );
                }
                if self.rollback.is_some() || self.cancelled || self.verdict.is_some() {
                    return broken("nothing starts forward once the run goes back or ends", path.to_string());
                }
            }
            Event::RollbackStarted(started) => self.rollback_started(started, at, before)?,
            Event::StepFailed { step, failure: StepFailure::Expired { .. }, .. }
                if before.is_held_for(Hold::Operator) =>
            {
                return broken("an expiry comes to nothing in a pause", step.to_string());
            }
            Event::RollbackFinished => self.rollback = None,
            Event::CancelRequested { .. } | Event::TerminateRequested { .. } => self.cancelled = true,
            Event::Committed { .. } => self.committed = true,
            Event::VerdictDecided { verdict, world: left, .. } => {
                self.verdict(*verdict, *left, before, world)?;
            }
            Event::RunEnded { verdict, .. } => {
                self.ended = true;
                if self.verdict != Some(*verdict) {
                    return broken("one verdict", format!("{:?}, then {verdict}", self.verdict));
                }
            }
            Event::GuardStarted { guard } => {
                self.guards.insert(guard.to_string(), Some(at));
            }
            Event::GuardEnded { guard } => {
                self.guards.remove(&**guard);
            }
            Event::StepFailed { step, failure: StepFailure::Rejected { .. }, .. }
                if before.approval(step).is_none() =>
            {
                return broken("only what was asked is rejected", step.to_string());
            }
            Event::StepStarted { step, .. } => self.needs_are_met(step, before)?,
            _ => (),
        }
        Ok(())
    }

    fn rollback_started(&mut self, started: &RollbackStarted, at: Millis, before: &State) -> Checked {
        if self.verdict.is_some() {
            return broken("no rollback after the verdict", format!("{started:?}"));
        }
        let by_itself = started.cause != windlass_engine::Cause::Operator;
        if by_itself && self.committed {
            return broken("no automatic rollback past the commit", format!("{started:?}"));
        }
        let expired = self.step(&started.who).is_some_and(|step| match &self.runbook.steps[step].body {
            StepBody::Approve(approval) => {
                let stand = before.approval(&started.who).map(|approval| &approval.stand);
                approval.on_expiry == OnExpiry::Hold && stand == Some(&Stand::Expired)
            }
            _ => false,
        });
        if by_itself && expired {
            return broken("an approval that expired holds the run where it says so", started.who.clone());
        }
        if by_itself && self.cancelled {
            return broken("what a person cancelled does not turn back by itself", format!("{started:?}"));
        }
        // Who asks for the way back after a cancel wants that instead.
        self.cancelled = false;
        self.rollback = Some((at, started.grace_ms));
        Ok(())
    }

    fn needs_are_met(&self, path: &str, state: &State) -> Checked {
        let Some(index) = self.step(path) else { return Ok(()) };
        for (other, after) in self.after.iter().enumerate() {
            if !after.contains(&index) {
                continue;
            }
            let need = &self.runbook.steps[other];
            let phase = state.step(&need.id).map_or(Phase::Pending, |step| step.work.phase);
            let met = match phase {
                Phase::Succeeded | Phase::Skipped => true,
                Phase::Failed => need.on_failure == OnFailure::Continue,
                // What was approved can become void again while the work that it opened goes on.
                Phase::Approving => state.approval(&need.id).is_some_and(|approval| approval.opened),
                _ => false,
            };
            if !met {
                return broken(
                    "a step starts after what it needs",
                    format!("{path} after {} ({phase})", need.id),
                );
            }
        }
        Ok(())
    }

    fn verdict(&mut self, verdict: Verdict, left: Left, state: &State, world: &World) -> Checked {
        if let Some(before) = self.verdict {
            return broken("one verdict", format!("{before}, then {verdict}"));
        }
        self.verdict = Some(verdict);
        self.rollback = None;
        match verdict {
            Verdict::Succeeded => self.all_is_done(state, world)?,
            Verdict::RolledBack => self.all_is_undone(world)?,
            Verdict::Partial | Verdict::Cancelled | Verdict::Failed => (),
        }
        match left {
            Left::Untouched if self.ours(world).next().is_some() => {
                broken("an untouched world is untouched", format!("{:?}", self.ours(world).next()))
            }
            Left::Restored => self.all_is_undone(world),
            _ => Ok(()),
        }
    }

    /// Effects of steps that are there.
    fn ours<'w>(&self, world: &'w World) -> impl Iterator<Item = &'w Place> {
        world
            .truth
            .iter()
            .filter(|((path, _), truth)| !path.contains('/') && truth.is_there() && !truth.waived)
            .map(|(place, _)| place)
    }

    fn all_is_done(&self, state: &State, world: &World) -> Checked {
        for (index, step) in self.runbook.steps.iter().enumerate() {
            let Some(found) = state.step(&step.id) else {
                return broken("a run that succeeded did all", format!("{} never began", step.id));
            };
            let reached = matches!(found.work.phase, Phase::Succeeded | Phase::Skipped);
            if !reached {
                return broken(
                    "a run that succeeded did all",
                    format!("{} is {}", step.id, found.work.phase),
                );
            }
            let shared = self.after[index]
                .iter()
                .any(|later| cell_of(state, &self.runbook.steps[*later].id) == cell_of(state, &step.id));
            for (path, item, work) in state.works().filter(|(path, ..)| *path == step.id) {
                let is_fan = found.items.is_some() && item.is_none();
                let believed = matches!(work.effect, windlass_engine::Effect::Accepted);
                if !work.writes || work.phase != Phase::Succeeded || shared || is_fan || believed {
                    continue;
                }
                let input = work.input.as_deref().cloned().unwrap_or_default();
                let cell = crate::world::text(&input, "cell");
                let posts = work.call.as_ref().is_some_and(|call| &*call.action == "post");
                let there = match posts {
                    true => work.attempts.iter().any(|attempt| world.posts.contains_key(&*attempt.key)),
                    false => world.cell(&cell) == Some(&crate::world::text(&input, "value")),
                };
                if !there && !world.strange.contains(&cell) {
                    return broken(
                        "what succeeded is there",
                        format!("{path} {item:?}: {:?}", world.cell(&cell)),
                    );
                }
            }
        }
        Ok(())
    }

    fn all_is_undone(&self, world: &World) -> Checked {
        if let Some((path, item)) = self.ours(world).find(|place| !world.truth[*place].stays) {
            return broken("what was rolled back is gone", format!("{path} {item:?}"));
        }
        let theirs: BTreeSet<&String> = world
            .truth
            .iter()
            .filter(|((path, _), truth)| truth.waived || truth.stays || path.contains('/'))
            .filter_map(|(_, truth)| truth.cell.as_ref())
            .collect();
        match world.changed_cells().find(|cell| !theirs.contains(cell)) {
            Some(cell) => {
                broken("after a rollback the world is as before", format!("{cell}: {:?}", world.cell(cell)))
            }
            None => Ok(()),
        }
    }

    // --- calls ---

    /// A call is about to be made. `durable` is what a crash now would leave.
    pub(crate) fn call(
        &mut self,
        flying: &Flying,
        durable: &State,
        world: &World,
        others: &[Flying],
    ) -> Checked {
        let (path, item) = &flying.place;
        let named = format!("{path} {item:?}");
        let request = &flying.request;
        if let Some(seen) = self.guards.get_mut(path.as_str()) {
            *seen = None;
            return Ok(());
        }
        let work = durable.work(path, item.as_deref());
        if work.is_some_and(|work| work.phase.is_over()) {
            return broken("what is over is not called again", named);
        }
        if flying.write.is_none() {
            return Ok(());
        }
        let open = work.is_some_and(|work| {
            work.attempts.iter().any(|attempt| {
                attempt.effect.is_none()
                    && attempt.key == request.idempotency_key
                    && attempt.attempt.effect.attempt == request.attempt
            })
        });
        if !open {
            return broken("an effect has a durable intent", named);
        }
        if others.iter().any(|other| other.place == flying.place && other.write.is_some()) {
            return broken("one attempt at a time", named);
        }
        self.plan_is_fresh(flying, &named)?;
        if let CallKind::Undo { done, .. } = &request.phase {
            let place = (path.trim_start_matches("undo/").to_owned(), item.clone());
            let truth = world.truth.get(&place);
            let attempts = truth.map_or(&[][..], |truth| &truth.attempts);
            let forward = durable.work(&place.0, item.as_deref());
            let known = |key: &str, number: u32| {
                forward.is_some_and(|work| {
                    let mut begun = work.attempts.iter();
                    begun.any(|begun| *begun.key == *key && begun.attempt.effect.attempt == number)
                })
            };
            if done.is_empty() || !done.iter().all(|attempt| known(&attempt.key, attempt.number)) {
                return broken("nothing is undone that was not begun", format!("{named}: {done:?}"));
            }
            let listed =
                |key: &str, number: u32| done.iter().any(|done| done.key == key && done.number == number);
            if let Some(lost) = attempts.iter().find(|(key, number, landed)| *landed && !listed(key, *number))
            {
                return broken("the undo list holds every attempt", format!("{named}: {lost:?}"));
            }
        }
        match path.strip_prefix("undo/") {
            Some(step) => self.nothing_stands_on(step, &named, world, others),
            None => Ok(()),
        }
    }

    fn plan_is_fresh(&mut self, flying: &Flying, named: &str) -> Checked {
        let (CallKind::Apply { plan, .. } | CallKind::Undo { plan, .. }) = &flying.request.phase else {
            return Ok(());
        };
        let writes = self.writes.get(&flying.place).copied().unwrap_or_default();
        let Some(seen) = self.plans.get_mut(&nonce(plan)) else {
            return broken("no plan is made up", named);
        };
        let now = flying.call.process;
        if seen.used || seen.process != now || seen.place != flying.place || seen.writes != writes {
            return broken("no old plan is applied", format!("{named}: {seen:?}, now {writes} in {now}"));
        }
        seen.used = true;
        let restore = self.restore.remove(&flying.place);
        match &seen.status {
            Status::Differs => Ok(()),
            Status::Conflict(_) | Status::Unknown(_) if restore => Ok(()),
            status => broken("nobody's change is overwritten", format!("{named}: the plan says {status:?}")),
        }
    }

    /// Everything that came after a step is gone before the step itself is taken back.
    fn nothing_stands_on(&self, step: &str, named: &str, world: &World, others: &[Flying]) -> Checked {
        let Some(index) = self.step(step) else { return Ok(()) };
        for &later in &self.after[index] {
            let id = &self.runbook.steps[later].id;
            if let Some(running) = others.iter().find(|other| other.write.is_some() && other.place.0 == *id) {
                return broken(
                    "undo goes backwards",
                    format!("{named} while {:?} is applied", running.place),
                );
            }
            let standing = world
                .truth
                .iter()
                .find(|((path, _), truth)| path == id && truth.is_there() && !truth.waived && !truth.stays);
            if let Some((place, _)) = standing {
                return broken("undo goes backwards", format!("{named} while {place:?} is there"));
            }
        }
        Ok(())
    }

    /// A call has ended with this plan.
    pub(crate) fn planned(&mut self, flying: &Flying, plan: &windlass_runbook::outcome::Plan) {
        let seen = Seen {
            place: flying.place.clone(),
            process: flying.call.process,
            writes: self.writes.get(&flying.place).copied().unwrap_or_default(),
            status: plan.status.clone(),
            used: false,
        };
        self.plans.insert(nonce(plan), seen);
    }

    pub(crate) fn call_ended(&mut self, flying: &Flying, now: Millis) {
        if flying.write.is_some() {
            *self.writes.entry(flying.place.clone()).or_default() += 1;
        }
        if let Some(seen) = self.guards.get_mut(&flying.place.0) {
            *seen = Some(now);
        }
    }

    pub(crate) fn may_restore(&mut self, place: Place) {
        self.restore.insert(place);
    }

    /// What was not durable did not happen.
    pub(crate) fn after_crash(&mut self, state: &State) {
        self.verdict = state.verdict().map(|decided| decided.verdict);
        self.ended = state.ended().is_some();
        self.cancelled = state.cancelled().is_some();
        self.committed = !state.horizons().is_empty();
        self.rollback = state
            .rollback()
            .filter(|_| state.goes_back())
            .map(|rollback| (rollback.at, rollback.started.grace_ms));
        self.guards = state
            .guards()
            .iter()
            .filter(|(_, guard)| guard.is_watching())
            .map(|(path, guard)| (path.to_string(), Some(guard.last_at)))
            .collect();
    }

    /// Another process has the run: nobody has looked for a while.
    pub(crate) fn restarted(&mut self, now: Millis) {
        self.guards.values_mut().for_each(|seen| *seen = Some(now));
    }

    // --- time ---

    /// Before time goes on to `now`.
    pub(crate) fn time(&self, now: Millis, flying: &[Flying], state: &State) -> Checked {
        if let Some((since, Some(grace))) = self.rollback {
            let limit = since + Millis::try_from(grace).unwrap_or(Millis::MAX);
            let late = flying.iter().find(|call| {
                call.write.is_some() && !call.cancelled && !call.place.0.contains('/') && call.began <= since
            });
            if let Some(call) = late.filter(|_| now > limit + WAKES_LATE + SLOW_STORE) {
                return broken(
                    "a running effect is interrupted after its grace",
                    format!("{:?}", call.place),
                );
            }
        }
        let forward =
            self.rollback.is_none() && !self.cancelled && self.verdict.is_none() && !self.waits(state);
        if !forward {
            return Ok(());
        }
        for (path, seen) in &self.guards {
            let guard =
                self.runbook.guards.iter().find(|guard| path.strip_prefix("guard/") == Some(&guard.id));
            let (Some(guard), Some(seen)) = (guard, seen) else { continue };
            let period = Millis::try_from(guard.every_ms).unwrap_or(Millis::MAX);
            if now > seen + 2 * period + WAKES_LATE + SLOW_STORE {
                return broken("no guard is starved", format!("{path}: {} ms", now - seen));
            }
        }
        Ok(())
    }

    fn waits(&self, state: &State) -> bool {
        self.runbook.concurrency.is_some() && !state.has_lock() && !self.committed
    }

    /// Whether an effect needs the group's lock now.
    pub(crate) fn needs_lock(&self, path: &str) -> bool {
        let going_on = self.verdict.is_none() && !self.cancelled;
        self.runbook.concurrency.is_some()
            && going_on
            && !path.starts_with("finally/")
            && (!self.committed || self.rollback.is_some())
    }
}

fn cell_of(state: &State, step: &str) -> Option<String> {
    let input = state.step(step)?.work.input.as_ref()?;
    Some(crate::world::text(input, "cell"))
}
