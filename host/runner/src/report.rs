//! The record of a run: what happened, step by step, for people and as Markdown.
//!
//! Made from the state alone, so the same journal always gives the same record. The runbook, where it is at hand, adds
//! titles, stages and the steps that have not begun.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use windlass_engine::{Effect, Hold, Phase, SkipReason, Span, State, Work};
use windlass_runbook::model::{Runbook, Step};
use windlass_sandbox::plain_text;

use crate::clock::rfc3339;

/// A run, ready to be printed.
pub struct Report<'a> {
    state: &'a State,
    runbook: Option<&'a Runbook>,
    interrupted: bool,
}

/// One line of the record.
pub struct Row {
    /// The stage, where the runbook has stages.
    pub stage: Option<String>,
    /// The step's path, with the item's key behind it in brackets.
    pub name: String,
    /// For people.
    pub title: Option<String>,
    /// What it is busy with or how it ended.
    pub phase: Phase,
    /// The status or effect in one word.
    pub word: &'static str,
    /// Milliseconds, once it is over.
    pub took_ms: Option<u64>,
    /// What changed, why it failed, what it waits for.
    pub detail: Option<String>,
    /// 0 for a step, 1 for an item of it.
    pub depth: usize,
}

/// More items than this are told by their number.
const ITEMS_SHOWN: usize = 20;

impl<'a> Report<'a> {
    /// The record of a run whose runbook is at hand.
    #[must_use]
    pub const fn new(state: &'a State, runbook: Option<&'a Runbook>) -> Self {
        Self { state, runbook, interrupted: false }
    }

    /// Tells whether any process drives the run now. One that is neither held nor over and has none was interrupted.
    #[must_use]
    pub fn driven(mut self, driven: bool) -> Self {
        self.interrupted = !driven && self.state.ended().is_none() && self.state.holds().is_empty();
        self
    }

