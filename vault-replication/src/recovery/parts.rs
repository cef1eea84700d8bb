//! What recoveries need of their node.

use std::sync::Arc;

use gophership_catalogue::Catalogue;
use gophership_vault::ids::NodeId;
use tokio::runtime::Handle;

use crate::peer::{Heartbeats, Members, PeerClient, RecoveryHandler};

/// Says whether this node leads the cluster.
pub type Leads = Box<dyn Fn() -> bool + Send + Sync>;

/// A clock, in nanoseconds since the Unix epoch.
pub type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// The parts of its node that recoveries need.
pub struct Parts {
    /// This node.
    pub node: NodeId,
    /// The catalogue of the cluster.
    pub catalogue: Arc<dyn Catalogue>,
    /// Says whether this node leads.
    pub leads: Leads,
    /// Calls to other nodes.
    pub client: PeerClient,
    /// The members of the cluster.
    pub members: Members,
    /// Which of them are alive.
    pub heartbeats: Arc<Heartbeats>,
    /// This node as a holder.
    pub local: Arc<dyn RecoveryHandler>,
    /// The clock of this node's vault, by which segments are sealed; nanoseconds since the Unix epoch.
    pub clock_ns: Clock,
    /// The runtime on which requests run.
    pub runtime: Handle,
}
