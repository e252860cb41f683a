//! The plugin `postgres`: migrations, reading statements, and assertions about what is there.
//!
//! This file is the thin layer between the bindings and the logic; it decides nothing.

mod assert;
mod catalog;
mod file;
mod ledger;
mod migrate;
mod name;
mod query;
mod server;
mod shape;
mod summary;
mod undo;

use bindings::exports::windlass::contracts::database::{
    Expectation, Found, Guest, Migrated, Migration, Selection, Verified,
};
use ledger::Ledger;
use server::Host;
use std::cell::RefCell;
use windlass_sdk::{Attempt, Failure, Plan, fs};

windlass_sdk::plugin! {
    wit: ["../../wit/plugin", "../../wit/contracts", "wit"],
    world: "windlass:postgres-plugin/plugin",
    exports: Plugin,
}

thread_local! {
    /// What `configure` said; an instance is fresh for every call.
    static LEDGER: RefCell<Ledger> = RefCell::default();
}

struct Plugin;

impl bindings::Guest for Plugin {
    fn configure(config: bindings::Config) -> Result<(), Failure> {
        if let Some(table) = &config.ledger {
            let ledger = Ledger::new(table)?;
            LEDGER.with_borrow_mut(|place| *place = ledger);
        }
        Ok(())
    }
}

impl Guest for Plugin {
    fn query(input: Selection) -> Result<Found, Failure> {
        query::query(&Host, &input)
    }

    fn assert(input: Expectation) -> Result<Verified, Failure> {
        assert::assert(&Host, &input)
    }

    fn plan_migrate(input: Migration, before: Vec<Attempt>) -> Result<Plan, Failure> {
        migrate::plan(&Host, &fs::Host, &ledger(), &input, &before)
    }

    fn apply_migrate(input: Migration, plan: Plan) -> Result<Migrated, Failure> {
        migrate::apply(&Host, &fs::Host, &ledger(), &input, &plan)
    }

    fn plan_undo_migrate(input: Migration, done: Vec<Attempt>) -> Result<Plan, Failure> {
        undo::plan(&Host, &fs::Host, &ledger(), &input, &done)
    }

    fn undo_migrate(input: Migration, _done: Vec<Attempt>, plan: Plan) -> Result<(), Failure> {
        undo::undo(&Host, &fs::Host, &ledger(), &input, &plan)
    }
}

fn ledger() -> Ledger {
    LEDGER.with_borrow(Ledger::clone)
}
