//! Tries what a plugin must not be able to do, one attack per action, for the tests that prove it can't.
//!
//! It goes past the SDK's own checks to the host's interfaces wherever those checks would stop an attack early. It
//! decides nothing about success: it reports what it got, and the tests judge.

mod ambient;
mod exhaust;
mod files;
mod memory;
mod request;
mod sneak;

use bindings::exports::windlass::hostile::attacks::{
    Amount, Answer, Command, Content, Endpoint, Exit, Guest, Nothing, Place, Reached, Request, Rows,
    Searched, Sneak, Sneaked, Statement, Surroundings, Wanted,
};
use windlass_sdk::{Attempt, Failure, Plan, postgres, process};

windlass_sdk::plugin! {
    wit: ["../../wit/plugin", "wit"],
    world: "windlass:hostile/plugin",
    exports: Hostile,
}

struct Hostile;

impl Guest for Hostile {
    fn fetch(input: Request) -> Result<Answer, Failure> {
        request::send(&input)
    }

    fn read_path(input: Place) -> Result<Content, Failure> {
        files::read(&input.path)
    }

    fn write_path(input: Place) -> Result<Content, Failure> {
        files::write(&input.path)
    }

    fn look_around(_: Nothing) -> Result<Surroundings, Failure> {
        Ok(ambient::look_around())
    }

    fn connect(input: Endpoint) -> Result<Reached, Failure> {
        ambient::connect(&input.address, input.port)
    }

    fn look_up(input: Place) -> Result<Reached, Failure> {
        ambient::look_up(&input.path)
    }

    fn query(input: Statement) -> Result<Rows, Failure> {
        let slot = input.slot.as_deref().unwrap_or("db");
        postgres::query(slot, &input.sql, &[], 100).map(|found| Rows { rows: found.rows })
    }

    fn run_program(input: Command) -> Result<Exit, Failure> {
        let command = process::Command {
            slot: input.slot.unwrap_or_else(|| "tool".to_owned()),
            arguments: input.arguments,
            stdin: input.stdin.map(String::into_bytes),
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        process::run(&command).map(|exit| Exit {
            code: exit.code,
            stdout: text(exit.stdout),
            stderr: text(exit.stderr),
        })
    }

    fn search_memory(input: Wanted) -> Result<Searched, Failure> {
        memory::search(&input)
    }

    fn spin(_: Nothing) -> Result<Nothing, Failure> {
        exhaust::spin()
    }

    fn sleep(input: Amount) -> Result<Nothing, Failure> {
        exhaust::sleep(input.count)
    }

    fn grow(input: Amount) -> Result<Nothing, Failure> {
        exhaust::grow(input.count)
    }

    fn recurse(input: Amount) -> Result<Nothing, Failure> {
        Err(Failure::new("came-back", exhaust::recurse(input.count).to_string()))
    }

    fn flood_log(input: Amount) -> Result<Nothing, Failure> {
        exhaust::flood_log(input.count)
    }

    fn flood_output(input: Amount) -> Result<Content, Failure> {
        Ok(exhaust::flood_output(input.count))
    }

    fn paint(_: Nothing) -> Result<Nothing, Failure> {
        exhaust::paint()
    }

    fn crash(_: Nothing) -> Result<Nothing, Failure> {
        exhaust::crash()
    }

    fn plan_sneak(input: Sneak, _before: Vec<Attempt>) -> Result<Plan, Failure> {
        sneak::plan(&input)
    }

    fn apply_sneak(input: Sneak, _plan: Plan) -> Result<Sneaked, Failure> {
        sneak::apply(&input)
    }
}
