//! The hooks of a store: each request of a guest passes here, is decided, sent and booked.
//!
//! Invariant: a request without a permit is answered with a typed denial after its body was read, and never reaches the
//! client.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::client::{ConnectError, HttpClient, Outgoing, Route};
use super::endpoint::Endpoint;
use super::exchange::{CAPABILITY, Exchange, RequestBody, ResponseBody};
use super::headers::{BODY_ON_GET, clean_answer, is_bodiless};
use super::policy::{Asked, Permit, Rules, decide};
use crate::state::CallContext;

/// How long a denied request's body is read, so that the guest sees the denial and not a broken pipe.
const DRAIN: Duration = Duration::from_secs(2);

type Answer = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

/// `wasi:http` for one call.
pub(crate) struct HttpHooks {
    call: Arc<CallContext>,
    client: HttpClient,
    /// Made at the first request: most calls send none.
    endpoints: Option<Result<Arc<[Endpoint]>, String>>,
    /// For the books of what is still under way when the store goes.
    exchanges: Vec<Weak<Exchange>>,
}

impl HttpHooks {
    pub(crate) fn new(call: Arc<CallContext>) -> Self {
        Self::with(call, HttpClient::shared())
    }

    pub(super) fn with(call: Arc<CallContext>, client: HttpClient) -> Self {
        Self { call, client, endpoints: None, exchanges: Vec::new() }
    }

    /// Decides, books a denial, and gives all that sending needs.
    fn admit(&mut self, request: &Request<WasiBody>) -> Result<(Permit, Route, Arc<Exchange>), ()> {
        let call = Arc::clone(&self.call);
        let asked = Asked { method: request.method(), uri: request.uri(), headers: request.headers() };
        let endpoints =
            self.endpoints.get_or_insert_with(|| Endpoint::all(call.bindings()).map(Arc::from)).clone();
        let rules = Rules {
            grants: call.grants(),
            endpoints: endpoints.as_deref().map_err(String::as_str),
            mode: call.mode,
            configuring: call.configuring(),
        };
        let permit = decide(asked, rules).map_err(|refusal| {
            call.deny(CAPABILITY, asked.method.as_str(), &refusal.target, refusal.reason, refusal.allow);
        })?;
        let chosen = endpoints.iter().flat_map(|endpoints| endpoints.iter()).enumerate();
        let chosen: Vec<&Endpoint> = chosen
            .filter(|(index, _)| permit.endpoints.contains(index))
            .map(|(_, endpoint)| endpoint)
            .collect();
        let ca: Vec<PathBuf> = chosen.iter().filter_map(|endpoint| endpoint.ca.clone()).collect();
        let networks = chosen.iter().flat_map(|endpoint| endpoint.networks.iter().copied()).collect();
        let exchange = Arc::new(Exchange::new(
            Arc::clone(&call),
            permit.effect,
            asked.method.to_string(),
            permit.target.to_string(),
            permit.rule.clone(),
        ));
        self.exchanges.retain(|exchange| exchange.strong_count() > 0);
        self.exchanges.push(Arc::downgrade(&exchange));
        let route = Route { target: permit.target.clone(), networks, ca };
        Ok((permit, route, exchange))
    }
}

impl Drop for HttpHooks {
    fn drop(&mut self) {
        self.exchanges.iter().filter_map(Weak::upgrade).for_each(|exchange| exchange.close());
    }
}

impl WasiHttpHooks for HttpHooks {
    fn set_host_header(&mut self) -> bool {
        // The client writes it, from the URL that was checked.
        false
    }

    fn is_supported_scheme(&mut self, _: &http::uri::Scheme) -> bool {
        // Others are denied by the policy, which leaves a record.
        true
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        let Ok((permit, route, exchange)) = self.admit(&request) else {
            return Box::new(async move {
                drain(request.into_body()).await;
                Err(Error::HttpRequestDenied)
            });
        };
        let time_left = self.call.time_left();
        let client = self.client.clone();
        let options = options.unwrap_or_default();
        Box::new(async move {
            let sending = Sending { client, permit, route, options, exchange, time_left };
            let response = sending.run(request).await?;
            let nothing: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(async { Ok(()) });
            Ok((response, nothing))
        })
    }
}

async fn drain(mut body: WasiBody) {
    let until = Instant::now() + DRAIN;
    while let Ok(Some(Ok(_))) = timeout_at(until, body.frame()).await {}
}

