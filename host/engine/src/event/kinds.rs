//! What an event says of itself: its word, its place, and what its envelope is bound to.

use std::sync::Arc;

use super::Event;

/// What an event's envelope is bound to, beside the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The step's path.
    pub step: &'a str,
    /// The item's key.
    pub item: Option<&'a str>,
    /// The attempt's number within its generation.
    pub attempt: u32,
    /// The digest of the plugin's bytes.
    pub plugin_digest: &'a str,
    /// The action.
    pub action: &'a str,
}

impl Event {
    /// The words of all kinds.
    pub const KINDS: &[&str] = &[
        "run_created",
        "owner_changed",
        "connection_pinned",
        "connection_changed",
        "step_started",
        "items_expanded",
        "step_skipped",
        "wait_started",
        "read_failed",
        "gate_sampled",
        "plan_failed",
        "unchanged",
        "attempt_started",
        "receipt_left",
        "process_started",
        "attempt_finished",
        "attempts_resolved",
        "accepted",
        "question_asked",
        "operator_answered",
        "retry_scheduled",
        "step_restarted",
        "step_succeeded",
        "step_failed",
        "run_held",
        "run_released",
        "rollback_started",
        "rollback_overdue",
        "rollback_finished",
        "undo_prepared",
        "committed",
        "undo_list_inherited",
        "input_changed",
        "terminate_requested",
        "lock_awaited",
        "lock_acquired",
        "lock_released",
        "baseline_recorded",
        "guard_started",
        "guard_sampled",
        "guard_tripped",
        "guard_ended",
        "scheduled",
        "shifted",
        "approval_requested",
        "approval_given",
        "approval_voided",
        "approval_expired",
        "clock_stepped",
        "cancel_requested",
        "verdict_decided",
        "run_ended",
    ];

