//! What a component asks the host for, in groups that a person can read.
//!
//! Components of Python, JavaScript and Go import all of WASI whether they use it or not; it is linked, empty, and
//! listed apart, so that what can be *used* stays readable. Invariant: an import that has functions and that this host
//! doesn't know is refused; one that holds only types is no right and never refused.

use wit_parser::{Function, Resolve, TypeDefKind, World, WorldItem, WorldKey};

use crate::LoadError;
use crate::text::plain;

/// An interface that a component imports.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Import {
    /// In full, such as `wasi:http/outgoing-handler@0.2.6`.
    pub interface: String,
    /// The functions that it may call.
    pub functions: Vec<String>,
    /// What that means.
    pub group: ImportGroup,
}

/// What an import means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportGroup {
    /// Does nothing without a grant line of this kind: `http`, `folder`, `postgres`, `program`.
    Capability(&'static str),
    /// Needs no grant: the step, its connections and artifacts, clocks and random numbers.
    AlwaysGiven,
    /// What a language's runtime imports; linked empty, it can do nothing.
    Baggage,
    /// Holds no functions.
    TypesOnly,
}

/// The interfaces of `windlass:plugin` with their functions. A test compares them with the WIT files.
const OWN: [(&str, ImportGroup, &[&str]); 5] = [
    ("step", ImportGroup::AlwaysGiven, &["current", "log", "progress", "receipt"]),
    ("connections", ImportGroup::AlwaysGiven, &["lookup"]),
    ("artifacts", ImportGroup::AlwaysGiven, &["keep", "keep-file"]),
    ("postgres", ImportGroup::Capability("postgres"), &["query", "execute", "script", "split"]),
    ("process", ImportGroup::Capability("program"), &["run"]),
];

/// The versions of `windlass:plugin` that this host offers.
const OWN_VERSION: &str = "0.1";

/// The interfaces of WASI 0.2, as package and interface.
const WASI: [(&str, ImportGroup); 30] = [
    ("http/outgoing-handler", ImportGroup::Capability("http")),
    ("http/types", ImportGroup::Baggage),
    ("filesystem/types", ImportGroup::Baggage),
    ("filesystem/preopens", ImportGroup::Baggage),
    ("clocks/monotonic-clock", ImportGroup::AlwaysGiven),
    ("clocks/wall-clock", ImportGroup::AlwaysGiven),
    ("random/random", ImportGroup::AlwaysGiven),
    ("random/insecure", ImportGroup::AlwaysGiven),
    ("random/insecure-seed", ImportGroup::AlwaysGiven),
    ("io/error", ImportGroup::Baggage),
    ("io/poll", ImportGroup::Baggage),
    ("io/streams", ImportGroup::Baggage),
    ("cli/environment", ImportGroup::Baggage),
    ("cli/exit", ImportGroup::Baggage),
    ("cli/stdin", ImportGroup::Baggage),
    ("cli/stdout", ImportGroup::Baggage),
    ("cli/stderr", ImportGroup::Baggage),
    ("cli/terminal-input", ImportGroup::Baggage),
    ("cli/terminal-output", ImportGroup::Baggage),
    ("cli/terminal-stdin", ImportGroup::Baggage),
    ("cli/terminal-stdout", ImportGroup::Baggage),
    ("cli/terminal-stderr", ImportGroup::Baggage),
    ("sockets/network", ImportGroup::Baggage),
    ("sockets/instance-network", ImportGroup::Baggage),
    ("sockets/ip-name-lookup", ImportGroup::Baggage),
    ("sockets/tcp", ImportGroup::Baggage),
    ("sockets/tcp-create-socket", ImportGroup::Baggage),
    ("sockets/udp", ImportGroup::Baggage),
    ("sockets/udp-create-socket", ImportGroup::Baggage),
    ("http/incoming-handler", ImportGroup::Baggage),
];

/// All imports, or the reason why one can't be had.
pub(super) fn read(resolve: &Resolve, world: &World) -> Result<Vec<Import>, LoadError> {
    let mut imports = Vec::new();
    for (key, item) in &world.imports {
        match item {
            WorldItem::Interface { id, .. } => {
                let interface = match key {
                    WorldKey::Interface(id) => resolve.id_of(*id).unwrap_or_default(),
                    WorldKey::Name(name) => name.clone(),
                };
                let Some(found) = resolve.interfaces.get(*id) else { continue };
                let functions: Vec<String> = found.functions.keys().cloned().collect();
                let has_resource = found.types.values().any(|ty| {
                    resolve.types.get(*ty).is_some_and(|ty| matches!(ty.kind, TypeDefKind::Resource))
                });
                let group = group(&interface, &functions, has_resource)?;
                imports.push(Import { interface, functions, group });
            }
            WorldItem::Function(Function { name, .. }) => {
                return Err(LoadError::with_help(
                    format!("it imports the function `{}` outside of any interface", plain(name)),
                    "this host offers only interfaces: of WASI 0.2 and `windlass:plugin`",
                ));
            }
            WorldItem::Type { .. } => {}
        }
    }
    Ok(imports)
}

