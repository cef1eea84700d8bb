//! The seam that replication will use, without a network: blocks go from one vault's cutter to copies in other folders, and their answers move the watermark.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gophership_vault::ids::{Epoch, Lsn, NodeId, SegmentId};
use gophership_vault::ledger::Ledger;
use gophership_vault::{
    BlockSink, DataDir, NodeSet, OutBlock, Placement, ReplicaSegment, ReplicaSet, SegmentHeader, ShardSeam,
    ShardWriter, Vault, VaultError, VaultOptions, Watermark, verify_segment,
};
use support::*;

#[derive(Clone)]
struct Block {
    id: SegmentId,
    epoch: Epoch,
    block_no: u32,
    bytes: Vec<u8>,
    crc: u32,
    last_lsn: Lsn,
}

impl Block {
    fn out(&self) -> OutBlock<'_> {
        let Self {
            id,
            epoch,
            block_no,
            crc,
            last_lsn,
            ..
        } = *self;
        OutBlock {
            id,
            epoch,
            block_no,
            bytes: &self.bytes,
            crc,
            last_lsn,
        }
    }
}

#[derive(Clone)]
enum Message {
    Begin(SegmentHeader),
    Block(Block),
    Complete(SegmentId),
}

impl Message {
    fn id(&self) -> SegmentId {
        match self {
            Self::Begin(header) => header.id,
            Self::Block(block) => block.id,
            Self::Complete(id) => *id,
        }
    }
}

/// What the owner has sent, for those that come later, and who is there.
#[derive(Default)]
struct Link {
    log: Vec<Message>,
    peers: Vec<Sender<Message>>,
}

#[derive(Clone, Default)]
struct Tap(Arc<Mutex<Link>>);

impl Tap {
    fn send(&self, message: Message) {
        let mut link = self.0.lock().unwrap();
        // A peer that is gone hears nothing.
        link.peers.retain(|peer| peer.send(message.clone()).is_ok());
        link.log.push(message);
    }

    /// A stream of everything sent so far and from now on.
    fn join(&self) -> Receiver<Message> {
        let (sender, receiver) = channel();
        let mut link = self.0.lock().unwrap();
        link.log.iter().for_each(|m| sender.send(m.clone()).unwrap());
        link.peers.push(sender);
        receiver
    }

    fn blocks(&self) -> Vec<Block> {
        let link = self.0.lock().unwrap();
        link.log
            .iter()
            .filter_map(|m| {
                if let Message::Block(b) = m {
                    Some(b.clone())
                } else {
                    None
                }
            })
            .collect()
    }
}

impl BlockSink for Tap {
    fn begin(&mut self, header: &SegmentHeader) {
        self.send(Message::Begin(header.clone()));
    }

    fn block(&mut self, b: OutBlock<'_>) {
        self.send(Message::Block(Block {
            id: b.id,
            epoch: b.epoch,
            block_no: b.block_no,
            bytes: b.bytes.to_vec(),
            crc: b.crc,
            last_lsn: b.last_lsn,
        }));
    }

    fn complete(&mut self, id: SegmentId) {
        self.send(Message::Complete(id));
    }
}

/// A peer: takes blocks into its folder and answers, until the stream ends. Gives back the digest of each segment it completed.
struct Peer {
    stop: Arc<OnceLock<()>>,
    /// The last entry that it answered for.
    answered: Arc<Mutex<Option<Lsn>>>,
    thread: JoinHandle<BTreeMap<SegmentId, [u8; 32]>>,
}

impl Peer {
    fn start(node: u32, data: &Path, tap: &Tap, mark: Arc<Watermark>) -> Self {
        Self::start_with(node, data, tap, mark, |_| true)
    }

    /// One that only gets the segments that `takes` says.
    fn start_with(node: u32, data: &Path, tap: &Tap, mark: Arc<Watermark>, takes: fn(SegmentId) -> bool) -> Self {
        let node = NodeId::new(node).unwrap();
        let (stream, data, stop) = (tap.join(), data.to_path_buf(), Arc::new(OnceLock::new()));
        let (stopped, answered) = (Arc::clone(&stop), Arc::<Mutex<Option<Lsn>>>::default());
        let answers = Arc::clone(&answered);
        let thread = thread::spawn(move || {
            let mut open: BTreeMap<SegmentId, ReplicaSegment> = BTreeMap::new();
            let mut done = BTreeMap::new();
            while stopped.get().is_none() {
                match stream.recv_timeout(Duration::from_millis(5)) {
                    Ok(message) if !takes(message.id()) => {}
                    Ok(Message::Begin(header)) => {
                        drop(open.insert(header.id, ReplicaSegment::open(&data, header).unwrap()))
                    }
                    Ok(Message::Block(block)) => {
                        let ack = open.get_mut(&block.id).unwrap().append(block.out()).unwrap();
                        assert!(ack.block_no >= block.block_no && ack.last_lsn >= block.last_lsn);
                        mark.peer_synced(node, ack.last_lsn);
                        *answers.lock().unwrap() = Some(ack.last_lsn);
                    }
                    Ok(Message::Complete(id)) => {
                        done.insert(id, open.remove(&id).unwrap().complete(&data).unwrap());
                    }
                    Err(_) => {}
                }
            }
            done
        });
        Self { stop, answered, thread }
    }

