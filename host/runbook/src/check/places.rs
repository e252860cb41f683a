//! Inputs, vars, secrets and connections.

use indexmap::IndexMap;
use regex::Regex;
use serde_json::Value;

use super::Checker;
use crate::document::{ConnectionDecl, ConnectionKind, CredentialDecl, InputDecl, SecretDecl, TextDecl};
use crate::expression::shape::Shape;
use crate::expression::{Piece, pieces};
use crate::inputs::{coerce_input, describe};
use crate::model::{Connection, Credential, Input, InputType, SecretLocation, SecretSource, Text};
use crate::node::{Kind, Node, offset_in_string};
use crate::source::{Located, Span};
use crate::suggest;

const INPUT_TYPES: [&str; 6] = ["string", "int", "float", "bool", "duration", "list"];

impl Checker<'_> {
    pub(super) fn check_inputs(&mut self) -> IndexMap<String, Input> {
        let document = self.document;
        let mut inputs = IndexMap::new();
        for decl in &document.inputs {
            let input = self.check_input(decl);
            let shape = input.as_ref().map_or(Shape::Any, |input| shape_of_type(&input.ty));
            self.inputs.insert(decl.name.value.clone(), shape);
            if let Some(input) = input {
                inputs.insert(decl.name.value.clone(), input);
            }
        }
        inputs
    }

    fn check_input(&mut self, decl: &InputDecl) -> Option<Input> {
        let word = decl.ty.as_ref()?;
        let Some(ty) = parse_type(&word.value) else {
            let message = format!("there is no input type `{}`", word.value);
            let help = suggest::help(&word.value, INPUT_TYPES)
                .or_else(|| Some("write `list` or, for a list of numbers, `list<int>`".to_owned()));
            self.report.error("unknown-type", word.span, message, help);
            return None;
        };
        let pattern = match &decl.pattern {
            Some(text) if ty != InputType::String => {
                self.report.error("wrong-value", text.span, "only a string has a `pattern`", None);
                None
            }
            Some(text) => self.regex(text),
            None => None,
        };
        let default =
            decl.default.as_ref().and_then(|node| self.input_value(decl, node, &ty, pattern.as_ref()));
        let one_of = self.one_of(decl, &ty);
        if let (Some(default), Some(node)) = (&default, &decl.default)
            && !one_of.is_empty()
            && !one_of.contains(default)
        {
            let message = format!("the default of `{}` is not in its `one_of`", decl.name.value);
            self.report.error("wrong-value", node.span, message, None);
        }
        Some(Input {
            ty,
            pattern,
            default,
            description: decl.description.clone(),
            one_of,
            span: decl.name.span,
        })
    }

    fn one_of(&mut self, decl: &InputDecl, ty: &InputType) -> Vec<Value> {
        let Some(node) = &decl.one_of else { return Vec::new() };
        let Kind::List(items) = &node.kind else {
            self.report.error("wrong-type", node.span, "`one_of` must be a list", None);
            return Vec::new();
        };
        if items.is_empty() {
            self.report.error("wrong-value", node.span, "`one_of` allows nothing", None);
        }
        items.iter().filter_map(|item| self.input_value(decl, item, ty, None)).collect()
    }

    fn input_value(
        &mut self,
        decl: &InputDecl,
        node: &Node,
        ty: &InputType,
        pattern: Option<&Regex>,
    ) -> Option<Value> {
        match coerce_input(node.to_value(), ty) {
            Some(value) => {
                if let (Some(pattern), Some(text)) = (pattern, value.as_str())
                    && !pattern.is_match(text)
                {
                    let message = format!("the default of `{}` does not match its pattern", decl.name.value);
                    self.report.error("wrong-value", node.span, message, None);
                }
                Some(value)
            }
            None => {
                let message = format!("`{}` is {}, not {}", decl.name.value, describe(ty), node.describe());
                self.report.error("wrong-type", node.span, message, None);
                None
            }
        }
    }

    fn regex(&mut self, text: &Located<String>) -> Option<Regex> {
        match Regex::new(&text.value) {
            Ok(regex) => Some(regex),
            Err(error) => {
                let detail = error.to_string();
                let detail =
                    detail.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.report.error(
                    "wrong-value",
                    text.span,
                    format!("this is no regular expression: {detail}"),
                    None,
                );
                None
            }
        }
    }

    pub(super) fn check_vars(&mut self) {
        let document = self.document;
        for entry in &document.vars {
            if !crate::document::is_identifier(&entry.key.value) {
                crate::document::bad_name(&mut self.report, &entry.name(), "a var's name");
            }
            self.vars.insert(entry.key.value.to_string(), entry.value.to_value());
            if let Some(node) = first_expression(&entry.value) {
                let help = "vars are plain values; put the expression where the var is used".to_owned();
                self.report.error("wrong-value", node.span, "a var has no expressions in it", Some(help));
            }
        }
    }

    pub(super) fn check_secrets(&mut self) -> IndexMap<String, SecretSource> {
        use crate::document::SecretPlace;
        let document = self.document;
        let mut secrets = IndexMap::new();
        for SecretDecl { name, place, redact } in &document.secrets {
            let location = match place {
                Some(SecretPlace::Environment(variable)) => {
                    if variable.value.is_empty() || variable.value.contains(['=', '\0']) {
                        self.report.error(
                            "wrong-value",
                            variable.span,
                            "this is no name of a variable",
                            None,
                        );
                    }
                    SecretLocation::Environment(variable.value.clone())
                }
                Some(SecretPlace::File(path)) => SecretLocation::File(self.path(path)),
                None => continue,
            };
            secrets.insert(name.value.clone(), SecretSource { location, redact: *redact });
        }
        secrets
    }

    pub(super) fn check_connections(&mut self) -> IndexMap<String, Connection> {
        let document = self.document;
        document
            .connections
            .iter()
            .filter_map(|decl| Some((decl.name.value.clone(), self.check_connection(decl)?)))
            .collect()
    }

    fn check_connection(&mut self, decl: &ConnectionDecl) -> Option<Connection> {
        match &decl.kind {
            ConnectionKind::Unreadable => None,
            ConnectionKind::Http { origin, paths, credential, addresses, ca } => {
                let origin = self.origin(origin);
                let paths = paths.iter().map(|path| self.http_path(path)).collect();
                let credential = credential.as_ref().map(|credential| self.credential(credential));
                for network in addresses {
                    if !is_network(&network.value) {
                        let message = format!("`{}` is no network", network.value);
                        let help = "write it as `10.20.0.0/16` or `fd00::/8`".to_owned();
                        self.report.error("wrong-value", network.span, message, Some(help));
                    }
                }
                Some(Connection::Http {
                    origin: origin?,
                    paths,
                    credential,
                    addresses: addresses.iter().map(|network| network.value.clone()).collect(),
                    ca: ca.as_ref().map(|ca| self.path(ca)),
                })
            }
            ConnectionKind::Postgres { url, read_url, password, read_password, ca } => {
                for url in [Some(url), read_url.as_ref()].into_iter().flatten() {
                    self.postgres_url(url);
                }
                Some(Connection::Postgres {
                    url: self.text(url),
                    read_url: read_url.as_ref().map(|text| self.text(text)),
                    password: password.as_ref().map(|text| self.text(text)),
                    read_password: read_password.as_ref().map(|text| self.text(text)),
                    ca: ca.as_ref().map(|ca| self.path(ca)),
                })
            }
            ConnectionKind::Folder { path } => Some(Connection::Folder { path: self.path(path) }),
            ConnectionKind::Program { path, digest, postgres, environment, directory } => {
                if let Some(digest) = digest
                    && !is_digest(&digest.value)
                {
                    let help = "write `sha256:` and 64 hexadecimal digits".to_owned();
                    self.report.error("wrong-value", digest.span, "this is no digest", Some(help));
                }
                if let Some(name) = postgres {
                    self.program_database(name);
                }
                Some(Connection::Program {
                    path: self.path(path),
                    digest: digest.as_ref().map(|digest| digest.value.clone()),
                    postgres: postgres.as_ref().map(|name| name.value.clone()),
                    environment: environment
                        .iter()
                        .map(|(name, text)| (name.value.clone(), self.text(text)))
                        .collect(),
                    directory: directory.as_ref().map(|directory| self.path(directory)),
                })
            }
        }
    }

    fn program_database(&mut self, name: &Located<String>) {
        let document = self.document;
        let known = document.connections.iter().find(|connection| connection.name.value == name.value);
        match known.map(|known| &known.kind) {
            Some(ConnectionKind::Postgres { .. } | ConnectionKind::Unreadable) => {}
            Some(_) => {
                let message = format!("the connection `{}` is no PostgreSQL server", name.value);
                self.report.error("wrong-connection", name.span, message, None);
            }
            None => self.unknown_connection(name),
        }
    }

    pub(super) fn unknown_connection(&mut self, name: &Located<String>) {
        let message = format!("there is no connection `{}`", name.value);
        let help = if self.document.sources.environment.is_none() && self.document.connections.is_empty() {
            Some("connections come from the environment: add `--env FILE`".to_owned())
        } else {
            let document = self.document;
            suggest::help(&name.value, document.connections())
                .or_else(|| Some(format!("write `[connections.{}]` into the environment", name.value)))
        };
        self.report.error("unknown-connection", name.span, message, help);
    }

    /// A plain text, `${vars.x}` replaced, or the name of a secret that must be declared.
    fn text(&mut self, text: &TextDecl) -> Text {
        match text {
            TextDecl::Plain(text) => Text::Plain(self.with_vars(text)),
            TextDecl::Secret(name) => Text::Secret(self.secret_name(name)),
        }
    }

    fn secret_name(&mut self, name: &Located<String>) -> String {
        let document = self.document;
        if !document.secrets().any(|known| known == name.value) {
            let message = format!("there is no secret `{}`", name.value);
            let help = suggest::help(&name.value, document.secrets()).or_else(|| {
                Some(format!("write under `[secrets]`: `{} = {{ env = \"NAME\" }}`", name.value))
            });
            self.report.error("unknown-secret", name.span, message, help);
        }
        name.value.clone()
    }

    fn credential(&mut self, credential: &CredentialDecl) -> Credential {
        match credential {
            CredentialDecl::Bearer { token } => Credential::Bearer { token: self.secret_name(token) },
            CredentialDecl::Basic { user, password } => {
                if user.value.contains(':') {
                    self.report.error("wrong-value", user.span, "a user name has no `:`", None);
                }
                Credential::Basic { user: user.value.clone(), password: self.secret_name(password) }
            }
            CredentialDecl::Header { name, value } => {
                let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
                if name.value.is_empty() || !name.value.bytes().all(token) {
                    self.report.error("wrong-value", name.span, "this is no name of a header", None);
                }
                Credential::Header { name: name.value.to_ascii_lowercase(), value: self.secret_name(value) }
            }
        }
    }

    fn origin(&mut self, text: &Located<String>) -> Option<String> {
        let origin = self.replace_vars(text)?;
        let trimmed = origin.strip_suffix('/').unwrap_or(&origin);
        let host = trimmed.strip_prefix("https://").or_else(|| trimmed.strip_prefix("http://"));
        let wrong = match host {
            None => Some("an origin begins with `https://` or `http://`"),
            Some("") => Some("the origin has no host"),
            Some(host) if host.contains('@') => Some("a credential does not stand in the origin"),
            Some(host) if host.contains(['/', '?', '#']) || host.contains(char::is_whitespace) => {
                Some("an origin is scheme, host and port; the paths stand in `paths`")
            }
            Some(_) => None,
        };
        if let Some(message) = wrong {
            let help = "write it as `https://api.example.com`".to_owned();
            self.report.error("wrong-value", text.span, message, Some(help));
            return None;
        }
        Some(trimmed.to_owned())
    }

    fn http_path(&mut self, text: &Located<String>) -> String {
        let path = self.with_vars(text);
        if !path.starts_with(['/', '$']) {
            let help = format!("write `/{path}`");
            self.report.error("wrong-value", text.span, "a path begins with `/`", Some(help));
        }
        path
    }

    fn postgres_url(&mut self, url: &TextDecl) {
        let TextDecl::Plain(text) = url else { return };
        if !text.value.starts_with("postgres://") && !text.value.starts_with("postgresql://") {
            let help = "write it as `postgres://user@host:5432/database`".to_owned();
            self.report.error("wrong-value", text.span, "this is no URL of a PostgreSQL server", Some(help));
        }
    }

    /// A path, the folder of its file put in front.
    fn path(&mut self, text: &Located<String>) -> std::path::PathBuf {
        let path = self.with_vars(text);
        self.report.sources.file(text.span.file).resolve(&path)
    }

    /// The text with `${vars.x}` replaced; nothing else may stand in braces.
    fn replace_vars(&mut self, text: &Located<String>) -> Option<String> {
        if !text.value.contains("${") {
            return Some(text.value.clone());
        }
        let mut sound = true;
        let mut result = String::new();
        for piece in pieces(&text.value) {
            let (inside, at) = match piece {
                Piece::Literal(literal) => {
                    result.push_str(&literal);
                    continue;
                }
                Piece::Expression(inside, at) => (inside, at),
                Piece::Unclosed(at) => ("", at),
            };
            let found = inside.trim().strip_prefix("vars.").and_then(|name| self.vars.get(name));
            match found {
                Some(Value::String(value)) => result.push_str(value),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => result.push_str(&value.to_string()),
                _ => {
                    let file = self.report.text(text.span.file);
                    let start = offset_in_string(&file, text.span, at);
                    let span = Span::new(text.span.file, &(start..start + inside.len().max(1)));
                    let message = "here only `${vars.NAME}` of a string or number can stand";
                    let help = suggest::help(
                        inside.trim().trim_start_matches("vars."),
                        self.vars.keys().map(String::as_str),
                    );
                    self.report.error("unknown-var", span, message, help);
                    sound = false;
                }
            }
        }
        sound.then_some(result)
    }

    /// The same; what was wrong is reported, and the text as it stands is as good as any.
    fn with_vars(&mut self, text: &Located<String>) -> String {
        self.replace_vars(text).unwrap_or_else(|| text.value.clone())
    }
}

