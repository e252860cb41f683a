//! Where a database is and who logs in there, read from the connection URL.
//!
//! It knows the URL's grammar and refuses to know of sockets. Invariant: neither the URL nor the password is in any
//! error, `Debug` output or description that leaves this module.

use std::fmt;
use std::path::PathBuf;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::Secret;

/// A database and a role.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// A host name, an address, or the folder of a Unix socket.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Secret,
    pub(crate) database: String,
    pub(crate) tls: Tls,
    /// Certificates to verify the server with, instead of the system's.
    pub(crate) ca: Option<PathBuf>,
}

/// How the connection is protected, named as libpq does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Tls {
    const ALL: [Self; 5] = [Self::Disable, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    /// As `sslmode` has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// A connection URL that can't be used. Says what is wrong with it and never shows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the connection URL {0}")]
pub(crate) struct EndpointError(String);

impl Endpoint {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE`. Without `sslmode` the server is verified fully
    /// where `ca` is given, and TLS is used where the server has it otherwise, as libpq does.
    pub(crate) fn parse(url: &Secret, ca: Option<PathBuf>) -> Result<Self, EndpointError> {
        let error = |what: &str| EndpointError(what.to_owned());
        let parsed =
            url::Url::parse(url.expose()).map_err(|reason| EndpointError(format!("is none: {reason}")))?;
        if !matches!(parsed.scheme(), "postgres" | "postgresql") {
            return Err(error("does not begin with `postgres://`"));
        }
        let mut host = parsed.host_str().map(percent_decoded).unwrap_or_default();
        let user = percent_decoded(parsed.username());
        let database = percent_decoded(parsed.path().trim_start_matches('/'));
        let mut tls = if ca.is_some() { Tls::VerifyFull } else { Tls::Prefer };
        for (name, value) in parsed.query_pairs() {
            match name.as_ref() {
                "sslmode" => {
                    tls = Tls::ALL.into_iter().find(|mode| mode.as_str() == value).ok_or_else(|| {
                        error("has an unknown `sslmode`: use disable, prefer, require, verify-ca or verify-full")
                    })?;
                }
                "host" if value.starts_with('/') => host = value.into_owned(),
                // The name can be part of a password that was not percent-encoded, so it is not shown.
                _ => {
                    return Err(error(
                        "has a parameter that is not known here: only `sslmode` and `host=/FOLDER` are",
                    ));
                }
            }
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        for (part, name) in [(&host, "host"), (&user, "user"), (&database, "database")] {
            if part.is_empty() {
                return Err(EndpointError(format!("names no {name}")));
            }
            if part.contains(char::is_control) {
                return Err(EndpointError(format!("has a control character in its {name}")));
            }
        }
        let password = Secret::new(percent_decoded(parsed.password().unwrap_or_default()));
        Ok(Self { host, port: parsed.port().unwrap_or(5432), user, password, database, tls, ca })
    }

    /// The same server and role, for the driver. Everything is set, so that nothing comes from the environment, and no
    /// statement is logged.
    pub(crate) fn options(&self) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .username(&self.user)
            .password(self.password.expose())
            .database(&self.database)
            .application_name("windlass")
            .statement_cache_capacity(0)
            .ssl_mode(match self.tls {
                Tls::Disable => PgSslMode::Disable,
                Tls::Prefer => PgSslMode::Prefer,
                Tls::Require => PgSslMode::Require,
                Tls::VerifyCa => PgSslMode::VerifyCa,
                Tls::VerifyFull => PgSslMode::VerifyFull,
            })
            .disable_statement_logging();
        match &self.ca {
            Some(ca) => options.ssl_root_cert(ca),
            None => options,
        }
    }
}

/// Host, port and database, for messages.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, database, .. } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}/{database}")
        } else {
            write!(f, "{host}:{port}/{database}")
        }
    }
}

/// The text with its `%41` replaced. What is no valid escape stays as it is.
fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Endpoint, String> {
        Endpoint::parse(&Secret::new(url.to_owned()), None).map_err(|error| error.to_string())
    }

    #[test]
    fn parts_are_decoded() {
        let endpoint =
            parse("postgres://app%40x:p%2Fw%25@db.example.com:5433/my%20db?sslmode=require").unwrap();
        assert_eq!(endpoint.user, "app@x");
        assert_eq!(endpoint.password.expose(), "p/w%");
        assert_eq!(endpoint.to_string(), "db.example.com:5433/my db");
        assert_eq!(endpoint.tls, Tls::Require);
        assert_eq!(parse("postgresql://u@[::1]/d").unwrap().to_string(), "[::1]:5432/d");
        assert_eq!(parse("postgres://u@localhost/d?host=/run/pg").unwrap().host, "/run/pg");
        assert_eq!(parse("postgres://u@%2Frun%2Fpg/d").unwrap().host, "/run/pg");
    }

    #[test]
    fn a_ca_asks_for_full_verification() {
        let url = Secret::new("postgres://u@h/d".to_owned());
        assert_eq!(Endpoint::parse(&url, Some("/ca.pem".into())).unwrap().tls, Tls::VerifyFull);
        assert_eq!(Endpoint::parse(&url, None).unwrap().tls, Tls::Prefer);
    }

    #[test]
    fn errors_do_not_show_the_url() {
        for (url, message) in [
            ("mysql://u:hunter2@h/d", "the connection URL does not begin with `postgres://`"),
            ("hunter2", "the connection URL is none: relative URL without a base"),
            ("postgres://u:hunter2@h", "the connection URL names no database"),
            ("postgres://u:hunter2@h:hunter2/d", "the connection URL is none: invalid port number"),
            ("postgres://h/d", "the connection URL names no user"),
            ("postgres://u:a?hunter2=x@h/d", "the connection URL is none: invalid port number"),
            (
                "postgres://u@h/d?hunter2=1",
                "the connection URL has a parameter that is not known here: only `sslmode` and `host=/FOLDER` are",
            ),
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error, message);
            assert!(!error.contains("hunter2"));
        }
        let endpoint = parse("postgres://u:hunter2@h/d").unwrap();
        assert!(!format!("{endpoint:?} {endpoint}").contains("hunter2"));
    }
}
