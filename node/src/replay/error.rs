//! Why a replay is not begun, not found, or not whole.

use gophership_catalogue::job::JobId;
use gophership_catalogue::{CatalogueError, Refusal};
use thiserror::Error;

/// A replay cannot be begun, its job is not what the caller thinks, or it ends before it is whole.
#[derive(Debug, Error)]
pub(crate) enum ReplayError {
    /// What was asked cannot be done.
    #[error("{0}")]
    Invalid(String),
    /// The sink's name is not known.
    #[error("the sink {endpoint} cannot be found: {why}")]
    Unresolvable {
        /// Which.
        endpoint: String,
        /// The resolver's own word.
        why: String,
    },
    /// It would send in plaintext to another machine.
    #[error(
        "the sink {endpoint} is another machine, and would be spoken to in plaintext: speak TLS to it (otlp-grpcs:// or otlp-https://), replay to an exporter (exporter:NAME), or accept it with insecure (--insecure)"
    )]
    Plaintext {
        /// Which.
        endpoint: String,
    },
    /// It would send to itself.
    #[error(
        "the sink {endpoint} is this node's own address: what is replayed would be stored again. Name another sink, or insist with into_self (--into-self)"
    )]
    IntoSelf {
        /// Which.
        endpoint: String,
    },
    /// As many as there may be are under way.
    #[error("{limit} of this kind are under way, and there may be no more: wait for one to end, or end one")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
    /// No such job.
    #[error("there is no replay job {0}")]
    NoSuchJob(JobId),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(CatalogueError),
    /// Not everything could be read.
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
