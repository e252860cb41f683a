//! For every shipped pair, doing and then undoing leaves the world as it was: attempts that were cut off, several of them,
//! changed inputs and undos that were cut off included. And what someone else changed in between stays, until a person
//! decides.
//!
//! The built components are called as the engine calls them, with real grants and connections, on real folders, servers
//! and programs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod backup;
mod command;
mod files;
mod http;
mod postgres;
mod stage;
