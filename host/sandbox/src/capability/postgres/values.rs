//! Values of PostgreSQL as JSON, and parameters as values of PostgreSQL.
//!
//! It reads the binary forms of the types it knows and refuses to guess at others. Invariant: what it returns is one
//! JSON text per value, exact to the last digit.

use std::borrow::Cow;

use base64::Engine as _;
use jiff::civil;
use serde_json::value::RawValue;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo, PgTypeKind};
use sqlx::types::Json;
use sqlx::{Arguments as _, Encode, Postgres, Type, TypeInfo as _};

use crate::bindings::postgres::Parameter;

/// A value that has no JSON form here: its type is not known, or the server sent what the type does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsupported;

/// The JSON text of a value in its binary form.
pub(crate) fn to_json(kind: &PgTypeInfo, bytes: &[u8]) -> Result<String, Unsupported> {
    // The driver panics when asked for the kind of a type that it could not look up.
    if kind.name() == "?" {
        return Err(Unsupported);
    }
    match kind.kind() {
        PgTypeKind::Array(element) => Reader(bytes).array(element),
        PgTypeKind::Domain(base) => to_json(base, bytes),
        PgTypeKind::Enum(_) => text(bytes),
        _ => scalar(kind, bytes),
    }
}

fn scalar(kind: &PgTypeInfo, bytes: &[u8]) -> Result<String, Unsupported> {
    match kind.name() {
        "BOOL" => match bytes {
            [0] => Ok("false".to_owned()),
            [_] => Ok("true".to_owned()),
            _ => Err(Unsupported),
        },
        "INT2" => Ok(i16::from_be_bytes(exact(bytes)?).to_string()),
        "INT4" => Ok(i32::from_be_bytes(exact(bytes)?).to_string()),
        "INT8" => Ok(i64::from_be_bytes(exact(bytes)?).to_string()),
        "OID" => Ok(u32::from_be_bytes(exact(bytes)?).to_string()),
        "FLOAT4" => {
            let value = f32::from_be_bytes(exact(bytes)?);
            if value.is_finite() { json(&value) } else { infinite(value.into()) }
        }
        "FLOAT8" => {
            let value = f64::from_be_bytes(exact(bytes)?);
            if value.is_finite() { json(&value) } else { infinite(value) }
        }
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" | "\"CHAR\"" | "XML" | "citext" => text(bytes),
        "JSON" => raw_json(bytes),
        "JSONB" => match bytes {
            [1, json @ ..] => raw_json(json),
            _ => Err(Unsupported),
        },
        "UUID" => uuid(bytes),
        "BYTEA" => json(&base64::engine::general_purpose::STANDARD.encode(bytes)),
        "NUMERIC" => json(&Reader(bytes).numeric()?),
        "DATE" => match i32::from_be_bytes(exact(bytes)?) {
            i32::MAX => json("infinity"),
            i32::MIN => json("-infinity"),
            days => json(&civil_time(i64::from(days).checked_mul(86_400_000_000))?.date().to_string()),
        },
        "TIME" => json(&civil_time(Some(i64::from_be_bytes(exact(bytes)?)))?.time().to_string()),
        "TIMESTAMP" => match i64::from_be_bytes(exact(bytes)?) {
            i64::MAX => json("infinity"),
            i64::MIN => json("-infinity"),
            micros => json(&civil_time(Some(micros))?.to_string()),
        },
        "TIMESTAMPTZ" => match i64::from_be_bytes(exact(bytes)?) {
            i64::MAX => json("infinity"),
            i64::MIN => json("-infinity"),
            micros => json(&format!("{}Z", civil_time(Some(micros))?)),
        },
        "VOID" => Ok("null".to_owned()),
        _ => Err(Unsupported),
    }
}

/// 2000-01-01 and that many microseconds.
fn civil_time(micros: Option<i64>) -> Result<civil::DateTime, Unsupported> {
    let span = jiff::SignedDuration::from_micros(micros.ok_or(Unsupported)?);
    civil::date(2000, 1, 1).to_datetime(civil::Time::midnight()).checked_add(span).map_err(|_| Unsupported)
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, Unsupported> {
    serde_json::to_string(value).map_err(|_| Unsupported)
}

fn text(bytes: &[u8]) -> Result<String, Unsupported> {
    json(std::str::from_utf8(bytes).map_err(|_| Unsupported)?)
}

fn raw_json(bytes: &[u8]) -> Result<String, Unsupported> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unsupported)?;
    serde_json::from_str::<&RawValue>(text).map(|value| value.get().to_owned()).map_err(|_| Unsupported)
}

/// JSON has no such numbers.
fn infinite(value: f64) -> Result<String, Unsupported> {
    json(match value {
        value if value.is_nan() => "NaN",
        value if value > 0.0 => "Infinity",
        _ => "-Infinity",
    })
}

fn uuid(bytes: &[u8]) -> Result<String, Unsupported> {
    use std::fmt::Write as _;
    let bytes: [u8; 16] = exact(bytes)?;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").map_err(|_| Unsupported)?;
    }
    json(&text)
}

fn exact<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Unsupported> {
    bytes.try_into().map_err(|_| Unsupported)
}

