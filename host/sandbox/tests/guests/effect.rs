//! Effects: plans, attempts, receipts and configuration, in both modes.

use std::sync::Arc;

use serde_json::{Value, json};
use windlass_runbook::outcome::{Plan, Status};
use windlass_sandbox::{
    Bindings, Call, CallError, CallReport, Grants, Limits, Mode, Phase, Plugin, Returned, StepContext,
};

use crate::guest::{JOBS, Recorder, component, load, said};

const WIT: &str = "
    package acme:test@0.1.0;
    interface jobs {
        use windlass:plugin/outcome@0.1.0.{failure, plan, attempt};
        record input { count: u32 }
        record output { text: string, count: u32 }
        plan-send: func(input: input, before: list<attempt>) -> result<plan, failure>;
        apply-send: func(input: input, plan: plan) -> result<output, failure>;
        plan-undo-send: func(input: input, done: list<attempt>) -> result<plan, failure>;
        undo-send: func(input: input, done: list<attempt>, plan: plan) -> result<_, failure>;
    }
    world plugin {
        use windlass:plugin/outcome@0.1.0.{failure};
        import windlass:plugin/step@0.1.0;
        record config { name: string }
        export configure: func(config: config) -> result<_, failure>;
        export jobs;
    }
";

/// Its plan differs, unless `count` is 0, and has the configured name as its memo. Applying and undoing leave the
/// receipt `a line` and go on whatever becomes of it; the output is the plan's memo. Configuring tries to leave one too
/// where the name is longer than 8 bytes, and fails if it can't.
const MODULE: &str = r#"(module
    (import "windlass:plugin/step@0.1.0" "receipt" (func $receipt (param i32 i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 512) "a line")
    (global $next (mut i32) (i32.const 4096))
    (global $name (mut i32) (i32.const 0))
    (global $length (mut i32) (i32.const 0))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
        (global.set $next (i32.add (local.get $at) (local.get 3)))
        (local.get $at))
    (func (export "configure") (param $at i32) (param $length i32) (result i32)
        (global.set $name (local.get $at))
        (global.set $length (local.get $length))
        (i32.store8 (i32.const 1024) (i32.const 0))
        (if (i32.gt_u (local.get $length) (i32.const 8)) (then
            (call $receipt (i32.const 512) (i32.const 6) (i32.const 1024))))
        (i32.const 1024))
    (func $plan (param $count i32) (result i32)
        (i32.store8 (i32.const 1024) (i32.const 0))
        (i32.store8 (i32.const 1032) (i32.eqz (local.get $count)))
        (i32.store (i32.const 1044) (i32.const 0))
        (i32.store (i32.const 1048) (i32.const 0))
        (i32.store8 (i32.const 1052) (i32.const 1))
        (i32.store (i32.const 1056) (global.get $name))
        (i32.store (i32.const 1060) (global.get $length))
        (i32.const 1024))
    (func (export "acme:test/jobs@0.1.0#plan-send") (param i32 i32 i32) (result i32) (call $plan (local.get 0)))
    (func (export "acme:test/jobs@0.1.0#plan-undo-send") (param i32 i32 i32) (result i32)
        (call $plan (local.get 2)))
    (func (export "acme:test/jobs@0.1.0#apply-send")
        (param $count i32) (param i32 i32 i32 i32 i32 i32) (param $memo i32) (param $length i32) (result i32)
        (call $receipt (i32.const 512) (i32.const 6) (i32.const 2048))
        (i32.store8 (i32.const 1024) (i32.const 0))
        (i32.store (i32.const 1032) (local.get $memo))
        (i32.store (i32.const 1036) (local.get $length))
        (i32.store (i32.const 1040) (local.get $count))
        (i32.const 1024))
    (func (export "acme:test/jobs@0.1.0#undo-send")
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
        (call $receipt (i32.const 512) (i32.const 6) (i32.const 2048))
        (i32.store8 (i32.const 1024) (i32.const 0))
        (i32.const 1024)))"#;

async fn plugin() -> Arc<Plugin> {
    load(component(WIT, MODULE)).await
}

