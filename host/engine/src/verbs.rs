//! What people may ask of a run, by how it stands: the one table that the machine obeys and the documents show.
//!
//! Plain data and two functions over it. Invariant: every verb has an answer in every state, so nothing that a person
//! asks for is passed over in silence.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::Answer;
use crate::request::Request;
use crate::state::{Stand, State};
use crate::words::Phase;
use crate::work::Work;

crate::words::words! {
    /// How a run stands, as far as it matters for what may be asked of it.
    RunStand {
        /// It waits for the lock of its group.
        Queued = "queued",
        /// It goes forward.
        Running = "running",
        /// Something keeps it from going forward.
        Held = "held",
        /// It goes back, and effects of the way forward have not ended.
        Settling = "settling",
        /// It goes back.
        Undoing = "undoing",
        /// A person has cancelled it on its way forward, and what is being applied comes to its end.
        Cancelling = "cancelling",
        /// A person has ended it, or its way back, and what is being written comes to its end.
        Ending = "ending",
        /// Its verdict is decided, and finally steps run.
        Closing = "closing",
        /// Nothing more happens.
        Ended = "ended",
    }
}

crate::words::words! {
    /// How a step, an item of one or an undo stands, as far as it matters for what may be asked about it.
    StepStand {
        /// It has not begun.
        Pending = "pending",
        /// It is at work.
        Busy = "busy",
        /// It waits for time to pass, or before trying again.
        Waiting = "waiting",
        /// It needs a person's word.
        Asking = "asking",
        /// It failed.
        Failed = "failed",
        /// An approval that was not given: rejected, or its time is over.
        Unapproved = "not approved",
        /// It succeeded or was skipped.
        Done = "done",
        /// It was taken back.
        Undone = "undone",
        /// Its undo has not begun or is at work.
        UndoBusy = "undo busy",
        /// Its undo needs a person's word.
        UndoAsking = "undo asking",
        /// Its undo failed.
        UndoFailed = "undo failed",
        /// Its undo is over.
        UndoDone = "undo done",
    }
}

