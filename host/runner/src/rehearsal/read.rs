//! From a file's text to stories that can be played, or everything that is wrong with it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value};
use toml::Spanned;
use windlass_engine::{Event, Millis, default_t};
use windlass_runbook::inputs::resolve_inputs;
use windlass_runbook::model::{Invocation, Runbook, StepBody};
use windlass_runbook::units::parse_duration;
use windlass_runbook::{Diagnostic, Diagnostics, SourceFile, coerce};

use super::script::{Case, Expect, Fail, File, Script, Then};
use crate::project::Project;

/// When a story begins that does not say: a Monday, at ten.
const BEGINS: &str = "2026-01-05T10:00:00Z";

/// What people and fate can do.
pub(super) const ACTS: [&str; 17] = [
    "approve",
    "reject",
    "pause",
    "resume",
    "cancel",
    "terminate",
    "rollback",
    "retry",
    "skip",
    "done",
    "applied",
    "not-applied",
    "restore",
    "leave",
    "interrupt",
    "crash",
    "clock",
];
/// The failures that have a word.
pub(super) const FAILURES: [&str; 6] = ["refused", "busy", "lost-reply", "timeout", "denied", "trap"];
/// What a plan can say.
pub(super) const STATUSES: [&str; 5] = ["differs", "in-place", "in-progress", "conflict", "unknown"];

/// A story that can be played.
pub(super) struct Story<'f> {
    pub(super) name: String,
    pub(super) inputs: Map<String, Value>,
    pub(super) begins: Millis,
    pub(super) t: Option<Millis>,
    pub(super) started_by: String,
    /// By path: `ID`, `undo/ID`, `guard/ID`, `finally/ID`, `rollback/ID`.
    pub(super) scripts: HashMap<String, Script>,
    pub(super) then: &'f [Spanned<Then>],
    pub(super) expect: &'f Expect,
    pub(super) span: Range<usize>,
}

/// The file as it stands there.
pub(super) fn parse(source: &Arc<SourceFile>) -> Result<File, Diagnostics> {
    toml::from_str::<File>(&source.text).map_err(|error| {
        let mut diagnostics = Diagnostics::default();
        let message = error.message().trim().to_owned();
        let diagnostic = Diagnostic::error("test-file", message);
        diagnostics.push(match error.span() {
            Some(span) => diagnostic.at(source, span, ""),
            None => diagnostic,
        });
        diagnostics
    })
}

/// Milliseconds of a duration that `understand` has looked at.
pub(super) fn millis(text: &Spanned<String>) -> Millis {
    parse_duration(text.get_ref()).ok().and_then(|ms| Millis::try_from(ms).ok()).unwrap_or_default()
}

struct Reader<'a> {
    source: &'a Arc<SourceFile>,
    runbook: &'a Runbook,
    diagnostics: Diagnostics,
}

/// The stories of a file, its names and values checked against the runbook.
pub(super) fn understand<'f>(
    file: &'f File,
    source: &Arc<SourceFile>,
    project: &Project,
) -> Result<Vec<Story<'f>>, Diagnostics> {
    let mut reader = Reader { source, runbook: &project.runbook, diagnostics: Diagnostics::default() };
    if file.case.is_empty() {
        let message = "the file has no `[[case]]`";
        reader
            .diagnostics
            .push(Diagnostic::error("test-file", message).help("write a story: `[[case]]` with a name"));
    }
    let stories = file.case.iter().filter_map(|case| reader.story(case, &file.test.inputs)).collect();
    if reader.diagnostics.has_errors() { Err(reader.diagnostics) } else { Ok(stories) }
}

