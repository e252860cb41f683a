//! Guards, and what shows that the criteria are met.

use std::collections::HashMap;

use super::Checker;
use super::expressions::{Context, Site};
use super::steps::Called;
use crate::diagnostics::Diagnostic;
use crate::document::{BodyDecl, GuardDecl};
use crate::expression::shape::Shape;
use crate::model::{Criterion, Guard, MetBy};
use crate::source::Located;
use crate::suggest;
use crate::wit::ActionKind;

/// Milliseconds that a running effect is given where nothing is said.
const DEFAULT_GRACE: u64 = 5_000;

impl Checker<'_> {
    pub(super) fn check_guards(&mut self) -> Vec<Guard> {
        let document = self.document;
        let mut ids: HashMap<&str, &Located<String>> = HashMap::with_capacity(document.guards.len());
        for guard in &document.guards {
            let step = self.order.index(&guard.id.value).and_then(|step| document.steps.get(step));
            let what = if step.is_some() { "a step and a guard" } else { "two guards" };
            let other = step.map(|step| &step.id).or(ids.insert(&guard.id.value, &guard.id));
            if let Some(other) = other {
                let message = format!("{what} have the id `{}`", guard.id.value);
                let diagnostic =
                    Diagnostic::error("duplicate-id", message).help("give one of them another id");
                self.report.marked(diagnostic, &[(guard.id.span, "again"), (other.span, "first here")]);
            }
        }
        document.guards.iter().filter_map(|decl| self.check_guard(decl)).collect()
    }

    fn check_guard(&mut self, decl: &GuardDecl) -> Option<Guard> {
        let from = decl.from.as_ref().and_then(|name| self.watched(name));
        let until = decl.until.as_ref().and_then(|name| self.watched(name));
        if let (Some(from), Some(until), Some(name)) = (from, until, &decl.until)
            && (from == until || (self.order.precedes(until, from) && !self.order.precedes(from, until)))
        {
            let message = format!("the guard `{}` ends before it begins", decl.id.value);
            let help = Some("`until` names a step that comes after `from`".to_owned());
            self.report.error("wrong-value", name.span, message, help);
        }
        let called = decl.action.as_ref().and_then(|action| self.resolve(action));
        let action = called.as_deref().and_then(Called::action);
        if let (Some(action), Some(text)) = (action, &decl.action)
            && action.kind != ActionKind::Reading
        {
            let message = "a guard asks again and again, so its action may only read";
            let help = format!("`{}` has an effect; ask with one that only reads", action.name);
            self.report.error("guard-writes", text.span, message, Some(help));
        }
        let result = match action {
            Some(action) => action.output.as_ref().map(Shape::of),
            None => Some(Shape::Any),
        };
        let context = Context { stage: Site::Guard { from }, ..Context::default() };
        let call = self.invocation(called.as_deref(), decl.with.as_ref(), decl.span, &context);
        let judging = Context { result, ..context };
        let mut condition =
            |text: &Option<Located<String>>| text.as_ref().and_then(|text| self.condition(text, &judging));
        let (rollback_when, hold_when, fresh_when) =
            (condition(&decl.rollback_when), condition(&decl.hold_when), condition(&decl.fresh_when));
        let every_ms = decl.every_ms?;
        let for_ms = decl.for_ms.unwrap_or_default();
        Some(Guard {
            id: decl.id.value.clone(),
            title: decl.title.clone(),
            call: Box::new(call?),
            every_ms,
            from,
            until,
            rollback_when,
            hold_when,
            fresh_when,
            no_data: decl.no_data?,
            for_ms,
            // A single good sample is too little to go on after a hold.
            clear_for_ms: decl.clear_for_ms.unwrap_or_else(|| for_ms.max(every_ms.saturating_mul(2))),
            grace_ms: decl.grace_ms.unwrap_or(DEFAULT_GRACE),
            interrupt: decl.interrupt,
            past_commit: decl.past_commit,
            timeout_ms: decl.timeout_ms,
            span: decl.span,
        })
    }

    /// The step that a guard begins or ends with.
    fn watched(&mut self, name: &Located<String>) -> Option<usize> {
        let step = self.order.index(&name.value);
        if step.is_none() {
            let near = suggest::nearest(&name.value, self.order.ids());
            let help = near.map(|near| format!("did you mean `{near}`?"));
            let message = format!("there is no step `{}`", name.value);
            self.report.error("unknown-step", name.span, message, help);
        }
        step
    }

    pub(super) fn check_criteria(&mut self) -> Vec<Criterion> {
        let document = self.document;
        let mut criteria = Vec::with_capacity(document.criteria.len());
        for decl in &document.criteria {
            let met_by = decl.met_by.as_ref().and_then(|name| self.met_by(name));
            if let (Some(text), Some(met_by)) = (&decl.text, met_by) {
                criteria.push(Criterion { text: text.clone(), met_by, span: decl.span });
            }
        }
        criteria
    }

    fn met_by(&mut self, name: &Located<String>) -> Option<MetBy> {
        let guards = &self.document.guards;
        if let Some(guard) = guards.iter().position(|guard| guard.id.value == name.value) {
            return Some(MetBy::Guard(guard));
        }
        let Some(step) = self.order.index(&name.value) else {
            let known = self.order.ids().chain(guards.iter().map(|guard| guard.id.value.as_str()));
            let help = suggest::nearest(&name.value, known).map(|near| format!("did you mean `{near}`?"));
            let message = format!("there is no step or guard `{}`", name.value);
            self.report.error("unknown-step", name.span, message, help);
            return None;
        };
        if matches!(self.document.steps.get(step).map(|decl| &decl.body), Some(BodyDecl::Wait(_))) {
            let message = format!("step `{}` only waits, which shows nothing", name.value);
            let help = "name a step that looks, a gate, an approval or a guard".to_owned();
            self.report.error("wrong-criterion", name.span, message, Some(help));
            return None;
        }
        Some(MetBy::Step(step))
    }
}
