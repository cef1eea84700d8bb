//! The record of a node.
//!
//! **Invariants**:
//! - I1: a node's epoch never goes back.
//! - I2: a node id is granted once and stays with its storage.

use std::fmt;

use gophership_vault::ids::{Epoch, NodeId};
use uuid::Uuid;

/// What needs a node, by the record: an operator who has it removed may lose that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needed {
    /// Segments that it wrote and that are not sealed.
    pub unsealed: u64,
    /// Segments of which too few copies are elsewhere.
    pub segments: u64,
    /// Dead letters of whose entries too few copies are elsewhere.
    pub letters: u64,
    /// BLAKE3 over all of these, so that others of the same number differ.
    pub digest: [u8; 32],
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            unsealed,
            segments,
            letters,
            digest: _,
        } = self;
        write!(
            f,
            "{unsealed} segments that are not sealed, {segments} with too few copies elsewhere, {letters} dead letters"
        )
    }
}

/// The participation of a node. The numbers are stored; none is ever reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum NodeState {
    /// It takes ingest.
    Active = 1,
    /// It is leaving: its segments are still served, and it takes no more ingest.
    Draining = 2,
}

impl NodeState {
    /// Every state there is.
    pub const ALL: [Self; 2] = [Self::Active, Self::Draining];

    /// From the stored number.
    pub fn from_stored(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|s| *s as u8 == value)
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "Active",
            Self::Draining => "Draining",
        })
    }
}

/// A boot of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Boot {
    /// Its number; every older one is fenced.
    pub epoch: Epoch,
    /// The uuid that the process chose; the same one again is the same boot.
    pub boot_uuid: Uuid,
    /// Time at which it was granted, nanoseconds since the Unix epoch.
    pub up_ns: u64,
}

/// A node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeRecord {
    /// Its number.
    pub id: NodeId,
    /// Its storage; another one under the same number is refused.
    pub storage_uuid: Uuid,
    /// Its participation.
    pub state: NodeState,
    /// Time of its registration, nanoseconds since the Unix epoch.
    pub registered_ns: u64,
    /// Its latest boot.
    pub boot: Option<Boot>,
    /// The number of changes of its state.
    pub version: u64,
}

/// What is known of a node beside its record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeFacts {
    /// The name that its certificate carries.
    pub name: String,
    /// Host and port at which its peers reach it.
    pub address: String,
    /// The part of the site that fails as a whole.
    pub failure_domain: String,
    /// The node that has the name now: this one's storage was wiped, and joined anew under that number. The node itself
    /// where an operator removed it: nobody has the name from it then.
    pub moved_to: Option<NodeId>,
}

impl NodeRecord {
    /// The epoch that may open segments.
    pub fn epoch(&self) -> Option<Epoch> {
        self.boot.map(|b| b.epoch)
    }
}