    /// Waits until it has answered for this entry.
    fn wait_answered(&self, lsn: Lsn) {
        wait("the peer's answer", || *self.answered.lock().unwrap() >= Some(lsn));
    }

    fn stop(self) -> BTreeMap<SegmentId, [u8; 32]> {
        let _ = self.stop.set(());
        self.thread.join().unwrap()
    }
}

struct Owner {
    dir: tempfile::TempDir,
    tap: Tap,
    vault: Vault,
    writers: Vec<ShardWriter>,
}

/// A replica set of these nodes beside the owner.
fn set(peers: &[u32], copies: u8) -> ReplicaSet {
    let peers = peers.iter().map(|n| NodeId::new(*n).unwrap());
    ReplicaSet::new(NodeSet::from_nodes(peers).unwrap(), copies).unwrap()
}

/// A node whose segments all have this replica set.
fn owner(replicas: ReplicaSet, options: &VaultOptions) -> Owner {
    owner_with(Box::new(move |_| replicas), options)
}

fn owner_with(placement: Placement, options: &VaultOptions) -> Owner {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let tap = Tap::default();
    let seam = ShardSeam {
        notify: Box::new(|| {}),
        placement,
        sink: Some(Box::new(tap.clone())),
    };
    let data = DataDir::open(dir.path(), true).unwrap();
    let (vault, writers) = Vault::open(
        data,
        options,
        ledger.next_epoch(),
        ledger as Arc<dyn Ledger>,
        vec![seam],
    )
    .unwrap();
    Owner {
        dir,
        tap,
        vault,
        writers,
    }
}

impl Owner {
    fn append(&mut self, from: u64, to: u64) -> Lsn {
        (from..to)
            .map(|n| append(&mut self.writers[0], n, &payload(n, 700)))
            .last()
            .unwrap()
    }

    fn mark(&self) -> Arc<Watermark> {
        self.writers[0].watermark()
    }

    fn wait_durable(&self, lsn: Lsn) {
        wait("the own sync", || self.writers[0].watermark().durable() >= Some(lsn));
    }

    fn close(self) {
        self.vault.close(self.writers);
    }
}

fn same_digests(owner: &Owner, peer_dir: &Path, digests: &BTreeMap<SegmentId, [u8; 32]>) {
    let sealed = sealed(&owner.vault);
    assert!(sealed.len() > 1);
    for record in sealed {
        assert_eq!(digests.get(&record.id), Some(&record.digest), "{}", record.id);
        let name = format!(
            "segments/{:010}/{:04}/{:012}.seg",
            record.id.node,
            record.id.shard.get(),
            record.id.index
        );
        let report = verify_segment(&peer_dir.join(&name), record.id, Some(record.digest), &mut |_, _| {}).unwrap();
        assert!(report.ok, "{:?}", report.faults);
        assert_eq!(
            std::fs::read(peer_dir.join(&name)).unwrap(),
            std::fs::read(owner.dir.path().join(&name)).unwrap(),
            "byte for byte"
        );
    }
}

/// Waits until the peers have completed as many segments as the owner has sealed.
fn wait_complete(owner: &Owner, peer_dir: &Path) {
    wait("the copies", || {
        sealed(&owner.vault).iter().all(|r| {
            peer_dir
                .join(format!(
                    "segments/{:010}/{:04}/{:012}.seg",
                    r.id.node,
                    r.id.shard.get(),
                    r.id.index
                ))
                .exists()
        })
    });
}

#[test]
fn acks_wait_for_the_peer_and_both_end_with_the_same_segments() {
    let mut owner = owner(set(&[2], 2), &options(1));
    let copy = tempfile::tempdir().unwrap();
    let peer = Peer::start(2, copy.path(), &owner.tap, owner.mark());
    let last = owner.append(0, 400);
    wait_acked(&owner.writers[0], last);
    wait("sealing", || sealed(&owner.vault).len() >= 3);
    wait_complete(&owner, copy.path());
    same_digests(&owner, copy.path(), &peer.stop());
    assert_eq!(payloads(&owner.vault, 0).len(), 400);
    owner.close();
}