    /// The word for how it stands.
    #[must_use]
    pub fn status(&self) -> &'static str {
        if self.interrupted { "interrupted" } else { self.state.status() }
    }

    /// Every step in the order of the runbook, its items below it.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.rows_with_items(ITEMS_SHOWN)
    }

    /// As [`rows`](Self::rows), with at most so many items of each step.
    fn rows_with_items(&self, most: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        match self.runbook {
            Some(runbook) => {
                for step in &runbook.steps {
                    let stage = step.stage.and_then(|stage| runbook.stages.get(stage));
                    self.push(&mut rows, &step.id, Some(step), stage.map(|stage| stage.name.clone()), most);
                }
                for step in &runbook.finally {
                    self.push(
                        &mut rows,
                        &format!("finally/{}", step.id),
                        Some(step),
                        Some("Finally".to_owned()),
                        most,
                    );
                }
            }
            None => {
                for path in self.state.steps().keys() {
                    self.push(&mut rows, path, None, None, most);
                }
            }
        }
        rows
    }

    fn push(&self, rows: &mut Vec<Row>, path: &str, step: Option<&Step>, stage: Option<String>, most: usize) {
        let title = step.and_then(|step| step.title.as_deref()).map(plain_text);
        let Some(state) = self.state.step(path) else {
            rows.push(Row {
                stage,
                name: path.to_owned(),
                title,
                phase: Phase::Pending,
                word: Phase::Pending.as_str(),
                took_ms: None,
                detail: None,
                depth: 0,
            });
            return;
        };
        rows.push(row(path.to_owned(), &state.work, title, stage.clone(), 0));
        let Some(items) = &state.items else { return };
        // What someone has to look at comes before what went well, wherever it stands in the list.
        let mut shown: Vec<usize> = (0..items.len()).collect();
        shown.sort_by_key(|&index| items.get_index(index).is_none_or(|(_, item)| !needs_a_look(&item.work)));
        shown.truncate(most);
        shown.sort_unstable();
        for (key, item) in shown.into_iter().filter_map(|index| items.get_index(index)) {
            rows.push(row(format!("{path}[{}]", plain_text(key)), &item.work, None, stage.clone(), 1));
        }
        if items.len() > most {
            let mut rest = row(format!("{path}[…]"), &Work::default(), None, stage, 1);
            rest.detail = Some(format!("and {} more items", items.len() - most));
            rest.phase = state.work.phase;
            rest.word = "";
            rows.push(rest);
        }
    }

    /// How it stands, in one line: the word, and what is left in the world.
    #[must_use]
    pub fn headline(&self) -> String {
        let world = self.state.verdict().map_or_else(|| self.state.world(), |decided| decided.world);
        let mut line = format!("{}, the world is {world}", self.status());
        if self.state.ended().is_some_and(|ended| ended.finally_failed) {
            line.push_str("; a finally step failed");
        }
        line
    }

    /// From the start to the end, or to the last event.
    #[must_use]
    pub fn took_ms(&self) -> u64 {
        let end = self.state.ended().map_or_else(|| self.state.last_at(), |ended| ended.at);
        u64::try_from(end - self.state.started_at()).unwrap_or(0)
    }

    /// What a held run waits for, and what to type.
    #[must_use]
    pub fn next_steps(&self) -> Vec<String> {
        if self.state.ended().is_some() {
            return Vec::new();
        }
        let run = self.state.created().map_or("RUN", |created| created.run.as_str());
        let mut lines = Vec::new();
        if self.interrupted {
            lines.push(format!("its process ended in the middle; to go on: windlass resume {run}"));
        }
        for (step, item, question) in self.state.questions() {
            let item = item.map(|item| format!(" --item {}", quoted(item))).unwrap_or_default();
            lines.push(format!("`{step}` asks: {}", plain_text(&question.message)));
            lines.push(format!(
                "  it took effect:   windlass resume {run} --step {step}{item} --applied --reason '…'"
            ));
            lines.push(format!(
                "  it did not:       windlass resume {run} --step {step}{item} --not-applied --reason '…'"
            ));
        }
        for held in self.state.holds() {
            let what = match held.reason {
                Hold::Failure => format!("to try the failed step again: windlass resume {run}"),
                Hold::Operator => format!("to go on: windlass resume {run}"),
                Hold::Identity => format!(
                    "{}; put the connection right, then: windlass resume {run}",
                    if held.message.is_empty() { "a connection leads elsewhere" } else { &held.message }
                ),
                Hold::Unknown => continue,
                Hold::Guard | Hold::Late | Hold::Window => held.message.clone(),
            };
            if !lines.contains(&what) {
                lines.push(what);
            }
        }
        lines
    }

    /// The whole record as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let Some(created) = self.state.created() else { return text };
        // Writing to a string can't fail.
        let _ = self.write_markdown(created, &mut text);
        text
    }

    fn write_markdown(&self, created: &windlass_engine::RunCreated, text: &mut String) -> std::fmt::Result {
        writeln!(text, "# {}\n", created.title.as_deref().unwrap_or(&created.name))?;
        let result = match self.state.verdict() {
            Some(decided) => format!("{}; the world is {}", decided.verdict, decided.world),
            None => self.headline(),
        };
        writeln!(text, "| | |\n| --- | --- |")?;
        writeln!(text, "| run | `{}` |", created.run)?;
        writeln!(text, "| result | {result} |")?;
        writeln!(
            text,
            "| started | {} by {} |",
            rfc3339(self.state.started_at()),
            cell(&created.started_by)
        )?;
        writeln!(text, "| runbook | {} |", cell(&created.runbook.name))?;
        if let Some(environment) = &created.environment {
            writeln!(text, "| environment | {} |", cell(&environment.name))?;
        }
        for (name, value) in &created.inputs {
            writeln!(text, "| input `{name}` | {} |", cell(&plain(value)))?;
        }
        let mut stage = None;
        let mut table = false;
        for row in self.rows() {
            if row.stage != stage || !table {
                match &row.stage {
                    Some(name) => writeln!(text, "\n## {name}\n")?,
                    None => writeln!(text, "\n## Steps\n")?,
                }
                writeln!(text, "| step | result | took | |\n| --- | --- | --- | --- |")?;
                stage.clone_from(&row.stage);
                table = true;
            }
            let took = row.took_ms.map(|ms| Span(ms).to_string()).unwrap_or_default();
            let name = row
                .title
                .as_deref()
                .map_or_else(|| row.name.clone(), |title| format!("{title} (`{}`)", row.name));
            let detail = row.detail.as_deref().unwrap_or_default();
            writeln!(text, "| {} | {} | {took} | {} |", cell(&name), row.word, cell(detail))?;
        }
        writeln!(text, "\n## Plugins\n\n| name | source | digest |\n| --- | --- | --- |")?;
        for (name, plugin) in &created.plugins {
            writeln!(text, "| {name} | {} | `{}` |", cell(&plugin.source), plugin.digest)?;
        }
        Ok(())
    }

    /// The whole record as one JSON document.
    #[must_use]
    pub fn json(&self) -> Value {
        let created = self.state.created();
        let rows: Vec<Value> = self
            .rows_with_items(usize::MAX)
            .into_iter()
            .map(|row| {
                json!({
                    "step": row.name, "title": row.title, "stage": row.stage, "phase": row.phase.as_str(),
                    "result": row.word, "took_ms": row.took_ms, "detail": row.detail,
                })
            })
            .collect();
        json!({
            "version": 1,
            "run": created.map(|created| &created.run),
            "name": created.map(|created| &created.name),
            "title": created.and_then(|created| created.title.as_ref()),
            "status": self.status(),
            "world": self.state.verdict().map_or_else(|| self.state.world(), |decided| decided.world).as_str(),
            "started": rfc3339(self.state.started_at()),
            "started_by": created.map(|created| &created.started_by),
            "took_ms": self.took_ms(),
            "runbook": created.map(|created| &created.runbook.name),
            "environment": created.and_then(|created| created.environment.as_ref()).map(|text| &text.name),
            "inputs": created.map(|created| &created.inputs),
            "plugins": created.map(|created| &created.plugins),
            "steps": rows,
            "next": self.next_steps(),
        })
    }
}

