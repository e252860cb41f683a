//! What a story came to, held against what it expects.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use windlass_engine::{Phase, Span, Work};
use windlass_runbook::{Diagnostic, Diagnostics, SourceFile};

use super::drive::{Played, names};
use super::read::{Story, millis};

/// So many of the last events are shown with what was not as expected.
const SHOWN: usize = 12;

struct Judge<'a> {
    source: &'a Arc<SourceFile>,
    played: &'a Played,
    wrong: Diagnostics,
}

/// Everything that is not as expected, each where it is expected.
pub(super) fn compare(story: &Story<'_>, played: &Played, source: &Arc<SourceFile>) -> Diagnostics {
    let mut judge = Judge { source, played, wrong: Diagnostics::default() };
    let expect = story.expect;
    let outcome = played.outcome();
    match &expect.verdict {
        Some(verdict) if *verdict.get_ref() != outcome => {
            judge.wrong(verdict.span(), format!("the run {}", told(&outcome)), Some(judge.why()));
        }
        None if outcome != "succeeded" => {
            let message = format!("the run {}, and the story does not expect that", told(&outcome));
            judge.wrong(story.span.clone(), message, Some(judge.why()));
        }
        _ => (),
    }
    if let Some(world) = &expect.world {
        let found = played.state.world();
        if world.get_ref() != found.as_str() {
            judge.wrong(world.span(), format!("the world is {found}"), None);
        }
    }
    for (path, word) in &expect.steps {
        judge.step(path, word);
    }
    judge.events(&expect.events);
    for line in &expect.not {
        judge.not(line);
    }
    if let Some(within) = &expect.within
        && played.ended - played.began > millis(within)
    {
        judge.wrong(within.span(), format!("it took {}", Span(played.took_ms())), None);
    }
    if let Some(expected) = &expect.finally_failed {
        let failed = played.state.ended().is_some_and(|ended| ended.finally_failed);
        if failed != *expected.get_ref() {
            let message = if failed { "a finally step failed" } else { "no finally step failed" };
            judge.wrong(expected.span(), message, None);
        }
    }
    judge.wrong
}

fn told(outcome: &str) -> String {
    match outcome {
        "held" => "is held".to_owned(),
        "waiting" => "waits".to_owned(),
        "endless" => "goes on and on".to_owned(),
        verdict => format!("ended: {verdict}"),
    }
}

/// The words that a step may be expected to be: its phase and, once it is over, its effect.
fn words_of(work: &Work) -> Vec<&'static str> {
    let effect = matches!(work.phase, Phase::Succeeded | Phase::Failed).then(|| work.effect.as_str());
    std::iter::once(work.phase.as_str()).chain(effect).collect()
}

impl Judge<'_> {
    fn wrong(&mut self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        let diagnostic = Diagnostic::error("not-as-expected", message)
            .at(self.source, span, "expected here")
            .maybe_help(help);
        self.wrong.push(diagnostic);
    }

    /// What explains an end: failures, holds, what people asked in vain, and the last events.
    fn why(&self) -> String {
        let state = &self.played.state;
        let mut lines: Vec<String> = state
            .works()
            .filter_map(|(path, item, work)| {
                let place = item.map_or_else(|| path.to_owned(), |item| format!("{path}[{item}]"));
                Some(format!("`{place}` failed: {}", work.failure.as_ref()?))
            })
            .collect();
        lines.extend(state.holds().iter().map(|held| format!("held for {}: {}", held.reason, held.message)));
        lines.extend(self.played.refused.iter().map(|message| format!("refused: {message}")));
        let from = self.played.lines.len().saturating_sub(SHOWN);
        lines.push("the last events:".to_owned());
        lines.extend(self.played.lines.iter().skip(from).map(|(at, line)| self.timed(*at, line)));
        lines.join("\n")
    }

    fn timed(&self, at: i64, line: &str) -> String {
        let after = u64::try_from(at - self.played.began).unwrap_or_default();
        format!("  {:>10}  {line}", Span(after).to_string())
    }

    fn step(&mut self, path: &str, word: &Spanned<String>) {
        let found = match self.played.state.step(path) {
            None => vec!["pending"],
            Some(step) => words_of(&step.work),
        };
        if !found.contains(&word.get_ref().as_str()) {
            let failure = self.played.state.step(path).and_then(|step| step.work.failure.as_ref());
            let help = failure.map(|failure| format!("it failed: {failure}"));
            self.wrong(word.span(), format!("`{path}` is {}", found.join(", ")), help);
        }
    }

    /// In their order, with anything between.
    fn events(&mut self, expected: &[Spanned<String>]) {
        let mut from = 0;
        for line in expected {
            let rest = self.played.lines.get(from..).unwrap_or_default();
            match rest.iter().position(|(_, found)| names(line.get_ref(), found)) {
                Some(at) => from += at + 1,
                None => {
                    let earlier = self.played.lines.iter().any(|(_, found)| names(line.get_ref(), found));
                    let message = if earlier {
                        "it happened, but before what stands above it"
                    } else {
                        "it did not happen"
                    };
                    let why = self.why();
                    return self.wrong(line.span(), message, Some(why));
                }
            }
        }
    }

    fn not(&mut self, line: &Spanned<String>) {
        let found = self.played.lines.iter().find(|(_, found)| names(line.get_ref(), found));
        if let Some((at, found)) = found {
            let help = self.timed(*at, found);
            self.wrong(line.span(), "it happened", Some(help));
        }
    }
}
