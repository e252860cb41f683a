//! Plugins of every kind against a real sandbox: what works, and how everything else ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod call;
mod effect;
mod guest;
mod hostile;
mod load;
