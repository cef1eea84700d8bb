//! TLS for listeners: TLS 1.3, from PEM files, replaced while running.
//!
//! **Owns**: [`ServerTls`].
//!
//! **Invariants**:
//! - I1: only TLS 1.3 is spoken, with ring.
//! - I2: with `client_ca`, a handshake without a certificate signed by one of its authorities fails.
//! - I3: a reload that fails changes nothing: the old certificate is still served.
//!
//! **Not here**: making certificates (`certs`), the choice of listeners with TLS (`config`).

mod handshake;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub use self::handshake::HandshakeFault;
use crate::config::TlsFiles;

/// Seconds of remaining validity below which a warning about a certificate is logged.
const EXPIRES_SOON: i64 = 14 * 24 * 3600;

/// Limit of bytes in a PEM file; a bundle of every public authority has a quarter of it.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// The protocols spoken over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2 only, for gRPC.
    Http2,
    /// HTTP/2 and HTTP/1.1.
    Http,
}

impl Protocols {
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http2 => vec![b"h2".to_vec()],
            Self::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }
}

/// The reason for which a listener's TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}; check the path and that this user may read it", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is larger than any PEM file.
    #[error("{}: is larger than {limit} bytes: this is no PEM file of certificates", .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file does not hold the kind of object that it should.
    #[error("{}: holds no {wanted} in PEM form: {source}", .file.display())]
    NotPem {
        /// The file.
        file: PathBuf,
        /// `certificate` or `private key`.
        wanted: &'static str,
        /// The parser's error.
        source: rustls_pki_types::pem::Error,
    },
    /// A certificate is damaged or of a kind that cannot be used.
    #[error("{}: certificate {number} cannot be used: {reason}", .file.display())]
    BadCertificate {
        /// The file.
        file: PathBuf,
        /// Position of the certificate in the file, from 1.
        number: usize,
        /// The parser's error.
        reason: String,
    },
    /// The key belongs to another certificate, or cannot be used.
    #[error("{}: is not usable with the certificate {}: {why}", .key.display(), .cert.display())]
    KeyRefused {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        cert: PathBuf,
        /// The fault, in words.
        why: String,
    },
    /// The authorities cannot be used to check clients.
    #[error("{}: cannot be used to check clients: {source}", .file.display())]
    ClientCaRefused {
        /// The file.
        file: PathBuf,
        /// The error of rustls.
        source: VerifierBuilderError,
    },
    /// The cryptography of this build lacks TLS 1.3, which is a fault of the build.
    #[error("TLS 1.3 cannot be set up: {source}")]
    NoTls13 {
        /// The error of rustls.
        source: rustls::Error,
    },
}

/// The TLS of one listener, replaced as a whole by [`ServerTls::reload`].
#[derive(Debug)]
pub struct ServerTls {
    files: TlsFiles,
    protocols: Protocols,
    current: ArcSwap<ServerConfig>,
    /// The listener's path in the configuration.
    listener: &'static str,
    /// Time at which the first certificate of the served chain expires, in seconds since the Unix epoch.
    expires: AtomicI64,
    /// Handshakes that failed, by [`HandshakeFault`].
    failed: [AtomicU64; HandshakeFault::COUNT],
}

impl ServerTls {
    /// Reads the files. A certificate that has expired, or is not valid yet, is used, and a warning is logged: clients
    /// decide.
    ///
    /// # Errors
    ///
    /// A file is missing or holds something else, or the key belongs to another certificate.
    pub fn open(files: &TlsFiles, protocols: Protocols) -> Result<Self, TlsError> {
        let (config, expires) = build(files, protocols)?;
        Ok(Self {
            files: files.clone(),
            protocols,
            current: ArcSwap::from_pointee(config),
            listener: "",
            expires: AtomicI64::new(expires),
            failed: Default::default(),
        })
    }

    /// Sets the path of the listener in the configuration.
    #[must_use]
    pub fn of_listener(self, listener: &'static str) -> Self {
        Self { listener, ..self }
    }

