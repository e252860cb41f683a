//! What becomes of a call: decided when it begins, from the seed.

use std::sync::Arc;

use serde_json::{Value, json};
use windlass_engine::{CallFailure, CallId, CallKind, CallReport, CallRequest, Millis, Reads, Returned};
use windlass_runbook::outcome::{Failure, Status};

use crate::random::Random;
use crate::world::{Place, World, Write, text};

/// A call by its number, and the process that makes it: numbers begin anew in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) process: u64,
    pub(crate) id: CallId,
}

/// A call under way.
#[derive(Debug, Clone)]
pub(crate) struct Flying {
    pub(crate) call: Handle,
    pub(crate) place: Place,
    pub(crate) request: CallRequest,
    pub(crate) began: Millis,
    pub(crate) write: Option<Write>,
    /// Whether it sends what it writes.
    pub(crate) sends: bool,
    /// Whether what it sends arrives.
    pub(crate) arrives: bool,
    /// It has arrived.
    pub(crate) landed: bool,
    /// What it says in the end, if nobody interrupts it.
    pub(crate) says: Saying,
    pub(crate) cancelled: bool,
    /// The process that it runs as, and whether the engine knows.
    pub(crate) program: Option<(u64, bool)>,
    pub(crate) leaves_receipt: bool,
    pub(crate) ends: Millis,
}

/// What a call says when it ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Saying {
    Truth,
    Fails(CallFailure),
    /// Of a plan only.
    Status(Status),
    /// Of a plan only: something that it asked was not answered.
    HalfBlind,
}

/// What goes wrong, and how often still.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    pub(crate) left: u32,
    pub(crate) percent: u64,
}

impl Faults {
    fn strikes(&mut self, random: &mut Random) -> bool {
        let strikes = self.left > 0 && random.chance(self.percent);
        self.left -= u32::from(strikes);
        strikes
    }
}

fn failure(retryable: bool, after: Option<u64>) -> CallFailure {
    CallFailure::plugin(Failure {
        code: "refused".into(),
        message: "it is refused".into(),
        detail: None,
        retryable,
        retry_after: after,
    })
}

fn any_failure(random: &mut Random) -> CallFailure {
    match random.below(8) {
        0 => CallFailure::Limit { limit: "memory".into(), message: "too much".into() },
        1 => CallFailure::Fault { message: "it trapped".into() },
        2 => failure(true, Some(3_000)),
        3 | 4 => failure(false, None),
        _ => failure(true, None),
    }
}

/// Begins a call.
pub(crate) fn begin(
    random: &mut Random,
    faults: &mut Faults,
    call: Handle,
    place: Place,
    request: CallRequest,
    now: Millis,
    next_process: &mut u64,
) -> Flying {
    let write = World::write_of(&request);
    let latency = if random.chance(8) { random.span(1_000, 20_000) } else { random.span(1, 800) };
    let timeout = Millis::try_from(request.timeout_ms).unwrap_or(Millis::MAX);
    let mut flying = Flying {
        call,
        place,
        began: now,
        sends: write.is_some(),
        arrives: write.is_some(),
        landed: false,
        says: Saying::Truth,
        cancelled: false,
        program: None,
        leaves_receipt: write.is_some() && random.chance(10),
        ends: now + latency.min(timeout),
        write,
        request,
    };
    if flying.write.is_some() && &*flying.request.action == "launch" {
        *next_process += 1;
        flying.program = Some((*next_process, false));
    }
    if latency >= timeout {
        flying.says = too_slow();
        flying.arrives &= random.chance(50);
    } else if faults.strikes(random) {
        go_wrong(random, &mut flying, now + timeout.min(600_000));
    }
    flying
}

fn too_slow() -> Saying {
    Saying::Fails(CallFailure::Limit { limit: "deadline".into(), message: "it took too long".into() })
}

fn go_wrong(random: &mut Random, flying: &mut Flying, deadline: Millis) {
    let plans = matches!(flying.request.phase, CallKind::Plan { .. } | CallKind::PlanUndo { .. });
    if plans && random.chance(50) {
        flying.says = match random.below(4) {
            0 => Saying::Status(Status::Unknown("no answer".into())),
            1 => Saying::Status(Status::InProgress),
            2 => Saying::Status(Status::Conflict("someone was here".into())),
            _ => Saying::HalfBlind,
        };
        return;
    }
    if random.chance(12) {
        flying.ends = deadline;
        flying.says = too_slow();
    } else {
        flying.says = Saying::Fails(any_failure(random));
    }
    // It failed before anything was sent, on the way, or only the reply was lost.
    flying.sends &= random.chance(70);
    flying.arrives &= flying.sends && random.chance(60);
}

/// The report of a call that has come to its end.
pub(crate) fn report(flying: &Flying, world: &mut World, now: Millis) -> CallReport {
    let elapsed_ms = u64::try_from(now - flying.began).unwrap_or_default();
    let mut reads = Reads { succeeded: 1, failed: 0, denied: 0 };
    if flying.cancelled {
        let result = Err(CallFailure::Cancelled);
        return CallReport { result, sent: flying.sends && flying.landed, reads, elapsed_ms };
    }
    let result = match &flying.says {
        Saying::Fails(failure) => Err(failure.clone()),
        Saying::Truth | Saying::Status(_) | Saying::HalfBlind => Ok(answer(flying, world, now)),
    };
    let result = match (&flying.says, result) {
        (Saying::Status(status), Ok(Returned::Plan(mut plan))) => {
            plan.status = status.clone();
            Ok(Returned::Plan(plan))
        }
        (_, Ok(_)) if flying.write.is_some() && !flying.landed => Err(failure(false, None)),
        (_, result) => result,
    };
    if flying.says == Saying::HalfBlind {
        reads.failed = 1;
    }
    CallReport { result, sent: flying.sends, reads, elapsed_ms }
}

fn answer(flying: &Flying, world: &mut World, now: Millis) -> Returned {
    let request = &flying.request;
    match &request.phase {
        CallKind::Read { input } => Returned::Output(world.gauge(&text(input, "name"), now)),
        CallKind::Plan { input, before } => Returned::Plan(world.plan(&request.action, input, before)),
        CallKind::Apply { input, .. } => Returned::Output(made(input)),
        CallKind::PlanUndo { done, .. } => Returned::Plan(world.plan_undo(done)),
        CallKind::Undo { .. } => Returned::Output(Value::Null),
    }
}

fn made(input: &Arc<Value>) -> Value {
    json!({ "value": input["value"] })
}
