//! Resolved values to the normal form of a WIT type: what is journalled, and what the sandbox is given.
//!
//! Normal form: keys in snake_case, durations and sizes whole numbers, absent options absent, absent lists, tables
//! and bools filled in. Coercing twice changes nothing.

use base64::Engine as _;
use serde_json::{Map, Value};

use crate::expression::kind_of;
use crate::suggest;
use crate::units;
use crate::wit::{Field, Record, Type, Variant, same_name};

/// A value that a type does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}expected {expected}, found {found}", if .path.is_empty() { String::new() } else { format!("`{}`: ", .path) })]
pub struct Mismatch {
    /// Where in the value, such as `headers.accept` or `status[2]`; empty for the value itself.
    pub path: String,
    /// What the type takes.
    pub expected: String,
    /// What was there, without the value itself where it may be long.
    pub found: String,
}

impl Mismatch {
    fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { path: String::new(), expected: expected.into(), found: found.into() }
    }

    fn below(mut self, step: &str) -> Self {
        self.path = if self.path.is_empty() || self.path.starts_with('[') {
            format!("{step}{}", self.path)
        } else {
            format!("{step}.{}", self.path)
        };
        self
    }
}

/// Brings a value into the normal form of a type.
///
/// # Errors
/// The first place where the value does not fit.
pub fn coerce(value: Value, ty: &Type) -> Result<Value, Mismatch> {
    let wrong = |value: &Value| Mismatch::new(expected(ty), found(value));
    match (ty, value) {
        (Type::Json, value) => Ok(value),
        (Type::Option(inner), value) => coerce(value, inner),
        (Type::Bool, value @ Value::Bool(_)) => Ok(value),
        (Type::Integer { min, max }, Value::Number(number)) => {
            let fits = match (number.as_i64(), number.as_u64()) {
                (Some(int), _) if int < 0 => int >= *min,
                (_, Some(uint)) => uint <= *max,
                _ => false,
            };
            if fits { Ok(Value::Number(number)) } else { Err(wrong(&Value::Number(number))) }
        }
        (Type::Float, Value::Number(number)) => {
            let float = number.as_f64().and_then(serde_json::Number::from_f64);
            float.map(Value::Number).ok_or_else(|| wrong(&Value::Number(number)))
        }
        (Type::Char, Value::String(text)) if text.chars().count() == 1 => Ok(Value::String(text)),
        (Type::String | Type::SecretName, value @ Value::String(_)) => Ok(value),
        (Type::Bytes, Value::String(text)) => match base64::engine::general_purpose::STANDARD.decode(&text) {
            Ok(_) => Ok(Value::String(text)),
            Err(_) => Err(Mismatch::new(expected(ty), "a string that is not base64")),
        },
        (Type::Timestamp, Value::String(text)) => {
            if is_timestamp(&text) {
                Ok(Value::String(text))
            } else {
                Err(wrong(&Value::String(text)))
            }
        }
        (Type::Duration, Value::String(text)) => {
            units::parse_duration(&text).map(Value::from).map_err(|_| wrong(&Value::String(text)))
        }
        (Type::ByteSize, Value::String(text)) => {
            units::parse_byte_size(&text).map(Value::from).map_err(|_| wrong(&Value::String(text)))
        }
        (Type::Duration | Type::ByteSize, Value::Number(number)) if number.is_u64() => {
            Ok(Value::Number(number))
        }
        (Type::List(item), Value::Array(items)) => items
            .into_iter()
            .enumerate()
            .map(|(index, value)| {
                coerce(value, item).map_err(|mismatch| mismatch.below(&format!("[{index}]")))
            })
            .collect::<Result<_, _>>()
            .map(Value::Array),
        (Type::Tuple(types), Value::Array(items)) if types.len() == items.len() => items
            .into_iter()
            .zip(types)
            .enumerate()
            .map(|(index, (value, ty))| {
                coerce(value, ty).map_err(|mismatch| mismatch.below(&format!("[{index}]")))
            })
            .collect::<Result<_, _>>()
            .map(Value::Array),
        (Type::Map(item), Value::Object(fields)) => fields
            .into_iter()
            .map(|(name, value)| match coerce(value, item) {
                Ok(value) => Ok((name, value)),
                Err(mismatch) => Err(mismatch.below(&name)),
            })
            .collect::<Result<Map<_, _>, _>>()
            .map(Value::Object),
        (Type::Record(record), value @ Value::Object(_)) => coerce_record(value, record),
        (Type::Enum(words), Value::String(text)) => match word(words, &text) {
            Some(known) => Ok(Value::String(known.to_owned())),
            None => Err(wrong(&Value::String(text))),
        },
        (Type::Flags(words), Value::Array(items)) => items
            .into_iter()
            .map(|item| {
                let known = item.as_str().and_then(|text| word(words, text));
                known.map(|known| Value::String(known.to_owned())).ok_or_else(|| wrong(&item))
            })
            .collect::<Result<_, _>>()
            .map(Value::Array),
        (Type::Variant(variant), value) => coerce_variant(value, variant),
        (_, value) => Err(wrong(&value)),
    }
}

