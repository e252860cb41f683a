//! The connection by which a process reads its store.
//!
//! Owns it, and opens it when it is first needed: a run that just goes forward needs none.

use std::path::PathBuf;

use sqlx::sqlite::SqliteConnection;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::error::Error;
use crate::schema;

pub(crate) struct Reader {
    path: PathBuf,
    connection: OnceCell<Mutex<SqliteConnection>>,
}

impl Reader {
    pub(crate) fn new(path: PathBuf, connection: Option<SqliteConnection>) -> Self {
        Self { path, connection: OnceCell::new_with(connection.map(Mutex::new)) }
    }

    pub(crate) async fn lock(&self) -> Result<MutexGuard<'_, SqliteConnection>, Error> {
        let connection = self
            .connection
            .get_or_try_init(async || Ok::<_, Error>(Mutex::new(schema::connect_to_read(&self.path).await?)))
            .await?;
        Ok(connection.lock().await)
    }
}
