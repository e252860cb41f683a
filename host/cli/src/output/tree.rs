//! A run as a live tree: a header and a line for each step, drawn again in place; below them what guards see, and what
//! to type where the run waits for a person.
//!
//! The picture is a pure function of what the tree was told and the time, so it is tested without a terminal.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use windlass_engine::{Band, Event, Hold, Millis, Phase, Span, State};
use windlass_runbook::model::Runbook;
use windlass_runner::Clock;
use windlass_runner::report::{Report, compared, detail, is_stopped, word};
use windlass_runner::watch::{Look, Sample, Watcher};
use windlass_sandbox::plain_text;

use super::Style;
use super::lines::{guard_told, place, stays};

/// How often the picture is drawn again while nothing happens, so that times go on.
const REDRAW: Duration = Duration::from_millis(100);

/// Steps of the same stage, with what they are at.
pub(crate) struct Tree {
    header: String,
    clock: Clock,
    style: Style,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    rows: IndexMap<String, Line>,
    /// The guards that watch, or have done something to the run, by path.
    guards: IndexMap<String, GuardLine>,
    /// What stages wait for, by name.
    stages: IndexMap<String, String>,
    started: Option<Millis>,
    run: String,
    status: &'static str,
    /// What to type, while the run waits for a person.
    advice: Vec<String>,
    refused: Vec<String>,
    /// Lines on the screen that the next drawing replaces.
    drawn: usize,
    over: bool,
}

/// A step on the screen.
#[derive(Debug, Clone)]
struct Line {
    stage: Option<String>,
    name: String,
    phase: Phase,
    word: &'static str,
    started: Option<Millis>,
    took: Option<u64>,
    detail: String,
    /// What the call says of itself, or the gate of its last sample.
    note: String,
}

/// A guard on the screen.
#[derive(Debug, Clone)]
struct GuardLine {
    band: Option<Band>,
    told: String,
}

impl Tree {
    /// A tree with a line for each step of the runbook, as far as the run has come.
    pub(crate) fn new(runbook: &Runbook, state: &State, clock: Clock, style: Style) -> Arc<Self> {
        let header = plain_text(runbook.title.as_deref().unwrap_or(&runbook.name));
        let rows = Report::new(state, Some(runbook))
            .rows()
            .into_iter()
            .filter(|row| row.depth == 0)
            .map(|row| {
                let line = Line::new(&row.name, row.stage);
                (row.name, line)
            })
            .collect();
        let tree = Self { header, clock, style, inner: Mutex::new(Inner { rows, ..Inner::default() }) };
        for step in state.steps().keys() {
            tree.update(step, None, state);
        }
        for guard in state.guards().keys() {
            tree.update_guard(guard, state);
        }
        tree.stand(state);
        Arc::new(tree)
    }