/// Brings a table into the normal form of a record.
///
/// # Errors
/// The first place where it does not fit: an unknown or missing field, or a wrong value.
pub fn coerce_record(value: Value, record: &Record) -> Result<Value, Mismatch> {
    let Value::Object(fields) = value else {
        return Err(Mismatch::new(format!("a table (`{}`)", record.name), found(&value)));
    };
    let mut given: Vec<Option<Value>> = record.fields.iter().map(|_| None).collect();
    for (name, value) in fields {
        let place = record.fields.iter().position(|field| same_name(&field.name, &name));
        match place.and_then(|place| given.get_mut(place)) {
            Some(slot @ None) => *slot = Some(value),
            Some(Some(_)) => return Err(Mismatch::new(format!("`{name}` once"), "it twice, once with `-`")),
            None => {
                let names: Vec<String> = record.fields.iter().map(|field| snake(&field.name)).collect();
                let near = suggest::nearest(&name, names.iter().map(String::as_str));
                let expected = near.map_or_else(
                    || format!("a field of `{}`: {}", record.name, names.join(", ")),
                    |near| format!("`{near}`"),
                );
                return Err(Mismatch::new(expected, format!("`{name}`")));
            }
        }
    }
    let mut normal = Map::new();
    for (field, value) in record.fields.iter().zip(given) {
        let name = snake(&field.name);
        // An option that an expression made null is absent; only `json` itself can hold null.
        let value = value.filter(|value| !(value.is_null() && drops_null(&field.ty)));
        match value {
            Some(value) => {
                let value = coerce(value, &field.ty).map_err(|mismatch| mismatch.below(&name))?;
                normal.insert(name, value);
            }
            None => {
                if let Some(value) = absent(field)? {
                    normal.insert(name, value);
                }
            }
        }
    }
    Ok(Value::Object(normal))
}

fn drops_null(ty: &Type) -> bool {
    matches!(ty, Type::Option(inner) if !matches!(**inner, Type::Json))
}

/// What a field is that was left out; `None` where it stays out.
fn absent(field: &Field) -> Result<Option<Value>, Mismatch> {
    match &field.ty {
        Type::Option(_) => Ok(None),
        Type::List(_) => Ok(Some(Value::Array(Vec::new()))),
        Type::Map(_) => Ok(Some(Value::Object(Map::new()))),
        Type::Bool => Ok(Some(Value::Bool(false))),
        ty => Err(Mismatch::new(expected(ty), "nothing").below(&snake(&field.name))),
    }
}

fn coerce_variant(value: Value, variant: &Variant) -> Result<Value, Mismatch> {
    let names = || variant.cases.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let case = |name: &str| variant.cases.iter().find(|(known, _)| same_name(known, name));
    match value {
        Value::String(text) => match case(&text) {
            Some((name, None)) => Ok(Value::String(name.clone())),
            Some((name, Some(payload))) => {
                Err(Mismatch::new(format!("{{ {name} = {} }}", expected(payload)), "the name alone"))
            }
            None => Err(Mismatch::new(format!("one of {}", names()), format!("{text:?}"))),
        },
        Value::Object(fields) if fields.len() == 1 => {
            let Some((written, payload)) = fields.into_iter().next() else {
                return Err(Mismatch::new(format!("one of {}", names()), "an empty table"));
            };
            match case(&written) {
                Some((name, Some(ty))) => {
                    let payload = coerce(payload, ty).map_err(|mismatch| mismatch.below(name))?;
                    Ok(Value::Object(Map::from_iter([(name.clone(), payload)])))
                }
                Some((name, None)) => Err(Mismatch::new(format!("{name:?} alone"), "a table")),
                None => Err(Mismatch::new(format!("one of {}", names()), format!("`{written}`"))),
            }
        }
        other => Err(Mismatch::new(format!("a table with one of {}", names()), found(&other))),
    }
}

