//! PostgreSQL: migrations, queries and assertions.
