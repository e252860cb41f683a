//! Finds the actions among a component's exports.
//!
//! The prefixes `plan-undo-`, `plan-`, `apply-` and `undo-` are reserved, the longest wins. Invariant: a function with a
//! reserved name is either part of a full set of exactly the right shape, or the component is refused with the reason;
//! any other function that is no reading action is listed and never called.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use windlass_runbook::wit::{Action, ActionKind, Interface, Record, Type};
use wit_parser::{Function, FunctionKind, Resolve, Type as Wit, World, WorldItem, WorldKey};

use super::Shape;
use super::metadata::Metadata;
use super::types::Types;
use crate::LoadError;

/// What was found among the exports.
#[derive(Default)]
pub(super) struct Found {
    pub(super) interfaces: Vec<Interface>,
    pub(super) config: Option<Arc<Record>>,
    pub(super) ignored: Vec<String>,
    pub(super) notes: Vec<String>,
    pub(super) shapes: HashMap<(String, String), Shape>,
}

/// The part of a reserved name that says what the function is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    Plan,
    Apply,
    PlanUndo,
    Undo,
}

/// The longest first.
const PREFIXES: [(&str, Role); 4] =
    [("plan-undo-", Role::PlanUndo), ("apply-", Role::Apply), ("plan-", Role::Plan), ("undo-", Role::Undo)];

impl Role {
    fn of(name: &str) -> Option<(Self, &str)> {
        PREFIXES.iter().find_map(|(prefix, role)| Some((*role, name.strip_prefix(prefix)?)))
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Plan => "plan-",
            Self::Apply => "apply-",
            Self::PlanUndo => "plan-undo-",
            Self::Undo => "undo-",
        }
    }

    /// How the function must look.
    const fn shape(self) -> &'static str {
        match self {
            Self::Plan => "func(input: RECORD, before: list<attempt>) -> result<plan, failure>",
            Self::Apply => "func(input: RECORD, plan: plan) -> result<T, failure>",
            Self::PlanUndo => "func(input: RECORD, done: list<attempt>) -> result<plan, failure>",
            Self::Undo => "func(input: RECORD, done: list<attempt>, plan: plan) -> result<_, failure>",
        }
    }
}

/// One function with the types that matter about it.
struct Seen<'a> {
    function: &'a Function,
    input: Wit,
    record: Arc<Record>,
    shape: Shape,
}

/// The functions of one effect.
#[derive(Default)]
struct Set<'a>(HashMap<Role, Seen<'a>>);

pub(super) fn read(
    resolve: &Resolve,
    world: &World,
    types: &mut Types<'_>,
    metadata: &Metadata,
) -> Result<Found, LoadError> {
    let mut found = Found::default();
    for (key, item) in &world.exports {
        match (key, item) {
            (WorldKey::Interface(id), WorldItem::Interface { .. }) => {
                let Some(interface) = resolve.interfaces.get(*id) else { continue };
                let Some(full) = resolve.id_of(*id) else { continue };
                let name = interface.name.clone().unwrap_or_default();
                read_interface(&full, name, &interface.functions, types, metadata, &mut found)?;
            }
            (_, WorldItem::Function(function)) if function.name == "configure" => {
                let shape = configure(function, types)?;
                found.config = shape.params.first().and_then(|ty| match ty {
                    Type::Record(record) => Some(Arc::clone(record)),
                    _ => None,
                });
                found.shapes.insert((String::new(), "configure".to_owned()), shape);
            }
            (_, WorldItem::Function(function)) => found.ignored.push(function.name.clone()),
            (WorldKey::Name(name), WorldItem::Interface { id, .. }) => {
                let functions = resolve.interfaces.get(*id).map(|interface| interface.functions.keys());
                found
                    .ignored
                    .extend(functions.into_iter().flatten().map(|function| format!("{name}#{function}")));
            }
            (_, WorldItem::Type { .. }) => {}
        }
    }
    Ok(found)
}

