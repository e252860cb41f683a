//! The record of a run: what happened, step by step, for people and as Markdown.
//!
//! Made from the state alone, so the same journal always gives the same record. The runbook, where it is at hand, adds
//! titles, stages and the steps that have not begun.

mod advice;
mod standing;
#[cfg(test)]
mod tests_of_safety;
mod words;

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use windlass_engine::{Millis, Phase, Span, State, Work};
use windlass_runbook::model::{Runbook, Step};
use windlass_sandbox::plain_text;

use crate::clock::rfc3339;

pub use standing::{GuardRow, Listed};
pub(crate) use words::without_name;
pub use words::{compared, detail, is_stopped, measured, times, word};

/// A run, ready to be printed.
pub struct Report<'a> {
    state: &'a State,
    runbook: Option<&'a Runbook>,
    interrupted: bool,
    now: Option<Millis>,
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
        Self { state, runbook, interrupted: false, now: None }
    }

    /// Tells whether any process drives the run now. One that is neither held nor over and has none was interrupted.
    #[must_use]
    pub fn driven(mut self, driven: bool) -> Self {
        self.interrupted = !driven && self.state.ended().is_none() && self.state.holds().is_empty();
        self
    }

    /// Tells what time it is, for a run that nobody drives: what was to happen by then is over, though no event says so.
    #[must_use]
    pub const fn at(mut self, now: Millis) -> Self {
        self.now = Some(now);
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

    /// As [`rows`](Self::rows), with every item.
    #[must_use]
    pub fn all_rows(&self) -> Vec<Row> {
        self.rows_with_items(usize::MAX)
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
                self.push_rollback(&mut rows, runbook, most);
                for step in &runbook.finally {
                    let path = format!("finally/{}", step.id);
                    self.push(&mut rows, &path, Some(step), Some("Finally".to_owned()), most);
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

    /// What took steps back, the last step first, and the rollback steps. Nothing of it stands in a run that only went
    /// forward.
    fn push_rollback(&self, rows: &mut Vec<Row>, runbook: &Runbook, most: usize) {
        let stage = || Some("Rollback".to_owned());
        let undos = runbook.steps.iter().rev().map(|step| (format!("undo/{}", step.id), step));
        let extra = runbook.rollback.iter().map(|extra| (format!("rollback/{}", extra.step.id), &extra.step));
        for (path, step) in undos.chain(extra) {
            if self.state.step(&path).is_some() {
                self.push(rows, &path, Some(step), stage(), most);
            }
        }
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
        rows.push(self.row(path, None, &state.work, title, stage.clone()));
        let Some(items) = &state.items else { return };
        // What someone has to look at comes before what went well, wherever it stands in the list.
        let mut shown: Vec<usize> = (0..items.len()).collect();
        shown.sort_by_key(|&index| items.get_index(index).is_none_or(|(_, item)| !needs_a_look(&item.work)));
        shown.truncate(most);
        shown.sort_unstable();
        for (key, item) in shown.into_iter().filter_map(|index| items.get_index(index)) {
            rows.push(self.row(path, Some(key), &item.work, None, stage.clone()));
        }
        if items.len() > most {
            rows.push(Row {
                stage,
                name: format!("{path}[…]"),
                title: None,
                phase: state.work.phase,
                word: "",
                took_ms: None,
                detail: Some(format!("and {} more items", items.len() - most)),
                depth: 1,
            });
        }
    }

    fn row(
        &self,
        path: &str,
        item: Option<&str>,
        work: &Work,
        title: Option<String>,
        stage: Option<String>,
    ) -> Row {
        let took = match (work.started_at, work.ended_at) {
            (Some(start), Some(end)) => u64::try_from(end - start).ok(),
            _ => None,
        };
        let stopped = is_stopped(self.state, path, work.phase);
        Row {
            stage,
            name: item.map_or_else(|| path.to_owned(), |item| format!("{path}[{}]", plain_text(item))),
            title,
            phase: work.phase,
            word: if stopped { "stopped" } else { word(path, work) },
            took_ms: took,
            detail: if stopped { None } else { detail(self.state, path, item) },
            depth: usize::from(item.is_some()),
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
            .all_rows()
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
            "standing": self.standing_json(),
            "next": self.next_steps(),
        })
    }
}

/// Whether it is neither over and well nor still ahead.
const fn needs_a_look(work: &Work) -> bool {
    !matches!(work.phase, Phase::Succeeded | Phase::Skipped | Phase::Pending)
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

/// The record of a run as finally steps see it.
pub(crate) fn for_finally(state: &State, runbook: &Arc<Runbook>) -> String {
    Report::new(state, Some(runbook)).markdown()
}

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_engine::{Effect, Event, PinnedPlugin, PinnedText, RunCreated, StepFailure, Verdict, World};

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
