//! Reads what a component offers and asks for, without running or compiling it.
//!
//! Everything here works on bytes of unknown origin. Invariant: nothing is looked at before the header says that it is
//! a component, and whatever [`inspect`] accepts has only imports that this host knows.

mod actions;
mod header;
mod imports;
mod metadata;
mod types;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sha2::{Digest as _, Sha256};
use windlass_runbook::wit::{Signature, Type};
use wit_component::DecodedWasm;
use wit_parser::{Resolve, WorldId};

use crate::LoadError;
use types::Types;

pub use imports::{Import, ImportGroup};

/// What a component offers and asks for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Inspection {
    /// Its actions and their types.
    pub signature: Signature,
    /// Everything it can possibly ask the host for.
    pub imports: Vec<Import>,
    /// Exports that are no actions, in full: `ns:package/interface#function`, or a name alone at the root.
    pub ignored_exports: Vec<String>,
    /// What the plugin says about itself, if it says anything.
    pub description: Option<String>,
    /// The version it gives itself, if it gives one.
    pub version: Option<String>,
    /// What was odd but no reason to refuse it, one sentence each.
    pub notes: Vec<String>,
    /// Of the component, in bytes.
    pub size: u64,
}

/// A component's description together with what calling it needs.
pub(crate) struct Decoded {
    pub(crate) inspection: Inspection,
    /// By interface and function; the root's `configure` has the empty interface.
    pub(crate) shapes: HashMap<(String, String), Shape>,
}

/// The types of one function.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) params: Vec<Type>,
    /// What it returns when it succeeds; none for nothing.
    pub(crate) ok: Option<Type>,
    pub(crate) failure: Type,
}

/// Reads what a component offers and asks for. Neither runs nor compiles it.
///
/// # Errors
///
/// The bytes are no component, its exports break the rules for actions, or it imports what this host doesn't have.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, LoadError> {
    decode(bytes).map(|decoded| decoded.inspection)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded, LoadError> {
    header::check(bytes)?;
    let (resolve, world) = read(bytes)?;
    let world = resolve.worlds.get(world).ok_or_else(|| LoadError::new("the component has no world"))?;
    let (metadata, mut notes) = metadata::read(bytes);
    let imports = imports::read(&resolve, world)?;
    let mut types = Types::new(&resolve, &metadata);
    let found = actions::read(&resolve, world, &mut types, &metadata)?;
    notes.extend(found.notes);
    let signature = Signature {
        digest: digest(bytes),
        interfaces: found.interfaces,
        config: found.config,
        slots: metadata.slots.clone(),
    };
    Ok(Decoded {
        inspection: Inspection {
            signature,
            imports,
            ignored_exports: found.ignored,
            description: metadata.description.clone(),
            version: metadata.version.clone(),
            notes,
            size: bytes.len() as u64,
        },
        shapes: found.shapes,
    })
}

/// SHA-256 as `sha256:` and lower-case hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    format!("sha256:{}", hex(&hash))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _written = write!(text, "{byte:02x}");
        text
    })
}

fn read(bytes: &[u8]) -> Result<(Resolve, WorldId), LoadError> {
    // The decoder is written for components of a compiler, not of an enemy: a panic in it is the component's fault.
    let decoded = catch_unwind(AssertUnwindSafe(|| wit_component::decode(bytes)))
        .map_err(|_| LoadError::new("its types can't be read: the decoder gave up on them"))?
        .map_err(|error| {
            let cause = error.root_cause().to_string();
            let help = if cause.contains("unexpected end") {
                "the file looks cut off: fetch or build it again"
            } else {
                "build it with `windlass plugin build`, or with a tool that makes components for WASI 0.2"
            };
            LoadError::with_help(format!("it is not a valid component: {}", crate::plain_text(&cause)), help)
        })?;
    match decoded {
        DecodedWasm::Component(resolve, world) => Ok((resolve, world)),
        DecodedWasm::WitPackage(..) => Err(LoadError::with_help(
            "it is a WIT package, which holds only types, not a component",
            "give the component that was built from it",
        )),
    }
}
