//! The plugin `pg-backup`: archives of PostgreSQL databases, with the programs that come with it.
//!
//! This file is the thin layer between the bindings and the logic; it decides nothing.

mod archive;
mod dump;
mod list;
mod restore;
mod undo_dump;
mod undo_restore;
mod verify;
mod world;

use bindings::exports::windlass::contracts::backup::{Archive, Claim, Guest, Restored, Source, Target};
use windlass_sdk::{Attempt, Failure, Plan};
use world::Host;

windlass_sdk::plugin! {
    wit: ["../../wit/plugin", "../../wit/contracts", "wit"],
    world: "windlass:pg-backup-plugin/plugin",
    exports: Plugin,
}

struct Plugin;

impl Guest for Plugin {
    fn verify(input: Claim) -> Result<Archive, Failure> {
        verify::verify(&Host, &input)
    }

    fn plan_dump(input: Source, before: Vec<Attempt>) -> Result<Plan, Failure> {
        dump::plan(&Host, &input, &before)
    }

    fn apply_dump(input: Source, plan: Plan) -> Result<Archive, Failure> {
        dump::apply(&Host, &input, &plan)
    }

    fn plan_undo_dump(_input: Source, done: Vec<Attempt>) -> Result<Plan, Failure> {
        undo_dump::plan(&Host, &done)
    }

    fn undo_dump(_input: Source, done: Vec<Attempt>, plan: Plan) -> Result<(), Failure> {
        undo_dump::undo(&Host, &done, &plan)
    }

    fn plan_restore(input: Target, before: Vec<Attempt>) -> Result<Plan, Failure> {
        restore::plan(&Host, &input, &before)
    }

    fn apply_restore(input: Target, plan: Plan) -> Result<Restored, Failure> {
        restore::apply(&Host, &input, &plan)
    }

    fn plan_undo_restore(_input: Target, done: Vec<Attempt>) -> Result<Plan, Failure> {
        undo_restore::plan(&Host, &done)
    }

    fn undo_restore(_input: Target, _done: Vec<Attempt>, plan: Plan) -> Result<(), Failure> {
        undo_restore::undo(&Host, &plan)
    }
}
