//! `windlass plan`: what it says of each step, and that it never writes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::json;
use support::safety::{approve, asks};
use support::*;
use windlass_engine::plan::{PlanCommand, PlanOutcome, PlanRow, PlanSummary, Planner};
use windlass_engine::{CallKind, CallReport, Event};
use windlass_runbook::model::Runbook;
use windlass_runbook::outcome::Status;

struct Planned {
    rows: Vec<PlanRow>,
    summary: PlanSummary,
    calls: Vec<String>,
}

impl Planned {
    fn text(&self) -> String {
        let mut rows: Vec<&PlanRow> = self.rows.iter().collect();
        rows.sort_by_key(|row| row.position);
        let lines = rows.iter().map(|row| {
            let item = row.item.as_deref().map_or_else(String::new, |item| format!("[{item}]"));
            let outcome = match &row.outcome {
                PlanOutcome::Deferred { reason } => format!("deferred: {reason}"),
                PlanOutcome::Failed { failure } => format!("failed: {failure}"),
                PlanOutcome::Skipped { reason, because } => {
                    format!("skipped ({reason}): {}", because.clone().unwrap_or_default())
                }
                other => serde_json::to_string(other).unwrap(),
            };
            format!("{}{item} {outcome}\n", row.step)
        });
        format!("{}exit code {}", lines.collect::<String>(), self.summary.exit_code())
    }
}

fn plan(runbook: Runbook, script: impl Fn(&Seen<'_>) -> Option<CallReport>) -> Planned {
    let Event::RunCreated(mut pinned) = created(&runbook) else { panic!("another event") };
    pinned.run.clear();
    let mut planner = Planner::new(Arc::new(runbook), *pinned);
    let mut planned = Planned { rows: Vec::new(), summary: PlanSummary::default(), calls: Vec::new() };
    let mut queue: VecDeque<_> = planner.begin(START).into();
    let mut pending = VecDeque::new();
    loop {
        while let Some(command) = queue.pop_front() {
            match command {
                PlanCommand::Call { call, step, item, request } => {
                    pending.push_back((call, step, item, request));
                }
                PlanCommand::Row(row) => planned.rows.push(*row),
                PlanCommand::Done(summary) => {
                    planned.summary = summary;
                    return planned;
                }
            }
        }
        let (call, step, item, request) = pending.pop_front().unwrap();
        let seen =
            Seen { step: &step, item: item.as_deref(), request: &request, now: START, had: 0, count: 1 };
        assert!(!seen.writes(), "{step} writes in a plan");
        assert!(seen.before().is_empty());
        planned.calls.push(match &request.phase {
            CallKind::Read { .. } => format!("read {step}"),
            CallKind::Plan { .. } => format!("plan {step}"),
            CallKind::Apply { .. } => format!("output {step}"),
            CallKind::PlanUndo { .. } | CallKind::Undo { .. } => {
                panic!("{step}: a plan takes nothing back")
            }
        });
        let report = script(&seen).unwrap_or_else(|| usual(&seen).0);
        queue.extend(planner.called(call, report, START));
    }
}

#[test]
fn what_is_in_place_gives_its_output_on() {
    let planned = plan(
        chain(vec![
            write("one").with(json!(1)),
            read("use").with(json!("${steps.one.output.made}")).expect("result.seen == 1"),
        ]),
        |seen| seen.is_plan().then(|| planned(Status::InPlace, true)),
    );
    assert_eq!(planned.calls, ["plan one", "output one", "read use"]);
    insta::assert_snapshot!("in_place", planned.text());
}

#[test]
fn what_needs_an_output_not_known_yet_is_deferred() {
    let planned = plan(
        chain(vec![
            write("one"),
            read("use").with(json!("${steps.one.output.made}")),
            write("on").when("steps.one.status == 'succeeded'"),
            wait("pause", "5m"),
            read("check").expect("result.seen == 'new'"),
        ]),
        |_| None,
    );
    insta::assert_snapshot!("deferred", planned.text());
}

#[test]
fn with_nothing_before_it_that_would_change_it_has_failed() {
    let planned = plan(
        runbook(
            vec![
                read("check").expect("result.seen == 'new'"),
                write("stuck"),
                write("alone"),
                read("after").needs(&[2]).expect("false"),
            ],
            vec![],
        ),
        |seen| (seen.step == "stuck").then(|| failed("down", false, false)),
    );
    insta::assert_snapshot!("failed", planned.text());
}

#[test]
fn items_gates_skips_and_finally_are_planned_too() {
    let mut book = chain(vec![
        write("each").with(json!("${item}")).each(json!("${inputs.names}"), 2, 0),
        read("gate").gate("result.seen == 1", 1000, 60_000),
        read("never").when("false"),
        read("reader").with(json!("${steps.never.output.seen}")),
    ]);
    book.finally = vec![read("record").with(json!("${run.report}")), write("tidy")];
    let planned = plan(book, |_| None);
    insta::assert_snapshot!("items", planned.text());
}

#[test]
fn ten_thousand_deferred_items_need_no_deep_stack() {
    let items: Vec<u32> = (0..10_000).collect();
    let planned = plan(
        chain(vec![
            write("one"),
            write("each").with(json!("${steps.one.output.made}")).each(json!(items), 8, 0),
        ]),
        |_| None,
    );
    assert_eq!(planned.summary.deferred, 10_000);
}

#[test]
fn nothing_to_change_is_exit_code_0() {
    let planned = plan(chain(vec![read("a"), read("b")]), |_| None);
    assert_eq!(planned.summary.exit_code(), 0);
}

#[test]
fn an_approval_is_printed_with_what_it_covers() {
    let mut book =
        chain(vec![read("look"), approve("ask", asks()), write("one"), read("check"), write("two")]);
    book.steps.push(write("late").needs(&[4]));
    let planned = plan(book, |_| None);
    let row = planned.rows.iter().find(|row| &*row.step == "ask").unwrap();
    let PlanOutcome::Approval { text, roles, covers, .. } = &row.outcome else { panic!("{row:?}") };
    assert_eq!((text.as_str(), roles.as_slice()), ("Go?", ["owner".to_owned()].as_slice()));
    assert_eq!(covers.iter().map(|step| &**step).collect::<Vec<_>>(), ["one", "two", "late"]);
    assert_eq!(planned.summary.exit_code(), 10, "what it covers would change something");
}

#[test]
fn rollback_steps_are_planned_and_change_nothing_of_the_answer() {
    let mut book = chain(vec![read("look")]);
    book.rollback = vec![windlass_runbook::model::RollbackStep {
        step: write("tell").with(json!("${run.reason}")),
        order: windlass_runbook::model::RollbackOrder::After,
    }];
    let down =
        plan(book.clone(), |seen| (seen.step == "rollback/tell").then(|| failed("down", false, false)));
    let planned = plan(book, |_| None);
    let told =
        |planned: &Planned| planned.rows.iter().find(|row| &*row.step == "rollback/tell").unwrap().clone();
    assert!(matches!(told(&planned).outcome, PlanOutcome::Changes { .. }), "{:?}", told(&planned));
    assert!(matches!(told(&down).outcome, PlanOutcome::Deferred { .. }), "{:?}", told(&down));
    assert_eq!((planned.summary.exit_code(), down.summary.exit_code()), (0, 0));
}
