//! Who an effect is: the identity that all attempts of one effect share, and the key made of it.
//!
//! Knows nothing of runbooks or calls. Invariant: the key never changes for the same identity, in no version, since
//! services on the other side have remembered it.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A point or a span of time in milliseconds; a point counts from 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// Whether an attempt does its effect or takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// `apply-X`.
    #[default]
    Do,
    /// `undo-X`.
    Undo,
}

impl Direction {
    const fn word(self) -> &'static str {
        match self {
            Self::Do => "do",
            Self::Undo => "undo",
        }
    }
}

/// One attempt of one effect within a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EffectId {
    /// The step's path: its id, or `finally/ID`.
    pub step: Arc<str>,
    /// The key of the `for_each` item, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Arc<str>>,
    /// From 1. A changed input, or running again after an undo, is a new generation.
    pub generation: u32,
    /// Do or undo.
    #[serde(default)]
    pub direction: Direction,
    /// From 1 within the generation.
    pub attempt: u32,
}

impl EffectId {
    /// The idempotency key of this effect in that run: SHA-256, in hex, over everything but the attempt, each part
    /// with its length before it. An absent item and an empty one differ.
    #[must_use]
    pub fn idempotency_key(&self, run: &str) -> String {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(b"windlass effect 1");
        part(run.as_bytes());
        part(self.step.as_bytes());
        match &self.item {
            Some(item) => {
                part(b"item");
                part(item.as_bytes());
            }
            None => part(b"no item"),
        }
        part(&self.generation.to_be_bytes());
        part(self.direction.word().as_bytes());
        hex(&hash.finalize())
    }
}

/// In hex, lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string can't fail.
        let _ok = write!(text, "{byte:02x}");
        text
    })
}

/// A fraction from 0 to 1 that is always the same for the same key and count: the jitter of a retry. Taken from the
/// key since the machine has no randomness; keys are as good as random between runs, steps and items.
pub(crate) fn jitter(key: &str, count: u32) -> f64 {
    let mut hash = Sha256::new();
    hash.update(key.as_bytes());
    hash.update(count.to_be_bytes());
    let digest = hash.finalize();
    let number = digest.iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    f64::from(number) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect() -> EffectId {
        EffectId { step: "migrate".into(), item: None, generation: 1, direction: Direction::Do, attempt: 1 }
    }

    #[test]
    fn key_is_pinned() {
        insta::assert_snapshot!(effect().idempotency_key("k3n9"), @"01b1780f49ff4a4394f27e07d3b3d4057a2783ff7aacab6f6ce5832c084e7f9c");
    }

    #[test]
    fn attempts_share_a_key_and_nothing_else_does() {
        let key = |change: fn(&mut EffectId)| {
            let mut id = effect();
            change(&mut id);
            id.idempotency_key("run")
        };
        let base = key(|_| ());
        assert_eq!(base, key(|id| id.attempt = 7));
        for other in [
            key(|id| id.generation = 2),
            key(|id| id.direction = Direction::Undo),
            key(|id| id.item = Some("".into())),
            key(|id| id.step = "migrat".into()),
            effect().idempotency_key("runx"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn jitter_is_a_fraction() {
        for count in 0..100 {
            let fraction = jitter("key", count);
            assert!((0.0..=1.0).contains(&fraction), "{fraction}");
        }
    }
}
