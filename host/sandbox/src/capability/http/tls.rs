//! What the client trusts: the system's certificates and, for one connection, those of its own file.
//!
//! Invariant: sessions are not resumed, so that no ticket of one plugin is seen with another.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Reads the system's certificates once, when they are first needed.
#[derive(Default)]
pub(super) struct Trust {
    system: OnceLock<RootCertStore>,
    plain: OnceLock<Arc<ClientConfig>>,
}

impl Trust {
    /// A configuration that trusts the system's certificates and those of the files. Blocks: it reads files.
    pub(super) fn config(&self, files: &[PathBuf]) -> Result<Arc<ClientConfig>, String> {
        if files.is_empty()
            && let Some(config) = self.plain.get()
        {
            return Ok(Arc::clone(config));
        }
        let mut roots = self.system.get_or_init(system_roots).clone();
        for file in files {
            let said = |error: &dyn std::fmt::Display| {
                format!("the `ca` file {} can't be used: {error}", file.display())
            };
            let before = roots.len();
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| said(&error))? {
                roots.add(certificate.map_err(|error| said(&error))?).map_err(|error| said(&error))?;
            }
            if roots.len() == before {
                return Err(said(&"it holds no certificate"));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        Ok(if files.is_empty() { Arc::clone(self.plain.get_or_init(|| config)) } else { config })
    }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        tracing::warn!(ignored, "this system has no trusted certificates");
    }
    roots
}
