//! Sending a call with the plugin's settings, and telling apart the ways in which there is no answer.

use crate::bindings::Config;
use crate::request::{Call, Pairs};
use std::time::Duration;
use windlass_sdk::Failure;
use windlass_sdk::http::{DEFAULT_MAX_BODY, Request, Response, Timeouts, Transport, url};

/// How long to wait for a whole answer, where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Headers that carry credentials, which only the host attaches.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// What `configure` said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    base_url: Option<String>,
    timeout: Option<Duration>,
    headers: Pairs,
    user_agent: Option<String>,
    max_answer: Option<u64>,
}

impl Settings {
    /// Check what the runbook configured.
    pub(crate) fn new(config: Config) -> Result<Self, Failure> {
        if let Some(base_url) = &config.base_url {
            url::parts(base_url).map_err(|why| Failure::invalid_input(format!("`base_url`: {why}")))?;
        }
        refuse_credentials(&config.headers)?;
        Ok(Self {
            base_url: config.base_url,
            timeout: config.timeout.map(Duration::from_millis),
            headers: config.headers,
            user_agent: config.user_agent,
            max_answer: config.max_answer,
        })
    }
}

/// Sends calls.
pub(crate) struct Client<'a> {
    transport: &'a dyn Transport,
    settings: Settings,
    origin: Box<dyn Fn() -> Option<String> + 'a>,
}

impl<'a> Client<'a> {
    /// `origin` is asked for the base of a path alone, where none is configured.
    pub(crate) fn new(
        transport: &'a dyn Transport,
        settings: Settings,
        origin: impl Fn() -> Option<String> + 'a,
    ) -> Self {
        Self { transport, settings, origin: Box::new(origin) }
    }

    /// The absolute URL of a call, without its query.
    pub(crate) fn url(&self, written: &str) -> Result<String, Failure> {
        let base = match &self.settings.base_url {
            Some(base) => Some(base.clone()),
            None if written.contains("://") => None,
            None => (self.origin)(),
        };
        url::join(base.as_deref(), written).map_err(Failure::invalid_input)
    }

    /// Send a call and read the whole answer, whatever its status.
    pub(crate) fn send(&self, call: &Call) -> Result<Response, Failure> {
        let request = self.request(call)?;
        self.transport.send(&request).map_err(|error| {
            let failure =
                Failure::new(error.code(), format!("{}: {error}", name(&request.method, &request.url)));
            if error.is_retryable() { failure.retryable() } else { failure }
        })
    }

    fn request(&self, call: &Call) -> Result<Request, Failure> {
        refuse_credentials(&call.headers)?;
        let url = url::with_query(&self.url(&call.url)?, &call.query);
        let mut request = Request::new(&call.method.to_ascii_uppercase(), url);
        request.headers.clone_from(&call.headers);
        match (&call.json, &call.text) {
            (Some(_), Some(_)) => {
                return Err(Failure::invalid_input("a request has either `json` or `text`, not both"));
            }
            (Some(json), None) => {
                request.body = json.to_string().into_bytes();
                default_header(&mut request, "content-type", "application/json");
            }
            (None, Some(text)) => {
                request.body = text.clone().into_bytes();
                default_header(&mut request, "content-type", "text/plain; charset=utf-8");
            }
            (None, None) => {}
        }
        if !request.body.is_empty() && matches!(request.method.as_str(), "GET" | "HEAD") {
            return Err(Failure::invalid_input(format!("a {} request has no body", request.method)));
        }
        for (name, value) in &self.settings.headers {
            default_header(&mut request, name, value);
        }
        let user_agent = concat!("windlass-http/", env!("CARGO_PKG_VERSION"));
        default_header(&mut request, "user-agent", self.settings.user_agent.as_deref().unwrap_or(user_agent));
        default_header(&mut request, "accept", "application/json, */*;q=0.5");
        let timeout = call.timeout.map(Duration::from_millis).or(self.settings.timeout).unwrap_or(TIMEOUT);
        request.timeouts = Timeouts::within(timeout);
        request.max_body = self.settings.max_answer.unwrap_or(DEFAULT_MAX_BODY);
        Ok(request)
    }
}

/// A request for a person. The query is left out: it may hold what is nobody's business.
pub(crate) fn name(method: &str, url: &str) -> String {
    let (path, query) = url.split_once('?').map_or((url, ""), |(path, _)| (path, "?…"));
    format!("{method} {path}{query}")
}

fn default_header(request: &mut Request, name: &str, value: &str) {
    if !request.has_header(name) {
        request.headers.push((name.to_owned(), value.to_owned()));
    }
}

fn refuse_credentials(headers: &Pairs) -> Result<(), Failure> {
    match headers.iter().find(|(name, _)| CREDENTIALS.iter().any(|known| name.eq_ignore_ascii_case(known))) {
        None => Ok(()),
        Some((name, _)) => Err(Failure::invalid_input(format!(
            "the header `{name}` carries a credential, which only the host attaches: bind a connection with a `credential` to the slot `api`"
        ))),
    }
}
