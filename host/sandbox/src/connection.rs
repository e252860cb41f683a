//! What the operator bound to a plugin's slots, with the credentials inside.
//!
//! The runner resolves names, files and secrets and hands the result over; this module refuses to know where they came
//! from. Invariant: nothing here is shown to a guest but a slot's name, the operator's name for it, its kind and, for
//! HTTP, its origin.

use std::path::PathBuf;

use indexmap::IndexMap;

use crate::Secret;

/// The slots of one plugin, by the plugin's own name for each.
#[derive(Debug, Clone, Default)]
pub struct Bindings(pub IndexMap<String, Bound>);

impl Bindings {
    /// What is bound to the slot.
    #[must_use]
    pub fn get(&self, slot: &str) -> Option<&Bound> {
        self.0.get(slot)
    }

    /// All slots in the order in which they were bound.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bound)> {
        self.0.iter().map(|(slot, bound)| (slot.as_str(), bound))
    }
}

impl FromIterator<(String, Bound)> for Bindings {
    fn from_iter<I: IntoIterator<Item = (String, Bound)>>(slots: I) -> Self {
        Self(slots.into_iter().collect())
    }
}

/// A connection with what the operator calls it.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The operator's name for it.
    pub name: String,
    /// Where it leads.
    pub connection: Connection,
}

/// Something that a plugin can be connected to.
#[derive(Debug, Clone)]
pub enum Connection {
    /// A web service.
    Http {
        /// Scheme, host and port, such as `https://api.example.com`.
        origin: String,
        /// The paths the credential is attached on, as patterns; all where empty.
        paths: Vec<String>,
        /// What the host attaches to each request.
        credential: Option<Credential>,
        /// Networks in CIDR notation that are not public but may be connected to.
        addresses: Vec<String>,
        /// A file of PEM certificates that are trusted in addition to the system's.
        ca: Option<PathBuf>,
    },
    /// A PostgreSQL database.
    Postgres {
        /// The connection URL of the role that may write.
        url: Secret,
        /// The connection URL of the role that may only read.
        read_url: Option<Secret>,
        /// A file of PEM certificates to verify the server with.
        ca: Option<PathBuf>,
    },
    /// A folder of this machine; the guest sees it as `/SLOT`.
    Folder {
        /// Where it is.
        path: PathBuf,
    },
    /// A program of this machine.
    Program {
        /// Absolute.
        path: PathBuf,
        /// SHA-256 of the program's file in lower-case hex, where it is pinned.
        digest: Option<String>,
        /// The Postgres connection whose address and password the program is given.
        postgres: Option<Box<Self>>,
        /// Variables of its environment.
        environment: Vec<(String, EnvValue)>,
        /// Where it runs; a private folder where none.
        directory: Option<PathBuf>,
    },
}

impl Connection {
    /// `http`, `postgres`, `folder` or `program`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Postgres { .. } => "postgres",
            Self::Folder { .. } => "folder",
            Self::Program { .. } => "program",
        }
    }
}

/// What the host attaches to the requests of an HTTP connection.
#[derive(Debug, Clone)]
pub enum Credential {
    /// `authorization: Bearer …`
    Bearer(Secret),
    /// `authorization: Basic …`
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A header of any other name.
    Header {
        /// The header's name.
        name: String,
        /// Its whole value.
        value: Secret,
    },
}

/// The value of a variable in a program's environment.
#[derive(Debug, Clone)]
pub enum EnvValue {
    /// May be shown.
    Plain(String),
    /// May not.
    Secret(Secret),
}
