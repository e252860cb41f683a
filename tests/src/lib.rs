//! Rigs for tests across crates: the demo service, and guards that start real programs and stop them again.
//!
//! Owns how a test gets a server, a workspace and a `windlass` command. Knows nothing of the host's crates: the
//! suites under `tests/` use the command as an operator does. Whatever a rig starts ends when its guard drops.

pub mod api;
pub mod demo_service;
pub mod guests;
pub mod hostile;
pub mod postgres;
mod programs;
pub mod service;
pub mod staging;
pub mod windlass;
pub mod workspace;

pub use api::Api;
pub use demo_service::Service;
pub use postgres::Postgres;
pub use programs::{build, built_program, checkout, kill_points_program, target_folder, windlass_program};
pub use staging::Staging;
pub use windlass::{Finished, Record, Running, Windlass};
pub use workspace::Workspace;

/// 128 random bits in hex: a password that no other test has.
#[must_use]
#[expect(clippy::expect_used, reason = "a rig that fails fails its test")]
pub fn random_hex() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// Says that a test is not run on this machine, and why. Fails instead where `WINDLASS_TESTS_ALL` asks for all of
/// them, as CI does.
pub fn skip(why: &str) {
    assert!(std::env::var_os("WINDLASS_TESTS_ALL").is_none(), "{why}");
    // Past the capture of test output: a skipped test must not look like one that passed.
    drop(std::io::Write::write_all(&mut std::io::stderr(), format!("skipped: {why}\n").as_bytes()));
}
