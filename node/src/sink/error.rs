//! Why a sink cannot be made.

use thiserror::Error;

use crate::tls::TlsError;

/// A sink cannot be made: its settings, or the files that they name, do not serve.
#[derive(Debug, Error)]
pub(crate) enum SinkError {
    /// It is no URL.
    #[error("the sink {endpoint} cannot be spoken to: {why}")]
    Endpoint {
        /// Which.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// A TLS file.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate and its key.
    #[error("the sink {endpoint}: the client certificate or its key is not accepted: {why}")]
    Identity {
        /// Which sink.
        endpoint: String,
        /// What is wrong, in words.
        why: String,
    },
    /// An authority that is none.
    #[error("the sink {endpoint}: certificate {number} of tls.ca (of a replay: --ca) is no authority: {source}")]
    Authority {
        /// Which sink.
        endpoint: String,
        /// Which certificate of the file, from 1.
        number: usize,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The system has no authorities.
    #[error(
        "the sink {endpoint}: this system has no certificate authorities ({why}): install them (ca-certificates), or set tls.ca (of a replay: --ca)"
    )]
    NoAuthorities {
        /// Which sink.
        endpoint: String,
        /// What was tried.
        why: String,
    },
}
