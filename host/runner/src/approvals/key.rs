//! What a person signs with: a key in a file, or one that the SSH agent holds.

use std::path::{Path, PathBuf};

use ssh_key::{HashAlg, PrivateKey, PublicKey, SshSig};
use zeroize::Zeroizing;

use super::agent::Agent;
use super::{ApprovalError, NAMESPACE, Signers};
use crate::text_file;

/// A key that can sign.
pub enum SigningKey {
    /// From a file.
    File(Box<PrivateKey>),
    /// In the agent, which may ask the person.
    Agent {
        /// Where the agent listens.
        socket: PathBuf,
        /// Which of its keys.
        public: Box<PublicKey>,
    },
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("SigningKey").field(&self.fingerprint()).finish()
    }
}

impl SigningKey {
    /// The key that a file has. Of a public key the private half is asked of the agent at `agent`; a private one that
    /// is locked is opened with what `passphrase` gives.
    ///
    /// # Errors
    /// [`ApprovalError::Read`], [`ApprovalError::Key`], [`ApprovalError::Agent`].
    pub fn open(
        path: &Path,
        agent: Option<&Path>,
        passphrase: impl FnOnce() -> std::io::Result<Zeroizing<String>>,
    ) -> Result<Self, ApprovalError> {
        let read = |source| ApprovalError::Read { path: path.to_owned(), source };
        let fail = |what: String| ApprovalError::Key { path: path.to_owned(), what };
        let text = Zeroizing::new(text_file::read(path, text_file::SECRET).map_err(read)?);
        if let Ok(public) = PublicKey::from_openssh(text.trim()) {
            let socket = agent.ok_or_else(|| {
                fail("it is a public key, and no SSH agent is known ($SSH_AUTH_SOCK)".to_owned())
            })?;
            return Ok(Self::Agent { socket: socket.to_owned(), public: Box::new(public) });
        }
        let key = PrivateKey::from_openssh(text.as_bytes())
            .map_err(|error| fail(format!("it is no key in OpenSSH's format: {error}")))?;
        if !key.is_encrypted() {
            return Ok(Self::File(Box::new(key)));
        }
        let phrase = passphrase().map_err(|error| fail(format!("no passphrase was given: {error}")))?;
        let opened =
            key.decrypt(phrase.as_bytes()).map_err(|_| fail("the passphrase is wrong".to_owned()))?;
        Ok(Self::File(Box::new(opened)))
    }

    /// SHA-256 of the public key, as `ssh-keygen -l` shows it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match self {
            Self::File(key) => key.fingerprint(HashAlg::Sha256),
            Self::Agent { public, .. } => public.fingerprint(HashAlg::Sha256),
        }
        .to_string()
    }

    /// Signs a text: an SSHSIG in PEM, as `ssh-keygen -Y sign` writes it.
    ///
    /// # Errors
    /// [`ApprovalError::Signature`], [`ApprovalError::Agent`].
    pub fn sign(&self, text: &str) -> Result<String, ApprovalError> {
        let fail = |error: ssh_key::Error| ApprovalError::Signature { what: error.to_string() };
        let hash = HashAlg::Sha512;
        let signed = match self {
            Self::File(key) => key.sign(NAMESPACE, hash, text.as_bytes()).map_err(fail)?,
            Self::Agent { socket, public } => {
                let data = SshSig::signed_data(NAMESPACE, hash, text.as_bytes()).map_err(fail)?;
                let signature = Agent::connect(socket)?.sign(public, &data)?;
                SshSig::new(public.key_data().clone(), NAMESPACE, hash, signature).map_err(fail)?
            }
        };
        signed.to_pem(ssh_key::LineEnding::LF).map_err(fail)
    }
}

/// A key that somebody who may approve has here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAtHand {
    /// Whose it is, by the signers file.
    pub signer: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Agent { socket: PathBuf, public: Box<PublicKey> },
    File(PathBuf),
}

impl KeyAtHand {
    /// The key itself; `passphrase` is asked where it lies locked in a file.
    ///
    /// # Errors
    /// As [`SigningKey::open`].
    pub fn take(
        self,
        passphrase: impl FnOnce() -> std::io::Result<Zeroizing<String>>,
    ) -> Result<SigningKey, ApprovalError> {
        match self.place {
            Place::Agent { socket, public } => Ok(SigningKey::Agent { socket, public }),
            Place::File(path) => SigningKey::open(&path, None, passphrase),
        }
    }
}

/// The keys at hand that somebody may approve with: those of the agent at `agent` first, then the usual files in
/// `home`. An agent that does not answer has none.
#[must_use]
pub fn keys_at_hand(signers: &Signers, agent: Option<&Path>, home: Option<&Path>) -> Vec<KeyAtHand> {
    let signer_of = |public: &PublicKey| {
        let print = public.fingerprint(HashAlg::Sha256).to_string();
        signers.by_fingerprint(&print).map(|signer| signer.name.clone())
    };
    let mut found = Vec::new();
    if let Some(socket) = agent {
        let held = Agent::connect(socket).and_then(|mut agent| agent.keys()).unwrap_or_default();
        for public in held {
            let Some(signer) = signer_of(&public) else { continue };
            let place = Place::Agent { socket: socket.to_owned(), public: Box::new(public) };
            found.push(KeyAtHand { signer, place });
        }
    }
    for name in ["id_ed25519", "id_ecdsa"] {
        let Some(path) = home.map(|home| home.join(".ssh").join(name)) else { continue };
        let public = text_file::read(&path.with_extension("pub"), text_file::SECRET)
            .ok()
            .and_then(|text| PublicKey::from_openssh(text.trim()).ok());
        let Some(signer) = public.as_ref().and_then(signer_of) else { continue };
        if !found.iter().any(|key| key.signer == signer) {
            found.push(KeyAtHand { signer, place: Place::File(path) });
        }
    }
    found
}
