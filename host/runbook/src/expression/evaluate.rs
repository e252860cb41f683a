//! A compiled expression and a scope to a value.
//!
//! Failures are told in the words of the runbook and never with the values that were there: they may be what nobody
//! should read.

use std::sync::Arc;

use cel::{Context, ExecutionError};
use serde_json::Value;

use super::compile::{Body, Compiled, environment, reference_index};
use super::{ExpressionError, Reference, Root, Scope, convert};

/// Evaluates a compiled expression.
pub(crate) fn evaluate(compiled: &Compiled, scope: &dyn Scope) -> Result<Value, ExpressionError> {
    let Body::Tree { tree, .. } = &compiled.body else {
        let Some(reference) = compiled.references.first() else {
            return Err(failed(compiled, "it refers to nothing"));
        };
        return match reference.look_up(scope) {
            Some(value) => Ok(value.into_owned()),
            None => Err(missing(compiled, reference, scope)),
        };
    };
    let mut context = Context::with_env(Arc::clone(environment()));
    for (index, reference) in compiled.references.iter().enumerate() {
        let found = reference.look_up(scope);
        if reference.presence {
            context.add_variable_from_value(format!("${index}"), found.is_some());
        } else if let Some(value) = found {
            context.add_variable_from_value(format!("${index}"), convert::to_cel(&value));
        }
    }
    match cel::Value::resolve(tree, &context) {
        Ok(value) => convert::to_json(&value).map_err(|message| failed(compiled, message)),
        Err(ExecutionError::UndeclaredReference(name)) => {
            let reference = reference_index(&name).and_then(|index| compiled.references.get(index));
            Err(match reference {
                Some(reference) => missing(compiled, reference, scope),
                None => failed(compiled, &format!("`{name}` is not known")),
            })
        }
        Err(error) => Err(failed(compiled, &explain(&error))),
    }
}

fn missing(compiled: &Compiled, reference: &Reference, scope: &dyn Scope) -> ExpressionError {
    let expression = compiled.source.to_string();
    match &reference.root {
        Root::StepOutput(step) if scope.step_output(step).is_none() => {
            ExpressionError::NoOutput { step: step.clone(), expression }
        }
        _ => ExpressionError::Absent { reference: reference.to_string(), expression },
    }
}

fn failed(compiled: &Compiled, message: &str) -> ExpressionError {
    ExpressionError::Evaluation { expression: compiled.source.to_string(), message: message.to_owned() }
}

/// CEL's error in words of the runbook. Values stay out: they may be what nobody should read.
fn explain(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no `{key}` in the value"),
        ExecutionError::NoSuchOverload(overload) => {
            let types = overload.argument_types().join(" and ");
            format!("{} does not take {types}", operator_name(overload.function()))
        }
        ExecutionError::ValuesNotComparable(..) => "the two values can't be compared".to_owned(),
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
            format!("{} does not take these two values", operator_name(operator))
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "division by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "the number does not fit into 64 bits".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "the list is shorter than that".to_owned(),
        ExecutionError::UnsupportedIndex(..) => "the value can't be indexed so".to_owned(),
        ExecutionError::FunctionError { function, message } => format!("`{function}`: {message}"),
        ExecutionError::UnexpectedType { got, want } => format!("expected {want}, found {got}"),
        ExecutionError::UndeclaredReference(name) => format!("`{name}` is not known"),
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("expected {expected} arguments, found {actual}")
        }
        _ => "it can't be evaluated".to_owned(),
    }
}

fn operator_name(name: &str) -> String {
    let trimmed = match name.trim_matches(|letter| letter == '_' || letter == '@') {
        "add" => "+",
        "sub" => "-",
        "mul" => "*",
        "div" => "/",
        "rem" => "%",
        other => other,
    };
    format!("`{}`", if trimmed.is_empty() { name } else { trimmed })
}