    /// Draws until [`end`](Self::end).
    pub(crate) fn animate(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        let tree = Arc::clone(self);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(REDRAW);
            loop {
                ticks.tick().await;
                if tree.inner().over {
                    return;
                }
                tree.draw();
            }
        })
    }

    /// Draws a last time and leaves the picture standing. What to type is told below it by whoever ends it.
    pub(crate) fn end(&self) {
        self.inner().advice.clear();
        self.draw();
        self.inner().over = true;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self) {
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        let (width, height) =
            size.map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        let mut inner = self.inner();
        let lines = self.picture(&inner, self.clock.now(), width.max(20), height.max(6) - 1);
        let mut frame = String::new();
        if inner.drawn > 0 {
            let _ = write!(frame, "\u{1b}[{}A", inner.drawn);
        }
        frame.push_str("\r\u{1b}[J");
        for line in &lines {
            frame.push_str(line);
            frame.push('\n');
        }
        inner.drawn = lines.len();
        let mut out = std::io::stdout().lock();
        // A terminal that went away must not stop a release.
        let _gone = out.write_all(frame.as_bytes()).and_then(|()| out.flush());
    }

    fn picture(&self, inner: &Inner, now: Millis, width: usize, height: usize) -> Vec<String> {
        let style = self.style;
        let since = inner.started.map_or(0, |started| u64::try_from(now - started).unwrap_or(0));
        let done = inner.rows.values().filter(|line| line.phase.is_over()).count();
        let mut so_far = format!("{} · {done}/{} · {}", inner.run, inner.rows.len(), rounded(since));
        if !matches!(inner.status, "" | "running") {
            let _ = write!(so_far, " · {}", inner.status);
        }
        let header = shortened(&self.header, width.saturating_sub(so_far.chars().count() + 1));
        let mut lines = vec![format!("{} {}", style.bold(&header), style.dim(&shortened(&so_far, width)))];
        let footer = self.footer(inner, width, height / 2);
        // What is over and what is far ahead gives way first when the screen is small.
        let room = height.saturating_sub(1 + footer.len());
        let mut body = Vec::new();
        let mut focus = 0;
        let mut stage = None;
        for line in inner.rows.values() {
            if line.stage != stage {
                if let Some(name) = &line.stage {
                    let note = inner.stages.get(name).map(|note| format!(": {note}")).unwrap_or_default();
                    body.push(style.bold(&shortened(&format!("{name}{note}"), width)));
                }
                stage.clone_from(&line.stage);
            }
            body.push(self.line(line, now, width));
            if line.phase != Phase::Pending {
                focus = body.len();
            }
        }
        let hidden_behind = body.len().saturating_sub(room);
        let first = focus.saturating_sub(room.saturating_sub(2)).min(hidden_behind);
        lines.extend(body.into_iter().skip(first).take(room));
        lines.extend(footer);
        lines
    }

    /// What stands below the steps, in so many lines at the most; what a person has to do is the last to give way.
    fn footer(&self, inner: &Inner, width: usize, most: usize) -> Vec<String> {
        let told = inner.advice.iter().chain(&inner.refused).map(|line| shortened(line, width));
        let told: Vec<String> = told.take(most).collect();
        let guards = inner.guards.values().map(|guard| {
            let told = shortened(&guard.told, width.saturating_sub(2));
            format!("{} {}", self.style.band(guard.band), self.style.dim(&told))
        });
        guards.take(most - told.len()).chain(told.iter().cloned()).collect()
    }

    fn line(&self, line: &Line, now: Millis, width: usize) -> String {
        let style = self.style;
        let time = match (line.took, line.started) {
            (Some(took), _) => Span(took).to_string(),
            (None, Some(started)) if !line.phase.is_over() => {
                rounded(u64::try_from(now - started).unwrap_or(0))
            }
            _ => String::new(),
        };
        let what = if line.phase.is_over() || line.note.is_empty() { &line.detail } else { &line.note };
        let indent = if line.stage.is_some() { "  " } else { "" };
        // A line that wraps would break the picture: the name gives way first, then what is said of the step.
        let fixed = indent.len() + 2 + 1 + 10 + 1 + 8 + 2;
        let name_width = width.saturating_sub(fixed).clamp(4, 30);
        let name = shortened(&line.name, name_width);
        let what = shortened(what, width.saturating_sub(fixed + name_width));
        let name = format!("{name:<name_width$}");
        let name = if line.phase == Phase::Pending { style.dim(&name) } else { name };
        let text = format!(
            "{indent}{} {name} {:<10} {time:>8}  {}",
            style.sign(line.phase),
            line.word,
            style.dim(&what)
        );
        text.trim_end().to_owned()
    }

    fn update(&self, step: &str, item: Option<&str>, state: &State) {
        let mut inner = self.inner();
        let Some(step_state) = state.step(step) else { return };
        let Some(line) = inner.row(step) else { return };
        let work = &step_state.work;
        if let Some(items) = &step_state.items
            && item.is_some()
        {
            // Counting all items for each event of ten thousand of them would cost more than the steps.
            if items.len() <= 200 {
                let done = items.values().filter(|item| item.work.phase.is_over()).count();
                line.note = format!("{done} of {} items", items.len());
            }
            return;
        }
        line.phase = work.phase;
        line.started = work.started_at;
        line.took = match (work.started_at, work.ended_at) {
            (Some(started), Some(ended)) if work.phase.is_over() => u64::try_from(ended - started).ok(),
            _ => None,
        };
        line.word = word(step, work);
        line.detail = detail(state, step, None).unwrap_or_default().replace(['\n', '\r'], " ");
        if work.phase.is_over() {
            line.note.clear();
        }
    }

    fn update_guard(&self, path: &str, state: &State) {
        let mut inner = self.inner();
        let Some(guard) = Report::new(state, None).guard(path) else { return };
        let tripped = state.guard(path).is_some_and(|guard| guard.tripped.is_some());
        if guard.word == "ended" && !tripped {
            inner.guards.shift_remove(path);
            return;
        }
        let gap = if guard.detail.is_empty() { "" } else { ", " };
        let told = format!("{path}: {}{gap}{}", guard.word, guard.detail);
        inner.guards.insert(path.to_owned(), GuardLine { band: guard.band, told });
    }

    /// Takes in how the run as a whole stands.
    fn stand(&self, state: &State) {
        let advice = Report::new(state, None).next_steps();
        let mut inner = self.inner();
        if state.goes_back() || state.verdict().is_some() {
            inner.stages.clear();
            for (path, line) in &mut inner.rows {
                if is_stopped(state, path, line.phase) {
                    line.stop();
                }
            }
        }
        inner.status = state.status();
        inner.advice = advice;
    }
}

