//! What both ends of the peers' port go by.

use super::identity::{Ends, LocalNode, PeerList};
use super::limits::AROUND_PAYLOAD_BYTES;
use super::tls::PeerSecurity;

/// What both ends of the peers' port go by.
#[derive(Debug)]
pub struct PeerSetup {
    /// This node.
    pub local: LocalNode,
    /// Its peers.
    pub list: PeerList,
    /// Certificates.
    pub security: PeerSecurity,
    /// Bytes of the largest payload that any node of the cluster takes.
    pub payload_bytes_max: usize,
}

impl Ends for PeerSetup {
    fn list(&self) -> &PeerList {
        &self.list
    }

    fn security(&self) -> &PeerSecurity {
        &self.security
    }
}

impl PeerSetup {
    /// Bytes of a message of the tail stream, and of recovery.
    pub(super) fn message_bytes_max(&self) -> usize {
        self.payload_bytes_max + self.payload_bytes_max / 128 + AROUND_PAYLOAD_BYTES
    }
}
