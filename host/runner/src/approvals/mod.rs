//! Who may approve, and how it is proven that they did.
//!
//! A person signs a text with an SSH key (SSHSIG, so that `ssh-keygen -Y verify` can check it too); the text itself is the
//! engine's, which knows what is asked. Whether the key counts, and for which roles, is in the [`Signers`] file. Knows
//! nothing of runs. Invariant: nobody is believed before the signature, the key and the role hold.

mod agent;
mod error;
mod key;
mod signers;
mod word;

pub use error::ApprovalError;
pub use key::{KeyAtHand, SigningKey, keys_at_hand};
pub(crate) use signers::SignerFiles;
pub(crate) use signers::system_file;
pub use signers::{Signer, Signers};
pub(crate) use word::believe;
pub use word::{Said, open_request, sign};

use ssh_key::{HashAlg, SshSig};

/// The namespace that keeps these signatures from counting as anything else, and anything else from counting here.
pub const NAMESPACE: &str = "approval@windlass";

/// Whose signature this is: `text` is what was signed, `signature` the SSHSIG in PEM. With a role, only somebody who has
/// it is believed.
///
/// # Errors
/// [`ApprovalError`] says what does not hold.
pub fn signer_of<'a>(
    signers: &'a Signers,
    text: &str,
    signature: &str,
    role: Option<&str>,
) -> Result<&'a Signer, ApprovalError> {
    let proof = SshSig::from_pem(signature)
        .map_err(|error| ApprovalError::Signature { what: format!("it can't be read: {error}") })?;
    let fingerprint = proof.public_key().fingerprint(HashAlg::Sha256).to_string();
    let signer = signers.by_fingerprint(&fingerprint).ok_or(ApprovalError::UnknownKey { fingerprint })?;
    signer
        .key
        .verify(NAMESPACE, text.as_bytes(), &proof)
        .map_err(|error| ApprovalError::Signature { what: format!("it does not hold: {error}") })?;
    match role {
        Some(role) if !signer.roles.contains(role) => Err(ApprovalError::Role {
            signer: signer.name.clone(),
            role: role.to_owned(),
            roles: signer.roles.iter().cloned().collect(),
        }),
        _ => Ok(signer),
    }
}

#[cfg(test)]
mod tests;
