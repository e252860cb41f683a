//! What the tree looks like, without a terminal.

use super::*;
use windlass_engine::{Effect, PinnedText, RunCreated, SkipReason, StepFailure};
use windlass_runbook::catalog::{Catalog, CatalogError, GrantFacts, GrantProblem, PluginUse};
use windlass_runbook::{SourceFile, check, parse};

struct NoPlugins;

impl Catalog for NoPlugins {
    fn signature(&self, _: &PluginUse) -> Result<Arc<windlass_runbook::wit::Signature>, CatalogError> {
        Err(CatalogError { message: "none here".to_owned(), help: None })
    }
    fn check_grant(&self, _: &str) -> Result<GrantFacts, GrantProblem> {
        Ok(GrantFacts::default())
    }
}

fn runbook() -> Runbook {
    let text = "[runbook]\nname = \"release\"\ntitle = \"Release the backend\"\n\
        [[stage]]\nname = \"Before\"\n[[stage.step]]\nid = \"rest\"\nwait = \"1s\"\n\
        [[stage.step]]\nid = \"look\"\nwait = \"1s\"\n\
        [[stage]]\nname = \"After\"\n[[stage.step]]\nid = \"settle\"\nwait = \"5m\"\n";
    let (document, _) = parse(SourceFile::new("release.toml", text), None);
    let (runbook, diagnostics) = check(&document.unwrap(), &NoPlugins);
    runbook.unwrap_or_else(|| panic!("{diagnostics}"))
}

fn started(step: &str) -> Event {
    Event::StepStarted {
        step: step.into(),
        item: None,
        generation: 1,
        call: None,
        writes: false,
        gate: false,
        input: None,
    }
}

fn picture(events: &[(Millis, Event)], now: Millis, height: usize) -> String {
    picture_of(events, now, 80, height)
}

fn picture_of(events: &[(Millis, Event)], now: Millis, width: usize, height: usize) -> String {
    let runbook = runbook();
    let mut state = State::default();
    let tree = Tree::new(&runbook, &state, Clock::starting(0), Style { color: false });
    let created = RunCreated {
        run: "k3n9q2h7m4wz".to_owned(),
        runbook: PinnedText::default(),
        ..RunCreated::default()
    };
    for (at, event) in [(0, Event::RunCreated(Box::new(created)))].iter().chain(events) {
        state.fold(event, *at);
        tree.event(*at, event, &state);
    }
    let inner = tree.inner();
    tree.picture(&inner, now, width, height).join("\n")
}

fn events() -> Vec<(Millis, Event)> {
    let done = Event::StepSucceeded { step: "rest".into(), item: None, effect: Effect::None, output: None };
    let failure = StepFailure::Conflict { message: "the zone was edited by hand".to_owned() };
    let failed = Event::StepFailed { step: "look".into(), item: None, effect: Effect::None, failure };
    vec![
        (100, started("rest")),
        (1_100, done),
        (1_100, started("look")),
        (2_350, failed),
        (
            2_350,
            Event::StepSkipped {
                step: "settle".into(),
                item: None,
                who: None,
                reason: SkipReason::Upstream,
                because: Some("look".to_owned()),
            },
        ),
    ]
}

#[test]
fn the_tree_shows_what_each_step_is_at() {
    insta::assert_snapshot!(picture(&events(), 3_000, 24));
}

#[test]
fn a_step_under_way_has_its_time_running() {
    insta::assert_snapshot!(picture(&events()[..3], 1_900, 24));
}

#[test]
fn no_line_is_wider_than_a_narrow_terminal() {
    for width in [30, 40, 60] {
        let picture = picture_of(&events(), 3_000, width, 24);
        assert!(picture.lines().all(|line| line.chars().count() <= width), "{width}:\n{picture}");
    }
}

#[test]
fn a_small_screen_shows_where_the_run_is() {
    insta::assert_snapshot!(picture(&events()[..3], 1_900, 4));
}

fn guarded() -> Vec<(Millis, Event)> {
    let request = windlass_engine::ApprovalRequest {
        text: "Send 10 % to green?".to_owned(),
        roles: vec!["product_owner".to_owned()],
        ..windlass_engine::ApprovalRequest::default()
    };
    let scheduled = Event::Scheduled {
        step: "stage/After".into(),
        until: 60_000,
        why: windlass_engine::ScheduledFor::Time,
    };
    let back = windlass_engine::RollbackStarted {
        cause: windlass_engine::Cause::Operator,
        who: "ana".to_owned(),
        reason: "too slow".to_owned(),
        only: Vec::new(),
        past_commit: false,
        grace_ms: None,
    };
    let question = "someone else changed it".to_owned();
    vec![
        (100, started("rest")),
        (1_000, Event::GuardStarted { guard: "guard/error_rate".into() }),
        (1_100, scheduled),
        (1_200, Event::ApprovalRequested { step: "look".into(), request: Box::new(request) }),
        (2_000, Event::RollbackStarted(Box::new(back))),
        (2_100, started("undo/rest")),
        (
            2_200,
            Event::QuestionAsked {
                step: "undo/rest".into(),
                item: None,
                message: question.clone(),
                plan: Some(Arc::new(windlass_runbook::outcome::Plan {
                    status: windlass_runbook::outcome::Status::Conflict(question),
                    changes: Vec::new(),
                    repeatable: true,
                    memo: String::new(),
                })),
                blind: false,
            },
        ),
    ]
}

#[test]
fn guards_times_and_what_to_type_stand_below_the_steps() {
    insta::assert_snapshot!(picture_of(&guarded()[..4], 1_900, 100, 24));
}

#[test]
fn a_rollback_has_lines_of_its_own_and_says_what_it_waits_for() {
    insta::assert_snapshot!(picture_of(&guarded(), 2_900, 120, 24));
}

#[test]
fn what_to_type_leaves_half_of_a_small_screen_to_the_steps() {
    let picture = picture_of(&guarded(), 2_900, 60, 8);
    assert!(picture.lines().count() <= 8, "{picture}");
    assert!(picture.lines().all(|line| line.chars().count() <= 60), "{picture}");
    assert!(picture.contains("undo/rest"), "{picture}");
}
