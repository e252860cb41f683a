//! What people are asked to approve: its digest, and the text that they sign.
//!
//! Pure. Invariant: two requests have one digest only if they bind the same things: every part is hashed with its
//! length before it, sets in order. Memo and before-values of plans are not in it: they may change and bind nothing.

use std::collections::BTreeSet;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use windlass_runbook::outcome::{Change, Plan};

use crate::event::{ApprovalRequest, Covered, CoveredChange, Decision};
use crate::identity::hex;
use crate::scope::timestamp;

/// The digest of what a request binds: everything in it but the digest itself and the reasons why something is not
/// known yet. SHA-256, as `sha256:` and hex.
pub(crate) fn digest(run: &str, step: &str, request: &ApprovalRequest) -> String {
    let mut hash = Parts::new("windlass approval request 1");
    hash.text(run);
    hash.text(step);
    hash.part(&request.round.to_be_bytes());
    hash.text(&request.text);
    hash.text(&request.runbook);
    hash.maybe(request.environment.as_deref());
    hash.maybe(request.lock.as_deref());
    hash.count(request.roles.len());
    for role in &request.roles {
        hash.text(role);
    }
    hash.part(&request.each.to_be_bytes());
    hash.maybe(request.any.map(|any| any.to_string()).as_deref());
    hash.maybe(request.expires_at.map(|at| at.to_string()).as_deref());
    hash.text(if request.exact { "exact" } else { "plan" });
    hash.count(request.covers.len());
    for covered in &request.covers {
        hash.covered(covered);
    }
    hash.finish()
}

/// What is bound of a plan: each change once, in order.
pub(crate) fn bound(plan: &Plan) -> Vec<CoveredChange> {
    let bound = |change: &Change| CoveredChange {
        target: change.target.clone(),
        kind: change.kind.clone(),
        to: change.to.clone(),
    };
    let set: BTreeSet<CoveredChange> = plan.changes.iter().map(bound).collect();
    set.into_iter().collect()
}

/// What of this input and plan is not approved, in one sentence; none where all of it is. What was deferred binds
/// nothing but the action.
pub(crate) fn difference(covered: &Covered, input: &Value, plan: &Plan) -> Option<String> {
    let differs = covered.input.as_deref().is_some_and(|approved| approved != input);
    if differs {
        return Some("its input is another one than was approved".to_owned());
    }
    let approved = covered.changes.as_ref()?;
    let more: Vec<String> = bound(plan)
        .into_iter()
        .filter(|change| !approved.contains(change))
        .map(|change| said(&change))
        .collect();
    (!more.is_empty()).then(|| format!("not approved: {}", more.join(", ")))
}

fn said(change: &CoveredChange) -> String {
    let to = change.to.as_deref().map_or_else(String::new, |to| format!(" to {to}"));
    format!("{} {}{to}", change.kind, change.target)
}

/// What a person decides with a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApprovalStatement<'a> {
    /// The store's id.
    pub store: &'a str,
    /// The run's id.
    pub run: &'a str,
    /// The path of the approval step.
    pub step: &'a str,
    /// The hash of the run's last event when it was signed, in hex.
    pub head: &'a str,
    /// What was asked.
    pub request: &'a ApprovalRequest,
    /// Yes or no.
    pub decision: Decision,
    /// The role in which it is decided; none for whichever is wanted.
    pub role: Option<&'a str>,
    /// Why.
    pub reason: &'a str,
    /// What shows that it is done.
    pub evidence: Option<&'a str>,
}