/// The word of a closed set that was meant: kebab-case as in WIT, or with `_`.
pub(crate) fn word<'w>(words: &'w [String], written: &str) -> Option<&'w str> {
    words.iter().find(|known| same_name(known, written)).map(String::as_str)
}

/// A field's name as in JSON and expressions.
pub(crate) fn snake(name: &str) -> String {
    name.replace('-', "_")
}

/// What a type takes, for messages.
pub(crate) fn expected(ty: &Type) -> String {
    match ty {
        Type::Bool => "true or false".to_owned(),
        Type::Integer { min, max } => match (min, max) {
            (0, &u64::MAX) => "a whole number from 0".to_owned(),
            (&i64::MIN, _) => "a whole number".to_owned(),
            _ => format!("a whole number from {min} to {max}"),
        },
        Type::Float => "a number".to_owned(),
        Type::Char => "a single letter".to_owned(),
        Type::String => "a string".to_owned(),
        Type::Bytes => "base64".to_owned(),
        Type::List(item) => format!("a list of {}", plural(item)),
        Type::Map(item) => format!("a table of {}", plural(item)),
        Type::Option(inner) => expected(inner),
        Type::Tuple(types) => format!("a list of {}", types.len()),
        Type::Record(record) => format!("a table (`{}`)", record.name),
        Type::Variant(variant) => format!("a table with one key (`{}`)", variant.name),
        Type::Enum(words) => {
            format!(
                "one of {}",
                words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
            )
        }
        Type::Flags(words) => format!("a list out of {}", words.join(", ")),
        Type::Json => "any value".to_owned(),
        Type::Duration => "a duration such as \"5m\"".to_owned(),
        Type::ByteSize => "a size such as \"10MiB\"".to_owned(),
        Type::Timestamp => "a time such as \"2026-01-16T02:00:00Z\"".to_owned(),
        Type::SecretName => "the name of a secret".to_owned(),
    }
}

fn plural(ty: &Type) -> String {
    match ty {
        Type::Bool => "truths".to_owned(),
        Type::Integer { .. } => "whole numbers".to_owned(),
        Type::Float => "numbers".to_owned(),
        Type::String => "strings".to_owned(),
        Type::Json => "values".to_owned(),
        Type::List(_) => "lists".to_owned(),
        Type::Record(record) => format!("tables (`{}`)", record.name),
        other => expected(other),
    }
}

/// What a value is, with itself where it is short.
pub(crate) fn found(value: &Value) -> String {
    match value {
        Value::String(text) if text.chars().count() <= 40 => format!("{text:?}"),
        Value::Number(number) => format!("{number}"),
        Value::Bool(truth) => format!("{truth}"),
        other => kind_of(other).to_owned(),
    }
}

/// `YYYY-MM-DDThh:mm:ss[.fraction]Z`, the numbers in their ranges.
fn is_timestamp(text: &str) -> bool {
    let Some(body) = text.strip_suffix(['Z', 'z']) else { return false };
    let Some((date, time)) = body.split_once(['T', 't', ' ']) else { return false };
    let numbers = |text: &str, separator: char, lengths: &[usize]| -> Option<Vec<u32>> {
        let parts: Vec<&str> = text.split(separator).collect();
        let right = parts.len() == lengths.len()
            && parts.iter().zip(lengths).all(|(part, length)| {
                part.len() == *length && part.bytes().all(|byte| byte.is_ascii_digit())
            });
        right.then(|| parts.iter().filter_map(|part| part.parse().ok()).collect())
    };
    let (time, fraction) =
        time.split_once('.').map_or((time, None), |(time, fraction)| (time, Some(fraction)));
    let fraction_fits = fraction.is_none_or(|fraction| {
        !fraction.is_empty() && fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit())
    });
    let date = numbers(date, '-', &[4, 2, 2]);
    let time = numbers(time, ':', &[2, 2, 2]);
    let date_fits = matches!(date.as_deref(), Some([_, 1..=12, 1..=31]));
    let time_fits = matches!(time.as_deref(), Some([0..=23, 0..=59, 0..=60]));
    fraction_fits && date_fits && time_fits
}
