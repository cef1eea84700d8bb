//! Errors of replays.

use gophership_catalogue::job::JobId;
use gophership_catalogue::{CatalogueError, Refusal};
use thiserror::Error;

/// The error of a replay that cannot be begun, whose job does not exist, or that ends incomplete.
#[derive(Debug, Error)]
pub(crate) enum ReplayError {
    /// The request is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The sink's name has no address.
    #[error("the sink {endpoint} cannot be found: {why}")]
    Unresolvable {
        /// The endpoint.
        endpoint: String,
        /// The resolver's error.
        why: String,
    },
    /// The replay would send in plaintext to another machine.
    #[error(
        "the sink {endpoint} is another machine, and would be spoken to in plaintext: speak TLS to it (otlp-grpcs:// \
         or otlp-https://), replay to an exporter (exporter:NAME), or accept it with insecure (--insecure)"
    )]
    Plaintext {
        /// The endpoint.
        endpoint: String,
    },
    /// The replay would send to this node.
    #[error(
        "the sink {endpoint} is this node's own address: what is replayed would be stored again. Name another sink, or \
         insist with into_self (--into-self)"
    )]
    IntoSelf {
        /// The endpoint.
        endpoint: String,
    },
    /// Too many replays are under way.
    #[error("{limit} of this kind are under way, and there may be no more: wait for one to end, or end one")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The job does not exist.
    #[error("there is no replay job {0}")]
    NoSuchJob(JobId),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(CatalogueError),
    /// Some entries could not be read.
    #[error("{0}")]
    Missing(String),
    /// The node ends.
    #[error("the node is stopping")]
    Stopping,
    /// A thread ended abruptly.
    #[error("the call ended abruptly: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

impl From<CatalogueError> for ReplayError {
    fn from(error: CatalogueError) -> Self {
        match error {
            CatalogueError::Refused(Refusal::UnknownJob { job }) => Self::NoSuchJob(job),
            other => Self::Catalogue(other),
        }
    }
}
