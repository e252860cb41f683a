//! Calls that end well, or in the plugin's own words.

use windlass_sandbox::{CallError, LogLevel, Returned};

use crate::guest::{check, run, said};

#[tokio::test]
async fn a_reading_action_returns_its_output() {
    let (report, _) = run(check("(call $ok (i32.const 512) (i32.const 6) (local.get $count))")).await;
    let expected = serde_json::json!({ "text": "a line", "count": 7 });
    assert_eq!(report.result.unwrap(), Returned::Output(expected));
    assert!(!report.sent && report.audit.is_empty());
}

#[tokio::test]
async fn a_failure_is_in_the_plugins_own_words() {
    let (report, _) = run(check("(call $failed (i32.const 512) (i32.const 6))")).await;
    let Err(CallError::Failure(failure)) = report.result else { panic!("{:?}", report.result) };
    assert_eq!(
        (failure.code.as_str(), failure.message.as_str(), failure.retryable),
        ("a line", "a line", true)
    );
}

#[tokio::test]
async fn log_lines_reach_the_run() {
    let body = "(call $log (i32.const 2) (i32.const 512) (i32.const 6) (i32.const 0) (i32.const 0))
                (call $ok (i32.const 0) (i32.const 0) (i32.const 0))";
    let (report, recorder) = run(check(body)).await;
    assert!(report.result.is_ok(), "{}", said(&report));
    assert_eq!(*recorder.logs.lock().unwrap(), [(LogLevel::Warn, "a line".to_owned(), Vec::new())]);
}

#[tokio::test]
async fn each_call_has_memory_of_its_own() {
    let plugin = crate::guest::load(check(
        "(i32.store8 (i32.const 512) (i32.add (i32.load8_u (i32.const 512)) (i32.const 1)))
         (call $ok (i32.const 512) (i32.const 6) (i32.const 0))",
    ))
    .await;
    let input = serde_json::json!({ "count": 0 });
    for _ in 0..3 {
        let phase = windlass_sandbox::Phase::Read { input: &input };
        let (report, _) =
            crate::guest::call(&plugin, "check", phase, windlass_sandbox::Limits::default()).await;
        let Ok(Returned::Output(output)) = report.result else { panic!("{}", said(&report)) };
        assert_eq!(output["text"], "b line");
    }
}
