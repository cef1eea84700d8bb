//! Values for the tests of this crate.

use gophership_vault::ids::{EntryNumber, Epoch, FileUuid, NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::ledger::OpenRecord;
use gophership_vault::{Durable, Entries, HeldReport, NodeSet, ReplicaSet};
use uuid::Uuid;

pub(crate) fn node(n: u32) -> NodeId {
    NodeId::new(n).unwrap()
}

pub(crate) fn nodes(of: &[u32]) -> NodeSet {
    NodeSet::from_nodes(of.iter().map(|n| node(*n))).unwrap()
}

pub(crate) fn number(n: u32) -> EntryNumber {
    EntryNumber::new(n).unwrap()
}

pub(crate) const FILE: FileUuid = FileUuid(Uuid::from_u128(7));

/// Entries with these numbers; the CRC of each tells its number.
pub(crate) fn entries(numbers: &[u32]) -> Entries {
    numbers.iter().map(|n| (number(*n), n * 100)).collect()
}

/// The record of a segment of `owner` with these replicas, of which two copies make an acknowledgement.
pub(crate) fn opened(owner: u32, peers: &[u32]) -> OpenRecord {
    OpenRecord {
        id: SegmentId {
            node: node(owner),
            shard: ShardId::new(0),
            index: SegmentIndex::FIRST,
        },
        epoch: Epoch::FIRST,
        file_uuid: FILE,
        replicas: ReplicaSet::new(nodes(peers), 2).unwrap(),
    }
}

/// The report of a node that has these entries, and knows the owner to have synced so far.
pub(crate) fn report(holder: u32, numbers: &[u32], synced: u32) -> HeldReport {
    HeldReport {
        file_uuid: Some(FILE),
        entries: entries(numbers),
        durable: Durable {
            to: EntryNumber::new(synced),
            ..Durable::default()
        },
        ..HeldReport::nothing(node(holder))
    }
}
