//! Runs plugins: loads components, calls their actions by reflection, and lets through only what was granted.
//!
//! It refuses to know of journals, runs and the command line: what belongs to a run reaches it as [`RunServices`].
//! Invariants: guest data is untrusted, policy decides before any effect, and each thing a guest asks of the host leaves
//! one audit record.

mod audit;
mod bindings;
mod cache;
mod call;
mod capability;
mod compile;
mod connection;
mod engine;
mod error;
pub mod grant;
mod inspect;
mod limits;
mod plugin;
mod secret;
mod services;
mod state;
mod text;
mod value;
mod wasi;

pub use audit::AuditRecord;
pub use call::{Call, CallReport, Phase, Returned};
pub use capability::postgres::postgres_identity;
pub use capability::process::{launcher_main, process_group_is_gone};
pub use compile::{Compiler, compile_worker_main};
pub use connection::{Bindings, Bound, Connection, Credential, EnvValue};
pub use error::{CallError, Denial, HostFault, LoadError};
pub use grant::Grants;
pub use inspect::{Import, ImportGroup, Inspection, inspect};
pub use limits::{LimitHit, LimitKind, Limits};
pub use plugin::{Launcher, Plugin, Sandbox, SandboxOptions};
pub use secret::Secret;
pub use services::{ArtifactContent, KeptArtifact, LogLevel, ProcessIdentity, RunServices, ServiceError};
pub use state::{Mode, Reads, StepContext};
pub use text::plain as plain_text;
