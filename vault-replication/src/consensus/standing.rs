//! How a node stands to its peers.

use gophership_catalogue::CatalogueError;

use super::promise::Promise;

/// How a node stands to its peers.
#[derive(Clone, Debug, Default)]
pub(crate) enum Standing {
    /// It has started, and not heard enough peers.
    #[default]
    New,
    /// It takes part.
    Vouched,
    /// It has given this promise, and does not know of it.
    Forgetful(Promise, CatalogueError),
}
