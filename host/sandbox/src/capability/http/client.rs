//! Connects to a checked target and sends one request over that connection.
//!
//! Resolves names itself and connects to nothing but addresses that were admitted; the name stays for TLS and the
//! `host` header. Knows nothing of grants, modes or guests.
//!
//! Invariant: no byte of a request leaves before the connection stands, TLS included.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};
use wasmtime_wasi_http::Error;

use super::address::{Network, Resolver, SystemResolver, admit};
use super::target::Target;
use super::tls::Trust;
use crate::grant::{Host, Scheme};

/// What is sent.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, Error>;

/// How long and how large an exchange may be.
#[derive(Debug, Clone)]
pub(super) struct HttpLimits {
    /// Bytes of a body, in either direction. A guest has 64 MiB of memory and holds a body more than once.
    pub(super) body: u64,
    /// Bytes of an answer's headers.
    pub(super) headers: usize,
    /// From the name's look-up until TLS stands.
    pub(super) connect: Duration,
    /// Between two pieces of an answer.
    pub(super) between_bytes: Duration,
    /// From the beginning to the answer's last byte. The call's own deadline is usually nearer.
    pub(super) total: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            body: 16 << 20,
            headers: 64 << 10,
            connect: Duration::from_secs(10),
            between_bytes: Duration::from_secs(60),
            total: Duration::from_secs(300),
        }
    }
}

/// Sends requests. Holds no connection; clones share only the certificates of the system.
#[derive(Clone)]
pub(super) struct HttpClient(Arc<Inner>);

struct Inner {
    resolver: Box<dyn Resolver>,
    trust: Trust,
    limits: HttpLimits,
}

/// Why there is no connection.
pub(super) enum ConnectError {
    /// The operator's rules stand against it.
    Denied {
        /// For the operator.
        reason: String,
        /// For the guest.
        error: Error,
    },
    /// It did not work.
    Failed(Error),
}

impl From<Error> for ConnectError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Where to connect, and how.
pub(super) struct Route {
    pub(super) target: Target,
    pub(super) networks: Vec<Network>,
    pub(super) ca: Vec<PathBuf>,
}

impl HttpClient {
    /// The one client of the process. What its clones share is the system's certificates and nothing of any plugin.
    pub(super) fn shared() -> Self {
        static SHARED: LazyLock<HttpClient> =
            LazyLock::new(|| HttpClient::with(SystemResolver, HttpLimits::default()));
        SHARED.clone()
    }

    pub(super) fn with(resolver: impl Resolver + 'static, limits: HttpLimits) -> Self {
        Self(Arc::new(Inner { resolver: Box::new(resolver), trust: Trust::default(), limits }))
    }

    pub(super) fn limits(&self) -> &HttpLimits {
        &self.0.limits
    }

    /// A connection for one request.
    pub(super) async fn connect(&self, route: &Route, until: Instant) -> Result<Line, ConnectError> {
        let addresses = self.addresses(route, until).await?;
        let stream = dial(&addresses, route.target.port, until).await?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "small packets may wait");
        }
        match route.target.scheme {
            Scheme::Http => Ok(self.http1(stream, until).await?),
            Scheme::Https => self.secure(stream, route, until).await,
        }
    }

    /// The admitted addresses of the target, at least one.
    async fn addresses(&self, route: &Route, until: Instant) -> Result<Vec<IpAddr>, ConnectError> {
        let candidates = match &route.target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => match timeout_at(until, self.0.resolver.resolve(name)).await {
                Err(_) => return Err(Error::DnsTimeout.into()),
                Ok(Err(_)) => Vec::new(),
                Ok(Ok(found)) => found,
            },
        };
        let mut admitted = Vec::new();
        let mut refusal = None;
        for address in candidates {
            match admit(address, &route.networks) {
                Ok(address) => admitted.push(address),
                Err(refused) => _ = refusal.get_or_insert(refused),
            }
        }
        match (admitted.is_empty(), refusal) {
            (false, _) => Ok(admitted),
            (true, Some(refusal)) => Err(ConnectError::Denied {
                reason: refusal.to_string(),
                error: Error::DestinationIpProhibited,
            }),
            (true, None) => {
                Err(Error::DnsError { rcode: Some("the name has no address".to_owned()), info_code: None }
                    .into())
            }
        }
    }

    async fn secure(&self, stream: TcpStream, route: &Route, until: Instant) -> Result<Line, ConnectError> {
        let (inner, files) = (Arc::clone(&self.0), route.ca.clone());
        let config = tokio::task::spawn_blocking(move || inner.trust.config(&files))
            .await
            .map_err(|_| Error::ConfigurationError)?
            .map_err(|reason| ConnectError::Denied { reason, error: Error::ConfigurationError })?;
        let name = match &route.target.host {
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Error::TlsProtocolError)?,
            Host::Address(address) => ServerName::from(*address),
        };
        let stream = timeout_at(until, TlsConnector::from(config).connect(name, stream))
            .await
            .map_err(|_| Error::ConnectionTimeout)?
            .map_err(|error| tls_error(&error))?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Ok(self.http2(stream, until).await?)
        } else {
            Ok(self.http1(stream, until).await?)
        }
    }

    async fn http1<S>(&self, stream: S, until: Instant) -> Result<Line, Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake =
            http1::Builder::new().max_header_size(self.0.limits.headers).handshake(TokioIo::new(stream));
        let (sender, connection) =
            timeout_at(until, handshake).await.map_err(|_| Error::ConnectionTimeout)??;
        let driver = spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        Ok(Line { sender: Sender::Http1(sender), driver })
    }

    async fn http2<S>(&self, stream: S, until: Instant) -> Result<Line, Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let headers = u32::try_from(self.0.limits.headers).unwrap_or(u32::MAX);
        let handshake = http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(headers)
            .handshake(TokioIo::new(stream));
        let (sender, connection) =
            timeout_at(until, handshake).await.map_err(|_| Error::ConnectionTimeout)??;
        let driver = spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        Ok(Line { sender: Sender::Http2(sender), driver })
    }
}

