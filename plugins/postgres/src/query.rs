//! One reading statement with its parameters.

use crate::bindings::exports::windlass::contracts::database::{Found, Selection};
use crate::server::Server;
use windlass_sdk::postgres::Parameter;
use windlass_sdk::{Failure, Value, serde_json};

/// How many rows are fetched where the step says nothing.
const LIMIT: u32 = 100;

/// Run it.
pub(crate) fn query(server: &impl Server, input: &Selection) -> Result<Found, Failure> {
    let parameters =
        input.parameters.iter().map(|text| parameter(text)).collect::<Result<Vec<_>, Failure>>()?;
    let answer = server.query(&input.sql, &parameters, input.limit.unwrap_or(LIMIT))?;
    Ok(Found {
        row_count: u32::try_from(answer.rows.len()).unwrap_or(u32::MAX),
        columns: answer.columns,
        rows: answer.rows,
        truncated: answer.truncated,
    })
}

/// A parameter as its JSON has it; lists and tables are sent as JSON.
fn parameter(text: &str) -> Result<Parameter, Failure> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Failure::invalid_input(format!("a parameter is no JSON: {error}")))?;
    Ok(match value {
        Value::Null => Parameter::Null,
        Value::Bool(value) => Parameter::Boolean(value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Parameter::Integer(integer),
            (None, Some(float)) if number.is_f64() => Parameter::Float(float),
            _ => {
                let message = format!("the parameter {number} is beyond 64 bits with sign: send it as text");
                return Err(Failure::invalid_input(message));
            }
        },
        Value::String(text) => Parameter::Text(text),
        other => Parameter::Json(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::{parameter, query};
    use crate::bindings::exports::windlass::contracts::database::Selection;
    use crate::server::tests::Fake;
    use windlass_sdk::json;
    use windlass_sdk::postgres::Parameter;

    #[test]
    fn parameters_keep_their_types() {
        for (text, expected) in [
            ("null", Parameter::Null),
            ("true", Parameter::Boolean(true)),
            ("7", Parameter::Integer(7)),
            ("7.5", Parameter::Float(7.5)),
            ("\"7\"", Parameter::Text("7".to_owned())),
            ("[1,2]", Parameter::Json("[1,2]".to_owned())),
        ] {
            assert_eq!(parameter(text).unwrap(), expected);
        }
        assert_eq!(parameter("18446744073709551615").unwrap_err().code, "invalid-input");
    }

    #[test]
    fn rows_beyond_the_limit_are_said() {
        let server =
            Fake { answers: vec![("SELECT", vec![json!({ "n": 1 }), json!({ "n": 2 })])], ..Fake::default() };
        let mut input =
            Selection { sql: "SELECT 1".to_owned(), parameters: Vec::new(), limit: None, extra: Vec::new() };
        let found = query(&server, &input).unwrap();
        assert_eq!((found.row_count, found.truncated, found.columns), (2, false, vec!["n".to_owned()]));
        input.limit = Some(1);
        let found = query(&server, &input).unwrap();
        assert_eq!((found.row_count, found.truncated), (1, true));
    }
}
