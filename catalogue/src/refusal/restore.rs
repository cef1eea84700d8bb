//! Reasons for which the catalogue refuses a command for the sake of a restore.

use gophership_vault::ids::NodeId;
use thiserror::Error;
use uuid::Uuid;

use crate::archive::LeaseNumber;

/// The reason for which a command was refused that is about a restore, or meets one.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RestoreRefusal {
    /// A restore is to begin where something is on record.
    #[error("a restore begins in an empty cluster, and this one has something on record")]
    NotEmpty,
    /// The cluster did not begin with a restore.
    #[error(
        "this cluster did not begin with a restore, and takes in nothing from another archive: a restore needs nodes \
         with an empty node.data_dir"
    )]
    None,
    /// The cluster began with another restore.
    #[error("this cluster began with restore {known}, and goes on with no other")]
    Other {
        /// The restore.
        known: Uuid,
    },
    /// The restore is complete.
    #[error("the restore of this cluster is complete: nothing more is taken in")]
    Over,
    /// The restore takes objects in for the first time.
    #[error("the cluster is being restored: it archives once that has ended (gs-ctl cluster status)")]
    Runs,
    /// An object is of a node with the number of one of this cluster.
    #[error("node {node} of the archive is not below node {first}, the first of this cluster")]
    NotBelow {
        /// The node.
        node: NodeId,
        /// The first node of this cluster.
        first: NodeId,
    },
    /// An object has the lease of another one.
    #[error("lease {lease} is that of another object")]
    LeaseGiven {
        /// The lease.
        lease: LeaseNumber,
    },
}
