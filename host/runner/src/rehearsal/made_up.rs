//! Results for calls that a test says nothing about: of the right type, with everything that later steps read, and such
//! that simple conditions on them are met.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value, json};
use windlass_engine::State;
use windlass_runbook::expression::{Expression, Root, Scope, Segment};
use windlass_runbook::model::{Guard, Runbook, Step, StepBody, Undo};
use windlass_runbook::wit::Type;

/// What the steps of a runbook read of each other.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// By step: the paths below its output.
    paths: HashMap<String, Vec<Vec<Segment>>>,
}

impl Readings {
    pub(super) fn of(runbook: &Runbook) -> Self {
        let mut readings = Self::default();
        let steps = runbook.steps.iter().chain(&runbook.finally);
        for step in steps.chain(runbook.rollback.iter().map(|rollback| &rollback.step)) {
            for expression in expressions(step) {
                readings.read(expression);
            }
        }
        for guard in &runbook.guards {
            for expression in guard.call.input.expressions().into_iter().chain(conditions_of(guard)) {
                readings.read(expression);
            }
        }
        for expression in runbook.baselines.values() {
            readings.read(expression);
        }
        readings
    }

    fn read(&mut self, expression: &Expression) {
        for reference in expression.references() {
            if let Root::StepOutput(step) = &reference.root {
                self.paths.entry(step.clone()).or_default().push(reference.path.clone());
            }
        }
    }

    /// A result of this type, for this step.
    pub(super) fn result(&self, step: &str, ty: Option<&Type>) -> Value {
        let Some(ty) = ty else { return Value::Null };
        let mut value = made_up(ty);
        for path in self.paths.get(step).into_iter().flatten() {
            fill(&mut value, path, Some(ty));
        }
        value
    }
}

fn expressions(step: &Step) -> Vec<&Expression> {
    let mut found: Vec<&Expression> = step.when.iter().chain(&step.expect).collect();
    match &step.body {
        StepBody::Call(invocation) => found.extend(invocation.input.expressions()),
        StepBody::Wait { duration } => found.extend(duration.expressions()),
        StepBody::Approve(approval) => found.extend(approval.text.expressions()),
    }
    if let Undo::Call(invocation) = &step.undo {
        found.extend(invocation.input.expressions());
    }
    found.extend(step.gate.iter().map(|gate| &gate.until));
    if let Some(fan_out) = &step.for_each {
        found.extend(fan_out.items.expressions());
        found.extend(&fan_out.key);
    }
    found
}

fn conditions_of(guard: &Guard) -> impl Iterator<Item = &Expression> {
    [&guard.rollback_when, &guard.hold_when, &guard.fresh_when].into_iter().flatten()
}

/// Any value of a type.
pub(super) fn whole(ty: &Type) -> Value {
    made_up(ty)
}

/// Puts what somebody wrote over what was made up: tables member by member, all else as a whole.
pub(super) fn merge(value: &mut Value, written: Value) {
    match (value, written) {
        (Value::Object(members), Value::Object(written)) => {
            for (name, part) in written {
                let known = name.replace('-', "_");
                merge(members.entry(known).or_insert(Value::Null), part);
            }
        }
        (value, written) => *value = written,
    }
}

fn made_up(ty: &Type) -> Value {
    match ty {
        Type::Bool => json!(true),
        Type::Integer { min, .. } => json!((*min).max(0)),
        Type::Float => json!(0.0),
        Type::Char => json!("x"),
        Type::String | Type::SecretName => json!("made-up"),
        Type::Bytes => json!(""),
        Type::List(_) => json!([]),
        Type::Map(_) | Type::Json => json!({}),
        Type::Option(_) => Value::Null,
        Type::Tuple(parts) => parts.iter().map(made_up).collect(),
        Type::Record(record) => {
            let field = |name: &str| name.replace('-', "_");
            record.fields.iter().map(|part| (field(&part.name), made_up(&part.ty))).collect()
        }
        Type::Variant(variant) => match variant.cases.first() {
            Some((name, Some(payload))) => json!({ name: made_up(payload) }),
            Some((name, None)) => json!(name),
            None => Value::Null,
        },
        Type::Enum(names) => names.first().map_or(Value::Null, |name| json!(name)),
        Type::Flags(_) => json!([]),
        Type::Duration | Type::ByteSize => json!(0),
        Type::Timestamp => json!("2026-01-01T00:00:00Z"),
    }
}

