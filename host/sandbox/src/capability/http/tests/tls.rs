//! TLS: whom the client trusts, what it speaks, and that a failed handshake sends nothing.

use std::convert::Infallible;
use std::io::Write as _;
use std::path::PathBuf;

use http::{Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A server with a certificate of its own for `name`, and the file that holds it.
struct Secure {
    port: u16,
    certificate: tempfile::NamedTempFile,
}

impl Secure {
    /// Speaks what it is told to offer; answers with the version, the host and the path it saw.
    async fn start(name: &str, offers: &[&[u8]]) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let mut certificate = tempfile::NamedTempFile::new().unwrap();
        certificate.write_all(made.cert.pem().as_bytes()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = offers.iter().map(|offer| offer.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let io = TokioIo::new(stream);
                    let served = if is_h2 {
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(io, service_fn(tell))
                            .await
                    } else {
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(io, service_fn(tell))
                            .await
                    };
                    drop(served);
                });
            }
        });
        Self { port, certificate }
    }

    fn origin(&self, host: &str) -> String {
        format!("https://{host}:{}", self.port)
    }

    fn ca(&self) -> Option<PathBuf> {
        Some(self.certificate.path().to_owned())
    }
}

async fn tell(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let version = if request.version() == Version::HTTP_2 { "h2" } else { "h1" };
    let authority = request.uri().authority().map(ToString::to_string);
    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
    let host = authority.or(host).unwrap_or_default();
    let body = format!("{version} {} {} {host}", request.method(), request.uri().path_and_query().unwrap());
    Ok(Response::new(Full::new(Bytes::from(body))))
}

fn guest(mode: Mode, origin: &str, ca: Option<PathBuf>) -> Guest {
    let connection = Connection::Http {
        origin: origin.to_owned(),
        paths: Vec::new(),
        credential: None,
        addresses: vec!["127.0.0.0/8".to_owned()],
        ca,
    };
    let scene = scene(mode, &[&format!("http * {origin}/a/**?q=*")]).bind("api", connection);
    let names = Names(HashMap::from([("api.test", vec!["127.0.0.1"]), ("other.test", vec!["127.0.0.1"])]));
    Guest::with(&scene, names, HttpLimits::default())
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_to_a_server_that_the_connection_trusts() {
    for (offers, version) in
        [(&[b"h2".as_slice(), b"http/1.1"][..], "h2"), (&[b"http/1.1"], "h1"), (&[], "h1")]
    {
        let server = Secure::start("api.test", offers).await;
        let origin = server.origin("api.test");
        let mut guest = guest(Mode::Write, &origin, server.ca());
        let answer =
            guest.send(with_body("POST", &format!("{origin}/a/b%20c?q=1"), &[], "hello")).await.unwrap();
        let expected = format!("{version} POST /a/b%20c?q=1 api.test:{}", server.port);
        assert_eq!(answer.body.unwrap(), expected);
        assert!(guest.call.sent());
    }
}

#[tokio::test]
async fn an_untrusted_or_wrong_certificate_is_told_and_nothing_is_sent() {
    let server = Secure::start("api.test", &[]).await;
    for (host, ca) in [("api.test", None), ("other.test", server.ca()), ("127.0.0.1", server.ca())] {
        let origin = server.origin(host);
        let mut guest = guest(Mode::Write, &origin, ca);
        let refused = guest.send(with_body("POST", &format!("{origin}/a/b"), &[], "hello")).await;
        assert!(matches!(refused, Err(Error::TlsCertificateError)), "{host}: {:?}", refused.err());
        assert!(!guest.call.sent());
        assert_eq!(guest.audit().len(), 1);
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    });
    let mut guest = guest(Mode::Write, &origin, None);
    let refused = guest.send(with_body("POST", &format!("{origin}/a/b"), &[], "hello")).await;
    assert!(matches!(refused, Err(Error::TlsProtocolError)), "{:?}", refused.err());
    assert!(!guest.call.sent());
}

#[tokio::test]
async fn a_ca_file_without_certificates_is_a_configuration_error() {
    let server = Secure::start("api.test", &[]).await;
    let origin = server.origin("api.test");
    let empty = tempfile::NamedTempFile::new().unwrap();
    for file in [empty.path().to_owned(), PathBuf::from("/nonexistent/ca.pem")] {
        let mut guest = guest(Mode::Read, &origin, Some(file));
        let refused = guest.get(&format!("{origin}/a/b")).await;
        assert!(matches!(refused, Err(Error::ConfigurationError)), "{:?}", refused.err());
        assert!(guest.denial().contains("the `ca` file"), "{}", guest.denial());
    }
}
