//! The plugin `http`: health checks, requests that read, and requests that write.
//!
//! This file is the thin layer between the bindings and the logic; it decides nothing.

mod answer;
mod client;
mod fetch;
mod health;
mod request;
mod seen;
mod send;
mod template;
#[cfg(test)]
mod tests;
mod undo;

use bindings::exports::windlass::contracts::{health as health_contract, http_call};
use client::{Client, Settings};
use std::cell::RefCell;
use windlass_sdk::{Attempt, Failure, Plan};

windlass_sdk::plugin! {
    wit: ["../../wit/plugin", "../../wit/contracts", "wit"],
    world: "windlass:http-plugin/plugin",
    exports: Plugin,
}

thread_local! {
    /// What `configure` said; an instance is fresh for every call.
    static SETTINGS: RefCell<Settings> = RefCell::default();
}

struct Plugin;

impl bindings::Guest for Plugin {
    fn configure(config: bindings::Config) -> Result<(), Failure> {
        let settings = Settings::new(config)?;
        SETTINGS.with_borrow_mut(|place| *place = settings);
        Ok(())
    }
}

impl health_contract::Guest for Plugin {
    fn check(input: health_contract::Target) -> Result<health_contract::Report, Failure> {
        health::check(&client(), &input)
    }
}

impl http_call::Guest for Plugin {
    fn fetch(input: http_call::Request) -> Result<http_call::Response, Failure> {
        fetch::fetch(&client(), input)
    }

    fn plan_send(input: http_call::Writing, before: Vec<Attempt>) -> Result<Plan, Failure> {
        send::plan(&client(), &input.try_into()?, &before)
    }

    fn apply_send(input: http_call::Writing, plan: Plan) -> Result<http_call::Response, Failure> {
        send::apply(&client(), &input.try_into()?, &plan)
    }

    fn plan_undo_send(_input: http_call::Writing, done: Vec<Attempt>) -> Result<Plan, Failure> {
        undo::plan(&client(), &done)
    }

    fn undo_send(_input: http_call::Writing, _done: Vec<Attempt>, plan: Plan) -> Result<(), Failure> {
        undo::undo(&client(), &plan)
    }
}

/// The client with this instance's settings, the host's transport, and the connection's origin as the base.
fn client() -> Client<'static> {
    let settings = SETTINGS.with_borrow(Settings::clone);
    Client::new(&windlass_sdk::http::Host, settings, || {
        windlass_sdk::connections::lookup("api").and_then(|connection| connection.origin)
    })
}
