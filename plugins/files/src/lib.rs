//! The plugin `files`: text files in granted folders.
//!
//! This file is the thin layer between the bindings and the logic; it decides nothing.

mod read;
mod state;
mod undo;
mod write;

use bindings::exports::windlass::contracts::files::{Content, File, Guest, Location, Written};
use windlass_sdk::fs::Host;
use windlass_sdk::{Attempt, Failure, Plan};

windlass_sdk::plugin! {
    wit: ["../../wit/plugin", "../../wit/contracts", "wit"],
    world: "windlass:files-plugin/plugin",
    exports: Plugin,
}

struct Plugin;

impl Guest for Plugin {
    fn read(input: Location) -> Result<Content, Failure> {
        read::read(&Host, &input)
    }

    fn plan_write(input: File, before: Vec<Attempt>) -> Result<Plan, Failure> {
        write::plan(&Host, &input, &before)
    }

    fn apply_write(input: File, plan: Plan) -> Result<Written, Failure> {
        write::apply(&Host, &input, &plan)
    }

    fn plan_undo_write(_input: File, done: Vec<Attempt>) -> Result<Plan, Failure> {
        undo::plan(&Host, &done)
    }

    fn undo_write(_input: File, done: Vec<Attempt>, plan: Plan) -> Result<(), Failure> {
        undo::undo(&Host, &done, &plan)
    }
}
