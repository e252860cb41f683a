//! The events' JSON, one of each kind: a format that is for ever.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Value, json};
use windlass_engine::{
    Answer, ApprovalGiven, ApprovalRequest, AttemptRef, Band, CallFailure, CallName, CallPhase, Cause,
    Covered, CoveredChange, Decision, Denied, Direction, Effect, EffectId, Event, GuardAction, GuardSampled,
    Hold, Inherited, InheritedAttempt, Item, Measured, Parent, ParentKind, Phase, PinnedPlugin, PinnedText,
    Prepared, RollbackStarted, RunCreated, Samples, ScheduledFor, SkipReason, StepFailure, Verdict, World,
};
use windlass_runbook::outcome::{Change, Failure, Plan, Status};

fn plan() -> Arc<Plan> {
    Arc::new(Plan {
        status: Status::Differs,
        changes: vec![Change {
            target: "table public.audit".into(),
            kind: "create".into(),
            from: None,
            to: Some("9 columns".into()),
        }],
        repeatable: true,
        memo: "before: none".into(),
    })
}

fn attempt() -> AttemptRef {
    AttemptRef {
        effect: EffectId {
            step: "migrate".into(),
            item: Some("eu".into()),
            generation: 1,
            direction: Direction::Do,
            attempt: 2,
        },
        plugin: "db".into(),
        digest: "sha256:00".into(),
        action: "migrate".into(),
    }
}

fn failure() -> CallFailure {
    CallFailure::plugin(Failure {
        code: "busy".into(),
        message: "the server is busy".into(),
        detail: Some(json!({ "status": 503 })),
        retryable: true,
        retry_after: Some(2000),
    })
}

fn step() -> Arc<str> {
    "migrate".into()
}

fn item() -> Option<Arc<str>> {
    Some("eu".into())
}

fn about_runs() -> Vec<Event> {
    let text = |name: &str| PinnedText {
        name: name.into(),
        folder: "/srv/runbooks".into(),
        text: "[runbook]\n".into(),
    };
    let plugin = PinnedPlugin {
        source: "builtin:postgres".into(),
        digest: "sha256:00".into(),
        config: Some(json!({ "schema": "public" })),
        allow: vec!["postgres db: ddl".into()],
        connections: IndexMap::from([("db".to_owned(), "main".to_owned())]),
    };
    vec![
        Event::RunCreated(Box::new(RunCreated {
            format: windlass_engine::FORMAT,
            run: "k3n9".into(),
            name: "staging".into(),
            title: Some("Staging".into()),
            runbook: text("staging.toml"),
            environment: Some(text("environments/staging.toml")),
            inputs: json!({ "version": "v1" }).as_object().cloned().unwrap(),
            vars: json!({ "host": "db.example" }).as_object().cloned().unwrap(),
            plugins: IndexMap::from([("db".to_owned(), plugin)]),
            lock: None,
            policy: None,
            t: Some(1_790_000_000_000),
            parent: Some(Parent {
                run: "p2m8".into(),
                kind: ParentKind::Rollback,
                reason: "wrong day".into(),
                only: vec!["migrate".into()],
                past_commit: true,
            }),
            started_by: "ada".into(),
            tool_version: "0.1.0".into(),
        })),
        Event::OwnerChanged { epoch: 2, who: "ada".into() },
        Event::ConnectionPinned { connection: "main".into(), identity: json!("7312") },
        Event::ConnectionChanged { connection: "main".into(), pinned: json!("7312"), seen: json!("7999") },
        Event::RunHeld { reason: Hold::Failure, message: "step `migrate` failed".into(), step: Some(step()) },
        Event::RunReleased { reason: Hold::Failure, step: None, who: "ada".into() },
        Event::CancelRequested { who: "ada".into(), reason: "wrong day".into() },
        Event::VerdictDecided {
            verdict: Verdict::Partial,
            world: World::Changed,
            reason: "step `chat` failed".into(),
        },
        Event::RunEnded { verdict: Verdict::Partial, finally_failed: false },
    ]
}

