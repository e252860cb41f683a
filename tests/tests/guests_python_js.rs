//! Guests in other languages: a provider of `health` in Python and one in JavaScript, built from packages.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;

use windlass_tests::{Api, guests};

fn runs(component: &Path) {
    let api = Api::start();
    let runbook = |name: &str, path: &str, expect: &str| {
        let text = format!(
            r#"[runbook]
name = "{name}"

[plugins.guest]
contract = "health"
source = {component:?}
allow = ["http GET http://{{vars.host}}/health/*", "http GET http://{{vars.host}}/health"]

[plugins.files]
source = "builtin:files"
connections = {{ out = "out" }}
allow = ["folder out: write"]

[[step]]
id = "ask"
do = "guest.check"
with = {{ url = "http://${{vars.host}}{path}", expect = {{ {expect} }} }}

[[step]]
id = "note"
do = "files.write"
with = {{ path = "note.txt", text = "${{steps.ask.output.status_code}} ${{steps.ask.output.body.status}} ${{steps.ask.output.latency_ms}}" }}
"#
        );
        // The guest needs an address for loopback, and so a connection that is bound to it.
        let text =
            text.replace("contract = \"health\"", "contract = \"health\"\nconnections = { api = \"audit\" }");
        api.workspace.write(&format!("{name}.toml"), &text);
    };
    runbook("healthy", "/health/db", "status = \"healthy\"");
    drop(api.run("run", "healthy", &[]).expect(0));
    assert_eq!(api.workspace.read("out/note.txt").split(' ').take(2).collect::<Vec<_>>(), ["200", "healthy"]);

    runbook("version", "/health", "version = \"9.9.9\"");
    let run = api.run("run", "version", &[]).expect(3);
    assert!(run.all().contains("version is \"1.0.0\", not \"9.9.9\""), "{}", run.all());

    runbook("denied", "/stats", "status = \"healthy\"");
    let run = api.run("run", "denied", &[]).expect(3);
    let line = format!("http GET http://{}/stats", api.service.host());
    assert!(run.all().contains("denied") && run.all().contains(&line), "{}", run.all());
    assert_eq!(api.service.count("GET", "/stats"), 0);

    let inspected = api.windlass.run([Path::new("plugin"), Path::new("inspect"), component]).expect(0);
    assert!(inspected.stdout.contains("windlass:contracts/health@0.1.0"), "{}", inspected.stdout);
}

#[test]
fn a_python_guest_runs() {
    if let Some(component) = guests::python() {
        runs(&component);
    }
}

#[test]
fn a_javascript_guest_runs() {
    if let Some(component) = guests::javascript() {
        runs(&component);
    }
}