/// Whether it is neither over and well nor still ahead.
const fn needs_a_look(work: &Work) -> bool {
    !matches!(work.phase, Phase::Succeeded | Phase::Skipped | Phase::Pending)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn row(name: String, work: &Work, title: Option<String>, stage: Option<String>, depth: usize) -> Row {
    let took = match (work.started_at, work.ended_at) {
        (Some(start), Some(end)) => u64::try_from(end - start).ok(),
        _ => None,
    };
    Row {
        stage,
        name,
        title,
        phase: work.phase,
        word: word(work),
        took_ms: took,
        detail: detail(work),
        depth,
    }
}

/// The effect where there is one, else the phase.
fn word(work: &Work) -> &'static str {
    match (work.phase, work.effect) {
        (Phase::Succeeded, effect) if effect != Effect::None => effect.as_str(),
        (phase, _) => phase.as_str(),
    }
}

/// What changed, why it failed, what it waits for, fit to be shown: much of it is a plugin's text.
#[must_use]
pub fn detail(work: &Work) -> Option<String> {
    told(work).map(|text| plain_text(&text))
}

fn told(work: &Work) -> Option<String> {
    if let Some(failure) = &work.failure {
        return Some(failure.to_string());
    }
    if let Some(question) = &work.question {
        return Some(question.message.clone());
    }
    if let Some((reason, because)) = &work.skipped {
        return Some(match (reason, because) {
            (SkipReason::When, Some(when)) => format!("its `when` was false: {when}"),
            (SkipReason::Upstream, Some(step)) => format!("it needs the output of `{step}`, which has none"),
            (SkipReason::Operator, Some(why)) => format!("skipped by a person: {why}"),
            (SkipReason::NoUndo, _) => "its action has no undo".to_owned(),
            (SkipReason::NotNeeded, _) => "there is nothing to take back".to_owned(),
            (reason, None) => reason.as_str().to_owned(),
        });
    }
    if let (Phase::Retrying, Some(failure)) = (work.phase, &work.last_failure) {
        return Some(format!("failed {}, trying again: {failure}", times(work.tries)));
    }
    if let Some(gate) = work.gate.as_ref().filter(|_| !work.phase.is_over()) {
        return Some(format!(
            "{} samples, the gate is {}",
            gate.samples,
            if gate.open { "open" } else { "closed" }
        ));
    }
    let plan = &work.attempts.last()?.plan;
    let first = plan.changes.first()?;
    let more = plan.changes.len() - 1;
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("{} {}{more}", first.kind, first.target))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Text that can't break out of a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// `once`, `twice` or `N times`.
#[must_use]
pub fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

/// The record of a run as finally steps see it.
pub(crate) fn for_finally(state: &State, runbook: &Arc<Runbook>) -> String {
    Report::new(state, Some(runbook)).markdown()
}

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_engine::{Event, PinnedPlugin, PinnedText, RunCreated, StepFailure, Verdict, World};

    fn state() -> State {
        let plugin = PinnedPlugin {
            source: "builtin:http".to_owned(),
            digest: "sha256:ab".to_owned(),
            ..Default::default()
        };
        let created = RunCreated {
            run: "k3n9q2h7m4wz".to_owned(),
            name: "release".to_owned(),
            title: Some("Release the backend".to_owned()),
            runbook: PinnedText { name: "release.toml".to_owned(), ..Default::default() },
            inputs: [("version".to_owned(), json!("v1.2.3"))].into_iter().collect(),
            plugins: [("api".to_owned(), plugin)].into_iter().collect(),
            started_by: "ana | ops".to_owned(),
            ..RunCreated::default()
        };
        let started = |step: &str| Event::StepStarted {
            step: step.into(),
            item: None,
            generation: 1,
            call: None,
            writes: false,
            gate: false,
            input: None,
        };
        let succeeded =
            Event::StepSucceeded { step: "healthy".into(), item: None, effect: Effect::None, output: None };
        let failed = Event::StepFailed {
            step: "announce".into(),
            item: None,
            effect: Effect::None,
            failure: StepFailure::Conflict { message: "someone\nelse | wrote it".to_owned() },
        };
        let verdict = Event::VerdictDecided {
            verdict: Verdict::Partial,
            world: World::Untouched,
            reason: String::new(),
        };
        let ended = Event::RunEnded { verdict: Verdict::Partial, finally_failed: false };
        let events = [
            (0, Event::RunCreated(Box::new(created))),
            (10, started("healthy")),
            (1_260, succeeded),
            (1_260, started("announce")),
            (1_300, failed),
            (1_300, verdict),
            (1_310, ended),
        ];
        State::replay(events.iter().map(|(at, event)| (event, *at)))
    }

    #[test]
    fn the_record_reads_well_and_nothing_breaks_its_tables() {
        insta::assert_snapshot!(Report::new(&state(), None).markdown());
    }

    #[test]
    fn the_same_state_gives_the_same_record() {
        assert_eq!(Report::new(&state(), None).json(), Report::new(&state(), None).json());
        insta::assert_json_snapshot!(Report::new(&state(), None).json());
    }
}