/// Makes sure that something stands at the end of a path.
fn fill(value: &mut Value, path: &[Segment], ty: Option<&Type>) {
    let ty = match ty {
        Some(Type::Option(inner)) => Some(&**inner),
        other => other,
    };
    if value.is_null() {
        *value = ty.map_or_else(|| json!("made-up"), made_up);
    }
    match path.split_first() {
        None => (),
        Some((Segment::Name(name), rest)) => {
            if !value.is_object() {
                *value = json!({});
            }
            let below = match ty {
                Some(Type::Record(record)) => record.field(name).map(|field| &field.ty),
                Some(Type::Map(inner)) => Some(&**inner),
                _ => None,
            };
            if let Some(members) = value.as_object_mut() {
                let member = members.entry(name.clone()).or_insert(Value::Null);
                let scalar = rest.is_empty() && matches!(below, None | Some(Type::Json));
                if scalar && (member.is_null() || *member == json!({})) {
                    *member = json!("made-up");
                } else {
                    fill(member, rest, below);
                }
            }
        }
        Some((Segment::Index(index), rest)) => {
            if !value.is_array() {
                *value = json!([]);
            }
            let below = match ty {
                Some(Type::List(inner)) => Some(&**inner),
                _ => None,
            };
            if let Some(items) = value.as_array_mut() {
                while items.len() <= *index {
                    items.push(Value::Null);
                }
                if let Some(item) = items.get_mut(*index) {
                    fill(item, rest, below);
                }
            }
        }
    }
}

/// The run as the conditions on a result see it.
struct Seen<'a> {
    state: &'a State,
    result: &'a Value,
}

impl Scope for Seen<'_> {
    fn input(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.state.created()?.inputs.get(name).map(Cow::Borrowed)
    }
    fn var(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.state.created()?.vars.get(name).map(Cow::Borrowed)
    }
    fn step_output(&self, id: &str) -> Option<Cow<'_, Value>> {
        self.state.step(id)?.work.output.as_deref().map(Cow::Borrowed)
    }
    fn step_status(&self, id: &str) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.state.step(id).map_or("pending", |step| step.work.status().as_str())))
    }
    fn result(&self) -> Option<Cow<'_, Value>> {
        Some(Cow::Borrowed(self.result))
    }
    fn baseline(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.state.baselines().get(name).map(|value| Cow::Borrowed(&**value))
    }
}

/// The conditions on the result of a step, each to be true.
pub(super) fn wanted_of(step: &Step) -> Vec<(&Expression, bool)> {
    step.expect.iter().chain(step.gate.iter().map(|gate| &gate.until)).map(|wanted| (wanted, true)).collect()
}

/// The conditions on the result of a guard, each as it is where all is well.
pub(super) fn well_of(guard: &Guard) -> Vec<(&Expression, bool)> {
    let bad =
        [&guard.rollback_when, &guard.hold_when].into_iter().flatten().map(|condition| (condition, false));
    bad.chain(guard.fresh_when.iter().map(|condition| (condition, true))).collect()
}

/// Changes a made-up result until the conditions are met, where one value in it decides each.
pub(super) fn adapt(result: &mut Value, conditions: &[(&Expression, bool)], state: &State) {
    for (condition, wanted) in conditions {
        adapt_to(result, condition, *wanted, conditions, state);
    }
}

fn holds(condition: &Expression, wanted: bool, result: &Value, state: &State) -> bool {
    condition.evaluate_bool(&Seen { state, result }) == Ok(wanted)
}

fn adapt_to(
    result: &mut Value,
    condition: &Expression,
    wanted: bool,
    all: &[(&Expression, bool)],
    state: &State,
) {
    if holds(condition, wanted, result, state) {
        return;
    }
    let met =
        |result: &Value| all.iter().filter(|(other, truth)| holds(other, *truth, result, state)).count();
    let before = met(result);
    let paths = condition.references().iter().filter(|reference| reference.root == Root::Result);
    let candidates = candidates(condition, state);
    for path in paths {
        for candidate in &candidates {
            let mut changed = result.clone();
            put(&mut changed, &path.path, candidate.clone());
            if holds(condition, wanted, &changed, state) && met(&changed) > before {
                *result = changed;
                return;
            }
        }
    }
}

