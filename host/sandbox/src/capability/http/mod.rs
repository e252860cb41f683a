//! `wasi:http/outgoing-handler`: the one way by which a guest reaches the web.
//!
//! `gate` sees a request first, `target` makes one canonical URL of what the guest gave, `policy` decides about it,
//! `address` about where its name leads, `client` connects and sends, `echo` watches what comes back, and `host` ties
//! them to the store and keeps the books. Redirects are not followed, proxies of the environment are not used, and
//! connections are not shared: each request has its own, so that nothing of one plugin reaches another.
//!
//! Invariant: the URL that was checked is the URL that is sent, to an address that was checked.

mod address;
mod client;
mod echo;
mod endpoint;
mod exchange;
mod gate;
mod headers;
mod host;
mod policy;
mod target;
mod tls;

#[cfg(test)]
mod tests;

pub(crate) use gate::link;
pub(crate) use host::HttpHooks;
