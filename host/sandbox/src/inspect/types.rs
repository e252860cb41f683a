//! Turns the types of a component into those that runbooks are checked against.
//!
//! The aliases of `windlass:plugin/values` are recognised by the interface that owns them and by name, through any
//! number of `use`s. Invariant: records are shared and the whole is limited in size and depth, so that no component can
//! make the host build an endless type.

use std::collections::HashMap;
use std::sync::Arc;

use windlass_runbook::wit::{Field, Record, Type, Variant};
use wit_parser::{InterfaceId, Resolve, Type as Wit, TypeDef, TypeDefKind, TypeId, TypeOwner};

use super::metadata::Metadata;

/// Nested deeper than this, a type is refused.
const MAX_DEPTH: u32 = 64;
/// Written out in full, a type may have this many parts.
const MAX_PARTS: u64 = 10_000;

/// Why a type can't be used in an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsupported(pub(super) String);

/// Turns types, each once.
pub(super) struct Types<'a> {
    resolve: &'a Resolve,
    metadata: &'a Metadata,
    /// With the number of parts, written out in full.
    done: HashMap<TypeId, (Type, u64)>,
}

impl<'a> Types<'a> {
    pub(super) fn new(resolve: &'a Resolve, metadata: &'a Metadata) -> Self {
        Self { resolve, metadata, done: HashMap::new() }
    }

    /// The type as runbooks know it.
    pub(super) fn read(&mut self, ty: &Wit) -> Result<Type, Unsupported> {
        self.sized(ty, 0).map(|(ty, _)| ty)
    }

    /// Whether the type is this one of `windlass:plugin/outcome@0.1.x` itself.
    pub(super) fn is_outcome(&self, ty: &Wit, name: &str) -> bool {
        let Wit::Id(id) = ty else { return false };
        self.chain(*id).any(|def| def.name.as_deref() == Some(name) && self.owned_by(def, "outcome"))
    }

    /// Whether the type is a list of such.
    pub(super) fn is_list_of_outcome(&self, ty: &Wit, name: &str) -> bool {
        let Wit::Id(id) = ty else { return false };
        self.chain(*id).any(|def| match &def.kind {
            TypeDefKind::List(element) => self.is_outcome(element, name),
            _ => false,
        })
    }

    /// The two sides of a result.
    pub(super) fn result(&self, ty: &Wit) -> Option<(Option<Wit>, Option<Wit>)> {
        let Wit::Id(id) = ty else { return None };
        self.chain(*id).find_map(|def| match &def.kind {
            TypeDefKind::Result(result) => Some((result.ok, result.err)),
            _ => None,
        })
    }

    /// Whether both are the same type, behind any aliases.
    pub(super) fn same(&self, one: &Wit, other: &Wit) -> bool {
        let origin = |ty: &Wit| match ty {
            Wit::Id(id) => self.origin(*id).map_or(*ty, Wit::Id),
            plain => *plain,
        };
        origin(one) == origin(other)
    }

    /// The last id of a chain of aliases.
    fn origin(&self, mut id: TypeId) -> Option<TypeId> {
        for _ in 0..MAX_DEPTH {
            match &self.resolve.types.get(id)?.kind {
                TypeDefKind::Type(Wit::Id(next)) => id = *next,
                _ => return Some(id),
            }
        }
        None
    }

