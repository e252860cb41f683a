//! `[[step]]`, `[[stage]]`, `[[stage.step]]` and `[[finally.step]]`.

use crate::diagnostics::Diagnostic;
use crate::model::{OnFailure, OnUnknown, Retry, RollbackOrder};
use crate::node::{Kind, Node, Table};
use crate::reader::{Reader, wrong_type};
use crate::report::Report;
use crate::source::{Located, Span};
use crate::units;

use super::approve::{self, ApprovalDecl};
use super::times::{TimesDecl, read_times};
use super::{Document, bad_name, is_identifier, read_on_failure};

/// A stage as declared.
#[derive(Debug, Clone)]
pub(crate) struct StageDecl {
    pub(crate) name: String,
    pub(crate) parallel: bool,
    pub(crate) on_failure: Option<OnFailure>,
    pub(crate) times: TimesDecl,
    pub(crate) commit: bool,
    pub(crate) steps: std::ops::Range<usize>,
}

/// A step as declared.
#[derive(Debug, Clone)]
pub(crate) struct StepDecl {
    /// The table's header.
    pub(crate) span: Span,
    pub(crate) id: Located<String>,
    pub(crate) title: Option<String>,
    pub(crate) body: BodyDecl,
    pub(crate) needs: Option<Vec<Located<String>>>,
    pub(crate) when: Option<Located<String>>,
    pub(crate) for_each: Option<Node>,
    pub(crate) key: Option<Located<String>>,
    pub(crate) max_parallel: Option<u32>,
    pub(crate) max_failures: Option<u32>,
    pub(crate) retry: Retry,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) until: Option<Located<String>>,
    pub(crate) every: Option<Located<u64>>,
    pub(crate) hold: Option<Located<u64>>,
    pub(crate) expect: Vec<Located<String>>,
    pub(crate) on_failure: Option<OnFailure>,
    pub(crate) on_unknown: Option<OnUnknown>,
    pub(crate) undo: Option<Box<UndoDecl>>,
    pub(crate) commit: bool,
    pub(crate) times: Option<Box<TimesDecl>>,
    /// Of a rollback step.
    pub(crate) order: RollbackOrder,
}

/// How its effect is taken back, where it says so.
#[derive(Debug, Clone)]
pub(crate) struct UndoDecl {
    /// Where it stands.
    pub(crate) span: Span,
    /// None where there is nothing to take back.
    pub(crate) call: Option<(Located<String>, Option<Node>)>,
}

/// Which of the lists of steps one is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Main,
    Rollback,
    Finally,
}

/// What it does.
#[derive(Debug, Clone)]
pub(crate) enum BodyDecl {
    Call {
        action: Located<String>,
        with: Option<Node>,
    },
    Wait(Node),
    Approve(Box<ApprovalDecl>),
    /// Reported; the step keeps its id, so that references to it are not.
    Unreadable,
}

/// Reads stages or steps, whichever the runbook has.
pub(super) fn read_all(
    stages: Option<Node>,
    steps: Option<Node>,
    document: &mut Document,
    report: &mut Report,
) {
    match (stages, steps) {
        (Some(stages), steps) => {
            if let Some(steps) = &steps {
                report.marked(
                    Diagnostic::error(
                        "stages-and-steps",
                        "a runbook has `[[step]]` or `[[stage]]`, not both",
                    )
                    .help("put these steps into a stage: `[[stage.step]]`"),
                    &[(first_span(steps), "a step outside the stages"), (first_span(&stages), "the stages")],
                );
            }
            for table in tables(stages, "stage", report) {
                read_stage(table, document, report);
            }
            // Read all the same, so that references to them are not reported as well.
            for table in steps.map(|steps| tables(steps, "step", report)).unwrap_or_default() {
                let step = read_step(table, document.steps.len(), List::Main, report);
                document.steps.push(step);
            }
        }
        (None, Some(steps)) => {
            let tables = tables(steps, "step", report);
            document.steps.reserve(tables.len());
            for table in tables {
                let step = read_step(table, document.steps.len(), List::Main, report);
                document.steps.push(step);
            }
        }
        (None, None) => {}
    }
    if document.steps.is_empty() {
        let span = Span::new(crate::source::FileId::Runbook, &(0..0));
        report.error("empty-runbook", span, "the runbook has no steps", Some("add a `[[step]]`".to_owned()));
    }
}

