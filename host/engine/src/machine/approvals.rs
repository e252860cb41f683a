//! Approvals: what people are asked, what they say, and that nothing else is done than was approved.
//!
//! A request is made of the plans of what it covers, which are made in read mode as `windlass plan` makes them.
//! Invariants: only people approve, never time or failure; a covered effect begins only while what it is about to
//! change lies within what was approved; a request that nobody need answer any more can't be answered.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use windlass_runbook::model::{Approval, Bind, StepBody};
use windlass_runbook::outcome::Plan;

use super::{Machine, Unit, millis};
use crate::approval::{bound, difference, digest, digest_of};
use crate::command::{CallId, CallReport, Command};
use crate::event::{ApprovalGiven, ApprovalRequest, Covered, Decision, Event};
use crate::failure::StepFailure;
use crate::identity::Millis;
use crate::plan::{PlanCommand, PlanOutcome, PlanRow, Planner};
use crate::state::{ApprovalState, Stand};
use crate::words::{Effect, Hold, Phase};

/// The approvals of a run in this process.
#[derive(Debug, Default)]
pub(super) struct Approvals {
    /// By step: the approvals that cover it.
    covering: HashMap<usize, Vec<usize>>,
    /// The approval steps.
    steps: Vec<usize>,
    /// What is being planned, by approval step.
    drafts: HashMap<usize, Draft>,
    /// The calls of those plans: whose they are, and what the planner knows them as.
    calls: HashMap<CallId, (usize, CallId)>,
    /// Covered units that wait for another approval.
    parked: Vec<Unit>,
}

#[derive(Debug)]
struct Draft {
    planner: Planner,
    text: String,
    rows: Vec<PlanRow>,
}

impl Machine {
    /// What each approval covers, found once.
    pub(super) fn find_approvals(&mut self) {
        let layout = Arc::clone(&self.layout);
        for step in 0..layout.main_steps() {
            let Some(approval) = approval_of(&layout, step) else { continue };
            let covered = match &approval.covers {
                Some(covers) => covers.clone(),
                None => layout.covered_after(step, |step| approval_of(&layout, step).is_some()),
            };
            for covered in covered {
                self.approvals.covering.entry(covered).or_default().push(step);
            }
            self.approvals.steps.push(step);
        }
    }

    fn covered_by(&self, approval: usize) -> Vec<usize> {
        let covers = |(step, by): (&usize, &Vec<usize>)| by.contains(&approval).then_some(*step);
        let mut covered: Vec<usize> = self.approvals.covering.iter().filter_map(covers).collect();
        covered.sort_unstable();
        covered
    }

    fn approval_state(&self, step: usize) -> Option<&ApprovalState> {
        self.state.approval(&self.layout.path(step))
    }

    // --- asking ---

    /// Goes on with an approval step: people have been asked, or are about to be.
    pub(super) fn approve_step(&mut self, unit: Unit, approval: &Approval) {
        if self.approval_state(unit.step).is_some_and(ApprovalState::is_open)
            || self.approvals.drafts.contains_key(&unit.step)
            || self.is_expiring(unit.step)
        {
            return;
        }
        let text = match approval.text.resolve(&self.scope(None, None)) {
            Ok(serde_json::Value::String(text)) => text,
            Ok(other) => other.to_string(),
            // What it would say is not known: nobody can be asked, so nobody has approved.
            Err(error) => return self.fail_expression(unit, "approve", &error),
        };
        let wanted: BTreeSet<usize> = self
            .covered_by(unit.step)
            .into_iter()
            .filter(|step| !self.work(Unit::step(*step)).is_some_and(|work| work.phase.is_over()))
            .collect();
        let mut planner = Planner::part_of(Arc::clone(&self.layout), self.state.clone(), wanted);
        let commands = planner.begin(self.now);
        self.approvals.drafts.insert(unit.step, Draft { planner, text, rows: Vec::new() });
        self.carry_on(unit.step, commands);
    }

    fn carry_on(&mut self, approval: usize, commands: Vec<PlanCommand>) {
        for command in commands {
            match command {
                PlanCommand::Call { call, step, item, request } => {
                    let own = self.next_call();
                    self.approvals.calls.insert(own, (approval, call));
                    self.batch.calls.push(Command::Call { call: own, step, item, request });
                }
                PlanCommand::Row(row) => {
                    if let Some(draft) = self.approvals.drafts.get_mut(&approval) {
                        draft.rows.push(*row);
                    }
                }
                PlanCommand::Done(_) => self.ask_people(approval),
            }
        }
    }

