//! Expressions against what the runbook declares: every path exists, is there in time, and fits its operator.

use std::sync::Arc;

use serde_json::Value;

use super::Checker;
use super::inference::Inference;
use crate::document::StepDecl;
use crate::expression::shape::Shape;
use crate::expression::{Body, Expression, ExpressionIssue, Reference, Root, Segment};
use crate::node::offset_in_string;
use crate::source::{Located, Span};
use crate::suggest;
use crate::wit::Record;

/// The words of a step's status.
pub(crate) const STATUS: [&str; 5] = ["pending", "running", "succeeded", "failed", "skipped"];

/// What an expression may see besides inputs and vars.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context {
    /// Where it stands.
    pub(crate) stage: Site,
    /// The item of the fan-out around it.
    pub(crate) item: Option<Shape>,
    /// The result it judges.
    pub(crate) result: Option<Shape>,
    /// What the step's `when` tests of other steps.
    pub(crate) tested: Vec<Tested>,
}

/// What a condition looks at before something else is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tested {
    /// A step's status. One that was taken as done has no output, though it succeeded.
    Status(String),
    /// The presence of a step's output, or its effect.
    Output(String),
    /// The presence of a baseline.
    Baseline(String),
}

/// Why a step that is done may have no output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    Skipped,
    Failed,
    Accepted,
    Unreached,
    Early,
}

impl Doubt {
    const fn reason(self) -> &'static str {
        match self {
            Self::Skipped => "its `when` may skip it",
            Self::Failed => "it may fail, and the run continues",
            Self::Accepted => "with `on_unknown = \"accept\"` it may be taken as done without one",
            Self::Unreached => "the run may end before it",
            Self::Early => "the guard may look before the step is done",
        }
    }

    fn help(self, id: &str, site: Site) -> String {
        let test = match self {
            Self::Accepted => format!("has(steps.{id}.output)"),
            _ => format!("steps.{id}.status == 'succeeded'"),
        };
        match site {
            // Neither has a `when`.
            Site::Guard { .. } | Site::Baseline => format!("test it in the expression: `{test} ? … : …`"),
            _ => format!("test it first: `when = \"{test}\"`, or in the expression itself: `{test} ? … : …`"),
        }
    }
}

/// What an expression tests of steps and baselines.
pub(crate) fn tests_of(expression: &Expression) -> Vec<Tested> {
    let tested = |reference: &Reference| match &reference.root {
        Root::StepEffect(id) => Some(Tested::Output(id.clone())),
        Root::StepStatus(id) | Root::StepOutput(id) if reference.presence => Some(Tested::Output(id.clone())),
        Root::StepStatus(id) => Some(Tested::Status(id.clone())),
        Root::Baseline(name) if reference.presence => Some(Tested::Baseline(name.clone())),
        _ => None,
    };
    expression.references().iter().filter_map(tested).collect()
}

/// Where an expression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Site {
    /// In a plugin's configuration, before any step.
    #[default]
    Config,
    /// In a step, by index.
    Step(usize),
    /// In the undo that a step names, by the step's index: resolved when the step is done.
    Undo(usize),
    /// In a guard, which watches after a step or from the start.
    Guard { from: Option<usize> },
    /// In a baseline.
    Baseline,
    /// In a rollback step.
    Rollback,
    /// In a finally step.
    Finally,
}

/// A string of the TOML that an expression is in, and the byte of its value where the expression begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) string: Span,
    pub(crate) base: usize,
}

