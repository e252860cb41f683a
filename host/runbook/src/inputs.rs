//! The inputs of one run: what was given, checked against what is declared.

use serde_json::{Map, Value};

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::model::{Input, InputType, Runbook};
use crate::{suggest, units};

/// The value of every input. Names and values as in `--input name=value`.
///
/// # Errors
/// Every input that is unknown, given twice, missing, or not as declared.
pub fn resolve_inputs(
    runbook: &Runbook,
    given: &[(String, String)],
) -> Result<Map<String, Value>, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let mut values = Map::new();
    for (name, text) in given {
        let Some(input) = runbook.inputs.get(name) else {
            let known = runbook.inputs.keys().map(String::as_str);
            let help = suggest::help(name, known).or_else(|| Some("the runbook has no inputs".to_owned()));
            diagnostics.push(
                Diagnostic::error("unknown-input", format!("there is no input `{name}`")).maybe_help(help),
            );
            continue;
        };
        if values.contains_key(name) {
            let message = format!("the input `{name}` is given twice");
            diagnostics.push(Diagnostic::error("duplicate-input", message));
            continue;
        }
        match read(input, text) {
            Ok(value) => {
                values.insert(name.clone(), value);
            }
            Err(reason) => {
                let message = format!("the input `{name}` {reason}");
                diagnostics.push(declared(runbook, input, Diagnostic::error("wrong-input", message)));
                // Not missing on top of that.
                values.insert(name.clone(), Value::Null);
            }
        }
    }
    for (name, input) in &runbook.inputs {
        if values.contains_key(name) {
            continue;
        }
        match &input.default {
            Some(default) => {
                values.insert(name.clone(), default.clone());
            }
            None => {
                let message = format!("the input `{name}` is missing");
                let help = format!("add `--input {name}={}`", example(&input.ty));
                let diagnostic = Diagnostic::error("missing-input", message).help(help);
                diagnostics.push(declared(runbook, input, diagnostic));
            }
        }
    }
    if diagnostics.is_empty() { Ok(values) } else { Err(diagnostics) }
}

fn declared(runbook: &Runbook, input: &Input, diagnostic: Diagnostic) -> Diagnostic {
    diagnostic.at(runbook.sources.file(input.span.file), input.span.range(), "declared here")
}

fn read(input: &Input, text: &str) -> Result<Value, String> {
    let value =
        parse(&input.ty, text).ok_or_else(|| format!("must be {}, not \"{text}\"", describe(&input.ty)))?;
    if let (Some(pattern), Some(text)) = (&input.pattern, value.as_str())
        && !pattern.is_match(text)
    {
        return Err(format!("does not match `{}`: \"{text}\"", pattern.as_str()));
    }
    if !input.one_of.is_empty() && !input.one_of.contains(&value) {
        let known: Vec<String> = input.one_of.iter().map(Value::to_string).collect();
        return Err(format!("must be one of {}, not \"{text}\"", known.join(", ")));
    }
    Ok(value)
}

fn parse(ty: &InputType, text: &str) -> Option<Value> {
    match ty {
        InputType::String => Some(Value::String(text.to_owned())),
        InputType::Int => text.trim().parse::<i64>().ok().map(Value::from),
        InputType::Float => {
            text.trim().parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number)
        }
        InputType::Bool => text.trim().parse::<bool>().ok().map(Value::Bool),
        InputType::Duration => units::parse_duration(text.trim()).ok().map(Value::from),
        InputType::List(item) => {
            let trimmed = text.trim();
            if trimmed.starts_with('[') {
                return coerce_input(serde_json::from_str(trimmed).ok()?, ty);
            }
            if trimmed.is_empty() {
                return Some(Value::Array(Vec::new()));
            }
            trimmed
                .split(',')
                .map(|part| parse(item, part.trim()))
                .collect::<Option<Vec<_>>>()
                .map(Value::Array)
        }
    }
}

/// A value of the TOML or of JSON in the normal form of an input's type.
pub(crate) fn coerce_input(value: Value, ty: &InputType) -> Option<Value> {
    match (ty, value) {
        (InputType::String, value @ Value::String(_)) | (InputType::Bool, value @ Value::Bool(_)) => {
            Some(value)
        }
        (InputType::Int, Value::Number(number)) if number.is_i64() => Some(Value::Number(number)),
        (InputType::Float, Value::Number(number)) => {
            serde_json::Number::from_f64(number.as_f64()?).map(Value::Number)
        }
        (InputType::Duration, Value::String(text)) => units::parse_duration(&text).ok().map(Value::from),
        (InputType::List(item), Value::Array(items)) => items
            .into_iter()
            .map(|value| coerce_input(value, item))
            .collect::<Option<Vec<_>>>()
            .map(Value::Array),
        _ => None,
    }
}

/// The type with its article.
pub(crate) fn describe(ty: &InputType) -> String {
    match ty {
        InputType::String => "a string".to_owned(),
        InputType::Int => "a whole number".to_owned(),
        InputType::Float => "a number".to_owned(),
        InputType::Bool => "true or false".to_owned(),
        InputType::Duration => "a duration such as \"5m\"".to_owned(),
        InputType::List(item) => format!("a list, each item {}", describe(item)),
    }
}

fn example(ty: &InputType) -> &'static str {
    match ty {
        InputType::String => "TEXT",
        InputType::Int => "3",
        InputType::Float => "0.5",
        InputType::Bool => "true",
        InputType::Duration => "5m",
        InputType::List(_) => "A,B",
    }
}
