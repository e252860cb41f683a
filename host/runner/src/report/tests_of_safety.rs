//! What people read about a run that waits, asks, is watched or goes back: one snapshot for each.

use std::sync::Arc;

use serde_json::json;
use windlass_engine::{
    Answer, ApprovalGiven, ApprovalRequest, AttemptRef, Band, CallFailure, Cause, Decision, Direction,
    Effect, EffectId, Event, GuardAction, GuardSampled, Hold, Item, Measured, Millis, Request,
    RollbackStarted, RunCreated, Samples, ScheduledFor, SkipReason, State, StepFailure, Verdict, World,
    allowed,
};
use windlass_runbook::outcome::{Change, Plan, Status};

use super::Report;

const RUN: &str = "k3n9q2h7m4wz";

fn created() -> Event {
    Event::RunCreated(Box::new(RunCreated {
        run: RUN.to_owned(),
        name: "release".to_owned(),
        started_by: "ana".to_owned(),
        t: Some(3_600_000),
        ..RunCreated::default()
    }))
}

fn state(events: &[Event]) -> State {
    let all: Vec<Event> = std::iter::once(created()).chain(events.iter().cloned()).collect();
    State::replay(
        all.iter().enumerate().map(|(index, event)| (event, Millis::try_from(index).unwrap() * 1_000)),
    )
}

/// What stands in `show` beside the steps, one thing a line.
fn told(events: &[Event]) -> String {
    let state = state(events);
    let report = Report::new(&state, None);
    check_commands(&state, &report.next_steps());
    let rows = report.rows().into_iter().map(|row| {
        format!("{} {}: {}", row.name, row.word, row.detail.unwrap_or_default()).trim_end().to_owned()
    });
    let guards =
        report.guards().into_iter().map(|guard| format!("{} {}: {}", guard.name, guard.word, guard.detail));
    let list = report
        .undo_list()
        .into_iter()
        .map(|one| format!("listed {}: {}, {}", one.name, one.changes, one.unknown));
    let lines: Vec<String> = report
        .circumstances()
        .into_iter()
        .chain(rows)
        .chain(guards)
        .chain(list)
        .chain(std::iter::once(String::new()))
        .chain(report.next_steps())
        .collect();
    lines.join("\n")
}

/// Whatever is advised is allowed as things stand. What an ended run has left is taken back by a run of its own.
fn check_commands(state: &State, lines: &[String]) {
    let commands = lines.iter().filter_map(|line| line.split_once(": ")?.1.trim().strip_prefix("windlass "));
    for command in commands.filter(|_| state.ended().is_none()) {
        let word_after = |word: &str| {
            let (_, rest) = command.split_once(&format!(" {word} "))?;
            Some(rest.split(" --").next().unwrap_or(rest).to_owned())
        };
        let reason = String::new();
        let item = word_after("--item").map(|item| item.trim_matches('\'').replace(r"'\''", "'"));
        let request = match (command.split(' ').next(), word_after("--step")) {
            (Some("approve" | "reject"), _) => match &state.approvals()[0].given[..] {
                [] => continue,
                [(given, _), ..] => Request::Approve { given: Box::new(given.clone()) },
            },
            (Some("rollback"), _) => Request::Rollback { reason, only: Vec::new(), past_commit: true },
            (Some("cancel"), _) => Request::Cancel { reason },
            (Some("resume"), None) => Request::Resume,
            (Some("resume"), Some(step)) => {
                let answer = |answer| Request::Answer {
                    step: step.clone(),
                    item: item.clone(),
                    answer,
                    reason: String::new(),
                };
                match () {
                    () if command.contains("--retry") => {
                        Request::Retry { step, item, input: Some(json!({})), reason }
                    }
                    () if command.contains("--skip") => Request::Skip { step, item, reason },
                    () if command.contains("--done") => Request::Done { step, item, output: None, reason },
                    () if command.contains("--restore") => answer(Answer::Restore),
                    () if command.contains("--leave") => answer(Answer::Leave),
                    () if command.contains("--not-applied") => answer(Answer::NotApplied),
                    () => answer(Answer::Applied { output: None }),
                }
            }
            other => panic!("{other:?} in {command}"),
        };
        assert_eq!(allowed(state, &request), Ok(()), "{command}");
    }
}

fn started(step: &str, item: Option<&str>, writes: bool) -> Event {
    Event::StepStarted {
        step: step.into(),
        item: item.map(Arc::from),
        generation: 1,
        call: Some(windlass_engine::CallName {
            plugin: "api".into(),
            digest: "sha256:ab".into(),
            interface: "windlass:contracts/http@0.1.0".into(),
            action: "send".into(),
        }),
        writes,
        gate: false,
        input: Some(Arc::new(json!({ "url": "https://api.example.com" }))),
    }
}

