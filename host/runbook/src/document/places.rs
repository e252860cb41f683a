//! `[connections.NAME]` and `[secrets]`: where things are. Nothing is looked up here.

use crate::node::{Entry, Kind, Node};
use crate::reader::{Reader, unsupported, wrong_type};
use crate::report::Report;
use crate::source::{Located, Span};

use super::{bad_name, is_name};

/// A connection as declared.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionDecl {
    pub(crate) name: Located<String>,
    pub(crate) kind: ConnectionKind,
}

/// A text, or the secret that holds it.
#[derive(Debug, Clone)]
pub(crate) enum TextDecl {
    Plain(Located<String>),
    Secret(Located<String>),
}

/// What it connects to. `Unreadable` was reported; it keeps its name, so that nothing else is.
#[derive(Debug, Clone)]
pub(crate) enum ConnectionKind {
    Http {
        origin: Located<String>,
        paths: Vec<Located<String>>,
        credential: Option<CredentialDecl>,
        addresses: Vec<Located<String>>,
        ca: Option<Located<String>>,
    },
    Postgres {
        url: TextDecl,
        read_url: Option<TextDecl>,
        password: Option<TextDecl>,
        read_password: Option<TextDecl>,
        ca: Option<Located<String>>,
    },
    Folder {
        path: Located<String>,
    },
    Program {
        path: Located<String>,
        digest: Option<Located<String>>,
        postgres: Option<Located<String>>,
        environment: Vec<(Located<String>, TextDecl)>,
        directory: Option<Located<String>>,
    },
    Unreadable,
}

/// What the host attaches.
#[derive(Debug, Clone)]
pub(crate) enum CredentialDecl {
    Bearer { token: Located<String> },
    Basic { user: Located<String>, password: Located<String> },
    Header { name: Located<String>, value: Located<String> },
}

/// A secret as declared.
#[derive(Debug, Clone)]
pub(crate) struct SecretDecl {
    pub(crate) name: Located<String>,
    pub(crate) place: Option<SecretPlace>,
    pub(crate) redact: bool,
}

/// Where its value is.
#[derive(Debug, Clone)]
pub(crate) enum SecretPlace {
    Environment(Located<String>),
    File(Located<String>),
}

/// How a secret is cited.
const CITE: &str = "declare it under `[secrets]` and write `{ secret = \"NAME\" }`";

#[derive(Clone, Copy)]
enum Tag {
    Bearer,
    Basic,
    Header,
}

pub(super) fn read_connection(entry: Entry, report: &mut Report) -> Option<ConnectionDecl> {
    let name = entry.name();
    if !is_name(&name.value) {
        bad_name(report, &name, "a connection's name");
    }
    let what = format!("the connection `{}`", name.value);
    let mut reader = Reader::of(entry.value, &what, report)?;
    let kind = read_kind(&mut reader, &what, name.span);
    reader.finish();
    Some(ConnectionDecl { name, kind: kind.unwrap_or(ConnectionKind::Unreadable) })
}

fn read_kind(reader: &mut Reader<'_>, what: &str, span: Span) -> Option<ConnectionKind> {
    const LATER: [(&str, &str); 6] = [
        ("context", "Kubernetes connections are"),
        ("kubeconfig", "Kubernetes connections are"),
        ("dns", "DNS connections are"),
        ("mail", "mail connections are"),
        ("smtp", "mail connections are"),
        ("redis", "Redis connections are"),
    ];
    for (key, kind) in LATER {
        if reader.has(key) {
            reader.skip_all();
            unsupported(reader.report, span, kind, "leave it out, or let a program do what it is for");
            return None;
        }
    }
    if reader.has("origin") {
        let credential = reader.node("credential").and_then(|node| read_credential(node, reader.report));
        let origin = reader.string("origin");
        let paths = reader.strings("paths").map(|list| list.value).unwrap_or_default();
        let addresses = reader.strings("addresses").map(|list| list.value).unwrap_or_default();
        let ca = reader.string("ca");
        return Some(ConnectionKind::Http { origin: origin?, paths, credential, addresses, ca });
    }
    if reader.has("url") {
        let url = text(reader, "url");
        let read_url = text(reader, "read_url");
        let password = text(reader, "password");
        let read_password = text(reader, "read_password");
        let ca = reader.string("ca");
        for url in [&url, &read_url].into_iter().flatten() {
            reject_password_in_url(url, reader.report);
        }
        for (key, password) in [("password", &password), ("read_password", &read_password)] {
            if let Some(TextDecl::Plain(text)) = password {
                let message = format!("`{key}` is a secret and must not stand here");
                reader.report.secret_in_file(text.span, message, CITE);
            }
        }
        return Some(ConnectionKind::Postgres { url: url?, read_url, password, read_password, ca });
    }
    if reader.has("folder") {
        return Some(ConnectionKind::Folder { path: reader.string("folder")? });
    }
    if reader.has("program") {
        let path = reader.string("program");
        let digest = reader.string("digest");
        let postgres = reader.string("postgres");
        let directory = reader.string("directory");
        let environment = reader
            .named("environment")
            .into_iter()
            .filter_map(|entry| {
                let name = entry.name();
                let value = read_text(entry.value, "a variable's value", reader.report)?;
                Some((name, value))
            })
            .collect();
        return Some(ConnectionKind::Program { path: path?, digest, postgres, environment, directory });
    }
    reader.skip_all();
    reader.report.error(
        "missing-key",
        span,
        format!("{what} does not say what it connects to"),
        Some("`origin` makes it an HTTP service, `url` a PostgreSQL server, `folder` a folder, `program` a program".into()),
    );
    None
}

