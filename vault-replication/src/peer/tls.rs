//! Certificates for peers: TLS 1.3 with ring, the same certificate for both ends, replaced while running.
//!
//! **Owns**: [`PeerTls`].
//!
//! **Invariants**:
//! - I1: only TLS 1.3 is spoken, and only HTTP/2 behind it.
//! - I2: each end shows a certificate of one of the authorities.
//! - I3: a replacement that fails changes nothing.
//!
//! **Not here**: reading files, which whoever holds this does for every listener; whose a certificate is
//! (`identity.rs`).

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::PeerStartError;

const HTTP2: &[u8] = b"h2";

/// How connections between peers are protected.
#[derive(Clone, Debug)]
pub enum PeerSecurity {
    /// Not at all: on loopback only.
    Plain,
    /// By TLS.
    Tls(Arc<PeerTls>),
}

/// What a node shows to its peers, and what it trusts.
#[derive(Debug)]
pub struct PeerCertificate {
    /// Its certificate, and those between it and its authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of its certificate.
    pub key: PrivateKeyDer<'static>,
    /// The authorities of its peers' certificates.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// TLS for both ends.
pub struct PeerTls(RwLock<Configs>);

#[derive(Clone)]
struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerTls")
    }
}

impl PeerTls {
    /// TLS with this certificate.
    ///
    /// # Errors
    /// [`PeerStartError::Certificates`] when the key is another certificate's, or an authority is none.
    pub fn new(certificate: PeerCertificate) -> Result<Self, PeerStartError> {
        Ok(Self(RwLock::new(configs(certificate)?)))
    }

    /// Uses another certificate for handshakes from here on. Connections that stand are left alone.
    ///
    /// # Errors
    /// As [`PeerTls::new`]: the one before stays in use.
    pub fn replace(&self, certificate: PeerCertificate) -> Result<(), PeerStartError> {
        let configs = configs(certificate)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = configs;
        Ok(())
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).server)
    }

    pub(super) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).client)
    }
}

fn configs(certificate: PeerCertificate) -> Result<Configs, PeerStartError> {
    let bad = |e: &dyn fmt::Display| PeerStartError::Certificates(e.to_string());
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let versions = [&rustls::version::TLS13];
    let mut roots = RootCertStore::empty();
    for authority in certificate.authorities {
        roots.add(authority).map_err(|e| bad(&e))?;
    }
    let roots = Arc::new(roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|e| bad(&e))?
        .with_client_cert_verifier(verifier.build().map_err(|e| bad(&e))?)
        .with_single_cert(certificate.chain.clone(), certificate.key.clone_key())
        .map_err(|e| bad(&e))?;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|e| bad(&e))?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificate.chain, certificate.key)
        .map_err(|e| bad(&e))?;
    server.alpn_protocols = vec![HTTP2.to_vec()];
    client.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(Configs {
        server: Arc::new(server),
        client: Arc::new(client),
    })
}