impl Checker<'_> {
    /// Compiles a bare expression and checks it; `None` where it was reported.
    pub(crate) fn expression(
        &mut self,
        text: &Located<String>,
        context: &Context,
    ) -> Option<(Expression, Shape)> {
        self.expression_at(&text.value, Place { string: text.span, base: 0 }, context)
    }

    /// The same, which must be a truth.
    pub(crate) fn condition(&mut self, text: &Located<String>, context: &Context) -> Option<Expression> {
        if text.value.trim_start().starts_with("${") {
            let bare = text.value.trim().trim_start_matches("${").trim_end_matches('}');
            self.report.error(
                "expression-syntax",
                text.span,
                "a condition is an expression already, without `${…}`",
                Some(format!("write \"{bare}\"")),
            );
            return None;
        }
        let (expression, shape) = self.expression(text, context)?;
        if !matches!(shape, Shape::Bool | Shape::Any) {
            let message = format!("a condition must be true or false, not {}", shape.describe());
            self.report.error("wrong-type", text.span, message, None);
            return None;
        }
        Some(expression)
    }

    pub(crate) fn expression_at(
        &mut self,
        source: &str,
        place: Place,
        context: &Context,
    ) -> Option<(Expression, Shape)> {
        let expression = match self.cache.compile(source) {
            Ok(expression) => expression,
            Err(issues) => {
                for ExpressionIssue { code, message, help, range } in issues {
                    let span = self.span_in(place, &range);
                    self.report.error(code, span, message, help);
                }
                return None;
            }
        };
        let mut shapes = Vec::with_capacity(expression.references().len());
        let mut sound = true;
        for reference in expression.references() {
            let shape = self.reference(reference, &expression, place, context);
            sound &= shape.is_some();
            shapes.push(shape.unwrap_or(Shape::Any));
        }
        let shape = match &expression.0.body {
            Body::Reference => shapes.into_iter().next().unwrap_or(Shape::Any),
            Body::Tree { tree, .. } => {
                let mut inference = Inference::new(self, &expression, place, shapes);
                let shape = inference.infer(tree);
                sound &= inference.sound;
                shape
            }
        };
        sound.then_some((expression, shape))
    }

    /// The place in the file of bytes of an expression.
    pub(super) fn span_in(&self, place: Place, range: &std::ops::Range<usize>) -> Span {
        let text = self.report.text(place.string.file);
        let start = offset_in_string(&text, place.string, place.base + range.start);
        let end = offset_in_string(&text, place.string, place.base + range.end).max(start + 1);
        Span::new(place.string.file, &(start..end.min(text.len())))
    }

    pub(super) fn wrong_reference(
        &mut self,
        code: &'static str,
        place: Place,
        reference: &Reference,
        message: String,
        help: Option<String>,
    ) -> Option<Shape> {
        let span = self.span_in(place, &reference.range);
        self.report.error(code, span, message, help);
        None
    }

    fn reference(
        &mut self,
        reference: &Reference,
        expression: &Expression,
        place: Place,
        context: &Context,
    ) -> Option<Shape> {
        let wrong = |checker: &mut Self, code, message: String, help| {
            checker.wrong_reference(code, place, reference, message, help)
        };
        let root = match &reference.root {
            Root::Input(name) => match self.inputs.get(name) {
                Some(input) => input.clone(),
                None => {
                    let help = suggest::help(name, self.inputs.keys().map(String::as_str)).or_else(|| {
                        Some(format!("declare it: `[inputs]` `{name} = {{ type = \"string\" }}`"))
                    });
                    return wrong(self, "unknown-input", format!("there is no input `{name}`"), help);
                }
            },
            Root::Var(name) => match self.vars.get(name) {
                Some(value) => {
                    let value = value.clone();
                    return self.walk_value(&value, reference, place);
                }
                None => {
                    let help = suggest::help(name, self.vars.keys().map(String::as_str)).or_else(|| {
                        let environment = self.document.sources.environment.is_some();
                        Some(if environment {
                            format!("write `{name} = …` under `[vars]` of the environment")
                        } else {
                            "vars come from the environment: add `--env FILE`".to_owned()
                        })
                    });
                    return wrong(self, "unknown-var", format!("there is no var `{name}`"), help);
                }
            },
            Root::StepStatus(id) | Root::StepEffect(id) | Root::StepOutput(id) => {
                self.step_reference(id, reference, expression, place, context)?
            }
            Root::Item => match &context.item {
                Some(item) => item.clone(),
                None => {
                    let help = "`item` is there in a step with `for_each`, save in its `when`".to_owned();
                    return wrong(self, "unknown-name", "there is no `item` here".to_owned(), Some(help));
                }
            },
            Root::Result => match &context.result {
                Some(result) => result.clone(),
                None => {
                    let help =
                        "`result` is there in `until` and `expect`; a finished step's is `steps.ID.output`";
                    let message = "there is no `result` here".to_owned();
                    return wrong(self, "unknown-name", message, Some(help.to_owned()));
                }
            },
            Root::Run(field) => {
                if context.stage == Site::Config {
                    let message = "a configuration sees `inputs` and `vars` only".to_owned();
                    return wrong(self, "unknown-name", message, None);
                }
                let places = match (field.as_str(), context.stage) {
                    ("report", Site::Finally) | ("reason", Site::Rollback | Site::Finally) => None,
                    ("report", _) => Some("`[[finally.step]]`"),
                    ("reason", _) => Some("`[[rollback.step]]` and `[[finally.step]]`"),
                    _ => None,
                };
                if let Some(places) = places {
                    let message = format!("`run.{field}` is there in {places} only");
                    return wrong(self, "unknown-field", message, None);
                }
                Shape::Text
            }
            Root::Baseline(name) => self.baseline_reference(name, reference, expression, place, context)?,
        };
        self.walk(root, reference, place)
    }

    fn step_reference(
        &mut self,
        id: &str,
        reference: &Reference,
        expression: &Expression,
        place: Place,
        context: &Context,
    ) -> Option<Shape> {
        let wrong = |checker: &mut Self, code, message: String, help| {
            checker.wrong_reference(code, place, reference, message, help)
        };
        let Some(target) = self.order.index(id) else {
            let apart = |steps: &[StepDecl]| steps.iter().any(|step| step.id.value == id);
            let help = if apart(&self.document.finally) {
                Some("finally steps are independent of each other and come last".to_owned())
            } else if apart(&self.document.rollback) {
                Some(
                    "rollback steps are independent of each other; only the undos are in an order".to_owned(),
                )
            } else {
                suggest::nearest(id, self.order.ids()).map(|near| format!("did you mean `{near}`?"))
            };
            return wrong(self, "unknown-step", format!("there is no step `{id}`"), help);
        };
        match context.stage {
            Site::Config => {
                let message = "a configuration sees `inputs` and `vars` only".to_owned();
                return wrong(self, "unknown-name", message, None);
            }
            Site::Step(here) if here == target => {
                let help = "what the step returns is `result` in its `until` and `expect`".to_owned();
                return wrong(self, "own-output", format!("step `{id}` refers to itself"), Some(help));
            }
            Site::Undo(here) if here == target => {
                let fan = self.document.steps.get(here).is_some_and(|decl| decl.for_each.is_some());
                if fan && matches!(reference.root, Root::StepOutput(_)) {
                    let message =
                        format!("the output of step `{id}` is there when all of its items are done");
                    let help = "an item is undone by itself; use `item`".to_owned();
                    return wrong(self, "own-output", message, Some(help));
                }
            }
            Site::Step(here) | Site::Undo(here) if !self.order.precedes(target, here) => {
                let later = self.order.precedes(here, target);
                let (message, help) = if later {
                    (format!("step `{id}` runs later than this one"), "move it before this step".to_owned())
                } else {
                    (
                        format!("step `{id}` may still be running when this one starts"),
                        format!("add `needs = [\"{id}\"]` to this step"),
                    )
                };
                return wrong(self, "not-finished", message, Some(help));
            }
            Site::Step(_)
            | Site::Undo(_)
            | Site::Guard { .. }
            | Site::Baseline
            | Site::Rollback
            | Site::Finally => {}
        }
        let early = matches!(context.stage, Site::Guard { .. }) && !self.is_done(target, context.stage);
        let facts = self.steps.get(target)?;
        match &reference.root {
            Root::StepStatus(_) => return Some(Shape::Words(Arc::clone(&self.status_words))),
            Root::StepEffect(_) => return Some(Shape::Text),
            _ => {}
        }
        let Some(output) = facts.output.clone() else {
            return wrong(self, "no-output", format!("step `{id}` returns nothing"), None);
        };
        let doubt = match (facts.doubt, context.stage) {
            // Its own output is there whenever it did not fail, which it can't know of itself.
            (_, Site::Undo(here)) if here == target => None,
            (None, Site::Rollback | Site::Finally) => Some(Doubt::Unreached),
            (None, Site::Guard { .. }) if early => Some(Doubt::Early),
            (doubt, _) => doubt,
        };
        if let Some(doubt) = doubt.filter(|_| !reference.presence) {
            let own = tests_of(expression);
            let enough = |tested: &Tested| match tested {
                Tested::Output(step) => step == id,
                Tested::Status(step) => step == id && doubt != Doubt::Accepted,
                Tested::Baseline(_) => false,
            };
            if !own.iter().chain(&context.tested).any(enough) {
                let message = format!("step `{id}` may have no output: {}", doubt.reason());
                return wrong(self, "untested-output", message, Some(doubt.help(id, context.stage)));
            }
        }
        Some(output)
    }

    /// Follows a path down a shape.
    fn walk(&mut self, root: Shape, reference: &Reference, place: Place) -> Option<Shape> {
        let mut shape = root;
        for (depth, segment) in reference.path.iter().enumerate() {
            shape = match (shape, segment) {
                (Shape::Any, _) => return Some(Shape::Any),
                (Shape::Map(value), Segment::Name(_)) => *value,
                (Shape::List(item), Segment::Index(_)) => *item,
                (Shape::Record(record), Segment::Name(name)) => match expression_field(&record, name) {
                    Some(field) => Shape::of(&field.ty),
                    None => {
                        let parent = self.path_text(reference, depth);
                        let names: Vec<String> =
                            record.fields.iter().map(|field| crate::coerce::snake(&field.name)).collect();
                        let help = suggest::help(&name.replace('-', "_"), names.iter().map(String::as_str))
                            .or_else(|| Some(format!("it has {}", names.join(", "))));
                        let message = format!("`{parent}` has no field `{name}`");
                        return self.wrong_reference("unknown-field", place, reference, message, help);
                    }
                },
                (other, segment) => {
                    let parent = self.path_text(reference, depth);
                    let message = match segment {
                        Segment::Name(name) => {
                            format!("`{parent}` is {} and has no `{name}`", other.describe())
                        }
                        Segment::Index(_) => format!("`{parent}` is {} and has no items", other.describe()),
                    };
                    let help = match (&other, segment) {
                        (Shape::List(_), Segment::Name(_)) => Some(format!("an item of it is `{parent}[0]`")),
                        _ => None,
                    };
                    return self.wrong_reference("unknown-field", place, reference, message, help);
                }
            };
        }
        Some(if reference.presence { Shape::Bool } else { shape })
    }

    /// Follows a path down a value that is known: only what is there is there.
    fn walk_value(&mut self, value: &Value, reference: &Reference, place: Place) -> Option<Shape> {
        let mut value = value;
        for (depth, segment) in reference.path.iter().enumerate() {
            let below = match segment {
                Segment::Name(name) => value.as_object().and_then(|fields| fields.get(name)),
                Segment::Index(index) => value.as_array().and_then(|items| items.get(*index)),
            };
            let Some(below) = below else {
                if reference.presence {
                    break;
                }
                let parent = self.path_text(reference, depth);
                let (message, help) = match segment {
                    Segment::Name(name) => {
                        let known = value.as_object().map(|fields| fields.keys().map(String::as_str));
                        let help = known.and_then(|known| suggest::help(name, known));
                        (format!("`{parent}` has no `{name}`"), help)
                    }
                    Segment::Index(index) => (format!("`{parent}` has no item {index}"), None),
                };
                return self.wrong_reference("unknown-field", place, reference, message, help);
            };
            value = below;
        }
        Some(if reference.presence { Shape::Bool } else { shape_of(value) })
    }

    fn path_text(&self, reference: &Reference, depth: usize) -> String {
        let mut parent = reference.clone();
        parent.path.truncate(depth);
        parent.to_string()
    }
}

/// A field by its name in expressions, which is snake_case only.
pub(super) fn expression_field<'r>(record: &'r Record, name: &str) -> Option<&'r crate::wit::Field> {
    (!name.contains('-')).then(|| record.field(name)).flatten()
}

/// The shape of a value that is known.
pub(crate) fn shape_of(value: &Value) -> Shape {
    match value {
        Value::Null => Shape::Null,
        Value::Bool(_) => Shape::Bool,
        Value::Number(number) if number.is_f64() => Shape::Float,
        Value::Number(_) => Shape::Int,
        Value::String(_) => Shape::Text,
        Value::Array(items) => {
            Shape::list(items.iter().map(shape_of).reduce(Shape::join).unwrap_or(Shape::Any))
        }
        Value::Object(fields) => {
            Shape::map(fields.values().map(shape_of).reduce(Shape::join).unwrap_or(Shape::Any))
        }
    }
}