    /// The word that tells the kind, as it stands in the JSON.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RunCreated(_) => "run_created",
            Self::OwnerChanged { .. } => "owner_changed",
            Self::ConnectionPinned { .. } => "connection_pinned",
            Self::ConnectionChanged { .. } => "connection_changed",
            Self::StepStarted { .. } => "step_started",
            Self::ItemsExpanded { .. } => "items_expanded",
            Self::StepSkipped { .. } => "step_skipped",
            Self::WaitStarted { .. } => "wait_started",
            Self::ReadFailed { .. } => "read_failed",
            Self::GateSampled { .. } => "gate_sampled",
            Self::PlanFailed { .. } => "plan_failed",
            Self::Unchanged { .. } => "unchanged",
            Self::AttemptStarted { .. } => "attempt_started",
            Self::ReceiptLeft { .. } => "receipt_left",
            Self::ProcessStarted { .. } => "process_started",
            Self::AttemptFinished { .. } => "attempt_finished",
            Self::AttemptsResolved { .. } => "attempts_resolved",
            Self::Accepted { .. } => "accepted",
            Self::QuestionAsked { .. } => "question_asked",
            Self::OperatorAnswered { .. } => "operator_answered",
            Self::RetryScheduled { .. } => "retry_scheduled",
            Self::StepRestarted { .. } => "step_restarted",
            Self::StepSucceeded { .. } => "step_succeeded",
            Self::StepFailed { .. } => "step_failed",
            Self::RunHeld { .. } => "run_held",
            Self::RunReleased { .. } => "run_released",
            Self::RollbackStarted(_) => "rollback_started",
            Self::RollbackOverdue { .. } => "rollback_overdue",
            Self::RollbackFinished => "rollback_finished",
            Self::UndoPrepared { .. } => "undo_prepared",
            Self::Committed { .. } => "committed",
            Self::UndoListInherited { .. } => "undo_list_inherited",
            Self::InputChanged { .. } => "input_changed",
            Self::TerminateRequested { .. } => "terminate_requested",
            Self::LockAwaited { .. } => "lock_awaited",
            Self::LockAcquired { .. } => "lock_acquired",
            Self::LockReleased { .. } => "lock_released",
            Self::BaselineRecorded { .. } => "baseline_recorded",
            Self::GuardStarted { .. } => "guard_started",
            Self::GuardSampled(_) => "guard_sampled",
            Self::GuardTripped { .. } => "guard_tripped",
            Self::GuardEnded { .. } => "guard_ended",
            Self::Scheduled { .. } => "scheduled",
            Self::Shifted { .. } => "shifted",
            Self::ApprovalRequested { .. } => "approval_requested",
            Self::ApprovalGiven(_) => "approval_given",
            Self::ApprovalVoided { .. } => "approval_voided",
            Self::ApprovalExpired { .. } => "approval_expired",
            Self::ClockStepped { .. } => "clock_stepped",
            Self::CancelRequested { .. } => "cancel_requested",
            Self::VerdictDecided { .. } => "verdict_decided",
            Self::RunEnded { .. } => "run_ended",
        }
    }

    /// The attempt that the envelope is bound to, for events that are about one.
    #[must_use]
    pub fn binding(&self) -> Option<Binding<'_>> {
        let (Self::AttemptStarted { attempt, .. }
        | Self::ReceiptLeft { attempt, .. }
        | Self::ProcessStarted { attempt, .. }
        | Self::AttemptFinished { attempt, .. }) = self
        else {
            return None;
        };
        Some(Binding {
            step: &attempt.effect.step,
            item: attempt.effect.item.as_deref(),
            attempt: attempt.effect.attempt,
            plugin_digest: &attempt.digest,
            action: &attempt.action,
        })
    }

    /// The step and item that the event is about, if it is about one.
    #[must_use]
    pub fn place(&self) -> Option<(&Arc<str>, Option<&Arc<str>>)> {
        match self {
            Self::StepStarted { step, item, .. }
            | Self::StepSkipped { step, item, .. }
            | Self::UndoPrepared { step, item, .. }
            | Self::InputChanged { step, item, .. }
            | Self::WaitStarted { step, item, .. }
            | Self::ReadFailed { step, item, .. }
            | Self::GateSampled { step, item, .. }
            | Self::PlanFailed { step, item, .. }
            | Self::Unchanged { step, item, .. }
            | Self::AttemptsResolved { step, item, .. }
            | Self::Accepted { step, item, .. }
            | Self::QuestionAsked { step, item, .. }
            | Self::OperatorAnswered { step, item, .. }
            | Self::RetryScheduled { step, item, .. }
            | Self::StepRestarted { step, item, .. }
            | Self::StepSucceeded { step, item, .. }
            | Self::StepFailed { step, item, .. } => Some((step, item.as_ref())),
            Self::ItemsExpanded { step, .. }
            | Self::ApprovalRequested { step, .. }
            | Self::ApprovalVoided { step, .. }
            | Self::ApprovalExpired { step }
            | Self::Scheduled { step, .. } => Some((step, None)),
            Self::ApprovalGiven(given) => Some((&given.step, None)),
            Self::GuardStarted { guard } | Self::GuardTripped { guard, .. } | Self::GuardEnded { guard } => {
                Some((guard, None))
            }
            Self::GuardSampled(sampled) => Some((&sampled.guard, None)),
            Self::AttemptStarted { attempt, .. }
            | Self::ReceiptLeft { attempt, .. }
            | Self::ProcessStarted { attempt, .. }
            | Self::AttemptFinished { attempt, .. } => {
                Some((&attempt.effect.step, attempt.effect.item.as_ref()))
            }
            Self::RunHeld { step, .. } | Self::RunReleased { step, .. } | Self::Committed { step, .. } => {
                step.as_ref().map(|step| (step, None))
            }
            Self::RunCreated(_)
            | Self::OwnerChanged { .. }
            | Self::ConnectionPinned { .. }
            | Self::ConnectionChanged { .. }
            | Self::RollbackStarted(_)
            | Self::RollbackOverdue { .. }
            | Self::RollbackFinished
            | Self::UndoListInherited { .. }
            | Self::TerminateRequested { .. }
            | Self::LockAwaited { .. }
            | Self::LockAcquired { .. }
            | Self::LockReleased { .. }
            | Self::BaselineRecorded { .. }
            | Self::Shifted { .. }
            | Self::ClockStepped { .. }
            | Self::CancelRequested { .. }
            | Self::VerdictDecided { .. }
            | Self::RunEnded { .. } => None,
        }
    }
}
