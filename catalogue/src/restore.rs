//! The record of a restore: a cluster that began empty, and takes in what an archive has.
//!
//! **Invariants**:
//! - I1: a cluster is restored at its beginning or never: the record is made before its first node is registered.
//! - I2: every node of the archive has a lower number than the cluster's own nodes, so no segment number is given
//!   twice.
//!
//! **Not here**: the rules of the commands (`apply/restore.rs`); the reading of an archive (crate `archiver`).

use gophership_vault::ids::NodeId;
use uuid::Uuid;

use crate::archive::{ArchiveObject, LeaseNumber, ManifestHead};

/// What is restored, and from where. The cluster has the id of the cluster in the archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoreOrigin {
    /// The id of this restore. It tells the cluster from earlier ones of the same cluster id.
    pub id: Uuid,
    /// The id of the store that the archive is in.
    pub store: Uuid,
    /// The URL of that store.
    pub url: String,
    /// The number of the first node, above that of every node in the archive.
    pub first_node: NodeId,
    /// The number of this restore among all of this archive, from 1. It supersedes those of lower numbers.
    pub generation: u32,
}

/// How far a restore is. The numbers are stored; none is ever reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum RestoreState {
    /// Objects are being taken in, for the first time: until it ends the cluster archives nothing.
    Running = 1,
    /// It has ended, and something could not be read: it can be run again.
    Incomplete = 2,
    /// It has ended, with everything, or an operator accepted the loss of the rest.
    Complete = 3,
}

impl RestoreState {
    /// From the stored number.
    pub fn from_stored(value: u8) -> Option<Self> {
        [Self::Running, Self::Incomplete, Self::Complete]
            .into_iter()
            .find(|state| *state as u8 == value)
    }

    /// The name that is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Incomplete => "incomplete",
            Self::Complete => "complete",
        }
    }
}

/// The record of a restore.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoreRecord {
    /// What is restored.
    pub origin: RestoreOrigin,
    /// Its state.
    pub state: RestoreState,
    /// Time of its beginning, nanoseconds since the Unix epoch.
    pub began_ns: u64,
    /// Time of its latest end, nanoseconds since the Unix epoch; 0 before the first.
    pub ended_ns: u64,
    /// Objects that were taken in.
    pub objects: u64,
    /// Segments in them.
    pub segments: u64,
    /// The parts of the archive that could not be taken in, at the latest end. In a complete restore their loss was
    /// accepted.
    pub missing: u64,
    /// Names of some of these parts, each with what is wrong with it.
    pub names: Vec<String>,
}

/// An object that is taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoredObject {
    /// The lease that made it, which is a part of its name.
    pub lease: LeaseNumber,
    /// Its record: committed where no manifest that could be read lists it, else listed.
    pub object: ArchiveObject,
}

/// The end of one run of a restore.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoreEnd {
    /// The newest manifest of the archive, which the cluster's own follow.
    pub head: ManifestHead,
    /// The highest lease of any object in the archive, taken in or not.
    pub lease: LeaseNumber,
    /// The parts of the archive that could not be taken in.
    pub missing: u64,
    /// Names of some of them.
    pub names: Vec<String>,
    /// True where an operator accepts their loss.
    pub accept_loss: bool,
    /// The present time, nanoseconds since the Unix epoch.
    pub at_ns: u64,
}
