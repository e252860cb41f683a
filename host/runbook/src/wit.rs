//! The types of a plugin's actions, as read out of its component.
//!
//! This is the schema that a step's TOML is checked against. It is plain data: `sandbox` makes it from a component,
//! this crate checks runbooks with it, and neither knows how the other does that.

use std::sync::Arc;

/// What a component offers, read without running or compiling it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Signature {
    /// SHA-256 of the component's bytes, as `sha256:` and lower-case hex.
    pub digest: String,
    /// The exported interfaces that hold at least one action, in the component's order.
    pub interfaces: Vec<Interface>,
    /// What `configure` takes; `None` where the component exports no `configure`.
    pub config: Option<Arc<Record>>,
    /// The slots it says it looks for, from its custom section; empty where it has none.
    pub slots: Vec<Slot>,
}

/// An exported interface.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Interface {
    /// In full, such as `windlass:contracts/health@0.1.0`.
    pub id: String,
    /// The name alone, such as `health`.
    pub name: String,
    /// Its actions, in the component's order.
    pub actions: Vec<Action>,
}

/// A function, or a set of functions, that a step can call.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Action {
    /// `check`, or `send` for the set `plan-send`, `apply-send`, …
    pub name: String,
    /// Whether it can have an effect.
    pub kind: ActionKind,
    /// The input record.
    pub input: Arc<Record>,
    /// What it returns when it succeeds; `None` for nothing.
    pub output: Option<Type>,
    /// Its doc comment, where `plugin build` kept it.
    pub docs: Option<String>,
}

/// Whether an action can have an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionKind {
    /// One function, always in read mode.
    Reading,
    /// `plan-X` and `apply-X`.
    Effect,
    /// These and `plan-undo-X` and `undo-X`.
    UndoableEffect,
}

impl ActionKind {
    /// Whether the action is a pair with `plan-` and `apply-`.
    #[must_use]
    pub const fn has_effect(self) -> bool {
        !matches!(self, Self::Reading)
    }
}

/// A slot that a plugin says it looks for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Slot {
    /// The plugin's name for it.
    pub name: String,
    /// `http`, `postgres`, `folder`, `program`, …
    pub kind: String,
    /// What the plugin does with it.
    pub docs: String,
}

/// A WIT type, with the aliases of `windlass:plugin/values` resolved.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// `bool`.
    Bool,
    /// Any of the integer types, with its bounds.
    Integer {
        /// The least value.
        min: i64,
        /// The greatest.
        max: u64,
    },
    /// `f32` or `f64`.
    Float,
    /// `char`.
    Char,
    /// `string`.
    String,
    /// `list<u8>`: base64 in TOML and JSON.
    Bytes,
    /// `list<T>`.
    List(Box<Self>),
    /// `list<tuple<string, T>>`: a table.
    Map(Box<Self>),
    /// `option<T>`.
    Option(Box<Self>),
    /// `tuple<…>`.
    Tuple(Vec<Self>),
    /// A record.
    Record(Arc<Record>),
    /// A variant.
    Variant(Arc<Variant>),
    /// The names of its cases.
    Enum(Arc<[String]>),
    /// The names of its flags.
    Flags(Arc<[String]>),
    /// `values.json`.
    Json,
    /// `values.duration`, milliseconds.
    Duration,
    /// `values.byte-size`.
    ByteSize,
    /// `values.timestamp`, RFC 3339.
    Timestamp,
    /// `values.secret-name`.
    SecretName,
}

/// A record type.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Record {
    /// Its WIT name, such as `target`.
    pub name: String,
    /// In the order of the WIT.
    pub fields: Vec<Field>,
}

impl Record {
    /// The field that a TOML key or an expression means; `-` and `_` are the same there.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&Field> {
        self.fields.iter().find(|field| same_name(&field.name, key))
    }
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Field {
    /// Its WIT name, in kebab-case.
    pub name: String,
    /// What it holds.
    pub ty: Type,
    /// Its doc comment, where it was kept.
    pub docs: Option<String>,
}

impl Field {
    /// Whether it may be left out of the TOML: an option is none, a list or table is empty, a bool is false.
    #[must_use]
    pub const fn may_be_absent(&self) -> bool {
        matches!(self.ty, Type::Option(_) | Type::List(_) | Type::Map(_) | Type::Bool)
    }
}

/// A variant type.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Variant {
    /// Its WIT name.
    pub name: String,
    /// Case names with their payloads.
    pub cases: Vec<(String, Option<Type>)>,
}

/// Whether a WIT name and a name in a runbook are the same: WIT is written in kebab-case, expressions in snake_case,
/// and TOML in either.
#[must_use]
pub fn same_name(wit: &str, written: &str) -> bool {
    wit.len() == written.len()
        && wit.bytes().zip(written.bytes()).all(|(a, b)| a == b || (a == b'-' && b == b'_'))
}
