//! The plugin's HTTP connections, made ready: where each leads, on which paths its credential is attached, and which
//! private networks it opens.
//!
//! Knows nothing of grants. Invariant: the attached value shows in no `Debug` output and is marked sensitive.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

use super::address::Network;
use super::echo::EchoForms;
use super::target::Target;
use crate::grant::{Host, PathPattern, Scheme};
use crate::{Bindings, Bound, Connection, Credential};

/// An HTTP connection bound to the plugin.
#[derive(Debug)]
pub(super) struct Endpoint {
    scheme: Scheme,
    host: Host,
    port: u16,
    paths: Vec<PathPattern>,
    pub(super) attached: Option<Arc<Attached>>,
    pub(super) networks: Vec<Network>,
    pub(super) ca: Option<PathBuf>,
}

/// What the host adds to a request.
pub(super) struct Attached {
    pub(super) header: HeaderName,
    pub(super) value: HeaderValue,
    /// How the secret would look if a service sent it back.
    pub(super) forms: EchoForms,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attached").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// All HTTP connections of the plugin. The error names the connection that can't be used, and why.
    pub(super) fn all(bindings: &Bindings) -> Result<Vec<Self>, String> {
        bindings
            .iter()
            .filter_map(|(_, bound)| Self::read(bound).transpose())
            .map(|read| {
                read.map_err(|(name, reason)| format!("the connection `{name}` can't be used: {reason}"))
            })
            .collect()
    }

    fn read(bound: &Bound) -> Result<Option<Self>, (&str, String)> {
        let Connection::Http { origin, paths, credential, addresses, ca } = &bound.connection else {
            return Ok(None);
        };
        let name = bound.name.as_str();
        let of = |reason: String| (name, reason);
        let target = Target::parse_origin(origin).map_err(of)?;
        let paths = paths
            .iter()
            .map(|path| {
                path.parse::<PathPattern>().map_err(|error| (name, format!("path `{path}`: {error}")))
            })
            .collect::<Result<_, _>>()?;
        let networks = addresses
            .iter()
            .map(|network| network.parse::<Network>().map_err(of))
            .collect::<Result<_, _>>()?;
        let attached = credential.as_ref().map(attach).transpose().map_err(of)?.map(Arc::new);
        let Target { scheme, host, port, .. } = target;
        Ok(Some(Self { scheme, host, port, paths, attached, networks, ca: ca.clone() }))
    }

    /// Whether the connection leads to where the request goes, whatever the path.
    pub(super) fn has_origin_of(&self, target: &Target) -> bool {
        self.scheme == target.scheme && self.host == target.host && self.port == target.port
    }

    /// Whether the credential belongs on this path.
    pub(super) fn has_path(&self, path: &str) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.matches(path))
    }
}

fn attach(credential: &Credential) -> Result<Attached, String> {
    let (name, text, forms) = match credential {
        Credential::Bearer(token) => {
            let text = Zeroizing::new(format!("Bearer {}", token.expose()));
            (header::AUTHORIZATION, text, EchoForms::new(&[token.expose()]))
        }
        Credential::Basic { user, password } => {
            let pair = Zeroizing::new(format!("{user}:{}", password.expose()));
            let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
            let text = Zeroizing::new(format!("Basic {}", encoded.as_str()));
            (header::AUTHORIZATION, text, EchoForms::new(&[password.expose(), &encoded]))
        }
        Credential::Header { name, value } => {
            let header =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no header name"))?;
            (header, Zeroizing::new(value.expose().to_owned()), EchoForms::new(&[value.expose()]))
        }
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        "its credential holds a character that a header can't (a line break at the end of a file, perhaps)".to_owned()
    })?;
    value.set_sensitive(true);
    Ok(Attached { header: name, value, forms: forms? })
}
