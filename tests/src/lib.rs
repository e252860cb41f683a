//! Rigs for tests across crates: the demo service, and guards that start real programs and stop them again.
//!
//! Owns how a test gets a server, a workspace and a `windlass` command. Knows nothing of the host's crates: the
//! suites under `tests/` use the command as an operator does. Whatever a rig starts ends when its guard drops.

pub mod service;