#[test]
fn without_its_only_peer_nothing_is_acknowledged_and_appends_go_on() {
    let mut owner = owner(set(&[2], 2), &options(1));
    let last = owner.append(0, 200);
    owner.wait_durable(last);
    assert_eq!(owner.mark().acked(), None);
    assert_eq!(
        payloads(&owner.vault, 0).len(),
        0,
        "what is not acknowledged is not read"
    );
    // The peer comes late, and is told everything.
    let copy = tempfile::tempdir().unwrap();
    let peer = Peer::start(2, copy.path(), &owner.tap, owner.mark());
    wait_acked(&owner.writers[0], last);
    assert_eq!(payloads(&owner.vault, 0).len(), 200);
    peer.stop();
    // And dies.
    let acked = owner.mark().acked();
    let last = owner.append(200, 210);
    owner.wait_durable(last);
    assert_eq!(owner.mark().acked(), acked);
    owner.close();
}

#[test]
fn one_of_two_peers_is_enough_for_two_copies_and_not_for_three() {
    for (copies, acked) in [(2, true), (3, false)] {
        let mut owner = owner(set(&[2, 3], copies), &options(1));
        let copy = tempfile::tempdir().unwrap();
        let peer = Peer::start(3, copy.path(), &owner.tap, owner.mark());
        let last = owner.append(0, 50);
        owner.wait_durable(last);
        if acked {
            wait_acked(&owner.writers[0], last);
        } else {
            wait("the peer", || {
                owner.tap.blocks().last().is_some_and(|b| b.last_lsn == last)
            });
            assert_eq!(owner.mark().acked(), None);
        }
        peer.stop();
        owner.close();
    }
}

#[test]
fn a_restarted_peer_goes_on_from_what_it_has() {
    let mut owner = owner(set(&[2], 2), &options(1));
    let copy = tempfile::tempdir().unwrap();
    let peer = Peer::start(2, copy.path(), &owner.tap, owner.mark());
    let last = owner.append(0, 130);
    wait_acked(&owner.writers[0], last);
    peer.stop();
    let last = owner.append(130, 400);
    owner.wait_durable(last);
    let peer = Peer::start(2, copy.path(), &owner.tap, owner.mark());
    wait_acked(&owner.writers[0], last);
    wait("sealing", || sealed(&owner.vault).len() >= 3);
    wait_complete(&owner, copy.path());
    same_digests(&owner, copy.path(), &peer.stop());
    owner.close();
}

/// The blocks and the header of the owner's first segment.
fn some_blocks() -> (SegmentHeader, Vec<Block>) {
    let mut owner = owner(ReplicaSet::ALONE, &options(1));
    for n in 0..4 {
        let last = owner.append(n * 10, n * 10 + 10);
        wait("a block", || {
            owner.tap.blocks().last().is_some_and(|b| b.last_lsn == last)
        });
    }
    let header = owner.tap.0.lock().unwrap().log.iter().find_map(|m| {
        if let Message::Begin(h) = m {
            Some(h.clone())
        } else {
            None
        }
    });
    let blocks = owner.tap.blocks();
    owner.close();
    (header.unwrap(), blocks)
}

