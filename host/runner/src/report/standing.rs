//! What beside its steps a run stands at: guards, stages that wait, and what a rollback would take back.

use std::fmt::Write as _;

use serde_json::{Value, json};
use windlass_engine::{Band, Cause, Effect, ParentKind, State};
use windlass_sandbox::plain_text;

use super::Report;
use super::advice::{approval_told, schedule_told};
use super::words::{measured, without_name};
use crate::clock::rfc3339;

/// A guard that has begun to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardRow {
    /// Its path, `guard/ID`.
    pub name: String,
    /// For people.
    pub title: Option<String>,
    /// What its samples say; none before the first.
    pub band: Option<Band>,
    /// `watching` before the first sample, the band, or `ended`.
    pub word: &'static str,
    /// What it saw, and what it did to the run.
    pub detail: String,
}

/// Something that a rollback would take back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The step, with the item's key in brackets.
    pub name: String,
    /// What was changed there.
    pub changes: String,
    /// Whether nobody knows if it was.
    pub unknown: bool,
}

impl Report<'_> {
    /// The guards that have begun to watch.
    #[must_use]
    pub fn guards(&self) -> Vec<GuardRow> {
        self.state.guards().keys().filter_map(|path| self.guard(path)).collect()
    }

    /// A guard by its path.
    #[must_use]
    pub fn guard(&self, path: &str) -> Option<GuardRow> {
        let guard = self.state.guard(path)?;
        let known = self.runbook.and_then(|runbook| {
            runbook.guards.iter().find(|known| path.strip_prefix("guard/") == Some(known.id.as_str()))
        });
        let mut detail = match &guard.failure {
            Some(failure) => failure.to_string(),
            None => measured(&guard.measured),
        };
        if let Some(tripped) = &guard.tripped {
            let gap = if detail.is_empty() { "" } else { "; " };
            // Writing to a string can't fail.
            let _ = write!(
                detail,
                "{gap}tripped at {}: {}",
                rfc3339(tripped.at),
                without_name(&tripped.message, path)
            );
        }
        Some(GuardRow {
            name: path.to_owned(),
            title: known.and_then(|known| known.title.as_deref()).map(plain_text),
            band: guard.band,
            word: match guard.band {
                _ if !guard.is_watching() => "ended",
                Some(band) => band.as_str(),
                None => "watching",
            },
            detail: plain_text(&detail),
        })
    }

    /// What else there is to know before its steps are read: whom it follows, its T, its group, why it went back.
    #[must_use]
    pub fn circumstances(&self) -> Vec<String> {
        let state = self.state;
        let mut lines = Vec::new();
        let Some(created) = state.created() else { return lines };
        if let Some(parent) = &created.parent {
            let what = match parent.kind {
                ParentKind::Rollback => "takes back what is left of run",
                ParentKind::Continue => "goes on with what is left of run",
                ParentKind::Ignore => "leaves as it is what is left of run",
            };
            let reason =
                if parent.reason.is_empty() { String::new() } else { format!(": {}", parent.reason) };
            lines.push(format!("{what} {}{reason}", parent.run));
        }
        if created.t.is_some() {
            lines.push(format!("T is {}", rfc3339(state.t())));
        }
        if let Some(lock) = state.lock() {
            lines.extend(match (&lock.by, lock.fence) {
                (Some(by), _) => {
                    Some(format!("waits for its turn in group {}, which run {by} has", lock.group))
                }
                (None, Some(_)) if state.ended().is_none() => Some(format!("has the group {}", lock.group)),
                _ => None,
            });
        }
        if let Some(rollback) = state.rollback() {
            let started = &rollback.started;
            let by = match started.cause {
                Cause::Operator => format!("because {} wanted it", started.who),
                Cause::Failure | Cause::Guard => format!("because of {}", started.who),
            };
            let overdue = if rollback.overdue { ", longer than the runbook wants" } else { "" };
            let reason = match without_name(&started.reason, &started.who) {
                "" => String::new(),
                reason => format!(": {reason}"),
            };
            lines.push(format!("went back at {} {by}{overdue}{reason}", rfc3339(rollback.at)));
        }
        let ended_by = state.terminated().map(|by| ("terminated", by));
        if let Some((word, by)) = ended_by.or_else(|| state.cancelled().map(|by| ("cancelled", by))) {
            let reason = if by.reason.is_empty() { String::new() } else { format!(": {}", by.reason) };
            lines.push(format!("{word} by {}{reason}", by.who));
        }
        lines.into_iter().map(|line| plain_text(&line)).collect()
    }

    /// What a stage waits for by the clock; none where it does not.
    #[must_use]
    pub fn stage_note(&self, stage: &str) -> Option<String> {
        if self.state.verdict().is_some() || self.state.goes_back() {
            return None;
        }
        schedule_told(self.state, &format!("stage/{stage}"), self.state.last_at())
    }

    /// What a rollback would take back, in the order in which it would begin with it: what began last comes first.
    #[must_use]
    pub fn undo_list(&self) -> Vec<Listed> {
        let mut list: Vec<Listed> = self
            .state
            .undo_list()
            .map(|(step, item, work)| {
                let left = work.attempts.iter().filter(|attempt| attempt.may_have_effect());
                let last = left.clone().next_back();
                let changes: Vec<String> = last
                    .into_iter()
                    .flat_map(|attempt| &attempt.plan.changes)
                    .map(|change| plain_text(&format!("{} {}", change.kind, change.target)))
                    .collect();
                Listed {
                    name: item
                        .map_or_else(|| step.to_owned(), |item| format!("{step}[{}]", plain_text(item))),
                    changes: changes.join(", "),
                    unknown: left
                        .clone()
                        .any(|attempt| !matches!(attempt.effect, Some(Effect::Applied | Effect::Adopted))),
                }
            })
            .collect();
        list.reverse();
        list
    }

    /// Everything that is not a step, for machines.
    pub(super) fn standing_json(&self) -> Value {
        let holds: Vec<Value> = self
            .state
            .holds()
            .iter()
            .map(|held| {
                json!({
                    "reason": held.reason.as_str(), "message": plain_text(&held.message), "step": held.step,
                    "since": rfc3339(held.since),
                })
            })
            .collect();
        let guards: Vec<Value> = self
            .guards()
            .into_iter()
            .map(|guard| {
                json!({
                    "guard": guard.name, "title": guard.title, "band": guard.band, "result": guard.word,
                    "detail": guard.detail,
                })
            })
            .collect();
        let approvals: Vec<Value> = self
            .state
            .approvals()
            .iter()
            .map(|(step, approval)| {
                let request = approval.request.as_ref();
                json!({
                    "step": step, "open": approval.is_open(), "opened": approval.opened,
                    "text": request.map(|request| plain_text(&request.text)),
                    "roles": request.map(|request| &request.roles),
                    "digest": request.map(|request| &request.digest),
                    "until": request.and_then(|request| request.expires_at).map(rfc3339),
                    "detail": approval_told(self.state, step).map(|text| plain_text(&text)),
                })
            })
            .collect();
        let undo: Vec<Value> = self
            .undo_list()
            .into_iter()
            .map(
                |listed| json!({ "step": listed.name, "changes": listed.changes, "unknown": listed.unknown }),
            )
            .collect();
        json!({
            "holds": holds, "guards": guards, "approvals": approvals, "would_be_undone": undo,
            "rollback": rollback_json(self.state),
        })
    }
}

fn rollback_json(state: &State) -> Value {
    let Some(rollback) = state.rollback() else { return Value::Null };
    let started = &rollback.started;
    json!({
        "at": rfc3339(rollback.at), "cause": started.cause.as_str(), "who": plain_text(&started.who),
        "reason": plain_text(&started.reason), "only": started.only, "past_commit": started.past_commit,
        "overdue": rollback.overdue, "finished": rollback.finished,
    })
}
