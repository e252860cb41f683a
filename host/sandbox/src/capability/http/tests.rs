//! The rules for HTTP, attacked: what is said of denied requests, and what a server on loopback sees and can do.

mod denials;
mod server;
mod tls;
mod wire;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks as _};

use super::HttpHooks;
use super::address::Resolver;
use super::client::{HttpClient, HttpLimits};
use crate::capability::testing::Scene;
use crate::state::CallContext;
use crate::{AuditRecord, Connection, Credential, LimitHit, Mode, Reads, Secret};

const TOKEN: &str = "tok-3f9a8c71-secret";

/// Knows the names it is told.
#[derive(Default)]
struct Names(HashMap<&'static str, Vec<&'static str>>);

impl Resolver for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let found =
            self.0.get(name).map(|addresses| addresses.iter().map(|text| text.parse().unwrap()).collect());
        Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name")) })
    }
}

/// A connection on loopback.
struct Api {
    origin: String,
    paths: Vec<String>,
    credential: Option<Credential>,
    addresses: Vec<String>,
}

impl Api {
    fn at(origin: impl Into<String>) -> Self {
        Self {
            origin: origin.into(),
            paths: Vec::new(),
            credential: None,
            addresses: vec!["127.0.0.0/8".to_owned()],
        }
    }

    fn token(mut self) -> Self {
        self.credential = Some(Credential::Bearer(Secret::new(TOKEN.to_owned())));
        self
    }

    fn on(mut self, path: &str) -> Self {
        self.paths.push(path.to_owned());
        self
    }

    fn connection(self) -> Connection {
        Connection::Http {
            origin: self.origin,
            paths: self.paths,
            credential: self.credential,
            addresses: self.addresses,
            ca: None,
        }
    }
}

/// One call of a plugin that sends requests.
struct Guest {
    call: Arc<CallContext>,
    hooks: HttpHooks,
    options: Option<RequestOptions>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Result<String, Error>,
}

impl Guest {
    fn new(scene: &Scene) -> Self {
        Self::with(scene, Names::default(), HttpLimits::default())
    }

    fn with(scene: &Scene, names: Names, limits: HttpLimits) -> Self {
        let call = scene.call();
        let hooks = HttpHooks::with(Arc::clone(&call), HttpClient::with(names, limits));
        Self { call, hooks, options: None }
    }

    async fn send(&mut self, request: Request<WasiBody>) -> Result<Answer, Error> {
        let sent = self.hooks.send_request(request, self.options, Box::new(async { Ok(()) }));
        let (response, _io) = Pin::from(sent).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map(|body| String::from_utf8(body.to_bytes().to_vec()).unwrap());
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    async fn get(&mut self, url: &str) -> Result<Answer, Error> {
        self.send(request("GET", url, &[])).await
    }

    fn denial(&self) -> String {
        self.call.take_denial().map_or_else(|| "allowed".to_owned(), |denial| denial.to_string())
    }

    fn audit(&self) -> Vec<AuditRecord> {
        self.call.take_audit()
    }

    fn reads(&self) -> Reads {
        self.call.reads()
    }

    fn limit(&self) -> Option<LimitHit> {
        self.call.take_limit()
    }
}

fn head(method: &str, url: &str, headers: &[(&str, &str)]) -> http::request::Builder {
    let builder = Request::builder().method(method).uri(url);
    headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value))
}

fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> Request<WasiBody> {
    let empty = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    head(method, url, headers).body(empty).unwrap()
}

fn with_body(method: &str, url: &str, headers: &[(&str, &str)], body: &'static str) -> Request<WasiBody> {
    let full = Full::new(Bytes::from_static(body.as_bytes())).map_err(|never| match never {}).boxed_unsync();
    head(method, url, headers).body(full).unwrap()
}

fn with_frames(method: &str, url: &str, frames: Vec<Frame<Bytes>>) -> Request<WasiBody> {
    let frames = futures_util::stream::iter(frames.into_iter().map(Ok));
    head(method, url, &[]).body(StreamBody::new(frames).boxed_unsync()).unwrap()
}

fn soon() -> RequestOptions {
    RequestOptions { first_byte_timeout: Some(Duration::from_millis(200)), ..RequestOptions::default() }
}

fn scene(mode: Mode, grants: &[&str]) -> Scene {
    Scene::new(mode, grants)
}
