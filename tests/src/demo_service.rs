//! The demo service as a guard: started on a free port, its log read, ended on drop.
#![allow(clippy::expect_used, clippy::panic, reason = "a rig that fails fails its test")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use crate::service::log::{Entry, fingerprint};
use crate::{built_program, random_hex};

/// A running demo service.
pub struct Service {
    child: Child,
    folder: TempDir,
    address: String,
    token: String,
}

impl Service {
    /// Starts one with a token of its own.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let token = format!("demo-{}", random_hex());
        let mut child = Command::new(built_program("demo-service"))
            .arg("--log")
            .arg(folder.path().join("requests.jsonl"))
            .env("DEMO_TOKEN", &token)
            .stdout(Stdio::piped())
            .spawn()
            .expect("demo-service starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("its first line");
        let address =
            line.trim_end().strip_prefix("listening on http://").expect("where it listens").to_owned();
        Self { child, folder, address, token }
    }

    /// Host and port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.address
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Every request so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Entry> {
        let text = fs::read_to_string(self.folder.path().join("requests.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of the log")).collect()
    }

    /// The requests that changed what the service holds.
    #[must_use]
    pub fn effects(&self) -> Vec<Entry> {
        self.requests().into_iter().filter(|entry| entry.effect).collect()
    }

    /// How many requests there were with a method and a path.
    #[must_use]
    pub fn count(&self, method: &str, path: &str) -> usize {
        self.requests().iter().filter(|entry| entry.method == method && entry.path == path).count()
    }

    /// Waits until the log holds for a test; fails after half a minute.
    pub fn wait_until(&self, what: &str, holds: impl Fn(&[Entry]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !holds(&self.requests()) {
            assert!(Instant::now() < deadline, "waited in vain for {what}; seen: {:#?}", self.requests());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks the service itself, with the token, and gives back status and body.
    pub fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.ask("GET", path, "");
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// Changes something at the service itself, as someone else would, and gives back the status.
    pub fn send(&self, method: &str, path: &str, body: &str) -> u16 {
        self.ask(method, path, body).0
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("the service listens");
        let (host, token, length) = (&self.address, &self.token, body.len());
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, body.to_owned())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
