//! The times of a run: `at` in order, and a commit before a long wait.
//!
//! Both are told of what is certain to come before a step, in one walk over the edges; runbooks without times and
//! long waits pay for neither.

use super::Checker;
use super::steps::Called;
use crate::diagnostics::Diagnostic;
use crate::document::{BodyDecl, StepDecl, TimesDecl};
use crate::model::At;
use crate::node::{Kind, Node};
use crate::source::{Located, Span};
use crate::units;

/// A wait that is longer asks for a commit before it: by then the world has moved on, and nobody may be looking.
const LONG_MS: i64 = 3_600_000;

/// What is certain to have been before a point of the run.
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    /// The latest time that was waited for, and where it stands.
    at: Option<(At, Span)>,
    /// A step with an effect.
    effect: Option<usize>,
    /// Whether automatic rollback has ended.
    committed: bool,
}

impl Past {
    fn join(self, other: Self) -> Self {
        let later = |(at, _): &(At, Span)| *at;
        Self {
            at: self.at.into_iter().chain(other.at).max_by_key(later),
            effect: self.effect.or(other.effect),
            committed: self.committed || other.committed,
        }
    }
}

impl Checker<'_> {
    pub(super) fn check_times(&mut self) {
        let document = self.document;
        let timed = document.stages.iter().any(|stage| stage.times.at.is_some())
            || document.steps.iter().any(|step| at_of(step).is_some() || long_wait(step).is_some());
        let Some(order) = timed.then(|| self.order.in_order()).flatten() else { return };
        let mut pasts = vec![Past::default(); document.steps.len()];
        let mut past = Past::default();
        let mut left = order.as_slice();
        for (number, stage) in document.stages.iter().enumerate() {
            past.committed |= stage.commit;
            past = self.reach(past, stage.times.at.as_ref());
            let of_stage = |step: &usize| self.order.stages.get(*step).copied().flatten() == Some(number);
            let count = left.iter().take_while(|step| of_stage(step)).count();
            let (steps, rest) = left.split_at(count);
            past = self.check_times_of(steps, past, &mut pasts);
            left = rest;
        }
        // All of them where there are no stages.
        self.check_times_of(left, past, &mut pasts);
    }

    /// Goes through steps that each come after those of them that they need.
    fn check_times_of(&mut self, steps: &[usize], begin: Past, pasts: &mut [Past]) -> Past {
        let document = self.document;
        let mut end = begin;
        for index in steps.iter().copied() {
            let Some(decl) = document.steps.get(index) else { continue };
            let needs = self.order.needs.get(index).into_iter().flatten();
            let mut past =
                needs.filter_map(|need| pasts.get(*need)).fold(begin, |past, need| past.join(*need));
            past.committed |= decl.commit;
            past = self.reach(past, at_of(decl));
            if let Some(wait) = long_wait(decl) {
                self.ask_for_commit(past, wait);
            }
            let call = self.steps.get(index).and_then(|facts| facts.call.as_deref());
            if call.and_then(Called::action).is_some_and(|action| action.kind.has_effect()) {
                past.effect = past.effect.or(Some(index));
            }
            if let Some(slot) = pasts.get_mut(index) {
                *slot = past;
            }
            end = end.join(past);
        }
        end
    }

    /// Lets time pass until `at`.
    fn reach(&mut self, past: Past, at: Option<&Located<At>>) -> Past {
        let Some(at) = at else { return past };
        if let Some((before, span)) = past.at {
            let gap = at.value.offset_ms.saturating_sub(before.offset_ms);
            if gap < 0 {
                let diagnostic = Diagnostic::error(
                    "at-out-of-order",
                    "this time is earlier than one that comes before it",
                )
                .help("put them in the order of their times");
                self.report
                    .marked(diagnostic, &[(at.span, "earlier"), (span, "later, and waited for first")]);
            }
            if gap > LONG_MS {
                self.ask_for_commit(past, at.span);
            }
        }
        past.join(Past { at: Some((at.value, at.span)), ..Past::default() })
    }

    fn ask_for_commit(&mut self, past: Past, wait: Span) {
        let Some(effect) = past.effect.filter(|_| !past.committed) else { return };
        let Some(effect) = self.document.steps.get(effect) else { return };
        let message =
            "after an effect the run waits for over an hour, and could still be rolled back by itself";
        let help = "say with `commit = true` from where on a person decides about going back: on a step or stage \
                    before the wait, or on this one where it may be rolled back until the wait is over";
        let diagnostic = Diagnostic::error("commit-before-wait", message).help(help);
        self.report.marked(diagnostic, &[(wait, "waits here"), (effect.id.span, "has an effect")]);
    }
}

fn at_of(decl: &StepDecl) -> Option<&Located<At>> {
    decl.times.as_deref().and_then(|TimesDecl { at, .. }| at.as_ref())
}

/// Where a step waits for over an hour, if that can be told.
fn long_wait(decl: &StepDecl) -> Option<Span> {
    let BodyDecl::Wait(Node { span, kind }) = &decl.body else { return None };
    let duration = match kind {
        Kind::String(text) => units::parse_duration(text).ok()?,
        Kind::Integer(milliseconds) => u64::try_from(*milliseconds).ok()?,
        _ => return None,
    };
    (duration > LONG_MS.unsigned_abs()).then_some(*span)
}