fn first_expression(node: &Node) -> Option<&Node> {
    match &node.kind {
        Kind::String(text) => {
            pieces(text).iter().any(|piece| !matches!(piece, Piece::Literal(_))).then_some(node)
        }
        Kind::List(items) => items.iter().find_map(first_expression),
        Kind::Table(table) => table.entries.iter().find_map(|entry| first_expression(&entry.value)),
        _ => None,
    }
}

fn parse_type(word: &str) -> Option<InputType> {
    Some(match word {
        "string" => InputType::String,
        "int" => InputType::Int,
        "float" => InputType::Float,
        "bool" => InputType::Bool,
        "duration" => InputType::Duration,
        "list" => InputType::List(Box::new(InputType::String)),
        _ => {
            let inner = word.strip_prefix("list<")?.strip_suffix('>')?;
            match parse_type(inner.trim())? {
                InputType::List(_) => return None,
                inner => InputType::List(Box::new(inner)),
            }
        }
    })
}

fn shape_of_type(ty: &InputType) -> Shape {
    match ty {
        InputType::String => Shape::Text,
        InputType::Int | InputType::Duration => Shape::Int,
        InputType::Float => Shape::Float,
        InputType::Bool => Shape::Bool,
        InputType::List(item) => Shape::list(shape_of_type(item)),
    }
}

fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    !bits.is_empty()
        && bits.bytes().all(|byte| byte.is_ascii_digit())
        && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
