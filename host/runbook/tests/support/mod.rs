//! A catalogue of made-up components, and diagnostics drawn as text.

#![allow(dead_code, reason = "each test binary uses another part")]

use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme};
use windlass_runbook::catalog::{Catalog, CatalogError, GrantFacts, GrantProblem, PluginUse};
use windlass_runbook::model::PluginSource;
use windlass_runbook::wit::{Action, ActionKind, Field, Interface, Record, Signature, Slot, Type, Variant};
use windlass_runbook::{Diagnostics, Runbook, SourceFile, check, parse};

pub(crate) fn field(name: &str, ty: Type) -> Field {
    Field { name: name.to_owned(), ty, docs: None }
}

pub(crate) fn record(name: &str, fields: Vec<Field>) -> Arc<Record> {
    Arc::new(Record { name: name.to_owned(), fields })
}

pub(crate) fn option(ty: Type) -> Type {
    Type::Option(Box::new(ty))
}

pub(crate) fn list(ty: Type) -> Type {
    Type::List(Box::new(ty))
}

pub(crate) fn map(ty: Type) -> Type {
    Type::Map(Box::new(ty))
}

pub(crate) fn integer(bits: u32) -> Type {
    Type::Integer { min: 0, max: if bits == 64 { u64::MAX } else { (1 << bits) - 1 } }
}

fn words(words: &[&str]) -> Arc<[String]> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn action(name: &str, kind: ActionKind, input: Arc<Record>, output: Option<Type>) -> Action {
    Action { name: name.to_owned(), kind, input, output, docs: None }
}

fn interface(name: &str, actions: Vec<Action>) -> Interface {
    Interface { id: format!("windlass:contracts/{name}@0.1.0"), name: name.to_owned(), actions }
}

fn extra() -> Field {
    field("extra", map(Type::Json))
}

fn http() -> Signature {
    let target = record(
        "target",
        vec![
            Field {
                docs: Some("Where to ask; a path alone is put after the provider's base URL.".to_owned()),
                ..field("url", Type::String)
            },
            field("status", list(integer(16))),
            field("expect", map(Type::Json)),
            field("timeout", option(Type::Duration)),
            extra(),
        ],
    );
    let report = record(
        "report",
        vec![
            field("status-code", integer(16)),
            field("latency-ms", Type::Float),
            field("round-trip-ms", Type::Float),
            field("version", option(Type::String)),
            field("body", Type::Json),
        ],
    );
    let request = record(
        "request",
        vec![
            field("method", option(Type::String)),
            field("url", Type::String),
            field("query", map(Type::String)),
            field("headers", map(Type::String)),
            field("json", option(Type::Json)),
            field("status", list(integer(16))),
            field("expect", map(Type::Json)),
            field("capture", map(Type::String)),
            field("timeout", option(Type::Duration)),
            field("repeatable", Type::Bool),
            field("body-limit", option(Type::ByteSize)),
            extra(),
        ],
    );
    let response = record(
        "response",
        vec![
            field("status-code", integer(16)),
            field("headers", map(Type::String)),
            field("body", Type::Json),
            field("text", option(Type::String)),
            field("captured", map(Type::Json)),
            field("round-trip-ms", Type::Float),
        ],
    );
    Signature {
        digest: "sha256:http".to_owned(),
        interfaces: vec![
            interface(
                "health",
                vec![action("check", ActionKind::Reading, target, Some(Type::Record(report)))],
            ),
            interface(
                "http-call",
                vec![
                    action(
                        "fetch",
                        ActionKind::Reading,
                        Arc::clone(&request),
                        Some(Type::Record(Arc::clone(&response))),
                    ),
                    action("send", ActionKind::UndoableEffect, request, Some(Type::Record(response))),
                ],
            ),
        ],
        config: Some(record("config", vec![field("base-url", option(Type::String))])),
        slots: vec![Slot { name: "api".to_owned(), kind: "http".to_owned(), docs: String::new() }],
    }
}

fn files() -> Signature {
    let location =
        record("location", vec![field("folder", option(Type::String)), field("path", Type::String), extra()]);
    let file = record(
        "file",
        vec![
            field("folder", option(Type::String)),
            field("path", Type::String),
            field("text", Type::String),
            extra(),
        ],
    );
    let written = record(
        "written",
        vec![field("path", Type::String), field("size", Type::ByteSize), field("sha256", Type::String)],
    );
    Signature {
        digest: "sha256:files".to_owned(),
        interfaces: vec![interface(
            "files",
            vec![
                action("read", ActionKind::Reading, location, Some(Type::Record(Arc::clone(&written)))),
                action("write", ActionKind::UndoableEffect, file, Some(Type::Record(written))),
            ],
        )],
        config: None,
        slots: vec![Slot { name: "out".to_owned(), kind: "folder".to_owned(), docs: String::new() }],
    }
}

