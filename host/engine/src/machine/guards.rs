//! Guards: what watches a run going forward, whatever its steps are doing.
//!
//! Guards have calls and clocks of their own, beside the queue of steps, so that neither a hold nor a sleep nor a long
//! step keeps one from looking. Invariants: a guard acts only while the run goes forward; what it did to the run is in
//! the journal before anything follows from it; after a time in which nobody looked, no effect begins before every
//! guard has given a good sample.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;
use windlass_runbook::coerce::coerce_record;
use windlass_runbook::expression::Expression;
use windlass_runbook::model::{Guard, Interrupt, NoData};

use super::reading::output_of;
use super::streak::{Severity, Streaks};
use super::{Machine, READ_MS, Unit, millis};
use crate::command::{CallId, CallKind, CallReport, CallRequest, Command};
use crate::compare::{Compared, Comparison};
use crate::event::{Event, GuardSampled, Samples};
use crate::failure::{CallFailure, Measured, MeasuredList, Span};
use crate::identity::{Direction, EffectId, Millis};
use crate::scope::{measured, null_in};
use crate::words::{Band, GuardAction, Hold, Phase};

/// The guards of a run in this process.
#[derive(Debug, Default)]
pub(super) struct Guards {
    watches: Vec<Watch>,
    calls: HashMap<CallId, usize>,
    /// Units that have an effect ready and wait for the guards to have looked.
    parked: Vec<Unit>,
}

/// A guard in this process.
#[derive(Debug, Default)]
struct Watch {
    call: Option<(CallId, Millis)>,
    /// When it looks next.
    next_at: Millis,
    streaks: Streaks,
    /// The band of the last sample, and since when.
    band: Option<(Band, Millis)>,
    samples: Samples,
    measured: Vec<Measured>,
    failure: Option<CallFailure>,
    /// Nobody looked for a while: it must say that all is well before the next effect.
    unproven: bool,
    comparison: Option<Comparison>,
}

/// What a sample says.
struct Sample {
    band: Band,
    measured: Vec<Measured>,
    compared: Option<Compared>,
    failure: Option<CallFailure>,
}

impl Guards {
    pub(super) fn new(guards: &[Guard]) -> Self {
        let watches = guards
            .iter()
            .map(|guard| Watch {
                comparison: guard
                    .rollback_when
                    .as_ref()
                    .and_then(Comparison::of)
                    .or_else(|| guard.hold_when.as_ref().and_then(Comparison::of)),
                ..Watch::default()
            })
            .collect();
        Self { watches, ..Self::default() }
    }
}

impl Machine {
    fn guard(&self, index: usize) -> Option<(&Guard, Arc<str>)> {
        let guard = self.layout.runbook().guards.get(index)?;
        Some((guard, Arc::clone(self.layout.guard_path(index)?)))
    }

    fn watch(&mut self, index: usize) -> Option<&mut Watch> {
        self.guards.watches.get_mut(index)
    }

    fn is_watching(&self, index: usize) -> bool {
        self.layout
            .guard_path(index)
            .and_then(|path| self.state.guard(path))
            .is_some_and(crate::state::GuardState::is_watching)
    }

    /// Whether guards act: the run is under way and goes forward.
    fn goes_forward(&self) -> bool {
        self.state.verdict().is_none()
            && self.state.cancelled().is_none()
            && !self.state.goes_back()
            && !self.waits_for_lock()
    }

    /// Begins, ends and samples guards as it is time.
    pub(super) fn look_at_guards(&mut self) {
        if self.guards.watches.is_empty() {
            return;
        }
        if !self.goes_forward() {
            return self.rest_guards();
        }
        for index in 0..self.guards.watches.len() {
            self.look_at_guard(index);
        }
    }

    fn look_at_guard(&mut self, index: usize) {
        let Some((guard, path)) = self.guard(index) else { return };
        let (from, until, past_commit) = (guard.from, guard.until, guard.past_commit);
        let known = self.state.guard(&path).is_some();
        if !known && from.is_none_or(|from| self.has_succeeded(from)) {
            let now = self.now;
            self.record(Event::GuardStarted { guard: Arc::clone(&path) });
            if let Some(watch) = self.watch(index) {
                watch.next_at = now;
            }
        }
        if !self.is_watching(index) {
            return;
        }
        let over =
            until.is_some_and(|until| self.has_succeeded(until)) || (self.is_committed() && !past_commit);
        if over {
            return self.end_guard(index);
        }
        let now = self.now;
        let due = self.watch(index).is_some_and(|watch| watch.call.is_none() && watch.next_at <= now);
        if due {
            self.sample(index);
        }
    }

