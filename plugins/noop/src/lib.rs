//! The plugin `noop`: does nothing, so that what the host costs can be measured.

use bindings::exports::windlass::noop::noop::{Guest, Number};
use windlass_sdk::{Attempt, Change, Failure, Plan};

windlass_sdk::plugin! {
    wit: ["../../wit/plugin", "wit"],
    world: "windlass:noop/plugin",
    exports: Plugin,
}

struct Plugin;

impl Guest for Plugin {
    fn read(input: Number) -> Result<Number, Failure> {
        Ok(input)
    }

    fn plan_write(input: Number, _before: Vec<Attempt>) -> Result<Plan, Failure> {
        Ok(Plan::differs([Change::new(format!("number {}", input.n), "write")]).repeatable(true))
    }

    fn apply_write(input: Number, _plan: Plan) -> Result<Number, Failure> {
        Ok(input)
    }
}