fn attempt(step: &str, item: Option<&str>, direction: Direction) -> AttemptRef {
    AttemptRef {
        effect: EffectId {
            step: step.into(),
            item: item.map(Arc::from),
            generation: 1,
            direction,
            attempt: 1,
        },
        plugin: "api".into(),
        digest: "sha256:ab".into(),
        action: "send".into(),
    }
}

fn attempt_started(step: &str, item: Option<&str>, direction: Direction) -> Event {
    let change = Change {
        target: "route/backend".into(),
        kind: "patch".into(),
        from: None,
        to: Some("green 10".into()),
    };
    Event::AttemptStarted {
        attempt: attempt(step, item, direction),
        key: "k".into(),
        plan: Arc::new(Plan { status: Status::Differs, changes: vec![change], ..plan() }),
    }
}

fn plan() -> Plan {
    Plan { status: Status::InPlace, changes: Vec::new(), repeatable: true, memo: String::new() }
}

fn finished(step: &str, item: Option<&str>, direction: Direction, effect: Effect) -> Event {
    let failure = (effect == Effect::Unknown).then_some(CallFailure::Cancelled);
    let attempt = attempt(step, item, direction);
    Event::AttemptFinished { attempt, effect, output: None, failure, elapsed_ms: 5 }
}

fn succeeded(step: &str, item: Option<&str>, effect: Effect) -> Event {
    Event::StepSucceeded { step: step.into(), item: item.map(Arc::from), effect, output: None }
}

fn failed(step: &str, item: Option<&str>) -> Event {
    let failure = StepFailure::Conflict { message: "somebody else wrote it".to_owned() };
    Event::StepFailed { step: step.into(), item: item.map(Arc::from), effect: Effect::None, failure }
}

fn held(reason: Hold, message: &str, step: Option<&str>) -> Event {
    Event::RunHeld { reason, message: message.to_owned(), step: step.map(Arc::from) }
}

fn asked(step: &str) -> Event {
    let message = "someone else changed it: weights are blue 70, green 30".to_owned();
    let status = Status::Conflict("weights are blue 70, green 30".to_owned());
    let plan = Some(Arc::new(Plan { status, ..plan() }));
    Event::QuestionAsked { step: step.into(), item: None, message, plan, blind: false }
}

/// A step that changed something.
fn applied(step: &str) -> Vec<Event> {
    vec![
        started(step, None, true),
        attempt_started(step, None, Direction::Do),
        finished(step, None, Direction::Do, Effect::Applied),
        succeeded(step, None, Effect::Applied),
    ]
}

fn rollback(cause: Cause, who: &str, reason: &str) -> Event {
    Event::RollbackStarted(Box::new(RollbackStarted {
        cause,
        who: who.to_owned(),
        reason: reason.to_owned(),
        only: Vec::new(),
        past_commit: false,
        grace_ms: Some(5_000),
    }))
}

fn request() -> Event {
    let request = ApprovalRequest {
        digest: "sha256:cd".to_owned(),
        text: "Send 10 % to green?".to_owned(),
        roles: vec!["product_owner".to_owned(), "security".to_owned()],
        each: 1,
        expires_at: Some(7_200_000),
        ..ApprovalRequest::default()
    };
    Event::ApprovalRequested { step: "sign_off".into(), request: Box::new(request) }
}

fn given(who: &str, role: &str, decision: Decision) -> Event {
    Event::ApprovalGiven(Box::new(ApprovalGiven {
        step: "sign_off".into(),
        request: "sha256:cd".to_owned(),
        who: who.to_owned(),
        key: "SHA256:xyz".to_owned(),
        roles: vec![role.to_owned()],
        role: Some(role.to_owned()),
        decision,
        reason: "seen".to_owned(),
        evidence: None,
        head: String::new(),
        signature: String::new(),
    }))
}

fn guard_sampled(band: Band, value: f64) -> Event {
    Event::GuardSampled(Box::new(GuardSampled {
        guard: "guard/error_rate".into(),
        band,
        since: 2_000,
        samples: Samples { count: 3, failed: 0, first_at: 1_000, last_at: 3_000, values: Vec::new() },
        measured: vec![Measured { name: "result.value".to_owned(), value: Some(json!(value)) }],
        failure: None,
    }))
}