fn put(value: &mut Value, path: &[Segment], new: Value) {
    match path.split_first() {
        None => *value = new,
        Some((Segment::Name(name), rest)) => {
            if !value.is_object() {
                *value = Value::Object(Map::new());
            }
            if let Some(members) = value.as_object_mut() {
                put(members.entry(name.clone()).or_insert(Value::Null), rest, new);
            }
        }
        Some((Segment::Index(index), rest)) => {
            if let Some(item) = value.get_mut(*index) {
                put(item, rest, new);
            }
        }
    }
}

/// Values on this side and on that of everything that the condition names.
fn candidates(condition: &Expression, state: &State) -> Vec<Value> {
    let mut named = literals(condition.source());
    for reference in condition.references().iter().filter(|reference| reference.root != Root::Result) {
        let source = condition.source().get(reference.range.clone()).unwrap_or_default();
        let value = Expression::compile(source).ok();
        let value = value.and_then(|value| value.evaluate(&Seen { state, result: &Value::Null }).ok());
        named.extend(value);
    }
    let mut candidates = vec![json!(true), json!(false), json!(0), json!(0.0), json!(1)];
    for value in named {
        match (value.as_i64(), value.as_f64()) {
            (Some(whole), _) => {
                candidates.extend([
                    json!(whole),
                    json!(whole.saturating_sub(1)),
                    json!(whole.saturating_add(1)),
                ]);
            }
            (None, Some(number)) => {
                candidates.extend([
                    json!(number),
                    json!(number / 2.0),
                    json!(number - 1.0),
                    json!(number + 1.0),
                ]);
            }
            _ => candidates.push(value),
        }
    }
    candidates
}

/// The numbers and texts that stand in an expression.
fn literals(source: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(letter) = rest.chars().next() {
        let (token, after) = match letter {
            '\'' | '"' => {
                let inside = rest.get(1..).unwrap_or_default();
                let end = inside.find(letter).unwrap_or(inside.len());
                found.push(json!(inside.get(..end).unwrap_or_default()));
                ("", inside.get(end + 1..).unwrap_or_default())
            }
            _ if letter.is_ascii_digit() => {
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
                rest.split_at(end)
            }
            _ if letter.is_ascii_alphabetic() || letter == '_' => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                ("", rest.get(end..).unwrap_or_default())
            }
            _ => ("", rest.get(letter.len_utf8()..).unwrap_or_default()),
        };
        if let Ok(number) = serde_json::from_str::<Value>(token) {
            found.push(number);
        }
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use windlass_runbook::wit::{Field, Record};

    use super::*;

    fn adapted(result: Value, conditions: &[&str]) -> Value {
        let compiled: Vec<Expression> =
            conditions.iter().filter_map(|source| Expression::compile(source).ok()).collect();
        assert_eq!(compiled.len(), conditions.len());
        let wanted: Vec<(&Expression, bool)> = compiled.iter().map(|condition| (condition, true)).collect();
        let mut result = result;
        adapt(&mut result, &wanted, &State::default());
        result
    }

    #[test]
    fn a_result_meets_simple_conditions() {
        let result = adapted(
            json!({ "json": null, "rate": 0.0 }),
            &["result.json.failed == 0", "result.json.passed == 8", "result.rate > 0.5"],
        );
        assert_eq!(result["json"], json!({ "failed": 0, "passed": 8 }));
        assert!(result["rate"].as_f64() > Some(0.5));
    }

    #[test]
    fn what_cannot_be_met_stays() {
        assert_eq!(adapted(json!({ "a": 1 }), &["size('x') == 2"]), json!({ "a": 1 }));
    }

    #[test]
    fn what_others_read_is_there() {
        let ty = Type::Record(std::sync::Arc::new(Record {
            name: "r".to_owned(),
            fields: vec![Field {
                name: "captured".to_owned(),
                ty: Type::Map(Box::new(Type::Json)),
                docs: None,
            }],
        }));
        let mut readings = Readings::default();
        readings.paths.insert(
            "s".to_owned(),
            vec![vec![Segment::Name("captured".to_owned()), Segment::Name("id".to_owned())]],
        );
        assert_eq!(readings.result("s", Some(&ty)), json!({ "captured": { "id": "made-up" } }));
    }
}
