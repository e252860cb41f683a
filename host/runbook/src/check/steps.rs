//! What each step calls, and with what.

use std::sync::Arc;

use super::Checker;
use super::expressions::{Context, Doubt, Site, tests_of};
use crate::document::{BodyDecl, StepDecl};
use crate::expression::Template;
use crate::expression::shape::Shape;
use crate::model::{ForEach, Gate, Invocation, OnFailure, OnUnknown, RollbackStep, Step, StepBody};
use crate::node::{Kind, Node, Table};
use crate::source::{Located, Span};
use crate::suggest;
use crate::units;
use crate::wit::{Action, ActionKind, Signature};

/// Items at once where nothing is said.
const DEFAULT_PARALLEL: u32 = 8;
/// Milliseconds between the samples of a gate where nothing is said.
const DEFAULT_EVERY: u64 = 5_000;

/// What other steps need to know of one.
pub(crate) struct StepFacts {
    /// What it calls, where that is known.
    pub(super) call: Option<Arc<Called>>,
    /// What `steps.ID.output` is; none for nothing.
    pub(crate) output: Option<Shape>,
    /// Why it may have no output though it is done.
    pub(crate) doubt: Option<Doubt>,
}

/// An action that something calls, by names that all its calls share.
pub(super) struct Called {
    plugin: Arc<str>,
    interface: Arc<str>,
    name: Arc<str>,
    signature: Arc<Signature>,
    /// Its places in the signature.
    place: (usize, usize),
}

impl Called {
    fn new(plugin: &str, signature: Arc<Signature>, place: (usize, usize)) -> Option<Self> {
        let interface = signature.interfaces.get(place.0)?;
        let action = interface.actions.get(place.1)?;
        Some(Self {
            plugin: plugin.into(),
            interface: interface.id.as_str().into(),
            name: action.name.as_str().into(),
            signature,
            place,
        })
    }

    pub(super) fn action(&self) -> Option<&Action> {
        self.signature.interfaces.get(self.place.0)?.actions.get(self.place.1)
    }
}

