//! A runbook laid out for running: paths, what each step calls, and who waits for whom.
//!
//! Everything that has work of its own has one numbering: the steps, the finally steps, the rollback steps, the barriers
//! before the stages, and the undos of the steps. The barriers are nodes of their own, so that the edges are as many as
//! the steps and never their square.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use windlass_runbook::expression::{Expression, Root};
use windlass_runbook::model::{Invocation, RollbackOrder, Runbook, Stage, Step, StepBody, Undo};

use crate::event::CallName;

/// A node of the graph: a step, or the barrier before a stage.
pub(crate) type Node = usize;

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A step.
    Main,
    /// A finally step.
    Finally,
    /// A step of a rollback besides the undos.
    Rollback,
    /// What stands before a stage.
    Barrier,
    /// The undo of a step.
    Undo,
}

/// The graph backwards: how many undos each node waits for, and which wait for it.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) waits_for: Vec<usize>,
    pub(crate) gates: Vec<Vec<Node>>,
}

#[derive(Debug)]
pub(crate) struct Layout {
    runbook: Arc<Runbook>,
    paths: Vec<Arc<str>>,
    /// Steps that call the same share what it is called.
    calls: Vec<Option<Arc<CallName>>>,
    /// What takes a step back, where that is not its action's own undo; by step.
    undo_calls: HashMap<usize, Arc<CallName>>,
    /// Made when a run first goes back, which most never do.
    undo_paths: OnceLock<Vec<Arc<str>>>,
    index: HashMap<Arc<str>, usize>,
    main: usize,
    dependents: Dependents,
    waits_for: Vec<usize>,
    /// Path and call of each guard.
    guards: Vec<(Arc<str>, Arc<CallName>)>,
}

/// Which nodes wait for each node, all in one list: a list for each would cost more than what is in it.
#[derive(Debug)]
struct Dependents {
    /// By node, where its part of the list begins; one more for the end of the last.
    starts: Vec<usize>,
    list: Vec<Node>,
}

impl Dependents {
    /// From the edges between so many nodes; the order of the edges is kept within each part.
    fn new(nodes: usize, edges: &[(Node, Node)]) -> Self {
        let mut starts = vec![0; nodes + 1];
        for (from, _) in edges {
            if let Some(size) = starts.get_mut(from + 1) {
                *size += 1;
            }
        }
        let mut total = 0;
        for start in &mut starts {
            total += *start;
            *start = total;
        }
        let mut free = starts.clone();
        let mut list = vec![0; total];
        for (from, to) in edges {
            if let Some(place) = free.get_mut(*from)
                && let Some(slot) = list.get_mut(*place)
            {
                *slot = *to;
                *place += 1;
            }
        }
        Self { starts, list }
    }

    fn of(&self, node: Node) -> &[Node] {
        let range = self.starts.get(node).zip(self.starts.get(node + 1));
        range.and_then(|(start, end)| self.list.get(*start..*end)).unwrap_or_default()
    }
}

/// The names of calls, each made once: thousands of steps often call a few.
struct Names<'r> {
    runbook: &'r Runbook,
    /// By plugin, interface and action.
    known: HashMap<[&'r str; 3], Arc<CallName>>,
}

impl<'r> Names<'r> {
    fn new(runbook: &'r Runbook) -> Self {
        Self { runbook, known: HashMap::new() }
    }

    fn of(&mut self, call: &'r Invocation) -> Arc<CallName> {
        let name = || {
            let plugin = self.runbook.plugins.get(&*call.plugin);
            Arc::new(CallName {
                plugin: Arc::clone(&call.plugin),
                digest: plugin.map_or("", |plugin| &plugin.signature.digest).into(),
                interface: Arc::clone(&call.interface),
                action: Arc::clone(&call.action),
            })
        };
        Arc::clone(self.known.entry([&call.plugin, &call.interface, &call.action]).or_insert_with(name))
    }
}

