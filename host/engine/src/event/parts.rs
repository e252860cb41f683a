//! What events are made of: what a run pins, what a step calls, items, samples.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::people::Parent;
use crate::identity::{EffectId, Millis};

/// A text that the run pins, such as the runbook as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedText {
    /// As the person who started the run wrote it, such as `runbooks/staging.toml`.
    pub name: String,
    /// The absolute folder that relative paths in it start at.
    #[serde(default)]
    pub folder: String,
    /// The whole file.
    pub text: Arc<str>,
}

/// A plugin as the run pins it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PinnedPlugin {
    /// Where it came from, such as `builtin:http`.
    pub source: String,
    /// SHA-256 of its bytes, as `sha256:` and hex; the journal keeps the bytes.
    pub digest: String,
    /// What `configure` is given, resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// Its grant lines, with their placeholders replaced.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Which connection each slot is bound to.
    #[serde(default)]
    pub connections: IndexMap<String, String>,
}

/// Everything about a run that never changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunCreated {
    /// The version of the event format.
    pub format: u32,
    /// The run's id.
    pub run: String,
    /// `[runbook] name`.
    pub name: String,
    /// `[runbook] title`, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The runbook, whole.
    pub runbook: PinnedText,
    /// The environment, whole; secrets stand in it by name only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PinnedText>,
    /// The inputs, resolved.
    #[serde(default)]
    pub inputs: Map<String, Value>,
    /// The environment's vars.
    #[serde(default)]
    pub vars: Map<String, Value>,
    /// The plugins by their names in the runbook.
    #[serde(default)]
    pub plugins: IndexMap<String, PinnedPlugin>,
    /// The lock file, whole, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<PinnedText>,
    /// The digest of the policies in force, where there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Where T is, as the timeline counts: milliseconds since 1970. None for when the run was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t: Option<Millis>,
    /// The run that this one follows, where it follows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Who started it.
    pub started_by: String,
    /// The version of windlass that started it.
    pub tool_version: String,
}

impl Default for PinnedText {
    fn default() -> Self {
        Self { name: String::new(), folder: String::new(), text: "".into() }
    }
}

/// An attempt with what its envelope is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRef {
    /// Which attempt of which effect.
    pub effect: EffectId,
    /// The plugin's name in the runbook.
    pub plugin: Arc<str>,
    /// The digest of its bytes.
    pub digest: Arc<str>,
    /// The action, such as `send`.
    pub action: Arc<str>,
}

/// What a step calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallName {
    /// The plugin's name in the runbook.
    pub plugin: Arc<str>,
    /// The digest of its bytes.
    pub digest: Arc<str>,
    /// The interface in full, such as `windlass:contracts/health@0.1.0`.
    pub interface: Arc<str>,
    /// The action, such as `check`.
    pub action: Arc<str>,
}

/// An item of a `for_each`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What tells it apart: its `key`, or its value as text.
    pub key: Arc<str>,
    /// What `item` is in its expressions.
    pub value: Arc<Value>,
}

/// The samples of a gate since the last event about it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Samples {
    /// How many there were.
    pub count: u64,
    /// How many of them failed instead of giving a value.
    #[serde(default)]
    pub failed: u64,
    /// When the first of them was taken.
    pub first_at: Millis,
    /// When the last was.
    pub last_at: Millis,
    /// What they measured, where it is one number: milliseconds after the first, and the number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<(u64, Number)>,
}

/// So many samples at most are kept back before they are put on record.
const BATCH: u64 = 240;

impl Samples {
    pub(crate) fn add(&mut self, now: Millis, failed: bool, value: Option<&Value>) {
        if self.count == 0 {
            *self = Self { first_at: now, ..Self::default() };
        }
        self.count += 1;
        self.failed += u64::from(failed);
        self.last_at = now;
        if let Some(Value::Number(number)) = value {
            let after = u64::try_from(now - self.first_at).unwrap_or_default();
            self.values.push((after, number.clone()));
        }
    }

    /// Whether they are to be put on record though nothing has changed.
    pub(crate) const fn are_enough(&self) -> bool {
        self.count >= BATCH
    }
}