/// Takes numbers from the front of a binary form.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Unsupported> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Unsupported)?;
        self.0 = rest;
        Ok(taken)
    }

    fn int16(&mut self) -> Result<i16, Unsupported> {
        Ok(i16::from_be_bytes(exact(self.take(2)?)?))
    }

    fn int32(&mut self) -> Result<i32, Unsupported> {
        Ok(i32::from_be_bytes(exact(self.take(4)?)?))
    }

    /// Number of dimensions, whether there are nulls, element type; per dimension its length and lower bound; elements.
    fn array(mut self, element: &PgTypeInfo) -> Result<String, Unsupported> {
        let dimensions = self.int32()?;
        self.take(8)?;
        let mut lengths = Vec::new();
        for _ in 0..dimensions {
            lengths.push(usize::try_from(self.int32()?).map_err(|_| Unsupported)?);
            self.take(4)?;
        }
        // Six is PostgreSQL's own limit. A length of zero beside a huge one would be a long way through nothing.
        if lengths.len() > 6 {
            return Err(Unsupported);
        }
        if lengths.is_empty() || lengths.contains(&0) {
            return Ok("[]".to_owned());
        }
        self.dimension(&lengths, element)
    }

    fn dimension(&mut self, lengths: &[usize], element: &PgTypeInfo) -> Result<String, Unsupported> {
        let Some((length, inner)) = lengths.split_first() else {
            let size = self.int32()?;
            return match usize::try_from(size) {
                Ok(size) => to_json(element, self.take(size)?),
                Err(_) => Ok("null".to_owned()),
            };
        };
        let mut items = Vec::new();
        for _ in 0..*length {
            items.push(self.dimension(inner, element)?);
        }
        Ok(format!("[{}]", items.join(",")))
    }

    /// Count, weight of the first, sign, decimals to show; then digits to the base 10,000.
    fn numeric(mut self) -> Result<Cow<'static, str>, Unsupported> {
        use std::fmt::Write as _;
        let count = self.int16()?;
        let weight = self.int16()?;
        let sign = self.int16()?.cast_unsigned();
        let scale = usize::try_from(self.int16()?).map_err(|_| Unsupported)?;
        let negative = match sign {
            0x0000 => false,
            0x4000 => true,
            0xC000 => return Ok("NaN".into()),
            0xD000 => return Ok("Infinity".into()),
            0xF000 => return Ok("-Infinity".into()),
            _ => return Err(Unsupported),
        };
        let mut digits = Vec::new();
        for _ in 0..count {
            digits.push(self.int16()?);
        }
        let digit = |at: i32| usize::try_from(at).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
        let mut whole = String::new();
        for at in 0..=i32::from(weight) {
            write!(whole, "{:04}", digit(at)).map_err(|_| Unsupported)?;
        }
        let mut fraction = String::new();
        let mut at = i32::from(weight) + 1;
        while fraction.len() < scale {
            write!(fraction, "{:04}", digit(at)).map_err(|_| Unsupported)?;
            at += 1;
        }
        fraction.truncate(scale);
        let whole = match whole.trim_start_matches('0') {
            "" => "0",
            whole => whole,
        };
        let point = if scale > 0 { "." } else { "" };
        Ok(format!("{}{whole}{point}{fraction}", if negative { "-" } else { "" }).into())
    }
}

/// The parameters of a statement for the driver. None where a `json` one is no JSON; the number counts from 1.
pub(crate) fn arguments(parameters: &[Parameter]) -> Result<PgArguments, usize> {
    let mut arguments = PgArguments::default();
    for (at, parameter) in parameters.iter().enumerate() {
        let number = at + 1;
        let added = match parameter {
            Parameter::Null => arguments.add(Untyped),
            Parameter::Boolean(value) => arguments.add(*value),
            Parameter::Integer(value) => arguments.add(*value),
            Parameter::Float(value) => arguments.add(*value),
            Parameter::Text(value) => arguments.add(value.as_str()),
            Parameter::Json(value) => {
                let value = RawValue::from_string(value.clone()).map_err(|_| number)?;
                arguments.add(Json(value))
            }
            Parameter::Bytes(value) => arguments.add(value.as_slice()),
        };
        added.map_err(|_| number)?;
    }
    Ok(arguments)
}

/// A null whose type the server finds out.
struct Untyped;

impl Type<Postgres> for Untyped {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Untyped {
    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(weight: i16, sign: u16, scale: i16, digits: &[i16]) -> String {
        let mut bytes = Vec::new();
        bytes.extend(i16::try_from(digits.len()).unwrap().to_be_bytes());
        bytes.extend(weight.to_be_bytes());
        bytes.extend(sign.to_be_bytes());
        bytes.extend(scale.to_be_bytes());
        for digit in digits {
            bytes.extend(digit.to_be_bytes());
        }
        Reader(&bytes).numeric().unwrap().into_owned()
    }

    #[test]
    fn numerics_keep_every_digit() {
        assert_eq!(numeric(0, 0, 0, &[]), "0");
        assert_eq!(numeric(0, 0, 2, &[]), "0.00");
        assert_eq!(numeric(1, 0, 0, &[1, 0]), "10000");
        assert_eq!(numeric(2, 0x4000, 3, &[1, 2, 3, 4500]), "-100020003.450");
        assert_eq!(numeric(-1, 0, 4, &[12]), "0.0012");
        assert_eq!(numeric(-2, 0, 8, &[12]), "0.00000012");
        assert_eq!(numeric(0, 0xC000, 0, &[]), "NaN");
    }

    #[test]
    fn broken_forms_are_refused() {
        assert_eq!(Reader(&[0, 5, 0, 0]).numeric(), Err(Unsupported));
        assert_eq!(exact::<4>(&[1]), Err(Unsupported));
        assert_eq!(uuid(&[1, 2]), Err(Unsupported));
        assert_eq!(raw_json(b"{nope"), Err(Unsupported));
        assert_eq!(text(&[0xff]), Err(Unsupported));
    }
}
