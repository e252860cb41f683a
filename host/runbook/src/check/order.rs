//! Which step waits for which: edges, cycles, and whether one is certain to be finished before another.
//!
//! All of it takes time linear in steps and edges, and nothing recurses along a chain of steps. The steps of a stage
//! wait for the stage before as a whole; that is no edge here, or stages would multiply.

use std::collections::HashMap;

use crate::diagnostics::Diagnostic;
use crate::document::Document;
use crate::report::Report;
use crate::source::Located;
use crate::suggest;

/// The order of a runbook's steps.
pub(crate) struct Order {
    ids: HashMap<String, usize>,
    /// By step, the steps that gate it within its stage, or in all where there are no stages.
    pub(crate) needs: Vec<Vec<usize>>,
    /// By step.
    pub(crate) stages: Vec<Option<usize>>,
    /// By step, its place in an order they can run in.
    rank: Vec<usize>,
    /// By step, when a walk over the tree of first needs enters and leaves it.
    span: Vec<(usize, usize)>,
    /// By step, whether one of its needs could not be read: then nothing about its order is an error.
    uncertain: Vec<bool>,
    /// Whether there is a cycle, which is reported: then every order is accepted.
    broken: bool,
}

impl Order {
    /// Reads the edges and reports what is wrong with them.
    pub(crate) fn new(document: &Document, report: &mut Report) -> Self {
        let count = document.steps.len();
        let ids = index_ids(document, report);
        let mut stages = vec![None; count];
        for (number, stage) in document.stages.iter().enumerate() {
            for slot in stages.get_mut(stage.steps.clone()).into_iter().flatten() {
                *slot = Some(number);
            }
        }
        let mut order = Self {
            ids,
            needs: Vec::new(),
            stages,
            rank: Vec::new(),
            span: Vec::new(),
            uncertain: vec![false; count],
            broken: false,
        };
        order.needs = (0..count).map(|step| order.edges(document, step, report)).collect();
        match order.sort() {
            Ok(rank) => order.rank = rank,
            Err(left) => {
                order.broken = true;
                order.report_cycle(document, &left, report);
            }
        }
        order.span = order.spans();
        order
    }

    /// The step with the id.
    pub(crate) fn index(&self, id: &str) -> Option<usize> {
        self.ids.get(id).copied()
    }

