//! A plugin without a grant can't reach anything: every attack ends in a structured failure within its limit, and
//! the host stays up.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use windlass_tests::hostile::{Attack, runbook};
use windlass_tests::{Api, Record};

/// Runs attacks to the end and gives back the record.
fn attack(api: &Api, attacks: &[Attack], connections: &str, allow: &[String]) -> Record {
    windlass_tests::build();
    api.workspace.write("attacks.toml", &runbook(attacks, connections, allow));
    let known = api.windlass.runs();
    let run = api.run("run", "attacks", &[]);
    assert!(!run.all().contains("panicked at host/"), "{}", run.all());
    assert!(matches!(run.code, Some(0 | 1 | 4)), "{:?} {}", run.code, run.all());
    let id = api.windlass.runs().into_iter().find(|id| !known.contains(id)).unwrap();
    api.windlass.show(&id)
}

fn get(authority: &str, path: &str) -> Value {
    json!({ "scheme": "http", "authority": authority, "path": path })
}

#[test]
fn no_request_leaves_without_a_line_that_allows_it() {
    let api = Api::start();
    let other = windlass_tests::Service::start();
    let host = api.service.host();
    let port = host.rsplit_once(':').unwrap().1;
    let fetch = |id: &str, request: Value| Attack::new(id, "fetch", request);
    let with = |path: &str, more: Value| {
        let mut request = get(host, path);
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let attacks = [
        fetch("other_host", get(other.host(), "/health")),
        fetch("other_name", get(&format!("localhost:{port}"), "/health")),
        fetch("public_host", get("example.com", "/")),
        fetch("metadata", get("169.254.169.254", "/latest/meta-data/")),
        fetch("metadata_v6", get("[fd00:ec2::254]", "/latest/meta-data/")),
        fetch("mapped", get(&format!("[::ffff:127.0.0.1]:{port}"), "/health")),
        fetch("decimal", get(&format!("2130706433:{port}"), "/health")),
        fetch("octal", get(&format!("0177.0.0.1:{port}"), "/health")),
        fetch("short", get(&format!("127.1:{port}"), "/health")),
        fetch("trailing_dot", get(&format!("127.0.0.1.:{port}"), "/health")),
        fetch("userinfo", get(&format!("user@{host}"), "/health")),
        fetch("other_path", get(host, "/health/db")),
        fetch("dots", get(host, "/health/../stats")),
        fetch("encoded_dots", get(host, "/health/%2e%2e/stats")),
        fetch("encoded_slash", get(host, "/health%2fdb")),
        fetch("double_slash", get(host, "//health")),
        fetch("backslash", get(host, "/health\\db")),
        fetch("query", get(host, "/health?x=1")),
        fetch("other_method", with("/health", json!({ "method": "DELETE" }))),
        fetch("made_up_method", with("/health", json!({ "method": "BREW" }))),
        fetch("override", with("/health", json!({ "headers": { "x-http-method-override": "DELETE" } }))),
        fetch("own_credential", with("/health", json!({ "headers": { "authorization": "Bearer mine" } }))),
        fetch("cookie", with("/health", json!({ "headers": { "cookie": "session=1" } }))),
        fetch("host_header", with("/health", json!({ "headers": { "host": "example.com" } }))),
        fetch("body_on_get", with("/health", json!({ "body": "x", "headers": { "content-length": "1" } }))),
        fetch("scheme", json!({ "scheme": "ftp", "authority": host, "path": "/health" })),
    ];
    let record = attack(&api, &attacks, "api = \"audit\"", &[format!("http GET http://{host}/health")]);
    for Attack { id, .. } in &attacks {
        assert_eq!(record.result(id), "failed", "{:#}", record.step(id));
    }
    assert!(other.requests().is_empty(), "{:?}", other.requests());
    assert!(api.service.requests().is_empty(), "{:#?}", api.service.requests());
    // A fragment is cut off before the host sees it, and so is never sent: what arrives is what was granted.
    let fragment = [fetch("fragment", get(host, "/health#/../stats"))];
    drop(attack(&api, &fragment, "api = \"audit\"", &[format!("http GET http://{host}/health")]));
    assert!(
        api.service.requests().iter().all(|entry| entry.path == "/health"),
        "{:#?}",
        api.service.requests()
    );
    // What would allow it is named, but for what nothing may allow.
    let detail = record.detail("other_path");
    assert!(detail.contains(&format!("http GET http://{host}/health/db")), "{detail}");
    let detail = record.detail("other_host");
    assert!(detail.contains(&format!("http GET http://{}/health", other.host())), "{detail}");
}

#[test]
fn a_redirect_is_a_new_request_and_needs_its_own_line() {
    let api = Api::start();
    let other = windlass_tests::Service::start();
    let host = api.service.host();
    // The host follows no redirect by itself; a plugin that follows it by hand is checked again.
    let attacks = [
        Attack::new(
            "redirected",
            "fetch",
            get(host, &format!("/fault/redirect?to=http://{}/health", other.host())),
        ),
        Attack::new("followed", "fetch", get(other.host(), "/health")),
    ];
    let allow = [format!("http GET http://{host}/fault/redirect?to=*")];
    let record = attack(&api, &attacks, "api = \"audit\"", &allow);
    assert_eq!(record.result("redirected"), "succeeded", "{:#}", record.step("redirected"));
    assert_eq!(record.result("followed"), "failed");
    assert!(other.requests().is_empty());
}

#[test]
fn a_private_address_needs_the_connection_s_word_besides_the_line() {
    let api = Api::start();
    let host = api.service.host();
    let attacks = [Attack::new("loopback", "fetch", get(host, "/health"))];
    // The line is there, the connection is not bound to this plugin.
    let record = attack(&api, &attacks, "", &[format!("http GET http://{host}/health")]);
    assert_eq!(record.result("loopback"), "failed", "{:#}", record.0);
    assert!(api.service.requests().is_empty());
    let metadata = [Attack::new("metadata", "fetch", get("169.254.169.254", "/latest/meta-data/"))];
    let allow = ["http GET http://169.254.169.254/latest/meta-data/".to_owned()];
    let record = attack(&api, &metadata, "", &allow);
    assert_eq!(record.result("metadata"), "failed", "{:#}", record.0);
}

#[test]
fn no_file_outside_of_a_granted_folder_is_reached() {
    let api = Api::start();
    api.workspace.write("out/inside.txt", "inside");
    api.workspace.write("outside.txt", "outside");
    std::os::unix::fs::symlink(api.workspace.path("outside.txt"), api.workspace.path("out/link")).unwrap();
    std::os::unix::fs::symlink("..", api.workspace.path("out/up")).unwrap();
    let absolute = api.workspace.path("outside.txt").display().to_string();
    let read = |id: &str, path: &str| Attack::new(id, "read-path", json!({ "path": path }));
    let attacks = [
        read("parent", "../outside.txt"),
        read("detour", "x/../../outside.txt"),
        read("absolute", &absolute),
        read("passwd", "/etc/passwd"),
        read("environ", "/proc/self/environ"),
        read("link", "link"),
        read("up", "up/outside.txt"),
        Attack::new("write", "write-path", json!({ "path": "new.txt" })),
        Attack::new("write_parent", "write-path", json!({ "path": "../new.txt" })),
    ];
    let record = attack(&api, &attacks, "out = \"out\"", &["folder out: read".to_owned()]);
    for Attack { id, .. } in &attacks {
        assert_eq!(record.result(id), "failed", "{:#}", record.step(id));
    }
    assert_eq!(api.workspace.names("out"), ["inside.txt", "link", "up"]);
    // The same plugin, allowed to: inside it can read.
    let inside = [read("inside", "inside.txt")];
    let record = attack(&api, &inside, "out = \"out\"", &["folder out: read".to_owned()]);
    assert_eq!(record.result("inside"), "succeeded", "{:#}", record.step("inside"));
    // Bound, but without a line: there is no folder at all.
    let record = attack(&api, &inside, "out = \"out\"", &[]);
    assert_eq!(record.result("inside"), "failed");
}

#[test]
fn nothing_is_there_without_a_grant() {
    let api = Api::start();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let attacks = [
        Attack::new("around", "look-around", json!({})),
        Attack::new("socket", "connect", json!({ "address": "127.0.0.1", "port": port })),
        Attack::new("name", "look-up", json!({ "path": "localhost" })),
        Attack::new("sql", "query", json!({ "sql": "SELECT 1" })),
        Attack::new("program", "run-program", json!({ "slot": "tool", "arguments": ["x"] })),
        Attack::new("shell", "run-program", json!({ "slot": "/bin/sh", "arguments": ["-c", "id"] })),
    ];
    let record = attack(&api, &attacks, "api = \"audit\"", &[]);
    for id in ["socket", "name", "sql", "program", "shell"] {
        assert_eq!(record.result(id), "failed", "{:#}", record.step(id));
    }
    assert!(listener.accept().is_err(), "nobody has connected");
    assert_eq!(record.result("around"), "succeeded", "{:#}", record.step("around"));
}

#[test]
fn what_a_plugin_sees_around_it_is_empty() {
    let api = Api::start();
    windlass_tests::build();
    let text = runbook(&[Attack::new("around", "look-around", json!({}))], "", &[]).replace(
        "timeout = \"3s\"",
        "timeout = \"3s\"\nexpect = [\"result.environment.size() == 0\", \"result.arguments.size() == 0\", \
         \"result.folders.size() == 0\", \"result.connections.size() == 0\"]",
    );
    api.workspace.write("around.toml", &text);
    drop(api.run("run", "around", &[]).expect(0));
}

#[test]
fn whatever_is_used_up_ends_within_its_limit() {
    let api = Api::start();
    let attacks = [
        Attack::new("spin", "spin", json!({})),
        Attack::new("sleep", "sleep", json!({ "count": 600 })),
        Attack::new("grow", "grow", json!({ "count": 4096 })),
        Attack::new("recurse", "recurse", json!({ "count": 1 })),
        Attack::new("flood_output", "flood-output", json!({ "count": 16 })),
        Attack::new("crash", "crash", json!({})),
        Attack::new("hang", "fetch", get(api.service.host(), "/fault/hang")),
        Attack::new("dribble", "fetch", get(api.service.host(), "/fault/slow-dribble")),
        Attack::new("huge", "fetch", get(api.service.host(), "/fault/huge?mib=512")),
    ];
    let host = api.service.host();
    let allow =
        [format!("http GET http://{host}/fault/*"), format!("http GET http://{host}/fault/huge?mib=*")];
    let began = Instant::now();
    let record = attack(&api, &attacks, "api = \"audit\"", &allow);
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    let mut told = Vec::new();
    for Attack { id, .. } in &attacks {
        assert_eq!(record.result(id), "failed", "{:#}", record.step(id));
        told.push(format!("{id}: {}", record.detail(id)));
    }
    assert!(record.detail("crash").contains("crashes on purpose"), "{told:#?}");
    assert!(record.detail("grow").contains("memory"), "{told:#?}");
    for id in ["spin", "sleep", "hang", "dribble"] {
        assert!(record.detail(id).contains("time") || record.detail(id).contains(" s"), "{told:#?}");
    }
}

#[test]
fn a_flood_of_log_lines_is_cut_and_the_rest_goes_on() {
    let api = Api::start();
    let attacks = [Attack::new("flood", "flood-log", json!({ "count": 100_000 }))];
    drop(attack(&api, &attacks, "", &[]));
    let logs = api.windlass.run(["logs", &api.windlass.only_run()]).expect(0);
    assert!(logs.stdout.len() < 32 * 1024 * 1024, "{} bytes of log", logs.stdout.len());
}

#[test]
fn a_plugin_can_not_paint_on_the_terminal() {
    let api = Api::start();
    windlass_tests::build();
    api.workspace.write("attacks.toml", &runbook(&[Attack::new("paint", "paint", json!({}))], "", &[]));
    let run = api.run("run", "attacks", &["--color", "never"]);
    let id = api.windlass.only_run();
    let shown = api.windlass.run(["show", &id, "--color", "never"]);
    let logs = api.windlass.run(["logs", &id, "--color", "never"]);
    for text in [run.all(), shown.all(), logs.all()] {
        for forbidden in ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\r'] {
            assert!(!text.contains(forbidden), "{forbidden:?} in {text:?}");
        }
    }
    assert!(run.all().contains("painted"), "{}", run.all());
}