#[test]
fn an_equal_resend_is_taken_and_another_block_is_refused() {
    let (header, blocks) = some_blocks();
    let (_, others) = some_blocks();
    let dir = tempfile::tempdir().unwrap();
    let mut copy = ReplicaSegment::open(dir.path(), header.clone()).unwrap();
    let acks: Vec<_> = blocks.iter().map(|b| copy.append(b.out()).unwrap()).collect();
    for (block, ack) in blocks.iter().zip(&acks) {
        assert_eq!(copy.append(block.out()).unwrap(), *ack);
    }
    drop(copy);
    let mut copy = ReplicaSegment::open(dir.path(), header.clone()).unwrap();
    assert_eq!(copy.last_ack().as_ref(), acks.last(), "it goes on from what is there");
    for (block, ack) in blocks.iter().zip(&acks) {
        assert_eq!(copy.append(block.out()).unwrap(), *ack);
    }
    let refused = |copy: &mut ReplicaSegment, block: &Block| match copy.append(block.out()) {
        Err(VaultError::BlockRefused { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    // Another boot's, another CRC, other content under a known number, a number too far, a chain that does not fit.
    let epoch = Epoch::new(9).unwrap();
    assert!(
        refused(
            &mut copy,
            &Block {
                epoch,
                ..blocks[0].clone()
            }
        )
        .contains("another boot")
    );
    assert!(
        refused(
            &mut copy,
            &Block {
                crc: 1,
                ..blocks[0].clone()
            }
        )
        .contains("CRC")
    );
    let mut other = blocks[1].clone();
    other.bytes = others[0].bytes.clone();
    other.crc = crc32fast::hash(&other.bytes);
    assert!(refused(&mut copy, &other).contains("another one with its number"));
    assert!(
        refused(
            &mut copy,
            &Block {
                block_no: 99,
                ..blocks[0].clone()
            }
        )
        .contains("does not follow")
    );
    let digest = copy.complete(dir.path()).unwrap();
    assert_eq!(digest, acks[acks.len() - 1].digest);
    // Its owner did not hear that it is complete, and sends it again.
    let mut copy = ReplicaSegment::open(dir.path(), header).unwrap();
    for (block, ack) in blocks.iter().zip(&acks) {
        assert_eq!(copy.append(block.out()).unwrap(), *ack);
    }
    assert_eq!(copy.complete(dir.path()).unwrap(), digest);
}

#[test]
fn a_damaged_copy_keeps_what_is_before_the_damage_and_takes_the_rest_again() {
    let (header, blocks) = some_blocks();
    let dir = tempfile::tempdir().unwrap();
    let mut copy = ReplicaSegment::open(dir.path(), header.clone()).unwrap();
    let acks: Vec<_> = blocks.iter().map(|b| copy.append(b.out()).unwrap()).collect();
    drop(copy);
    let path = dir.path().join(format!(
        "segments/{:010}/{:04}/{:012}.open",
        header.id.node,
        header.id.shard.get(),
        header.id.index
    ));
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.len() - blocks[1..].iter().map(|b| b.bytes.len()).sum::<usize>();
    bytes[second + 150] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut copy = ReplicaSegment::open(dir.path(), header).unwrap();
    assert_eq!(copy.last_ack(), Some(acks[0]));
    for (block, ack) in blocks.iter().zip(&acks) {
        assert_eq!(copy.append(block.out()).unwrap(), *ack);
    }
}

#[test]
fn a_copy_of_another_boot_is_not_written_over() {
    let (header, blocks) = some_blocks();
    let (other, _) = some_blocks();
    let dir = tempfile::tempdir().unwrap();
    let mut copy = ReplicaSegment::open(dir.path(), header.clone()).unwrap();
    copy.append(blocks[0].out()).unwrap();
    drop(copy);
    assert_eq!(header.id, other.id);
    assert!(matches!(
        ReplicaSegment::open(dir.path(), other),
        Err(VaultError::BlockRefused { .. })
    ));
    assert!(ReplicaSegment::open(dir.path(), header).unwrap().last_ack().is_some());
}

#[test]
fn the_set_changes_at_a_roll_and_a_peer_of_the_next_segment_does_not_acknowledge_this_one() {
    let placement = |id: SegmentId| set(&[2 + id.index.get() % 2], 2);
    let mut owner = owner_with(Box::new(placement), &options(1));
    let copies = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // Node 2 is in the set of every second segment, and gets them all.
    let second = Peer::start(2, copies[0].path(), &owner.tap, owner.mark());
    let last = owner.append(0, 300);
    assert!(last.index().get() > 3);
    owner.wait_durable(last);
    second.wait_answered(owner.tap.blocks().last().unwrap().last_lsn);
    assert_eq!(owner.mark().acked(), None, "node 3 has nothing of the first");
    let third = Peer::start(3, copies[1].path(), &owner.tap, owner.mark());
    wait_acked(&owner.writers[0], last);
    assert_eq!(payloads(&owner.vault, 0).len(), 300);
    second.stop();
    third.stop();
    owner.close();
}

#[test]
fn a_laggard_that_takes_the_next_segment_before_it_has_this_one_acknowledges_nothing() {
    let mut owner = owner(set(&[2, 3], 2), &options(1));
    let copies = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let laggard = Peer::start_with(2, copies[0].path(), &owner.tap, owner.mark(), |id| id.index.get() > 1);
    let last = owner.append(0, 300);
    owner.wait_durable(last);
    wait("the last block", || {
        owner.tap.blocks().last().is_some_and(|b| b.last_lsn == last)
    });
    laggard.wait_answered(last);
    assert_eq!(owner.mark().acked(), None);
    // The other has the first segment and nothing else: with both of them there are two copies of everything.
    let other = Peer::start_with(3, copies[1].path(), &owner.tap, owner.mark(), |id| id.index.get() == 1);
    wait_acked(&owner.writers[0], last);
    laggard.stop();
    other.stop();
    owner.close();
}
