//! Runs runbooks: drives the engine's machine with a journal and a sandbox, on tokio.
//!
//! The library never prints, never reads the process environment by itself and never exits: who calls it hands all of
//! that over.

pub mod approvals;
mod asking;
pub mod audit_log;
pub mod catalog;
mod clock;
pub mod connect;
mod daemon;
mod directories;
mod driver;
mod error;
mod follow;
mod host;
mod inbox;
pub mod planning;
mod prepare;
mod preview;
mod project;
pub mod record;
mod recorded;
mod redact;
pub mod rehearsal;
pub mod report;
mod services;
mod session;
mod start;
mod steps;
mod take;
mod text_file;
pub mod watch;

pub use asking::{Fate, Message};
pub use clock::{Clock, parse_time, rfc3339};
pub use daemon::{Attendant, Daemon};
pub use directories::{Directories, NoHome};
pub use driver::{Ending, Signals};
pub use error::RunError;
pub use host::Host;
pub use prepare::{Variables, pinned_plugins};
pub use preview::{UndoOutcome, UndoRow, preview_rollback};
pub use project::Project;
pub use recorded::Recorded;
pub use redact::Redactor;
pub use start::{Created, Leftovers, NewRunbook, create, create_rollback};
pub use take::{fit_pinned, note, take_up};
