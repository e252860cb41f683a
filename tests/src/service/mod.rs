//! The audit service that the demo and the tests talk to: the API of the staging guide, and the ways in which a
//! service can fail.
//!
//! Owns one listening socket, state in memory, and a log of requests. Knows nothing of Windlass. Keeps this
//! invariant: a request is in the log, with whether it had an effect, before one byte of its answer is sent, so that
//! a test counts effects without trusting the one who caused them.

mod answer;
mod asked;
mod events;
mod faults;
pub mod log;
mod objects;
mod routes;
mod state;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use self::asked::Asked;
use self::log::{Entry, RequestLog};
use self::state::State;

/// How the service is started.
pub struct Options {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Where each request is appended as one line of JSON.
    pub log: Option<PathBuf>,
    /// The bearer token that `/api/` asks for.
    pub token: String,
}

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The port is taken, or may not be used.
    #[error("can't listen on 127.0.0.1:{port}: {source}")]
    Listen {
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The log file can't be written.
    #[error("can't open the log {}: {source}", path.display())]
    Log {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A service that listens and does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) token: String,
    pub(crate) state: State,
    pub(crate) log: RequestLog,
}

impl Server {
    /// Takes the port and opens the log. Requests queue from here on, and are answered once `run` is called.
    pub async fn bind(options: Options) -> Result<Self, ServiceError> {
        let port = options.port;
        let listen = |source| ServiceError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let log = RequestLog::open(options.log)?;
        let shared = Arc::new(Shared { token: options.token, state: State::default(), log });
        Ok(Self { listener, address, shared })
    }

    /// Scheme, host and port, such as `http://127.0.0.1:4711`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers until the process ends.
    pub async fn run(self) -> Infallible {
        loop {
            // A connection that is gone before it is accepted is no reason to stop.
            let Ok((stream, _)) = self.listener.accept().await else { continue };
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                // A broken connection is the client's business, or a fault that was asked for.
                drop(converse(stream, &shared).await);
            });
        }
    }
}

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection was dropped on purpose")]
struct Dropped;

/// Answers the one request of a connection.
///
/// Connections are not kept alive: a fault then hits one request only, and a test sees each request as a connection
/// of its own.
async fn converse(mut stream: TcpStream, shared: &Arc<Shared>) -> Result<(), hyper::Error> {
    if faults::asks_for_garbage(&stream).await {
        shared.log.append(&Entry::of_garbage());
        drop(stream.write_all(faults::GARBAGE).await);
        return Ok(());
    }
    let answer = service_fn(|request| async move {
        let asked = match Asked::read(request).await {
            Ok(asked) => asked,
            Err(refusal) => return Ok(refusal.into_response()),
        };
        let answer = routes::answer(shared, &asked);
        shared.log.append(&Entry::of(&asked, &answer));
        answer.deliver().await.ok_or(Dropped)
    });
    http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), answer).await
}
