//! Errors of making a sink.

use thiserror::Error;

use crate::tls::TlsError;

/// The error of a sink that cannot be made: its settings, or the files that they name, are unusable.
#[derive(Debug, Error)]
pub(crate) enum SinkError {
    /// The endpoint is no URL.
    #[error("the sink {endpoint} cannot be spoken to: {why}")]
    Endpoint {
        /// The endpoint.
        endpoint: String,
        /// The fault in it.
        why: String,
    },
    /// A TLS file is unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate and its key do not fit.
    #[error("the sink {endpoint}: the client certificate or its key is not accepted: {why}")]
    Identity {
        /// The sink.
        endpoint: String,
        /// The fault, in words.
        why: String,
    },
    /// A certificate that is no authority.
    #[error("the sink {endpoint}: certificate {number} of tls.ca (of a replay: --ca) is no authority: {source}")]
    Authority {
        /// The sink.
        endpoint: String,
        /// Its position in the file, from 1.
        number: usize,
        /// The fault in it.
        source: rustls::Error,
    },
    /// The system has no authorities.
    #[error(
        "the sink {endpoint}: this system has no certificate authorities ({why}): install them (ca-certificates), or \
         set tls.ca (of a replay: --ca)"
    )]
    NoAuthorities {
        /// The sink.
        endpoint: String,
        /// The sources that were tried.
        why: String,
    },
}
