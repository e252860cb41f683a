//! Dumps, checks and restores PostgreSQL databases with the programs that come with it.
