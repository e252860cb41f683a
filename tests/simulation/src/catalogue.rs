//! The one plugin of the simulation, which exists as types only.

use std::sync::Arc;

use windlass_runbook::catalog::{Catalog, CatalogError, GrantFacts, GrantProblem, PluginUse};
use windlass_runbook::wit::{Action, ActionKind, Field, Interface, Record, Signature, Type};

/// Knows a plugin by whatever name.
pub(crate) struct OnePlugin(Arc<Signature>);

impl OnePlugin {
    pub(crate) fn new() -> Self {
        let field = |name: &str, ty: Type| Field { name: name.into(), ty, docs: None };
        let record = |name: &str, fields: Vec<Field>| Arc::new(Record { name: name.into(), fields });
        let input = record("thing", vec![field("cell", Type::String), field("value", Type::String)]);
        let gauge = record("gauge", vec![field("name", Type::String)]);
        let made = record("made", vec![field("value", Type::String)]);
        let seen = record("seen", vec![field("n", Type::Float), field("fresh", Type::Bool)]);
        let effect = |name: &str, kind: ActionKind| Action {
            name: name.into(),
            kind,
            input: Arc::clone(&input),
            output: Some(Type::Record(Arc::clone(&made))),
            docs: None,
        };
        let actions = vec![
            Action {
                name: "look".into(),
                kind: ActionKind::Reading,
                input: gauge,
                output: Some(Type::Record(seen)),
                docs: None,
            },
            effect("put", ActionKind::UndoableEffect),
            effect("launch", ActionKind::UndoableEffect),
            effect("post", ActionKind::Effect),
        ];
        let interface = Interface { id: "windlass:sim/all@0.1.0".into(), name: "all".into(), actions };
        Self(Arc::new(Signature {
            digest: "sha256:51".into(),
            interfaces: vec![interface],
            config: None,
            slots: Vec::new(),
        }))
    }
}

impl Catalog for OnePlugin {
    fn signature(&self, _plugin: &PluginUse) -> Result<Arc<Signature>, CatalogError> {
        Ok(Arc::clone(&self.0))
    }

    fn check_grant(&self, _line: &str) -> Result<GrantFacts, GrantProblem> {
        Ok(GrantFacts::default())
    }
}
