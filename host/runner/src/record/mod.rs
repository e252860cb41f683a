//! The record of a run as a document to be handed over: Markdown, HTML or JSON.
//!
//! Made from the events alone, with the runbook for titles and criteria: no clock, no store, nothing of this machine, so
//! the same journal always gives the same bytes. Everything in it is text that may come from plugins, services and
//! people; each form escapes it for itself.

mod effects;
mod html;
mod markdown;
mod plot;
mod series;
mod tables;
mod timeline;

use serde::Serialize;
use serde_json::{Map, Value};
use windlass_engine::{ApprovalGiven, Decision, Event, Millis, Phase, Span, State};
use windlass_runbook::model::{MetBy, Runbook};
use windlass_sandbox::plain_text;

use crate::clock::rfc3339;
use crate::recorded::Recorded;
use crate::report::Report;

pub use effects::{ChangeMade, EffectMade};
pub use series::Series;
pub use timeline::Moment;

/// The version of the JSON form.
const VERSION: u32 = 1;

/// Everything that is told about a run.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// The version of this form.
    pub version: u32,
    /// The run's id.
    pub run: String,
    /// `[runbook] name`.
    pub name: String,
    /// For people; the name where there is none.
    pub title: String,
    /// The word for how it stands: the verdict's once there is one.
    pub status: String,
    /// What is left in the world.
    pub world: String,
    /// Why it ended so, in one sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// RFC 3339.
    pub started: String,
    /// Who started it.
    pub started_by: String,
    /// RFC 3339; none while it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// From the start to the end, or to the last event.
    pub took_ms: u64,
    /// The version of windlass that started it.
    pub tool_version: String,
    /// The runbook's file.
    pub runbook: String,
    /// The environment's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The run that this one follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// As given or by default.
    pub inputs: Map<String, Value>,
    /// The sentences of the runbook, and whether they came true.
    pub criteria: Vec<CriterionMet>,
    /// Who was asked, who said what, signed by which key.
    pub approvals: Vec<Approval>,
    /// Every step in the order of the runbook, undos and finally steps included.
    pub steps: Vec<StepRow>,
    /// Every attempt to change something, and every one to take it back.
    pub effects: Vec<EffectMade>,
    /// What gates and guards saw.
    pub samples: Vec<Series>,
    /// What happened, in order.
    pub timeline: Vec<Moment>,
    /// What ran.
    pub plugins: Vec<PluginRow>,
}

/// A sentence of the success criteria.
#[derive(Debug, Clone, Serialize)]
pub struct CriterionMet {
    /// The sentence.
    pub text: String,
    /// The step or guard that it is bound to.
    pub met_by: String,
    /// Whether it came true; none while that is open.
    pub met: Option<bool>,
}

/// An approval that was asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Approval {
    /// The step.
    pub step: String,
    /// The question.
    pub text: String,
    /// When it was asked, RFC 3339.
    pub asked: String,
    /// Who could answer.
    pub roles: Vec<String>,
    /// What is signed.
    pub digest: String,
    /// What it covers: steps with what they change, or `deferred`.
    pub covers: Vec<String>,
    /// The answers.
    pub given: Vec<Word>,
    /// What became of the question where nobody's answer decided it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lapsed: Option<String>,
}

/// A person's answer.
#[derive(Debug, Clone, Serialize)]
pub struct Word {
    /// RFC 3339.
    pub at: String,
    /// Who.
    pub who: String,
    /// In which role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// `approve` or `reject`.
    pub decision: &'static str,
    /// Why.
    pub reason: String,
    /// What was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The fingerprint of the key.
    pub key: String,
    /// The signature in the format of `ssh-keygen -Y`.
    pub signature: String,
}

/// A step or an item of one.
#[derive(Debug, Clone, Serialize)]
pub struct StepRow {
    /// Its path, with the item's key in brackets.
    pub step: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// How it ended, or what it is busy with.
    pub phase: &'static str,
    /// The effect, or the phase where it had none.
    pub result: &'static str,
    /// Once it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// What changed or why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A plugin of the run.
#[derive(Debug, Clone, Serialize)]
pub struct PluginRow {
    /// The name in the runbook.
    pub name: String,
    /// Where it came from.
    pub source: String,
    /// The digest of its bytes.
    pub digest: String,
}

impl Record {
    /// The record of a run. Without its runbook there are no titles, no criteria and no steps that never began.
    /// None for a run without a beginning.
    #[must_use]
    pub fn of(recorded: &Recorded, runbook: Option<&Runbook>) -> Option<Self> {
        let (events, state) = (&recorded.events, &recorded.state);
        let created = state.created()?;
        let report = Report::new(state, runbook);
        let text = |text: &str| plain_text(text);
        Some(Self {
            version: VERSION,
            run: created.run.clone(),
            name: text(&created.name),
            title: text(created.title.as_deref().unwrap_or(&created.name)),
            status: report.status().to_owned(),
            world: state.verdict().map_or_else(|| state.world(), |decided| decided.world).to_string(),
            reason: state.verdict().map(|decided| text(&decided.reason)).unwrap_or_default(),
            started: rfc3339(state.started_at()),
            started_by: text(&created.started_by),
            ended: state.ended().map(|ended| rfc3339(ended.at)),
            took_ms: report.took_ms(),
            tool_version: created.tool_version.clone(),
            runbook: text(&created.runbook.name),
            environment: created.environment.as_ref().map(|environment| text(&environment.name)),
            parent: created.parent.as_ref().map(|parent| parent.run.clone()),
            inputs: created.inputs.clone(),
            criteria: runbook.map(|runbook| criteria(runbook, state, events)).unwrap_or_default(),
            approvals: approvals(events),
            steps: steps(&report),
            effects: effects::of(events),
            samples: series::of(events),
            timeline: timeline::of(events),
            plugins: created
                .plugins
                .iter()
                .map(|(name, plugin)| PluginRow {
                    name: name.clone(),
                    source: text(&plugin.source),
                    digest: plugin.digest.clone(),
                })
                .collect(),
        })
    }

