//! What does harm when it is repeated is had the first time, and asked about only after that.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use support::*;
use windlass_engine::{Answer, CallKind, Hold, Verdict};
use windlass_runbook::model::OnFailure;
use windlass_runbook::outcome::Status;

const ROLLED_BACK: Outcome = Outcome::Ended(Verdict::RolledBack, false);

/// A step whose undo must not be sent twice, and a reason to undo it. The first undo's reply is lost, if that is asked for.
fn undone_once(reply_lost: bool) -> Driver {
    let fails = read("check").expect("false").on_failure(OnFailure::Auto);
    let steps = chain(vec![undoable("make").on_failure(OnFailure::Auto), fails]);
    Driver::scripted(steps, move |seen| match seen.request.phase {
        CallKind::PlanUndo { .. } if seen.had > 0 || reply_lost => {
            Some((planned(Status::Differs, false), false))
        }
        CallKind::Undo { .. } if reply_lost && seen.count == 1 => {
            Some((failed("reply-lost", false, true), false))
        }
        _ => None,
    })
}

#[test]
fn the_first_attempt_of_an_undo_repeats_nothing() {
    let mut run = undone_once(false);
    assert_eq!(run.start(), ROLLED_BACK);
    assert_eq!(run.had("make"), 0);
}

#[test]
fn an_undo_that_may_have_been_had_is_not_repeated_without_a_persons_word() {
    let mut run = undone_once(true);
    assert_eq!(run.start(), Outcome::Held(vec![Hold::Unknown]));
    assert_eq!(run.had("make"), 1);
    // It was not: then the next attempt is the first that counts.
    assert_eq!(run.answer("undo/make", None, Answer::NotApplied), ROLLED_BACK);
    assert_eq!(run.had("make"), 0);
}