/// The text that is signed, in the namespace `approval@windlass`. One line for each thing, values as JSON, so that
/// none of them can pass for a line of its own.
#[must_use]
pub fn approval_text(statement: &ApprovalStatement<'_>) -> String {
    let ApprovalStatement { store, run, step, head, request, decision, role, reason, evidence } = *statement;
    let quoted = |text: &str| Value::from(text).to_string();
    let mut lines = vec![
        "windlass approval 1".to_owned(),
        format!("store {}", quoted(store)),
        format!("run {}", quoted(run)),
        format!("step {}", quoted(step)),
        // Made anew, and not taken from the request: what is signed is what is shown here.
        format!("request {}", digest(run, step, request)),
        format!("head {}", quoted(head)),
        format!("runbook {}", quoted(&request.runbook)),
    ];
    lines.extend(request.environment.as_deref().map(|digest| format!("environment {}", quoted(digest))));
    lines.extend(request.lock.as_deref().map(|digest| format!("lock {}", quoted(digest))));
    lines.extend(request.expires_at.map(|at| format!("expires {}", timestamp(at))));
    lines.push(format!("text {}", quoted(&request.text)));
    for covered in &request.covers {
        let item = covered.item.as_deref().map_or_else(String::new, |item| format!(" item {}", quoted(item)));
        let what = if covered.changes.is_some() { "planned" } else { "deferred" };
        lines.push(format!("covers {}{item} {} {what}", quoted(&covered.step), quoted(&covered.action)));
        lines.extend(covered.changes.iter().flatten().map(|change| {
            let to = change.to.as_deref().map_or_else(String::new, |to| format!(" to {}", quoted(to)));
            format!("  {} {}{to}", quoted(&change.kind), quoted(&change.target))
        }));
    }
    lines.push(match decision {
        Decision::Approve => "decision approve".to_owned(),
        Decision::Reject => "decision reject".to_owned(),
    });
    lines.extend(role.map(|role| format!("role {}", quoted(role))));
    lines.push(format!("reason {}", quoted(reason)));
    lines.extend(evidence.map(|evidence| format!("evidence {}", quoted(evidence))));
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// The digest of a pinned text, `sha256:` and hex.
pub(crate) fn digest_of(text: &str) -> String {
    format!("sha256:{}", hex(&Sha256::digest(text.as_bytes())))
}

/// A hash over parts, each with its length before it.
struct Parts(Sha256);

impl Parts {
    fn new(domain: &str) -> Self {
        let mut parts = Self(Sha256::new());
        parts.text(domain);
        parts
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.part(text.as_bytes());
    }

    fn count(&mut self, count: usize) {
        self.part(&(count as u64).to_be_bytes());
    }

    fn maybe(&mut self, text: Option<&str>) {
        match text {
            Some(text) => {
                self.text("some");
                self.text(text);
            }
            None => self.text("none"),
        }
    }

    fn covered(&mut self, covered: &Covered) {
        self.text(&covered.step);
        self.maybe(covered.item.as_deref());
        self.text(&covered.action);
        match &covered.input {
            Some(input) => {
                self.text("input");
                self.value(input);
            }
            None => self.text("deferred"),
        }
        match &covered.changes {
            Some(changes) => {
                self.text("changes");
                let set: BTreeSet<&CoveredChange> = changes.iter().collect();
                self.count(set.len());
                for change in set {
                    self.text(&change.target);
                    self.text(&change.kind);
                    self.maybe(change.to.as_deref());
                }
            }
            None => self.text("deferred"),
        }
    }

    /// A JSON value, independent of the order that its fields stand in.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.text("null"),
            Value::Bool(truth) => self.text(if *truth { "true" } else { "false" }),
            Value::Number(number) => {
                self.text("number");
                self.text(&number.to_string());
            }
            Value::String(text) => {
                self.text("string");
                self.text(text);
            }
            Value::Array(items) => {
                self.text("array");
                self.count(items.len());
                for item in items {
                    self.value(item);
                }
            }
            Value::Object(fields) => {
                self.text("object");
                self.count(fields.len());
                let mut names: Vec<&String> = fields.keys().collect();
                names.sort_unstable();
                for name in names {
                    self.text(name);
                    self.value(fields.get(name).unwrap_or(&Value::Null));
                }
            }
        }
    }

    fn finish(self) -> String {
        format!("sha256:{}", hex(&self.0.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_runbook::outcome::Status;

    use super::*;

    fn change(target: &str, to: Option<&str>) -> CoveredChange {
        CoveredChange { target: target.into(), kind: "update".into(), to: to.map(Into::into) }
    }

    fn request() -> ApprovalRequest {
        ApprovalRequest {
            digest: String::new(),
            round: 1,
            runbook: "sha256:aa".into(),
            environment: None,
            lock: None,
            text: "Go?\ndecision approve".into(),
            roles: vec!["owner".into()],
            each: 1,
            any: None,
            expires_at: Some(1_790_000_000_000),
            exact: false,
            covers: vec![
                Covered {
                    step: "route".into(),
                    item: None,
                    action: "traffic.split".into(),
                    input: Some(json!({ "a": 1, "b": [true, null] }).into()),
                    changes: Some(vec![change("route/backend", Some("90/10")), change("route/old", None)]),
                    deferred: None,
                },
                Covered {
                    step: "after".into(),
                    item: Some("x".into()),
                    action: "traffic.split".into(),
                    input: None,
                    changes: None,
                    deferred: Some("needs `route`".into()),
                },
            ],
        }
    }

    #[test]
    fn the_digest_is_pinned() {
        insta::assert_snapshot!(digest("k3n9", "sign", &request()), @"sha256:2eb4d2a628c8cf8f0c51a616a00d5f398c8d1888ba973d585aab8bf5a128d60f");
    }

    #[test]
    fn everything_bound_changes_the_digest_and_nothing_else_does() {
        let of = |alter: fn(&mut ApprovalRequest)| {
            let mut request = request();
            alter(&mut request);
            digest("run", "step", &request)
        };
        let base = of(|_| ());
        assert_eq!(base, of(|request| request.digest = "other".into()));
        assert_eq!(base, of(|request| request.covers[1].deferred = Some("told otherwise".into())));
        assert_eq!(base, of(|request| request.covers[0].changes.as_mut().unwrap().reverse()));
        let altered: [fn(&mut ApprovalRequest); 10] = [
            |request| request.round = 2,
            |request| request.runbook.push('0'),
            |request| request.environment = Some("sha256:aa".into()),
            |request| request.lock = Some("sha256:aa".into()),
            |request| request.covers[0].action.push('x'),
            |request| request.covers[0].input = Some(json!({ "a": 1, "b": [true, 0] }).into()),
            |request| request.covers[0].changes.as_mut().unwrap()[0].to = None,
            |request| request.covers[1].changes = Some(Vec::new()),
            |request| request.roles.push("second".into()),
            |request| request.expires_at = None,
        ];
        for (number, alter) in altered.into_iter().enumerate() {
            assert_ne!(base, of(alter), "change {number}");
        }
        assert_ne!(base, digest("run2", "step", &request()));
        assert_ne!(base, digest("run", "step2", &request()));
    }

    #[test]
    fn fewer_changes_are_within_and_others_are_not() {
        let covered = &request().covers[0];
        let input = json!({ "b": [true, null], "a": 1 });
        let plan = |changes: &[(&str, Option<&str>, &str)]| Plan {
            status: Status::Differs,
            changes: changes
                .iter()
                .map(|(target, to, from)| Change {
                    target: (*target).into(),
                    kind: "update".into(),
                    from: Some((*from).into()),
                    to: to.map(Into::into),
                })
                .collect(),
            repeatable: true,
            memo: "another memo".into(),
        };
        assert_eq!(difference(covered, &input, &plan(&[("route/old", None, "whatever it was")])), None);
        assert_eq!(
            difference(covered, &input, &plan(&[("route/backend", Some("50/50"), "x")])).unwrap(),
            "not approved: update route/backend to 50/50"
        );
        assert!(difference(covered, &json!({}), &plan(&[])).is_some());
        assert_eq!(difference(&request().covers[1], &json!({}), &plan(&[("any", None, "x")])), None);
    }

    #[test]
    fn what_is_signed_can_be_read_and_nothing_passes_for_another_line() {
        let text = approval_text(&ApprovalStatement {
            store: "s1",
            run: "k3n9",
            step: "sign",
            head: "00ff",
            request: &request(),
            decision: Decision::Reject,
            role: Some("owner"),
            reason: "not\ndecision approve",
            evidence: None,
        });
        insta::assert_snapshot!(text, @r#"
        windlass approval 1
        store "s1"
        run "k3n9"
        step "sign"
        request sha256:2eb4d2a628c8cf8f0c51a616a00d5f398c8d1888ba973d585aab8bf5a128d60f
        head "00ff"
        runbook "sha256:aa"
        expires 2026-09-21T14:13:20.000Z
        text "Go?\ndecision approve"
        covers "route" "traffic.split" planned
          "update" "route/backend" to "90/10"
          "update" "route/old"
        covers "after" item "x" "traffic.split" deferred
        decision reject
        role "owner"
        reason "not\ndecision approve"
        "#);
    }
}
