//! `approve`: a step that asks people.

use crate::model::{Bind, OnExpiry};
use crate::node::{Entry, Node};
use crate::reader::Reader;
use crate::report::Report;
use crate::source::Located;

use super::is_name;
use super::steps::BodyDecl;

/// An approval as declared.
#[derive(Debug, Clone)]
pub(crate) struct ApprovalDecl {
    pub(crate) roles: Vec<String>,
    pub(crate) each: u32,
    pub(crate) any: Option<u32>,
    pub(crate) text: Option<Node>,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) on_expiry: OnExpiry,
    pub(crate) covers: Option<Vec<Located<String>>>,
    pub(crate) bind: Bind,
    pub(crate) owner: Option<String>,
    pub(crate) evidence: bool,
    pub(crate) own: bool,
}

/// What an approval takes none of, and why.
const STRANGE: [(&str, Option<&str>); 13] = [
    ("with", None),
    ("retry", None),
    ("until", None),
    ("every", None),
    ("hold", None),
    ("expect", None),
    ("for_each", None),
    ("key", None),
    ("max_parallel", None),
    ("max_failures", None),
    ("undo", None),
    ("on_unknown", None),
    ("timeout", Some("write `expires` in `approve`")),
];

/// Reads the body of a step that has `approve`.
pub(super) fn read_body(reader: &mut Reader<'_>, approve: Entry, id: &str) -> BodyDecl {
    for other in ["do", "wait"] {
        if let Some(entry) = reader.misplaced(other) {
            let message = format!("step `{id}` has both `approve` and `{other}`");
            let help = Some("make two steps of it".to_owned());
            reader.report.error("wrong-value", entry.key.span, message, help);
        }
    }
    for (key, help) in STRANGE {
        if let Some(entry) = reader.misplaced(key) {
            let message = format!("a step that asks for approval takes no `{key}`");
            reader.report.error("misplaced-key", entry.key.span, message, help.map(str::to_owned));
        }
    }
    match read(approve.value, reader.report) {
        Some(approval) => BodyDecl::Approve(Box::new(approval)),
        None => BodyDecl::Unreadable,
    }
}

fn read(node: Node, report: &mut Report) -> Option<ApprovalDecl> {
    let mut reader = Reader::of(node, "`approve`", report)?;
    let roles = read_roles(&mut reader);
    let counted_twice = (reader.has("each") && reader.has("any")).then(|| reader.span());
    let each = reader.count("each", 1);
    let any = reader.count("any", 1);
    if let Some(span) = counted_twice {
        let message = "`each` counts by role and `any` over all roles";
        reader.report.error("wrong-value", span, message, Some("write one of the two".to_owned()));
    }
    if !reader.has("text") {
        reader.missing("text");
    }
    let text = reader.node("text");
    let expires = reader.duration("expires");
    if let Some(expires) = expires.as_ref().filter(|expires| expires.value == 0) {
        let message = "`expires` must be longer than nothing";
        reader.report.error("wrong-value", expires.span, message, None);
    }
    let stray = (expires.is_none() && reader.has("on_expiry")).then(|| reader.span());
    let on_expiry = reader.word("on_expiry", &[("hold", OnExpiry::Hold), ("fail", OnExpiry::Fail)]);
    if let Some(span) = stray {
        reader.report.error("wrong-value", span, "`on_expiry` goes with `expires`", None);
    }
    let approval = ApprovalDecl {
        roles,
        each: each.unwrap_or(1),
        any,
        text,
        expires_ms: expires.map(|expires| expires.value),
        on_expiry: on_expiry.unwrap_or_default(),
        covers: reader.strings("covers").map(|covers| covers.value),
        bind: reader.word("bind", &[("plan", Bind::Plan), ("exact", Bind::Exact)]).unwrap_or_default(),
        owner: reader.string("owner").map(|owner| owner.value),
        evidence: reader.bool("evidence").unwrap_or_default(),
        own: reader.bool("allow_starter").unwrap_or_default(),
    };
    reader.finish();
    Some(approval)
}

fn read_roles(reader: &mut Reader<'_>) -> Vec<String> {
    if !reader.has("roles") {
        reader.missing("roles");
    }
    let Some(list) = reader.strings("roles") else { return Vec::new() };
    if list.value.is_empty() {
        let help = Some("name who may approve: `roles = [\"security\"]`".to_owned());
        reader.report.error("wrong-value", list.span, "nobody could approve: there are no roles", help);
    }
    let mut roles: Vec<String> = Vec::with_capacity(list.value.len());
    for role in list.value {
        if !is_name(&role.value) {
            let message = "a role has only letters, digits, `_` and `-`";
            reader.report.error("bad-name", role.span, message, None);
        } else if roles.contains(&role.value) {
            let message = format!("the role `{}` is named twice", role.value);
            reader.report.error("wrong-value", role.span, message, None);
        } else {
            roles.push(role.value);
        }
    }
    roles
}
