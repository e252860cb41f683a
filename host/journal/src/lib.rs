//! The event log: what a run did, in order, sealed, and durable before anybody is told.
//!
//! Owns: the store file and its layout, the envelope of an event, the keys, who may append to a run, and the
//! two plain stores beside it (artifacts and log lines). Refuses to know: what an event means. An event is a
//! kind, a time, a few words to find it by, and bytes. Keeps: an append that was answered with `Ok` survives a
//! crash and a power cut; nothing is ever appended by a process that no longer owns the run; an event that was
//! changed on disk is named when it is read.
//!
//! The byte layout of an event is in [`envelope`]; that of the keys in [`key`].

pub mod artifacts;
pub mod envelope;
mod error;
mod event;
mod files;
mod id;
pub mod key;
mod lock;
pub mod logs;
mod read;
mod run_writer;
mod schema;
mod seal;
mod store;
mod writer;

pub use error::Error;
pub use event::{Binding, NewEvent, NewRun, RunRow, StoredEvent};
pub use id::{BlobId, RunId};
pub use lock::Owner;
pub use read::ChainReport;
pub use run_writer::RunWriter;
pub use store::{Store, StoreOptions};
pub use writer::WriterStats;