    fn has_succeeded(&self, step: usize) -> bool {
        self.work(Unit::step(step)).is_some_and(|work| work.phase == Phase::Succeeded)
    }

    /// It watches no longer, and nothing that it held stays held.
    pub(super) fn end_guard(&mut self, index: usize) {
        let Some((_, path)) = self.guard(index) else { return };
        self.drop_sample(index);
        self.record_guard(index);
        self.record(Event::GuardEnded { guard: Arc::clone(&path) });
        self.release_of(Hold::Guard, &path, &path);
        if let Some(watch) = self.watch(index) {
            watch.unproven = false;
        }
        self.unpark();
    }

    /// Ends all of them: the run is over.
    pub(super) fn end_guards(&mut self) {
        for index in 0..self.guards.watches.len() {
            if self.is_watching(index) {
                self.end_guard(index);
            }
        }
    }

    /// Nothing is watched for now. What was seen last is put on record.
    fn rest_guards(&mut self) {
        for index in 0..self.guards.watches.len() {
            self.drop_sample(index);
            self.record_guard(index);
            if let Some(watch) = self.watch(index) {
                watch.streaks = Streaks::default();
                watch.next_at = 0;
            }
        }
        if self.state.goes_back() {
            // What was to come is laid out anew if the run ever goes forward again.
            self.guards.parked.clear();
        }
    }

    fn drop_sample(&mut self, index: usize) {
        let Some((call, _)) = self.watch(index).and_then(|watch| watch.call.take()) else { return };
        self.guards.calls.remove(&call);
        self.batch.cancels.push(Command::Cancel { call });
    }

    /// When a guard looks next.
    pub(super) fn guards_wake(&self) -> Option<Millis> {
        if !self.goes_forward() {
            return None;
        }
        (0..self.guards.watches.len())
            .filter(|index| self.is_watching(*index))
            .filter_map(|index| self.guards.watches.get(index))
            .filter(|watch| watch.call.is_none())
            .map(|watch| watch.next_at)
            .min()
    }

    /// Whether any guard watches, so that more may happen without a person.
    pub(super) fn is_watched(&self) -> bool {
        self.goes_forward() && (0..self.guards.watches.len()).any(|index| self.is_watching(index))
    }

    // --- sampling ---

    fn sample(&mut self, index: usize) {
        let Some((guard, path)) = self.guard(index) else { return };
        let input = match self.guard_input(guard) {
            Ok(input) => Arc::new(input),
            Err(message) => {
                let failure = CallFailure::Fault { message };
                return self.take_sample(index, Err(Box::new(failure)), self.now);
            }
        };
        let Some(name) = self.layout.guard_call(index).cloned() else { return };
        // A gap of two periods breaks what must last, so no sample may take longer.
        let timeout_ms =
            guard.timeout_ms.unwrap_or_else(|| guard.every_ms.saturating_mul(2).clamp(1_000, READ_MS));
        let id = EffectId {
            step: Arc::clone(&path),
            item: None,
            generation: 1,
            direction: Direction::Do,
            attempt: 1,
        };
        let run = self.state.created().map_or("", |created| &created.run);
        let request = CallRequest {
            plugin: name.plugin,
            interface: name.interface,
            action: name.action,
            phase: CallKind::Read { input },
            attempt: 1,
            idempotency_key: id.idempotency_key(run).into(),
            timeout_ms,
            require_gone: Vec::new(),
        };
        let (call, now) = (self.next_call(), self.now);
        self.guards.calls.insert(call, index);
        if let Some(watch) = self.watch(index) {
            watch.call = Some((call, now));
        }
        self.batch.calls.push(Command::Call { call, step: path, item: None, request });
    }

    fn guard_input(&self, guard: &Guard) -> Result<Value, String> {
        let value = guard.call.input.resolve(&self.scope(None, None)).map_err(|error| error.to_string())?;
        coerce_record(value, &guard.call.input_type).map_err(|mismatch| mismatch.to_string())
    }