    /// The listener's path in the configuration.
    #[must_use]
    pub fn listener(&self) -> &'static str {
        self.listener
    }

    /// Time at which the first certificate of the served chain expires, in seconds since the Unix epoch.
    #[must_use]
    pub fn expires(&self) -> i64 {
        self.expires.load(Ordering::Relaxed)
    }

    /// Logs a warning when a served certificate has expired, or will within two weeks.
    pub fn warn_of_expiry(&self) {
        let (listener, expires) = (self.listener, self.expires());
        let file = self.files.cert.display();
        let days = (expires - unix_seconds()) / (24 * 3600);
        match expiry_at(unix_seconds(), expires) {
            Expiry::Far => {}
            Expiry::Soon => tracing::warn!(listener, %file, days, "tls.certificate.expires_soon"),
            Expiry::Over => tracing::warn!(listener, %file, days, "tls.certificate.expired"),
        }
    }

    /// Accepts a client's connection over TLS. A handshake that fails is counted.
    ///
    /// # Errors
    ///
    /// The handshake failed, or took longer than `within`.
    pub async fn accept(
        &self,
        stream: tokio::net::TcpStream,
        within: std::time::Duration,
    ) -> std::io::Result<tokio_rustls::server::TlsStream<tokio::net::TcpStream>> {
        let peer = stream.peer_addr();
        let handshake = tokio_rustls::TlsAcceptor::from(self.current()).accept(stream);
        let shaken = match tokio::time::timeout(within, handshake).await {
            Ok(shaken) => shaken,
            Err(late) => Err(late.into()),
        };
        if let (Err(error), Ok(peer)) = (&shaken, peer) {
            self.note_failed(error, peer);
        }
        shaken
    }

    /// Counts a handshake that failed, and logs it where an operator can do something about it.
    fn note_failed(&self, error: &std::io::Error, peer: std::net::SocketAddr) {
        let fault = HandshakeFault::of(error);
        self.failed[fault as usize].fetch_add(1, Ordering::Relaxed);
        let (listener, reason) = (self.listener, fault.label());
        match fault.hint() {
            Some(hint) => tracing::warn!(listener, %peer, reason, hint, "tls.handshake.failed"),
            None => tracing::debug!(listener, %peer, reason, %error, "tls.handshake.failed"),
        }
    }

    /// Handshakes that failed since the start, by reason.
    pub fn failed(&self) -> impl Iterator<Item = (HandshakeFault, u64)> {
        let count = |fault: HandshakeFault| self.failed[fault as usize].load(Ordering::Relaxed);
        HandshakeFault::ALL.into_iter().map(move |fault| (fault, count(fault)))
    }

    /// The configuration for the next handshake.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again; from then on new handshakes use them. Open connections are left alone.
    ///
    /// # Errors
    ///
    /// As [`ServerTls::open`]; the contents of the old files stay in use (I3).
    pub fn reload(&self) -> Result<(), TlsError> {
        let (config, expires) = build(&self.files, self.protocols)?;
        self.current.store(Arc::new(config));
        self.expires.store(expires, Ordering::Relaxed);
        Ok(())
    }
}

/// The configuration, and the time at which the first of its certificates expires.
fn build(files: &TlsFiles, protocols: Protocols) -> Result<(ServerConfig, i64), TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&files.cert)?;
    let expires = warn_of_validity(&files.cert, &chain)?;
    let key = private_key(&files.key)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TlsError::NoTls13 { source })?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => builder.with_client_cert_verifier(client_verifier(file, provider)?),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::KeyRefused {
            key: files.key.clone(),
            cert: files.cert.clone(),
            why: key_fault(&error),
        })?;
    config.alpn_protocols = protocols.alpn();
    Ok((config, expires))
}

fn client_verifier(
    file: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let authorities = certificates(file)?;
    warn_of_validity(file, &authorities)?;
    let mut roots = RootCertStore::empty();
    for (at, authority) in authorities.into_iter().enumerate() {
        roots.add(authority).map_err(|error| TlsError::BadCertificate {
            file: file.to_owned(),
            number: at + 1,
            reason: error.to_string(),
        })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|source| TlsError::ClientCaRefused {
            file: file.to_owned(),
            source,
        })
}

/// The private key of a PEM file.
pub(crate) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(file)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|source| TlsError::NotPem {
        file: file.to_owned(),
        wanted: "private key",
        source,
    })
}

/// The reason for which rustls does not accept a key with its certificate.
pub(crate) fn key_fault(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "it is the key of another certificate".to_owned()
        }
        other => other.to_string(),
    }
}

/// The certificates of a PEM file, at least one.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates_of(&read(file)?, file)
}

/// The certificates of PEM text that is called `file`, at least one.
pub(crate) fn certificates_of(pem: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let not_pem = |source| TlsError::NotPem {
        file: file.to_owned(),
        wanted: "certificate",
        source,
    };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(not_pem)?;
    if found.is_empty() {
        return Err(not_pem(rustls_pki_types::pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable {
        file: file.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        return Err(TlsError::TooLarge {
            file: file.to_owned(),
            limit: PEM_BYTES_MAX,
        });
    }
    Ok(bytes)
}

/// The remaining validity of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    Far,
    Soon,
    Over,
}

fn expiry_at(now: i64, not_after: i64) -> Expiry {
    if now > not_after {
        Expiry::Over
    } else if not_after - now < EXPIRES_SOON {
        Expiry::Soon
    } else {
        Expiry::Far
    }
}

fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// Logs a warning for each certificate that is not valid now, and returns the time at which the first of them expires.
fn warn_of_validity(file: &Path, chain: &[CertificateDer<'_>]) -> Result<i64, TlsError> {
    let now = unix_seconds();
    let mut expires = i64::MAX;
    for (at, der) in chain.iter().enumerate() {
        let bad = |reason: String| TlsError::BadCertificate {
            file: file.to_owned(),
            number: at + 1,
            reason,
        };
        let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|error| bad(error.to_string()))?;
        let validity = certificate.validity();
        let file = file.display();
        if now < validity.not_before.timestamp() {
            tracing::warn!(%file, number = at + 1, not_before = %validity.not_before, "tls.certificate.not_yet_valid");
        }
        let not_after = validity.not_after.timestamp();
        match expiry_at(now, not_after) {
            Expiry::Far => {}
            Expiry::Soon => {
                tracing::warn!(%file, number = at + 1, not_after = %validity.not_after, "tls.certificate.expires_soon");
            }
            Expiry::Over => {
                tracing::warn!(%file, number = at + 1, not_after = %validity.not_after, "tls.certificate.expired");
            }
        }
        expires = expires.min(not_after);
    }
    Ok(expires)
}

#[cfg(test)]
mod tests;
