//! A runbook laid out for running: paths, what each step calls, and who waits for whom.
//!
//! Steps and finally steps have one numbering, steps first. Between stages stands a node of its own, so that the edges
//! are as many as the steps and never their square.

use std::collections::HashMap;
use std::sync::Arc;

use windlass_runbook::expression::{Expression, Root};
use windlass_runbook::model::{Runbook, Step, StepBody};

use crate::event::CallName;

/// A node of the graph: a step, or after the steps the barrier before a stage.
type Node = usize;

#[derive(Debug)]
pub(crate) struct Layout {
    runbook: Arc<Runbook>,
    paths: Vec<Arc<str>>,
    calls: Vec<Option<CallName>>,
    index: HashMap<Arc<str>, usize>,
    main: usize,
    dependents: Vec<Vec<Node>>,
    waits_for: Vec<usize>,
}

impl Layout {
    pub(crate) fn new(runbook: Arc<Runbook>) -> Self {
        let main = runbook.steps.len();
        let steps = || runbook.steps.iter().chain(&runbook.finally);
        let mut paths: Vec<Arc<str>> = runbook.steps.iter().map(|step| step.id.as_str().into()).collect();
        paths.extend(runbook.finally.iter().map(|step| Arc::from(format!("finally/{}", step.id))));
        let nodes = paths.len() + runbook.stages.len();
        let mut layout = Self {
            calls: steps().map(|step| call_name(&runbook, step)).collect(),
            index: paths.iter().enumerate().map(|(index, path)| (Arc::clone(path), index)).collect(),
            main,
            dependents: vec![Vec::new(); nodes],
            waits_for: vec![0; nodes],
            paths,
            runbook,
        };
        for (from, to) in layout.edges() {
            if let (Some(dependents), Some(count)) =
                (layout.dependents.get_mut(from), layout.waits_for.get_mut(to))
            {
                dependents.push(to);
                *count += 1;
            }
        }
        layout
    }

    fn edges(&self) -> Vec<(Node, Node)> {
        let barrier = |stage: usize| self.paths.len() + stage;
        let mut edges = Vec::new();
        for (index, step) in self.runbook.steps.iter().enumerate() {
            edges.extend(step.needs.iter().map(|&need| (need, index)));
        }
        let stages = &self.runbook.stages;
        for (number, stage) in stages.iter().enumerate() {
            let next = (number + 1 < stages.len()).then(|| barrier(number + 1));
            for step in stage.steps.clone() {
                edges.push((barrier(number), step));
                edges.extend(next.map(|next| (step, next)));
            }
            // A stage without steps still comes between the two beside it.
            edges.extend(next.map(|next| (barrier(number), next)));
        }
        edges
    }

    pub(crate) fn step(&self, index: usize) -> Option<&Step> {
        match index.checked_sub(self.main) {
            None => self.runbook.steps.get(index),
            Some(finally) => self.runbook.finally.get(finally),
        }
    }

    pub(crate) fn path(&self, index: usize) -> Arc<str> {
        self.paths.get(index).map_or_else(|| "".into(), Arc::clone)
    }

    pub(crate) fn call(&self, index: usize) -> Option<&CallName> {
        self.calls.get(index)?.as_ref()
    }

    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        self.index.get(path).copied()
    }

    /// How many steps there are that are not finally steps.
    pub(crate) const fn main_steps(&self) -> usize {
        self.main
    }

    /// The numbers of the finally steps.
    pub(crate) fn finally(&self) -> std::ops::Range<usize> {
        self.main..self.paths.len()
    }

    pub(crate) const fn is_finally(&self, step: usize) -> bool {
        step >= self.main
    }

    /// How many edges each node waits for, to count down from.
    pub(crate) fn waits_for(&self) -> Vec<usize> {
        self.waits_for.clone()
    }

    /// The nodes that wait for nothing, without the finally steps.
    pub(crate) fn roots(&self) -> impl Iterator<Item = Node> {
        let finally = self.finally();
        self.waits_for
            .iter()
            .enumerate()
            .filter(move |(node, count)| **count == 0 && !finally.contains(node))
            .map(|(node, _)| node)
    }

    pub(crate) fn dependents(&self, node: Node) -> &[Node] {
        self.dependents.get(node).map_or(&[], Vec::as_slice)
    }
}

fn call_name(runbook: &Runbook, step: &Step) -> Option<CallName> {
    let StepBody::Call(invocation) = &step.body else { return None };
    let digest = runbook.plugins.get(&invocation.plugin).map_or("", |plugin| &plugin.signature.digest);
    Some(CallName {
        plugin: invocation.plugin.as_str().into(),
        digest: digest.into(),
        interface: invocation.interface.as_str().into(),
        action: invocation.action.as_str().into(),
    })
}

/// Whether a finally step has `run.report` in it.
pub(crate) fn uses_report(step: &Step) -> bool {
    let input = match &step.body {
        StepBody::Call(invocation) => &invocation.input,
        StepBody::Wait { duration } => duration,
        StepBody::Approve(approval) => &approval.text,
    };
    let conditions = step.when.iter().chain(&step.expect).flat_map(Expression::references);
    let items = step.for_each.iter().flat_map(|fan_out| fan_out.items.references());
    input
        .references()
        .chain(items)
        .chain(conditions)
        .any(|reference| matches!(&reference.root, Root::Run(field) if field == "report"))
}
