//! What an expression can see when it is evaluated. The caller implements it over a run's state.

use std::borrow::Cow;

use serde_json::Value;

/// The names of an expression. Only what an expression refers to is asked for, so an implementation need not build
/// anything ahead; a name that it does not have is none.
pub trait Scope {
    /// An input's value.
    fn input(&self, name: &str) -> Option<Cow<'_, Value>> {
        let _ = name;
        None
    }
    /// A var's value.
    fn var(&self, name: &str) -> Option<Cow<'_, Value>> {
        let _ = name;
        None
    }
    /// The step's status word: `pending`, `running`, `succeeded`, `failed` or `skipped`.
    fn step_status(&self, id: &str) -> Option<Cow<'_, str>> {
        let _ = id;
        None
    }
    /// The detail of a succeeded writing step, such as `applied`, `unchanged`, `adopted` or `accepted`.
    fn step_effect(&self, id: &str) -> Option<Cow<'_, str>> {
        let _ = id;
        None
    }
    /// The step's output; of a `for_each`, an object by item key. None unless it succeeded.
    fn step_output(&self, id: &str) -> Option<Cow<'_, Value>> {
        let _ = id;
        None
    }
    /// The item of a `for_each`.
    fn item(&self) -> Option<Cow<'_, Value>> {
        None
    }
    /// The result that `until` and `expect` judge.
    fn result(&self) -> Option<Cow<'_, Value>> {
        None
    }
    /// A field of `run`: `id`, `name`, `started`, `now`, `reason` or `report`.
    fn run(&self, field: &str) -> Option<Cow<'_, Value>> {
        let _ = field;
        None
    }
    /// A value of `[baseline]`. None until the steps it is taken from are done.
    fn baseline(&self, name: &str) -> Option<Cow<'_, Value>> {
        let _ = name;
        None
    }
}

/// A scope without anything in it.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmptyScope;

impl Scope for EmptyScope {}