async fn dial(addresses: &[IpAddr], port: u16, until: Instant) -> Result<TcpStream, Error> {
    let mut failed = Error::DestinationUnavailable;
    for (tried, address) in addresses.iter().enumerate() {
        // Those that are left get an equal part of the time, so that one dead address doesn't use up all of it.
        let left = u32::try_from(addresses.len() - tried).unwrap_or(1);
        let share = until.saturating_duration_since(Instant::now()) / left.max(1);
        match timeout_at(Instant::now() + share, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = connect_error(&error),
            Err(_) => failed = Error::ConnectionTimeout,
        }
    }
    Err(failed)
}

fn connect_error(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Error::ConnectionTerminated,
        _ => Error::DestinationUnavailable,
    }
}

fn tls_error(error: &io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Error::TlsCertificateError
        }
        Some(rustls::Error::AlertReceived(alert)) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: Some(format!("{alert:?}")),
        },
        Some(_) => Error::TlsProtocolError,
        None => Error::ConnectionTerminated,
    }
}

/// A connection that stands, for one request.
pub(super) struct Line {
    sender: Sender,
    driver: AbortOnDropJoinHandle<()>,
}

enum Sender {
    Http1(http1::SendRequest<Outgoing>),
    Http2(http2::SendRequest<Outgoing>),
}

impl Line {
    /// Sends the request, whose URI is not looked at: the target is what was checked. The second part of what comes
    /// back keeps the connection open and must live as long as the body is read.
    pub(super) async fn send(
        self,
        target: &Target,
        mut request: Request<Outgoing>,
    ) -> Result<(Response<Incoming>, AbortOnDropJoinHandle<()>), Error> {
        let response = match self.sender {
            Sender::Http1(mut sender) => {
                *request.uri_mut() = uri(&target.path_and_query())?;
                let host =
                    HeaderValue::from_str(&target.authority()).map_err(|_| Error::HttpRequestUriInvalid)?;
                request.headers_mut().insert(header::HOST, host);
                sender.send_request(request).await
            }
            Sender::Http2(mut sender) => {
                *request.uri_mut() = uri(&target.request_url())?;
                sender.send_request(request).await
            }
        };
        Ok((response.map_err(|error| answer_error(&error, Error::ConnectionTerminated))?, self.driver))
    }
}

fn uri(text: &str) -> Result<Uri, Error> {
    let uri: Uri = text.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    // The last look at what is about to be sent.
    if uri.path_and_query().is_some_and(|sent| text.ends_with(sent.as_str())) {
        Ok(uri)
    } else {
        Err(Error::HttpRequestUriInvalid)
    }
}

/// What a guest is told of a failure after the connection stood; `cut` where the other side simply went away.
pub(super) fn answer_error(error: &hyper::Error, cut: Error) -> Error {
    if let Some(own) = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>()) {
        return match own {
            Error::HttpRequestBodySize(size) => Error::HttpRequestBodySize(*size),
            Error::HttpRequestTrailerSectionSize(size) => Error::HttpRequestTrailerSectionSize(*size),
            _ => Error::InternalError(Some("the request's body ended in an error".to_owned())),
        };
    }
    if error.is_parse_too_large() {
        Error::HttpResponseHeaderSectionSize(None)
    } else if error.is_timeout() {
        Error::HttpResponseTimeout
    } else if error.is_parse() {
        Error::HttpProtocolError
    } else {
        cut
    }
}