    /// Every id.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.ids.keys().map(String::as_str)
    }

    /// The steps in an order they can run in, stage by stage. None where there is none, which is reported.
    pub(crate) fn in_order(&self) -> Option<Vec<usize>> {
        let mut steps: Vec<usize> = (0..self.needs.len()).collect();
        steps.sort_by_key(|step| (self.stages.get(*step), self.rank.get(*step)));
        (!self.broken).then_some(steps)
    }

    /// Whether the one is certain to be done before the other starts.
    pub(crate) fn precedes(&self, first: usize, second: usize) -> bool {
        if self.broken {
            return true;
        }
        let stage = |step: usize| self.stages.get(step).copied().flatten();
        if stage(first) != stage(second) {
            return stage(first) < stage(second);
        }
        if let (Some(outer), Some(inner)) = (self.span.get(first), self.span.get(second))
            && outer.0 <= inner.0
            && inner.0 < outer.1
        {
            return first != second;
        }
        self.reaches(first, second)
    }

    /// Walks the needs upwards, never above the rank of what is looked for.
    fn reaches(&self, first: usize, second: usize) -> bool {
        let rank = |step: usize| self.rank.get(step).copied().unwrap_or_default();
        let floor = rank(first);
        let mut seen = std::collections::HashSet::new();
        let mut queue = vec![second];
        while let Some(step) = queue.pop() {
            if self.uncertain.get(step).copied().unwrap_or_default() {
                return true;
            }
            for need in self.needs.get(step).into_iter().flatten() {
                if *need == first {
                    return true;
                }
                if rank(*need) > floor && seen.insert(*need) {
                    queue.push(*need);
                }
            }
        }
        false
    }

    fn edges(&mut self, document: &Document, step: usize, report: &mut Report) -> Vec<usize> {
        let Some(decl) = document.steps.get(step) else { return Vec::new() };
        let stage = self.stages.get(step).copied().flatten();
        let Some(needs) = &decl.needs else {
            let parallel =
                stage.and_then(|stage| document.stages.get(stage)).is_some_and(|stage| stage.parallel);
            let before =
                step.checked_sub(1).filter(|before| self.stages.get(*before).copied().flatten() == stage);
            return before.filter(|_| !parallel).into_iter().collect();
        };
        let mut edges = Vec::with_capacity(needs.len());
        for need in needs {
            let Some(other) = self.index(&need.value) else {
                self.unknown(document, need, report);
                if let Some(uncertain) = self.uncertain.get_mut(step) {
                    *uncertain = true;
                }
                continue;
            };
            let other_stage = self.stages.get(other).copied().flatten();
            if other == step {
                report.error("cycle", need.span, format!("step `{}` needs itself", need.value), None);
            } else if other_stage > stage {
                let message = format!("step `{}` is in a later stage", need.value);
                let help = "a stage waits for all of the one before it; move one of the two".to_owned();
                report.error("cycle", need.span, message, Some(help));
            } else if other_stage == stage && !edges.contains(&other) {
                // What is in an earlier stage is done anyway.
                edges.push(other);
            }
        }
        edges
    }

    fn unknown(&self, document: &Document, need: &Located<String>, report: &mut Report) {
        let message = format!("there is no step `{}`", need.value);
        let help = if document.finally.iter().any(|step| step.id.value == need.value) {
            Some("finally steps come last; nothing can need them".to_owned())
        } else {
            suggest::nearest(&need.value, self.ids()).map(|near| format!("did you mean `{near}`?"))
        };
        report.error("unknown-step", need.span, message, help);
    }

    /// Ranks, or the steps that are in or behind a cycle.
    fn sort(&self) -> Result<Vec<usize>, Vec<bool>> {
        let count = self.needs.len();
        let mut waiting: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        let needs = self.needs.iter().enumerate();
        let dependants =
            Groups::new(count, needs.flat_map(|(step, needs)| needs.iter().map(move |need| (*need, step))));
        let mut ready: std::collections::VecDeque<usize> =
            waiting.iter().enumerate().filter(|(_, left)| **left == 0).map(|(step, _)| step).collect();
        let mut rank = vec![0; count];
        let mut done = 0;
        while let Some(step) = ready.pop_front() {
            if let Some(slot) = rank.get_mut(step) {
                *slot = done;
            }
            done += 1;
            for dependant in dependants.of(step) {
                if let Some(left) = waiting.get_mut(*dependant) {
                    *left -= 1;
                    if *left == 0 {
                        ready.push_back(*dependant);
                    }
                }
            }
        }
        if done == count { Ok(rank) } else { Err(waiting.into_iter().map(|left| left > 0).collect()) }
    }

    fn report_cycle(&self, document: &Document, left: &[bool], report: &mut Report) {
        // Every step that is left has a need that is left: walking up must come round.
        let is_left = |step: &usize| left.get(*step).copied().unwrap_or_default();
        let mut at = (0..left.len()).find(is_left);
        let mut place: HashMap<usize, usize> = HashMap::new();
        let mut path = Vec::new();
        while let Some(step) = at {
            if let Some(start) = place.get(&step) {
                path.drain(..*start);
                break;
            }
            place.insert(step, path.len());
            path.push(step);
            at = self.needs.get(step).and_then(|needs| needs.iter().copied().find(|need| is_left(need)));
        }
        let id =
            |step: &usize| document.steps.get(*step).map(|decl| decl.id.value.as_str()).unwrap_or_default();
        let mut names: Vec<&str> = path.iter().map(id).collect();
        names.extend(path.first().map(id));
        const SHOWN: usize = 12;
        let shown = if names.len() > SHOWN {
            let (head, tail) =
                (names.get(..6).unwrap_or_default(), names.get(names.len() - 4..).unwrap_or_default());
            format!("{} → … → {}", head.join(" → "), tail.join(" → "))
        } else {
            names.join(" → ")
        };
        let labels: Vec<_> = path
            .iter()
            .filter_map(|step| document.steps.get(*step))
            .take(SHOWN)
            .map(|decl| (decl.id.span, "in the circle"))
            .collect();
        let diagnostic =
            Diagnostic::error("cycle", format!("each of these steps waits for the next: {shown}"))
                .help("take one of the `needs` away; without `needs`, a step waits for the one before it");
        report.marked(diagnostic, &labels);
    }

    /// Enters and leaves of a walk over the tree in which each step hangs on its first need.
    fn spans(&self) -> Vec<(usize, usize)> {
        let count = self.needs.len();
        let mut spans = vec![(0, 0); count];
        if self.broken {
            return spans;
        }
        let parents = || self.needs.iter().map(|needs| needs.first().copied()).enumerate();
        let children =
            Groups::new(count, parents().filter_map(|(step, parent)| parent.map(|parent| (parent, step))));
        let roots = parents().filter(|(_, parent)| parent.is_none());
        let mut clock = 0;
        let mut stack: Vec<(usize, bool)> = roots.map(|(root, _)| (root, false)).collect();
        while let Some((step, leaving)) = stack.pop() {
            let Some(span) = spans.get_mut(step) else { continue };
            if leaving {
                span.1 = clock;
                continue;
            }
            span.0 = clock;
            clock += 1;
            stack.push((step, true));
            stack.extend(children.of(step).iter().map(|child| (*child, false)));
        }
        spans
    }
}

