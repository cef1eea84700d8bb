//! A segment of node 1 as its cutter gave it to the tail streams.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gophership_catalogue::{Actor, Catalogue, Command, LocalCatalogue};
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{Lsn, SegmentId, TenantId};
use gophership_vault::{
    BlockSink, CopyStore, DataDir, NodeSet, OnFull, OwnedFrame, Release, ReplicaSet, SegmentHeader, ShardSeam,
    TailFrame, Vault, VaultOptions,
};
use gophership_vault_replication::consensus::testkit::eventually;
use gophership_vault_replication::peer::wire::tail::SentFrame;
use uuid::Uuid;

use crate::support::{CLUSTER, node};

/// A segment, whole.
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) frames: Vec<SentFrame>,
    pub(crate) digest: [u8; 32],
}

#[derive(Clone, Default)]
struct Tap(Arc<Mutex<(Option<SegmentHeader>, Vec<SentFrame>)>>);

impl BlockSink for Tap {
    fn wants_frame(&self) -> bool {
        true
    }

    fn begin(&mut self, header: &SegmentHeader) {
        self.0.lock().unwrap().0.get_or_insert_with(|| header.clone());
    }

    fn frame(&mut self, frame: TailFrame<'_>) {
        // It holds one entry.
        let frame = OwnedFrame::of(frame.last_lsn, &frame);
        self.0.lock().unwrap().1.push(Arc::new(frame).into());
    }

    fn complete(&mut self, _: SegmentId, _: Option<Lsn>, _: [u8; 32]) {}
}

/// Writes a segment with this many entries, each in a frame of its own.
pub(crate) fn write(entries: usize) -> Segment {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open_or_join(folder.path(), true, |_| Ok((CLUSTER, node(1)))).unwrap();
    let catalogue = LocalCatalogue::open(&folder.path().join("catalogue.redb"), data.identity()).unwrap();
    let catalogue: Arc<dyn Catalogue> = Arc::new(catalogue);
    for _ in 2..=3 {
        let storage_uuid = Uuid::new_v4();
        let register = Command::RegisterNode { storage_uuid, at_ns: 1 };
        catalogue.submit(Actor::Node, register).unwrap();
    }
    let epoch = catalogue.node_up(Uuid::new_v4(), None).unwrap();
    let options = VaultOptions {
        shards: 1,
        segment_size: 1 << 20,
        segment_age: Duration::from_secs(3600),
        spares: 2,
        disk_limit: 1 << 40,
        retention: Duration::from_secs(3600),
        release: Release::AtRetention,
        on_full: OnFull::Refuse,
        recovery: gophership_vault::RecoveryBy::Itself,
    };
    let tap = Tap::default();
    let replicas = ReplicaSet::new(NodeSet::from_nodes([node(2), node(3)]).unwrap(), 2).unwrap();
    let seam = ShardSeam {
        notify: Box::new(|| {}),
        placement: Box::new(move |_| replicas),
        sink: Some(Box::new(tap.clone())),
    };
    let (vault, mut writers) = Vault::open(data, &options, epoch, catalogue.ledger(), vec![seam]).unwrap();
    for n in 1..=entries {
        let meta = EntryMeta {
            received_ns: n as u64,
            min_event_ns: 1,
            max_event_ns: 2,
            record_count: 3,
            tenant: TenantId::DEFAULT,
            encoding: Encoding::Identity,
            state: EntryState::PLAIN,
        };
        let payload = format!("entry {n} ").repeat(n % 7 * 20 + 1).into_bytes();
        let lsn = eventually("an append", || {
            writers[0]
                .must_append(&meta, payload.len(), std::iter::once(&payload[..]))
                .ok()
        });
        eventually("a frame", || {
            vault.wake_cutter(node_segment(&tap)?);
            (tap.0.lock().unwrap().1.last()?.last_lsn == lsn).then_some(())
        });
    }
    let (header, frames) = std::mem::take(&mut *tap.0.lock().unwrap());
    vault.close(writers);
    let header = header.unwrap();
    // What a replica that has all of it says.
    let copy = tempfile::tempdir().unwrap();
    let mut copy = CopyStore::in_folder(copy.path(), node(9))
        .unwrap()
        .open(header.clone())
        .unwrap();
    frames.iter().for_each(|frame| copy.append(frame.borrow()).unwrap());
    let digest = copy.sync().unwrap().unwrap().digest;
    Segment { header, frames, digest }
}

fn node_segment(tap: &Tap) -> Option<SegmentId> {
    tap.0.lock().unwrap().0.as_ref().map(|header| header.id)
}
