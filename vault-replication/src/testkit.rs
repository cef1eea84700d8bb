//! Values for the tests of this crate.

use gophership_catalogue::node::NodeState;
use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::{Command, State, apply};
use gophership_vault::ids::{EntryNumber, Epoch, FileUuid, Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::ledger::{OpenRecord, SealRecord, SegmentStats};
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

/// A catalogue of nodes, and of segments of their shard 0.
pub(crate) struct Cluster(pub(crate) State);

impl Cluster {
    /// The nodes 1 to `count`, each in a failure domain of its own.
    pub(crate) fn of(count: u32) -> Self {
        let mut cluster = Self(State::default());
        for n in 1..=count {
            cluster.register(n);
            cluster.describe(n, &format!("domain {n}"));
        }
        cluster
    }

    pub(crate) fn apply(&mut self, command: Command) {
        apply(&mut self.0, &command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
    }

    pub(crate) fn register(&mut self, n: u32) {
        let storage_uuid = Uuid::from_u128(n.into());
        self.apply(Command::RegisterNode { storage_uuid, at_ns: 1 });
        self.apply(Command::NodeUp {
            node: node(n),
            storage_uuid,
            boot_uuid: storage_uuid,
            seen: None,
            at_ns: 1,
        });
    }

    pub(crate) fn describe(&mut self, n: u32, failure_domain: &str) {
        self.name(n, format!("node-{n}"), failure_domain, None);
    }

    fn name(&mut self, n: u32, name: String, failure_domain: &str, replaces: Option<u32>) {
        self.apply(Command::DescribeNode {
            node: node(n),
            name,
            address: String::new(),
            failure_domain: failure_domain.to_owned(),
            replaces: replaces.map(node),
        });
    }

    /// A node was replaced: another one has its name.
    pub(crate) fn replace(&mut self, gone: u32, by: u32) {
        let name = self.0.facts(node(gone)).unwrap().name.clone();
        self.name(by, name, &format!("domain {by}"), Some(gone));
    }

    pub(crate) fn drain(&mut self, n: u32) {
        self.apply(Command::SetNodeState {
            node: node(n),
            state: NodeState::Draining,
            seen: None,
        });
    }

    /// Seals a segment of one entry with these holders, of a set of the nodes 1 to 3.
    pub(crate) fn seal(&mut self, owner: u32, index: u32, holders: &[u32], sealed_ns: u64) {
        self.seal_of(owner, index, &[1, 2, 3], (holders, sealed_ns), 1);
    }

    /// Seals a segment of one entry of which its holders are the whole set.
    pub(crate) fn seal_alone(&mut self, owner: u32, index: u32, holders: &[u32]) {
        self.seal_of(owner, index, holders, (holders, 0), 1);
    }

    /// Opens a segment with these replicas.
    pub(crate) fn open(&mut self, owner: u32, index: u32, peers: &[u32]) {
        let open = OpenRecord {
            id: segment(owner, index),
            ..opened(owner, peers)
        };
        let (seal, at_ns) = (None, 0);
        self.apply(Command::Roll { seal, open, at_ns });
    }

    /// Begins to recover a segment.
    pub(crate) fn recover(&mut self, owner: u32, index: u32) {
        let (id, request) = (segment(owner, index), Uuid::from_u128(1));
        self.apply(Command::BeginRecovery { id, request, at_ns: 1 });
    }

    /// Seals a segment without an entry.
    pub(crate) fn seal_empty(&mut self, owner: u32, index: u32) {
        self.seal_of(owner, index, &[1, 2, 3], (&[1, 2, 3], 0), 0);
    }

    fn seal_of(&mut self, owner: u32, index: u32, set: &[u32], (holders, sealed_ns): (&[u32], u64), entries: u64) {
        let id = segment(owner, index);
        let peers: Vec<u32> = set.iter().copied().filter(|n| *n != owner).collect();
        let open = OpenRecord {
            id,
            ..opened(owner, &peers)
        };
        let (seal, at_ns) = (None, 0);
        self.apply(Command::Roll { seal, open, at_ns });
        let last_lsn = (entries > 0).then_some(Lsn::at(id.index, EntryNumber::FIRST));
        let stats = SegmentStats {
            entries,
            first_lsn: last_lsn,
            last_lsn,
            ..SegmentStats::default()
        };
        let seal = SealRecord {
            id,
            epoch: Epoch::FIRST,
            stats,
            digest: DIGEST,
            sealed_ns,
            holders: nodes(holders),
        };
        self.apply(Command::Seal { seal });
    }

    pub(crate) fn sealed(&self, owner: u32, index: u32) -> SealRecord {
        match self.0.segment(segment(owner, index)) {
            Some(SegmentRecord::Sealed(seal)) => seal,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn plan(&mut self, owner: u32, index: u32, on: u32) {
        let (id, node) = (segment(owner, index), node(on));
        self.apply(Command::CopyPlanned { id, node });
    }

    /// A node has a copy.
    pub(crate) fn add(&mut self, owner: u32, index: u32, on: u32) {
        let (id, node, digest) = (segment(owner, index), node(on), DIGEST);
        self.apply(Command::ReplicaAdded { id, node, digest });
    }
}

const DIGEST: [u8; 32] = [7; 32];

pub(crate) fn segment(owner: u32, index: u32) -> SegmentId {
    SegmentId {
        node: node(owner),
        shard: ShardId::new(0),
        index: SegmentIndex::new(index).unwrap(),
    }
}