fn about_steps() -> Vec<Event> {
    let call = CallName {
        plugin: "db".into(),
        digest: "sha256:00".into(),
        interface: "windlass:contracts/database@0.1.0".into(),
        action: "migrate".into(),
    };
    let item_of = |key: &str| Item { key: key.into(), value: Arc::new(json!({ "region": key })) };
    vec![
        Event::ItemsExpanded { step: step(), items: vec![item_of("eu"), item_of("us")] },
        Event::StepStarted {
            step: step(),
            item: item(),
            generation: 1,
            call: Some(call),
            writes: true,
            gate: false,
            input: Some(Arc::new(json!({ "file": "023.sql" }))),
        },
        Event::StepSkipped {
            step: step(),
            item: None,
            reason: SkipReason::Upstream,
            because: Some("look".into()),
            who: None,
        },
        Event::WaitStarted { step: step(), item: None, until: 1_790_000_060_000 },
        Event::ReadFailed { step: step(), item: None, failure: failure(), elapsed_ms: 12 },
        Event::GateSampled {
            step: step(),
            item: None,
            open: false,
            since: 1_790_000_000_000,
            samples: Samples {
                count: 12,
                failed: 1,
                first_at: 1_790_000_000_000,
                last_at: 1_790_000_055_000,
                values: Vec::new(),
            },
            measured: vec![Measured { name: "result.latency_ms".into(), value: Some(json!(23)) }],
            failure: None,
        },
        Event::PlanFailed { step: step(), item: item(), failure: failure(), elapsed_ms: 12 },
        Event::Unchanged { step: step(), item: item(), plan: plan() },
        Event::AttemptStarted { attempt: attempt(), key: "01b1".into(), plan: plan() },
        Event::ReceiptLeft { attempt: attempt(), text: "deployment 17".into() },
        Event::ProcessStarted { attempt: attempt(), identity: json!({ "group": 17, "start": 99 }) },
        Event::AttemptFinished {
            attempt: attempt(),
            effect: Effect::Applied,
            output: Some(Arc::new(json!({ "tables": 9 }))),
            failure: None,
            elapsed_ms: 840,
        },
        Event::AttemptsResolved { step: step(), item: item(), effect: Effect::Adopted, plan: plan() },
        Event::Accepted { step: step(), item: item(), message: "no answer".into() },
        Event::QuestionAsked {
            step: step(),
            item: item(),
            message: "no answer".into(),
            plan: Some(plan()),
            blind: false,
        },
        Event::OperatorAnswered {
            step: step(),
            item: item(),
            answer: Answer::Applied { output: Some(Arc::new(json!({ "tables": 9 }))) },
            who: "ada".into(),
            reason: "psql shows them".into(),
        },
        Event::RetryScheduled { step: step(), item: item(), at: 1_790_000_001_500, tries: 1 },
        Event::StepRestarted { step: step(), item: None, who: "ada".into() },
        Event::StepSucceeded { step: step(), item: item(), effect: Effect::Applied, output: None },
        Event::StepFailed {
            step: step(),
            item: item(),
            effect: Effect::None,
            failure: StepFailure::Call { phase: CallPhase::Plan, failure: failure(), tries: 3 },
        },
    ]
}

fn inherited() -> Inherited {
    Inherited {
        step: step(),
        item: item(),
        value: Some(Arc::new(json!({ "region": "eu" }))),
        phase: Phase::Succeeded,
        effect: Effect::Applied,
        generation: 1,
        call: Some(call()),
        writes: true,
        input: Some(Arc::new(json!({ "file": "023.sql" }))),
        output: Some(Arc::new(json!({ "applied": 1 }))),
        failure: None,
        undo: Some(prepared()),
        attempts: vec![InheritedAttempt {
            attempt: attempt(),
            key: "00ff".into(),
            input: Some(Arc::new(json!({ "file": "023.sql" }))),
            plan: plan(),
            receipts: vec!["made 17".into()],
            processes: vec![json!({ "group": 41 })],
            started_at: 1_790_000_000_000,
            effect: Effect::Applied,
            output: Some(Arc::new(json!({ "applied": 1 }))),
        }],
        processes: Vec::new(),
    }
}

fn prepared() -> Prepared {
    Prepared { call: call(), input: Arc::new(json!({ "id": 17 })) }
}

fn call() -> CallName {
    CallName {
        plugin: "db".into(),
        digest: "sha256:00".into(),
        interface: "windlass:contracts/database@0.1.0".into(),
        action: "migrate".into(),
    }
}