impl Inner {
    /// A step has begun, so its stage waits no longer.
    fn has_begun(&mut self, path: &str) {
        if !self.stages.is_empty()
            && let Some(stage) = self.rows.get(path).and_then(|line| line.stage.as_ref())
        {
            self.stages.shift_remove(stage);
        }
    }

    /// The line of a step. Those of a rollback are made as they come, before those of the end.
    fn row(&mut self, path: &str) -> Option<&mut Line> {
        if !self.rows.contains_key(path) && (path.starts_with("undo/") || path.starts_with("rollback/")) {
            let finally = self.rows.keys().position(|path| path.starts_with("finally/"));
            let line = Line::new(path, Some("Rollback".to_owned()));
            self.rows.shift_insert(finally.unwrap_or(self.rows.len()), path.to_owned(), line);
        }
        self.rows.get_mut(path)
    }
}

impl Line {
    fn new(name: &str, stage: Option<String>) -> Self {
        Self {
            stage,
            name: name.to_owned(),
            phase: Phase::Pending,
            word: "",
            started: None,
            took: None,
            detail: String::new(),
            note: String::new(),
        }
    }

    /// It has begun, and won't go on.
    fn stop(&mut self) {
        *self = Self { word: "stopped", ..Self::new(&self.name, self.stage.take()) };
    }
}

/// Whether an approval step is over: nobody is asked any more.
fn is_of_approval(event: &Event, state: &State) -> bool {
    matches!(event, Event::StepSucceeded { step, .. } | Event::StepFailed { step, .. } if state.approval(step).is_some())
}

/// Whether an event can change what a person has to do. Looking for that costs a walk over the steps.
const fn asks_for_a_look(event: &Event) -> bool {
    matches!(
        event,
        Event::RunHeld { .. }
            | Event::RunReleased { .. }
            | Event::QuestionAsked { .. }
            | Event::OperatorAnswered { .. }
            | Event::StepRestarted { .. }
            | Event::ApprovalRequested { .. }
            | Event::ApprovalGiven(_)
            | Event::ApprovalVoided { .. }
            | Event::ApprovalExpired { .. }
            | Event::RollbackStarted(_)
            | Event::RollbackFinished
            | Event::CancelRequested { .. }
            | Event::VerdictDecided { .. }
            | Event::RunEnded { .. }
    )
}

impl Watcher for Tree {
    fn event(&self, at: Millis, event: &Event, state: &State) {
        {
            let mut inner = self.inner();
            inner.started.get_or_insert(at);
            if let Some(created) = state.created() {
                inner.run.clone_from(&created.run);
            }
        }
        match event {
            Event::Scheduled { step, .. } => {
                if let Some(stage) = step.strip_prefix("stage/")
                    && let Some(note) = Report::new(state, None).stage_note(stage)
                {
                    self.inner().stages.insert(stage.to_owned(), note);
                }
            }
            Event::StepStarted { step, .. } => self.inner().has_begun(step),
            _ => (),
        }
        if let Some((path, item)) = event.place() {
            if path.starts_with("guard/") {
                self.update_guard(path, state);
            } else {
                self.update(path, item.map(|item| &**item), state);
            }
        }
        if asks_for_a_look(event) || is_of_approval(event, state) {
            self.stand(state);
        } else {
            self.inner().status = state.status();
        }
    }

    fn sample(&self, sample: &Sample<'_>) {
        let open = if sample.open {
            format!("true {}/{}", Span(sample.open_ms), Span(sample.hold_ms))
        } else {
            "not yet".to_owned()
        };
        let seen = compared(sample.measured, sample.compared, "wanted");
        if let Some(line) = self.inner().rows.get_mut(sample.step) {
            line.note = format!("{open}, {seen}");
        }
    }

    fn look(&self, look: &Look<'_>) {
        let line = GuardLine { band: Some(look.band), told: guard_told(look) };
        self.inner().guards.insert(look.guard.to_owned(), line);
    }

    fn waiting(&self, _reasons: &[Hold], state: &State) {
        self.stand(state);
        self.inner().advice.extend(stays(state));
    }

    fn progress(&self, step: &str, item: Option<&str>, done: u64, total: Option<u64>, note: &str) {
        if let Some(line) = self.inner().rows.get_mut(step) {
            let of = total.map(|total| format!("/{total}")).unwrap_or_default();
            line.note = format!("{done}{of} {note}");
            if item.is_some() {
                line.note = format!("{}: {}", place(step, item), line.note);
            }
        }
    }

    fn refused(&self, message: &str) {
        self.inner().refused.push(message.to_owned());
    }
}

/// A time that still runs, to the tenth of a second.
fn rounded(ms: u64) -> String {
    if ms < 60_000 {
        format!("{}.{}s", ms / 1000, ms % 1000 / 100)
    } else {
        Span(ms / 1000 * 1000).to_string()
    }
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    // A lone mark says nothing.
    if width < 2 {
        return String::new();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}
