//! What people may ask: every verb in every state, against the table that the documents show.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use serde_json::json;
use support::*;
use windlass_engine::{
    Answer, Asked, Command, Observation, Request, RunStand, StepStand, Verb, allowed, table,
};
use windlass_runbook::model::{OnFailure, Step};
use windlass_runbook::outcome::Status;

fn going_back(id: &str) -> Step {
    undoable(id).on_failure(OnFailure::Auto)
}

fn breaks(id: &str) -> Step {
    read(id).expect("false").on_failure(OnFailure::Auto)
}

/// A request for each verb, about that step where it is about one.
fn requests(step: &str) -> Vec<Request> {
    let (step, item, reason) = (step.to_owned(), None, String::new());
    let answer = |answer| Request::Answer { step: step.clone(), item: None, answer, reason: String::new() };
    vec![
        Request::Pause { reason: reason.clone() },
        Request::Resume,
        Request::Cancel { reason: reason.clone() },
        Request::Terminate { reason: reason.clone() },
        Request::Rollback { reason: reason.clone(), only: Vec::new(), past_commit: false },
        Request::Retry { step: step.clone(), item: item.clone(), input: None, reason: reason.clone() },
        Request::Skip { step: step.clone(), item: item.clone(), reason: reason.clone() },
        Request::Done { step: step.clone(), item, output: None, reason },
        answer(Answer::Applied { output: None }),
        answer(Answer::Restore),
        answer(Answer::Leave),
    ]
}

type Make = fn() -> Driver;

/// Runs brought to each state that a request can meet, with the step that stands there in an interesting way.
fn stands() -> Vec<(RunStand, Option<StepStand>, &'static str, Make)> {
    vec![
        (RunStand::Running, Some(StepStand::Waiting), "pause", || {
            let mut run = Driver::new(chain(vec![undoable("a"), wait("pause", "1h")]));
            run.time_up = Some(10_000);
            assert_eq!(run.start(), Outcome::TimeUp);
            run
        }),
        (RunStand::Running, Some(StepStand::Done), "a", || {
            let mut run = Driver::new(chain(vec![undoable("a"), wait("pause", "1h")]));
            run.time_up = Some(10_000);
            assert_eq!(run.start(), Outcome::TimeUp);
            run
        }),
        (RunStand::Held, Some(StepStand::Failed), "make", || {
            let mut run = Driver::scripted(chain(vec![write("make")]), |seen| {
                seen.writes().then(|| (failed("refused", false, false), false))
            });
            run.start();
            run
        }),
        (RunStand::Held, Some(StepStand::Asking), "make", || {
            let mut run = Driver::scripted(chain(vec![write("make")]), |seen| {
                if seen.writes() {
                    return Some((failed("lost", false, true), false));
                }
                (seen.is_plan() && !seen.before().is_empty())
                    .then(|| (planned(Status::Unknown("no answer".into()), true), false))
            });
            run.start();
            run
        }),
        (RunStand::Held, Some(StepStand::Undone), "a", || {
            let mut run = Driver::new(chain(vec![undoable("a"), read("check").expect("false")]));
            run.start();
            let only = vec!["a".to_owned()];
            run.ask(Request::Rollback { reason: String::new(), only, past_commit: false });
            run
        }),
        (RunStand::Undoing, Some(StepStand::UndoFailed), "undo/a", || {
            let mut run = Driver::scripted(chain(vec![going_back("a"), breaks("check")]), |seen| {
                (seen.step == "undo/a" && seen.writes() && seen.count == 1)
                    .then(|| (failed("refused", false, false), false))
            });
            run.start();
            run
        }),
        (RunStand::Undoing, Some(StepStand::UndoAsking), "undo/a", || {
            let mut run = Driver::scripted(chain(vec![going_back("a"), breaks("check")]), |seen| {
                (seen.step == "undo/a" && seen.count == 1 && !seen.writes())
                    .then(|| (planned(Status::Conflict("it moved".into()), true), false))
            });
            run.start();
            run
        }),
        (RunStand::Ended, None, "a", || {
            let mut run = Driver::new(chain(vec![undoable("a")]));
            run.start();
            run
        }),
    ]
}

#[test]
fn every_request_is_taken_or_refused_as_the_table_says() {
    for (stand, step_stand, step, make) in stands() {
        for request in requests(step) {
            let mut run = make();
            assert_eq!(RunStand::of(run.state()), stand);
            let verb = Verb::of(&request);
            let rule = match step_stand.filter(|_| verb.is_about_a_step()) {
                Some(of_step) if stand.rule(verb).is_ok() => of_step.rule(verb),
                _ => stand.rule(verb),
            };
            assert_eq!(allowed(run.state(), &request).is_ok(), rule.is_ok(), "{verb} of `{step}`, {stand}");
            let (events, now) = (run.state().events(), run.now);
            let commands = run.machine.decide(Observation::Asked(Asked::here("ada", request.clone())), now);
            let refused = commands.iter().any(|command| matches!(command, Command::Refused { .. }));
            assert_eq!(refused, rule.is_err(), "{verb} of `{step}`, {stand}");
            let changes = run.state().events() > events;
            // To go on with what goes on already changes nothing, nor does a second word to stop.
            let may_be_idle = matches!(verb, Verb::Resume | Verb::Pause);
            assert!(changes == rule.is_ok() || may_be_idle, "{verb} of `{step}`, {stand}: {commands:?}");
        }
    }
}

#[test]
fn a_refusal_is_told_and_every_cell_of_the_table_has_words() {
    let mut run = Driver::new(chain(vec![undoable("a")]));
    run.start();
    run.ask(Request::Pause { reason: String::new() });
    assert_eq!(run.refused, ["can't pause: the run has ended"]);
    for line in table() {
        let (Ok(words) | Err(words)) = line.rule;
        assert!(!words.is_empty(), "{line:?}");
    }
    let runs = RunStand::ALL.len() * Verb::ALL.len();
    let about_steps = Verb::ALL.iter().filter(|verb| verb.is_about_a_step()).count();
    assert_eq!(table().len(), runs + StepStand::ALL.len() * about_steps);
}

#[test]
fn requests_have_their_json() {
    let asked = Asked { id: "m1".into(), ..Asked::here("ada", requests("make")[5].clone()) };
    let text = serde_json::to_value(&asked).unwrap();
    assert_eq!(
        text,
        json!({
            "version": 1,
            "id": "m1",
            "who": "ada",
            "request": { "verb": "retry", "step": "make", "item": null, "input": null, "reason": "" }
        })
    );
    for request in requests("make") {
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }
}
