//! People: those who get a run on, those who ask for whatever comes to their mind, and those who approve.

use serde_json::json;
use windlass_engine::{Answer, ApprovalGiven, Decision, Hold, Phase, Request, State};

use crate::random::Random;
use crate::rules::Rules;
use crate::world::{Place, World};

const WHY: &str = "looked";

/// A step or item that has begun, at random.
fn any_place(random: &mut Random, state: &State) -> Place {
    let places: Vec<Place> =
        state.works().map(|(path, item, _)| (path.to_owned(), item.map(str::to_owned))).collect();
    random.pick_of(&places).cloned().unwrap_or_else(|| ("s0".to_owned(), None))
}

/// Whatever comes to somebody's mind. Only what the run's own record can be held to: nobody lies about the world here.
pub(crate) fn whim(random: &mut Random, state: &State) -> Request {
    let (step, item) = any_place(random, state);
    let reason = WHY.to_owned();
    match random.below(13) {
        0 | 1 => Request::Pause { reason },
        2 | 3 => Request::Resume,
        4 => Request::Cancel { reason },
        5 if random.chance(30) => Request::Terminate { reason },
        6 | 7 => Request::Rollback { reason, only: Vec::new(), past_commit: random.chance(50) },
        8 => Request::Rollback { reason, only: vec![step], past_commit: random.chance(50) },
        9 | 10 => Request::Retry { step, item, input: None, reason },
        11 => Request::Skip { step, item, reason },
        _ => Request::Answer { step, item, answer: Answer::Leave, reason },
    }
}

/// The truth about a question, or a choice where a person may choose.
pub(crate) fn answer(
    random: &mut Random,
    state: &State,
    world: &mut World,
    rules: &mut Rules,
) -> Option<Request> {
    let (step, item, question) = state.questions().next()?;
    let (restorable, blind) = (question.may_be_restored(), question.blind);
    let place: Place = (step.to_owned(), item.map(str::to_owned));
    let reason = WHY.to_owned();
    let request = |answer| {
        Some(Request::Answer { step: place.0.clone(), item: place.1.clone(), answer, reason: reason.clone() })
    };
    let Some(of) = place.0.strip_prefix("undo/") else {
        let there = world.truth.get(&place).is_some_and(crate::world::Truth::is_there);
        return request(if there { Answer::Applied { output: None } } else { Answer::NotApplied });
    };
    let forward: Place = (of.to_owned(), place.1.clone());
    match random.below(5) {
        0 => {
            world.by_hand(&forward);
            request(Answer::Applied { output: None })
        }
        1 => {
            waive(world, &forward);
            request(Answer::Leave)
        }
        2 if !blind => request(Answer::NotApplied),
        3 => {
            waive(world, &forward);
            Some(Request::Skip { step: place.0.clone(), item: place.1.clone(), reason: reason.clone() })
        }
        _ if restorable => {
            rules.may_restore(place.clone());
            request(Answer::Restore)
        }
        _ => {
            waive(world, &forward);
            request(Answer::Leave)
        }
    }
}

/// A person takes it upon themselves.
pub(crate) fn waive(world: &mut World, place: &Place) {
    let any_item = place.1.is_none();
    for (known, truth) in &mut world.truth {
        if known.0 == place.0 && (any_item || known.1 == place.1) {
            truth.waived = true;
        }
    }
}

/// What gets a run on that waits for a person. `patience` counts down to nothing.
pub(crate) fn help(
    random: &mut Random,
    state: &State,
    world: &mut World,
    rules: &mut Rules,
    patience: u32,
) -> Request {
    let reason = WHY.to_owned();
    if patience < 5 {
        return Request::Terminate { reason };
    }
    if patience < 12 {
        return Request::Cancel { reason };
    }
    if let Some(request) = answer(random, state, world, rules) {
        return request;
    }
    let failed: Vec<Place> = state
        .works()
        .filter(|(_, _, work)| work.phase == Phase::Failed)
        .map(|(path, item, _)| (path.to_owned(), item.map(str::to_owned)))
        .collect();
    if let Some((step, item)) = random.pick_of(&failed).cloned()
        && random.chance(60)
    {
        let undo = step.strip_prefix("undo/").map(str::to_owned);
        return match (random.below(4), undo) {
            (0, Some(of)) => {
                waive(world, &(of, item.clone()));
                Request::Skip { step, item, reason }
            }
            (0, None) => Request::Skip { step, item, reason },
            (1, None) if patience < 30 => Request::Rollback { reason, only: Vec::new(), past_commit: true },
            _ => Request::Retry { step, item, input: None, reason },
        };
    }
    if state.holds().iter().any(|held| held.reason == Hold::Operator) || random.chance(60) {
        return Request::Resume;
    }
    match random.below(5) {
        0 => Request::Rollback { reason, only: Vec::new(), past_commit: true },
        1 => Request::Cancel { reason },
        _ => Request::Resume,
    }
}

/// Somebody's word on the approvals that are open, if there are any.
pub(crate) fn word(random: &mut Random, state: &State) -> Option<Request> {
    let open: Vec<_> = state.approvals().iter().filter(|(_, approval)| approval.is_open()).collect();
    let (step, approval) = random.pick_of(&open)?;
    let request = approval.request.as_ref()?;
    let who = random.pick(&["ada", "bob", "cleo", "dan"]);
    let roles = match who {
        "ada" | "bob" => vec!["ops".to_owned()],
        "cleo" => vec!["security".to_owned()],
        _ => vec!["ops".to_owned(), "security".to_owned()],
    };
    let stale = random.chance(5);
    let given = ApprovalGiven {
        step: (*step).clone(),
        request: if stale { "sha256:0".to_owned() } else { request.digest.clone() },
        who: who.to_owned(),
        head: String::new(),
        key: "SHA256:k".to_owned(),
        roles,
        role: None,
        decision: if random.chance(12) { Decision::Reject } else { Decision::Approve },
        reason: WHY.to_owned(),
        evidence: Some("seen".to_owned()),
        signature: json!("s").to_string(),
    };
    Some(Request::Approve { given: Box::new(given) })
}
