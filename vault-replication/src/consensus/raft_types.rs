//! The types for openraft: the content of an entry, its answer, and a member.
//!
//! **Not here**: their bytes (`wire.rs`).

use gophership_catalogue::Outcome;
use uuid::Uuid;

use super::snapshot_file::SnapshotFile;

openraft::declare_raft_types!(
    /// The types of the catalogue's log.
    pub TypeConfig:
        D = Proposal,
        R = Option<Outcome>,
        NodeId = u64,
        Node = Member,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = SnapshotFile,
);

pub(crate) type Raft = openraft::Raft<TypeConfig>;
pub(crate) type Entry = openraft::Entry<TypeConfig>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type RaftLogId = openraft::LogId<u64>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, Member>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, Member>;
pub(crate) type Snapshot = openraft::Snapshot<TypeConfig>;
pub(crate) type StorageError = openraft::StorageError<u64>;

/// A command on its way through the log. An entry that is no command is answered with `None`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// The number by which the submitting node recognises it when it is applied.
    pub ticket: Uuid,
    /// The stored form of the [`Request`](gophership_catalogue::Request).
    pub request: Vec<u8>,
}

/// A node of the cluster, as its peers reach it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Member {
    /// The name that its certificate must have.
    pub name: String,
    /// Host and port at which it listens for peers.
    pub address: String,
}
