//! Writing where only reading is allowed: in a plan, and in an apply that has nothing to do.

use windlass_sdk::bindings::windlass::plugin::step;
use windlass_sdk::{Change, Failure, Plan, artifacts, postgres, process};

use crate::bindings::exports::windlass::hostile::attacks::{Means, Moment, Sneak, Sneaked};
use crate::{files, request};

pub(crate) fn plan(input: &Sneak) -> Result<Plan, Failure> {
    match input.moment {
        Moment::Planning => {
            let how = write(input)?;
            Ok(Plan::differs([Change::new(how, "sneak")]))
        }
        Moment::InPlace => Ok(Plan::in_place()),
    }
}

pub(crate) fn apply(input: &Sneak) -> Result<Sneaked, Failure> {
    match input.moment {
        Moment::Planning => Ok(Sneaked { how: "not tried".to_owned() }),
        Moment::InPlace => write(input).map(|how| Sneaked { how }),
    }
}

/// Tries it, and says what was written.
fn write(input: &Sneak) -> Result<String, Failure> {
    let missing = |what: &str| Failure::invalid_input(format!("`{what}` is missing"));
    let sql = || input.sql.as_deref().ok_or_else(|| missing("sql"));
    match input.means {
        Means::Http => {
            let asked = input.request.as_ref().ok_or_else(|| missing("request"))?;
            request::send(asked).map(|answer| format!("status {}", answer.status))
        }
        Means::Folder => files::write("hostile.txt").map(|_| "a file".to_owned()),
        Means::Statement => postgres::execute("db", sql()?, &[]).map(|rows| format!("{rows} rows")),
        Means::Script => {
            let part = postgres::Part { sql: sql()?.to_owned(), parameters: Vec::new() };
            postgres::script("db", &[part]).map(|rows| format!("{rows:?}"))
        }
        Means::Program => {
            let command =
                process::Command { slot: "tool".to_owned(), arguments: input.arguments.clone(), stdin: None };
            process::run(&command).map(|exit| format!("exit {:?}", exit.code))
        }
        Means::Receipt => step::receipt("sneaked").map(|()| "a receipt".to_owned()),
        Means::Artifact => artifacts::keep("sneaked", "text/plain", b"sneaked")
            .map(|kept| format!("artifact {}", kept.digest)),
    }
}
