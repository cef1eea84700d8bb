//! What the control service is given.

use std::net::SocketAddr;
use std::sync::Arc;

use gophership_catalogue::LocalCatalogue;
use gophership_vault::Vault;

use super::snapshot::IngestSnapshot;

/// What the control service needs of its node.
#[derive(Clone)]
pub struct ControlContext {
    /// The node's vault.
    pub vault: Vault,
    /// The node's catalogue.
    pub catalogue: Arc<LocalCatalogue>,
    /// `node.name`.
    pub node_name: String,
    /// When this boot began, nanoseconds since the Unix epoch.
    pub started_unix_nano: u64,
    /// Where the node takes OTLP: a replay does not send there by mistake.
    pub own_addresses: Vec<SocketAddr>,
    /// Asks how ingest stands. It must not wait.
    pub ingest: Arc<dyn Fn() -> IngestSnapshot + Send + Sync>,
}