#[test]
fn a_failed_step_comes_with_everything_that_can_become_of_it() {
    let mut events = applied("ten_percent");
    events.extend([started("announce", None, true), failed("announce", None)]);
    events.push(held(Hold::Failure, "step `announce` failed: somebody else wrote it", Some("announce")));
    insta::assert_snapshot!(told(&events));
}

#[test]
fn before_anything_was_applied_there_is_nothing_to_take_back() {
    let events = [
        started("announce", None, true),
        failed("announce", None),
        held(Hold::Failure, "step `announce` failed: somebody else wrote it", Some("announce")),
    ];
    let state = state(&events);
    assert!(!Report::new(&state, None).next_steps().iter().any(|line| line.contains("rollback")));
}

#[test]
fn past_the_commit_the_way_back_says_so() {
    let mut events = applied("ten_percent");
    events.push(Event::Committed { step: Some("ten_percent".into()), stage: None });
    events.push(held(Hold::Operator, "ana stopped it", None));
    let state = state(&events);
    let lines = Report::new(&state, None).next_steps();
    assert!(
        lines.iter().any(|line| line.contains(&format!("windlass rollback {RUN} --past-commit"))),
        "{lines:?}"
    );
}

#[test]
fn of_items_the_commands_name_those_that_failed() {
    let items = ["a b", "it's"].map(|key| Item { key: key.into(), value: Arc::new(json!(key)) });
    let events = [
        started("hosts", None, true),
        Event::ItemsExpanded { step: "hosts".into(), items: items.to_vec() },
        started("hosts", Some("a b"), true),
        succeeded("hosts", Some("a b"), Effect::Unchanged),
        started("hosts", Some("it's"), true),
        failed("hosts", Some("it's")),
        failed("hosts", None),
        held(Hold::Failure, "step `hosts` failed: 1 of 2 items failed", Some("hosts")),
    ];
    insta::assert_snapshot!(told(&events));
}

#[test]
fn an_approval_says_what_to_type() {
    insta::assert_snapshot!(told(&[request(), given("ben", "security", Decision::Approve)]));
}

#[test]
fn what_expired_in_a_pause_is_shown_with_what_can_be_done_about_it() {
    let paused = held(Hold::Operator, "ana stopped it", None);
    insta::assert_snapshot!(told(&[request(), paused, Event::ApprovalExpired { step: "sign_off".into() }]));
}

#[test]
fn what_nobody_was_there_to_write_down_is_over_all_the_same() {
    let state = state(&[request(), held(Hold::Operator, "ana stopped it", None)]);
    let late = "`sign_off` was not answered in time; going on does what the runbook says of that";
    let says = |now| Report::new(&state, None).at(now).next_steps().iter().any(|line| line == late);
    assert!(!says(7_199_999) && says(7_200_000));
}

#[test]
fn an_undo_that_can_not_be_planned_is_offered_only_what_can_work() {
    let mut events = applied("post");
    events.push(rollback(Cause::Operator, "ana", "second thoughts"));
    events.push(started("undo/post", None, true));
    let status = Status::Unknown("the step has no `reverse`".to_owned());
    events.push(Event::QuestionAsked {
        step: "undo/post".into(),
        item: None,
        message: "the step has no `reverse`".to_owned(),
        plan: Some(Arc::new(Plan { status, ..plan() })),
        blind: true,
    });
    events.push(held(Hold::Unknown, "`undo/post` needs a person's word", Some("undo/post")));
    insta::assert_snapshot!(told(&events));
}

#[test]
fn a_rejected_approval_can_be_asked_again() {
    let rejection = StepFailure::Rejected { who: "ben".to_owned(), because: "seen".to_owned() };
    let events = [
        request(),
        given("ben", "security", Decision::Reject),
        Event::StepFailed { step: "sign_off".into(), item: None, effect: Effect::None, failure: rejection },
        held(Hold::Failure, "step `sign_off` failed: ben rejected it: seen", Some("sign_off")),
    ];
    insta::assert_snapshot!(told(&events));
}

#[test]
fn an_undo_that_finds_something_else_offers_ours_theirs_and_by_hand() {
    let mut events = applied("ten_percent");
    events.push(rollback(Cause::Guard, "guard/error_rate", "result.value = 0.07"));
    events.extend([started("undo/ten_percent", None, true), asked("undo/ten_percent")]);
    insta::assert_snapshot!(told(&events));
}

