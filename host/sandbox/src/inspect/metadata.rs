//! What a plugin says about itself in the custom section `windlass:metadata`: words for people, and nothing else.
//!
//! The section is as untrusted as the rest. Invariant: it changes no decision, and where it is broken it is left out
//! with a note.

use std::collections::HashMap;

use serde::Deserialize;
use wasmparser::{Parser, Payload};
use windlass_runbook::wit::Slot;

use crate::limits::Size;
use crate::text::{cut, plain};

/// The name of the section.
const SECTION: &str = "windlass:metadata";
/// The largest section that is read.
const MAX_BYTES: usize = 256 * 1024;
/// The longest text that is kept of each.
const MAX_TEXT: usize = 4 * 1024;
const MAX_SLOTS: usize = 32;

/// What the section holds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    pub(super) version: Option<String>,
    pub(super) description: Option<String>,
    pub(super) slots: Vec<Slot>,
    /// By the full id of the interface.
    docs: HashMap<String, InterfaceDocs>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct InterfaceDocs {
    functions: HashMap<String, String>,
    types: HashMap<String, TypeDocs>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct TypeDocs {
    fields: HashMap<String, String>,
}

impl Metadata {
    /// The doc comment of a function.
    pub(super) fn function(&self, interface: &str, function: &str) -> Option<String> {
        self.docs.get(interface)?.functions.get(function).map(|text| clean(text))
    }

    /// The doc comment of a record's field.
    pub(super) fn field(&self, interface: &str, record: &str, field: &str) -> Option<String> {
        self.docs.get(interface)?.types.get(record)?.fields.get(field).map(|text| clean(text))
    }
}

/// What the component says about itself, and what was odd about that.
pub(super) fn read(bytes: &[u8]) -> (Metadata, Vec<String>) {
    let Some(section) = section(bytes) else { return (Metadata::default(), Vec::new()) };
    if section.len() > MAX_BYTES {
        let note =
            format!("its section `{SECTION}` is left out: it is longer than {}", Size(MAX_BYTES as u64));
        return (Metadata::default(), vec![note]);
    }
    match serde_json::from_slice::<Metadata>(section) {
        Ok(mut metadata) => {
            metadata.version = metadata.version.as_ref().map(|text| clean(text));
            metadata.description = metadata.description.as_ref().map(|text| clean(text));
            metadata.slots.truncate(MAX_SLOTS);
            for slot in &mut metadata.slots {
                slot.name = clean(&slot.name);
                slot.kind = clean(&slot.kind);
                slot.docs = clean(&slot.docs);
            }
            (metadata, Vec::new())
        }
        Err(error) => {
            let note = format!("its section `{SECTION}` is left out: {}", plain(&error.to_string()));
            (Metadata::default(), vec![note])
        }
    }
}

/// The section of the component itself; those of the modules in it say nothing about the whole.
fn section(bytes: &[u8]) -> Option<&[u8]> {
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.ok()? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == SECTION => {
                return Some(section.data());
            }
            _ => {}
        }
    }
    None
}

fn clean(text: &str) -> String {
    // Paragraphs stay: each line is cleaned alone.
    let lines: Vec<String> = text.lines().map(plain).collect();
    cut(lines.join("\n"), MAX_TEXT)
}
