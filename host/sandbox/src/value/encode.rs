//! JSON to the component model.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use wasmtime::component::{Type as Theirs, Val};
use windlass_runbook::wit::{Record, Type, Variant, same_name};

use super::{Place, ValueError};

/// The value for the guest. `value` is none where the field is absent: an option is then none, a list, table or set of
/// flags empty, a bool false; anything else is an error.
pub(crate) fn encode(
    value: Option<&Value>,
    ours: &Type,
    theirs: &Theirs,
    place: Place<'_>,
) -> Result<Val, ValueError> {
    match (ours, value) {
        (Type::Option(inner), value) => option(value, inner, theirs, place),
        (_, None) => absent(ours).ok_or_else(|| place.misfit("it is missing")),
        (_, Some(value)) => present(value, ours, theirs, place),
    }
}

fn absent(ours: &Type) -> Option<Val> {
    match ours {
        Type::Bool => Some(Val::Bool(false)),
        Type::List(_) | Type::Map(_) => Some(Val::List(Vec::new())),
        Type::Flags(_) => Some(Val::Flags(Vec::new())),
        _ => None,
    }
}

fn option(value: Option<&Value>, inner: &Type, theirs: &Theirs, place: Place<'_>) -> Result<Val, ValueError> {
    let Theirs::Option(theirs) = theirs else { return Err(unlike(place)) };
    match value {
        None => Ok(Val::Option(None)),
        // Null is a value only where the type is JSON itself.
        Some(Value::Null) if *inner != Type::Json => Ok(Val::Option(None)),
        Some(value) => Ok(Val::Option(Some(Box::new(encode(Some(value), inner, &theirs.ty(), place)?)))),
    }
}

fn present(value: &Value, ours: &Type, theirs: &Theirs, place: Place<'_>) -> Result<Val, ValueError> {
    match ours {
        Type::Bool => value.as_bool().map(Val::Bool).ok_or_else(|| expected(place, "true or false", value)),
        Type::Integer { .. } | Type::Duration | Type::ByteSize => integer(value, theirs, place),
        Type::Float => float(value, theirs, place),
        Type::Char => {
            let mut chars = text(value, place)?.chars();
            match (chars.next(), chars.next()) {
                (Some(one), None) => Ok(Val::Char(one)),
                _ => Err(expected(place, "one character", value)),
            }
        }
        Type::String | Type::Timestamp | Type::SecretName => Ok(Val::String(text(value, place)?.to_owned())),
        Type::Json => Ok(Val::String(value.to_string())),
        Type::Bytes => {
            let bytes = STANDARD
                .decode(text(value, place)?)
                .map_err(|error| place.misfit(format!("it is not base64: {error}")))?;
            Ok(Val::List(bytes.into_iter().map(Val::U8).collect()))
        }
        Type::List(inner) => {
            let Theirs::List(theirs) = theirs else { return Err(unlike(place)) };
            let element = theirs.ty();
            let items = value.as_array().ok_or_else(|| expected(place, "a list", value))?;
            let encoded = items
                .iter()
                .enumerate()
                .map(|(index, item)| encode(Some(item), inner, &element, place.index(index)));
            Ok(Val::List(encoded.collect::<Result<_, _>>()?))
        }
        Type::Map(inner) => map(value, inner, theirs, place),
        Type::Tuple(types) => {
            let Theirs::Tuple(theirs) = theirs else { return Err(unlike(place)) };
            let items = value.as_array().filter(|items| items.len() == types.len());
            let items = items
                .ok_or_else(|| place.misfit(format!("a list of exactly {} is expected", types.len())))?;
            let encoded =
                items.iter().zip(types).zip(theirs.types()).enumerate().map(
                    |(index, ((item, ours), theirs))| encode(Some(item), ours, &theirs, place.index(index)),
                );
            Ok(Val::Tuple(encoded.collect::<Result<_, _>>()?))
        }
        Type::Record(ours) => record(value, ours, theirs, place),
        Type::Variant(ours) => variant(value, ours, theirs, place),
        Type::Enum(names) => {
            let written = text(value, place)?;
            let name = names.iter().find(|name| same_name(name, written));
            name.map(|name| Val::Enum(name.clone())).ok_or_else(|| one_of(place, names))
        }
        Type::Flags(names) => {
            let items = value.as_array().ok_or_else(|| expected(place, "a list of names", value))?;
            let flags = items.iter().enumerate().map(|(index, item)| {
                let place = place.index(index);
                let written = text(item, place)?;
                let name = names.iter().find(|name| same_name(name, written));
                name.cloned().ok_or_else(|| one_of(place, names))
            });
            Ok(Val::Flags(flags.collect::<Result<_, _>>()?))
        }
        Type::Option(inner) => option(Some(value), inner, theirs, place),
    }
}