    /// A call of a guard ended. False where it is none of a guard's.
    pub(super) fn guard_called(&mut self, call: CallId, report: &mut Option<CallReport>) -> bool {
        let Some(index) = self.guards.calls.remove(&call) else { return false };
        let began = self.watch(index).and_then(|watch| watch.call.take()).map(|(_, began)| began);
        if let (Some(began), Some(report)) = (began, report.take()) {
            self.take_sample(index, output_of(report.result), began);
        }
        true
    }

    fn take_sample(&mut self, index: usize, result: Result<Value, Box<CallFailure>>, began: Millis) {
        let Some((guard, path)) = self.guard(index) else { return };
        let (every_ms, for_ms, clear_for_ms) = (guard.every_ms, guard.for_ms, guard.clear_for_ms);
        let no_data = guard.no_data;
        let sample = self.judge(index, guard, result);
        let severity = match (sample.band, no_data) {
            (Band::Good, _) => Some(Severity::Good),
            (Band::Hold, _) | (Band::NoData, NoData::Hold) => Some(Severity::Hold),
            (Band::Rollback, _) | (Band::NoData, NoData::Rollback) => Some(Severity::Rollback),
            (Band::NoData, NoData::Ignore) => None,
        };
        let now = self.now;
        let period = millis(every_ms);
        let Some(watch) = self.watch(index) else { return };
        let broken = watch.streaks.take(now, period, severity);
        let before = watch.band.map(|(band, _)| band);
        if before != Some(sample.band) || broken {
            watch.band = Some((sample.band, now));
        }
        watch.add(now, &sample);
        // Whatever may be ignored needs no proof either.
        let proven = !matches!(severity, Some(Severity::Hold | Severity::Rollback));
        watch.unproven = watch.unproven && !proven;
        watch.next_at = began.saturating_add(period).max(now + 1);
        let since = watch.band.map_or(now, |(_, since)| since);
        // A sample that is ignored says nothing about the time before it either.
        let lasting = match severity {
            Some(_) => watch.streaks.lasting(now, millis(for_ms)),
            None => Severity::Good,
        };
        let clear = severity.is_some() && watch.streaks.is_good_for(now, millis(clear_for_ms));
        if before != Some(sample.band) || watch.samples.are_enough() {
            self.record_guard(index);
        }
        self.batch.rest.push(Command::Watched {
            guard: Arc::clone(&path),
            band: sample.band,
            measured: sample.measured.clone(),
            compared: sample.compared.clone(),
            since_ms: u64::try_from(now - since).unwrap_or(0),
            for_ms: if sample.band == Band::Good { clear_for_ms } else { for_ms },
        });
        self.unpark();
        let holds = self.state.is_held_by(Hold::Guard, &path);
        match lasting {
            Severity::Rollback => self.trip(index, GuardAction::Rollback, holds, &sample),
            Severity::Hold if !holds => self.trip(index, GuardAction::Hold, holds, &sample),
            _ if holds && clear => {
                self.record_guard(index);
                self.release_of(Hold::Guard, &path, &path);
            }
            _ => (),
        }
    }

    fn judge(&self, index: usize, guard: &Guard, result: Result<Value, Box<CallFailure>>) -> Sample {
        let none = |measured, failure| Sample { band: Band::NoData, measured, compared: None, failure };
        let value = match result {
            Ok(value) => value,
            Err(failure) => return none(Vec::new(), Some(*failure)),
        };
        let scope = self.scope(None, Some(&value));
        let looked = |expression: &Option<Expression>| {
            expression.as_ref().map(|expression| measured(expression, &scope)).unwrap_or_default()
        };
        let mut seen = looked(&guard.rollback_when);
        for more in looked(&guard.hold_when) {
            if !seen.iter().any(|measured| measured.name == more.name) {
                seen.push(more);
            }
        }
        let told = |message: String| Some(CallFailure::Fault { message });
        if let Some(fresh) = &guard.fresh_when {
            match fresh.evaluate_bool(&scope) {
                Ok(true) => (),
                Ok(false) => return none(seen, told(format!("the answer is stale: `{}`", fresh.source()))),
                Err(error) => return none(seen, told(error.to_string())),
            }
        }
        let mut band = Band::Good;
        for (condition, reason) in [(&guard.rollback_when, Band::Rollback), (&guard.hold_when, Band::Hold)] {
            let Some(condition) = condition else { continue };
            if let Some(name) = null_in(condition, &value) {
                return none(seen, told(format!("`{name}` is null")));
            }
            match condition.evaluate_bool(&scope) {
                Ok(true) => {
                    band = reason;
                    break;
                }
                Ok(false) => (),
                Err(error) => return none(seen, told(error.to_string())),
            }
        }
        let comparison = self.guards.watches.get(index).and_then(|watch| watch.comparison.as_ref());
        let compared = comparison.map(|comparison| comparison.look(&scope));
        Sample { band, measured: seen, compared, failure: None }
    }

