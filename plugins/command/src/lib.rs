//! The plugin `command`: granted programs, run without a shell.
//!
//! This file is the thin layer between the bindings and the logic; it decides nothing.

mod effect;
mod run;
mod undo;

use bindings::exports::windlass::contracts::command::{Completed, Effect, Guest, Invocation};
use run::Host;
use windlass_sdk::{Attempt, Failure, Plan};

windlass_sdk::plugin! {
    wit: ["../../wit/plugin", "../../wit/contracts", "wit"],
    world: "windlass:command-plugin/plugin",
    exports: Plugin,
}

struct Plugin;

impl Guest for Plugin {
    fn check(input: Invocation) -> Result<Completed, Failure> {
        run::check(&Host, &input)
    }

    fn plan_run(input: Effect, before: Vec<Attempt>) -> Result<Plan, Failure> {
        effect::plan(&Host, &input, &before)
    }

    fn apply_run(input: Effect, plan: Plan) -> Result<Completed, Failure> {
        effect::apply(&Host, &input, &plan)
    }

    fn plan_undo_run(_input: Effect, done: Vec<Attempt>) -> Result<Plan, Failure> {
        undo::plan(&Host, &done)
    }

    fn undo_run(_input: Effect, _done: Vec<Attempt>, plan: Plan) -> Result<(), Failure> {
        undo::undo(&Host, &plan)
    }
}
