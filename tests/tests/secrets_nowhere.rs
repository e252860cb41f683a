//! The secret of a connection is found nowhere: not in a guest's memory, the store, logs, errors, command lines or
//! reports. A captured value that a later step needs is there, sealed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use windlass_tests::hostile::{Attack, rolling_hash, runbook};
use windlass_tests::{Api, Staging};

/// A text in the forms in which it could lie around: as it is, in hex, and in base64 at each of three alignments.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.as_bytes().to_vec(), hex(secret).into_bytes()];
    for lead in 0..3 {
        let padded: Vec<u8> = std::iter::repeat_n(b'x', lead).chain(secret.bytes()).collect();
        let encoded = base64(&padded);
        // Only the characters that depend on the secret alone.
        let whole = encoded.trim_end_matches('=');
        forms.push(whole.as_bytes()[lead + usize::from(lead > 0)..whole.len() - 2].to_vec());
    }
    forms
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// The files below a folder, and the texts, in which a secret stands in some form.
fn places(secrets: &[String], folders: &[&Path], texts: &[(&str, &str)]) -> BTreeSet<String> {
    let needles: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| forms(secret)).collect();
    let mut found = BTreeSet::new();
    for file in folders.iter().flat_map(|folder| files(folder)) {
        let content = fs::read(&file).unwrap();
        if needles.iter().any(|needle| holds(&content, needle)) {
            found.insert(file.display().to_string());
        }
    }
    for (name, text) in texts {
        if needles.iter().any(|needle| holds(text.as_bytes(), needle)) {
            found.insert((*name).to_owned());
        }
    }
    found
}

#[test]
fn base64_is_base64() {
    assert_eq!(base64(b"Many hands"), "TWFueSBoYW5kcw==");
    assert!(forms("secret").iter().all(|form| form.len() >= 4));
    let hidden = base64(b"user:secret-of-the-connection");
    assert!(forms("secret-of-the-connection").iter().any(|form| holds(hidden.as_bytes(), form)), "{hidden}");
}

