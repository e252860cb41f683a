//! TOML to a checked runbook: spans, expressions, types. No I/O.

pub mod wit;
