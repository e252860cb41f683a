//! The items of a `for_each` in a plan: so many at once as a run would have.

use std::sync::Arc;

use serde_json::Value;

use super::taken::Taken;
use super::{Place, PlanOutcome, Planner};
use crate::event::Item;
use crate::words::Effect;

/// The items of a `for_each` that is being planned.
#[derive(Debug)]
pub(super) struct Fan {
    pub(super) items: Vec<Item>,
    pub(super) outputs: Vec<Option<Arc<Value>>>,
    next: usize,
    pub(super) open: usize,
    pub(super) moved: bool,
    pub(super) failed: usize,
}

impl Planner {
    pub(super) fn begin_items(&mut self, place: Place, items: Vec<Item>) {
        let count = items.len();
        self.row(place, PlanOutcome::ForEach { items: count as u64 });
        let fan = Fan { outputs: vec![None; count], items, next: 0, open: 0, moved: false, failed: 0 };
        self.fans.insert(place.step, fan);
        self.feed(place.step);
    }

    /// Begins items while there is room, and settles the step after the last.
    pub(super) fn feed(&mut self, step: usize) {
        let layout = Arc::clone(&self.layout);
        let Some(settings) = layout.step(step) else { return };
        let room = settings.for_each.as_ref().map_or(1, |fan_out| fan_out.max_parallel.max(1));
        loop {
            let Some(fan) = self.fans.get_mut(&step) else { return };
            if fan.open >= room || fan.next >= fan.items.len() {
                break;
            }
            let item = fan.next;
            fan.next += 1;
            fan.open += 1;
            let value = fan.items.get(item).map(|item| Arc::clone(&item.value));
            self.begin_body(Place { step, item: Some(item) }, settings, value.as_deref());
        }
        let done = self.fans.get(&step).is_some_and(|fan| fan.open == 0 && fan.next >= fan.items.len());
        if done && let Some(fan) = self.fans.remove(&step) {
            self.close_fan(step, &fan);
        }
    }

    fn close_fan(&mut self, step: usize, fan: &Fan) {
        let whole = !fan.moved && fan.failed == 0;
        let outputs = || {
            let items = fan.items.iter().zip(&fan.outputs);
            let output = |output: &Option<Arc<Value>>| output.as_deref().cloned().unwrap_or_default();
            items.map(|(item, value)| (item.key.to_string(), output(value))).collect()
        };
        let taken = if fan.failed > 0 {
            Taken::failed()
        } else {
            Taken::succeeded(Effect::None, whole.then(|| Arc::new(Value::Object(outputs()))))
        };
        self.take(step, taken);
        self.over(step, fan.moved || fan.failed > 0);
    }
}