crate::words::words! {
    /// What people ask for.
    Verb {
        /// `windlass pause`
        Pause = "pause",
        /// `windlass resume`
        Resume = "resume",
        /// `windlass cancel`
        Cancel = "cancel",
        /// `windlass terminate`
        Terminate = "terminate",
        /// `windlass rollback`
        Rollback = "rollback",
        /// `windlass approve` and `windlass reject`
        Approve = "approve",
        /// `windlass resume --step … --retry`
        Retry = "retry",
        /// `windlass resume --step … --skip`
        Skip = "skip",
        /// `windlass resume --step … --done`
        Done = "done",
        /// `windlass resume --step … --applied` and `--not-applied`
        Answer = "answer",
        /// `windlass resume --step … --restore`
        Restore = "restore",
        /// `windlass resume --step … --leave`
        Leave = "leave",
    }
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One sentence.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// What comes of a verb, or why nothing does.
pub type Rule = Result<&'static str, &'static str>;

const ENDED: Rule = Err("the run has ended");
const CLOSING: Rule = Err("the verdict of the run is decided");
const CANCELLED: Rule = Err("the run was cancelled");
const BY_STEP: Rule = Ok("as the step stands");

impl Verb {
    /// Whether it is about a step.
    #[must_use]
    pub const fn is_about_a_step(self) -> bool {
        matches!(self, Self::Retry | Self::Skip | Self::Done | Self::Answer | Self::Restore | Self::Leave)
    }

    /// What a request asks for.
    #[must_use]
    pub const fn of(request: &Request) -> Self {
        match request {
            Request::Pause { .. } => Self::Pause,
            Request::Resume => Self::Resume,
            Request::Cancel { .. } => Self::Cancel,
            Request::Terminate { .. } => Self::Terminate,
            Request::Rollback { .. } => Self::Rollback,
            Request::Approve { .. } => Self::Approve,
            Request::Retry { .. } => Self::Retry,
            Request::Skip { .. } => Self::Skip,
            Request::Done { .. } => Self::Done,
            Request::Answer { answer: Answer::Restore, .. } => Self::Restore,
            Request::Answer { answer: Answer::Leave, .. } => Self::Leave,
            Request::Answer { answer: Answer::Applied { .. } | Answer::NotApplied, .. } => Self::Answer,
        }
    }
}

impl RunStand {
    /// How a run stands.
    #[must_use]
    pub fn of(state: &State) -> Self {
        if state.ended().is_some() {
            Self::Ended
        } else if state.verdict().is_some() {
            Self::Closing
        } else if state.terminated().is_some() || (state.cancelled().is_some() && state.goes_back()) {
            Self::Ending
        } else if state.cancelled().is_some() {
            Self::Cancelling
        } else if state.goes_back() && state.is_settling() {
            Self::Settling
        } else if state.goes_back() {
            Self::Undoing
        } else if !state.holds().is_empty() {
            Self::Held
        } else if state.is_queued() {
            Self::Queued
        } else {
            Self::Running
        }
    }

    /// What a verb does to a run that stands so.
    pub const fn rule(self, verb: Verb) -> Rule {
        match (self, verb) {
            (Self::Ended, Verb::Rollback) => Err("the run has ended: its rollback is a run of its own"),
            (Self::Ended, _) => ENDED,
            (Self::Closing, Verb::Rollback) => {
                Err("the verdict of the run is decided: roll it back when it has ended")
            }
            (Self::Closing, Verb::Pause) => Ok("no further finally step starts"),
            (Self::Closing, Verb::Resume) => Ok("the finally steps go on"),
            (_, Verb::Terminate) => Ok("calls are cut off, and the run ends at once"),
            (Self::Closing, _) => CLOSING,
            (Self::Cancelling | Self::Ending, Verb::Pause) => Ok("no finally step starts"),
            (Self::Cancelling | Self::Ending, Verb::Resume) => Ok("the finally steps go on"),
            (Self::Cancelling, Verb::Rollback) => Ok("the run goes back instead"),
            (Self::Ending, Verb::Rollback) => Err("the run is about to end: roll it back when it has ended"),
            (Self::Cancelling, _) => CANCELLED,
            (Self::Ending, _) => Err("the run is about to end"),
            (Self::Settling | Self::Undoing, Verb::Pause) => Ok("no further undo starts"),
            (Self::Settling | Self::Undoing, Verb::Resume) => Ok("failed undos begin anew"),
            (Self::Settling | Self::Undoing, Verb::Cancel) => {
                Ok("the rollback ends where it is; finally steps run")
            }
            (Self::Settling | Self::Undoing, Verb::Rollback) => Err("the run goes back already"),
            (Self::Settling | Self::Undoing, Verb::Approve) => {
                Err("the run goes forward no more: there is nothing to approve")
            }
            (_, Verb::Pause) => Ok("nothing new starts; reads are dropped, applies end"),
            (_, Verb::Resume) => Ok("holds are lifted, and what failed begins anew"),
            (_, Verb::Cancel) => Ok("the run ends where it is, with its effects; finally steps run"),
            (_, Verb::Rollback) => Ok("the run goes back"),
            (_, Verb::Approve) => Ok("as the approval stands"),
            (_, Verb::Retry | Verb::Skip | Verb::Done | Verb::Answer | Verb::Restore | Verb::Leave) => {
                BY_STEP
            }
        }
    }
}

impl StepStand {
    /// How the work of a step or item stands; `undo` tells that it is that of an undo.
    #[must_use]
    pub const fn of(work: &Work, undo: bool, undone: bool) -> Self {
        match (work.phase, undo) {
            (Phase::Asking, true) => Self::UndoAsking,
            (Phase::Failed, true) => Self::UndoFailed,
            (Phase::Succeeded | Phase::Skipped, true) => Self::UndoDone,
            (_, true) => Self::UndoBusy,
            _ if undone => Self::Undone,
            (Phase::Pending, false) => Self::Pending,
            (Phase::Asking, false) => Self::Asking,
            (Phase::Failed, false) => Self::Failed,
            (Phase::Succeeded | Phase::Skipped, false) => Self::Done,
            (Phase::Retrying | Phase::Waiting | Phase::Scheduled, false) => Self::Waiting,
            (_, false) => Self::Busy,
        }
    }

    /// What a verb does to a step that stands so, in a run whose state leaves it to the step.
    pub const fn rule(self, verb: Verb) -> Rule {
        match (self, verb) {
            (Self::Unapproved, Verb::Retry) => Ok("it is asked again"),
            (Self::Unapproved, _) => Err("an approval is given by those who may, and by nobody else"),
            (Self::Failed, Verb::Retry) => Ok("it begins anew, with another input if one is given"),
            (Self::Undone, Verb::Retry) => Ok("it begins anew, as a new generation"),
            (Self::UndoFailed, Verb::Retry) => Ok("the undo begins anew"),
            (Self::Failed | Self::Asking | Self::Waiting, Verb::Skip) => {
                Ok("it is left out, and the run will be partial")
            }
            (Self::UndoFailed | Self::UndoAsking, Verb::Skip) => {
                Ok("the undo is left out, and the effect stays")
            }
            (Self::Failed | Self::Asking, Verb::Done) => Ok("it counts as done by hand"),
            (Self::UndoFailed | Self::UndoAsking, Verb::Done) => {
                Ok("the effect counts as taken back by hand")
            }
            (Self::Asking | Self::Failed, Verb::Answer) => {
                Ok("applied: it is done; not applied: it begins anew")
            }
            (Self::UndoAsking | Self::UndoFailed, Verb::Answer) => {
                Ok("applied: it is taken back; not applied: the undo is planned again")
            }
            (Self::UndoAsking, Verb::Restore) => {
                Ok("what was there before is put back over what is there now")
            }
            (Self::UndoAsking, Verb::Leave) => Ok("what is there now stays"),
            (Self::Pending, _) => Err("it has not begun"),
            (_, Verb::Restore | Verb::Leave) => Err("only the undo of a step asks that"),
            (Self::Busy | Self::UndoBusy, _) => Err("it is at work"),
            (Self::Waiting, _) => Err("it is waiting, and nothing went wrong for good"),
            (Self::Asking | Self::UndoAsking, _) => Err("it asks a question: answer that"),
            (Self::Done | Self::UndoDone, _) => Err("it is done"),
            (Self::Undone, _) => Err("it was taken back"),
            (Self::Failed | Self::UndoFailed, _) => Err("it failed"),
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The state.
    pub state: &'static str,
    /// Whether it is that of a step, and not of a run.
    pub of_step: bool,
    /// What is asked.
    pub verb: Verb,
    /// What comes of it, or why nothing does.
    pub rule: Rule,
}

/// The whole table: each verb in each state of a run, and those about steps in each state of a step.
#[must_use]
pub fn table() -> Vec<Line> {
    let runs = RunStand::ALL.iter().flat_map(|stand| {
        Verb::ALL.iter().map(move |verb| Line {
            state: stand.as_str(),
            of_step: false,
            verb: *verb,
            rule: stand.rule(*verb),
        })
    });
    let steps = StepStand::ALL.iter().flat_map(|stand| {
        Verb::ALL.iter().filter(|verb| verb.is_about_a_step()).map(move |verb| Line {
            state: stand.as_str(),
            of_step: true,
            verb: *verb,
            rule: stand.rule(*verb),
        })
    });
    runs.chain(steps).collect()
}

/// Whether a request may be made of a run as it stands. The machine asks this first; what it finds out beyond it is
/// about names and values, such as a step that the runbook does not have.
///
/// # Errors
/// Why not.
pub fn allowed(state: &State, request: &Request) -> Result<(), Refusal> {
    let verb = Verb::of(request);
    let refused = |why: &str| Refusal { message: format!("can't {verb}: {why}") };
    RunStand::of(state).rule(verb).map_err(refused)?;
    let (Request::Retry { step, item, .. }
    | Request::Skip { step, item, .. }
    | Request::Done { step, item, .. }
    | Request::Answer { step, item, .. }) = request
    else {
        return Ok(());
    };
    let undo = step.starts_with("undo/");
    if undo != state.goes_back() {
        return Err(refused(if undo {
            "the run does not go back"
        } else {
            "the run goes back, and its steps go forward no more"
        }));
    }
    let name = item.as_ref().map_or_else(|| format!("`{step}`"), |item| format!("`{step}`, item `{item}`"));
    let has_items = state.step(step).is_some_and(|state| state.items.is_some());
    if has_items && item.is_none() && !matches!(verb, Verb::Retry | Verb::Skip) {
        return Err(refused(&format!("{name} has items; say which one with its key")));
    }
    let Some(work) = state.work(step, item.as_deref()) else {
        return Err(Refusal { message: format!("can't {verb}: {name} has not begun, or is not there") });
    };
    let stand = match StepStand::of(work, undo, !undo && state.is_undone(step)) {
        StepStand::Failed if state.approval(step).is_some() => StepStand::Unapproved,
        // Its time is over while the run is paused, and what comes of that is still to come.
        StepStand::Busy if state.approval(step).is_some_and(|approval| approval.stand == Stand::Expired) => {
            StepStand::Unapproved
        }
        stand => stand,
    };
    let refused = |why: &str| Refusal { message: format!("can't {verb} {name}: {why}") };
    stand.rule(verb).map_err(refused)?;
    match (&work.question, request) {
        (Some(question), Request::Answer { answer: Answer::Restore, .. }) if !question.may_be_restored() => {
            Err(refused(&format!("its undo has nothing to put back: {}", question.message)))
        }
        (Some(question), Request::Answer { answer: Answer::NotApplied, .. }) if undo && question.blind => {
            Err(refused(&format!(
                "its undo looks at nothing, so it would say the same: {}",
                question.message
            )))
        }
        _ => Ok(()),
    }
}