/// Reads `[[rollback.step]]` or `[[finally.step]]`.
pub(super) fn read_apart(node: Node, list: List, report: &mut Report) -> Vec<StepDecl> {
    let (what, key) = match list {
        List::Rollback => ("`[rollback]`", "rollback.step"),
        List::Main | List::Finally => ("`[finally]`", "finally.step"),
    };
    let Some(mut reader) = Reader::of(node, what, report) else { return Vec::new() };
    let steps = reader.node("step");
    reader.finish();
    let tables = steps.map(|steps| tables(steps, key, report)).unwrap_or_default();
    tables.into_iter().enumerate().map(|(index, table)| read_step(table, index, list, report)).collect()
}

fn first_span(node: &Node) -> Span {
    match &node.kind {
        Kind::List(items) => items.first().map_or(node.span, |item| item.span),
        _ => node.span,
    }
}

pub(super) fn tables(node: Node, key: &str, report: &mut Report) -> Vec<Table> {
    let Kind::List(items) = node.kind else {
        let message = format!("`{key}` is a list of tables");
        report.error("wrong-type", node.span, message, Some(format!("write `[[{key}]]`")));
        return Vec::new();
    };
    items
        .into_iter()
        .filter_map(|item| match item.kind {
            Kind::Table(table) => Some(table),
            _ => {
                wrong_type(report, &item, format_args!("an item of `{key}`"), "a table");
                None
            }
        })
        .collect()
}

fn read_stage(table: Table, document: &mut Document, report: &mut Report) {
    let span = table.span;
    let first = document.steps.len();
    let mut reader = Reader::new(table, "a stage", report);
    let name = reader.required_string("name");
    let parallel = reader.bool("parallel").unwrap_or(false);
    let on_failure = read_on_failure(&mut reader);
    let may_be_empty = reader.has("commit") || reader.has("at");
    let times = read_times(&mut reader);
    let commit = reader.bool("commit").unwrap_or_default();
    if let Some(entry) = reader.misplaced("approve") {
        let help = "put a step with `approve` first in the stage".to_owned();
        reader.report.error("misplaced-key", entry.key.span, "a stage takes no `approve`", Some(help));
    }
    let steps = reader.node("step");
    reader.finish();
    for table in steps.map(|steps| tables(steps, "stage.step", report)).unwrap_or_default() {
        let step = read_step(table, document.steps.len(), List::Main, report);
        document.steps.push(step);
    }
    let steps = first..document.steps.len();
    if steps.is_empty() && !may_be_empty {
        let help = Some("add a `[[stage.step]]` below it, or leave it out".to_owned());
        report.error("empty-stage", span, "the stage has no steps", help);
    }
    let name = name.map(|name| name.value).unwrap_or_default();
    document.stages.push(StageDecl { name, parallel, on_failure, times, commit, steps });
}

/// The id of what has none, so that the rest of it can be read.
pub(super) fn placeholder_id(what: &str, index: usize, span: Span) -> Located<String> {
    Located::new(format!("{what} {}", index + 1), span)
}

fn read_step(table: Table, index: usize, list: List, report: &mut Report) -> StepDecl {
    let span = table.span;
    let mut reader = Reader::new(table, "a step", report);
    let id = reader.required_string("id");
    if let Some(id) = &id
        && !is_identifier(&id.value)
    {
        bad_name(reader.report, id, "a step's id");
    }
    let id = id.unwrap_or_else(|| placeholder_id("step", index, span));
    if list != List::Main {
        refuse_misplaced(&mut reader, list);
    }
    let title = reader.string("title").map(|title| title.value);
    let body = read_body(&mut reader, &id.value);
    let needs = reader.strings("needs").map(|needs| needs.value);
    let when = reader.string("when");
    let for_each = reader.node("for_each");
    let key = reader.string("key");
    let max_parallel = reader.count("max_parallel", 1);
    let max_failures = reader.count("max_failures", 0);
    let retry = reader.node("retry").and_then(|node| read_retry(node, reader.report)).unwrap_or_default();
    let timeout_ms = reader.duration("timeout").map(|timeout| timeout.value);
    let until = reader.string("until");
    let every = reader.duration("every");
    let hold = reader.duration("hold");
    let expect = reader.one_or_more("expect");
    let on_failure = read_on_failure(&mut reader);
    let on_unknown = reader.word("on_unknown", &[("ask", OnUnknown::Ask), ("accept", OnUnknown::Accept)]);
    let (mut undo, mut commit, mut times, mut order) = (None, false, None, RollbackOrder::After);
    match list {
        List::Main => {
            undo = reader.node("undo").and_then(|node| read_undo(node, reader.report)).map(Box::new);
            commit = reader.bool("commit").unwrap_or_default();
            let timed = reader.has("at") || reader.has("window");
            times = Some(read_times(&mut reader)).filter(|_| timed).map(Box::new);
        }
        List::Rollback => {
            let words = [("before", RollbackOrder::Before), ("after", RollbackOrder::After)];
            order = reader.word("order", &words).unwrap_or_default();
        }
        List::Finally => {}
    }
    reader.finish();
    StepDecl {
        span,
        id,
        title,
        body,
        needs,
        when,
        for_each,
        key,
        max_parallel,
        max_failures,
        retry,
        timeout_ms,
        until,
        every,
        hold,
        expect,
        on_failure,
        on_unknown,
        undo,
        commit,
        times,
        order,
    }
}