/// `postgres://user:password@host/…` as plain text.
fn reject_password_in_url(url: &TextDecl, report: &mut Report) {
    let TextDecl::Plain(text) = url else { return };
    let authority = text.value.split_once("://").map_or(text.value.as_str(), |(_, rest)| rest);
    let (authority, query) = authority.split_once('?').unwrap_or((authority, ""));
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    let in_user = user.split_once(':').is_some_and(|(_, password)| !password.is_empty());
    let in_query =
        query.split('&').any(|pair| pair.starts_with("password=") || pair.starts_with("sslpassword="));
    if in_user || in_query {
        let help = "write the URL without it and add `password = { secret = \"NAME\" }`";
        report.secret_in_file(text.span, "a password must not stand in the file", help);
    }
}

fn text(reader: &mut Reader<'_>, key: &'static str) -> Option<TextDecl> {
    let node = reader.node(key)?;
    read_text(node, &format!("`{key}`"), reader.report)
}

/// A string or `{ secret = "NAME" }`.
fn read_text(node: Node, what: &str, report: &mut Report) -> Option<TextDecl> {
    let span = node.span;
    match node.kind {
        Kind::String(text) => Some(TextDecl::Plain(Located::new(text, span))),
        Kind::Table(_) => secret(node, what, report).map(TextDecl::Secret),
        _ => {
            wrong_type(report, &node, what, "a string or `{ secret = \"NAME\" }`");
            None
        }
    }
}

/// `{ secret = "NAME" }` and nothing else: a secret's value never stands in a file.
fn secret(node: Node, what: &str, report: &mut Report) -> Option<Located<String>> {
    if let Kind::String(_) = node.kind {
        let message = format!("{what} is a secret and must not stand here");
        report.secret_in_file(node.span, message, CITE);
        return None;
    }
    let mut reader = Reader::of(node, what, report)?;
    let name = reader.required_string("secret");
    reader.finish();
    name
}

fn read_credential(node: Node, report: &mut Report) -> Option<CredentialDecl> {
    let mut reader = Reader::of(node, "`credential`", report)?;
    if !reader.has("type") {
        reader.missing("type");
    }
    let tag = reader.word("type", &[("bearer", Tag::Bearer), ("basic", Tag::Basic), ("header", Tag::Header)]);
    let cited = |reader: &mut Reader<'_>, key: &'static str| {
        if !reader.has(key) {
            reader.missing(key);
        }
        let node = reader.node(key)?;
        secret(node, &format!("`{key}`"), reader.report)
    };
    let credential = match tag {
        Some(Tag::Bearer) => cited(&mut reader, "token").map(|token| CredentialDecl::Bearer { token }),
        Some(Tag::Basic) => {
            let user = reader.required_string("user");
            let password = cited(&mut reader, "password");
            user.zip(password).map(|(user, password)| CredentialDecl::Basic { user, password })
        }
        Some(Tag::Header) => {
            let name = reader.required_string("name");
            let value = cited(&mut reader, "value");
            name.zip(value).map(|(name, value)| CredentialDecl::Header { name, value })
        }
        None => {
            reader.skip_all();
            None
        }
    };
    reader.finish();
    credential
}

pub(super) fn read_secret(entry: Entry, report: &mut Report) -> Option<SecretDecl> {
    let name = entry.name();
    if !is_name(&name.value) {
        bad_name(report, &name, "a secret's name");
    }
    let what = format!("the secret `{}`", name.value);
    if let Kind::String(_) = entry.value.kind {
        report.secret_in_file(
            entry.value.span,
            format!("{what} must not stand in the file itself"),
            "write where it is found: `{ env = \"NAME\" }` or `{ file = \"path\" }`",
        );
        return Some(SecretDecl { name, place: None, redact: true });
    }
    let mut reader = Reader::of(entry.value, &what, report)?;
    let environment = reader.string("env");
    let file = reader.string("file");
    let redact = reader.bool("redact").unwrap_or(true);
    for (key, kind) in [("command", "secrets from a command are"), ("vault", "secrets from a vault are")] {
        if reader.unsupported(key, kind, "write `{ env = \"NAME\" }` or `{ file = \"path\" }`") {
            reader.skip_all();
            reader.finish();
            return Some(SecretDecl { name, place: None, redact });
        }
    }
    let place = match (environment, file) {
        (Some(variable), None) => Some(SecretPlace::Environment(variable)),
        (None, Some(path)) => Some(SecretPlace::File(path)),
        (both, _) => {
            let message = if both.is_some() {
                format!("{what} is found in one place, not in two")
            } else {
                format!("{what} does not say where it is found")
            };
            let help = "write `{ env = \"NAME\" }` or `{ file = \"path\" }`".to_owned();
            reader.report.error("wrong-value", name.span, message, Some(help));
            None
        }
    };
    reader.finish();
    Some(SecretDecl { name, place, redact })
}
