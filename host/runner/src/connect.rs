//! From the connections of a checked runbook to those that the sandbox can use: secrets looked up, passwords put into
//! place.
//!
//! Secrets are resolved when a run starts or goes on, never by `check`, and never stored: the journal has their names.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use percent_encoding::percent_decode_str;
use windlass_runbook::model::{self, Runbook, SecretLocation, Text};
use windlass_sandbox::{Bindings, Bound, Connection, Credential, EnvValue, Secret};

use crate::redact::Redactor;
use crate::text_file;

/// A redacted secret shorter than this would blacken too much of every log.
const LEAST_SECRET_BYTES: usize = 8;

/// The connections of a runbook, ready for use, with a redactor that knows their secrets.
pub struct Connections {
    connections: IndexMap<String, Connection>,
    redactor: Redactor,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.connections.keys()).finish()
    }
}

/// Why a connection can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The variable that holds a secret is not there.
    #[error("secret `{secret}`: the environment variable `{variable}` is not set")]
    NoVariable {
        /// The secret's name.
        secret: String,
        /// The variable's name.
        variable: String,
    },
    /// The file that holds a secret can't be read.
    #[error("secret `{secret}`: cannot read {path}")]
    NoFile {
        /// The secret's name.
        secret: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The value is no text.
    #[error("secret `{secret}` is not UTF-8 text")]
    NotText {
        /// The secret's name.
        secret: String,
    },
    /// The value is empty.
    #[error("secret `{secret}` is empty")]
    Empty {
        /// The secret's name.
        secret: String,
    },
    /// The value is too short to be hidden.
    #[error(
        "secret `{secret}` is shorter than {LEAST_SECRET_BYTES} bytes, so hiding it would blacken whatever looks like \
         it; use a longer one, or write `redact = false` beside its source"
    )]
    TooShort {
        /// The secret's name.
        secret: String,
    },
    /// A URL is none.
    #[error("connection `{connection}`: `{field}` is not a postgres:// URL")]
    BadUrl {
        /// The connection's name.
        connection: String,
        /// `url` or `read_url`.
        field: &'static str,
    },
    /// A file or folder is not there.
    #[error("connection `{connection}`: {path} {problem}")]
    BadPath {
        /// The connection's name.
        connection: String,
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Connections {
    /// Resolves what the runbook's plugins are bound to, and nothing else. `base` is put before relative paths;
    /// `variable` looks into the engine's own environment.
    ///
    /// # Errors
    /// The first secret that can't be had, or path that is not there.
    pub fn resolve(
        runbook: &Runbook,
        base: &Path,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConnectError> {
        let mut resolver = Resolver { runbook, base, variable, seen: IndexMap::new(), users: Vec::new() };
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for plugin in runbook.plugins.values() {
            names.extend(plugin.connections.values().map(String::as_str));
        }
        let mut connections = IndexMap::new();
        for name in names {
            if let Some(connection) = resolver.connection(name)? {
                connections.insert(name.to_owned(), connection);
            }
        }
        let hidden = resolver.seen.values().filter(|(_, hide)| *hide).map(|(secret, _)| secret.expose());
        let users: Vec<&str> = resolver.users.iter().map(String::as_str).collect();
        let redactor = Redactor::new(hidden, &users);
        Ok(Self { connections, redactor })
    }

    /// What the plugin's slots lead to.
    #[must_use]
    pub fn bindings(&self, plugin: &model::Plugin) -> Bindings {
        plugin
            .connections
            .iter()
            .filter_map(|(slot, name)| {
                let connection = self.connections.get(name)?.clone();
                Some((slot.clone(), Bound { name: name.clone(), connection }))
            })
            .collect()
    }

    /// Every connection by its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Connection)> {
        self.connections.iter().map(|(name, connection)| (name.as_str(), connection))
    }

    /// What takes the secrets of these connections out of texts.
    #[must_use]
    pub fn into_redactor(self) -> Redactor {
        self.redactor
    }
}

struct Resolver<'a> {
    runbook: &'a Runbook,
    base: &'a Path,
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Secrets and parts of them by name, with whether they are hidden.
    seen: IndexMap<String, (Secret, bool)>,
    users: Vec<String>,
}