/// A request on its way.
struct Sending {
    client: HttpClient,
    permit: Permit,
    route: Route,
    options: RequestOptions,
    exchange: Arc<Exchange>,
    time_left: Duration,
}

impl Sending {
    async fn run(self, request: Request<WasiBody>) -> Result<Response<WasiBody>, Error> {
        let limits = self.client.limits();
        let now = Instant::now();
        let until = now + limits.total.min(self.time_left);
        let (parts, body) = request.into_parts();
        let body = if is_bodiless(parts.method.as_str()) {
            self.assert_no_body(body, until).await?;
            Empty::new().map_err(|never| match never {}).boxed_unsync()
        } else {
            self.outgoing(body, limits.body)
        };

        let connect = limits.connect.min(self.options.connect_timeout.unwrap_or(limits.connect));
        let line = match self.client.connect(&self.route, until.min(Instant::now() + connect)).await {
            Ok(line) => line,
            Err(ConnectError::Denied { reason, error }) => {
                self.exchange.deny(&reason);
                drain(body).await;
                return Err(error);
            }
            Err(ConnectError::Failed(error)) => {
                self.exchange.failed();
                return Err(error);
            }
        };

        let request = self.request(parts, body);
        let first_byte =
            self.options.first_byte_timeout.map_or(until, |wait| until.min(Instant::now() + wait));
        self.exchange.about_to_send();
        let answer = match timeout_at(first_byte, line.send(&self.route.target, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::HttpResponseTimeout),
        };
        let (response, driver) = answer.inspect_err(|_| self.exchange.failed())?;
        let (mut head, inner) = response.into_parts();
        self.check_head(&head)?;
        self.exchange.answered();
        clean_answer(&mut head.headers);
        let body = ResponseBody {
            inner,
            forms: self.permit.attached.as_ref().map(|attached| attached.forms.clone()),
            exchange: Arc::clone(&self.exchange),
            limit: limits.body,
            between_bytes: self
                .options
                .between_bytes_timeout
                .map_or(limits.between_bytes, |wait| wait.min(limits.between_bytes)),
            until,
            _driver: driver,
        };
        body.check_declared()?;
        Ok(Response::from_parts(head, body.watched()))
    }

    /// A guest that opened a body for a GET must have closed it without writing.
    async fn assert_no_body(&self, mut body: WasiBody, until: Instant) -> Result<(), Error> {
        loop {
            match timeout_at(until, body.frame()).await {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(frame))) if frame.data_ref().is_some_and(|data| data.is_empty()) => {}
                Ok(Some(Ok(_))) => {
                    self.exchange.deny(BODY_ON_GET);
                    drain(body).await;
                    return Err(Error::HttpRequestDenied);
                }
                Ok(Some(Err(error))) => {
                    self.exchange.failed();
                    return Err(error);
                }
                Err(_) => {
                    self.exchange.failed();
                    return Err(Error::ConnectionWriteTimeout);
                }
            }
        }
    }

    fn outgoing(&self, inner: WasiBody, limit: u64) -> Outgoing {
        RequestBody { inner, exchange: Arc::clone(&self.exchange), limit }.boxed_unsync()
    }

    /// The guest's request with what the host adds. Its URI is replaced by the client.
    fn request(&self, parts: http::request::Parts, body: Outgoing) -> Request<Outgoing> {
        let mut request = Request::new(body);
        *request.headers_mut() = parts.headers;
        if is_bodiless(parts.method.as_str()) {
            request.headers_mut().remove(header::CONTENT_LENGTH);
        }
        *request.method_mut() = parts.method;
        if let Some(attached) = &self.permit.attached {
            // A compressed echo could not be found.
            request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            request.headers_mut().insert(attached.header.clone(), attached.value.clone());
        }
        request
    }

    fn check_head(&self, head: &http::response::Parts) -> Result<(), Error> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            self.exchange.failed();
            return Err(Error::HttpUpgradeFailed);
        }
        let Some(attached) = &self.permit.attached else { return Ok(()) };
        if Exchange::echo_in(&attached.forms, &head.headers) {
            return Err(self.exchange.stop_echo());
        }
        let coding = head.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
        if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
            self.exchange.failed();
            return Err(Error::HttpResponseContentCoding(Some(
                "an answer to a request with a credential is not taken compressed".to_owned(),
            )));
        }
        Ok(())
    }
}