#[test]
fn a_failed_undo_can_be_tried_again_done_by_hand_or_left() {
    let mut events = applied("ten_percent");
    events.push(rollback(Cause::Operator, "ana", "too slow"));
    events.extend([started("undo/ten_percent", None, true), failed("undo/ten_percent", None)]);
    events.push(held(
        Hold::Failure,
        "`undo/ten_percent` failed: somebody else wrote it",
        Some("undo/ten_percent"),
    ));
    insta::assert_snapshot!(told(&events));
}

#[test]
fn a_question_about_an_effect_has_its_two_answers() {
    let events = [
        started("announce", None, true),
        attempt_started("announce", None, Direction::Do),
        finished("announce", None, Direction::Do, Effect::Unknown),
        asked("announce"),
        held(Hold::Unknown, "", Some("announce")),
    ];
    insta::assert_snapshot!(told(&events));
}

#[test]
fn a_guard_shows_what_it_saw_and_what_it_did() {
    let mut events = applied("ten_percent");
    events.extend([
        Event::GuardStarted { guard: "guard/error_rate".into() },
        guard_sampled(Band::Hold, 0.02),
        Event::GuardTripped {
            guard: "guard/error_rate".into(),
            action: GuardAction::Hold,
            message: "`guard/error_rate`: `result.value > 0.01` for 30s".to_owned(),
            measured: Vec::new(),
        },
        held(Hold::Guard, "`guard/error_rate`: `result.value > 0.01` for 30s", Some("guard/error_rate")),
    ]);
    insta::assert_snapshot!(told(&events));
}

#[test]
fn what_waits_for_the_clock_says_until_when() {
    let later = |step: &str, why| Event::Scheduled { step: step.into(), until: 5_400_000, why };
    let events = [later("switch", ScheduledFor::Time), later("stage/Traffic", ScheduledFor::Window)];
    let state = state(&events);
    let report = Report::new(&state, None);
    assert_eq!(report.rows()[0].detail.as_deref(), Some("waits for its time, 1970-01-01T01:30:00.000Z"));
    assert_eq!(
        report.stage_note("Traffic").as_deref(),
        Some("waits for its window, 1970-01-01T01:30:00.000Z")
    );
    assert_eq!(report.stage_note("Other"), None);
}

#[test]
fn a_run_that_is_late_or_outside_its_window_says_what_ends_that() {
    let events = [
        held(Hold::Late, "`switch` is late by 5m", Some("switch")),
        held(Hold::Window, "the window of `switch` has shut before it was done", Some("switch")),
        held(Hold::Identity, "connection `db` leads elsewhere", None),
    ];
    insta::assert_snapshot!(told(&events));
}

#[test]
fn what_was_taken_back_is_told_in_words_of_its_own() {
    let mut events = applied("ten_percent");
    events.extend(applied("post"));
    events.extend(applied("record"));
    events.push(rollback(Cause::Failure, "switch", "step `switch` failed"));
    events.extend([
        Event::StepSkipped {
            step: "undo/post".into(),
            item: None,
            reason: SkipReason::NoUndo,
            because: None,
            who: None,
        },
        started("undo/record", None, true),
        succeeded("undo/record", None, Effect::Unchanged),
        started("undo/ten_percent", None, true),
        attempt_started("undo/ten_percent", None, Direction::Undo),
        finished("undo/ten_percent", None, Direction::Undo, Effect::Applied),
        succeeded("undo/ten_percent", None, Effect::Applied),
    ]);
    insta::assert_snapshot!(told(&events));
}

#[test]
fn steps_that_will_not_go_on_are_stopped_when_the_run_goes_back() {
    let mut events = applied("ten_percent");
    events.extend([request(), rollback(Cause::Operator, "ana", "too slow")]);
    assert!(told(&events).contains("sign_off stopped:"), "{}", told(&events));
}

#[test]
fn an_ended_run_with_something_left_can_still_be_taken_back() {
    let mut events = applied("ten_percent");
    events.push(Event::CancelRequested { who: "ana".to_owned(), reason: "lunch".to_owned() });
    let verdict = Verdict::Cancelled;
    events.push(Event::VerdictDecided { verdict, world: World::Changed, reason: String::new() });
    events.push(Event::RunEnded { verdict, finally_failed: false });
    insta::assert_snapshot!(told(&events));
}

#[test]
fn machines_get_the_same() {
    let mut events = applied("ten_percent");
    events.extend([
        request(),
        Event::GuardStarted { guard: "guard/error_rate".into() },
        guard_sampled(Band::Good, 0.001),
        held(Hold::Operator, "ana stopped it", None),
    ]);
    let state = state(&events);
    insta::assert_json_snapshot!(Report::new(&state, None).json()["standing"]);
}