    /// A call of a plan that is to be approved ended. False where it is none of those.
    pub(super) fn draft_called(&mut self, call: CallId, report: &mut Option<CallReport>) -> bool {
        let Some((approval, theirs)) = self.approvals.calls.remove(&call) else { return false };
        let now = self.now;
        if let (Some(draft), Some(report)) = (self.approvals.drafts.get_mut(&approval), report.take()) {
            let commands = draft.planner.called(theirs, report, now);
            self.carry_on(approval, commands);
        }
        true
    }

    /// Everything covered has been planned.
    fn ask_people(&mut self, step: usize) {
        let Some(draft) = self.approvals.drafts.remove(&step) else { return };
        let layout = Arc::clone(&self.layout);
        let (Some(approval), Some(created)) = (approval_of(&layout, step), self.state.created()) else {
            return;
        };
        let unit = Unit::step(step);
        let failed = draft.rows.iter().find_map(|row| match &row.outcome {
            PlanOutcome::Failed { failure } => Some(format!("`{}`: {failure}", row.step)),
            _ => None,
        });
        if let Some(message) = failed {
            return self.fail(unit, StepFailure::NotPlanned { message });
        }
        let covers = covered(&layout, &draft);
        let exact = approval.bind == Bind::Exact;
        let open: Vec<String> = covers
            .iter()
            .filter_map(|covered| Some(format!("`{}`: {}", covered.step, covered.deferred.as_ref()?)))
            .collect();
        if exact && !open.is_empty() {
            return self.fail(unit, StepFailure::NotExact { deferred: open });
        }
        let path = layout.path(step);
        let mut request = ApprovalRequest {
            digest: String::new(),
            round: self
                .approval_state(step)
                .and_then(|state| state.request.as_ref())
                .map_or(1, |before| before.round + 1),
            runbook: digest_of(&created.runbook.text),
            environment: created.environment.as_ref().map(|pinned| digest_of(&pinned.text)),
            lock: created.lock.as_ref().map(|pinned| digest_of(&pinned.text)),
            text: draft.text,
            roles: approval.roles.clone(),
            each: approval.each,
            any: approval.any,
            expires_at: approval.expires_ms.map(|after| self.now.saturating_add(millis(after))),
            exact,
            covers,
        };
        request.digest = digest(&created.run, &path, &request);
        self.record(Event::ApprovalRequested { step: path, request: Box::new(request) });
        self.commit();
    }

    // --- answers ---

    /// A person's word on a request.
    ///
    /// # Errors
    /// Why it does not count.
    pub(super) fn approval_given(&mut self, given: ApprovalGiven) -> Result<(), String> {
        let layout = Arc::clone(&self.layout);
        let step = layout.find(&given.step).ok_or_else(|| format!("the run has no step `{}`", given.step))?;
        let approval =
            approval_of(&layout, step).ok_or_else(|| format!("step `{}` asks nobody", given.step))?;
        self.counts(step, approval, &given)?;
        let rejected = given.decision == Decision::Reject;
        let (who, because) = (given.who.clone(), given.reason.clone());
        self.record(Event::ApprovalGiven(Box::new(given)));
        self.commit();
        if rejected {
            self.close_approval(step, StepFailure::Rejected { who, because });
        } else if self.is_granted(step, approval) {
            self.grant(step);
        }
        Ok(())
    }

    fn counts(&self, step: usize, approval: &Approval, given: &ApprovalGiven) -> Result<(), String> {
        let path = &given.step;
        if self.state.verdict().is_some() || self.state.cancelled().is_some() || self.state.goes_back() {
            return Err("the run goes forward no more: there is nothing to approve".to_owned());
        }
        let state = self.approval_state(step).filter(|state| state.is_open());
        let Some((state, request)) = state.and_then(|state| Some((state, state.request.as_ref()?))) else {
            return Err(format!("`{path}` does not ask for approval now"));
        };
        if given.request != request.digest {
            return Err(format!("what `{path}` asks has changed since this was signed: look at it again"));
        }
        if request.expires_at.is_some_and(|at| self.now >= at) {
            return Err(format!("the time to approve `{path}` is over"));
        }
        if speaks_as(approval, given).is_empty() {
            return Err(wrong_role(approval, given));
        }
        let said = |(before, _): &(ApprovalGiven, Millis)| {
            before.who == given.who && speaks_as(approval, before).is_superset(&speaks_as(approval, given))
        };
        if given.decision == Decision::Reject {
            return Ok(());
        }
        if state.given.iter().any(said) {
            return Err(format!("{} has approved `{path}` already", given.who));
        }
        if approval.evidence && given.evidence.as_ref().is_none_or(|evidence| evidence.trim().is_empty()) {
            return Err(format!("`{path}` wants evidence: say what shows that it is done"));
        }
        match &approval.owner {
            Some(owner) if *owner != given.who => {
                Err(format!("`{path}` is for {owner} to do, not for {}", given.who))
            }
            _ => Ok(()),
        }
    }

