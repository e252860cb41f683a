//! Which database a connection leads to, so that a run notices when it is another one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::postgres::PgArguments;

use super::client::{Room, Session};
use super::endpoint::Endpoint;
use crate::{Connection, HostFault, Secret};

/// How long the look may take, connecting included.
const LOOK: Duration = Duration::from_secs(5);

/// The identity of a Postgres connection: `system_identifier`, which `initdb` makes once for a cluster, and the name of
/// the `database`; a list of both where the writing URL and the reading one lead to different ones.
///
/// # Errors
/// Where the server can't be reached or does not tell, or where the connection is of another kind.
pub async fn postgres_identity(connection: &Connection) -> Result<Value, HostFault> {
    let Connection::Postgres { url, read_url, ca } = connection else {
        return Err(HostFault::new("telling which database it is", "it is no Postgres connection"));
    };
    let mut found: Vec<Value> = Vec::new();
    for url in std::iter::once(url).chain(read_url) {
        let identity = identity_at(url, ca.as_ref()).await?;
        if !found.contains(&identity) {
            found.push(identity);
        }
    }
    match found.pop() {
        Some(only) if found.is_empty() => Ok(only),
        last => Ok(found.into_iter().chain(last).collect()),
    }
}

async fn identity_at(url: &Secret, ca: Option<&PathBuf>) -> Result<Value, HostFault> {
    let fault = |error: &dyn std::fmt::Display| HostFault::new("telling which database it is", error);
    let endpoint = Endpoint::parse(url, ca.cloned()).map_err(|error| fault(&error))?;
    let mut session = Session::open(&endpoint, Instant::now() + LOOK).await.map_err(|error| fault(&error))?;
    let sql = "SELECT system_identifier::text, current_database()::text AS database FROM pg_control_system()";
    let found = session.rows(sql, PgArguments::default(), Room { rows: 1, bytes: 10_000 }).await;
    session.close().await;
    let found = found.map_err(|error| fault(&error))?;
    let row = found.rows.first().map(|row| serde_json::from_str(row));
    match row {
        Some(Ok(identity)) => Ok(identity),
        _ => Err(fault(&"the server gave no answer")),
    }
}
