//! `[[guard]]`, `[[criterion]]` and `[concurrency]`.

use crate::model::{Concurrency, Interrupt, NoData, WhenBusy};
use crate::node::{Node, Table};
use crate::reader::Reader;
use crate::report::Report;
use crate::source::{Located, Span};

use super::steps::{placeholder_id, tables};
use super::{bad_name, is_identifier, is_name};

/// A guard as declared.
#[derive(Debug, Clone)]
pub(crate) struct GuardDecl {
    /// The table's header.
    pub(crate) span: Span,
    pub(crate) id: Located<String>,
    pub(crate) title: Option<String>,
    pub(crate) action: Option<Located<String>>,
    pub(crate) with: Option<Node>,
    pub(crate) every_ms: Option<u64>,
    pub(crate) from: Option<Located<String>>,
    pub(crate) until: Option<Located<String>>,
    pub(crate) rollback_when: Option<Located<String>>,
    pub(crate) hold_when: Option<Located<String>>,
    pub(crate) fresh_when: Option<Located<String>>,
    pub(crate) no_data: Option<NoData>,
    pub(crate) for_ms: Option<u64>,
    pub(crate) clear_for_ms: Option<u64>,
    pub(crate) grace_ms: Option<u64>,
    pub(crate) interrupt: Interrupt,
    pub(crate) past_commit: bool,
    pub(crate) timeout_ms: Option<u64>,
}

/// A criterion as declared.
#[derive(Debug, Clone)]
pub(crate) struct CriterionDecl {
    /// The table's header.
    pub(crate) span: Span,
    pub(crate) text: Option<String>,
    pub(crate) met_by: Option<Located<String>>,
}

/// Reads `[[guard]]`.
pub(super) fn read_guards(node: Node, report: &mut Report) -> Vec<GuardDecl> {
    let tables = tables(node, "guard", report);
    tables.into_iter().enumerate().map(|(index, table)| read_guard(table, index, report)).collect()
}

fn read_guard(table: Table, index: usize, report: &mut Report) -> GuardDecl {
    let span = table.span;
    let mut reader = Reader::new(table, "a guard", report);
    let id = reader.required_string("id");
    if let Some(id) = &id
        && !is_identifier(&id.value)
    {
        bad_name(reader.report, id, "a guard's id");
    }
    let id = id.unwrap_or_else(|| placeholder_id("guard", index, span));
    let title = reader.string("title").map(|title| title.value);
    let action = reader.required_string("do");
    let with = reader.node("with");
    if !reader.has("every") {
        reader.missing("every");
    }
    let every = reader.duration("every");
    if let Some(every) = every.as_ref().filter(|every| every.value == 0) {
        reader.report.error("wrong-value", every.span, "`every` must be longer than nothing", None);
    }
    let unjudged = reader.lacks("rollback_when") && reader.lacks("hold_when");
    let rollback_when = reader.string("rollback_when");
    let hold_when = reader.string("hold_when");
    if unjudged {
        let message = format!("the guard `{}` has neither `rollback_when` nor `hold_when`", id.value);
        let help = "say what it guards against: `rollback_when = \"result.value > 0.05\"`".to_owned();
        reader.report.error("missing-key", span, message, Some(help));
    }
    if reader.lacks("no_data") {
        let message = format!("the guard `{}` does not say what follows when it has no data", id.value);
        let help = "write `no_data = \"hold\"`, `\"rollback\"` or `\"ignore\"`".to_owned();
        reader.report.error("missing-key", span, message, Some(help));
    }
    let no_data = reader.word(
        "no_data",
        &[("hold", NoData::Hold), ("rollback", NoData::Rollback), ("ignore", NoData::Ignore)],
    );
    let interrupts = [("after_grace", Interrupt::AfterGrace), ("never", Interrupt::Never)];
    let guard = GuardDecl {
        span,
        id,
        title,
        action,
        with,
        every_ms: every.map(|every| every.value),
        from: reader.string("from"),
        until: reader.string("until"),
        rollback_when,
        hold_when,
        fresh_when: reader.string("fresh_when"),
        no_data,
        for_ms: reader.duration("for").map(|span| span.value),
        clear_for_ms: reader.duration("clear_for").map(|span| span.value),
        grace_ms: reader.duration("grace").map(|span| span.value),
        interrupt: reader.word("interrupt", &interrupts).unwrap_or_default(),
        past_commit: reader.bool("past_commit").unwrap_or_default(),
        timeout_ms: reader.duration("timeout").map(|span| span.value),
    };
    reader.finish();
    guard
}

/// Reads `[[criterion]]`.
pub(super) fn read_criteria(node: Node, report: &mut Report) -> Vec<CriterionDecl> {
    let tables = tables(node, "criterion", report);
    let read = |table: Table| {
        let span = table.span;
        let mut reader = Reader::new(table, "a criterion", report);
        let text = reader.required_string("text").map(|text| text.value);
        let met_by = reader.required_string("met_by");
        reader.finish();
        CriterionDecl { span, text, met_by }
    };
    tables.into_iter().map(read).collect()
}

/// Reads `[concurrency]`.
pub(super) fn read_concurrency(node: Node, report: &mut Report) -> Option<Concurrency> {
    let mut reader = Reader::of(node, "`[concurrency]`", report)?;
    let group = reader.required_string("group");
    if let Some(group) = &group
        && !is_name(&group.value)
    {
        let message = "the name of a group has only letters, digits, `_` and `-`";
        reader.report.error("bad-name", group.span, message, None);
    }
    let when_busy = reader.word("when_busy", &[("queue", WhenBusy::Queue), ("reject", WhenBusy::Reject)]);
    reader.finish();
    Some(Concurrency { group: group?.value, when_busy: when_busy.unwrap_or_default() })
}
