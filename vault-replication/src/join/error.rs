//! What can go wrong when a cluster is provisioned or joined, in words for an operator, with the way out.

use std::path::PathBuf;

use gophership_catalogue::CatalogueError;
use gophership_vault::VaultError;
use gophership_vault::ids::{ClusterId, NodeId};
use thiserror::Error;

use crate::peer::wire::WireError;

/// The reason for which a node was not provisioned or did not join.
#[derive(Debug, Error)]
pub enum JoinError {
    /// A peer could not be asked.
    #[error("{peer} did not answer: {why}")]
    Unanswered {
        /// The peer.
        peer: String,
        /// The reason.
        why: String,
    },
    /// A peer is there, and one of the two does not take the other.
    #[error("{peer} is there, and there is no connection with it: {why}")]
    NotConnected {
        /// The peer.
        peer: String,
        /// The reason.
        why: String,
    },
    /// A peer said no.
    #[error("{peer} refuses: {why}")]
    Refused {
        /// The peer.
        peer: String,
        /// Its reason.
        why: String,
    },
    /// What a peer said makes no sense.
    #[error("{peer} said what makes no sense: {odd}")]
    Odd {
        /// The peer.
        peer: String,
        /// The fault.
        odd: WireError,
    },
    /// Several nodes have the data of a single node.
    #[error(
        "{} each have the data of a single node, and a cluster begins with that of one at most: decide which one is \
         kept, and start the others with an empty node.data_dir", .names.join(" and ")
    )]
    SeveralWithData {
        /// The nodes.
        names: Vec<String>,
    },
    /// Peers are members of different clusters.
    #[error(
        "{} are members of different clusters of one name: start those of the wrong one with an empty node.data_dir",
        .names.join(" and ")
    )]
    SeveralClusters {
        /// The nodes, one of each cluster.
        names: Vec<String>,
    },
    /// This node was asked to begin, and another one is the first.
    #[error("{first} is to be the first node, not this one: run gs-ctl cluster provision there")]
    NotFirst {
        /// The first node.
        first: String,
    },
    /// Too few peers accepted the invitation.
    #[error(
        "{accepted} of {of} nodes accepted the invitation, and {needed} must: {}. It stands: provision again once more \
         of them can be reached, or run gs-ctl cluster provision --abort on each node that accepted",
        .refusals.join("; ")
    )]
    NoMajority {
        /// Nodes that accepted, this one included.
        accepted: usize,
        /// Nodes that must.
        needed: usize,
        /// Nodes of the configuration.
        of: usize,
        /// The answers of the others.
        refusals: Vec<String>,
    },
    /// The node has accepted another invitation.
    #[error(
        "{name} has accepted the invitation of {first}, and accepts no other: provision on {first}, or run gs-ctl \
         cluster provision --abort on {name}"
    )]
    Invited {
        /// The node.
        name: String,
        /// The first node of that invitation.
        first: String,
    },
    /// A node with data does not join the cluster of another.
    #[error(
        "{name} has data of its own, and does not join the cluster that {first} begins: start it with an empty \
         node.data_dir, or provision anew with {name} as the one node with data"
    )]
    HasData {
        /// The node.
        name: String,
        /// The first node of the cluster.
        first: String,
    },
    /// A node that is to take in an archive has data of its own.
    #[error(
        "{name} has the data of a single node, and an archive is restored into an empty cluster only: start {name} \
         with an empty node.data_dir"
    )]
    NotEmptyForRestore {
        /// The node.
        name: String,
    },
    /// The invitation that stands is without this restore.
    #[error(
        "{name} has invited already, without this restore: to begin anew with it, run gs-ctl cluster provision --abort \
         on each node that accepted"
    )]
    OtherRestore {
        /// The node.
        name: String,
    },
    /// The node is a member already.
    #[error("{name} is a member of cluster {} already", .cluster.0)]
    IsMember {
        /// The node.
        name: String,
        /// The cluster's id.
        cluster: ClusterId,
    },
    /// The cluster is there, and this node has data of its own.
    #[error(
        "{member} is a member of cluster {}, and this node's folder has data of its own, which no cluster takes \
         in: start it with an empty node.data_dir to join (keep the old folder: as a single node, without `cluster` in \
         its configuration, it can be replayed into the cluster)", .cluster.0
    )]
    OwnData {
        /// A member.
        member: String,
        /// The cluster's id.
        cluster: ClusterId,
    },
    /// This node is no member.
    #[error("{name} is no member of a cluster yet")]
    NoMember {
        /// The node.
        name: String,
    },
    /// The node that has the caller's name is alive.
    #[error(
        "{name} is the name of node {holder}, which is alive at {address}: two nodes cannot have one name. Stop that \
         one, or give this one its own node.name"
    )]
    NameHeld {
        /// The name.
        name: String,
        /// The node that has it.
        holder: NodeId,
        /// Its address.
        address: String,
    },
    /// No process that is to join answers where the caller's name is to be.
    #[error(
        "a node had the name {name} before, and none that is to join answers at {address}, where cluster.peers has it: \
         {why}. Start it there, or give it its own node.name"
    )]
    NotThere {
        /// The name.
        name: String,
        /// The address that is configured for it.
        address: String,
        /// The answer from there, or the lack of one.
        why: String,
    },
    /// The file of an invitation is damaged, or of another cluster.
    #[error("{path}: {what}. Remove the file where this node is to be provisioned anew", path = .path.display())]
    BadInvitation {
        /// The file.
        path: PathBuf,
        /// The fault.
        what: String,
    },
    /// The invitation cannot be kept.
    #[error(transparent)]
    File(#[from] VaultError),
    /// The catalogue did not take a command.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A call ended with a panic.
    #[error("a call ended with a panic: {why}")]
    Panicked {
        /// The panic.
        why: String,
    },
}
