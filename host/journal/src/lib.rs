//! The event log: what a run did, in order, sealed, and durable before anybody is told.
//!
//! Owns: the store file and its layout, the envelope of an event, the keys, who may append to a run, and the
//! two plain stores beside it (artifacts and log lines). Refuses to know: what an event means. An event is a
//! kind, a time, a few words to find it by, and bytes. Keeps: an append that was answered with `Ok` survives a
//! crash and a power cut; nothing is ever appended by a process that no longer owns the run; an event that was
//! changed on disk is named when it is read.
//!
//! The byte layout of an event is in [`envelope`]; that of the keys in [`key`]; what is signed in `attest`.

mod anchor;
pub mod artifacts;
mod attest;
mod clock;
mod engine_key;
pub mod envelope;
mod error;
mod event;
mod files;
mod group;
mod id;
mod inbox;
pub mod key;
mod key_file;
#[cfg(feature = "kill-points")]
pub mod kill_points;
mod lock;
pub mod logs;
mod queued;
mod read;
mod reader;
mod report;
mod run_writer;
mod schema;
mod script;
mod seal;
mod store;
mod verify;
mod walk;
mod writer;

pub use anchor::{Anchor, Version};
pub use error::Error;
pub use event::{Binding, NewEvent, NewRun, RunRow, StoredEvent};
pub use group::GroupHolder;
pub use id::{BlobId, RunId};
pub use inbox::{Message, NewMessage};
pub use lock::Owner;
pub use report::{Broken, Fault, Gap, Outcome, RunReport, State, VerifyReport, Voucher};
pub use run_writer::RunWriter;
pub use store::{Claim, Store, StoreOptions};
pub use writer::WriterStats;
