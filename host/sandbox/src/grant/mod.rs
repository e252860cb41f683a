//! The grammar of grant lines: one line, one right.
//!
//! Owns how each line is read, shown and matched. Knows nothing of modes, connections, or how a capability does its
//! work; those ask the typed grants here. Everything in this folder is pure.
//!
//! Invariant: [`Grant`]'s display is one canonical line that parses to the same grant.

mod error;
pub(crate) mod http;
mod others;
pub(crate) mod pattern;
mod placeholders;
mod program;
mod slot;
mod template;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

pub use error::{GrantError, GrantErrorKind};
pub use http::{HttpGrant, HttpRequest, Scheme};
pub use pattern::{Glob, Host, HostPattern, PathPattern};
pub use placeholders::{placeholders, substitute};
pub use program::ProgramGrant;
pub use slot::{FolderGrant, PostgresAccess, PostgresGrant};
pub use template::{ArgumentTemplate, Piece};

/// Whether something only looks or may change the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Allowed in every mode.
    Read,
    /// Allowed in write mode only.
    Write,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// One right, as one line gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Send HTTP requests.
    Http(HttpGrant),
    /// Speak to a database.
    Postgres(PostgresGrant),
    /// See a folder.
    Folder(FolderGrant),
    /// Run a program.
    Program(ProgramGrant),
}

impl Grant {
    /// Whether the line lets nothing be changed.
    pub fn reads_only(&self) -> bool {
        match self {
            Self::Http(grant) => grant.reads_only(),
            Self::Postgres(grant) => grant.access == PostgresAccess::Read,
            Self::Folder(grant) => grant.access == Effect::Read,
            Self::Program(grant) => grant.effect == Effect::Read,
        }
    }

    /// The slot that the line names, where it names one.
    pub fn slot(&self) -> Option<&str> {
        match self {
            Self::Http(_) => None,
            Self::Postgres(grant) => Some(&grant.slot),
            Self::Folder(grant) => Some(&grant.slot),
            Self::Program(grant) => Some(&grant.slot),
        }
    }

    /// Checks a line whose placeholders have no values yet.
    pub fn check(line: &str) -> Result<(), GrantError> {
        placeholders::stand_in(line).parse::<Self>().map(|_| ())
    }
}

impl FromStr for Grant {
    type Err = GrantError;

    /// Reads one line. Placeholders must have been replaced.
    fn from_str(line: &str) -> Result<Self, GrantError> {
        if let Some((range, name)) = placeholders(line).into_iter().next() {
            return Err(GrantError::new(range, format!("`{name}` has no value here")));
        }
        let words = words::split(line)?;
        let whole = 0..line.len();
        let Some((kind, rest)) = words.split_first() else {
            return Err(GrantError::new(whole, "the line is empty").help(KINDS_HELP));
        };
        match kind.text.as_str() {
            "http" => HttpGrant::parse(rest, whole).map(Self::Http),
            "postgres" => PostgresGrant::parse(rest, &whole).map(Self::Postgres),
            "folder" => FolderGrant::parse(rest, &whole).map(Self::Folder),
            "program" => ProgramGrant::parse(Effect::Write, rest, &whole).map(Self::Program),
            "read" => match rest.split_first() {
                Some((second, rest)) if second.text == "program" => {
                    ProgramGrant::parse(Effect::Read, rest, &whole).map(Self::Program)
                }
                _ => Err(GrantError::new(kind.range.clone(), "`read` comes first only before `program`")
                    .help("for HTTP write `http read POST https://api.example.com/search`")),
            },
            other if others::KINDS.contains(&other) => Err(others::refuse(other, rest, &whole)),
            other => Err(GrantError::new(kind.range.clone(), format!("`{other}` is no kind of grant"))
                .help(KINDS_HELP)),
        }
    }
}

const KINDS_HELP: &str = "a line begins with `http`, `postgres`, `folder`, `program` or `read program`";

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(grant) => grant.fmt(f),
            Self::Postgres(grant) => grant.fmt(f),
            Self::Folder(grant) => grant.fmt(f),
            Self::Program(grant) => grant.fmt(f),
        }
    }
}

/// All the rights of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// Reads the lines, placeholders already replaced. The first line that is wrong is the error.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, GrantError> {
        lines.into_iter().map(str::parse).collect::<Result<_, _>>().map(Self)
    }

    /// All, in the order of the lines.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// The HTTP lines.
    pub fn http(&self) -> impl Iterator<Item = &HttpGrant> {
        self.0.iter().filter_map(|grant| match grant {
            Grant::Http(grant) => Some(grant),
            _ => None,
        })
    }

    /// The most that any line allows on this slot's database.
    pub fn postgres(&self, slot: &str) -> Option<PostgresAccess> {
        let accesses = self.0.iter().filter_map(|grant| match grant {
            Grant::Postgres(grant) if grant.slot == slot => Some(grant.access),
            _ => None,
        });
        accesses.max()
    }

    /// The folder lines.
    pub fn folders(&self) -> impl Iterator<Item = &FolderGrant> {
        self.0.iter().filter_map(|grant| match grant {
            Grant::Folder(grant) => Some(grant),
            _ => None,
        })
    }

    /// The most that any line allows in this slot's folder; none where no line names the slot.
    pub fn folder(&self, slot: &str) -> Option<Effect> {
        self.folders().filter(|grant| grant.slot == slot).map(|grant| grant.access).max()
    }

    /// The lines for this slot's program.
    pub fn programs<'a>(&'a self, slot: &'a str) -> impl Iterator<Item = &'a ProgramGrant> {
        self.0.iter().filter_map(move |grant| match grant {
            Grant::Program(grant) if grant.slot == slot => Some(grant),
            _ => None,
        })
    }

    /// Whether any line names the slot.
    pub fn names_slot(&self, slot: &str) -> bool {
        self.0.iter().any(|grant| grant.slot() == Some(slot))
    }

    /// Whether any HTTP line names this origin (`https://api.example.com:8443`), whatever path and method.
    pub fn reaches_origin(&self, origin: &str) -> bool {
        let Ok(url) = url::Url::parse(origin) else { return false };
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return false,
        };
        let Some(host) = url.host_str().and_then(Host::parse) else { return false };
        let port = url.port_or_known_default().unwrap_or_else(|| scheme.default_port());
        self.http().any(|grant| grant.reaches(scheme, &host, port))
    }
}
