//! The custom section `windlass:metadata`: what a component's types can't say.
//!
//! Doc comments and the slots' names don't survive in a component. They are kept as one JSON object, read only to be
//! shown; nothing is ever allowed because of it.
//!
//! ```json
//! { "format": 1, "version": "0.1.0", "description": "…", "slots": [{ "name": "api", "kind": "http", "docs": "…" }],
//!   "docs": { "windlass:contracts/health@0.1.0": { "docs": "…", "functions": { "check": "…" },
//!             "types": { "target": { "docs": "…", "fields": { "url": "…" } } } } } }
//! ```
//!
//! The functions and types of the world itself, such as `configure`, stand under `world`.

use crate::{BuildError, PluginManifest};
use serde_json::{Map, Value, json};
use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{Docs, Function, Resolve, TypeDefKind, TypeId, WorldItem};

/// The name of the section.
const SECTION: &str = "windlass:metadata";

/// The component with its section.
pub(crate) fn append(mut component: Vec<u8>, manifest: &PluginManifest) -> Result<Vec<u8>, BuildError> {
    let metadata = describe(&component, manifest)?.to_string();
    let mut content = Vec::new();
    leb128(SECTION.len(), &mut content);
    content.extend_from_slice(SECTION.as_bytes());
    content.extend_from_slice(metadata.as_bytes());
    // A custom section has the id 0, and may come last in a component.
    component.push(0);
    leb128(content.len(), &mut component);
    component.append(&mut content);
    Ok(component)
}

/// What the section holds.
fn describe(component: &[u8], manifest: &PluginManifest) -> Result<Value, BuildError> {
    let wit = |message| BuildError::Wit { name: manifest.name.clone(), message };
    let mut sources = Resolve { all_features: true, ..Resolve::default() };
    for path in manifest.wit_paths() {
        sources.push_path(&path).map_err(|error| wit(format!("{error:#}")))?;
    }
    let DecodedWasm::Component(built, world) =
        decode(component).map_err(|error| wit(format!("{error:#}")))?
    else {
        return Err(wit("the component is a WIT package".to_owned()));
    };
    let mut docs = Map::new();
    let exports = built.worlds.get(world).map(|world| world.exports.values()).into_iter().flatten();
    let mut own = Vec::new();
    for export in exports {
        match export {
            WorldItem::Interface { id, .. } => {
                let Some(id) = built.id_of(*id) else { continue };
                if let Some(described) = interface(&sources, &id) {
                    docs.insert(id, described);
                }
            }
            WorldItem::Function(function) => own.push(function.name.clone()),
            WorldItem::Type { .. } => {}
        }
    }
    if let Some(described) = own_exports(&sources, &own) {
        docs.insert("world".to_owned(), described);
    }
    let slots: Vec<_> = manifest
        .slots
        .iter()
        .map(|(name, slot)| json!({ "name": name, "kind": slot.kind, "docs": slot.docs }))
        .collect();
    let mut metadata =
        json!({ "format": 1, "description": manifest.description, "slots": slots, "docs": docs });
    if let (Some(fields), Some(version)) = (metadata.as_object_mut(), &manifest.version) {
        fields.insert("version".to_owned(), json!(version));
    }
    Ok(metadata)
}

/// What the sources say about an interface.
fn interface(sources: &Resolve, id: &str) -> Option<Value> {
    let (_, found) = sources.interfaces.iter().find(|(key, _)| sources.id_of(*key).as_deref() == Some(id))?;
    let types = found.types.iter().map(|(name, id)| (name.as_str(), *id));
    Some(described(sources, &found.docs, found.functions.values(), types))
}

/// What the sources say about the functions that a world exports itself: the world that has them all is the one.
fn own_exports(sources: &Resolve, names: &[String]) -> Option<Value> {
    if names.is_empty() {
        return None;
    }
    let function = |item: &WorldItem| match item {
        WorldItem::Function(function) => Some(function.clone()),
        _ => None,
    };
    let (_, world) = sources.worlds.iter().find(|(_, world)| {
        names
            .iter()
            .all(|name| world.exports.values().filter_map(function).any(|function| function.name == *name))
    })?;
    let functions: Vec<Function> = world.exports.values().filter_map(function).collect();
    let types = world.imports.iter().filter_map(|(key, item)| match (key, item) {
        (wit_parser::WorldKey::Name(name), WorldItem::Type { id, .. }) => Some((name.as_str(), *id)),
        _ => None,
    });
    Some(described(sources, &world.docs, functions.iter(), types))
}

fn described<'a>(
    sources: &Resolve,
    docs: &Docs,
    functions: impl Iterator<Item = &'a Function>,
    types: impl Iterator<Item = (&'a str, TypeId)>,
) -> Value {
    let mut of_functions = Map::new();
    for function in functions {
        insert(&mut of_functions, &function.name, &function.docs);
    }
    let mut of_types = Map::new();
    for (name, id) in types {
        let Some(ty) = sources.types.get(id) else { continue };
        let mut fields = Map::new();
        match &ty.kind {
            TypeDefKind::Record(record) => {
                record.fields.iter().for_each(|field| insert(&mut fields, &field.name, &field.docs));
            }
            TypeDefKind::Variant(variant) => {
                variant.cases.iter().for_each(|case| insert(&mut fields, &case.name, &case.docs));
            }
            TypeDefKind::Enum(cases) => {
                cases.cases.iter().for_each(|case| insert(&mut fields, &case.name, &case.docs));
            }
            TypeDefKind::Flags(flags) => {
                flags.flags.iter().for_each(|flag| insert(&mut fields, &flag.name, &flag.docs));
            }
            _ => {}
        }
        let mut entry = Map::new();
        insert(&mut entry, "docs", &ty.docs);
        if !fields.is_empty() {
            entry.insert("fields".to_owned(), fields.into());
        }
        if !entry.is_empty() {
            of_types.insert(name.to_owned(), entry.into());
        }
    }
    let mut entry = Map::new();
    insert(&mut entry, "docs", docs);
    entry.insert("functions".to_owned(), of_functions.into());
    entry.insert("types".to_owned(), of_types.into());
    entry.into()
}

/// A doc comment, where there is one.
fn insert(into: &mut Map<String, Value>, name: &str, docs: &Docs) {
    if let Some(text) = docs.contents.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        into.insert(name.to_owned(), text.into());
    }
}

/// An unsigned number as WebAssembly writes it.
fn leb128(mut number: usize, into: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            into.push(low);
            return;
        }
        into.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::leb128;

    #[test]
    fn numbers_are_written_as_webassembly_does() {
        for (number, bytes) in
            [(0, &[0_u8][..]), (127, &[127]), (128, &[0x80, 1]), (624_485, &[0xe5, 0x8e, 0x26])]
        {
            let mut written = Vec::new();
            leb128(number, &mut written);
            assert_eq!(written, bytes);
        }
    }
}
