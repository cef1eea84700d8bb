//! TLS on the client's side: authorities, an identity, a protocol.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::error::SinkError;
use crate::config::{ExportKind, ExportTarget};
use crate::tls;

/// TLS 1.2 or 1.3 for a sink. Reads the files that it names.
///
/// # Errors
///
/// A file cannot be used, or the system has no authorities and none are given.
pub(super) fn client_config(target: &ExportTarget) -> Result<Arc<ClientConfig>, SinkError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of both")
        .with_root_certificates(roots(target)?);
    let mut config = match (&target.tls.cert, &target.tls.key) {
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(tls::certificates(cert)?, tls::private_key(key)?)
            .map_err(|error| SinkError::Identity {
                endpoint: target.endpoint.to_string(),
                why: tls::key_fault(&error),
            })?,
        // The configuration allows both or neither.
        (None, _) | (_, None) => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match target.kind {
        ExportKind::Grpc => vec![b"h2".to_vec()],
        ExportKind::Http => vec![b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

fn roots(target: &ExportTarget) -> Result<RootCertStore, SinkError> {
    let endpoint = || target.endpoint.to_string();
    let mut roots = RootCertStore::empty();
    let authorities = match (&target.tls.ca_pem, &target.tls.ca) {
        (Some(pem), _) => Some(tls::certificates_of(pem.as_bytes(), "--ca".as_ref())?),
        (None, Some(file)) => Some(tls::certificates(file)?),
        (None, None) => None,
    };
    let Some(authorities) = authorities else {
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if roots.is_empty() {
            let why: Vec<String> = system.errors.iter().map(ToString::to_string).collect();
            let (endpoint, why) = (endpoint(), why.join("; "));
            return Err(SinkError::NoAuthorities { endpoint, why });
        }
        return Ok(roots);
    };
    for (at, authority) in authorities.into_iter().enumerate() {
        roots.add(authority).map_err(|source| SinkError::Authority {
            endpoint: endpoint(),
            number: at + 1,
            source,
        })?;
    }
    Ok(roots)
}