    /// Whether enough people have approved. A person counts once in each role, once among `any`, and the one who
    /// started the run never alone.
    fn is_granted(&self, step: usize, approval: &Approval) -> bool {
        let Some(state) = self.approval_state(step) else { return false };
        let mut by_role: BTreeMap<&str, HashSet<&str>> = BTreeMap::new();
        let mut people: HashSet<&str> = HashSet::new();
        for (given, _) in state.given.iter().filter(|(given, _)| given.decision == Decision::Approve) {
            people.insert(&given.who);
            for role in speaks_as(approval, given) {
                by_role.entry(role).or_default().insert(&given.who);
            }
        }
        let starter = self.state.created().map_or("", |created| &created.started_by);
        if !approval.own && !people.iter().any(|who| *who != starter) {
            return false;
        }
        let wanted = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        match approval.any {
            Some(any) => people.len() >= wanted(any),
            None => approval.roles.iter().all(|role| {
                by_role.get(role.as_str()).map_or(0, HashSet::len) >= wanted(approval.each.max(1))
            }),
        }
    }

    fn grant(&mut self, step: usize) {
        let unit = Unit::step(step);
        if self.approval_state(step).is_some_and(|state| state.opened) {
            // Asked again: what it gates was opened before.
            let event = Event::StepSucceeded {
                step: self.layout.path(step),
                item: None,
                effect: Effect::None,
                output: None,
            };
            self.record(event);
        } else {
            self.succeed(unit, Effect::None, None);
        }
        self.ready.extend(std::mem::take(&mut self.approvals.parked));
    }

    /// The request is over without being granted; the step fails, and never is passed over.
    fn close_approval(&mut self, step: usize, failure: StepFailure) {
        self.fail(Unit::step(step), failure);
        self.commit();
    }

    // --- time ---

    /// Lets requests expire whose time is over. While a person has paused the run that is only written down: what comes
    /// of it is work, and comes when the run goes on.
    pub(super) fn look_at_approvals(&mut self) {
        if self.approvals.steps.is_empty() || self.state.verdict().is_some() {
            return;
        }
        if self.state.goes_back() || self.state.cancelled().is_some() {
            self.approvals.parked.clear();
            return self.drop_drafts();
        }
        let layout = Arc::clone(&self.layout);
        let paused = self.state.is_held_for(Hold::Operator);
        for step in self.approvals.steps.clone() {
            if self.expiry(step).is_some_and(|at| at <= self.now) {
                self.record(Event::ApprovalExpired { step: layout.path(step) });
                self.commit();
            }
            let Some(approval) = approval_of(&layout, step) else { continue };
            if !paused && self.is_expiring(step) {
                let after_ms = approval.expires_ms.unwrap_or_default();
                self.close_approval(step, StepFailure::Expired { after_ms });
            }
        }
    }

    /// Whether the time of a request is over, and nothing has come of that yet.
    fn is_expiring(&self, step: usize) -> bool {
        self.approval_state(step).is_some_and(|state| state.stand == Stand::Expired)
            && self.work(Unit::step(step)).is_some_and(|work| work.phase == Phase::Approving)
    }

    fn expiry(&self, step: usize) -> Option<Millis> {
        self.approval_state(step).filter(|state| state.is_open())?.request.as_ref()?.expires_at
    }

    /// When the next request expires. Nobody need stay awake for that while the run is paused.
    pub(super) fn approvals_wake(&self) -> Option<Millis> {
        if self.state.is_held_for(Hold::Operator)
            || self.state.verdict().is_some()
            || self.state.cancelled().is_some()
            || self.state.goes_back()
        {
            return None;
        }
        self.approvals.steps.iter().filter_map(|step| self.expiry(*step)).min()
    }

    /// Whether people are asked.
    pub(super) fn is_asking_people(&self) -> bool {
        self.approvals.steps.iter().any(|step| self.approval_state(*step).is_some_and(ApprovalState::is_open))
    }

    /// Drops what is being planned for requests: nobody is going to be asked.
    pub(super) fn drop_drafts(&mut self) {
        self.approvals.drafts.clear();
        let mut calls: Vec<CallId> = self.approvals.calls.drain().map(|(call, _)| call).collect();
        calls.sort_unstable();
        self.batch.cancels.extend(calls.into_iter().map(|call| Command::Cancel { call }));
    }

    /// Whether a request is being made of plans.
    pub(super) fn is_drafting(&self) -> bool {
        !self.approvals.calls.is_empty()
    }

    // --- what is covered ---

