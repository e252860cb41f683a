//! The people who may approve: their names, their keys, their roles.
//!
//! The system's file wins: where it is, a user's own file counts for nothing, since whoever runs a release must not
//! choose who may allow it. A file that others could write is not read.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, PublicKey};

use super::ApprovalError;
use crate::text_file;

/// Somebody who may approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Their name. Who starts a run under this name may not approve it alone.
    pub name: String,
    /// What they sign with.
    pub key: PublicKey,
    /// What they may approve as.
    pub roles: BTreeSet<String>,
}

impl Signer {
    /// SHA-256 of the key, as `ssh-keygen -l` shows it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }
}

/// Where it stands who may approve. The files are read whenever somebody's word is looked at, so that who was taken out
/// of them counts no longer.
#[derive(Debug, Clone)]
pub(crate) struct SignerFiles(Arc<(PathBuf, PathBuf)>);

impl SignerFiles {
    /// The system's file, and the user's own.
    pub(crate) fn new(files: (PathBuf, PathBuf)) -> Self {
        Self(Arc::new(files))
    }

    pub(crate) fn read(&self) -> Result<Signers, ApprovalError> {
        Signers::load(&self.0.0, &self.0.1)
    }
}

/// Everybody who may approve.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signers(Vec<Signer>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    signer: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    key: String,
    roles: BTreeSet<String>,
}

impl Signers {
    /// Reads the system's file, or the user's own where there is none of the system's.
    ///
    /// # Errors
    /// [`ApprovalError::NoSigners`] where there is neither; [`ApprovalError::Unsafe`] where somebody else could change
    /// it; [`ApprovalError::Signers`] where it is wrong.
    pub fn load(system: &Path, own: &Path) -> Result<Self, ApprovalError> {
        for path in [system, own] {
            match std::fs::metadata(path) {
                Ok(meta) => return Self::read(path, &meta),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => (),
                Err(source) => return Err(ApprovalError::Read { path: path.to_owned(), source }),
            }
        }
        Err(ApprovalError::NoSigners { system: system.to_owned(), own: own.to_owned() })
    }

    fn read(path: &Path, meta: &std::fs::Metadata) -> Result<Self, ApprovalError> {
        let not_safe = |what: String| ApprovalError::Unsafe { path: path.to_owned(), what };
        let me = rustix::process::geteuid().as_raw();
        if ![0, me].contains(&meta.uid()) {
            return Err(not_safe(format!("it belongs to user {}", meta.uid())));
        }
        if meta.mode() & 0o022 != 0 {
            return Err(not_safe(format!(
                "others may write it (mode {:o}): chmod go-w",
                meta.mode() & 0o777
            )));
        }
        let text = text_file::read(path, text_file::SECRET)
            .map_err(|source| ApprovalError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// The signers of a text; `path` is what messages call it.
    ///
    /// # Errors
    /// [`ApprovalError::Signers`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ApprovalError> {
        let wrong = |what: String| ApprovalError::Signers { path: path.to_owned(), what };
        let file: File = toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?;
        let mut signers: Vec<Signer> = Vec::with_capacity(file.signer.len());
        for Entry { name, key, roles } in file.signer {
            if name.trim().is_empty() || name.chars().any(char::is_control) {
                return Err(wrong(format!("{name:?} is no name")));
            }
            let key = PublicKey::from_openssh(key.trim())
                .map_err(|error| wrong(format!("the key of `{name}` can't be read: {error}")))?;
            if !is_supported(&key) {
                return Err(wrong(format!(
                    "the key of `{name}` is {}; ed25519 and ecdsa-sha2-nistp256 are supported, also on a security key \
                     through the agent",
                    key.algorithm()
                )));
            }
            let signer = Signer { name, key, roles };
            let print = signer.fingerprint();
            if let Some(other) = signers.iter().find(|other| other.fingerprint() == print) {
                return Err(wrong(format!("`{}` and `{}` have the same key", other.name, signer.name)));
            }
            signers.push(signer);
        }
        Ok(Self(signers))
    }

    /// Whose key has this fingerprint (SHA-256, as `ssh-keygen -l` shows it).
    #[must_use]
    pub fn by_fingerprint(&self, fingerprint: &str) -> Option<&Signer> {
        self.0.iter().find(|signer| signer.fingerprint() == fingerprint)
    }

    /// The names of those who have a role, in the order of the file.
    pub fn with_role<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |signer| signer.roles.contains(role)).map(|signer| signer.name.as_str())
    }
}

/// Where the signers of a system are.
#[must_use]
pub(crate) fn system_file() -> PathBuf {
    PathBuf::from("/etc/windlass/signers.toml")
}

fn is_supported(key: &PublicKey) -> bool {
    matches!(
        key.algorithm(),
        Algorithm::Ed25519
            | Algorithm::SkEd25519
            | Algorithm::SkEcdsaSha2NistP256
            | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }
    )
}