fn group(interface: &str, functions: &[String], has_resource: bool) -> Result<ImportGroup, LoadError> {
    if functions.is_empty() && !has_resource {
        return Ok(ImportGroup::TypesOnly);
    }
    let (name, version) = interface.split_once('@').unwrap_or((interface, ""));
    if let Some(own) = name.strip_prefix("windlass:plugin/") {
        return own_group(interface, own, version, functions);
    }
    let wasi = name.strip_prefix("wasi:").and_then(|name| WASI.iter().find(|(known, _)| *known == name));
    let Some((known, group)) = wasi else {
        return Err(LoadError::with_help(
            format!("it imports `{}`, which this host doesn't offer", plain(interface)),
            "this host offers WASI 0.2 and `windlass:plugin` 0.1: build the plugin against these",
        ));
    };
    if !is_of(version, "0.2") {
        return Err(LoadError::with_help(
            format!("it imports `{}`, and this host offers `wasi:{known}` 0.2", plain(interface)),
            "build the plugin for WASI 0.2",
        ));
    }
    // Only what is reached through a path makes the file system more than baggage.
    let opens = functions.iter().any(|name| name == "[method]descriptor.open-at");
    Ok(if *known == "filesystem/types" && opens { ImportGroup::Capability("folder") } else { *group })
}

fn own_group(
    interface: &str,
    name: &str,
    version: &str,
    functions: &[String],
) -> Result<ImportGroup, LoadError> {
    let known = OWN.iter().find(|(known, ..)| *known == name).filter(|_| is_of(version, OWN_VERSION));
    let Some((_, group, offered)) = known else {
        return Err(LoadError::with_help(
            format!("it imports `{}`, which this host doesn't offer", plain(interface)),
            format!(
                "of `windlass:plugin` this host offers {}, all in version {OWN_VERSION}: rebuild the plugin against \
                 these, or use a newer host",
                OWN.map(|(name, ..)| format!("`{name}`")).join(", "),
            ),
        ));
    };
    match functions.iter().find(|function| !offered.contains(&function.as_str())) {
        None => Ok(*group),
        Some(function) => Err(LoadError::with_help(
            format!(
                "it imports the function `{}` of `{}`, which this host doesn't have",
                plain(function),
                plain(interface)
            ),
            format!(
                "of `windlass:plugin/{name}` in version {OWN_VERSION} this host has {}",
                offered.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
            ),
        )),
    }
}

/// Whether `version` is of the given compatible track, such as `0.2`.
fn is_of(version: &str, track: &str) -> bool {
    version.strip_prefix(track).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use wit_parser::Resolve;

    use super::{ImportGroup, OWN, group, is_of};

    #[test]
    fn own_interfaces_are_those_of_the_wit_files() {
        let mut resolve = Resolve::default();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/plugin");
        let (package, _) = resolve.push_path(folder).unwrap();
        for (name, id) in &resolve.packages[package].interfaces {
            let functions: Vec<&str> = resolve.interfaces[*id].functions.keys().map(String::as_str).collect();
            let known = OWN.iter().find(|(known, ..)| known == name).map_or(&[][..], |(_, _, names)| names);
            assert_eq!(functions, known, "{name}");
        }
    }

    #[test]
    fn groups_follow_what_can_be_done() {
        let functions = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let of = |interface: &str, names: &[&str]| {
            group(interface, &functions(names), false).map_err(|e| e.to_string())
        };
        assert_eq!(of("wasi:http/outgoing-handler@0.2.6", &["handle"]), Ok(ImportGroup::Capability("http")));
        assert_eq!(
            of("wasi:filesystem/types@0.2.0", &["[method]descriptor.get-flags"]),
            Ok(ImportGroup::Baggage)
        );
        assert_eq!(
            of("wasi:filesystem/types@0.2.0", &["[method]descriptor.open-at"]),
            Ok(ImportGroup::Capability("folder"))
        );
        assert_eq!(of("windlass:plugin/step@0.1.3", &["log"]), Ok(ImportGroup::AlwaysGiven));
        assert_eq!(of("acme:types/things@7.0.0", &[]), Ok(ImportGroup::TypesOnly));
        let refused = [
            of("acme:types/things@7.0.0", &["go"]).unwrap_err(),
            of("wasi:http/outgoing-handler@0.3.0", &["handle"]).unwrap_err(),
            of("windlass:plugin/step@0.2.0", &["log"]).unwrap_err(),
            of("windlass:plugin/step@0.1.1", &["log", "shout"]).unwrap_err(),
        ];
        insta::assert_snapshot!(refused.join("\n"));
        assert!(is_of("0.2.12", "0.2") && !is_of("0.21.0", "0.2"));
    }
}
