//! Where approvals stand, as their events say.

use std::sync::Arc;

use crate::event::{ApprovalGiven, ApprovalRequest};
use crate::identity::Millis;

/// Where an approval stands: its last request and what was said to it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ApprovalState {
    /// What people are, or were last, asked; none before.
    pub request: Option<Arc<ApprovalRequest>>,
    /// When.
    pub requested_at: Millis,
    /// What was said to this request, oldest first.
    pub given: Vec<(ApprovalGiven, Millis)>,
    /// What it stands at.
    pub stand: Stand,
    /// Whether an earlier request or this one was granted: then what it gates has begun.
    pub opened: bool,
}

/// What an approval's last request stands at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Stand {
    /// It waits for people.
    #[default]
    Open,
    /// It is approved.
    Granted,
    /// What was to be done was no longer what was approved: the covered step, and in what it differs.
    Void(Arc<str>, String),
    /// It was not given in time.
    Expired,
    /// Somebody said no.
    Rejected,
}

impl ApprovalState {
    pub(super) fn requested(&mut self, request: &ApprovalRequest, at: Millis) {
        self.request = Some(Arc::new(request.clone()));
        self.requested_at = at;
        self.given.clear();
        self.stand = Stand::Open;
    }

    pub(super) fn granted(&mut self) {
        self.stand = Stand::Granted;
        self.opened = true;
    }

    /// Whether people are asked now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.request.is_some() && self.stand == Stand::Open
    }
}
