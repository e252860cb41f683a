//! `[baseline]`: values that are taken once, to compare with later.

use indexmap::IndexMap;

use super::Checker;
use super::expressions::{Context, Place, Site, Tested};
use crate::expression::shape::Shape;
use crate::expression::{Expression, Reference};
use crate::suggest;

/// What expressions need to know of a baseline.
pub(crate) struct BaselineFacts {
    /// What it is; `Any` where its own expression is wrong.
    shape: Shape,
    /// The steps that it is taken from.
    steps: Vec<usize>,
}

impl Checker<'_> {
    /// Checks the baselines. The steps must have been gathered.
    pub(super) fn check_baselines(&mut self) -> IndexMap<String, Expression> {
        let document = self.document;
        let context = Context { stage: Site::Baseline, ..Context::default() };
        let mut baselines = IndexMap::new();
        for (name, text) in &document.baselines {
            let checked = self.expression(text, &context);
            let steps = checked.iter().flat_map(|(expression, _)| expression.references());
            let steps = steps.filter_map(|reference| self.order.index(reference.step()?)).collect();
            let (expression, shape) = checked.unzip();
            self.baselines
                .insert(name.value.clone(), BaselineFacts { shape: shape.unwrap_or(Shape::Any), steps });
            baselines.extend(expression.map(|expression| (name.value.clone(), expression)));
        }
        baselines
    }

    /// What `baseline.NAME` is, where it is there for certain or its presence is tested.
    pub(super) fn baseline_reference(
        &mut self,
        name: &str,
        reference: &Reference,
        expression: &Expression,
        place: Place,
        context: &Context,
    ) -> Option<Shape> {
        if matches!(context.stage, Site::Config | Site::Baseline) {
            let message = "a baseline is there in steps and guards only".to_owned();
            return self.wrong_reference("unknown-name", place, reference, message, None);
        }
        let Some(facts) = self.baselines.get(name) else {
            let help = suggest::help(name, self.baselines.keys().map(String::as_str))
                .or_else(|| Some(format!("declare it: `[baseline]` `{name} = \"steps.ID.output.FIELD\"`")));
            let message = format!("there is no baseline `{name}`");
            return self.wrong_reference("unknown-baseline", place, reference, message, help);
        };
        let shape = facts.shape.clone();
        let early = facts.steps.iter().copied().find(|step| !self.is_done(*step, context.stage));
        // Without a baseline, a guard has no data, and says itself what that does.
        let Some(step) =
            early.filter(|_| !reference.presence && !matches!(context.stage, Site::Guard { .. }))
        else {
            return Some(shape);
        };
        let tests = |tested: &Tested| *tested == Tested::Baseline(name.to_owned());
        if super::expressions::tests_of(expression).iter().chain(&context.tested).any(tests) {
            return Some(shape);
        }
        let id = self.document.steps.get(step).map(|decl| decl.id.value.as_str()).unwrap_or_default();
        let message = format!("the baseline `{name}` may not be known here: it is taken from step `{id}`");
        let help = match context.stage {
            Site::Step(_) | Site::Undo(_) => {
                format!("let step `{id}` come before this one, or test it first: `has(baseline.{name})`")
            }
            _ => format!("test it first: `has(baseline.{name})`"),
        };
        self.wrong_reference("not-finished", place, reference, message, Some(help))
    }

    /// Whether a step is certain to be done where an expression stands.
    pub(super) fn is_done(&self, step: usize, site: Site) -> bool {
        match site {
            Site::Step(here) => self.order.precedes(step, here),
            Site::Undo(here) => step == here || self.order.precedes(step, here),
            Site::Guard { from } => from.is_some_and(|from| step == from || self.order.precedes(step, from)),
            Site::Config | Site::Baseline | Site::Rollback | Site::Finally => false,
        }
    }
}
