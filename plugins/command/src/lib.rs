//! Runs granted programs, without a shell.
