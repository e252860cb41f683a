//! What the service remembers while it runs: audit events, objects, sessions, figures, and how often it was asked for
//! what.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

/// Everything the service holds. Each part has its own lock, and no two are ever held at once.
#[derive(Default)]
pub(crate) struct State {
    events: Mutex<Vec<Event>>,
    objects: Mutex<HashMap<String, Object>>,
    sessions: Mutex<HashMap<String, String>>,
    figures: Mutex<String>,
    counts: Mutex<HashMap<String, u64>>,
}

/// An audit event.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) created_at: String,
    pub(crate) fields: Map<String, Value>,
}

impl Event {
    pub(crate) fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("id".to_owned(), json!(self.id));
        object.extend(self.fields.clone());
        object.insert("created_at".to_owned(), json!(self.created_at));
        Value::Object(object)
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// An object.
#[derive(Clone)]
pub(crate) struct Object {
    /// From 1, since it was created.
    pub(crate) version: u64,
    pub(crate) fields: Map<String, Value>,
    /// Of no other version of any object.
    serial: u64,
}

impl Object {
    /// Its entity tag.
    pub(crate) fn tag(&self) -> String {
        format!("\"{}\"", self.serial)
    }
}

impl State {
    /// Keeps an event, unless one with the same idempotency key is there. Says which one holds, and whether it is new.
    pub(crate) fn create_event(&self, fields: Map<String, Value>, key: Option<&str>) -> (Event, bool) {
        let mut events = lock(&self.events);
        let known =
            key.and_then(|key| events.iter().find(|event| event.idempotency_key.as_deref() == Some(key)));
        if let Some(event) = known {
            return (event.clone(), false);
        }
        let event = Event {
            id: random_id(),
            idempotency_key: key.map(str::to_owned),
            created_at: jiff::Timestamp::now().to_string(),
            fields,
        };
        events.push(event.clone());
        (event, true)
    }

    /// The events that a test holds for, oldest first.
    pub(crate) fn events(&self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        lock(&self.events).iter().filter(|event| wanted(event)).cloned().collect()
    }

    /// Removes an event. Says whether there was one.
    pub(crate) fn delete_event(&self, id: &str) -> bool {
        let mut events = lock(&self.events);
        let before = events.len();
        events.retain(|event| event.id != id);
        events.len() < before
    }

    /// An object by its name.
    pub(crate) fn object(&self, name: &str) -> Option<Object> {
        lock(&self.objects).get(name).cloned()
    }

    /// Puts an object, or removes it where there are no fields, if a condition on what is there holds. Gives back what was
    /// there before and what is there now.
    pub(crate) fn change_object(
        &self,
        name: &str,
        fields: Option<Map<String, Value>>,
        holds: impl FnOnce(Option<&Object>) -> bool,
    ) -> Result<(Option<Object>, Option<Object>), ()> {
        let serial = self.count("objects");
        let mut objects = lock(&self.objects);
        if !holds(objects.get(name)) {
            return Err(());
        }
        let before = objects.remove(name);
        let version = before.as_ref().map_or(1, |object| object.version + 1);
        let now = fields.map(|fields| Object { version, fields, serial });
        if let Some(now) = &now {
            objects.insert(name.to_owned(), now.clone());
        }
        Ok((before, now))
    }

    /// Mints a session token for a client.
    pub(crate) fn open_session(&self, client: &str) -> String {
        let token = format!("session-{}", random_id());
        lock(&self.sessions).insert(token.clone(), client.to_owned());
        token
    }

    /// Whose session a token is.
    pub(crate) fn session(&self, token: &str) -> Option<String> {
        lock(&self.sessions).get(token).cloned()
    }

    /// What was last put on display, or nothing.
    pub(crate) fn figures(&self) -> String {
        lock(&self.figures).clone()
    }

    /// Puts something else on display.
    pub(crate) fn show_figures(&self, text: String) {
        *lock(&self.figures) = text;
    }

    /// How often this was called before with the same name.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let mut counts = lock(&self.counts);
        let count = counts.entry(name.to_owned()).or_default();
        let before = *count;
        *count += 1;
        before
    }
}

/// A panic while a lock was held ends that request only.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 128 random bits in the form of a UUID of version 4.
fn random_id() -> String {
    let mut bytes = [0; 16];
    // Without a source of randomness ids repeat, which a test then shows; there is no better answer here.
    let _ = getrandom::fill(&mut bytes);
    let bits = u128::from_be_bytes(bytes) & !(0xf << 76) | (4 << 76);
    let bits = bits & !(0x3 << 62) | (2 << 62);
    let hex = format!("{bits:032x}");
    let (a, rest) = hex.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}")
}