fn about_going_back() -> Vec<Event> {
    vec![
        Event::RollbackStarted(Box::new(RollbackStarted {
            cause: Cause::Guard,
            who: "guard/error_rate".into(),
            reason: "6 % of the requests fail".into(),
            only: vec![step()],
            past_commit: true,
            grace_ms: Some(5000),
        })),
        Event::RollbackOverdue { limit_ms: 300_000 },
        Event::RollbackFinished,
        Event::UndoPrepared { step: step(), item: item(), undo: prepared() },
        Event::Committed { step: None, stage: Some("a day later".into()) },
        Event::UndoListInherited { run: "p2m8".into(), entries: vec![inherited()] },
        Event::InputChanged {
            step: step(),
            item: item(),
            input: Arc::new(json!({ "file": "024.sql" })),
            who: "ada".into(),
            reason: "the file was wrong".into(),
        },
        Event::TerminateRequested { who: "ada".into(), reason: "the building is on fire".into() },
        Event::StepSkipped {
            step: "undo/migrate".into(),
            item: item(),
            reason: SkipReason::Operator,
            because: Some("the region is gone".into()),
            who: Some("ada".into()),
        },
    ]
}

fn about_watching() -> Vec<Event> {
    let guard = || Arc::from("guard/error_rate");
    let measured = || vec![Measured { name: "result.value".into(), value: Some(json!(0.06)) }];
    vec![
        Event::LockAwaited { group: "production".into(), by: "p2m8".into() },
        Event::LockAcquired { group: "production".into(), fence: 7 },
        Event::LockReleased { group: "production".into() },
        Event::BaselineRecorded { name: "p95".into(), value: Arc::new(json!(180)) },
        Event::GuardStarted { guard: guard() },
        Event::GuardSampled(Box::new(GuardSampled {
            guard: guard(),
            band: Band::NoData,
            since: 1_790_000_000_000,
            samples: Samples {
                count: 3,
                failed: 1,
                first_at: 1_790_000_000_000,
                last_at: 1_790_000_020_000,
                values: vec![(0, 3.into()), (10_000, 4.into())],
            },
            measured: measured(),
            failure: Some(failure()),
        })),
        Event::GuardTripped {
            guard: guard(),
            action: GuardAction::Rollback,
            message: "`result.value > 0.05`".into(),
            measured: measured(),
        },
        Event::GuardEnded { guard: guard() },
    ]
}

fn about_people_and_time() -> Vec<Event> {
    let covered = Covered {
        step: step(),
        item: item(),
        action: "windlass:contracts/database@0.1.0#migrate".into(),
        input: Some(Arc::new(json!({ "file": "023.sql" }))),
        changes: Some(vec![CoveredChange {
            target: "table public.audit".into(),
            kind: "create".into(),
            to: Some("9 columns".into()),
        }]),
        deferred: None,
    };
    vec![
        Event::ApprovalRequested {
            step: "sign_off".into(),
            request: Box::new(ApprovalRequest {
                round: 1,
                digest: "sha256:11".into(),
                runbook: "sha256:22".into(),
                environment: Some("sha256:33".into()),
                lock: None,
                text: "Send 10 % to green?".into(),
                roles: vec!["product_owner".into(), "security".into()],
                each: 1,
                any: None,
                expires_at: Some(1_790_000_600_000),
                exact: false,
                covers: vec![covered],
            }),
        },
        Event::ApprovalGiven(Box::new(ApprovalGiven {
            step: "sign_off".into(),
            request: "sha256:11".into(),
            who: "grace".into(),
            key: "SHA256:abc".into(),
            roles: vec!["security".into()],
            role: Some("security".into()),
            decision: Decision::Approve,
            reason: "looked at the dashboards".into(),
            evidence: Some("ticket 17".into()),
            head: "5d41".into(),
            signature: "-----BEGIN SSH SIGNATURE-----".into(),
        })),
        Event::ApprovalVoided {
            step: "sign_off".into(),
            covered: step(),
            difference: "also deletes table public.users".into(),
        },
        Event::ApprovalExpired { step: "sign_off".into() },
        Event::Scheduled { step: step(), until: 1_790_000_600_000, why: ScheduledFor::Window },
        Event::Shifted { at: 1_790_000_600_000, by_ms: 90_000 },
        Event::ClockStepped { by_ms: -7_000 },
    ]
}

fn all() -> Vec<Event> {
    let mut events = about_runs();
    events.extend(about_steps());
    events.extend(about_going_back());
    events.extend(about_watching());
    events.extend(about_people_and_time());
    events
}

