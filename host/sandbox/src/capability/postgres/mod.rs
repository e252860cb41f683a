//! PostgreSQL for guests. [`lexer`] and [`policy`] decide what a statement needs, [`endpoint`] knows where a database is,
//! [`client`] speaks to it, [`values`] maps values, [`host`] ties them to a call.

pub(crate) mod client;
pub(crate) mod endpoint;
mod host;
mod identity;
mod lexer;
mod policy;
mod values;

pub use identity::postgres_identity;

#[cfg(test)]
mod tests;
