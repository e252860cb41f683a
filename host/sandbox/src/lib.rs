//! windlass-sandbox
