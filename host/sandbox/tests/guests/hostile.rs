//! Guests that want too much, or nothing good. Each ends in time and is told apart.

use std::time::{Duration, Instant};

use windlass_sandbox::{CallError, LimitKind, LogLevel};

use crate::guest::{check, check_with, limits, run, run_within, said};

fn limit(result: &Result<windlass_sandbox::Returned, CallError>) -> Option<LimitKind> {
    match result {
        Err(CallError::Limit(hit)) => Some(hit.kind),
        _ => None,
    }
}

#[tokio::test]
async fn an_endless_loop_ends_at_its_deadline() {
    let start = Instant::now();
    let (report, _) =
        run_within(check("(loop $again (br $again)) (unreachable)"), limits(Duration::from_millis(200)))
            .await;
    assert_eq!(limit(&report.result), Some(LimitKind::Deadline), "{}", said(&report));
    assert!(
        report.elapsed >= Duration::from_millis(200) && report.elapsed < Duration::from_secs(2),
        "{:?}",
        report.elapsed
    );
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(said(&report), "the plugin was stopped: it did not return within 200 ms");
}

#[tokio::test]
async fn an_endless_start_function_ends_too() {
    let more = "(func $start (loop $again (br $again))) (start $start)";
    let (report, _) = run_within(check_with(more, "(unreachable)"), limits(Duration::from_millis(200))).await;
    assert_eq!(limit(&report.result), Some(LimitKind::Deadline), "{}", said(&report));
}

#[tokio::test]
async fn memory_ends_at_its_limit() {
    let body =
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)";
    let (report, _) = run(check(body)).await;
    assert_eq!(said(&report), "the plugin was stopped: it wanted more memory than its limit of 64 MiB");
}

#[tokio::test]
async fn a_refused_growth_alone_is_no_failure() {
    let body = "(drop (memory.grow (i32.const 60000))) (call $ok (i32.const 0) (i32.const 0) (i32.const 1))";
    let (report, _) = run(check(body)).await;
    assert!(report.result.is_ok(), "{}", said(&report));
}

#[tokio::test]
async fn tables_end_at_their_limit() {
    let more = "(table $t 1 funcref)";
    let body = "(loop $again (br_if $again (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) (unreachable)";
    let (report, _) = run(check_with(more, body)).await;
    assert_eq!(limit(&report.result), Some(LimitKind::TableElements), "{}", said(&report));
}

#[tokio::test]
async fn recursion_ends_at_the_stack() {
    let more = "(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))";
    let (report, _) = run(check_with(more, "(call $deep (i32.const 1))")).await;
    assert_eq!(said(&report), "the plugin was stopped: its calls nest deeper than its stack of 1 MiB");
}

#[tokio::test]
async fn a_panic_is_the_plugins_failure_with_its_last_words() {
    let body =
        "(call $log (i32.const 3) (i32.const 512) (i32.const 6) (i32.const 0) (i32.const 0)) (unreachable)";
    let (report, _) = run(check(body)).await;
    assert_eq!(said(&report), "the plugin panicked: a line (panicked)");
    let (report, _) = run(check("(unreachable)")).await;
    assert_eq!(said(&report), "the plugin panicked (panicked)");
}

#[tokio::test]
async fn other_traps_say_what_they_are() {
    let (report, _) = run(check("(i32.div_u (i32.const 1) (i32.const 0))")).await;
    insta::assert_snapshot!(said(&report), @"the plugin broke off: wasm trap: integer divide by zero (trapped)");
    let (report, _) = run(check("(i32.load (i32.const -8))")).await;
    insta::assert_snapshot!(said(&report), @"the plugin broke off: wasm trap: out of bounds memory access (trapped)");
    let (report, _) = run(check("(i32.const 999999)")).await;
    insta::assert_snapshot!(said(&report), @"the plugin broke off: return pointer not aligned (trapped)");
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut() {
    let body = "(local $n i32)
        (loop $again
            (call $log (i32.const 1) (i32.const 0) (i32.const 60000) (i32.const 0) (i32.const 0))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 3000))))
        (call $ok (i32.const 0) (i32.const 0) (i32.const 0))";
    let (report, recorder) =
        run(check(&body.replace("(i32.const 0) (i32.const 60000)", "(i32.const 512) (i32.const 6)"))).await;
    assert!(report.result.is_ok(), "{}", said(&report));
    let logs = recorder.logs.lock().unwrap();
    assert_eq!(logs.len(), 1001);
    let (level, message, _) = logs.last().unwrap();
    assert_eq!(
        (*level, message.as_str()),
        (LogLevel::Warn, "more than 1000 log lines: the rest of this call's are dropped")
    );
}

#[tokio::test]
async fn a_log_line_is_cut_at_its_limit() {
    let body = "(memory.fill (i32.const 8192) (i32.const 120) (i32.const 50000))
        (call $log (i32.const 1) (i32.const 8192) (i32.const 50000) (i32.const 0) (i32.const 0))
        (call $ok (i32.const 0) (i32.const 0) (i32.const 0))";
    let (report, recorder) = run(check(body)).await;
    assert!(report.result.is_ok(), "{}", said(&report));
    let logs = recorder.logs.lock().unwrap();
    assert!(logs[0].1.len() <= 4096 && logs[0].1.ends_with("x … (cut)"));
}

#[tokio::test]
async fn a_huge_text_is_stopped_before_it_is_copied() {
    let body = "(drop (memory.grow (i32.const 500)))
        (call $ok (i32.const 8192) (i32.const 30000000) (i32.const 0))";
    let (report, _) = run(check(body)).await;
    assert_eq!(limit(&report.result), Some(LimitKind::HostCall), "{}", said(&report));
}

#[tokio::test]
async fn a_text_that_is_no_text_is_the_plugins_fault() {
    let body =
        "(i32.store (i32.const 8192) (i32.const -1)) (call $ok (i32.const 8192) (i32.const 4) (i32.const 0))";
    let (report, _) = run(check(body)).await;
    assert!(matches!(report.result, Err(CallError::Failure(_))), "{}", said(&report));
}

#[tokio::test]
async fn many_loops_at_once_all_end_in_time() {
    let plugin = crate::guest::load(check("(loop $again (br $again)) (unreachable)")).await;
    let start = Instant::now();
    let input = serde_json::json!({ "count": 7 });
    let calls = (0..20).map(|_| {
        let phase = windlass_sandbox::Phase::Read { input: &input };
        crate::guest::call(&plugin, "check", phase, limits(Duration::from_millis(300)))
    });
    for (report, _) in futures_util::future::join_all(calls).await {
        assert_eq!(limit(&report.result), Some(LimitKind::Deadline), "{}", said(&report));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
