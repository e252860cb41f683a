//! windlass-runner