fn integer(value: &Value, theirs: &Theirs, place: Place<'_>) -> Result<Val, ValueError> {
    // Expressions may make whole numbers that JSON holds as floats.
    let whole = match value {
        Value::Number(number) => number.as_i128().or_else(|| {
            let float = number.as_f64()?;
            (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i128)
        }),
        _ => None,
    };
    let whole = whole.ok_or_else(|| match value {
        Value::Number(_) => place.misfit("a whole number is expected, not a fraction"),
        other => expected(place, "a whole number", other),
    })?;
    let val = match theirs {
        Theirs::U8 => u8::try_from(whole).ok().map(Val::U8),
        Theirs::U16 => u16::try_from(whole).ok().map(Val::U16),
        Theirs::U32 => u32::try_from(whole).ok().map(Val::U32),
        Theirs::U64 => u64::try_from(whole).ok().map(Val::U64),
        Theirs::S8 => i8::try_from(whole).ok().map(Val::S8),
        Theirs::S16 => i16::try_from(whole).ok().map(Val::S16),
        Theirs::S32 => i32::try_from(whole).ok().map(Val::S32),
        Theirs::S64 => i64::try_from(whole).ok().map(Val::S64),
        _ => return Err(unlike(place)),
    };
    val.ok_or_else(|| place.misfit(format!("{whole} is out of range")))
}

fn float(value: &Value, theirs: &Theirs, place: Place<'_>) -> Result<Val, ValueError> {
    let number = value.as_f64().filter(|number| number.is_finite());
    let number = number.ok_or_else(|| expected(place, "a number", value))?;
    match theirs {
        Theirs::Float64 => Ok(Val::Float64(number)),
        Theirs::Float32 => {
            let narrow = number as f32;
            let fits = narrow.is_finite();
            if fits {
                Ok(Val::Float32(narrow))
            } else {
                Err(place.misfit(format!("{number:e} is out of range")))
            }
        }
        _ => Err(unlike(place)),
    }
}

fn map(value: &Value, inner: &Type, theirs: &Theirs, place: Place<'_>) -> Result<Val, ValueError> {
    let Theirs::List(list) = theirs else { return Err(unlike(place)) };
    let Theirs::Tuple(pair) = list.ty() else { return Err(unlike(place)) };
    let Some(theirs) = pair.types().nth(1) else { return Err(unlike(place)) };
    let entries = value.as_object().ok_or_else(|| expected(place, "a table", value))?;
    let encoded = entries.iter().map(|(key, value)| {
        let value = encode(Some(value), inner, &theirs, place.name(key))?;
        Ok(Val::Tuple(vec![Val::String(key.clone()), value]))
    });
    Ok(Val::List(encoded.collect::<Result<_, _>>()?))
}

fn record(value: &Value, ours: &Record, theirs: &Theirs, place: Place<'_>) -> Result<Val, ValueError> {
    let Theirs::Record(theirs) = theirs else { return Err(unlike(place)) };
    let fields = value.as_object().ok_or_else(|| expected(place, "a table", value))?;
    if let Some(unknown) = fields.keys().find(|key| ours.field(key).is_none()) {
        return Err(place.name(unknown).misfit(format!("`{}` has no such field", ours.name)));
    }
    let mut encoded = Vec::with_capacity(ours.fields.len());
    for (ours, theirs) in ours.fields.iter().zip(theirs.fields()) {
        if ours.name != theirs.name {
            return Err(unlike(place));
        }
        let value = encode(field(fields, &ours.name), &ours.ty, &theirs.ty, place.name(&ours.name))?;
        encoded.push((ours.name.clone(), value));
    }
    Ok(Val::Record(encoded))
}

fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.iter().find(|(key, _)| same_name(name, key)).map(|(_, value)| value)
}

fn variant(value: &Value, ours: &Variant, theirs: &Theirs, place: Place<'_>) -> Result<Val, ValueError> {
    let Theirs::Variant(theirs) = theirs else { return Err(unlike(place)) };
    let (written, payload) = match value {
        Value::String(name) => (name.as_str(), None),
        Value::Object(fields) => match fields.iter().next() {
            Some((name, payload)) if fields.len() == 1 => (name.as_str(), Some(payload)),
            _ => {
                let keys = fields.len();
                return Err(place.misfit(format!("a table with one key is expected, not one with {keys}")));
            }
        },
        other => return Err(expected(place, "a name, or a table with one key", other)),
    };
    let case = ours.cases.iter().zip(theirs.cases()).find(|((name, _), _)| same_name(name, written));
    let Some(((name, ours), theirs)) = case else {
        let names: Vec<String> = ours.cases.iter().map(|(name, _)| name.clone()).collect();
        return Err(one_of(place, &names));
    };
    match (ours, theirs.ty, payload) {
        (None, None, None) => Ok(Val::Variant(name.clone(), None)),
        (Some(ours), Some(theirs), payload) => {
            let payload = encode(payload, ours, &theirs, place.name(name))?;
            Ok(Val::Variant(name.clone(), Some(Box::new(payload))))
        }
        (None, None, Some(_)) => Err(place.misfit(format!("`{name}` holds nothing"))),
        _ => Err(unlike(place)),
    }
}

fn text<'a>(value: &'a Value, place: Place<'_>) -> Result<&'a str, ValueError> {
    value.as_str().ok_or_else(|| expected(place, "a text", value))
}

fn expected(place: Place<'_>, what: &str, found: &Value) -> ValueError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    };
    // The value itself is left out: it may be one that is not to be shown.
    place.misfit(format!("{what} is expected, not {found}"))
}

fn one_of(place: Place<'_>, names: &[String]) -> ValueError {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    place.misfit(format!("one of {} is expected", names.join(", ")))
}

/// The two descriptions of one type differ, which no value can mend.
fn unlike(place: Place<'_>) -> ValueError {
    place.misfit("its type is read differently by the engine and by the decoder")
}
