//! TOML to a checked runbook: spans, expressions, types. No I/O.

pub mod outcome;
pub mod wit;
