use serde_json::json;
use windlass_engine::{
    ApprovalGiven, ApprovalRequest, AttemptRef, Band, Cause, Covered, CoveredChange, Decision, Direction,
    Effect, EffectId, Event, GuardAction, GuardSampled, Measured, Millis, PinnedPlugin, PinnedText,
    RollbackStarted, RunCreated, Samples, State, Verdict, World,
};
use windlass_journal::RunId;
use windlass_runbook::outcome::{Change, Plan, Status};

use super::Record;
use crate::recorded::Recorded;

const T: Millis = 1_760_000_000_000;

fn attempt(step: &str, direction: Direction) -> AttemptRef {
    AttemptRef {
        effect: EffectId { step: step.into(), item: None, generation: 1, direction, attempt: 1 },
        plugin: "traffic".into(),
        digest: "sha256:ab".into(),
        action: "split".into(),
    }
}

fn plan(from: &str, to: &str) -> std::sync::Arc<Plan> {
    let change = Change {
        target: "route backend".to_owned(),
        kind: "update".to_owned(),
        from: Some(from.to_owned()),
        to: Some(to.to_owned()),
    };
    Plan { status: Status::Differs, changes: vec![change], repeatable: true, memo: String::new() }.into()
}

/// A release that is approved, shifts traffic, and is taken back by a guard; with texts that try to get out.
fn recorded() -> Recorded {
    let plugin = PinnedPlugin {
        source: "builtin:haproxy".to_owned(),
        digest: "sha256:ab".to_owned(),
        ..Default::default()
    };
    let created = RunCreated {
        run: "k3n9q2h7m4wz".to_owned(),
        name: "release".to_owned(),
        title: Some("Release <b>the</b> backend | now".to_owned()),
        runbook: PinnedText { name: "release.toml".to_owned(), ..Default::default() },
        inputs: [("version".to_owned(), json!("v1.2.3"))].into_iter().collect(),
        plugins: [("traffic".to_owned(), plugin)].into_iter().collect(),
        started_by: "ana".to_owned(),
        tool_version: "0.1.0".to_owned(),
        ..RunCreated::default()
    };
    let request = ApprovalRequest {
        digest: "sha256:cd".to_owned(),
        text: "Send 10 % to green?".to_owned(),
        roles: vec!["product_owner".to_owned()],
        each: 1,
        covers: vec![Covered {
            step: "ten".into(),
            item: None,
            action: "windlass:contracts/traffic@0.1.0#split".to_owned(),
            input: None,
            changes: Some(vec![CoveredChange {
                target: "route backend".to_owned(),
                kind: "update".to_owned(),
                to: Some("10 %".to_owned()),
            }]),
            deferred: None,
        }],
        ..ApprovalRequest::default()
    };
    let given = ApprovalGiven {
        step: "sign_off".into(),
        request: "sha256:cd".to_owned(),
        who: "Petra".to_owned(),
        key: "SHA256:abc".to_owned(),
        roles: vec!["product_owner".to_owned()],
        role: Some("product_owner".to_owned()),
        decision: Decision::Approve,
        reason: "looks good <script>alert(1)</script>".to_owned(),
        evidence: None,
        head: String::new(),
        signature: "-----BEGIN SSH SIGNATURE-----".to_owned(),
    };
    let sampled = |at: Millis, band: Band, values: &[f64]| {
        let values: Vec<_> = (0_u64..)
            .zip(values)
            .filter_map(|(index, value)| Some((index * 10_000, serde_json::Number::from_f64(*value)?)))
            .collect();
        let samples = Samples {
            count: values.len() as u64,
            failed: 0,
            first_at: at,
            last_at: at + values.last().map_or(0, |(after, _)| *after as Millis),
            values,
        };
        let measured = vec![Measured { name: "result.value".to_owned(), value: Some(json!(0.06)) }];
        Event::GuardSampled(Box::new(GuardSampled {
            guard: "guard/error_rate".into(),
            band,
            since: at,
            samples,
            measured,
            failure: None,
        }))
    };
    let finished = |attempt: AttemptRef| Event::AttemptFinished {
        attempt,
        effect: Effect::Applied,
        output: None,
        failure: None,
        elapsed_ms: 40,
    };
    let done = |step: &str| Event::StepSucceeded {
        step: step.into(),
        item: None,
        effect: Effect::Applied,
        output: None,
    };
    let events = vec![
        (T, Event::RunCreated(Box::new(created))),
        (T, Event::ApprovalRequested { step: "sign_off".into(), request: Box::new(request) }),
        (T + 60_000, Event::ApprovalGiven(Box::new(given))),
        (
            T + 60_000,
            Event::AttemptStarted {
                attempt: attempt("ten", Direction::Do),
                key: "k1".into(),
                plan: plan("0 %", "10 %"),
            },
        ),
        (T + 60_040, finished(attempt("ten", Direction::Do))),
        (T + 60_040, done("ten")),
        (T + 60_040, sampled(T + 60_040, Band::Good, &[0.001, 0.002, 0.001])),
        (T + 90_040, sampled(T + 90_040, Band::Rollback, &[0.06])),
        (
            T + 90_040,
            Event::GuardTripped {
                guard: "guard/error_rate".into(),
                action: GuardAction::Rollback,
                message: "result.value > 0.05 with result.value = 0.06".to_owned(),
                measured: Vec::new(),
            },
        ),
        (
            T + 90_040,
            Event::RollbackStarted(Box::new(RollbackStarted {
                cause: Cause::Guard,
                who: "guard/error_rate".to_owned(),
                reason: "result.value > 0.05".to_owned(),
                only: Vec::new(),
                past_commit: false,
                grace_ms: Some(5_000),
            })),
        ),
        (
            T + 90_050,
            Event::AttemptStarted {
                attempt: attempt("undo/ten", Direction::Undo),
                key: "k2".into(),
                plan: plan("10 %", "0 %"),
            },
        ),
        (T + 90_090, finished(attempt("undo/ten", Direction::Undo))),
        (T + 90_090, done("undo/ten")),
        (
            T + 90_090,
            Event::VerdictDecided {
                verdict: Verdict::RolledBack,
                world: World::Restored,
                reason: "`guard/error_rate` took the run back".to_owned(),
            },
        ),
        (T + 90_100, Event::RunEnded { verdict: Verdict::RolledBack, finally_failed: false }),
    ];
    let state = State::replay(events.iter().map(|(at, event)| (event, *at)));
    Recorded { id: "k3n9q2h7m4wz".parse::<RunId>().unwrap(), events, hashes: Vec::new(), state }
}

