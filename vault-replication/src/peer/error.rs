//! What can go wrong with a peer, by what it means for the one who called.

use std::io;
use std::net::SocketAddr;

use gophership_vault::RecoveryNumber;
use gophership_vault::ids::NodeId;
use thiserror::Error;

use super::wire::WireError;

/// A call to a peer did not succeed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PeerError {
    /// There is no connection: nothing left this node.
    #[error("node {node} cannot be reached: {why}")]
    Unreachable {
        /// The peer.
        node: NodeId,
        /// The reason.
        why: String,
    },
    /// The peer does not talk to this node, or is not the one that was meant. It did nothing.
    #[error("node {node} does not talk to this node: {why}")]
    Refused {
        /// The peer.
        node: NodeId,
        /// The reason.
        why: String,
    },
    /// The answer did not come, or not all of it. What was asked for may have been done.
    #[error("node {node} did not answer: {why}")]
    Unanswered {
        /// The peer.
        node: NodeId,
        /// The reason.
        why: String,
    },
    /// The peer obeys a later recovery of the segment.
    #[error("node {node} obeys recovery {promised}, which is a later one")]
    StaleRecovery {
        /// The peer.
        node: NodeId,
        /// The number of the recovery that it obeys.
        promised: RecoveryNumber,
    },
    /// The peer could not do it.
    #[error("node {node} could not do it: {why}")]
    Failed {
        /// The peer.
        node: NodeId,
        /// The reason.
        why: String,
    },
    /// The peer has what was asked for, and it is damaged.
    #[error("node {node} cannot read it: {why}")]
    Damaged {
        /// The peer.
        node: NodeId,
        /// The reason.
        why: String,
    },
    /// What the peer said makes no sense.
    #[error("node {node} said what makes no sense: {odd}")]
    Odd {
        /// The peer.
        node: NodeId,
        /// The fault.
        odd: WireError,
    },
}

/// The peers' port cannot be served, or certificates cannot be used.
#[derive(Debug, Error)]
pub enum PeerStartError {
    /// Peers would talk without TLS over a network.
    #[error(
        "{address} is no loopback address, and peers talk without TLS on loopback only: give listeners.peer a `tls` \
         with cert, key and client_ca (`gophership certs` makes them)"
    )]
    PlainOffLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The listener cannot be used.
    #[error("the peers' port cannot be used: {0}")]
    Listener(#[from] io::Error),
    /// A certificate, key or authority cannot be used.
    #[error("the certificates for peers cannot be used: {0}")]
    Certificates(String),
}
