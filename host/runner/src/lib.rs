//! Runs runbooks: drives the engine's machine with a journal and a sandbox, on tokio.
//!
//! The library never prints, never reads the process environment by itself and never exits: who calls it hands all of
//! that over.

pub mod approvals;
pub mod audit_log;
pub mod catalog;
mod clock;
pub mod connect;
mod directories;
mod driver;
mod error;
pub mod planning;
mod project;
mod redact;
pub mod report;
mod runs;
mod services;
mod session;
mod text_file;
pub mod watch;

pub use clock::{Clock, rfc3339};
pub use directories::{Directories, NoHome};
pub use driver::Ending;
pub use error::RunError;
pub use project::Project;
pub use redact::Redactor;
pub use runs::{Host, Recorded, Said, pinned_plugins, resume, start};