fn read_interface<'a>(
    full: &str,
    name: String,
    functions: &'a IndexMap<String, Function>,
    types: &mut Types<'_>,
    metadata: &Metadata,
    found: &mut Found,
) -> Result<(), LoadError> {
    let mut actions: IndexMap<&str, Option<Action>> = IndexMap::new();
    let mut sets: HashMap<&str, Set<'a>> = HashMap::new();
    for (function_name, function) in functions {
        if let Some((role, action)) = Role::of(function_name) {
            if Role::of(action).is_some() {
                return Err(refused(
                    full,
                    function_name,
                    "the name after the prefix may not begin with a prefix again",
                ));
            }
            let seen = reserved(full, role, function, types)?;
            found.shapes.insert((full.to_owned(), function_name.clone()), seen.shape.clone());
            sets.entry(action).or_default().0.insert(role, seen);
            actions.entry(action).or_insert(None);
            continue;
        }
        match reading(function, types) {
            Ok((record, shape)) => {
                let action = Action {
                    name: function_name.clone(),
                    kind: ActionKind::Reading,
                    input: record,
                    output: shape.ok.clone(),
                    docs: metadata.function(full, function_name),
                };
                found.shapes.insert((full.to_owned(), function_name.clone()), shape);
                actions.insert(function_name, Some(action));
            }
            Err(why) => {
                found.ignored.push(format!("{full}#{function_name}"));
                found.notes.push(format!("`{full}#{function_name}` is no action: {why}"));
            }
        }
    }
    for (action, set) in sets {
        // A reading function of the same name would make two actions of one name.
        if functions.contains_key(action) && actions.get(action).is_some_and(Option::is_some) {
            let why = format!("there is a function `{action}` too, and both would be the action `{action}`");
            return Err(refused(full, &format!("plan-{action}"), &why));
        }
        let made = effect(full, action, &set, types, metadata)?;
        actions.insert(action, Some(made));
    }
    let actions: Vec<Action> = actions.into_values().flatten().collect();
    if !actions.is_empty() {
        found.interfaces.push(Interface { id: full.to_owned(), name, actions });
    }
    Ok(())
}

/// Makes one action of a full set.
fn effect(
    full: &str,
    action: &str,
    Set(set): &Set<'_>,
    types: &Types<'_>,
    metadata: &Metadata,
) -> Result<Action, LoadError> {
    let has = |role: Role| set.contains_key(&role);
    let missing = |there: Role, role: Role| {
        let name = format!("{}{action}", there.prefix());
        refused(full, &name, &format!("it needs `{}{action}` beside it", role.prefix()))
    };
    for (there, role) in [
        (Role::Plan, Role::Apply),
        (Role::Apply, Role::Plan),
        (Role::PlanUndo, Role::Undo),
        (Role::Undo, Role::PlanUndo),
        (Role::PlanUndo, Role::Plan),
    ] {
        if has(there) && !has(role) {
            return Err(missing(there, role));
        }
    }
    let (Some(plan), Some(apply)) = (set.get(&Role::Plan), set.get(&Role::Apply)) else {
        return Err(LoadError::new(format!("`{full}#{action}` is not a full set")));
    };
    for seen in set.values() {
        if !types.same(&seen.input, &plan.input) {
            let why = format!("its input is not of the same type as that of `plan-{action}`");
            return Err(refused(full, &seen.function.name, &why));
        }
    }
    Ok(Action {
        name: action.to_owned(),
        kind: if has(Role::Undo) { ActionKind::UndoableEffect } else { ActionKind::Effect },
        input: Arc::clone(&apply.record),
        output: apply.shape.ok.clone(),
        docs: metadata
            .function(full, &plan.function.name)
            .or_else(|| metadata.function(full, &apply.function.name)),
    })
}