#[test]
fn the_markdown_reads_well_and_nothing_breaks_its_tables() {
    insta::assert_snapshot!(Record::of(&recorded(), None).unwrap().markdown());
}

#[test]
fn the_page_is_whole_and_runs_nothing() {
    let page = Record::of(&recorded(), None).unwrap().html();
    assert!(!page.contains("<script") && !page.contains("<b>the"), "{page}");
    assert!(page.contains("<polyline points=\""), "the guard's samples are drawn");
    insta::assert_snapshot!(page);
}

#[test]
fn the_same_journal_gives_the_same_bytes() {
    let (one, other) = (Record::of(&recorded(), None).unwrap(), Record::of(&recorded(), None).unwrap());
    assert_eq!(one.json().to_string(), other.json().to_string());
    assert_eq!((one.markdown(), one.html()), (other.markdown(), other.html()));
    insta::assert_json_snapshot!(one.json());
}

/// A picture with one sample, or with the same value again and again, has a scale all the same.
#[test]
fn every_series_can_be_drawn() {
    let mut recorded = recorded();
    recorded.events.retain(|(_, event)| matches!(event, Event::RunCreated(_) | Event::GuardSampled(_)));
    recorded.events.truncate(2);
    for values in [vec![0.5], vec![0.5; 3], vec![]] {
        if let Some((_, Event::GuardSampled(sampled))) = recorded.events.last_mut() {
            sampled.samples.values = (0..)
                .zip(&values)
                .map(|(at, value)| (at, serde_json::Number::from_f64(*value).unwrap()))
                .collect();
        }
        let page = Record::of(&recorded, None).unwrap().html();
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        assert_eq!(page.contains("<svg"), !values.is_empty());
    }
}
