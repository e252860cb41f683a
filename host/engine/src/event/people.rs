//! What people say in events: answers, approvals, and why one run follows another.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::identity::Millis;

/// What a person says about an effect or an undo that needs a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum Answer {
    /// It took effect. Of an undo: a person has taken it back by hand.
    Applied {
        /// What it returned, as far as the person knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Value>>,
    },
    /// It did not. It is planned again.
    NotApplied,
    /// Of an undo whose target someone else changed: put back what was there before the step ("ours"), over what is
    /// there now. It is planned once more, and that plan is applied as if it differed.
    Restore,
    /// Of an undo: leave what is there now ("theirs").
    Leave,
}

/// The run that this one follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its id.
    pub run: String,
    /// What this run is to it.
    pub kind: ParentKind,
    /// Why, in the words of whoever wanted it.
    #[serde(default)]
    pub reason: String,
    /// Of a rollback: the steps it is limited to; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// Of a rollback: whether it may go past the commit horizon.
    #[serde(default)]
    pub past_commit: bool,
}

/// What a run is to the one that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentKind {
    /// It takes back what an ended run has left. It never goes forward, and begins to roll back by itself.
    Rollback,
    /// It is the next run of the group, and takes over what the other has left.
    Continue,
    /// It is the next run of the group, and what the other has left stays as it is.
    Ignore,
}

/// What people are asked to approve. Its digest is what they sign.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ApprovalRequest {
    /// SHA-256 over everything else, as `sha256:` and hex.
    pub digest: String,
    /// From 1; asked again after it was void, expired or rejected, it is another request.
    #[serde(default)]
    pub round: u32,
    /// The digest of the runbook's text.
    pub runbook: String,
    /// That of the environment's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// That of the lock file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// The question.
    pub text: String,
    /// Who may answer.
    pub roles: Vec<String>,
    /// So many of each role.
    #[serde(default)]
    pub each: u32,
    /// So many in all, of any of the roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any: Option<u32>,
    /// When it can't be given any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Millis>,
    /// Whether what is covered must be known exactly.
    #[serde(default)]
    pub exact: bool,
    /// What is approved, step by step.
    #[serde(default)]
    pub covers: Vec<Covered>,
}

/// A step, or an item of one, that an approval covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// The step's path.
    pub step: Arc<str>,
    /// The item's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Arc<str>>,
    /// What it calls, such as `windlass:contracts/database@0.1.0#migrate`; empty for a `wait`.
    #[serde(default)]
    pub action: String,
    /// The resolved input; absent where it is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<Value>>,
    /// What it would change; absent where that is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<CoveredChange>>,
    /// Why input or changes are not known yet, for people. Not bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deferred: Option<String>,
}

/// What of a change an approval binds: neither what was there before nor the plugin's memo.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CoveredChange {
    /// What is changed.
    pub target: String,
    /// How.
    pub kind: String,
    /// As it will be; none where it will be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Whether a person approves or rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Yes.
    Approve,
    /// No.
    Reject,
}

/// A person's word on a request, its signature already verified by whoever hands it to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalGiven {
    /// The path of the approval step.
    pub step: Arc<str>,
    /// The digest of the request that was signed.
    pub request: String,
    /// Who, as the signers' file has it.
    pub who: String,
    /// The fingerprint of the key.
    #[serde(default)]
    pub key: String,
    /// The roles that the signers' file gives to the person.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The role in which the person speaks; none for whichever is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Yes or no.
    pub decision: Decision,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// What was looked at, where the runbook wants it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The hash of the run's last event when it was signed, in hex.
    #[serde(default)]
    pub head: String,
    /// The signature, armoured.
    #[serde(default)]
    pub signature: String,
}