/// What hangs on each of a number of steps, all in one list: a list for each would cost more than what is in it.
struct Groups {
    /// By step, where its part of the members begins; one more for the end of the last.
    starts: Vec<usize>,
    members: Vec<usize>,
}

impl Groups {
    /// From pairs of a step, below `count`, and what hangs on it; the order of the pairs is kept within each group.
    fn new(count: usize, pairs: impl Iterator<Item = (usize, usize)> + Clone) -> Self {
        let mut starts = vec![0; count + 1];
        for (step, _) in pairs.clone() {
            if let Some(size) = starts.get_mut(step + 1) {
                *size += 1;
            }
        }
        let mut total = 0;
        for start in &mut starts {
            total += *start;
            *start = total;
        }
        let mut free = starts.clone();
        let mut members = vec![0; total];
        for (step, member) in pairs {
            if let Some(place) = free.get_mut(step)
                && let Some(slot) = members.get_mut(*place)
            {
                *slot = member;
                *place += 1;
            }
        }
        Self { starts, members }
    }

    fn of(&self, step: usize) -> &[usize] {
        let range = self.starts.get(step).zip(self.starts.get(step + 1));
        range.and_then(|(start, end)| self.members.get(*start..*end)).unwrap_or_default()
    }
}

fn index_ids(document: &Document, report: &mut Report) -> HashMap<String, usize> {
    let mut ids: HashMap<String, usize> = HashMap::with_capacity(document.steps.len());
    for (index, step) in document.steps.iter().enumerate() {
        let first = *ids.entry(step.id.value.clone()).or_insert(index);
        if first != index
            && let Some(other) = document.steps.get(first)
        {
            duplicate(&step.id, &other.id, report);
        }
    }
    for apart in [&document.rollback, &document.finally] {
        let mut ids: HashMap<&str, &Located<String>> = HashMap::new();
        for step in apart {
            if let Some(other) = ids.insert(&step.id.value, &step.id) {
                duplicate(&step.id, other, report);
            }
        }
    }
    ids
}

fn duplicate(second: &Located<String>, first: &Located<String>, report: &mut Report) {
    report.marked(
        Diagnostic::error("duplicate-id", format!("two steps have the id `{}`", second.value))
            .help("give one of them another id"),
        &[(second.span, "again"), (first.span, "first here")],
    );
}
