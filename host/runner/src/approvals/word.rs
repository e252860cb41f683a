//! A person's word on an approval step: how it is signed, and how it is believed.

use windlass_engine::{ApprovalGiven, ApprovalRequest, ApprovalStatement, Decision, State, approval_text};
use windlass_journal::{RunId, Store};

use super::{ApprovalError, SignerFiles, Signers, SigningKey, signer_of};
use crate::error::RunError;
use crate::recorded::Recorded;

/// What a person wants to say.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// The path of the approval step.
    pub step: &'a str,
    /// Yes or no.
    pub decision: Decision,
    /// As what; none for the only role that is asked for and that the person has.
    pub role: Option<&'a str>,
    /// Why.
    pub reason: &'a str,
    /// What shows that it is so.
    pub evidence: Option<&'a str>,
}

/// What a step asks people to approve now, if it asks anything.
#[must_use]
pub fn open_request<'a>(state: &'a State, step: &str) -> Option<&'a ApprovalRequest> {
    state.approval(step).filter(|approval| approval.is_open())?.request.as_deref()
}

/// Signs a word on what a step of the run asks.
///
/// # Errors
/// [`ApprovalError::NotAsked`], [`ApprovalError::UnknownKey`], [`ApprovalError::Role`], and those of signing.
pub fn sign(
    store: &str,
    recorded: &Recorded,
    signers: &Signers,
    key: &SigningKey,
    said: &Said<'_>,
) -> Result<ApprovalGiven, ApprovalError> {
    let not_asked = || ApprovalError::NotAsked { step: said.step.to_owned() };
    let request = open_request(&recorded.state, said.step).ok_or_else(not_asked)?;
    let fingerprint = key.fingerprint();
    let signer = signers
        .by_fingerprint(&fingerprint)
        .ok_or_else(|| ApprovalError::UnknownKey { fingerprint: fingerprint.clone() })?;
    let role = role(said.role, &signer.name, signer.roles.iter(), request)?;
    let head = recorded.hashes.last().map(hex).unwrap_or_default();
    let text = approval_text(&ApprovalStatement {
        store,
        run: recorded.id.as_str(),
        step: said.step,
        head: &head,
        request,
        decision: said.decision,
        role: Some(&role),
        reason: said.reason,
        evidence: said.evidence,
    });
    Ok(ApprovalGiven {
        step: said.step.into(),
        request: request.digest.clone(),
        who: signer.name.clone(),
        key: fingerprint,
        roles: signer.roles.iter().cloned().collect(),
        role: Some(role),
        decision: said.decision,
        reason: said.reason.to_owned(),
        evidence: said.evidence.map(str::to_owned),
        head,
        signature: key.sign(&text)?,
    })
}

/// In which role a person speaks: the one that was named, or the only one of theirs that is asked for.
fn role<'a>(
    named: Option<&str>,
    signer: &str,
    has: impl Iterator<Item = &'a String>,
    request: &ApprovalRequest,
) -> Result<String, ApprovalError> {
    if let Some(role) = named {
        return Ok(role.to_owned());
    }
    let has: Vec<&String> = has.collect();
    let mut fitting: Vec<&String> = has.iter().copied().filter(|role| request.roles.contains(role)).collect();
    match (fitting.pop(), fitting.is_empty()) {
        (Some(role), true) => Ok(role.clone()),
        (last, _) => Err(ApprovalError::WhichRole {
            signer: signer.to_owned(),
            fitting: fitting.into_iter().chain(last).cloned().collect(),
            has: has.into_iter().cloned().collect(),
            asked: request.roles.clone(),
        }),
    }
}

/// Believes a word that came in a message: the text is made anew of what this run asks, and who it is of and in which
/// roles comes from the signers file alone. The inner error is what is told to whoever sent it.
pub(crate) async fn believe(
    store: &Store,
    files: &SignerFiles,
    run: &RunId,
    state: &State,
    given: &ApprovalGiven,
) -> Result<Result<ApprovalGiven, ApprovalError>, RunError> {
    let hashes = Recorded::read(store, run.clone()).await?.hashes;
    Ok(check(store.id(), run.as_str(), files, state, &hashes, given))
}

fn check(
    store: &str,
    run: &str,
    files: &SignerFiles,
    state: &State,
    hashes: &[[u8; 32]],
    given: &ApprovalGiven,
) -> Result<ApprovalGiven, ApprovalError> {
    let not_asked = || ApprovalError::NotAsked { step: given.step.to_string() };
    let request = open_request(state, &given.step).ok_or_else(not_asked)?;
    if request.digest != given.request {
        return Err(ApprovalError::Other {
            step: given.step.to_string(),
            signed: given.request.clone(),
            asked: request.digest.clone(),
        });
    }
    if !hashes.iter().any(|hash| hex(hash) == given.head) {
        return Err(ApprovalError::Signature {
            what: "it was given for another history of this run".to_owned(),
        });
    }
    let signers = files.read()?;
    let role = given.role.as_deref().unwrap_or_default();
    let text = approval_text(&ApprovalStatement {
        store,
        run,
        step: &given.step,
        head: &given.head,
        request,
        decision: given.decision,
        role: Some(role),
        reason: &given.reason,
        evidence: given.evidence.as_deref(),
    });
    let signer = signer_of(&signers, &text, &given.signature, Some(role))?;
    Ok(ApprovalGiven {
        who: signer.name.clone(),
        key: signer.fingerprint(),
        roles: signer.roles.iter().cloned().collect(),
        ..given.clone()
    })
}

fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
