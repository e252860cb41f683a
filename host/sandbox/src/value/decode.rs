//! The component model to JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};
use wasmtime::component::Val;
use windlass_runbook::wit::Type;

use super::{Place, ValueError};

/// The JSON of what a guest returned, at most `most` bytes of it. Records are read by field name; of two equal keys in a
/// list of pairs, the last one wins.
pub(crate) fn decode(val: &Val, ours: &Type, place: Place<'_>, most: usize) -> Result<Value, ValueError> {
    let mut left = Budget { left: most, most };
    let value = left.value(val, ours, place)?;
    Ok(value.unwrap_or(Value::Null))
}

/// How many bytes of JSON may still come.
struct Budget {
    left: usize,
    most: usize,
}

impl Budget {
    fn take(&mut self, bytes: usize) -> Result<(), ValueError> {
        self.left = self.left.checked_sub(bytes).ok_or(ValueError::TooLong(self.most))?;
        Ok(())
    }

    /// The value; none where it is an option that holds nothing.
    fn value(&mut self, val: &Val, ours: &Type, place: Place<'_>) -> Result<Option<Value>, ValueError> {
        // Commas, quotes and brackets, roughly.
        self.take(2)?;
        let value = match (ours, val) {
            (Type::Option(_), Val::Option(None)) => return Ok(None),
            (Type::Option(inner), Val::Option(Some(val))) => return self.value(val, inner, place),
            (Type::Bool, Val::Bool(value)) => Value::Bool(*value),
            (Type::Char, Val::Char(value)) => Value::String(value.to_string()),
            (Type::String | Type::Timestamp | Type::SecretName, Val::String(text)) => {
                self.take(text.len())?;
                Value::String(text.clone())
            }
            (Type::Json, Val::String(text)) => {
                self.take(text.len())?;
                serde_json::from_str(text)
                    .map_err(|error| place.misfit(format!("it is not JSON: {error}")))?
            }
            (Type::Integer { .. } | Type::Duration | Type::ByteSize, val) => self.integer(val, place)?,
            (Type::Float, Val::Float32(value)) => self.float(f64::from(*value), place)?,
            (Type::Float, Val::Float64(value)) => self.float(*value, place)?,
            (Type::Bytes, Val::List(items)) => self.bytes(items, place)?,
            (Type::List(inner), Val::List(items)) => self.list(items, |_| Some(inner), place)?,
            (Type::Tuple(types), Val::Tuple(items)) => self.list(items, |index| types.get(index), place)?,
            (Type::Map(inner), Val::List(items)) => self.map(items, inner, place)?,
            (Type::Record(record), Val::Record(fields)) => {
                let mut object = Map::new();
                for (name, val) in fields {
                    let Some(field) = record.fields.iter().find(|field| field.name == *name) else {
                        continue;
                    };
                    if let Some(value) = self.value(val, &field.ty, place.name(name))? {
                        self.take(name.len())?;
                        object.insert(name.replace('-', "_"), value);
                    }
                }
                Value::Object(object)
            }
            (Type::Variant(variant), Val::Variant(name, payload)) => {
                self.take(name.len())?;
                let ty = variant.cases.iter().find(|(case, _)| case == name).and_then(|(_, ty)| ty.as_ref());
                match (ty, payload) {
                    (Some(ty), Some(payload)) => {
                        let payload = self.value(payload, ty, place.name(name))?.unwrap_or(Value::Null);
                        Value::Object(Map::from_iter([(name.clone(), payload)]))
                    }
                    _ => Value::String(name.clone()),
                }
            }
            (Type::Enum(_), Val::Enum(name)) => {
                self.take(name.len())?;
                Value::String(name.clone())
            }
            (Type::Flags(_), Val::Flags(names)) => {
                self.take(names.iter().map(String::len).sum())?;
                Value::Array(names.iter().cloned().map(Value::String).collect())
            }
            _ => return Err(place.misfit("its type is read differently by the engine and by the decoder")),
        };
        Ok(Some(value))
    }

    fn integer(&mut self, val: &Val, place: Place<'_>) -> Result<Value, ValueError> {
        self.take(8)?;
        let value = match val {
            Val::U8(value) => i64::from(*value),
            Val::U16(value) => i64::from(*value),
            Val::U32(value) => i64::from(*value),
            Val::S8(value) => i64::from(*value),
            Val::S16(value) => i64::from(*value),
            Val::S32(value) => i64::from(*value),
            Val::S64(value) => *value,
            Val::U64(value) => i64::try_from(*value).map_err(|_| {
                place.misfit(format!(
                    "{value} is larger than the largest integer of an expression, {}",
                    i64::MAX
                ))
            })?,
            _ => return Err(place.misfit("it is no integer")),
        };
        Ok(Value::from(value))
    }

    fn float(&mut self, value: f64, place: Place<'_>) -> Result<Value, ValueError> {
        self.take(8)?;
        Number::from_f64(value).map(Value::Number).ok_or_else(|| place.misfit("it is not a finite number"))
    }

    fn bytes(&mut self, items: &[Val], place: Place<'_>) -> Result<Value, ValueError> {
        self.take(items.len().div_ceil(3) * 4)?;
        let bytes: Option<Vec<u8>> = items
            .iter()
            .map(|item| match item {
                Val::U8(byte) => Some(*byte),
                _ => None,
            })
            .collect();
        let bytes = bytes.ok_or_else(|| place.misfit("it is no list of bytes"))?;
        Ok(Value::String(STANDARD.encode(bytes)))
    }

    fn list<'t>(
        &mut self,
        items: &[Val],
        ty: impl Fn(usize) -> Option<&'t Type>,
        place: Place<'_>,
    ) -> Result<Value, ValueError> {
        let mut list = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let place = place.index(index);
            let ty = ty(index).ok_or_else(|| place.misfit("there are more values than types"))?;
            list.push(self.value(item, ty, place)?.unwrap_or(Value::Null));
        }
        Ok(Value::Array(list))
    }

    fn map(&mut self, items: &[Val], inner: &Type, place: Place<'_>) -> Result<Value, ValueError> {
        let mut object = Map::new();
        for (index, item) in items.iter().enumerate() {
            let place = place.index(index);
            let Val::Tuple(pair) = item else { return Err(place.misfit("it is no pair")) };
            let [Val::String(key), val] = pair.as_slice() else { return Err(place.misfit("it is no pair")) };
            self.take(key.len())?;
            if let Some(value) = self.value(val, inner, place)? {
                object.insert(key.clone(), value);
            }
        }
        Ok(Value::Object(object))
    }
}
