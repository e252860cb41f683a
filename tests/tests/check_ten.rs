//! Ten mistakes in one runbook are ten diagnostics in one run of `check`, each with its place.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use windlass_tests::{Windlass, Workspace};

const RUNBOOK: &str = r#"[runbook]
name  = "ten"
tittle = "Ten mistakes"

[inputs]
version = { type = "strnig" }

[plugins.api]
source = "builtin:http"
allow  = ["http GET http://127.0.0.1/health"]

[[step]]
id   = "healthy"
do   = "api.check"
with = { urll = "http://127.0.0.1/health", url = "http://127.0.0.1/health" }

[[step]]
id   = "wrong_type"
do   = "api.check"
with = { url = "http://127.0.0.1/health", status = ["two hundred"] }

[[step]]
id = "unknown_plugin"
do = "apis.check"
with = { url = "http://127.0.0.1/health" }

[[step]]
id = "unknown_action"
do = "api.chek"
with = { url = "http://127.0.0.1/health" }

[[step]]
id      = "bad_duration"
do      = "api.check"
with    = { url = "http://127.0.0.1/health" }
timeout = "5 minuets"

[[step]]
id    = "unknown_need"
do    = "api.check"
with  = { url = "http://127.0.0.1/health" }
needs = ["helthy"]

[[step]]
id   = "unknown_step"
do   = "api.check"
with = { url = "http://127.0.0.1/health/${steps.helthy.output.version}" }

[[step]]
id   = "unknown_field"
do   = "api.check"
with = { url = "http://127.0.0.1/health" }
expect = "result.latency < 20"
"#;

#[test]
fn ten_mistakes_are_ten_located_diagnostics() {
    let workspace = Workspace::new().file("ten.toml", RUNBOOK);
    let windlass = Windlass::new();
    let path = workspace.path("ten.toml").display().to_string();
    let check = windlass.run(["check", &path, "--color", "never"]).expect(2);
    assert!(!check.all().contains("panicked"), "{}", check.all());
    let text = check.all().replace(&workspace.path("").display().to_string(), "DIR/");
    insta::assert_snapshot!(text);

    let found = windlass.run(["check", &path, "--output", "json"]).expect(2).json();
    let diagnostics = found["diagnostics"].as_array().unwrap_or_else(|| panic!("{found:#}"));
    let errors: Vec<_> = diagnostics.iter().filter(|found| found["severity"] == "error").collect();
    assert_eq!(errors.len(), 10, "{found:#}");
    let lines: std::collections::BTreeSet<_> =
        errors.iter().map(|error| error["line"].as_u64().unwrap()).collect();
    assert_eq!(lines.len(), 10, "{found:#}");
}

#[test]
fn nothing_but_a_check_is_made_of_a_runbook_with_mistakes() {
    let workspace = Workspace::new().file("ten.toml", RUNBOOK);
    let windlass = Windlass::new();
    let path = workspace.path("ten.toml").display().to_string();
    for command in ["plan", "run"] {
        drop(windlass.run([command, &path]).expect(2));
    }
    assert!(!windlass.state().join("store.db").exists());
}