impl Layout {
    pub(crate) fn new(runbook: Arc<Runbook>) -> Self {
        let main = runbook.steps.len();
        let rollback = || runbook.rollback.iter().map(|rollback| &rollback.step);
        let steps = || runbook.steps.iter().chain(&runbook.finally).chain(rollback());
        let mut paths: Vec<Arc<str>> = runbook.steps.iter().map(|step| step.id.as_str().into()).collect();
        paths.extend(runbook.finally.iter().map(|step| Arc::from(format!("finally/{}", step.id))));
        paths.extend(rollback().map(|step| Arc::from(format!("rollback/{}", step.id))));
        let mut names = Names::new(&runbook);
        let calls = steps().map(|step| match &step.body {
            StepBody::Call(call) => Some(names.of(call)),
            StepBody::Wait { .. } | StepBody::Approve(_) => None,
        });
        let calls = calls.collect();
        let undo_calls = runbook.steps.iter().enumerate().filter_map(|(index, step)| match &step.undo {
            Undo::Call(call) => Some((index, names.of(call))),
            Undo::Own | Undo::Never => None,
        });
        let undo_calls = undo_calls.collect();
        let guards = runbook.guards.iter();
        let guards =
            guards.map(|guard| (format!("guard/{}", guard.id).into(), names.of(&guard.call))).collect();
        let nodes = paths.len() + runbook.stages.len();
        let edges = edges(&runbook, paths.len());
        let mut waits_for = vec![0; nodes];
        for (_, to) in &edges {
            if let Some(count) = waits_for.get_mut(*to) {
                *count += 1;
            }
        }
        Self {
            undo_calls,
            undo_paths: OnceLock::new(),
            calls,
            index: paths.iter().enumerate().map(|(index, path)| (Arc::clone(path), index)).collect(),
            main,
            dependents: Dependents::new(nodes, &edges),
            waits_for,
            guards,
            paths,
            runbook,
        }
    }

    pub(crate) fn runbook(&self) -> &Runbook {
        &self.runbook
    }

    pub(crate) fn role(&self, index: usize) -> Role {
        let finally = self.main + self.runbook.finally.len();
        match index {
            _ if index < self.main => Role::Main,
            _ if index < finally => Role::Finally,
            _ if index < self.paths.len() => Role::Rollback,
            _ if index < self.nodes() => Role::Barrier,
            _ => Role::Undo,
        }
    }

    /// The step itself; of an undo the step that it takes back.
    pub(crate) fn step(&self, index: usize) -> Option<&Step> {
        match self.role(index) {
            Role::Main => self.runbook.steps.get(index),
            Role::Finally => self.runbook.finally.get(index - self.main),
            Role::Rollback => {
                let number = index - self.main - self.runbook.finally.len();
                self.runbook.rollback.get(number).map(|rollback| &rollback.step)
            }
            Role::Barrier => None,
            Role::Undo => self.runbook.steps.get(index - self.nodes()),
        }
    }

    /// The stage that a barrier stands before, and its number.
    pub(crate) fn stage_of(&self, node: Node) -> Option<(usize, &Stage)> {
        let number = node.checked_sub(self.paths.len())?;
        self.runbook.stages.get(number).map(|stage| (number, stage))
    }

    fn undo_paths(&self) -> &[Arc<str>] {
        self.undo_paths.get_or_init(|| {
            self.runbook.steps.iter().map(|step| Arc::from(format!("undo/{}", step.id))).collect()
        })
    }

    pub(crate) fn path(&self, index: usize) -> Arc<str> {
        let path = match self.role(index) {
            Role::Undo => self.undo_paths().get(index - self.nodes()),
            _ => self.paths.get(index),
        };
        path.map_or_else(|| "".into(), Arc::clone)
    }