/// Takes out what has no meaning once the run goes back or ends.
fn refuse_misplaced(reader: &mut Reader<'_>, list: List) {
    let what = if list == List::Rollback { "a rollback step" } else { "a finally step" };
    for key in ["undo", "commit", "at", "window"] {
        if let Some(entry) = reader.misplaced(key) {
            let message = format!("{what} takes no `{key}`");
            let help = Some("leave it out".to_owned());
            reader.report.error("misplaced-key", entry.key.span, message, help);
        }
    }
    if reader.has("approve") {
        let message = format!("{what} asks nobody for approval");
        let help = "ask before the effect, in a step of the run itself".to_owned();
        reader.report.error("misplaced-key", reader.span(), message, Some(help));
    }
}

fn read_undo(node: Node, report: &mut Report) -> Option<UndoDecl> {
    const HELP: &str = "write `undo = { do = \"plugin.action\", with = {…} }`, or `undo = false` where there is \
                        nothing to take back";
    let span = node.span;
    match node.kind {
        Kind::Bool(false) => Some(UndoDecl { span, call: None }),
        Kind::Table(table) => {
            let mut reader = Reader::new(table, "`undo`", report);
            let action = reader.required_string("do");
            let with = reader.node("with");
            reader.finish();
            Some(UndoDecl { span, call: Some((action?, with)) })
        }
        Kind::Bool(true) => {
            let help = "leave it out: what the plugin has is taken anyway".to_owned();
            report.error("wrong-value", span, "`undo` can't be true", Some(help));
            None
        }
        _ => {
            let message = format!("`undo` must be a table or false, not {}", node.describe());
            report.error("wrong-type", span, message, Some(HELP.to_owned()));
            None
        }
    }
}

fn read_body(reader: &mut Reader<'_>, id: &str) -> BodyDecl {
    if let Some(entry) = reader.entry("approve") {
        return approve::read_body(reader, entry, id);
    }
    let has_action = reader.has("do");
    let action = reader.string("do");
    let with = reader.entry("with");
    let wait = reader.entry("wait");
    match (has_action, action, wait) {
        (true, _, Some(wait)) => {
            let message = format!("step `{id}` has both `do` and `wait`");
            reader.report.error(
                "wrong-value",
                wait.key.span,
                message,
                Some("make two steps of it".to_owned()),
            );
            BodyDecl::Unreadable
        }
        (true, Some(action), None) => BodyDecl::Call { action, with: with.map(|entry| entry.value) },
        (true, None, None) => BodyDecl::Unreadable,
        (false, _, Some(wait)) => {
            if let Some(with) = with {
                reader.report.error("wrong-value", with.key.span, "a step that waits takes no `with`", None);
            }
            BodyDecl::Wait(wait.value)
        }
        (false, _, None) => {
            let message = format!("step `{id}` does not say what to do");
            let help = "write `do = \"plugin.action\"`, `wait = \"5m\"` or `approve = {…}`".to_owned();
            reader.report.error("missing-key", reader.span(), message, Some(help));
            BodyDecl::Unreadable
        }
    }
}

fn read_retry(node: Node, report: &mut Report) -> Option<Retry> {
    let mut reader = Reader::of(node, "`retry`", report)?;
    let mut retry = Retry::default();
    if !reader.has("attempts") {
        reader.missing("attempts");
    }
    if let Some(attempts) = reader.count("attempts", 1) {
        retry.attempts = attempts;
    }
    if let Some(backoff) = reader.string("backoff") {
        match parse_backoff(&backoff.value) {
            Some((least, most)) => (retry.min_ms, retry.max_ms) = (least, most),
            None => {
                let message = format!("`{}` is no backoff", backoff.value);
                let help = "write \"1s..30s\", or \"5s\" for the same pause each time".to_owned();
                reader.report.error("wrong-value", backoff.span, message, Some(help));
            }
        }
    }
    reader.finish();
    Some(retry)
}

fn parse_backoff(text: &str) -> Option<(u64, u64)> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let least = units::parse_duration(least.trim()).ok()?;
    let most = units::parse_duration(most.trim()).ok()?;
    (least <= most).then_some((least, most))
}