#[test]
fn every_kind_has_its_json() {
    let events = all();
    let kinds: std::collections::BTreeSet<&str> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds, Event::KINDS.iter().copied().collect(), "one of each kind at least");
    insta::assert_json_snapshot!(events);
}

#[test]
fn reading_gives_what_was_written() {
    for event in all() {
        let text = serde_json::to_string(&event).unwrap();
        assert!(text.starts_with(&format!("{{\"kind\":\"{}\"", event.kind())), "{text}");
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    for event in all() {
        let mut value = serde_json::to_value(&event).unwrap();
        value.as_object_mut().unwrap().insert("of_a_later_version".into(), json!([1]));
        assert_eq!(serde_json::from_value::<Event>(value).unwrap(), event);
    }
}

#[test]
fn absent_fields_have_their_defaults() {
    let short: Vec<Value> = vec![
        json!({ "kind": "step_started", "step": "a", "generation": 1 }),
        json!({ "kind": "attempt_finished", "effect": "unknown", "attempt": {
            "effect": { "step": "a", "generation": 1, "attempt": 1 },
            "plugin": "p", "digest": "d", "action": "x" } }),
        json!({ "kind": "run_held", "reason": "operator" }),
        json!({ "kind": "run_ended", "verdict": "succeeded" }),
    ];
    for value in short {
        serde_json::from_value::<Event>(value).unwrap();
    }
}

#[test]
fn only_events_of_attempts_are_bound_to_one() {
    for event in all() {
        let expected = matches!(
            event.kind(),
            "attempt_started" | "receipt_left" | "process_started" | "attempt_finished"
        );
        assert_eq!(event.binding().is_some(), expected, "{}", event.kind());
    }
    let event = Event::ReceiptLeft { attempt: attempt(), text: String::new() };
    let binding = event.binding().unwrap();
    assert_eq!(
        (binding.step, binding.item, binding.attempt, binding.plugin_digest, binding.action),
        ("migrate", Some("eu"), 2, "sha256:00", "migrate")
    );
}

#[test]
fn failures_read_as_sentences() {
    let denied = CallFailure::Denied(Denied {
        capability: "http".into(),
        target: "GET https://other.example/".into(),
        reason: "no line allows it".into(),
        allow: Some("http GET https://other.example/".into()),
        plugin: "api".into(),
        failure: None,
    });
    let call = |phase, failure, tries| StepFailure::Call { phase, failure, tries };
    let measured = vec![
        Measured { name: "result.latency_ms".into(), value: Some(json!(23)) },
        Measured { name: "result.version".into(), value: None },
    ];
    let failures = [
        call(CallPhase::Read, failure(), 3),
        call(CallPhase::Apply, denied, 1),
        call(
            CallPhase::Plan,
            CallFailure::Limit { limit: "memory".into(), message: "64 MiB are used up".into() },
            1,
        ),
        call(CallPhase::Output, CallFailure::Fault { message: "the cache can't be read".into() }, 1),
        call(CallPhase::Read, CallFailure::Cancelled, 1),
        StepFailure::Conflict { message: "the record points to 10.0.0.9".into() },
        StepFailure::CannotTell { message: "the server does not answer".into() },
        StepFailure::Expectation { expression: "result.latency_ms < 20".into(), measured: measured.clone() },
        StepFailure::Gate {
            expression: "result.latency_ms < 20".into(),
            measured,
            failure: None,
            after_ms: 300_000,
            open_ms: Some(12_500),
        },
        StepFailure::Timeout { after_ms: 5_000, phase: Some(CallPhase::Apply), failure: Some(failure()) },
        StepFailure::OutputTooLarge { bytes: 2_000_000, limit: 1_048_576 },
        StepFailure::PlanTooLarge { bytes: 2_000_000, limit: 1_048_576 },
        StepFailure::Expression { field: "when".into(), message: "`inputs.x` is absent".into() },
        StepFailure::Input { message: "`url`: expected text, found 3".into() },
        StepFailure::DuplicateItem { key: "eu".into() },
        StepFailure::Items { failed: 2, total: 20, first: "eu".into() },
        StepFailure::Unresolved { message: "no answer".into() },
    ];
    let text: Vec<String> = failures.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(text.join("\n"));
}
