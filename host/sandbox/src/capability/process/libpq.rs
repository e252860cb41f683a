//! Gives a program of PostgreSQL its database: the environment, the password file, and which arguments would lead it
//! elsewhere.
//!
//! It knows libpq's rules and starts nothing. Invariant: the password is in the password file alone, which names one
//! host, one port, one user, and only databases that the command line or the connection names.
//!
//! `psql` reads commands of its own (`\connect`, `\!`) from its input: to grant it is to grant a shell.

use std::path::Path;

use zeroize::Zeroizing;

use crate::capability::postgres::endpoint::{Endpoint, Tls};

/// Where distributions keep the certificates that this machine trusts.
const SYSTEM_CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The variables that lead libpq to the endpoint and keep it from looking anywhere else. No secret is among them.
pub(super) fn environment(endpoint: &Endpoint, home: &Path, passfile: &Path) -> Vec<(String, String)> {
    let mut variables = vec![
        ("PGHOST", endpoint.host.clone()),
        ("PGPORT", endpoint.port.to_string()),
        ("PGUSER", endpoint.user.clone()),
        ("PGDATABASE", endpoint.database.clone()),
        ("PGPASSFILE", passfile.display().to_string()),
        ("PGSERVICEFILE", "/dev/null".to_owned()),
        ("PGSYSCONFDIR", home.display().to_string()),
        ("PGSSLMODE", endpoint.tls.as_str().to_owned()),
        ("PGCONNECT_TIMEOUT", "10".to_owned()),
        ("PGAPPNAME", "windlass".to_owned()),
    ];
    let certificates = match &endpoint.ca {
        Some(ca) => Some(ca.display().to_string()),
        // Older libpq looks for certificates in the home alone, which is empty.
        None if matches!(endpoint.tls, Tls::VerifyCa | Tls::VerifyFull) => {
            SYSTEM_CERTIFICATES.into_iter().find(|file| Path::new(file).exists()).map(str::to_owned)
        }
        None => None,
    };
    variables.extend(certificates.map(|file| ("PGSSLROOTCERT", file)));
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The lines of the password file: one for each database, all for the same host, port and user.
pub(super) fn passfile(endpoint: &Endpoint, databases: &[String]) -> Zeroizing<String> {
    let mut lines = Zeroizing::new(String::new());
    let own = std::slice::from_ref(&endpoint.database);
    let others = databases.iter().filter(|database| **database != endpoint.database);
    for database in own.iter().chain(others) {
        let fields = [&endpoint.host, &endpoint.port.to_string(), database, &endpoint.user];
        for field in fields {
            push_escaped(&mut lines, field);
            lines.push(':');
        }
        push_escaped(&mut lines, endpoint.password.expose());
        lines.push('\n');
    }
    lines
}

fn push_escaped(line: &mut String, field: &str) {
    for c in field.chars() {
        if matches!(c, ':' | '\\') {
            line.push('\\');
        }
        line.push(c);
    }
}

/// The databases that the arguments may name, beside the connection's own; or why the arguments are refused, since they
/// would lead to another server or user.
///
/// Which of the plain words is a database can't be told without knowing each program, so every word that could be one
/// counts.
pub(super) fn databases(arguments: &[String]) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = if let Some(long) = argument.strip_prefix("--") {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            if abbreviates(name, &["host", "port", "username"]) {
                return Err(format!("`--{name}` leads to another server or user"));
            }
            if !abbreviates(name, &["dbname", "maintenance-db"]) {
                continue;
            }
            value.or_else(|| rest.next().map(String::as_str))
        } else if let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            match short(letters).map_err(|letter| format!("`-{letter}` leads to another server or user"))? {
                Short::Database(Some(name)) => Some(name),
                Short::Database(None) => rest.next().map(String::as_str),
                Short::Other => continue,
            }
        } else {
            Some(argument.as_str())
        };
        let Some(value) = value else { continue };
        // The same places take a whole connection string, with host and all.
        if value.contains('=') || value.contains("://") {
            return Err(
                "a connection string leads to another server or user; name a database alone".to_owned()
            );
        }
        if !value.is_empty() && value.len() <= 63 && !value.contains(['/', '\n', '\r']) {
            found.push(value.to_owned());
        }
    }
    Ok(found)
}

/// Whether the name is one of these, or the start of one: the programs take both.
fn abbreviates(name: &str, options: &[&str]) -> bool {
    !name.is_empty() && options.iter().any(|option| option.starts_with(name))
}

enum Short<'a> {
    /// `-d`, with the name where it is in the same argument.
    Database(Option<&'a str>),
    Other,
}

/// Looks through letters that share one dash, up to the first that takes the rest as its value in all programs.
fn short(letters: &str) -> Result<Short<'_>, char> {
    for (at, letter) in letters.char_indices() {
        match letter {
            'h' | 'p' | 'U' => return Err(letter),
            'd' => {
                let name = letters.get(at + 1..).filter(|name| !name.is_empty());
                return Ok(Short::Database(name));
            }
            'F' | 'f' | 'j' | 'E' | 'Z' => return Ok(Short::Other),
            _ => {}
        }
    }
    Ok(Short::Other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn named(arguments: &[&str]) -> Result<Vec<String>, String> {
        databases(&arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_that_lead_elsewhere_are_refused() {
        for arguments in [
            &["-h", "evil"][..],
            &["-hevil"],
            &["--host=evil"],
            &["--host", "evil"],
            &["--ho=evil"],
            &["-p", "1"],
            &["--port=1"],
            &["-U", "root"],
            &["-vU", "root"],
            &["--username=root"],
            &["--user=root"],
            &["-d", "host=evil"],
            &["-dhost=evil"],
            &["--dbname=postgres://evil/d"],
            &["--dbname", "host=evil"],
            &["--db=host=evil"],
            &["--maintenance-db=host=evil"],
            &["postgresql://evil/d"],
            &["host=evil dbname=d"],
            &["--", "service=x"],
        ] {
            assert!(named(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn plain_names_and_other_options_pass() {
        assert_eq!(named(&["-Fp", "-j4", "--format=custom", "--file=/x/h", "-w", "--no-owner"]), Ok(vec![]));
        assert_eq!(named(&["--dbname=scratch", "/out/a.dump"]), Ok(vec!["scratch".to_owned()]));
        assert_eq!(named(&["--dbname", "scratch"]), Ok(vec!["scratch".to_owned()]));
        assert_eq!(named(&["-dscratch"]), Ok(vec!["scratch".to_owned()]));
        assert_eq!(named(&["scratch"]), Ok(vec!["scratch".to_owned()]));
    }

    #[test]
    fn the_password_file_names_exactly_one_place() {
        let url = Secret::new("postgres://us%3Aer:p%3Aw%5C@db.example.com:5433/app".to_owned());
        let endpoint = Endpoint::parse(&url, None).unwrap();
        let lines = passfile(&endpoint, &["scratch".to_owned(), "app".to_owned()]);
        assert_eq!(
            lines.as_str(),
            "db.example.com:5433:app:us\\:er:p\\:w\\\\\ndb.example.com:5433:scratch:us\\:er:p\\:w\\\\\n"
        );
        let shown = format!("{:?}", environment(&endpoint, Path::new("/h"), Path::new("/h/pass")));
        assert!(!shown.contains("p:w"));
    }
}
