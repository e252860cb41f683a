//! `windlass:plugin/connections`: what is bound to the plugin's own slots.
//!
//! Invariant: a slot that nothing is bound to and one that no grant names look alike, and no credential is shown.

use crate::bindings::connections::{Connection as Shown, Host};
use crate::state::{CallContext, CallState};
use crate::{Bound, Connection};

impl Host for CallState {
    async fn lookup(&mut self, slot: String) -> wasmtime::Result<Option<Shown>> {
        Ok(self.call.visible(&slot).map(|bound| Shown {
            name: bound.name.clone(),
            kind: bound.connection.kind().to_owned(),
            origin: match &bound.connection {
                Connection::Http { origin, .. } => Some(origin.clone()),
                _ => None,
            },
            slot,
        }))
    }
}

impl CallContext {
    /// What is bound to the slot, if a grant lets the plugin use it. HTTP lines name places and not slots.
    pub(crate) fn visible(&self, slot: &str) -> Option<&Bound> {
        let bound = self.bound(slot)?;
        let granted = match &bound.connection {
            Connection::Http { origin, .. } => self.grants().reaches_origin(origin),
            _ => self.grants().names_slot(slot),
        };
        granted.then_some(bound)
    }
}
