//! What steps say about taking their effect back, and about asking people first.

use super::Checker;
use super::expressions::{Context, Site};
use super::steps::Called;
use crate::document::{ApprovalDecl, BodyDecl, StepDecl};
use crate::model::{Approval, StepBody, Undo};
use crate::source::Located;
use crate::suggest;
use crate::wit::Type;

impl Checker<'_> {
    /// The undo of a step, with the context of its body; `None` where it was reported.
    pub(super) fn check_undo(
        &mut self,
        decl: &StepDecl,
        call: Option<&Called>,
        context: &Context,
    ) -> Option<Undo> {
        let (Some(undo), Site::Step(index)) = (&decl.undo, context.stage) else { return Some(Undo::Own) };
        let reads = match (&decl.body, call.and_then(Called::action)) {
            (_, Some(action)) => !action.kind.has_effect(),
            (body, None) => matches!(body, BodyDecl::Wait(_)),
        };
        if reads {
            let message = format!("step `{}` has no effect that could be taken back", decl.id.value);
            let help = Some("leave `undo` out".to_owned());
            self.report.error("undo-reads", undo.span, message, help);
        }
        let Some((action, with)) = &undo.call else { return Some(Undo::Never) };
        let called = self.resolve(action);
        if let Some(found) = called.as_deref().and_then(Called::action)
            && !found.kind.has_effect()
        {
            let message = format!("an undo must have an effect, and `{}` only reads", found.name);
            let help = "where there is nothing to take back, write `undo = false`".to_owned();
            self.report.error("undo-reads", action.span, message, Some(help));
        }
        let context = Context { stage: Site::Undo(index), ..context.clone() };
        let invocation = self.invocation(called.as_deref(), with.as_ref(), undo.span, &context)?;
        Some(Undo::Call(Box::new(invocation)))
    }

    /// The body of a step that asks people.
    pub(super) fn check_approval(&mut self, approval: &ApprovalDecl, context: &Context) -> Option<StepBody> {
        let text = approval.text.as_ref().map(|text| self.template(text, Some(&Type::String), context));
        let covers = approval.covers.as_ref().map(|covers| self.check_covers(covers, context));
        Some(StepBody::Approve(Box::new(Approval {
            roles: approval.roles.clone(),
            each: approval.each,
            any: approval.any,
            text: text?,
            expires_ms: approval.expires_ms,
            on_expiry: approval.on_expiry,
            covers,
            bind: approval.bind,
            owner: approval.owner.clone(),
            evidence: approval.evidence,
            own: approval.own,
        })))
    }

    fn check_covers(&mut self, covers: &[Located<String>], context: &Context) -> Vec<usize> {
        let mut steps = Vec::with_capacity(covers.len());
        for name in covers {
            let Some(step) = self.order.index(&name.value) else {
                let help = suggest::nearest(&name.value, self.order.ids());
                let help = help.map(|near| format!("did you mean `{near}`?"));
                self.report.error(
                    "unknown-step",
                    name.span,
                    format!("there is no step `{}`", name.value),
                    help,
                );
                continue;
            };
            let later = matches!(context.stage, Site::Step(here) if self.order.precedes(here, step));
            let body = self.document.steps.get(step).map(|decl| &decl.body);
            if !later {
                let message = format!("step `{}` need not come after this approval", name.value);
                let help = "an approval covers what waits for it".to_owned();
                self.report.error("not-covered", name.span, message, Some(help));
            } else if matches!(body, Some(BodyDecl::Wait(_) | BodyDecl::Approve(_))) {
                let message = format!("step `{}` does nothing that could be approved", name.value);
                self.report.error("not-covered", name.span, message, None);
            }
            steps.push(step);
        }
        steps.sort_unstable();
        steps.dedup();
        steps
    }
}
