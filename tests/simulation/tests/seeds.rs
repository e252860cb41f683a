//! A few thousand seeds, for whoever changes the engine; `cargo xtask sim` runs fifty thousand.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use windlass_simulation::{simulate, simulate_all};

#[test]
fn every_rule_holds_in_the_first_seeds() {
    let tally = simulate_all(0..2_000, 1);
    assert!(tally.findings.is_empty(), "{:#?}", tally.findings);
    // What never comes about proves nothing.
    let wanted = [
        "approval_expired",
        "approval_given",
        "committed",
        "guard_tripped",
        "lock_awaited",
        "operator_answered",
        "owner_changed",
        "process_started",
        "question_asked",
        "rollback_finished",
        "rollback_overdue",
        "rollback_started",
        "scheduled",
        "step_restarted",
        "terminate_requested",
        "undo_prepared",
    ];
    let missing: Vec<_> = wanted.iter().filter(|kind| !tally.kinds.contains_key(**kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_seed_is_the_same_each_time() {
    for seed in 0..40 {
        assert_eq!(simulate(seed, false).unwrap(), simulate(seed, true).unwrap(), "seed {seed}");
    }
}
