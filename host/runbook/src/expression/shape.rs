//! What is known about a value before there is one: the static types of expressions.

use std::sync::Arc;

use crate::wit::{Record, Type};

/// A static type. `Any` is what nothing is known about; it is never an error.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    Any,
    Null,
    Bool,
    Int,
    Float,
    Text,
    /// A text out of a closed set.
    Words(Arc<[String]>),
    List(Box<Self>),
    Map(Box<Self>),
    Record(Arc<Record>),
}

impl Shape {
    pub(crate) fn list(item: Self) -> Self {
        Self::List(Box::new(item))
    }

    pub(crate) fn map(value: Self) -> Self {
        Self::Map(Box::new(value))
    }

    /// What an output of a WIT type is in an expression.
    pub(crate) fn of(ty: &Type) -> Self {
        match ty {
            Type::Bool => Self::Bool,
            Type::Integer { .. } | Type::Duration | Type::ByteSize => Self::Int,
            Type::Float => Self::Float,
            Type::Char | Type::String | Type::Bytes | Type::Timestamp | Type::SecretName => Self::Text,
            Type::List(item) => Self::list(Self::of(item)),
            Type::Map(value) => Self::map(Self::of(value)),
            Type::Option(inner) => Self::of(inner),
            Type::Tuple(_) => Self::list(Self::Any),
            Type::Record(record) => Self::Record(Arc::clone(record)),
            Type::Enum(words) => Self::Words(Arc::clone(words)),
            Type::Flags(_) => Self::list(Self::Text),
            Type::Variant(_) | Type::Json => Self::Any,
        }
    }

    /// Its name with an article, for messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Any => "any value".to_owned(),
            Self::Null => "null".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Int => "an integer".to_owned(),
            Self::Float => "a float".to_owned(),
            Self::Text | Self::Words(_) => "a string".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a table".to_owned(),
            Self::Record(record) => format!("a `{}`", record.name),
        }
    }

    /// Whether values of both can be equal.
    pub(crate) fn comparable(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Any | Self::Null, _)
                | (_, Self::Any | Self::Null)
                | (Self::Int | Self::Float, Self::Int | Self::Float)
                | (Self::Text | Self::Words(_), Self::Text | Self::Words(_))
                | (Self::Bool, Self::Bool)
                | (Self::List(_), Self::List(_))
                | (Self::Map(_) | Self::Record(_), Self::Map(_) | Self::Record(_))
        )
    }

    /// What either of the two can be.
    pub(crate) fn join(self, other: Self) -> Self {
        if self == other {
            return self;
        }
        match (self, other) {
            (Self::Text | Self::Words(_), Self::Text | Self::Words(_)) => Self::Text,
            (Self::List(a), Self::List(b)) => Self::list(a.join(*b)),
            (Self::Map(a), Self::Map(b)) => Self::map(a.join(*b)),
            _ => Self::Any,
        }
    }
}
