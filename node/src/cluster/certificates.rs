//! The certificate for peers, read from the files of `listeners.peer.tls`, and read again on SIGHUP.
//!
//! **Invariants**:
//! - I1: a reload that fails changes nothing.
//!
//! **Not here**: TLS between peers itself (`vault-replication/src/peer/tls.rs`).

use std::sync::Arc;

use gophership_vault_replication::peer::{PeerCertificate, PeerSecurity, PeerStartError, PeerTls};

use crate::config::{Listener, TlsFiles};
use crate::tls::{TlsError, certificates, private_key};

/// The certificate for peers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeerCertificateError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] TlsError),
    /// The files do not go together.
    #[error(transparent)]
    Refused(#[from] PeerStartError),
}

/// The certificate for peers and its files.
#[derive(Debug)]
pub struct PeerCertificates {
    files: TlsFiles,
    tls: Arc<PeerTls>,
}

impl PeerCertificates {
    /// Reads the files of the peers' port; `None` where peers talk without TLS.
    ///
    /// # Errors
    ///
    /// A file is missing or holds something else, or the key belongs to another certificate.
    pub fn open(listener: &Listener) -> Result<Option<Arc<Self>>, PeerCertificateError> {
        let Some(files) = listener.tls.clone() else {
            return Ok(None);
        };
        let tls = Arc::new(PeerTls::new(read(&files)?)?);
        Ok(Some(Arc::new(Self { files, tls })))
    }

    /// The security of connections with this certificate, or of those without one.
    #[must_use]
    pub fn security(certificates: Option<&Arc<Self>>) -> PeerSecurity {
        match certificates {
            Some(certificates) => PeerSecurity::Tls(Arc::clone(&certificates.tls)),
            None => PeerSecurity::Plain,
        }
    }

    /// Reads the files again; from then on new handshakes use them.
    ///
    /// # Errors
    ///
    /// As [`PeerCertificates::open`]; the contents of the old files stay in use (I1).
    pub fn reload(&self) -> Result<(), PeerCertificateError> {
        Ok(self.tls.replace(read(&self.files)?)?)
    }
}

fn read(files: &TlsFiles) -> Result<PeerCertificate, TlsError> {
    let authorities = files.client_ca.as_deref().map(certificates).transpose()?;
    Ok(PeerCertificate {
        chain: certificates(&files.cert)?,
        key: private_key(&files.key)?,
        // The configuration has made sure that there are some.
        authorities: authorities.unwrap_or_default(),
    })
}
