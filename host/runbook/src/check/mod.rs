//! A document and a catalogue to a checked runbook, or to everything that is wrong with it.
//!
//! Checking is in passes: places, plugins, order, what each step calls, and last every value and expression, since
//! these need all of the others. A mistake in one pass hides as little as possible of the next.

mod baselines;
mod expressions;
mod guards;
mod inference;
mod order;
mod places;
mod plugins;
mod steps;
mod times;
mod undo;
mod values;

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::catalog::Catalog;
use crate::diagnostics::Diagnostics;
use crate::document::Document;
use crate::expression::Cache;
use crate::expression::shape::Shape;
use crate::model::{Connection, Input, Plugin, Runbook, SecretSource, Stage};
use crate::report::Report;
use baselines::BaselineFacts;
use order::Order;
use plugins::PluginFacts;
pub(crate) use plugins::placeholders;
use steps::{Called, StepFacts};

/// Checks a document. There is a runbook where neither this nor reading the document found an error.
#[must_use]
pub fn check(document: &Document, catalog: &dyn Catalog) -> (Option<Runbook>, Diagnostics) {
    let mut report = Report::new(document.sources.clone());
    let order = Order::new(document, &mut report);
    let mut checker = Checker {
        report,
        cache: Cache::default(),
        document,
        inputs: IndexMap::new(),
        vars: Map::new(),
        plugins: IndexMap::new(),
        calls: HashMap::new(),
        steps: Vec::new(),
        baselines: IndexMap::new(),
        order,
        status_words: expressions::STATUS.iter().map(|word| (*word).to_owned()).collect(),
    };
    let runbook = checker.run(catalog);
    let sound = document.sound && !checker.report.has_errors();
    (sound.then_some(runbook), checker.report.finish().0)
}

/// What is known so far.
pub(crate) struct Checker<'d> {
    report: Report,
    cache: Cache,
    document: &'d Document,
    inputs: IndexMap<String, Shape>,
    vars: Map<String, Value>,
    /// By name.
    plugins: IndexMap<String, PluginFacts>,
    /// What can be called, by what steps write: thousands of steps often call a few actions.
    calls: HashMap<String, Arc<Called>>,
    /// By index of the step.
    steps: Vec<StepFacts>,
    /// By name.
    baselines: IndexMap<String, BaselineFacts>,
    order: Order,
    status_words: Arc<[String]>,
}

impl Checker<'_> {
    fn run(&mut self, catalog: &dyn Catalog) -> Runbook {
        let document = self.document;
        let inputs: IndexMap<String, Input> = self.check_inputs();
        self.check_vars();
        let secrets: IndexMap<String, SecretSource> = self.check_secrets();
        let connections: IndexMap<String, Connection> = self.check_connections();
        let plugins: IndexMap<String, Plugin> = self.check_plugins(catalog);
        self.gather_steps();
        let baselines = self.check_baselines();
        let steps = self.check_steps();
        let rollback = self.check_rollback();
        let finally = self.check_finally();
        let guards = self.check_guards();
        let criteria = self.check_criteria();
        self.check_times();
        self.warn_of_unused();
        let stages = document
            .stages
            .iter()
            .map(|stage| Stage {
                name: stage.name.clone(),
                steps: stage.steps.clone(),
                at: stage.times.at.as_ref().map(|at| at.value),
                window: stage.times.window.clone(),
                commit: stage.commit,
            })
            .collect();
        Runbook {
            sources: document.sources.clone(),
            name: document.header.name.clone(),
            title: document.header.title.clone(),
            inputs,
            vars: std::mem::take(&mut self.vars),
            plugins,
            connections,
            secrets,
            stages,
            steps,
            finally,
            rollback,
            rollback_within_ms: document.header.rollback_within_ms,
            late: document.header.late,
            guards,
            baselines,
            criteria,
            concurrency: document.concurrency.clone(),
        }
    }
}