#[test]
fn a_guest_s_memory_never_holds_the_credential() {
    let api = Api::start();
    windlass_tests::build();
    let token = api.service.token().to_owned();
    let host = api.service.host();
    let search = |id: &str, text: &str, path: Option<&str>| {
        let mut with = json!({ "hash": 0, "length": text.len() });
        with["hash"] = json!(rolling_hash(text));
        if let Some(path) = path {
            with["first"] = json!({ "scheme": "http", "authority": host, "path": path });
        }
        Attack::new(id, "search-memory", with)
    };
    let attacks = [
        search("credential", &token, Some("/api/audit/events")),
        // The search finds what is there: the answer to the request.
        search("answer", "\"total\":0", Some("/api/audit/events")),
        Attack::new(
            "echo",
            "fetch",
            json!({ "scheme": "http", "authority": host, "path": "/fault/echo-authorization" }),
        ),
        Attack::new(
            "echo_header",
            "fetch",
            json!({ "scheme": "http", "authority": host, "path": "/fault/echo-authorization-header" }),
        ),
    ];
    let allow = [
        format!("http GET http://{host}/api/audit/events"),
        format!("http GET http://{host}/fault/echo-authorization"),
        format!("http GET http://{host}/fault/echo-authorization-header"),
    ];
    let text = runbook(&attacks, "api = \"audit\"", &allow);
    let expecting = |text: String, id: &str, found: &str| {
        text.replace(
            &format!("id = \"{id}\"\n"),
            &format!("id = \"{id}\"\nexpect = \"result.found {found}\"\n"),
        )
    };
    let text = expecting(expecting(text, "credential", "== 0"), "answer", ">= 1");
    api.workspace.write("attacks.toml", &text);
    let run = api.run("run", "attacks", &[]);
    let record = api.windlass.show(&api.windlass.only_run());
    assert_eq!(record.result("credential"), "succeeded", "{:#}\n{}", record.0, run.all());
    assert_eq!(record.result("answer"), "succeeded", "{:#}", record.0);
    for id in ["echo", "echo_header"] {
        assert_eq!(record.result(id), "failed", "{:#}", record.step(id));
        assert!(
            record.detail(id).contains("credential-echoed") || record.detail(id).contains("echo"),
            "{:#}",
            record.0
        );
    }
    // The service did get it.
    let expected = windlass_tests::demo_service::fingerprint(&format!("Bearer {token}"));
    assert!(api.service.requests().iter().any(|entry| entry.authorization.as_ref() == Some(&expected)));
    let found = places(&[token], &[api.windlass.home()], &[("run", &run.all())]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn secrets_are_in_no_file_log_report_or_command_line() {
    let Some(staging) = Staging::start() else { return };
    // A second token that the service mints and a later step needs.
    let runbook = staging.workspace.read("runbooks/staging.toml").replace(
        "id    = \"event_found\"",
        "id    = \"session\"\ndo    = \"api.send\"\n\
         with  = { method = \"POST\", url = \"/api/session\", json = { client = \"test\" }, capture = { token = \"token\" } }\n\n\
         [[stage.step]]\nid    = \"logged_in\"\ndo    = \"api.fetch\"\n\
         with  = { url = \"/api/session/current\", headers = { x-session = \"${steps.session.output.captured.token}\" }, \
         expect = { active = true } }\n\n\
         [[stage.step]]\nid    = \"event_found\"",
    );
    staging.workspace.write("runbooks/staging.toml", &runbook);
    let host = staging.service.host();
    staging.workspace.change(
        "runbooks/environments/rehearsal.toml",
        &[(
            "  \"http GET http://{vars.api_host}/health\",",
            "  \"http GET http://{vars.api_host}/health\",\n  \"http POST http://{vars.api_host}/api/session\",\n  \
             \"http GET http://{vars.api_host}/api/session/current\",",
        )],
    );

    let secrets: Vec<String> = vec![
        staging.service.token().to_owned(),
        staging.server.owner_password().to_owned(),
        staging.server.reader_password().to_owned(),
    ];
    let watcher = CommandLines::watch(secrets.clone());
    let runbook = staging.workspace.path("runbooks/staging.toml").display().to_string();
    let environment = staging.workspace.path("runbooks/environments/rehearsal.toml").display().to_string();
    let traced = staging
        .windlass
        .command(["run", &runbook, "--env", &environment])
        .env("WINDLASS_LOG", "trace")
        .output();
    let traced = traced.unwrap();
    let output =
        format!("{}{}", String::from_utf8_lossy(&traced.stdout), String::from_utf8_lossy(&traced.stderr));
    assert_eq!(traced.status.code(), Some(0), "{output}");
    let seen = watcher.stop();
    assert!(seen.0 > 0, "the watcher saw no process at all");
    assert!(seen.1.is_empty(), "a secret on a command line: {:?}", seen.1);

    let run = staging.windlass.only_run();
    let show = staging.windlass.run(["show", &run]).expect(0).all();
    let shown_json = staging.windlass.run(["show", &run, "--output", "json"]).expect(0).all();
    let logs = staging.windlass.run(["logs", &run]).expect(0).all();
    let audit = staging.run("audit", &[]).expect(0).all();
    let plan = staging.run("plan", &["--output", "json"]).all();
    let texts = [
        ("output at trace level", output.as_str()),
        ("show", &show),
        ("show in JSON", &shown_json),
        ("logs", &logs),
        ("audit", &audit),
        ("plan", &plan),
    ];
    let folders = [staging.windlass.home(), &staging.workspace.path("runbooks")];
    let found = places(&secrets, &folders, &texts);
    assert!(found.is_empty(), "{found:?}");

    // The minted token did its work in a later step, and lies in the store, but sealed.
    let minted: Vec<_> = staging.service.requests().into_iter().filter_map(|entry| entry.session).collect();
    assert_eq!(minted.len(), 1, "one step used it");
    let store = fs::read(staging.windlass.state().join("store.db")).unwrap();
    assert!(!holds(&store, b"session-"), "the minted token is in the store in clear text at {host}");
    for file in files(&staging.windlass.state()) {
        assert!(!holds(&fs::read(&file).unwrap(), b"session-"), "the minted token is in {}", file.display());
    }
}

#[test]
fn a_short_secret_is_refused() {
    let api = Api::start();
    api.runbook("short", "[[step]]\nid = \"ask\"\ndo = \"api.check\"\nwith = { url = \"/health\" }\n");
    let windlass = windlass_tests::Windlass::new().with("TOKEN", "seven77");
    let path = |name: &str| api.workspace.path(name).display().to_string();
    let run = windlass.run(["run", &path("short.toml"), "--env", &path("environment.toml")]);
    assert_ne!(run.code, Some(0));
    assert!(!run.all().contains("seven77") && run.all().contains("redact = false"), "{}", run.all());
}

/// Looks at the command line of every process, over and over.
struct CommandLines {
    done: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(usize, BTreeSet<String>)>,
}

impl CommandLines {
    fn watch(secrets: Vec<String>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            let mut looked = 0;
            while !stop.load(Ordering::Relaxed) {
                for entry in fs::read_dir("/proc").unwrap().flatten() {
                    let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
                    looked += 1;
                    if secrets.iter().any(|secret| holds(&line, secret.as_bytes())) {
                        seen.insert(String::from_utf8_lossy(&line).into_owned());
                    }
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            (looked, seen)
        });
        Self { done, thread }
    }

    fn stop(self) -> (usize, BTreeSet<String>) {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
