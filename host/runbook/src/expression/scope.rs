//! What an expression can see when it is evaluated. The caller implements it over a run's state.

use std::borrow::Cow;

use serde_json::Value;

/// The names of an expression. Only what an expression refers to is asked for, so an implementation need not build
/// anything ahead.
pub trait Scope {
    /// An input's value.
    fn input(&self, name: &str) -> Option<Cow<'_, Value>>;
    /// A var's value.
    fn var(&self, name: &str) -> Option<Cow<'_, Value>>;
    /// The step's status word: `pending`, `running`, `succeeded`, `failed` or `skipped`.
    fn step_status(&self, id: &str) -> Option<Cow<'_, str>>;
    /// The detail of a succeeded writing step, such as `applied`, `unchanged`, `adopted` or `accepted`.
    fn step_effect(&self, id: &str) -> Option<Cow<'_, str>>;
    /// The step's output; of a `for_each`, an object by item key. None unless it succeeded.
    fn step_output(&self, id: &str) -> Option<Cow<'_, Value>>;
    /// The item of a `for_each`.
    fn item(&self) -> Option<Cow<'_, Value>>;
    /// The result that `until` and `expect` judge.
    fn result(&self) -> Option<Cow<'_, Value>>;
    /// A field of `run`: `id`, `name`, `started`, `now`, `reason` or `report`.
    fn run(&self, field: &str) -> Option<Cow<'_, Value>>;
}

/// A scope without anything in it.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmptyScope;

impl Scope for EmptyScope {
    fn input(&self, _: &str) -> Option<Cow<'_, Value>> {
        None
    }
    fn var(&self, _: &str) -> Option<Cow<'_, Value>> {
        None
    }
    fn step_status(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
    fn step_effect(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
    fn step_output(&self, _: &str) -> Option<Cow<'_, Value>> {
        None
    }
    fn item(&self) -> Option<Cow<'_, Value>> {
        None
    }
    fn result(&self) -> Option<Cow<'_, Value>> {
        None
    }
    fn run(&self, _: &str) -> Option<Cow<'_, Value>> {
        None
    }
}
