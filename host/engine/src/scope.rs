//! What an expression sees of a run.
//!
//! Lends values out of the state; builds nothing that an expression does not ask for.

use std::borrow::Cow;

use serde_json::{Map, Value};
use windlass_runbook::expression::{Expression, Root, Scope, Segment};

use crate::failure::Measured;
use crate::identity::Millis;
use crate::state::State;

/// The scope of one evaluation.
pub(crate) struct RunScope<'a> {
    pub(crate) state: &'a State,
    pub(crate) item: Option<&'a Value>,
    pub(crate) result: Option<&'a Value>,
    pub(crate) report: Option<&'a str>,
    pub(crate) now: Millis,
}

impl Scope for RunScope<'_> {
    fn input(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.state.created()?.inputs.get(name).map(Cow::Borrowed)
    }

    fn var(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.state.created()?.vars.get(name).map(Cow::Borrowed)
    }

    fn step_status(&self, id: &str) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.state.step(id).map_or("pending", |step| step.work.status().as_str())))
    }

    fn step_effect(&self, id: &str) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.state.step(id).map_or("none", |step| step.work.effect.as_str())))
    }

    fn step_output(&self, id: &str) -> Option<Cow<'_, Value>> {
        self.state.step(id)?.work.output.as_deref().map(Cow::Borrowed)
    }

    fn item(&self) -> Option<Cow<'_, Value>> {
        self.item.map(Cow::Borrowed)
    }

    fn result(&self) -> Option<Cow<'_, Value>> {
        self.result.map(Cow::Borrowed)
    }

    fn baseline(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.state.baselines().get(name).map(|value| Cow::Borrowed(&**value))
    }

    fn run(&self, field: &str) -> Option<Cow<'_, Value>> {
        let created = self.state.created()?;
        let text = match field {
            "id" => created.run.clone(),
            "name" => created.name.clone(),
            "started" => timestamp(self.state.started_at()),
            "now" => timestamp(self.now),
            "reason" => match (self.state.verdict(), self.state.rollback()) {
                (Some(decided), _) => decided.reason.clone(),
                (None, Some(rollback)) => rollback.started.reason.clone(),
                (None, None) => String::new(),
            },
            "report" => self.report?.to_owned(),
            _ => return None,
        };
        Some(Cow::Owned(Value::String(text)))
    }
}

/// A point in time as RFC 3339, to the millisecond.
pub(crate) fn timestamp(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |time| format!("{time:.3}"))
}

/// What an expression looked at, for the reader of its verdict: what it took from the result, inputs, vars and
/// baselines.
pub(crate) fn measured(expression: &Expression, scope: &dyn Scope) -> Vec<Measured> {
    let mut found: Vec<Measured> = Vec::new();
    for reference in expression.references() {
        let base = match &reference.root {
            Root::Result => scope.result(),
            Root::Input(name) => scope.input(name),
            Root::Var(name) => scope.var(name),
            Root::Baseline(name) => scope.baseline(name),
            _ => continue,
        };
        let name = reference.to_string();
        if !found.iter().any(|measured| measured.name == name) {
            // Null is told like absent: the journal's JSON does not keep them apart.
            let value =
                base.and_then(|base| walk(&base, &reference.path).cloned()).filter(|value| !value.is_null());
            found.push(Measured { name, value });
        }
    }
    found
}

/// The first thing in a result that a condition looks at and that is null. A condition that speaks of null itself
/// knows what it does.
pub(crate) fn null_in(condition: &Expression, result: &Value) -> Option<String> {
    if condition.source().contains("null") {
        return None;
    }
    condition
        .references()
        .iter()
        .filter(|reference| reference.root == Root::Result && !reference.presence)
        .find(|reference| walk(result, &reference.path).is_some_and(Value::is_null))
        .map(ToString::to_string)
}

fn walk<'v>(value: &'v Value, path: &[Segment]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, segment| match segment {
        Segment::Name(name) => value.as_object().and_then(|fields: &Map<String, Value>| fields.get(name)),
        Segment::Index(index) => value.as_array()?.get(*index),
    })
}
