//! A run as a live tree: a header and a line for each step, drawn again in place.
//!
//! The picture is a pure function of what the tree was told and the time, so it is tested without a terminal.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use windlass_engine::{Event, Millis, Phase, Span, State};
use windlass_runbook::model::Runbook;
use windlass_runner::Clock;
use windlass_runner::report::Report;
use windlass_runner::watch::{Sample, Watcher};
use windlass_sandbox::plain_text;

use super::Style;
use super::lines::place;

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
    started: Option<Millis>,
    run: String,
    footer: Vec<String>,
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

impl Tree {
    /// A tree with a line for each step of the runbook, as far as the run has come.
    pub(crate) fn new(runbook: &Runbook, state: &State, clock: Clock, style: Style) -> Arc<Self> {
        let header = plain_text(runbook.title.as_deref().unwrap_or(&runbook.name));
        let rows = Report::new(state, Some(runbook))
            .rows()
            .into_iter()
            .filter(|row| row.depth == 0)
            .map(|row| {
                let line = Line {
                    stage: row.stage,
                    name: row.name.clone(),
                    phase: Phase::Pending,
                    word: "",
                    started: None,
                    took: None,
                    detail: String::new(),
                    note: String::new(),
                };
                (row.name, line)
            })
            .collect();
        let tree = Self { header, clock, style, inner: Mutex::new(Inner { rows, ..Inner::default() }) };
        for step in state.steps().keys() {
            tree.update(step, None, state);
        }
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

    /// Draws a last time and leaves the picture standing.
    pub(crate) fn end(&self) {
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
        let so_far = format!("{} · {done}/{} · {}", inner.run, inner.rows.len(), rounded(since));
        let header = shortened(&self.header, width.saturating_sub(so_far.chars().count() + 1));
        let mut lines = vec![format!("{} {}", style.bold(&header), style.dim(&shortened(&so_far, width)))];
        let footer = inner.footer.len();
        // What is over and what is far ahead gives way first when the screen is small.
        let room = height.saturating_sub(1 + footer);
        let mut body = Vec::new();
        let mut focus = 0;
        let mut stage = None;
        for line in inner.rows.values() {
            if line.stage != stage {
                if let Some(name) = &line.stage {
                    body.push(style.bold(&shortened(name, width)));
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
        lines.extend(inner.footer.iter().cloned());
        lines
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
        let Some(line) = inner.rows.get_mut(step) else { return };
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
        line.word = match work.effect {
            windlass_engine::Effect::None => work.phase.as_str(),
            effect if work.phase == Phase::Succeeded => effect.as_str(),
            _ => work.phase.as_str(),
        };
        line.detail = windlass_runner::report::detail(work).unwrap_or_default().replace(['\n', '\r'], " ");
        if work.phase.is_over() {
            line.note.clear();
        }
    }
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
        if let Some((step, item)) = event.place() {
            self.update(step, item.map(|item| &**item), state);
        }
    }

    fn sample(&self, sample: &Sample<'_>) {
        let measured: Vec<String> = sample
            .measured
            .iter()
            .filter_map(|measured| Some(format!("{} = {}", measured.name, measured.value.as_ref()?)))
            .collect();
        let open = if sample.open {
            format!("true {}/{}", Span(sample.open_ms), Span(sample.hold_ms))
        } else {
            "not yet".to_owned()
        };
        if let Some(line) = self.inner().rows.get_mut(sample.step) {
            line.note = format!("{open}, {}", measured.join(", "));
        }
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
        self.inner().footer.push(message.to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_engine::{Effect, PinnedText, RunCreated, SkipReason, StepFailure};
    use windlass_runbook::catalog::{Catalog, CatalogError, GrantFacts, GrantProblem, PluginUse};
    use windlass_runbook::{SourceFile, check, parse};

    struct NoPlugins;

    impl Catalog for NoPlugins {
        fn signature(&self, _: &PluginUse) -> Result<Arc<windlass_runbook::wit::Signature>, CatalogError> {
            Err(CatalogError { message: "none here".to_owned(), help: None })
        }
        fn check_grant(&self, _: &str) -> Result<GrantFacts, GrantProblem> {
            Ok(GrantFacts::default())
        }
    }

    fn runbook() -> Runbook {
        let text = "[runbook]\nname = \"release\"\ntitle = \"Release the backend\"\n\
            [[stage]]\nname = \"Before\"\n[[stage.step]]\nid = \"rest\"\nwait = \"1s\"\n\
            [[stage.step]]\nid = \"look\"\nwait = \"1s\"\n\
            [[stage]]\nname = \"After\"\n[[stage.step]]\nid = \"settle\"\nwait = \"5m\"\n";
        let (document, _) = parse(SourceFile::new("release.toml", text), None);
        let (runbook, diagnostics) = check(&document.unwrap(), &NoPlugins);
        runbook.unwrap_or_else(|| panic!("{diagnostics}"))
    }

    fn started(step: &str) -> Event {
        Event::StepStarted {
            step: step.into(),
            item: None,
            generation: 1,
            call: None,
            writes: false,
            gate: false,
            input: None,
        }
    }

    fn picture(events: &[(Millis, Event)], now: Millis, height: usize) -> String {
        picture_of(events, now, 80, height)
    }

    fn picture_of(events: &[(Millis, Event)], now: Millis, width: usize, height: usize) -> String {
        let runbook = runbook();
        let mut state = State::default();
        let tree = Tree::new(&runbook, &state, Clock::starting(0), Style { color: false });
        let created = RunCreated {
            run: "k3n9q2h7m4wz".to_owned(),
            runbook: PinnedText::default(),
            ..RunCreated::default()
        };
        for (at, event) in [(0, Event::RunCreated(Box::new(created)))].iter().chain(events) {
            state.fold(event, *at);
            tree.event(*at, event, &state);
        }
        let inner = tree.inner();
        tree.picture(&inner, now, width, height).join("\n")
    }

    fn events() -> Vec<(Millis, Event)> {
        let done =
            Event::StepSucceeded { step: "rest".into(), item: None, effect: Effect::None, output: None };
        let failure = StepFailure::Conflict { message: "the zone was edited by hand".to_owned() };
        let failed = Event::StepFailed { step: "look".into(), item: None, effect: Effect::None, failure };
        vec![
            (100, started("rest")),
            (1_100, done),
            (1_100, started("look")),
            (2_350, failed),
            (
                2_350,
                Event::StepSkipped {
                    step: "settle".into(),
                    item: None,
                    who: None,
                    reason: SkipReason::Upstream,
                    because: Some("look".to_owned()),
                },
            ),
        ]
    }

    #[test]
    fn the_tree_shows_what_each_step_is_at() {
        insta::assert_snapshot!(picture(&events(), 3_000, 24));
    }

    #[test]
    fn a_step_under_way_has_its_time_running() {
        insta::assert_snapshot!(picture(&events()[..3], 1_900, 24));
    }

    #[test]
    fn no_line_is_wider_than_a_narrow_terminal() {
        for width in [30, 40, 60] {
            let picture = picture_of(&events(), 3_000, width, 24);
            assert!(picture.lines().all(|line| line.chars().count() <= width), "{width}:\n{picture}");
        }
    }

    #[test]
    fn a_small_screen_shows_where_the_run_is() {
        insta::assert_snapshot!(picture(&events()[..3], 1_900, 4));
    }
}