    /// Whether an effect may begin as far as approvals are concerned. If what it would do is not what was approved,
    /// the approval is void and asked for again, and the unit waits.
    pub(super) fn is_approved(&mut self, unit: Unit, plan: &Plan) -> bool {
        let Some(approvals) = self.approvals.covering.get(&unit.step).cloned() else { return true };
        for approval in approvals {
            match self.differs(approval, unit, plan) {
                Ok(()) => (),
                Err(None) => {
                    self.approvals.parked.push(unit);
                    return false;
                }
                Err(Some(difference)) => {
                    self.approvals.parked.push(unit);
                    self.void(approval, unit, difference);
                    return false;
                }
            }
        }
        true
    }

    /// Err with what differs, or with nothing where it is not approved now.
    fn differs(&self, approval: usize, unit: Unit, plan: &Plan) -> Result<(), Option<String>> {
        let state = self.approval_state(approval);
        if state.is_none() && self.work(Unit::step(approval)).is_some_and(|work| work.phase == Phase::Skipped)
        {
            // Its `when` says that nobody need be asked.
            return Ok(());
        }
        let Some(state) = state.filter(|state| state.stand == Stand::Granted) else { return Err(None) };
        let (path, item) = (self.layout.path(unit.step), self.item_key(unit));
        let covers = state.request.iter().flat_map(|request| &request.covers);
        let of_step: Vec<&Covered> = covers.filter(|covered| covered.step == path).collect();
        let covered = of_step
            .iter()
            .find(|covered| covered.item == item)
            .or_else(|| of_step.iter().find(|covered| covered.item.is_none() && covered.changes.is_none()));
        let Some(covered) = covered else {
            return Err(Some("it was not to be done when this was approved".to_owned()));
        };
        let input = self.work(unit).and_then(|work| work.input.clone()).unwrap_or_default();
        match difference(covered, &input, plan) {
            None => Ok(()),
            Some(difference) => Err(Some(difference)),
        }
    }

    fn void(&mut self, approval: usize, unit: Unit, difference: String) {
        let step = self.layout.path(approval);
        self.record(Event::ApprovalVoided { step, covered: self.layout.path(unit.step), difference });
        self.commit();
        self.ready.push_back(Unit::step(approval));
    }
}

fn approval_of(layout: &crate::layout::Layout, step: usize) -> Option<&Approval> {
    match &layout.step(step)?.body {
        StepBody::Approve(approval) if step < layout.main_steps() => Some(approval),
        _ => None,
    }
}

/// The roles of an approval in which a person speaks.
fn speaks_as<'a>(approval: &'a Approval, given: &ApprovalGiven) -> BTreeSet<&'a str> {
    let speaks = |role: &&String| {
        given.roles.contains(role) && given.role.as_ref().is_none_or(|spoken| spoken == *role)
    };
    approval.roles.iter().filter(speaks).map(String::as_str).collect()
}

/// Why somebody's word does not count, with the roles that they have and those that it takes.
fn wrong_role(approval: &Approval, given: &ApprovalGiven) -> String {
    let wanted = approval.roles.join(" or ");
    let has = if given.roles.is_empty() { "no role".to_owned() } else { given.roles.join(", ") };
    let spoken = given.role.as_ref().map(|role| format!(" and speaks as {role}")).unwrap_or_default();
    format!(
        "`{}` takes the word of {wanted}; {} has {has}{spoken}, so this does not count",
        given.step, given.who
    )
}

/// What the rows of a plan bind.
fn covered(layout: &crate::layout::Layout, draft: &Draft) -> Vec<Covered> {
    let mut rows: Vec<&PlanRow> = draft.rows.iter().collect();
    // Calls end in any order; the rows of one step stay in the order of its items.
    rows.sort_by_key(|row| row.position);
    let mut covers = Vec::new();
    for row in rows {
        let writes = matches!(
            layout.step(row.position).map(|step| &step.body),
            Some(StepBody::Call(invocation)) if invocation.kind.has_effect()
        );
        let (changes, deferred) = match &row.outcome {
            PlanOutcome::Changes { plan } | PlanOutcome::InProgress { plan } => (Some(bound(plan)), None),
            PlanOutcome::Deferred { reason } => (None, Some(reason.clone())),
            PlanOutcome::Unchanged { .. } => (Some(Vec::new()), None),
            _ => continue,
        };
        if !writes {
            continue;
        }
        covers.push(Covered {
            step: Arc::clone(&row.step),
            item: row.item.clone(),
            action: row.action.clone().unwrap_or_default(),
            input: draft.planner.input_of(row.position, row.item.as_deref()),
            changes,
            deferred,
        });
    }
    covers
}
