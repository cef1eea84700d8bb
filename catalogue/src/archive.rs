//! The record of what is archived: objects, from the lease of their segments to the manifest that lists them.
//!
//! **Invariants**:
//! - I1: a segment is in one object at most. Only a doomed object sets its segments free.
//! - I2: an object has one name at a time, its lease and attempt; a name that was doomed never counts again.
//! - I3: the numbers of leases and manifests never go back.
//!
//! **Not here**: the rules of the commands (`apply/archive.rs`); the names of objects in a store (crate `archiver`).

use gophership_vault::ids::{Epoch, NodeId, SegmentId};
use gophership_vault::time::TimeRange;
use uuid::Uuid;

/// A lease, by the number that the catalogue gave it; from 1, never reused.
pub type LeaseNumber = u64;

/// Segments that are one object, or are to become one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArchiveObject {
    /// The id of the store that the object is in.
    pub store: Uuid,
    /// The segments in it, in its order; all are of one node.
    pub members: Vec<SegmentId>,
    /// The number of entries in them.
    pub entries: u64,
    /// The number of records in them; deferred entries count none.
    pub records: u64,
    /// The times at which the entries were received.
    pub received: TimeRange,
    /// The times of their events; a deferred entry's received time counts as its event time.
    pub event: TimeRange,
    /// The attempt that is under way, or was the last, from 1. Objects of earlier attempts are doomed.
    pub attempt: u32,
    /// The node that makes it, or made it.
    pub holder: NodeId,
    /// That node's boot.
    pub epoch: Epoch,
    /// Its state.
    pub state: ObjectState,
}

/// The state of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectState {
    /// Its segments are leased, and it may be in the store or not.
    Leased,
    /// It is doomed: no object of this lease ever counts. One that was committed may be, before a manifest lists it.
    Doomed,
    /// It is in the store, and was verified.
    Committed(Stored),
    /// It is listed in a manifest that is in the store, and was verified.
    Listed {
        /// The object.
        stored: Stored,
        /// The number of the manifest.
        manifest: u64,
    },
}

/// An object as it is in its store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its bytes.
    pub bytes: u64,
    /// BLAKE3 over them.
    pub digest: [u8; 32],
    /// Time of the commit on the vault's clock of its node, nanoseconds since the Unix epoch.
    pub at_ns: u64,
}

/// The newest manifest. The next one has its number and one more, and names its hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ManifestHead {
    /// The id of the store that it is in; nil before the first.
    pub store: Uuid,
    /// Its number; 0 before the first.
    pub seq: u64,
    /// BLAKE3 over its bytes; zeros before the first.
    pub hash: [u8; 32],
}

/// The counters of the archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ArchiveCounters {
    /// The latest lease; 0 before the first.
    pub lease: LeaseNumber,
    /// The newest manifest.
    pub head: ManifestHead,
}

impl ArchiveObject {
    /// True where it is in the store and verified, in a manifest or not yet.
    pub fn is_stored(&self) -> bool {
        match self.state {
            ObjectState::Committed(_) | ObjectState::Listed { .. } => true,
            ObjectState::Leased | ObjectState::Doomed => false,
        }
    }
}