    /// What is called; of an undo what takes the step back.
    pub(crate) fn call(&self, index: usize) -> Option<&CallName> {
        match self.undone_by(index) {
            Some(step) => self.undo_calls.get(&step).or_else(|| self.calls.get(step)?.as_ref()),
            None => self.calls.get(index)?.as_ref(),
        }
        .map(|call| &**call)
    }

    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        match path.strip_prefix("undo/") {
            Some(step) => self.index.get(step).filter(|step| **step < self.main).map(|step| self.undo(*step)),
            None => self.index.get(path).copied(),
        }
    }

    /// The node of a step's path, or of `stage/` and the name of a stage.
    pub(crate) fn find_node(&self, path: &str) -> Option<Node> {
        let Some(name) = path.strip_prefix("stage/") else { return self.find(path) };
        let number = self.runbook.stages.iter().position(|stage| stage.name == name)?;
        Some(self.paths.len() + number)
    }

    /// How many nodes there are: steps of all kinds, and barriers.
    pub(crate) fn nodes(&self) -> usize {
        self.paths.len() + self.runbook.stages.len()
    }

    /// The number of a step's undo.
    pub(crate) fn undo(&self, step: usize) -> usize {
        self.nodes() + step
    }

    /// The step that an undo takes back; none where the number is no undo's.
    pub(crate) fn undone_by(&self, index: usize) -> Option<usize> {
        index.checked_sub(self.nodes())
    }

    /// Whether it is no step of the way forward.
    pub(crate) fn is_extra(&self, index: usize) -> bool {
        !matches!(self.role(index), Role::Main | Role::Barrier)
    }

    /// The rollback steps of that order.
    pub(crate) fn rollback(&self, order: RollbackOrder) -> impl Iterator<Item = usize> + '_ {
        let first = self.main + self.runbook.finally.len();
        let of_order = move |(number, _): &(usize, _)| {
            self.runbook.rollback.get(*number).is_some_and(|rollback| rollback.order == order)
        };
        self.runbook.rollback.iter().enumerate().filter(of_order).map(move |(number, _)| first + number)
    }

    /// The graph backwards.
    pub(crate) fn mirror(&self) -> Mirror {
        let nodes = self.waits_for.len();
        let mut gates = vec![Vec::new(); nodes];
        let mut waits_for = vec![0; nodes];
        for (node, count) in waits_for.iter_mut().enumerate() {
            let dependents = self.dependents(node);
            *count = dependents.len();
            for &dependent in dependents {
                if let Some(gates) = gates.get_mut(dependent) {
                    gates.push(node);
                }
            }
        }
        Mirror { waits_for, gates }
    }

    /// The nodes that wait for any of these, however indirectly, and these themselves.
    pub(crate) fn downstream(&self, of: &[Node]) -> Vec<bool> {
        let mut found = vec![false; self.waits_for.len()];
        let mut left = of.to_vec();
        while let Some(node) = left.pop() {
            if let Some(seen) = found.get_mut(node)
                && !std::mem::replace(seen, true)
            {
                left.extend(self.dependents(node));
            }
        }
        found
    }

    /// How many steps there are that are not finally steps.
    pub(crate) const fn main_steps(&self) -> usize {
        self.main
    }

    /// What must be done before the way forward is at its end: the steps, and the stages that wait for their time.
    pub(crate) fn unsatisfied(&self) -> usize {
        self.main + self.runbook.stages.iter().filter(|stage| stage.at.is_some()).count()
    }

    /// The numbers of the finally steps.
    pub(crate) fn finally(&self) -> Range<usize> {
        self.main..self.main + self.runbook.finally.len()
    }

    pub(crate) fn is_finally(&self, step: usize) -> bool {
        self.role(step) == Role::Finally
    }

    /// Whether nobody is there to be asked, and nothing waits for it: a finally or a rollback step.
    pub(crate) fn is_aside(&self, step: usize) -> bool {
        matches!(self.role(step), Role::Finally | Role::Rollback)
    }

    /// `guard/ID`.
    pub(crate) fn guard_path(&self, guard: usize) -> Option<&Arc<str>> {
        self.guards.get(guard).map(|(path, _)| path)
    }

    pub(crate) fn guard_call(&self, guard: usize) -> Option<&CallName> {
        self.guards.get(guard).map(|(_, call)| &**call)
    }

    /// The steps that come after a step in the graph, in their order, up to those at which it stops and without them.
    pub(crate) fn covered_after(&self, step: usize, stops: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut seen = vec![false; self.waits_for.len()];
        let mut queue = vec![step];
        let mut found = Vec::new();
        while let Some(node) = queue.pop() {
            for &next in self.dependents(node) {
                let new = seen.get_mut(next).is_some_and(|seen| !std::mem::replace(seen, true));
                if !new || (next < self.main && stops(next)) {
                    continue;
                }
                if next < self.main {
                    found.push(next);
                }
                queue.push(next);
            }
        }
        found.sort_unstable();
        found
    }

    /// How many edges each node waits for, to count down from.
    pub(crate) fn waits_for(&self) -> Vec<usize> {
        self.waits_for.clone()
    }

    /// The nodes that wait for nothing, of the way forward.
    pub(crate) fn roots(&self) -> impl Iterator<Item = Node> + '_ {
        self.waits_for
            .iter()
            .enumerate()
            .filter(move |(node, count)| **count == 0 && !self.is_extra(*node))
            .map(|(node, _)| node)
    }

    pub(crate) fn dependents(&self, node: Node) -> &[Node] {
        self.dependents.of(node)
    }
}

/// What waits for what; the barriers before the stages are numbered after the steps of all kinds.
fn edges(runbook: &Runbook, steps: usize) -> Vec<(Node, Node)> {
    let barrier = |stage: usize| steps + stage;
    let mut edges = Vec::with_capacity(runbook.steps.len());
    for (index, step) in runbook.steps.iter().enumerate() {
        edges.extend(step.needs.iter().map(|&need| (need, index)));
    }
    let stages = &runbook.stages;
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