/// Checks a function with a reserved name against the shape it must have.
fn reserved<'a>(
    full: &str,
    role: Role,
    function: &'a Function,
    types: &mut Types<'_>,
) -> Result<Seen<'a>, LoadError> {
    let wrong = |why: &str| {
        let message = format!("`{full}#{}` has a reserved name and the wrong shape: {why}", function.name);
        LoadError::with_help(message, format!("it must be `{}: {}`", function.name, role.shape()))
    };
    let (result_ok, _) = returned(function, types).map_err(|why| wrong(&why))?;
    let names: Vec<&str> = function.params.iter().map(|param| param.name.as_str()).collect();
    let expected: &[&str] = match role {
        Role::Plan => &["input", "before"],
        Role::Apply => &["input", "plan"],
        Role::PlanUndo => &["input", "done"],
        Role::Undo => &["input", "done", "plan"],
    };
    if names != expected {
        return Err(wrong(&format!(
            "its parameters are ({}), not ({})",
            names.join(", "),
            expected.join(", ")
        )));
    }
    for param in &function.params {
        let right = match param.name.as_str() {
            "before" | "done" => types.is_list_of_outcome(&param.ty, "attempt"),
            "plan" => types.is_outcome(&param.ty, "plan"),
            _ => true,
        };
        if !right {
            let name = &param.name;
            return Err(wrong(&format!("`{name}` is not of the type of `windlass:plugin/outcome@0.1`")));
        }
    }
    let right = match role {
        Role::Plan | Role::PlanUndo => result_ok.is_some_and(|ok| types.is_outcome(&ok, "plan")),
        Role::Undo => result_ok.is_none(),
        Role::Apply => true,
    };
    if !right {
        return Err(wrong("it returns something else"));
    }
    let (record, shape) = shape(function, types).map_err(|why| wrong(&why))?;
    let input = function.params.first().map_or(Wit::Bool, |param| param.ty);
    Ok(Seen { function, input, record, shape })
}

/// Checks whether a function is a reading action, and if not, says why.
fn reading(function: &Function, types: &mut Types<'_>) -> Result<(Arc<Record>, Shape), String> {
    returned(function, types)?;
    match function.params.as_slice() {
        [input] if input.name == "input" => shape(function, types),
        _ => Err("a reading action takes one record called `input`".to_owned()),
    }
}

/// `configure: func(config: RECORD) -> result<_, failure>`.
fn configure(function: &Function, types: &mut Types<'_>) -> Result<Shape, LoadError> {
    let wrong = |why: &str| {
        LoadError::with_help(
            format!("the export `configure` has the wrong shape: {why}"),
            "it must be `configure: func(config: RECORD) -> result<_, failure>`",
        )
    };
    let (ok, _) = returned(function, types).map_err(|why| wrong(&why))?;
    if ok.is_some() {
        return Err(wrong("it returns something"));
    }
    match function.params.as_slice() {
        [config] if config.name == "config" => {
            shape(function, types).map(|(_, shape)| shape).map_err(|why| wrong(&why))
        }
        _ => Err(wrong("it takes one record called `config`")),
    }
}

/// What the function returns: the good side, and the failure.
fn returned(function: &Function, types: &Types<'_>) -> Result<(Option<Wit>, Wit), String> {
    if function.kind != FunctionKind::Freestanding {
        return Err("it belongs to a resource, or is asynchronous".to_owned());
    }
    let sides = function.result.as_ref().and_then(|result| types.result(result));
    match sides {
        Some((ok, Some(failure))) if types.is_outcome(&failure, "failure") => Ok((ok, failure)),
        _ => Err("it doesn't return a result with `failure` of `windlass:plugin/outcome@0.1`".to_owned()),
    }
}

/// The types of a function whose first parameter must be a record.
fn shape(function: &Function, types: &mut Types<'_>) -> Result<(Arc<Record>, Shape), String> {
    let (ok, failure) = returned(function, types)?;
    let unsupported =
        |what: super::types::Unsupported| format!("it uses {}, which is not data for a runbook", what.0);
    let mut params = Vec::with_capacity(function.params.len());
    for param in &function.params {
        params.push(types.read(&param.ty).map_err(unsupported)?);
    }
    let record = match params.first() {
        Some(Type::Record(record)) => Arc::clone(record),
        _ => return Err("its first parameter is not a record".to_owned()),
    };
    let ok = ok.map(|ok| types.read(&ok)).transpose().map_err(unsupported)?;
    let failure = types.read(&failure).map_err(unsupported)?;
    Ok((record, Shape { params, ok, failure }))
}

fn refused(interface: &str, function: &str, why: &str) -> LoadError {
    LoadError::with_help(
        format!("`{interface}#{function}` has a reserved name, but {why}"),
        "`plan-X` and `apply-X` come together, `plan-undo-X` and `undo-X` come together and need both; give any other \
         function a name without these prefixes",
    )
}
