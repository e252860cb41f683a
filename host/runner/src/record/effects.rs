//! What was changed and what was taken back, with the state before and after as the plans had it.

use serde::Serialize;
use windlass_engine::{Direction, EffectId, Event, Millis};
use windlass_sandbox::plain_text;

use crate::clock::rfc3339;

/// An attempt to change something, or to take a change back.
#[derive(Debug, Clone, Serialize)]
pub struct EffectMade {
    /// The step's path; that of an undo begins with `undo/`.
    pub step: String,
    /// The item's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// `do` or `undo`.
    pub direction: &'static str,
    /// From 1, within the generation.
    pub attempt: u32,
    /// The plugin's name and the action.
    pub action: String,
    /// The idempotency key.
    pub key: String,
    /// RFC 3339.
    pub started: String,
    /// What became of it: `applied`, `none`, `unknown`; none while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<&'static str>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// How it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What it was going to change.
    pub changes: Vec<ChangeMade>,
}

/// One thing that an attempt was going to change.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeMade {
    /// What.
    pub target: String,
    /// How.
    pub kind: String,
    /// As it was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// As it was to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

pub(super) fn of(events: &[(Millis, Event)]) -> Vec<EffectMade> {
    let mut made: Vec<(EffectId, EffectMade)> = Vec::new();
    for (at, event) in events {
        match event {
            Event::AttemptStarted { attempt, key, plan } => {
                let changes = plan.changes.iter().map(|change| ChangeMade {
                    target: plain_text(&change.target),
                    kind: plain_text(&change.kind),
                    before: change.from.as_deref().map(plain_text),
                    after: change.to.as_deref().map(plain_text),
                });
                made.push((
                    attempt.effect.clone(),
                    EffectMade {
                        step: attempt.effect.step.to_string(),
                        item: attempt.effect.item.as_deref().map(plain_text),
                        direction: match attempt.effect.direction {
                            Direction::Do => "do",
                            Direction::Undo => "undo",
                        },
                        attempt: attempt.effect.attempt,
                        action: format!("{}.{}", attempt.plugin, attempt.action),
                        key: key.to_string(),
                        started: rfc3339(*at),
                        effect: None,
                        took_ms: None,
                        failure: None,
                        changes: changes.collect(),
                    },
                ));
            }
            Event::AttemptFinished { attempt, effect, failure, elapsed_ms, .. } => {
                let ended = made.iter_mut().rev().find(|(id, _)| *id == attempt.effect);
                if let Some((_, made)) = ended {
                    made.effect = Some(effect.as_str());
                    made.took_ms = Some(*elapsed_ms);
                    made.failure = failure.as_ref().map(|failure| plain_text(&failure.to_string()));
                }
            }
            _ => (),
        }
    }
    made.into_iter().map(|(_, made)| made).collect()
}
