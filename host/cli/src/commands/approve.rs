//! `windlass approve` and `windlass reject`: shows what is asked, and signs the answer with the person's SSH key.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use windlass_engine::{ApprovalRequest, Decision, Request};
use windlass_runner::approvals::{
    ApprovalError, Said, Signers, SigningKey, keys_at_hand, open_request, sign,
};
use windlass_runner::{Recorded, rfc3339};
use windlass_sandbox::plain_text;

use super::verbs::{Alone, ask_of};
use crate::app::App;
use crate::args::Word;
use crate::error::CliError;
use crate::exit::Exit;
use crate::terminal;

/// The longest evidence; it is part of what is signed and stays in the record.
const EVIDENCE_BYTES: usize = 64 * 1024;

pub(crate) async fn run(app: &App, asked: &Word, decision: Decision) -> Result<Exit, CliError> {
    let store = app.existing_store().await?;
    let id = app.run_id(&store, &asked.name.run).await?;
    let recorded = Recorded::read(&store, id.clone()).await?;
    let usage = |message: String| CliError::new(Exit::Usage, message);
    let request = open_request(&recorded.state, &asked.step)
        .ok_or_else(|| usage(format!("step `{}` of run {id} asks for no approval now", asked.step)))?;
    let signers = app.signers().map_err(|error| refused(&error))?;
    let evidence = asked.evidence.as_deref().map(evidence).transpose()?;
    let key = key(asked.key.as_deref(), &signers)?;
    app.printer.talk(&shown(&asked.step, request));
    let word = match decision {
        Decision::Approve => "approve",
        Decision::Reject => "reject",
    };
    if !asked.yes && terminal::is_there() && !terminal::yes(&format!("{word} this?")).unwrap_or(false) {
        return Err(usage("nothing was signed".to_owned()));
    }
    let said = Said {
        step: &asked.step,
        decision,
        role: asked.role.as_deref(),
        reason: &asked.reason,
        evidence: evidence.as_deref(),
    };
    let given = sign(store.id(), &recorded, &signers, &key, &said).map_err(|error| refused(&error))?;
    app.printer.talk(&format!(
        "signed as {} ({}) with {}",
        given.who,
        given.role.as_deref().unwrap_or_default(),
        given.key
    ));
    ask_of(app, store, recorded, vec![Request::Approve { given: Box::new(given) }], Alone::Note, false).await
}

/// What is asked, as a person reads it before signing.
fn shown(step: &str, request: &ApprovalRequest) -> String {
    let mut text = format!("{step}: {}\n", plain_text(&request.text));
    // Writing to a string can't fail.
    let _ = writeln!(text, "  by {}", request.roles.join(", "));
    if let Some(at) = request.expires_at {
        let _ = writeln!(text, "  until {}", rfc3339(at));
    }
    for covered in &request.covers {
        let item = covered.item.as_deref().map(|item| format!("[{}]", plain_text(item))).unwrap_or_default();
        let _ = writeln!(text, "  covers {}{item} {}", covered.step, covered.action);
        match (&covered.changes, &covered.deferred) {
            (_, Some(why)) => {
                let _ = writeln!(text, "    not known yet: {}", plain_text(why));
            }
            (Some(changes), None) if changes.is_empty() => {
                let _ = writeln!(text, "    in place already");
            }
            (changes, None) => {
                for change in changes.iter().flatten() {
                    let to = change.to.as_deref().map(|to| format!(" to {to}")).unwrap_or_default();
                    let line = plain_text(&format!("{} {}{to}", change.kind, change.target));
                    let _ = writeln!(text, "    {line}");
                }
            }
        }
    }
    let _ = write!(text, "  request {}", request.digest);
    text
}

/// The key that was named, or the only one at hand.
fn key(named: Option<&Path>, signers: &Signers) -> Result<SigningKey, CliError> {
    let agent = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let phrase = || terminal::passphrase("passphrase of the key");
    if let Some(path) = named {
        return SigningKey::open(path, agent.as_deref(), phrase).map_err(|error| refused(&error));
    }
    let mut keys = keys_at_hand(signers, agent.as_deref(), home.as_deref());
    let names: Vec<_> = keys.iter().map(|key| key.signer.clone()).collect();
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => key.take(phrase).map_err(|error| refused(&error)),
        (Some(_), false) => Err(CliError::new(
            Exit::Usage,
            format!("there are several keys that may sign, of {}", names.join(", ")),
        )
        .hint("name one with --key")),
        (None, _) => {
            Err(CliError::new(Exit::Usage, "no key of the signers file is in the agent or in ~/.ssh")
                .hint("name yours with --key, and see that the signers file has it"))
        }
    }
}

/// A text, or the content of a file that `@` stands before.
fn evidence(given: &str) -> Result<String, CliError> {
    let text = match given.strip_prefix('@') {
        None => given.to_owned(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| CliError::new(Exit::Usage, format!("--evidence {given}: {error}")))?,
    };
    if text.len() > EVIDENCE_BYTES {
        let message =
            format!("the evidence is longer than {} KiB; name where it is kept", EVIDENCE_BYTES / 1024);
        return Err(CliError::new(Exit::Usage, message));
    }
    Ok(text)
}

fn refused(error: &ApprovalError) -> CliError {
    let told = CliError::from_error(Exit::Usage, error);
    match error {
        ApprovalError::NoSigners { .. } => {
            told.hint("a [[signer]] has a name, a key (a line of an OpenSSH .pub file) and roles")
        }
        ApprovalError::UnknownKey { .. } => told.hint("`ssh-keygen -lf FILE` shows the fingerprint of a key"),
        _ => told,
    }
}