    /// A type and what it is an alias of, step by step.
    fn chain(&self, id: TypeId) -> impl Iterator<Item = &'a TypeDef> {
        let resolve = self.resolve;
        let mut next = Some(id);
        std::iter::from_fn(move || {
            let def = resolve.types.get(next?)?;
            next = match &def.kind {
                TypeDefKind::Type(Wit::Id(alias)) => Some(*alias),
                _ => None,
            };
            Some(def)
        })
        .take(MAX_DEPTH as usize)
    }

    fn owned_by(&self, def: &TypeDef, interface: &str) -> bool {
        let TypeOwner::Interface(owner) = def.owner else { return false };
        self.interface_id(owner).is_some_and(|id| {
            id.split_once('@').is_some_and(|(name, version)| {
                name.strip_prefix("windlass:plugin/") == Some(interface) && version.starts_with("0.1.")
            })
        })
    }

    fn interface_id(&self, id: InterfaceId) -> Option<String> {
        let interface = self.resolve.interfaces.get(id)?;
        // `id_of` may only be asked of interfaces that have a package.
        interface.package?;
        self.resolve.id_of(id)
    }

    fn alias(&self, def: &TypeDef) -> Option<Type> {
        if !self.owned_by(def, "values") {
            return None;
        }
        match (def.name.as_deref()?, &def.kind) {
            ("json", TypeDefKind::Type(Wit::String)) => Some(Type::Json),
            ("timestamp", TypeDefKind::Type(Wit::String)) => Some(Type::Timestamp),
            ("secret-name", TypeDefKind::Type(Wit::String)) => Some(Type::SecretName),
            ("duration", TypeDefKind::Type(Wit::U64)) => Some(Type::Duration),
            ("byte-size", TypeDefKind::Type(Wit::U64)) => Some(Type::ByteSize),
            _ => None,
        }
    }

    fn sized(&mut self, ty: &Wit, depth: u32) -> Result<(Type, u64), Unsupported> {
        if depth > MAX_DEPTH {
            return Err(Unsupported(format!("a type nested deeper than {MAX_DEPTH} levels")));
        }
        let simple = match ty {
            Wit::Bool => Type::Bool,
            Wit::U8 => integer(0, u8::MAX.into()),
            Wit::U16 => integer(0, u16::MAX.into()),
            Wit::U32 => integer(0, u32::MAX.into()),
            Wit::U64 => integer(0, u64::MAX),
            Wit::S8 => integer(i8::MIN.into(), i8::MAX as u64),
            Wit::S16 => integer(i16::MIN.into(), i16::MAX as u64),
            Wit::S32 => integer(i32::MIN.into(), i32::MAX as u64),
            Wit::S64 => integer(i64::MIN, i64::MAX as u64),
            Wit::F32 | Wit::F64 => Type::Float,
            Wit::Char => Type::Char,
            Wit::String => Type::String,
            Wit::ErrorContext => return Err(Unsupported("an error-context".to_owned())),
            Wit::Id(id) => return self.defined(*id, depth),
        };
        Ok((simple, 1))
    }

    fn defined(&mut self, id: TypeId, depth: u32) -> Result<(Type, u64), Unsupported> {
        if let Some(done) = self.done.get(&id) {
            return Ok(done.clone());
        }
        let def =
            self.resolve.types.get(id).ok_or_else(|| Unsupported("a type that isn't there".to_owned()))?;
        let done = match self.alias(def) {
            Some(alias) => (alias, 1),
            None => self.kind(def, depth + 1)?,
        };
        if done.1 > MAX_PARTS {
            return Err(Unsupported(format!("a type of more than {MAX_PARTS} parts")));
        }
        self.done.insert(id, done.clone());
        Ok(done)
    }

    fn kind(&mut self, def: &TypeDef, depth: u32) -> Result<(Type, u64), Unsupported> {
        let mut parts = 1_u64;
        let mut part = |types: &mut Self, ty: &Wit| -> Result<Type, Unsupported> {
            let (ty, size) = types.sized(ty, depth)?;
            parts = parts.saturating_add(size);
            Ok(ty)
        };
        let name = def.name.clone().unwrap_or_default();
        let ty = match &def.kind {
            TypeDefKind::Type(alias) => part(self, alias)?,
            TypeDefKind::Record(record) => {
                let interface = match def.owner {
                    TypeOwner::Interface(owner) => self.interface_id(owner),
                    // Where the metadata has the record that `configure` takes.
                    TypeOwner::World(_) => Some("world".to_owned()),
                    TypeOwner::None => None,
                };
                let mut fields = Vec::with_capacity(record.fields.len());
                for field in &record.fields {
                    let docs =
                        interface.as_deref().and_then(|id| self.metadata.field(id, &name, &field.name));
                    fields.push(Field { name: field.name.clone(), ty: part(self, &field.ty)?, docs });
                }
                Type::Record(Arc::new(Record { name, fields }))
            }
            TypeDefKind::Variant(variant) => {
                let mut cases = Vec::with_capacity(variant.cases.len());
                for case in &variant.cases {
                    let payload = case.ty.as_ref().map(|ty| part(self, ty)).transpose()?;
                    cases.push((case.name.clone(), payload));
                }
                Type::Variant(Arc::new(Variant { name, cases }))
            }
            TypeDefKind::Enum(names) => {
                Type::Enum(names.cases.iter().map(|case| case.name.clone()).collect())
            }
            TypeDefKind::Flags(names) => {
                Type::Flags(names.flags.iter().map(|flag| flag.name.clone()).collect())
            }
            TypeDefKind::Option(inner) => Type::Option(Box::new(part(self, inner)?)),
            TypeDefKind::Tuple(tuple) => {
                Type::Tuple(tuple.types.iter().map(|ty| part(self, ty)).collect::<Result<_, _>>()?)
            }
            TypeDefKind::List(Wit::U8) => Type::Bytes,
            TypeDefKind::List(element) => match part(self, element)? {
                Type::Tuple(pair) => match <[Type; 2]>::try_from(pair) {
                    Ok([Type::String, value]) => Type::Map(Box::new(value)),
                    Ok(pair) => Type::List(Box::new(Type::Tuple(pair.into()))),
                    Err(tuple) => Type::List(Box::new(Type::Tuple(tuple))),
                },
                element => Type::List(Box::new(element)),
            },
            other => return Err(Unsupported(format!("a {}", other.as_str()))),
        };
        Ok((ty, parts))
    }
}

const fn integer(min: i64, max: u64) -> Type {
    Type::Integer { min, max }
}