impl Resolver<'_> {
    fn connection(&mut self, name: &str) -> Result<Option<Connection>, ConnectError> {
        let Some(connection) = self.runbook.connections.get(name) else { return Ok(None) };
        Ok(Some(match connection {
            model::Connection::Http { origin, paths, credential, addresses, ca } => Connection::Http {
                origin: origin.clone(),
                paths: paths.clone(),
                credential: credential.as_ref().map(|credential| self.credential(credential)).transpose()?,
                addresses: addresses.clone(),
                ca: ca.as_deref().map(|path| self.file(name, path)).transpose()?,
            },
            model::Connection::Postgres { url, read_url, password, read_password, ca } => {
                Connection::Postgres {
                    url: self.postgres_url(name, "url", url, password.as_ref())?,
                    read_url: read_url
                        .as_ref()
                        .map(|url| self.postgres_url(name, "read_url", url, read_password.as_ref()))
                        .transpose()?,
                    ca: ca.as_deref().map(|path| self.file(name, path)).transpose()?,
                }
            }
            model::Connection::Folder { path } => {
                let path = self.absolute(path);
                if !path.is_dir() {
                    let problem = "is not a folder; make it, or correct the path".to_owned();
                    return Err(ConnectError::BadPath { connection: name.to_owned(), path, problem });
                }
                Connection::Folder { path }
            }
            model::Connection::Program { path, digest, postgres, environment, directory } => {
                Connection::Program {
                    path: self.file(name, path)?,
                    digest: digest.as_deref().map(|digest| digest.trim_start_matches("sha256:").to_owned()),
                    postgres: match postgres {
                        Some(postgres) => self.connection(postgres)?.map(Box::new),
                        None => None,
                    },
                    environment: environment
                        .iter()
                        .map(|(variable, text)| {
                            let value = match text {
                                Text::Plain(text) => EnvValue::Plain(text.clone()),
                                Text::Secret(secret) => EnvValue::Secret(self.secret(secret)?),
                            };
                            Ok((variable.clone(), value))
                        })
                        .collect::<Result<_, ConnectError>>()?,
                    directory: directory.as_deref().map(|path| self.absolute(path)),
                }
            }
        }))
    }

    fn credential(&mut self, credential: &model::Credential) -> Result<Credential, ConnectError> {
        Ok(match credential {
            model::Credential::Bearer { token } => Credential::Bearer(self.secret(token)?),
            model::Credential::Basic { user, password } => {
                self.users.push(user.clone());
                Credential::Basic { user: user.clone(), password: self.secret(password)? }
            }
            model::Credential::Header { name, value } => {
                Credential::Header { name: name.clone(), value: self.secret(value)? }
            }
        })
    }

    /// The URL with the password in its place. The password alone is hidden too, since servers may quote it.
    fn postgres_url(
        &mut self,
        connection: &str,
        field: &'static str,
        url: &Text,
        password: Option<&Text>,
    ) -> Result<Secret, ConnectError> {
        let bad = || ConnectError::BadUrl { connection: connection.to_owned(), field };
        let (text, hide) = match url {
            Text::Plain(text) => (Secret::new(text.clone()), true),
            Text::Secret(name) => (self.secret(name)?, self.hides(name)),
        };
        let mut url = url::Url::parse(text.expose()).map_err(|_| bad())?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(bad());
        }
        if let Some(password) = password {
            let password = match password {
                Text::Plain(text) => Secret::new(text.clone()),
                Text::Secret(name) => self.secret(name)?,
            };
            url.set_password(Some(password.expose())).map_err(|()| bad())?;
            self.remember(&format!("{connection}.{field}.password"), password, true);
        } else if let Some(encoded) = url.password() {
            let plain = percent_decode_str(encoded).decode_utf8_lossy().into_owned();
            if hide && plain.len() < LEAST_SECRET_BYTES {
                return Err(ConnectError::TooShort { secret: format!("{connection}.{field}, its password") });
            }
            self.remember(&format!("{connection}.{field}.password"), Secret::new(plain), hide);
        }
        Ok(Secret::new(url.into()))
    }

    fn secret(&mut self, name: &str) -> Result<Secret, ConnectError> {
        if let Some((secret, _)) = self.seen.get(name) {
            return Ok(secret.clone());
        }
        let source = self.runbook.secrets.get(name);
        let hide = source.is_none_or(|source| source.redact);
        let secret = || name.to_owned();
        let text = match source.map(|source| &source.location) {
            Some(SecretLocation::Environment(variable)) => (self.variable)(variable)
                .ok_or_else(|| ConnectError::NoVariable { secret: secret(), variable: variable.clone() })?
                .into_string()
                .map_err(|_| ConnectError::NotText { secret: secret() })?,
            Some(SecretLocation::File(path)) => {
                let path = self.absolute(path);
                let text =
                    text_file::read(&path, text_file::SECRET).map_err(|source| match source.kind() {
                        std::io::ErrorKind::InvalidData => ConnectError::NotText { secret: secret() },
                        _ => ConnectError::NoFile { secret: secret(), path, source },
                    })?;
                text.strip_suffix('\n')
                    .map(|text| text.strip_suffix('\r').unwrap_or(text))
                    .unwrap_or(&text)
                    .to_owned()
            }
            // `check` has reported a secret without a source.
            None => return Err(ConnectError::Empty { secret: secret() }),
        };
        if text.is_empty() {
            return Err(ConnectError::Empty { secret: secret() });
        }
        if hide && text.len() < LEAST_SECRET_BYTES {
            return Err(ConnectError::TooShort { secret: secret() });
        }
        let value = Secret::new(text);
        self.seen.insert(secret(), (value.clone(), hide));
        Ok(value)
    }

    fn hides(&self, name: &str) -> bool {
        self.seen.get(name).is_none_or(|(_, hide)| *hide)
    }

    /// Notes a part of a secret, so that it is hidden as well, unless it is too short for that.
    fn remember(&mut self, name: &str, secret: Secret, hide: bool) {
        let hide = hide && secret.expose().len() >= LEAST_SECRET_BYTES;
        self.seen.insert(name.to_owned(), (secret, hide));
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    fn file(&self, connection: &str, path: &Path) -> Result<PathBuf, ConnectError> {
        let path = self.absolute(path);
        if path.is_file() {
            return Ok(path);
        }
        let problem = "is not a file; install it, or correct the path".to_owned();
        Err(ConnectError::BadPath { connection: connection.to_owned(), path, problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use windlass_runbook::catalog::{Catalog, CatalogError, GrantFacts, GrantProblem, PluginUse};
    use windlass_runbook::wit::Signature;
    use windlass_runbook::{SourceFile, check, parse};

    struct Empty;

    impl Catalog for Empty {
        fn signature(&self, _: &PluginUse) -> Result<Arc<Signature>, CatalogError> {
            Ok(Arc::new(Signature {
                digest: "sha256:00".to_owned(),
                interfaces: Vec::new(),
                config: None,
                slots: Vec::new(),
            }))
        }
        fn check_grant(&self, _: &str) -> Result<GrantFacts, GrantProblem> {
            Ok(GrantFacts::default())
        }
    }

    /// A runbook whose one plugin is bound to the connections of this environment.
    fn runbook(slots: &str, environment: &str) -> Runbook {
        let text = format!(
            "[runbook]\nname = \"r\"\n[plugins.p]\nsource = \"builtin:p\"\nconnections = {{ {slots} }}\n\
             [[step]]\nid = \"s\"\nwait = \"1s\"\n"
        );
        let environment = SourceFile::new("env.toml", environment);
        let (document, found) = parse(SourceFile::new("r.toml", text), Some(environment));
        assert!(!found.has_errors(), "{found}");
        let (runbook, found) = check(&document.unwrap(), &Empty);
        runbook.unwrap_or_else(|| panic!("{found}"))
    }

    fn resolve(runbook: &Runbook, value: Option<&str>) -> Result<Connections, ConnectError> {
        let variable = |name: &str| value.filter(|_| name == "PASSWORD").map(OsString::from);
        Connections::resolve(runbook, Path::new("/"), &variable)
    }

    const DATABASE: &str = "[secrets]\npg = { env = \"PASSWORD\" }\n[connections.main]\n\
        url = \"postgres://app@db.example/shop\"\npassword = { secret = \"pg\" }\n";

    #[test]
    fn a_password_is_put_into_the_url_encoded_and_is_redacted() {
        let runbook = runbook("db = \"main\"", DATABASE);
        let connections = resolve(&runbook, Some("pa/ss@word")).unwrap();
        let bindings = connections.bindings(&runbook.plugins["p"]);
        let Connection::Postgres { url, .. } = &bindings.get("db").unwrap().connection else {
            panic!("not postgres")
        };
        assert_eq!(url.expose(), "postgres://app:pa%2Fss%40word@db.example/shop");
        assert_eq!(
            connections.into_redactor().text("it is pa/ss@word or pa%2Fss%40word"),
            "it is [redacted] or [redacted]"
        );
    }

    #[test]
    fn what_keeps_a_secret_from_being_had_is_told_without_it() {
        let runbook = runbook("db = \"main\"", DATABASE);
        let told = |value| resolve(&runbook, value).unwrap_err().to_string();
        insta::assert_snapshot!(
            [told(None), told(Some("")), told(Some("short"))].join("\n"),
            @r"
        secret `pg`: the environment variable `PASSWORD` is not set
        secret `pg` is empty
        secret `pg` is shorter than 8 bytes, so hiding it would blacken whatever looks like it; use a longer one, or write `redact = false` beside its source
        "
        );
    }

    #[test]
    fn a_missing_folder_names_connection_and_path() {
        let runbook = runbook("out = \"records\"", "[connections.records]\nfolder = \"no/such/folder\"\n");
        let error = resolve(&runbook, None).unwrap_err().to_string();
        assert!(error.starts_with("connection `records`: "), "{error}");
        assert!(error.ends_with("no/such/folder is not a folder; make it, or correct the path"), "{error}");
    }

    #[test]
    fn only_what_plugins_are_bound_to_is_resolved() {
        let unused = "[secrets]\nother = { env = \"UNSET\" }\n[connections.other]\norigin = \"https://api.example\"\n\
            credential = { type = \"bearer\", token = { secret = \"other\" } }\n[connections.records]\nfolder = \"/tmp\"\n";
        let runbook = runbook("out = \"records\"", unused);
        assert_eq!(resolve(&runbook, None).unwrap().bindings(&runbook.plugins["p"]).iter().count(), 1);
    }

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(percent_decode_str("a%2Fb%zz%4").decode_utf8_lossy(), "a/b%zz%4");
    }
}
