//! Building plans, and reading those of earlier attempts.
//!
//! A memo is text of the plugin's own. Here it is always JSON, so that a later version can read an earlier one's.

use crate::outcome::{Attempt, Change, Failure, Plan, Status};
use serde_json::Value;

impl Plan {
    /// A plan with this status, without changes, not repeatable, and without a memo.
    #[must_use]
    pub const fn new(status: Status) -> Self {
        Self { status, changes: Vec::new(), repeatable: false, memo: String::new() }
    }

    /// Nothing to do: it is so already.
    #[must_use]
    pub const fn in_place() -> Self {
        Self::new(Status::InPlace)
    }

    /// The effect is still to be had, and these are the changes.
    #[must_use]
    pub fn differs(changes: impl IntoIterator<Item = Change>) -> Self {
        Self { changes: changes.into_iter().collect(), ..Self::new(Status::Differs) }
    }

    /// It is on its way: ask again.
    #[must_use]
    pub const fn in_progress() -> Self {
        Self::new(Status::InProgress)
    }

    /// Someone else changed it. The text says what was found.
    #[must_use]
    pub fn conflict(found: impl Into<String>) -> Self {
        Self::new(Status::Conflict(found.into()))
    }

    /// It can't be told. The text says why.
    #[must_use]
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::new(Status::Unknown(why.into()))
    }

    /// Add what would change, also to a plan in conflict, for the person who decides.
    #[must_use]
    pub fn with_changes(mut self, changes: impl IntoIterator<Item = Change>) -> Self {
        self.changes.extend(changes);
        self
    }

    /// Whether applying may be repeated when it can't be told if an earlier attempt had its effect.
    #[must_use]
    pub const fn repeatable(mut self, repeatable: bool) -> Self {
        self.repeatable = repeatable;
        self
    }

    /// The note to the plugin's later self.
    #[must_use]
    pub fn with_memo(mut self, memo: &Value) -> Self {
        self.memo = memo.to_string();
        self
    }

    /// The memo, parsed; null where there is none or it is not JSON.
    #[must_use]
    pub fn memo_json(&self) -> Value {
        serde_json::from_str(&self.memo).unwrap_or(Value::Null)
    }

    /// For `undo-X`: whether the plan says to restore. False where there is nothing to do.
    ///
    /// A conflict that a person decided as *ours* comes back as the plan that reported it with the status `differs`; its
    /// memo must therefore hold all that restoring takes, and the state that was found, beyond which nothing is touched.
    ///
    /// # Errors
    /// `conflict` where the plan is one that nobody may act on.
    pub fn restores(&self) -> Result<bool, Failure> {
        match &self.status {
            Status::Differs => Ok(true),
            Status::InPlace => Ok(false),
            Status::InProgress => Err(Failure::conflict("the plan says that it is still on its way")),
            Status::Conflict(found) => {
                Err(Failure::conflict(format!("nobody has decided about the conflict: {found}")))
            }
            Status::Unknown(why) => Err(Failure::conflict(format!("nobody knows what to restore: {why}"))),
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_in_place(&self) -> bool {
        matches!(self.status, Status::InPlace)
    }
}

impl Change {
    /// A change of `target`, named so that it stays the same from plan to plan; `kind` is `create`, `update`,
    /// `delete`, `run` or the plugin's own word.
    #[must_use]
    pub fn new(target: impl Into<String>, kind: &str) -> Self {
        Self { target: target.into(), kind: kind.to_owned(), from: None, to: None }
    }

    /// As it is now, for a person.
    #[must_use]
    pub fn now(mut self, text: impl Into<String>) -> Self {
        self.from = Some(text.into());
        self
    }

    /// As it will be, for a person.
    #[must_use]
    pub fn then(mut self, text: impl Into<String>) -> Self {
        self.to = Some(text.into());
        self
    }
}

impl Attempt {
    /// What it returned, parsed, if it returned.
    #[must_use]
    pub fn output_json(&self) -> Option<Value> {
        serde_json::from_str(self.output.as_deref()?).ok()
    }

    /// The input that it ran with, parsed; its fields are in snake_case.
    #[must_use]
    pub fn input_json(&self) -> Value {
        serde_json::from_str(&self.input).unwrap_or(Value::Null)
    }
}

/// The memo of the first attempt, which holds the state before the effect; null where there is none.
#[must_use]
pub fn first_memo(attempts: &[Attempt]) -> Value {
    attempts.first().map_or(Value::Null, |attempt| attempt.plan.memo_json())
}

/// What the last attempt that returned has returned.
#[must_use]
pub fn last_output(attempts: &[Attempt]) -> Option<Value> {
    attempts.iter().rev().find_map(Attempt::output_json)
}

#[cfg(test)]
mod tests {
    use crate::{Plan, Status};

    #[test]
    fn only_what_somebody_decided_is_restored() {
        assert!(!Plan::in_place().restores().unwrap());
        let conflict = Plan::conflict("it is blue").with_memo(&crate::json!({ "found": "blue" }));
        assert_eq!(conflict.restores().unwrap_err().code, "conflict");
        let ours = Plan { status: Status::Differs, ..conflict };
        assert!(ours.restores().unwrap());
        assert_eq!(ours.memo_json()["found"], "blue");
        for nobody in [Plan::in_progress(), Plan::unknown("it can't be seen")] {
            assert_eq!(nobody.restores().unwrap_err().code, "conflict");
        }
    }
}