impl Reader<'_> {
    fn wrong(&mut self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        let diagnostic = Diagnostic::error("test-file", message).at(self.source, span, "").maybe_help(help);
        self.diagnostics.push(diagnostic);
    }

    fn one_of(&mut self, word: &Spanned<String>, what: &str, known: &[&str]) {
        if !known.contains(&word.get_ref().as_str()) {
            let message = format!("`{}` is no {what}", word.get_ref());
            self.wrong(word.span(), message, Some(format!("there are {}", known.join(", "))));
        }
    }

    fn duration(&mut self, text: Option<&Spanned<String>>) {
        if let Some(text) = text
            && let Err(message) = parse_duration(text.get_ref())
        {
            self.wrong(text.span(), message, None);
        }
    }

    fn time(&mut self, text: &Spanned<String>) -> Option<Millis> {
        match text.get_ref().parse::<jiff::Timestamp>() {
            Ok(time) => Some(time.as_millisecond()),
            Err(_) => {
                let help = format!("write a time as `{BEGINS}`");
                self.wrong(text.span(), format!("`{}` is no time", text.get_ref()), Some(help));
                None
            }
        }
    }

    fn story<'f>(&mut self, case: &'f Case, shared: &BTreeMap<String, Value>) -> Option<Story<'f>> {
        let span = case.name.span();
        let inputs = self.inputs(case, shared)?;
        let begins = match &case.at {
            Some(at) => self.time(at)?,
            None => BEGINS.parse::<jiff::Timestamp>().map(|time| time.as_millisecond()).unwrap_or_default(),
        };
        let t = match &case.t {
            Some(t) => Some(self.time(t)?),
            None => default_t(self.runbook, begins),
        };
        let mut scripts = HashMap::new();
        for (name, script) in &case.step {
            self.step(name, script, &mut scripts);
        }
        for (name, script) in &case.guard {
            self.guard(name, script, &mut scripts);
        }
        for then in &case.then {
            self.then(then);
        }
        self.expect(&case.expect);
        Some(Story {
            name: case.name.get_ref().clone(),
            inputs,
            begins,
            t,
            started_by: case.started_by.clone().unwrap_or_else(|| "operator".to_owned()),
            scripts,
            then: &case.then,
            expect: &case.expect,
            span,
        })
    }

    fn inputs(&mut self, case: &Case, shared: &BTreeMap<String, Value>) -> Option<Map<String, Value>> {
        let mut given: BTreeMap<&String, &Value> = shared.iter().collect();
        given.extend(&case.inputs);
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let given: Vec<(String, String)> =
            given.into_iter().map(|(name, value)| (name.clone(), text(value))).collect();
        match resolve_inputs(self.runbook, &given) {
            Ok(inputs) => Some(inputs),
            Err(found) => {
                for problem in &found {
                    self.wrong(case.name.span(), problem.message.clone(), problem.help.clone());
                }
                None
            }
        }
    }

    fn known_paths(&self) -> Vec<String> {
        let runbook = self.runbook;
        let main = runbook.steps.iter().map(|step| step.id.clone());
        let finally = runbook.finally.iter().map(|step| format!("finally/{}", step.id));
        let rollback = runbook.rollback.iter().map(|rollback| format!("rollback/{}", rollback.step.id));
        main.chain(finally).chain(rollback).collect()
    }

    fn call_of(&self, path: &str) -> Option<&Invocation> {
        let runbook = self.runbook;
        let step = match path.split_once('/') {
            Some(("finally", id)) => runbook.finally.iter().find(|step| step.id == id),
            Some(("rollback", id)) => runbook.rollback.iter().map(|r| &r.step).find(|step| step.id == id),
            _ => runbook.steps.iter().find(|step| step.id == path),
        };
        match &step?.body {
            StepBody::Call(invocation) => Some(invocation),
            StepBody::Wait { .. } | StepBody::Approve(_) => None,
        }
    }

    fn step(&mut self, name: &str, script: &Spanned<Script>, scripts: &mut HashMap<String, Script>) {
        if !self.known_paths().iter().any(|known| known == name) {
            let known = self.known_paths();
            let help = format!("the runbook has {}", known.join(", "));
            return self.wrong(script.span(), format!("the runbook has no step `{name}`"), Some(help));
        }
        let Some(invocation) = self.call_of(name).cloned() else {
            let message = format!("step `{name}` calls nothing, so there is nothing to say about its calls");
            return self.wrong(
                script.span(),
                message,
                Some("people approve with `[[case.then]]`".to_owned()),
            );
        };
        let mut script = self.scripted(script.get_ref(), &invocation, script.span());
        if let Some(undo) = script.undo.take() {
            let undo = self.scripted(&undo, &invocation, 0..0);
            scripts.insert(format!("undo/{name}"), undo);
        }
        scripts.insert(name.to_owned(), script);
    }

    fn guard(&mut self, name: &str, script: &Spanned<Script>, scripts: &mut HashMap<String, Script>) {
        let Some(guard) = self.runbook.guards.iter().find(|guard| guard.id == name) else {
            let known: Vec<&str> = self.runbook.guards.iter().map(|guard| guard.id.as_str()).collect();
            let help = (!known.is_empty()).then(|| format!("the runbook has {}", known.join(", ")));
            return self.wrong(script.span(), format!("the runbook has no guard `{name}`"), help);
        };
        let script = self.scripted(script.get_ref(), &guard.call.clone(), script.span());
        scripts.insert(format!("guard/{name}"), script);
    }

    /// The script with its results in normal form.
    fn scripted(&mut self, script: &Script, call: &Invocation, span: Range<usize>) -> Script {
        let mut script = script.clone();
        self.duration(script.takes.as_ref());
        if let Some(plan) = &script.plan {
            self.one_of(plan, "status of a plan", &STATUSES);
        }
        if let Some(fail) = &script.fail {
            self.fail(fail);
        }
        for value in &mut script.values {
            self.duration(Some(&value.after));
            if let Some(fail) = &value.fail {
                self.fail(fail);
            }
            value.result = value.result.take().map(|result| self.typed(result, call, span.clone()));
        }
        script.result = script.result.take().map(|result| self.typed(result, call, span.clone()));
        let results = std::mem::take(&mut script.results);
        script.results = results.into_iter().map(|result| self.typed(result, call, span.clone())).collect();
        let items = std::mem::take(&mut script.items);
        script.items =
            items.into_iter().map(|(key, item)| (key, self.scripted(&item, call, span.clone()))).collect();
        script
    }

    fn fail(&mut self, fail: &Spanned<Fail>) {
        match fail.get_ref() {
            Fail::Word(word) => self.one_of(&Spanned::new(fail.span(), word.clone()), "failure", &FAILURES),
            Fail::Said(said) => {
                let effect = said.effect.clone().unwrap_or_else(|| "none".to_owned());
                self.one_of(&Spanned::new(fail.span(), effect), "effect", &["none", "unknown", "applied"]);
            }
        }
    }

    /// A result may leave fields out; those that are there have the action's types.
    fn typed(&mut self, result: Value, call: &Invocation, span: Range<usize>) -> Value {
        let Some(ty) = &call.output_type else {
            if !result.is_null() {
                self.wrong(span, format!("`{}` returns nothing", call.action), None);
            }
            return Value::Null;
        };
        let mut whole = super::made_up::whole(ty);
        super::made_up::merge(&mut whole, result);
        match coerce::coerce(whole.clone(), ty) {
            Ok(value) => value,
            Err(mismatch) => {
                self.wrong(span, format!("`{}` does not return this: {mismatch}", call.action), None);
                whole
            }
        }
    }

    fn then(&mut self, then: &Spanned<Then>) {
        let then = then.get_ref();
        self.one_of(&then.act, "thing to do", &ACTS);
        self.duration(then.after.as_ref());
        if let Some(by) = &then.by {
            let positive = by.get_ref().strip_prefix('-').unwrap_or(by.get_ref()).to_owned();
            self.duration(Some(&Spanned::new(by.span(), positive)));
        }
        if let Some(on) = &then.on {
            self.event(on);
        }
        let needs_step =
            ["approve", "reject", "retry", "skip", "done", "applied", "not-applied", "restore", "leave"];
        match &then.step {
            None if needs_step.contains(&then.act.get_ref().as_str()) => {
                let message = format!("`{}` wants a `step`", then.act.get_ref());
                self.wrong(then.act.span(), message, None);
            }
            Some(step) => self.path(step),
            None => (),
        }
    }

    fn path(&mut self, path: &Spanned<String>) {
        let name = path.get_ref().strip_prefix("undo/").unwrap_or(path.get_ref()).to_owned();
        let known = self.known_paths();
        if !known.contains(&name) {
            let help = format!("the runbook has {}", known.join(", "));
            self.wrong(path.span(), format!("the runbook has no step `{name}`"), Some(help));
        }
    }

    fn event(&mut self, line: &Spanned<String>) {
        let kind = line.get_ref().split_whitespace().next().unwrap_or_default();
        if !Event::KINDS.contains(&kind) {
            let help = format!("an event is its kind and words of it: {}", Event::KINDS.join(", "));
            self.wrong(line.span(), format!("there is no event `{kind}`"), Some(help));
        }
    }

    fn expect(&mut self, expect: &Expect) {
        if let Some(verdict) = &expect.verdict {
            let known = ["succeeded", "partial", "rolled_back", "cancelled", "failed", "held", "waiting"];
            self.one_of(verdict, "verdict", &known);
        }
        if let Some(world) = &expect.world {
            self.one_of(world, "world", &["untouched", "changed", "restored", "mixed", "unknown"]);
        }
        self.duration(expect.within.as_ref());
        for (step, word) in &expect.steps {
            self.path(&Spanned::new(word.span(), step.clone()));
        }
        for line in expect.events.iter().chain(&expect.not) {
            self.event(line);
        }
    }
}
