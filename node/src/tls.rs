//! TLS for listeners: TLS 1.3, from PEM files, replaced while running.
//!
//! Owns: [`ServerTls`].
//!
//! Invariants:
//! - I1: only TLS 1.3 is spoken, with ring.
//! - I2: with `client_ca`, a handshake without a certificate signed by one of its authorities fails.
//! - I3: a reload that fails changes nothing: the old certificate goes on being served.
//!
//! Not here: making certificates (`certs`), deciding which listener has TLS (`config`).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsFiles;

/// Bytes of a PEM file; a bundle of every public authority has a quarter of it.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// What is spoken behind TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2 only: gRPC.
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

/// Why a listener's TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}; check the path and that this user may read it", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
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
    /// A file does not hold what it should.
    #[error("{}: holds no {wanted} in PEM form: {source}", .file.display())]
    NotPem {
        /// The file.
        file: PathBuf,
        /// `certificate` or `private key`.
        wanted: &'static str,
        /// What the parser said.
        source: rustls_pki_types::pem::Error,
    },
    /// A certificate is damaged or of a kind that cannot be used.
    #[error("{}: certificate {number} cannot be used: {reason}", .file.display())]
    BadCertificate {
        /// The file.
        file: PathBuf,
        /// Which one in the file, from 1.
        number: usize,
        /// What the parser said.
        reason: String,
    },
    /// The key belongs to another certificate, or cannot be used.
    #[error("{}: is not usable with the certificate {}: {source}", .key.display(), .cert.display())]
    KeyRefused {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        cert: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// The authorities cannot be used to check clients.
    #[error("{}: cannot be used to check clients: {source}", .file.display())]
    ClientCaRefused {
        /// The file.
        file: PathBuf,
        /// What rustls said.
        source: VerifierBuilderError,
    },
    /// The cryptography of this build lacks TLS 1.3: a fault of the build.
    #[error("TLS 1.3 cannot be set up: {source}")]
    NoTls13 {
        /// What rustls said.
        source: rustls::Error,
    },
}

/// The TLS of one listener, replaced as a whole by [`ServerTls::reload`].
#[derive(Debug)]
pub struct ServerTls {
    files: TlsFiles,
    protocols: Protocols,
    current: ArcSwap<ServerConfig>,
}

impl ServerTls {
    /// Reads the files. A certificate that has expired, or is not valid yet, is used, and warned of: clients decide.
    ///
    /// # Errors
    /// A file that is missing or holds something else, or a key of another certificate.
    pub fn open(files: &TlsFiles, protocols: Protocols) -> Result<Self, TlsError> {
        let config = build(files, protocols)?;
        Ok(Self {
            files: files.clone(),
            protocols,
            current: ArcSwap::from_pointee(config),
        })
    }

    /// What the next handshake must use.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again; from then on new handshakes use them. Connections that stand are left alone.
    ///
    /// # Errors
    /// As [`ServerTls::open`]; the old files' contents stay in use (I3).
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(build(&self.files, self.protocols)?));
        Ok(())
    }
}

fn build(files: &TlsFiles, protocols: Protocols) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&files.cert)?;
    warn_of_validity(&files.cert, &chain)?;
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
        .map_err(|source| TlsError::KeyRefused {
            key: files.key.clone(),
            cert: files.cert.clone(),
            source,
        })?;
    config.alpn_protocols = protocols.alpn();
    Ok(config)
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

/// The certificates of a PEM file, at least one.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let not_pem = |source| TlsError::NotPem {
        file: file.to_owned(),
        wanted: "certificate",
        source,
    };
    let pem = read(file)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
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

/// How a certificate's validity stands to the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Validity {
    NotYet,
    Now,
    Over,
}

fn warn_of_validity(file: &Path, chain: &[CertificateDer<'_>]) -> Result<(), TlsError> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    for (at, der) in chain.iter().enumerate() {
        let bad = |reason: String| TlsError::BadCertificate {
            file: file.to_owned(),
            number: at + 1,
            reason,
        };
        let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|error| bad(error.to_string()))?;
        let validity = certificate.validity();
        let file = file.display();
        match validity_at(i64::try_from(now).unwrap_or(i64::MAX), validity) {
            Validity::Now => {}
            Validity::NotYet => {
                tracing::warn!(%file, number = at + 1, not_before = %validity.not_before, "tls.certificate.not_yet_valid");
            }
            Validity::Over => {
                tracing::warn!(%file, number = at + 1, not_after = %validity.not_after, "tls.certificate.expired");
            }
        }
    }
    Ok(())
}

fn validity_at(now: i64, validity: &x509_parser::certificate::Validity) -> Validity {
    if now < validity.not_before.timestamp() {
        Validity::NotYet
    } else if now > validity.not_after.timestamp() {
        Validity::Over
    } else {
        Validity::Now
    }
}

#[cfg(test)]
mod tests;