/// A plugin with every kind of type, an action that two interfaces have, and a configuration with a needed field.
fn zoo() -> Signature {
    let point = record("point", vec![field("x", integer(8)), field("y", integer(8))]);
    let input = record(
        "animal",
        vec![
            field("name", Type::String),
            field("kind", Type::Enum(words(&["big-cat", "bird"]))),
            field("food", list(Type::Enum(words(&["meat", "seed"])))),
            field(
                "home",
                option(Type::Variant(Arc::new(Variant {
                    name: "home".to_owned(),
                    cases: vec![
                        ("cage".to_owned(), Some(integer(8))),
                        ("free".to_owned(), None),
                        ("map".to_owned(), Some(Type::Record(Arc::clone(&point)))),
                    ],
                }))),
            ),
            field("tricks", option(Type::Flags(words(&["roll", "play-dead"])))),
            field("weight", option(Type::Float)),
            field("initial", option(Type::Char)),
            field("picture", option(Type::Bytes)),
            field("born", option(Type::Timestamp)),
            field("nap", option(Type::Duration)),
            field("appetite", option(Type::ByteSize)),
            field("position", option(Type::Tuple(vec![integer(8), Type::String]))),
            field("points", list(Type::Record(point))),
            field("key", option(Type::SecretName)),
            field("tame", Type::Bool),
            field("balance", option(Type::Integer { min: -10, max: 10 })),
            field("notes", option(Type::Json)),
        ],
    );
    let empty = record("nothing", vec![]);
    Signature {
        digest: "sha256:zoo".to_owned(),
        interfaces: vec![
            interface(
                "keeper",
                vec![
                    action("feed", ActionKind::Effect, input, None),
                    action("look", ActionKind::Reading, Arc::clone(&empty), None),
                ],
            ),
            interface("visitor", vec![action("look", ActionKind::Reading, empty, Some(list(Type::String)))]),
        ],
        config: Some(record("settings", vec![field("gate", Type::String), field("open", Type::Bool)])),
        slots: vec![],
    }
}

/// The plugins of the design's example that are not there yet, each with what the example calls.
fn later(name: &str) -> Signature {
    let (interface_name, action) = match name {
        "traffic" => {
            let weights = vec![field("route", Type::String), field("weights", map(integer(8))), extra()];
            ("traffic", action("split", ActionKind::UndoableEffect, record("split", weights), None))
        }
        "metrics" => {
            let query = record("query", vec![field("query", Type::String), extra()]);
            let sample = record("sample", vec![field("value", Type::Float)]);
            ("metrics", action("query", ActionKind::Reading, query, Some(Type::Record(sample))))
        }
        _ => {
            let message = record("message", vec![field("text", Type::String), extra()]);
            ("notify", action("post", ActionKind::Effect, message, None))
        }
    };
    Signature {
        digest: format!("sha256:{name}"),
        interfaces: vec![interface(interface_name, vec![action])],
        config: None,
        slots: vec![],
    }
}

/// The made-up world.
pub(crate) struct World;

impl Catalog for World {
    fn signature(&self, plugin: &PluginUse) -> Result<Arc<Signature>, CatalogError> {
        let signature = match &plugin.source {
            PluginSource::Builtin(name) if name == "http" => http(),
            PluginSource::Builtin(name) if name == "files" => files(),
            PluginSource::Builtin(name) if name == "zoo" => zoo(),
            PluginSource::Builtin(name) if matches!(name.as_str(), "traffic" | "metrics" | "chat") => {
                later(name)
            }
            PluginSource::Builtin(name) => {
                return Err(CatalogError {
                    message: format!("there is no builtin plugin `{name}`"),
                    help: Some("known here: `http`, `files`, `zoo`".to_owned()),
                });
            }
            PluginSource::File(path) => {
                return Err(CatalogError {
                    message: format!("there is no file `{}`", path.display()),
                    help: None,
                });
            }
        };
        Ok(Arc::new(signature))
    }

    /// A small part of the grammar: `http METHOD URL` and `folder|postgres SLOT: WORD`.
    fn check_grant(&self, line: &str) -> Result<GrantFacts, GrantProblem> {
        let problem = |message: &str, range| {
            Err(GrantProblem {
                message: message.to_owned(),
                help: Some("see the list of grants".to_owned()),
                range,
            })
        };
        let Some((capability, rest)) = line.split_once(' ') else {
            return problem("a grant begins with a capability", 0..line.len());
        };
        match capability {
            "http" => Ok(GrantFacts {
                capability: "http".to_owned(),
                writes: !rest.starts_with("GET"),
                slots: vec![],
            }),
            "folder" | "postgres" => {
                let Some((slot, right)) = rest.split_once(": ") else {
                    return problem("the slot ends with a colon", capability.len() + 1..line.len());
                };
                let at = line.len() - right.len();
                match right {
                    "read" | "write" => Ok(GrantFacts {
                        capability: capability.to_owned(),
                        writes: right == "write",
                        slots: vec![slot.to_owned()],
                    }),
                    _ => problem("the right is `read` or `write`", at..line.len()),
                }
            }
            "kubernetes" => {
                problem("there is no capability `kubernetes` in this version", 0..capability.len())
            }
            _ => problem("there is no such capability", 0..capability.len()),
        }
    }
}

/// Reads and checks; the diagnostics of both together.
pub(crate) fn checked(runbook: &str, environment: Option<&str>) -> (Option<Runbook>, Diagnostics) {
    let environment = environment.map(|text| SourceFile::new("environments/place.toml", text));
    let (document, mut diagnostics) = parse(SourceFile::new("runbooks/some.toml", runbook), environment);
    let Some(document) = document else { return (None, diagnostics) };
    let (runbook, more) = check(&document, &World);
    diagnostics.extend(more);
    (runbook, diagnostics)
}

/// A runbook that must be good.
pub(crate) fn good(runbook: &str) -> Runbook {
    let (checked, diagnostics) = checked(runbook, None);
    checked.unwrap_or_else(|| panic!("{}", draw(&diagnostics)))
}

/// The diagnostics as an operator sees them, without colours.
pub(crate) fn draw(diagnostics: &Diagnostics) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(110)
        .with_links(false)
        .with_context_lines(1);
    let mut drawn = String::new();
    for diagnostic in diagnostics {
        handler.render_report(&mut drawn, diagnostic).unwrap();
        drawn.push('\n');
    }
    drawn
}

/// Compares with `snapshots/NAME.snap`.
pub(crate) fn snapshot(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true
    }, {
        insta::assert_snapshot!(name, text);
    });
}
