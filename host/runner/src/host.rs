//! What every run of a process shares.

use std::path::PathBuf;
use std::sync::Arc;

use windlass_journal::Store;
use windlass_sandbox::Sandbox;

use crate::approvals::SignerFiles;
use crate::inbox::Mail;
use crate::prepare::{Shelf, Variables};
use crate::steps::Steps;

/// The surroundings of runs. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    /// Where runs are kept.
    pub store: Arc<Store>,
    /// What runs plugins.
    pub sandbox: Arc<Sandbox>,
    /// Looks into the environment of this process, for secrets.
    pub variable: Variables,
    /// Who is at the keyboard.
    pub who: String,
    /// Who may approve.
    pub(crate) signers: SignerFiles,
    pub(crate) mail: Mail,
    pub(crate) steps: Steps,
    pub(crate) shelf: Arc<Shelf>,
}

impl Host {
    /// The surroundings of the runs of a store. `signers` are the files that say who may approve: the system's, which
    /// wins, and the user's own. Needs a tokio runtime, on which the inboxes are then looked at.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        sandbox: Sandbox,
        variable: Variables,
        who: String,
        signers: (PathBuf, PathBuf),
    ) -> Self {
        Self {
            mail: Mail::of(&store),
            steps: Steps::of_this_machine(),
            store,
            sandbox: Arc::new(sandbox),
            variable,
            who,
            signers: SignerFiles::new(signers),
            shelf: Arc::default(),
        }
    }
}
