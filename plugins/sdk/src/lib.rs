//! What a Windlass plugin written in Rust needs.
//!
//! A plugin is a component with a handful of exported functions and no ambient right: no sockets, no environment, no
//! clock but what the host hands it. This crate wraps the host's interfaces in ordinary Rust: an HTTP client, files in
//! granted folders, time, random bytes, log lines, failures and plans.
//!
//! Everything that touches the host stands behind a trait ([`http::Transport`], [`fs::Folders`]) or in a function of
//! one line, so that the logic of a plugin is tested natively with `cargo test`; [`testing`] has the stand-ins.
//! `std::time::Instant`, `SystemTime` and `getrandom` don't work on `wasm32-unknown-unknown`: use [`time`] and
//! [`random`].
//!
//! Begin with [`plugin!`].

pub mod bindings;
pub mod digest;
pub mod expect;
mod failure;
pub mod fs;
pub mod http;
mod log;
mod macros;
mod panic;
mod plan;
pub mod random;
pub mod step;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod time;

pub use bindings::windlass::plugin::{artifacts, connections, outcome, postgres, process, values};
pub use outcome::{Attempt, Change, Failure, Plan, Status};
pub use plan::{first_memo, last_output};
pub use serde_json::{self, Value, json};
pub use wit_bindgen;

/// For the code that [`plugin!`] and the log macros write; not for plugins.
#[doc(hidden)]
pub mod __private {
    pub use crate::log::log;
    pub use crate::panic::install_hook;
}