async fn call(plugin: &Plugin, run: &str, config: &Value, phase: Phase<'_>) -> (CallReport, Vec<String>) {
    let recorder = Arc::new(Recorder::default());
    let call = Call {
        interface: JOBS,
        action: "send",
        phase,
        grants: Arc::new(Grants::default()),
        bindings: Arc::new(Bindings::default()),
        config: Some(config),
        context: StepContext {
            run: run.to_owned(),
            step: "send".to_owned(),
            item: None,
            attempt: 1,
            idempotency_key: "key".to_owned(),
            plugin: "acme".to_owned(),
        },
        limits: Limits::default(),
    };
    let report = plugin.call(call, recorder.clone()).await;
    let receipts = recorder.receipts.lock().unwrap().clone();
    (report, receipts)
}

#[tokio::test]
async fn a_plan_is_made_applied_and_undone() {
    let plugin = plugin().await;
    let (input, config) = (json!({ "count": 3 }), json!({ "name": "eu" }));
    let (report, _) = call(&plugin, "run", &config, Phase::Plan { input: &input, before: &[] }).await;
    let Ok(Returned::Plan(plan)) = report.result else { panic!("{}", said(&report)) };
    let expected =
        Plan { status: Status::Differs, changes: Vec::new(), repeatable: true, memo: "eu".to_owned() };
    assert_eq!(plan, expected);

    let (report, receipts) =
        call(&plugin, "run", &config, Phase::Apply { input: &input, plan: &plan, mode: Mode::Write }).await;
    assert_eq!(report.result.as_ref().unwrap(), &Returned::Output(json!({ "text": "eu", "count": 3 })));
    assert_eq!(receipts, ["a line"]);
    assert!(!report.sent, "a receipt is no effect");

    let attempt = windlass_runbook::outcome::Attempt {
        key: "key".to_owned(),
        number: 1,
        input: input.clone(),
        plan: plan.clone(),
        receipts,
        output: Some(json!({ "text": "eu" })),
    };
    let done = [attempt];
    let (report, _) = call(&plugin, "run", &config, Phase::PlanUndo { input: &input, done: &done }).await;
    let Ok(Returned::Plan(undo)) = &report.result else { panic!("{}", said(&report)) };
    let (report, receipts) =
        call(&plugin, "run", &config, Phase::Undo { input: &input, done: &done, plan: undo }).await;
    assert_eq!(report.result.as_ref().unwrap(), &Returned::Output(Value::Null));
    assert_eq!(receipts, ["a line"]);
}

#[tokio::test]
async fn no_receipts_in_read_mode_nor_in_a_plan_of_no_run() {
    let plugin = plugin().await;
    let (input, config) = (json!({ "count": 0 }), json!({ "name": "eu" }));
    let plan = Plan { status: Status::InPlace, changes: Vec::new(), repeatable: true, memo: "m".to_owned() };
    for (run, mode) in [("run", Mode::Read), ("", Mode::Write)] {
        let (report, receipts) =
            call(&plugin, run, &config, Phase::Apply { input: &input, plan: &plan, mode }).await;
        assert!(report.result.is_ok(), "{}", said(&report));
        assert!(receipts.is_empty(), "{run} {mode:?}");
        assert_eq!(report.reads.denied, 1);
        assert_eq!(report.audit.len(), 1);
        assert!(!report.audit[0].allowed);
    }
}

#[tokio::test]
async fn configuring_has_no_rights() {
    let plugin = plugin().await;
    let plan = Plan { status: Status::Differs, changes: Vec::new(), repeatable: true, memo: String::new() };
    let (input, config) = (json!({ "count": 1 }), json!({ "name": "a name too long" }));
    let (report, receipts) =
        call(&plugin, "run", &config, Phase::Apply { input: &input, plan: &plan, mode: Mode::Write }).await;
    assert!(receipts.is_empty());
    let Err(CallError::Denied { denial, failure }) = report.result else { panic!("{:?}", report.result) };
    assert_eq!(failure.unwrap().code, "denied");
    insta::assert_snapshot!(
        denial,
        @"denied: plugin `acme` in step `send` asked for step `receipt`: receipts belong to a started attempt: only `apply-` and `undo-` of a run leave them"
    );
}

#[tokio::test]
async fn a_configuration_that_does_not_fit_is_the_hosts_fault() {
    let plugin = plugin().await;
    let input = json!({ "count": 1 });
    let mut text = Vec::new();
    for config in [json!({}), json!({ "name": 7 }), json!({ "name": "eu", "zone": "x" })] {
        let (report, _) = call(&plugin, "run", &config, Phase::Plan { input: &input, before: &[] }).await;
        assert!(matches!(report.result, Err(CallError::Fault(_))));
        text.push(said(&report));
    }
    insta::assert_snapshot!(text.join("\n"));
}