    /// As one JSON document.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// As Markdown, in the dialect of GitHub.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::write(self)
    }

    /// As one HTML page that needs nothing beside itself: no script, no style sheet, no picture.
    #[must_use]
    pub fn html(&self) -> String {
        html::write(self)
    }

    /// What stands at the top, name and value.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts =
            vec![("run", self.run.clone()), ("verdict", self.status.clone()), ("world", self.world.clone())];
        if !self.reason.is_empty() {
            facts.push(("because", self.reason.clone()));
        }
        facts.push(("started", format!("{} by {}", self.started, self.started_by)));
        if let Some(ended) = &self.ended {
            facts.push(("ended", format!("{ended}, after {}", Span(self.took_ms))));
        }
        facts.push(("runbook", self.runbook.clone()));
        facts.extend(self.environment.iter().map(|name| ("environment", name.clone())));
        facts.extend(self.parent.iter().map(|run| ("follows run", run.clone())));
        for (name, value) in &self.inputs {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            facts.push(("input", format!("{name} = {}", plain_text(&value))));
        }
        facts
    }
}

/// The word for a criterion.
const fn met_word(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "not met",
        None => "open",
    }
}

fn criteria(runbook: &Runbook, state: &State, events: &[(Millis, Event)]) -> Vec<CriterionMet> {
    let decided = state.verdict().is_some();
    let of = |met_by: &MetBy| -> (String, Option<bool>) {
        match met_by {
            MetBy::Step(index) => {
                let id = runbook.steps.get(*index).map_or("", |step| step.id.as_str());
                let phase = state.step(id).map_or(Phase::Pending, |step| step.work.phase);
                let met = match phase {
                    Phase::Succeeded => Some(true),
                    Phase::Failed | Phase::Skipped => Some(false),
                    _ => decided.then_some(false),
                };
                (id.to_owned(), met)
            }
            MetBy::Guard(index) => {
                let path = runbook.guards.get(*index).map(|guard| format!("guard/{}", guard.id));
                let path = path.unwrap_or_default();
                let tripped = events
                    .iter()
                    .any(|(_, event)| matches!(event, Event::GuardTripped { guard, .. } if **guard == *path));
                (path, if tripped { Some(false) } else { decided.then_some(true) })
            }
        }
    };
    let met = |criterion: &windlass_runbook::model::Criterion| {
        let (met_by, met) = of(&criterion.met_by);
        CriterionMet { text: plain_text(&criterion.text), met_by, met }
    };
    runbook.criteria.iter().map(met).collect()
}

fn approvals(events: &[(Millis, Event)]) -> Vec<Approval> {
    let mut asked: Vec<Approval> = Vec::new();
    for (at, event) in events {
        match event {
            Event::ApprovalRequested { step, request } => {
                let covers = request.covers.iter().map(timeline::covered).collect();
                asked.push(Approval {
                    step: step.to_string(),
                    text: plain_text(&request.text),
                    asked: rfc3339(*at),
                    roles: request.roles.iter().map(|role| plain_text(role)).collect(),
                    digest: request.digest.clone(),
                    covers,
                    given: Vec::new(),
                    lapsed: None,
                });
            }
            Event::ApprovalGiven(given) => {
                if let Some(approval) = last(&mut asked, &given.step) {
                    approval.given.push(word(*at, given));
                }
            }
            Event::ApprovalVoided { step, difference, .. } => {
                if let Some(approval) = last(&mut asked, step) {
                    approval.lapsed = Some(format!("void: {}", plain_text(difference)));
                }
            }
            Event::ApprovalExpired { step } => {
                if let Some(approval) = last(&mut asked, step) {
                    approval.lapsed = Some("expired".to_owned());
                }
            }
            _ => (),
        }
    }
    asked
}

/// The latest question of a step.
fn last<'a>(asked: &'a mut [Approval], step: &str) -> Option<&'a mut Approval> {
    asked.iter_mut().rev().find(|approval| approval.step == step)
}

fn word(at: Millis, given: &ApprovalGiven) -> Word {
    Word {
        at: rfc3339(at),
        who: plain_text(&given.who),
        role: given.role.as_deref().map(plain_text),
        decision: match given.decision {
            Decision::Approve => "approve",
            Decision::Reject => "reject",
        },
        reason: plain_text(&given.reason),
        evidence: given.evidence.as_deref().map(plain_text),
        key: plain_text(&given.key),
        signature: given.signature.clone(),
    }
}

fn steps(report: &Report<'_>) -> Vec<StepRow> {
    report
        .all_rows()
        .into_iter()
        .map(|row| StepRow {
            step: row.name,
            title: row.title,
            stage: row.stage,
            phase: row.phase.as_str(),
            result: row.word,
            took_ms: row.took_ms,
            detail: row.detail,
        })
        .collect()
}

#[cfg(test)]
mod tests;