impl Checker<'_> {
    /// Finds out what every step calls, before the first expression is checked.
    pub(super) fn gather_steps(&mut self) {
        let document = self.document;
        self.steps = document
            .steps
            .iter()
            .enumerate()
            .map(|(index, decl)| {
                let facts = self.facts(decl);
                let stage = self.order.stages.get(index).copied().flatten();
                let on_failure = self.on_failure(decl, stage);
                // An accepted step counts as succeeded, so this doubt needs the stronger test of the three.
                let doubt = if decl.on_unknown == Some(OnUnknown::Accept) {
                    Some(Doubt::Accepted)
                } else if decl.when.is_some() {
                    Some(Doubt::Skipped)
                } else if on_failure == OnFailure::Continue {
                    Some(Doubt::Failed)
                } else {
                    None
                };
                StepFacts { doubt, ..facts }
            })
            .collect();
    }

    fn on_failure(&self, decl: &StepDecl, stage: Option<usize>) -> OnFailure {
        let of_stage =
            stage.and_then(|stage| self.document.stages.get(stage)).and_then(|stage| stage.on_failure);
        decl.on_failure.or(of_stage).or(self.document.header.on_failure).unwrap_or_default()
    }

    fn facts(&mut self, decl: &StepDecl) -> StepFacts {
        let (call, output) = match &decl.body {
            BodyDecl::Call { action, .. } => {
                let call = self.resolve(action);
                let output = match call.as_deref().and_then(Called::action) {
                    Some(action) => action.output.as_ref().map(Shape::of),
                    None => Some(Shape::Any),
                };
                (call, output)
            }
            BodyDecl::Wait(_) | BodyDecl::Approve(_) => (None, None),
            BodyDecl::Unreadable => (None, Some(Shape::Any)),
        };
        let output = if decl.for_each.is_some() { output.map(Shape::map) } else { output };
        StepFacts { call, output, doubt: None }
    }

    /// `plugin.action` or `plugin.interface.action`.
    pub(super) fn resolve(&mut self, text: &Located<String>) -> Option<Arc<Called>> {
        if let Some(known) = self.calls.get(&text.value) {
            return Some(Arc::clone(known));
        }
        let called = Arc::new(self.find_action(text)?);
        self.calls.insert(text.value.clone(), Arc::clone(&called));
        Some(called)
    }

    fn find_action(&mut self, text: &Located<String>) -> Option<Called> {
        let parts: Vec<&str> = text.value.split('.').collect();
        let (plugin, interface, action) = match parts.as_slice() {
            [plugin, action] => (*plugin, None, *action),
            [plugin, interface, action] => (*plugin, Some(*interface), *action),
            _ => {
                let message = format!("`{}` names no action", text.value);
                let help = "write \"plugin.action\" or \"plugin.interface.action\"".to_owned();
                self.report.error("wrong-value", text.span, message, Some(help));
                return None;
            }
        };
        let document = self.document;
        let Some(facts) = self.plugins.get_mut(plugin) else {
            // One without a readable table was reported.
            if !document.plugins.iter().any(|known| known.name.value == plugin) {
                let known = document.plugins.iter().map(|plugin| plugin.name.value.as_str());
                let help = suggest::help(plugin, known).or_else(|| Some(format!("add `[plugins.{plugin}]`")));
                self.report.error(
                    "unknown-plugin",
                    text.span,
                    format!("there is no plugin `{plugin}`"),
                    help,
                );
            }
            return None;
        };
        facts.used = true;
        let signature = Arc::clone(facts.signature.as_ref()?);
        let contract = facts.contract.clone();
        let mut found: Vec<(usize, usize)> = Vec::new();
        for (place, known) in signature.interfaces.iter().enumerate() {
            if interface.is_some_and(|wanted| wanted != known.name) {
                continue;
            }
            let same = |known: &Action| crate::wit::same_name(&known.name, action);
            found.extend(known.actions.iter().position(same).map(|action| (place, action)));
        }
        if found.len() > 1
            && let Some(contract) = &contract
        {
            let of_contract = |(place, _): &(usize, usize)| {
                signature
                    .interfaces
                    .get(*place)
                    .is_some_and(|known| known.name == *contract || known.id == *contract)
            };
            if found.iter().any(of_contract) {
                found.retain(of_contract);
            }
        }
        match found.as_slice() {
            [place] => Called::new(plugin, signature, *place),
            [] => {
                self.unknown_action(text, &signature, plugin, interface, action);
                None
            }
            several => {
                let names: Vec<String> = several
                    .iter()
                    .filter_map(|(place, _)| signature.interfaces.get(*place))
                    .map(|interface| format!("\"{plugin}.{}.{action}\"", interface.name))
                    .collect();
                let message = format!("the plugin `{plugin}` has several actions `{action}`");
                let help = format!("write {}", names.join(" or "));
                self.report.error("ambiguous-action", text.span, message, Some(help));
                None
            }
        }
    }

    fn unknown_action(
        &mut self,
        text: &Located<String>,
        signature: &Signature,
        plugin: &str,
        interface: Option<&str>,
        action: &str,
    ) {
        if let Some(wanted) = interface
            && !signature.interfaces.iter().any(|known| known.name == wanted)
        {
            let help = suggest::help(wanted, signature.interfaces.iter().map(|known| known.name.as_str()));
            let message = format!("the plugin `{plugin}` has no interface `{wanted}`");
            self.report.error("unknown-action", text.span, message, help);
            return;
        }
        let known = signature
            .interfaces
            .iter()
            .filter(|known| interface.is_none_or(|wanted| wanted == known.name))
            .flat_map(|known| known.actions.iter().map(|action| action.name.as_str()));
        let bare =
            ["plan-undo-", "plan-", "apply-", "undo-"].iter().find_map(|prefix| action.strip_prefix(prefix));
        let help = match bare {
            Some(bare) => Some(format!("windlass plans and applies by itself: write \"{plugin}.{bare}\"")),
            None => suggest::help(action, known),
        };
        self.report.error(
            "unknown-action",
            text.span,
            format!("the plugin `{plugin}` has no action `{action}`"),
            help,
        );
    }

    pub(super) fn check_steps(&mut self) -> Vec<Step> {
        let document = self.document;
        let steps = document.steps.iter().enumerate();
        steps.filter_map(|(index, decl)| self.check_step(decl, Site::Step(index))).collect()
    }

    pub(super) fn check_finally(&mut self) -> Vec<Step> {
        let document = self.document;
        self.refuse_needs(&document.finally, "finally steps are independent of each other and need nothing");
        document.finally.iter().filter_map(|decl| self.check_step(decl, Site::Finally)).collect()
    }

    pub(super) fn check_rollback(&mut self) -> Vec<RollbackStep> {
        let document = self.document;
        self.refuse_needs(
            &document.rollback,
            "rollback steps are independent of each other and need nothing",
        );
        let check = |decl: &StepDecl| {
            let step = self.check_step(decl, Site::Rollback)?;
            Some(RollbackStep { step, order: decl.order })
        };
        document.rollback.iter().filter_map(check).collect()
    }

    fn refuse_needs(&mut self, steps: &[StepDecl], message: &str) {
        for need in steps.iter().filter_map(|decl| decl.needs.as_ref()?.first()) {
            self.report.error("wrong-value", need.span, message, Some("leave `needs` out".to_owned()));
        }
    }

    fn check_step(&mut self, decl: &StepDecl, site: Site) -> Option<Step> {
        let call = match site {
            Site::Step(index) => self.steps.get(index).and_then(|facts| facts.call.clone()),
            _ => self.facts(decl).call,
        };
        let mut context = Context { stage: site, ..Context::default() };
        let when = decl.when.as_ref().and_then(|text| self.condition(text, &context));
        if let Some(when) = &when {
            context.tested = tests_of(when);
        }
        let for_each = self.check_for_each(decl, &mut context);
        let call = call.as_deref();
        let body = self.check_body(decl, call, &context);
        let undo = self.check_undo(decl, call, &context);
        let result = match (&decl.body, call.and_then(Called::action)) {
            (_, Some(action)) => action.output.as_ref().map(Shape::of),
            (BodyDecl::Wait(_) | BodyDecl::Approve(_), None) => None,
            _ => Some(Shape::Any),
        };
        let judging = Context { result, ..context };
        let gate = self.check_gate(decl, call, &judging);
        let expect = decl.expect.iter().filter_map(|text| self.condition(text, &judging)).collect();
        let stage = match site {
            Site::Step(index) => self.order.stages.get(index).copied().flatten(),
            _ => None,
        };
        let needs = match site {
            Site::Step(index) => self.order.needs.get(index).cloned().unwrap_or_default(),
            _ => Vec::new(),
        };
        Some(Step {
            id: decl.id.value.clone(),
            title: decl.title.clone(),
            stage,
            needs,
            body: body?,
            when,
            for_each,
            gate,
            expect,
            retry: decl.retry,
            timeout_ms: decl.timeout_ms,
            on_failure: self.on_failure(decl, stage),
            on_unknown: decl.on_unknown.unwrap_or_default(),
            undo: undo?,
            commit: decl.commit,
            at: decl.times.as_ref().and_then(|times| Some(times.at.as_ref()?.value)),
            window: decl.times.as_ref().and_then(|times| times.window.clone()),
            span: decl.span,
        })
    }

    fn check_for_each(&mut self, decl: &StepDecl, context: &mut Context) -> Option<ForEach> {
        let Some(node) = &decl.for_each else {
            let stray = decl.key.as_ref().map(|key| ("key", key.span));
            if let Some((name, span)) = stray {
                self.report.error("wrong-value", span, format!("`{name}` goes with `for_each`"), None);
            } else if decl.max_parallel.is_some() || decl.max_failures.is_some() {
                let message = "`max_parallel` and `max_failures` go with `for_each`";
                self.report.error("wrong-value", decl.span, message, None);
            }
            return None;
        };
        let (items, item) = self.items(node, context);
        context.item = Some(item.clone());
        let key = decl.key.as_ref().and_then(|text| {
            let (key, shape) = self.expression(text, context)?;
            if matches!(shape, Shape::List(_) | Shape::Map(_) | Shape::Record(_) | Shape::Null) {
                let message = format!("a key is a string or a number, not {}", shape.describe());
                self.report.error("wrong-type", text.span, message, None);
            }
            Some(key)
        });
        if decl.key.is_none() && matches!(item, Shape::Map(_) | Shape::Record(_) | Shape::List(_)) {
            let message = "the items are tables or lists, and none can be told from the other by its name";
            let help =
                "add a `key` that says what tells them apart, such as `key = \"item.name\"`".to_owned();
            self.report.error("missing-key", node.span, message, Some(help));
        }
        let limit = |count: Option<u32>, default: u32| {
            usize::try_from(count.unwrap_or(default)).unwrap_or(usize::MAX)
        };
        Some(ForEach {
            items,
            key,
            max_parallel: limit(decl.max_parallel, DEFAULT_PARALLEL),
            max_failures: limit(decl.max_failures, 0),
        })
    }

    /// The items' template and the shape of one.
    fn items(&mut self, node: &Node, context: &Context) -> (Template, Shape) {
        let template = self.template(node, None, context);
        let shape = match (&node.kind, &template) {
            (_, Template::Literal(value)) => super::expressions::shape_of(value),
            (Kind::String(_), Template::Expression(_)) => self.shape_of_lone(node, context),
            (Kind::List(_), _) => Shape::list(Shape::Any),
            (_, _) => Shape::Text,
        };
        match shape {
            Shape::List(item) => (template, *item),
            Shape::Any | Shape::Null => (template, Shape::Any),
            other => {
                let message = format!("`for_each` goes through a list, not {}", other.describe());
                let help = matches!(node.kind, Kind::String(_))
                    .then(|| "write `for_each = \"${inputs.hosts}\"` or a list".to_owned());
                self.report.error("wrong-type", node.span, message, help);
                (template, Shape::Any)
            }
        }
    }

    /// The shape of a string that is one expression and was found sound.
    fn shape_of_lone(&mut self, node: &Node, context: &Context) -> Shape {
        use super::expressions::Place;
        use crate::expression::{Piece, pieces};
        let Kind::String(text) = &node.kind else { return Shape::Any };
        match pieces(text).as_slice() {
            [Piece::Expression(source, at)] => self
                .expression_at(source, Place { string: node.span, base: *at }, context)
                .map_or(Shape::Any, |(_, shape)| shape),
            _ => Shape::Text,
        }
    }

    fn check_body(&mut self, decl: &StepDecl, call: Option<&Called>, context: &Context) -> Option<StepBody> {
        match &decl.body {
            BodyDecl::Unreadable => None,
            BodyDecl::Wait(node) => {
                let template = self.template(node, Some(&crate::wit::Type::Duration), context);
                if let Template::Literal(value) = &template
                    && units::duration_of(value).is_err()
                {
                    return None;
                }
                Some(StepBody::Wait { duration: template })
            }
            BodyDecl::Approve(approval) => self.check_approval(approval, context),
            BodyDecl::Call { with, .. } => {
                let invocation = self.invocation(call, with.as_ref(), decl.span, context)?;
                Some(StepBody::Call(Box::new(invocation)))
            }
        }
    }

    /// A call with its input; `span` is the place of what calls.
    pub(super) fn invocation(
        &mut self,
        call: Option<&Called>,
        with: Option<&Node>,
        span: Span,
        context: &Context,
    ) -> Option<Invocation> {
        let Some((called, action)) = call.and_then(|called| Some((called, called.action()?))) else {
            // The expressions can be checked all the same.
            if let Some(node) = with {
                self.template(node, None, context);
            }
            return None;
        };
        let empty = Table { span, entries: Vec::new() };
        let (table, span) = match with {
            None => (&empty, span),
            Some(Node { span, kind: Kind::Table(table) }) => (table, *span),
            Some(other) => {
                let message = format!("`with` must be a table, not {}", other.describe());
                self.report.error("wrong-type", other.span, message, None);
                return None;
            }
        };
        let input = self.record_template(table, &action.input, span, context);
        Some(Invocation {
            plugin: Arc::clone(&called.plugin),
            interface: Arc::clone(&called.interface),
            action: Arc::clone(&called.name),
            kind: action.kind,
            input,
            input_type: Arc::clone(&action.input),
            output_type: action.output.clone(),
        })
    }

    fn check_gate(&mut self, decl: &StepDecl, call: Option<&Called>, context: &Context) -> Option<Gate> {
        let Some(until) = &decl.until else {
            for (name, stray) in [("every", &decl.every), ("hold", &decl.hold)] {
                if let Some(stray) = stray {
                    self.report.error("wrong-value", stray.span, format!("`{name}` goes with `until`"), None);
                }
            }
            return None;
        };
        let expression = self.condition(until, context);
        let action = call.and_then(Called::action);
        let reads = match (&decl.body, action) {
            (BodyDecl::Wait(_), _) => false,
            (_, Some(action)) => action.kind == ActionKind::Reading,
            (_, None) => true,
        };
        if !reads {
            let message = "`until` asks again and again, so its action may only read";
            let help = match action {
                Some(action) => {
                    format!(
                        "`{}` has an effect; put `until` on a step of its own that only reads",
                        action.name
                    )
                }
                None => "leave `until` out".to_owned(),
            };
            self.report.error("gate-writes", until.span, message, Some(help));
        }
        let every = decl.every.as_ref().map_or(DEFAULT_EVERY, |every| every.value);
        if every == 0
            && let Some(every) = &decl.every
        {
            self.report.error("wrong-value", every.span, "`every` must be longer than nothing", None);
        }
        Some(Gate {
            until: expression?,
            every_ms: every,
            hold_ms: decl.hold.as_ref().map_or(0, |hold| hold.value),
        })
    }
}
