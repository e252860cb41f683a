//! Runbooks of the hostile plugin: many attacks as independent steps of one run.
#![allow(clippy::format_push_string, reason = "texts of tests may be slow")]

use serde_json::Value;

use crate::target_folder;

/// One attack.
pub struct Attack {
    /// The step.
    pub id: String,
    /// Of the hostile plugin.
    pub action: &'static str,
    /// Its input.
    pub with: Value,
}

impl Attack {
    /// An attack by its parts.
    #[must_use]
    pub fn new(id: &str, action: &'static str, with: Value) -> Self {
        Self { id: id.to_owned(), action, with }
    }
}

/// A runbook that tries every attack and goes on after each failure. `allow` are the lines of the plugin's grants, and
/// `connections` the inline table of its slots.
#[must_use]
pub fn runbook(attacks: &[Attack], connections: &str, allow: &[String]) -> String {
    let component = target_folder().join("plugins/hostile.wasm");
    let mut text = format!(
        "[runbook]\nname = \"attacks\"\non_failure = \"continue\"\n\n[plugins.hostile]\nsource = {component:?}\n\
         connections = {{ {connections} }}\nallow = [\n"
    );
    for line in allow {
        text.push_str(&format!("  {},\n", Value::from(line.as_str())));
    }
    text.push_str("]\n\n[[stage]]\nname = \"Attacks\"\nparallel = true\n");
    for Attack { id, action, with } in attacks {
        let with = inline(with);
        text.push_str(&format!(
            "\n[[stage.step]]\nid = \"{id}\"\ndo = \"hostile.{action}\"\nwith = {with}\ntimeout = \"3s\"\n"
        ));
    }
    text
}

/// A JSON value as TOML on one line.
#[must_use]
pub fn inline(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name:?} = {}", inline(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::String(text) => Value::from(text.replace("${", "$${")).to_string(),
        other => other.to_string(),
    }
}

/// The Rabin-Karp hash by which the hostile plugin searches its memory for a text without having it; half of it, since
/// TOML's integers are signed.
#[must_use]
pub fn rolling_hash(text: &str) -> u64 {
    let whole = text
        .bytes()
        .fold(0, |hash: u64, byte| hash.wrapping_mul(1_099_511_628_211).wrapping_add(u64::from(byte)));
    whole >> 1
}
