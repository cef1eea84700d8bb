//! What the control service is given.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use gophership_catalogue::Catalogue;
use gophership_somatic::{Thresholds, Throttle, ZoneCell};
use gophership_vault::Vault;

use super::snapshot::IngestSnapshot;
use crate::export::Exporters;
use crate::stochastic::Environment;

/// What the control service needs of its node.
#[derive(Clone)]
pub struct ControlContext {
    /// The node's vault.
    pub vault: Vault,
    /// The node's catalogue.
    pub catalogue: Arc<dyn Catalogue>,
    /// `node.name`.
    pub node_name: String,
    /// When this boot began, nanoseconds since the Unix epoch.
    pub started_unix_nano: u64,
    /// Where the node takes OTLP: a replay does not send there by mistake.
    pub own_addresses: Vec<SocketAddr>,
    /// The node's exporters.
    pub exporters: Arc<Exporters>,
    /// What paces the jobs behind the ack.
    pub throttle: Throttle,
    /// Bytes of the largest message, inflated.
    pub max_message: usize,
    /// The zone.
    pub zone: Arc<ZoneCell>,
    /// Where zones begin.
    pub thresholds: Thresholds,
    /// The machine's pressure as last read.
    pub environment: Arc<ArcSwap<Environment>>,
    /// `vault.on_full`.
    pub on_full: &'static str,
    /// Asks how ingest stands. It must not wait.
    pub ingest: Arc<dyn Fn() -> IngestSnapshot + Send + Sync>,
}
