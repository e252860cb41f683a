//! What a checked runbook says about getting back, asking people, watching and times. `model` hands these types out.

use crate::expression::{Expression, Template};
use crate::model::{Invocation, Step};
use crate::source::Span;

/// What a run does when it comes to a time that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Late {
    /// T moves, and the spacing is kept.
    #[default]
    Shift,
    /// T stays, and what follows comes as soon as it can.
    Compress,
    /// The run ends before its first effect; after one it is held.
    Abort,
}

/// A step of a rollback, besides the undos. Its path is `rollback/ID`, and its failure never stops them.
#[derive(Debug, Clone)]
pub struct RollbackStep {
    /// It needs nothing, and its id is unique among the rollback steps.
    pub step: Step,
    /// When it runs.
    pub order: RollbackOrder,
}

/// Where a rollback step stands to the undos.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RollbackOrder {
    /// Before the first of them.
    Before,
    /// After the last of them.
    #[default]
    After,
}

/// How a step's effect is taken back.
#[derive(Debug, Clone, Default)]
pub enum Undo {
    /// As the plugin has it.
    #[default]
    Own,
    /// By planning and applying this instead. An action with an effect; its input is resolved when the step is
    /// finished, and may have the step's own output.
    Call(Box<Invocation>),
    /// There is nothing to take back.
    Never,
}

/// A time before, at or after T, the time that the run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Milliseconds; below zero before T.
    pub offset_ms: i64,
}

/// Hours of the day within which work may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Minutes of the day, 0 to 1439.
    pub from_minute: u16,
    /// Minutes of the day, 0 to 1439. Where it is not above `from_minute`, the window ends on the next day.
    pub to_minute: u16,
    /// A name of the IANA database that `check` found in the one that jiff bundles.
    pub zone: String,
    /// The days on which the window begins, each once, in the order of the week; empty for each day.
    pub days: Vec<Day>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Day {
    /// `mon`
    Mon,
    /// `tue`
    Tue,
    /// `wed`
    Wed,
    /// `thu`
    Thu,
    /// `fri`
    Fri,
    /// `sat`
    Sat,
    /// `sun`
    Sun,
}

/// What people are asked.
#[derive(Debug, Clone)]
pub struct Approval {
    /// Who may answer; never empty, each once.
    pub roles: Vec<String>,
    /// So many of each role, at least 1. Counts only where `any` is none.
    pub each: u32,
    /// So many in all, of any of the roles, at least 1.
    pub any: Option<u32>,
    /// The question.
    pub text: Template,
    /// Milliseconds until it expires, which never approves.
    pub expires_ms: Option<u64>,
    /// What happens then.
    pub on_expiry: OnExpiry,
    /// The steps that it is about, as indices into `Runbook::steps`, in their order and each certain to come later;
    /// `None` for all up to the next approval.
    pub covers: Option<Vec<usize>>,
    /// What may still be open in what is approved.
    pub bind: Bind,
    /// Who is to do it, on a checklist.
    pub owner: Option<String>,
    /// Whether an approver must say what shows that it is done.
    pub evidence: bool,
    /// Whether the one who started the run may approve alone.
    pub own: bool,
}

/// What the end of an approval's time does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnExpiry {
    /// The run is held.
    #[default]
    Hold,
    /// The step fails.
    Fail,
}

/// What an approval binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bind {
    /// What is planned; of an input that is not known yet, that it is deferred.
    #[default]
    Plan,
    /// What is planned, all of which must be known.
    Exact,
}

/// A watch over the run. Its path is `guard/ID`.
#[derive(Debug, Clone)]
pub struct Guard {
    /// Unique among steps and guards.
    pub id: String,
    /// For people.
    pub title: Option<String>,
    /// What it asks: an action that only reads.
    pub call: Box<Invocation>,
    /// Milliseconds between samples, above 0.
    pub every_ms: u64,
    /// The step after whose success it watches; from the start without one.
    pub from: Option<usize>,
    /// The step with whose success it ends.
    pub until: Option<usize>,
    /// Over `result`: true is a reason to roll back. One of this and `hold_when` is there.
    pub rollback_when: Option<Expression>,
    /// Over `result`: true is a reason to hold.
    pub hold_when: Option<Expression>,
    /// Over `result`: false, or without a value, is no data; for answers that may be stale.
    pub fresh_when: Option<Expression>,
    /// What no data does.
    pub no_data: NoData,
    /// Milliseconds for which a reason must last; 0 for once.
    pub for_ms: u64,
    /// Milliseconds of good samples that end its hold.
    pub clear_for_ms: u64,
    /// Milliseconds that a running effect is given before it is interrupted.
    pub grace_ms: u64,
    /// Whether it is interrupted.
    pub interrupt: Interrupt,
    /// Whether it watches past the commit as well, where it can only hold.
    pub past_commit: bool,
    /// Of one sample.
    pub timeout_ms: Option<u64>,
    /// Where its table begins.
    pub span: Span,
}

/// What a guard without data does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoData {
    /// Holds.
    Hold,
    /// Rolls back.
    Rollback,
    /// Nothing.
    Ignore,
}

/// What a guard's trip does to an effect that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interrupt {
    /// It is cut off when the grace is over.
    #[default]
    AfterGrace,
    /// It may use all of its time.
    Never,
}

/// A sentence that is true of a run that succeeded.
#[derive(Debug, Clone)]
pub struct Criterion {
    /// For people.
    pub text: String,
    /// What shows it.
    pub met_by: MetBy,
    /// Where its table begins.
    pub span: Span,
}

/// What shows that a criterion is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetBy {
    /// The success of a step, by its index into `Runbook::steps`; never one that only waits.
    Step(usize),
    /// That a guard did not trip, by its index into `Runbook::guards`.
    Guard(usize),
}

/// Which runs can't be at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concurrency {
    /// One run at a time has the group of this name.
    pub group: String,
    /// What a second one does.
    pub when_busy: WhenBusy,
}

/// What a run does when its group is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenBusy {
    /// Waits for its turn.
    #[default]
    Queue,
    /// Does not start.
    Reject,
}