    /// Puts the samples since the last event about the guard on record, if there are any.
    fn record_guard(&mut self, index: usize) {
        let Some((_, path)) = self.guard(index) else { return };
        let Some(watch) = self.watch(index) else { return };
        let Some((band, since)) = watch.band.filter(|_| watch.samples.count > 0) else { return };
        let sampled = GuardSampled {
            guard: path,
            band,
            since,
            samples: std::mem::take(&mut watch.samples),
            measured: watch.measured.clone(),
            failure: watch.failure.clone(),
        };
        self.record(Event::GuardSampled(Box::new(sampled)));
    }

    // --- what comes of it ---

    fn trip(&mut self, index: usize, wanted: GuardAction, holds: bool, sample: &Sample) {
        let Some((guard, path)) = self.guard(index) else { return };
        let past = wanted == GuardAction::Rollback && self.is_committed();
        let action = if past { GuardAction::Hold } else { wanted };
        if action == GuardAction::Hold && holds {
            return;
        }
        let mut message = told(guard, &path, wanted, sample);
        if past {
            message.push_str("; the run is past its commit and does not roll back by itself");
        }
        let grace = match guard.interrupt {
            Interrupt::AfterGrace => Some(guard.grace_ms),
            Interrupt::Never => None,
        };
        self.record_guard(index);
        self.record(Event::GuardTripped {
            guard: Arc::clone(&path),
            action,
            message: message.clone(),
            measured: sample.measured.clone(),
        });
        match action {
            GuardAction::Hold => {
                self.record(Event::RunHeld { reason: Hold::Guard, message, step: Some(path) });
                self.commit();
            }
            GuardAction::Rollback => self.roll_back_for_guard(&path, message, grace),
        }
    }

    // --- effects that wait for guards ---

    /// Nobody has looked for a while: each guard that watches must look before the next effect.
    pub(super) fn doubt_guards(&mut self, gap: Option<Millis>) {
        for index in 0..self.guards.watches.len() {
            let period = self.guard(index).map_or(0, |(guard, _)| millis(guard.every_ms));
            if !self.is_watching(index) || gap.is_some_and(|gap| gap <= period.saturating_mul(2)) {
                continue;
            }
            let now = self.now;
            if let Some(watch) = self.watch(index) {
                watch.unproven = true;
                watch.streaks = Streaks::default();
                watch.next_at = now;
            }
        }
    }

    /// Whether an effect may begin as far as guards are concerned; else the unit waits for them.
    pub(super) fn is_proven(&mut self, unit: Unit) -> bool {
        if !self.goes_forward() || !self.guards.watches.iter().any(|watch| watch.unproven) {
            return true;
        }
        self.guards.parked.push(unit);
        false
    }

    fn unpark(&mut self) {
        if !self.guards.parked.is_empty() && !self.guards.watches.iter().any(|watch| watch.unproven) {
            self.ready.extend(std::mem::take(&mut self.guards.parked));
        }
    }
}

impl Watch {
    fn add(&mut self, now: Millis, sample: &Sample) {
        let value = sample.compared.as_ref().and_then(|compared| compared.value.as_ref());
        self.samples.add(now, sample.failure.is_some(), value);
        self.measured.clone_from(&sample.measured);
        self.failure.clone_from(&sample.failure);
    }
}

fn told(guard: &Guard, path: &str, action: GuardAction, sample: &Sample) -> String {
    let condition = match action {
        GuardAction::Rollback => guard.rollback_when.as_ref(),
        GuardAction::Hold => guard.hold_when.as_ref(),
    };
    let mut text = match (&sample.failure, condition, sample.band) {
        (Some(failure), ..) => format!("`{path}` has no data: {failure}"),
        (None, _, Band::NoData) | (None, None, _) => format!("`{path}` is not good"),
        (None, Some(condition), _) => {
            let seen = MeasuredList(&sample.measured);
            format!("`{path}`: `{}`{seen}", condition.source())
        }
    };
    if guard.for_ms > 0 {
        let _written = write!(text, " for {}", Span(guard.for_ms));
    }
    text
}
