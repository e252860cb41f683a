//! Why an approval could not be signed, or does not count.

use std::path::PathBuf;

/// What keeps an approval from being made or believed.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    /// A file of signers or a key can't be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file could be changed by somebody who is not to decide about approvals.
    #[error("`{}` is not safe: {what}", path.display())]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// A file of signers is wrong.
    #[error("`{}` is no file of signers: {what}", path.display())]
    Signers {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// There is no file of signers.
    #[error("nobody may approve here: there is neither `{}` nor `{}`", system.display(), own.display())]
    NoSigners {
        /// The system's.
        system: PathBuf,
        /// The user's own.
        own: PathBuf,
    },
    /// A key can't be used to sign.
    #[error("key `{}` can't sign: {what}", path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why not.
        what: String,
    },
    /// The SSH agent does not sign.
    #[error("the SSH agent does not sign: {what}")]
    Agent {
        /// What it did.
        what: String,
    },
    /// The key belongs to nobody who may approve.
    #[error("key {fingerprint} is not in the signers file")]
    UnknownKey {
        /// SHA-256, as `ssh-keygen -l` shows it.
        fingerprint: String,
    },
    /// The signer has not the role.
    #[error("`{signer}` has not the role `{role}`, but {}", list(roles))]
    Role {
        /// Who.
        signer: String,
        /// The role that was claimed.
        role: String,
        /// Those that the signer has.
        roles: Vec<String>,
    },
    /// The signature does not count.
    #[error("the signature does not count: {what}")]
    Signature {
        /// Why not.
        what: String,
    },
    /// It is not clear as what the signer speaks.
    #[error("{}", which_role(signer, fitting, has, asked))]
    WhichRole {
        /// Who.
        signer: String,
        /// The roles of theirs that are asked for.
        fitting: Vec<String>,
        /// All of theirs.
        has: Vec<String>,
        /// The roles that are asked for.
        asked: Vec<String>,
    },
    /// The step asks for no approval.
    #[error("step `{step}` asks for no approval now")]
    NotAsked {
        /// The step.
        step: String,
    },
    /// What was signed is not what is asked now.
    #[error("what was signed for step `{step}` is {signed}, but {asked} is asked now; look at it again")]
    Other {
        /// The step.
        step: String,
        /// The digest that was signed.
        signed: String,
        /// The digest of what is asked.
        asked: String,
    },
}

fn which_role(signer: &str, fitting: &[String], has: &[String], asked: &[String]) -> String {
    if fitting.is_empty() {
        return format!("this takes one of {}, and `{signer}` has {}", list(asked), list(has));
    }
    format!("`{signer}` must say as what with --role: {}", list(fitting))
}

fn list(roles: &[String]) -> String {
    if roles.is_empty() {
        return "none".to_owned();
    }
    roles.iter().map(|role| format!("`{role}`")).collect::<Vec<_>>().join(", ")
}
