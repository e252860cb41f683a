//! The few words of the SSH agent's protocol that signing takes (draft-ietf-sshm-ssh-agent).

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ssh_key::{PublicKey, Signature};

use super::ApprovalError;

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// Longer answers are no answers: OpenSSH's own limit.
const LONGEST: usize = 256 * 1024;
/// A person may have to touch a key or confirm.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to an agent.
pub(super) struct Agent(UnixStream);

impl Agent {
    pub(super) fn connect(socket: &Path) -> Result<Self, ApprovalError> {
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        Ok(Self(stream))
    }

    /// The keys that it holds, as far as they can be read here.
    pub(super) fn keys(&mut self) -> Result<Vec<PublicKey>, ApprovalError> {
        let answer = self.ask(&[REQUEST_IDENTITIES], IDENTITIES_ANSWER)?;
        let mut rest = answer.as_slice();
        let count = number(&mut rest).ok_or_else(garbled)?;
        let mut keys = Vec::new();
        for _ in 0..count {
            let blob = string(&mut rest).ok_or_else(garbled)?;
            string(&mut rest).ok_or_else(garbled)?;
            keys.extend(PublicKey::from_bytes(blob));
        }
        Ok(keys)
    }

    /// Signs `data` with that key.
    pub(super) fn sign(&mut self, key: &PublicKey, data: &[u8]) -> Result<Signature, ApprovalError> {
        let blob = key.to_bytes().map_err(failed)?;
        let mut question = vec![SIGN_REQUEST];
        for part in [blob.as_slice(), data] {
            let length = u32::try_from(part.len()).map_err(failed)?;
            question.extend(length.to_be_bytes());
            question.extend(part);
        }
        question.extend(0_u32.to_be_bytes());
        let answer = self.ask(&question, SIGN_RESPONSE)?;
        let mut rest = answer.as_slice();
        let signature = string(&mut rest).ok_or_else(garbled)?;
        Signature::try_from(signature).map_err(failed)
    }

    /// Sends a question and gives what is in an answer of that kind.
    fn ask(&mut self, question: &[u8], kind: u8) -> Result<Vec<u8>, ApprovalError> {
        let length = u32::try_from(question.len()).map_err(failed)?;
        self.0.write_all(&[&length.to_be_bytes(), question].concat()).map_err(failed)?;
        let mut length = [0; 4];
        self.0.read_exact(&mut length).map_err(failed)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length == 0 || length > LONGEST {
            return Err(garbled());
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).map_err(failed)?;
        match answer.split_first() {
            Some((first, rest)) if *first == kind => Ok(rest.to_vec()),
            _ => Err(ApprovalError::Agent { what: "it refused, or does not hold the key".to_owned() }),
        }
    }
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (first, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_be_bytes(*first))
}

fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(rest)?).ok()?;
    let (first, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(first)
}

fn garbled() -> ApprovalError {
    ApprovalError::Agent { what: "its answer can't be read".to_owned() }
}

fn failed(error: impl std::fmt::Display) -> ApprovalError {
    ApprovalError::Agent { what: error.to_string() }
}
