//! `for_each`: which items there are, how many run at once, and when it is enough.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;
use windlass_runbook::expression::ExpressionError;
use windlass_runbook::model::{ForEach, Step};

use super::begin::Unresolved;
use super::{Fan, Machine, Unit};
use crate::event::{Event, Item};
use crate::failure::StepFailure;
use crate::layout::Layout;
use crate::words::{Effect, Phase, SkipReason};

/// The items of a `for_each`, or why there are none to be had.
pub(crate) fn items_of(
    fan_out: &ForEach,
    value: Value,
    key_of: impl Fn(&Value) -> Result<Value, ExpressionError>,
) -> Result<Vec<Item>, Box<StepFailure>> {
    let expression =
        |field: &str, message: String| Box::new(StepFailure::Expression { field: field.to_owned(), message });
    let Value::Array(values) = value else {
        return Err(expression("for_each", "it must be a list".to_owned()));
    };
    let mut seen = HashSet::with_capacity(values.len());
    let mut items = Vec::with_capacity(values.len());
    for value in values {
        let key = match &fan_out.key {
            None => text_of(&value),
            Some(_) => text_of(&key_of(&value).map_err(|error| expression("key", error.to_string()))?),
        };
        let key: Arc<str> = key.into();
        if !seen.insert(Arc::clone(&key)) {
            return Err(Box::new(StepFailure::DuplicateItem { key: key.to_string() }));
        }
        items.push(Item { key, value: Arc::new(value) });
    }
    Ok(items)
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Machine {
    /// Finds out which items there are, once, and begins with them.
    pub(super) fn expand(&mut self, unit: Unit, step: &Step, fan_out: &ForEach, layout: &Layout) {
        let value = match fan_out.items.resolve(&self.scope(None, None)) {
            Ok(value) => value,
            Err(ExpressionError::NoOutput { step, .. }) => {
                return self.skip(unit, SkipReason::Upstream, Some(step));
            }
            Err(error) => return self.fail_expression(unit, "for_each", &error),
        };
        let made = items_of(fan_out, value, |item| match &fan_out.key {
            Some(key) => key.evaluate(&self.scope(Some(item), None)),
            None => Ok(Value::Null),
        });
        let items = match made {
            Ok(items) => items,
            Err(failure) => return self.fail(unit, *failure),
        };
        // If the first item needs an output that isn't there, all of them do: the step is skipped, not failed.
        if let Some(first) = items.first()
            && let Err(Unresolved::Upstream(from)) = self.try_input(step, &first.value)
        {
            return self.skip(unit, SkipReason::Upstream, Some(from));
        }
        self.record(Event::ItemsExpanded { step: layout.path(unit.step), items });
        self.open_fan(unit.step);
    }

    fn try_input(&self, step: &Step, item: &Value) -> Result<(), Unresolved> {
        let windlass_runbook::model::StepBody::Call(invocation) = &step.body else { return Ok(()) };
        match invocation.input.resolve(&self.scope(Some(item), None)) {
            Err(ExpressionError::NoOutput { step, .. }) => Err(Unresolved::Upstream(step)),
            _ => Ok(()),
        }
    }

    /// Takes up the items of a step: those that had begun go on, and others begin as there is room.
    pub(super) fn open_fan(&mut self, step: usize) {
        if self.fans.contains_key(&step) {
            return;
        }
        let path = self.layout.path(step);
        let mut fan = Fan::default();
        let is_undo = self.is_undo(Unit::step(step));
        let mut begun = Vec::new();
        for (index, item) in
            self.state.step(&path).and_then(|state| state.items.as_ref()).into_iter().flatten().enumerate()
        {
            match item.1.work.phase {
                Phase::Pending | Phase::Succeeded | Phase::Skipped => (),
                Phase::Failed => fan.failed += 1,
                Phase::Asking if is_undo => fan.asking += 1,
                Phase::Asking => fan.running += 1,
                _ => {
                    fan.running += 1;
                    begun.push(Unit { step, item: Some(index) });
                }
            }
        }
        self.fans.insert(step, fan);
        for unit in begun {
            self.take_up(unit);
        }
        self.feed(step);
    }

    /// Begins items while there is room, and ends the step after the last.
    pub(super) fn feed(&mut self, step: usize) {
        let layout = Arc::clone(&self.layout);
        let Some(fan_out) = layout.step(step).and_then(|step| step.for_each.as_ref()) else { return };
        let path = layout.path(step);
        // What one item has left behind is no reason not to take back what another has.
        let most = if self.is_undo(Unit::step(step)) { usize::MAX } else { fan_out.max_failures };
        let Some(items) = self.state.step(&path).and_then(|state| state.items.as_ref()) else { return };
        let Some(fan) = self.fans.get_mut(&step) else { return };
        let total = items.len();
        while fan.running < fan_out.max_parallel.max(1)
            && fan.next < total
            && (fan.failed == 0 || fan.failed <= most)
        {
            let index = fan.next;
            fan.next += 1;
            self.looked_at += 1;
            if items.get_index(index).is_some_and(|(_, item)| item.work.phase == Phase::Pending) {
                fan.running += 1;
                self.ready.push_back(Unit { step, item: Some(index) });
            }
        }
        let (running, failed) = (fan.running + fan.asking, fan.failed);
        if running == 0 {
            self.fans.remove(&step);
            self.close_fan(step, failed, total);
        }
    }

    fn close_fan(&mut self, step: usize, failed: usize, total: usize) {
        let unit = Unit::step(step);
        let path = self.layout.path(step);
        let Some(items) = self.state.step(&path).and_then(|state| state.items.as_ref()) else { return };
        if failed == 0 {
            let effect = items.values().map(|item| item.work.effect).max().unwrap_or(Effect::None);
            return self.succeed(unit, effect, None);
        }
        let effect = items.values().map(|item| item.work.effect_left()).max().unwrap_or(Effect::None);
        let first = items.iter().find(|(_, item)| item.work.phase == Phase::Failed);
        let failure = StepFailure::Items {
            failed: failed as u64,
            total: total as u64,
            first: first.map_or_else(String::new, |(key, _)| key.to_string()),
        };
        self.fail_with(unit, effect, failure);
    }

    /// An item waits for a person. That of an undo gives its place to another meanwhile.
    pub(super) fn item_asks(&mut self, unit: Unit) {
        if unit.item.is_some()
            && self.is_undo(unit)
            && let Some(fan) = self.fans.get_mut(&unit.step)
        {
            fan.running = fan.running.saturating_sub(1);
            fan.asking += 1;
            self.feed(unit.step);
        }
    }

    /// A person has spoken about an item that waited, or about one that had failed.
    pub(super) fn item_goes_on(&mut self, unit: Unit, was: Phase) {
        if unit.item.is_none() {
            return;
        }
        let is_undo = self.is_undo(unit);
        let Some(fan) = self.fans.get_mut(&unit.step) else { return };
        match was {
            Phase::Asking if is_undo => fan.asking = fan.asking.saturating_sub(1),
            Phase::Failed => fan.failed = fan.failed.saturating_sub(1),
            _ => return,
        }
        fan.running += 1;
    }

    /// An item is over.
    pub(super) fn item_over(&mut self, unit: Unit) {
        let failed = self.work(unit).is_some_and(|work| work.phase == Phase::Failed);
        let Some(fan) = self.fans.get_mut(&unit.step) else { return };
        fan.running = fan.running.saturating_sub(1);
        fan.failed += usize::from(failed);
        self.feed(unit.step);
    }
}
