//! The seam for replication, without a network: blocks go from one vault's cutter to copies in other folders, and their
//! answers move the watermark.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gophership_vault::ids::{Epoch, Lsn, NodeId, SegmentId, SegmentIndex};
use gophership_vault::ledger::Ledger;
use gophership_vault::{
    BlockSink, DataDir, NodeSet, Placement, RecoveryBy, ReplicaAck, ReplicaSegment, ReplicaSet, SegmentHeader,
    ShardSeam, ShardWriter, TailFrame, Vault, VaultError, VaultOptions, Watermark, verify_segment,
};
use support::*;

#[derive(Clone)]
struct Frame {
    id: SegmentId,
    epoch: Epoch,
    frame_no: u32,
    bytes: Vec<u8>,
    crc: u32,
    last_lsn: Lsn,
}

impl Frame {
    fn out(&self) -> TailFrame<'_> {
        let Self {
            id,
            epoch,
            frame_no,
            crc,
            last_lsn,
            ..
        } = *self;
        TailFrame {
            id,
            epoch,
            frame_no,
            bytes: &self.bytes,
            crc,
            last_lsn,
        }
    }
}

#[derive(Clone)]
enum Message {
    Begin(SegmentHeader),
    Frame(Frame),
    Complete(SegmentId),
}

impl Message {
    fn id(&self) -> SegmentId {
        match self {
            Self::Begin(header) => header.id,
            Self::Frame(frame) => frame.id,
            Self::Complete(id) => *id,
        }
    }
}

/// The messages that the owner has sent, kept for peers that come later, and the present peers.
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
        // A peer that is gone receives nothing.
        link.peers.retain(|peer| peer.send(message.clone()).is_ok());
        link.log.push(message);
    }

    /// A stream of all messages so far and from now on.
    fn join(&self) -> Receiver<Message> {
        let (sender, receiver) = channel();
        let mut link = self.0.lock().unwrap();
        link.log.iter().for_each(|m| sender.send(m.clone()).unwrap());
        link.peers.push(sender);
        receiver
    }

    /// The header of the first segment.
    fn header(&self) -> SegmentHeader {
        let link = self.0.lock().unwrap();
        let begun = link.log.iter().find_map(|message| match message {
            Message::Begin(header) => Some(header.clone()),
            Message::Frame(_) | Message::Complete(_) => None,
        });
        begun.unwrap()
    }

    fn frames(&self) -> Vec<Frame> {
        let link = self.0.lock().unwrap();
        link.log
            .iter()
            .filter_map(|m| {
                if let Message::Frame(b) = m {
                    Some(b.clone())
                } else {
                    None
                }
            })
            .collect()
    }
}

impl BlockSink for Tap {
    fn wants_frame(&self) -> bool {
        true
    }

    fn begin(&mut self, header: &SegmentHeader) {
        self.send(Message::Begin(header.clone()));
    }

    fn frame(&mut self, b: TailFrame<'_>) {
        self.send(Message::Frame(Frame {
            id: b.id,
            epoch: b.epoch,
            frame_no: b.frame_no,
            bytes: b.bytes.to_vec(),
            crc: b.crc,
            last_lsn: b.last_lsn,
        }));
    }

    fn complete(&mut self, id: SegmentId, _: Option<Lsn>, _: [u8; 32]) {
        self.send(Message::Complete(id));
    }
}

/// The folder of a peer, which outlives its restarts.
struct PeerHome {
    node: NodeId,
    dir: tempfile::TempDir,
    ledger: Arc<FaultyLedger>,
}

impl PeerHome {
    fn new(node: u32) -> Self {
        let node = NodeId::new(node).unwrap();
        Self {
            node,
            dir: tempfile::tempdir().unwrap(),
            ledger: FaultyLedger::of_node(node, &[]),
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Opens the peer's vault, for a test that takes frames by itself.
    fn open(&self) -> (Vault, Vec<ShardWriter>) {
        open_node(self.node.get(), self.path(), &self.ledger)
    }
}

/// Syncs what a peer has of a segment, and answers for it.
fn answer(node: NodeId, copy: &mut ReplicaSegment, mark: &Watermark, answers: &Mutex<Option<Lsn>>) {
    if let Some(ack) = copy.sync().unwrap() {
        mark.peer_synced(node, ack.last_lsn);
        let mut answered = answers.lock().unwrap();
        *answered = (*answered).max(Some(ack.last_lsn));
    }
}

/// A peer: it takes frames into its folder and answers, until the stream ends. It returns the digest of each segment
/// that it completed.
struct Peer {
    stop: Arc<OnceLock<()>>,
    /// The last entry that it answered for.
    answered: Arc<Mutex<Option<Lsn>>>,
    thread: JoinHandle<BTreeMap<SegmentId, [u8; 32]>>,
}

impl Peer {
    fn start(home: &PeerHome, owner: &Owner) -> Self {
        Self::start_with(home, owner, |_| true)
    }

    /// A peer that gets only the segments for which `takes` returns true.
    fn start_with(home: &PeerHome, owner: &Owner, takes: fn(SegmentId) -> bool) -> Self {
        Self::start_and_complete(home, owner, takes, |_| true)
    }

    /// A peer that gets the segments for which `takes` returns true, and whose owner counts it as a holder of those for
    /// which `counts` does.
    fn start_and_complete(
        home: &PeerHome,
        owner: &Owner,
        takes: fn(SegmentId) -> bool,
        counts: fn(SegmentId) -> bool,
    ) -> Self {
        let (stream, stop) = (owner.tap.join(), Arc::new(OnceLock::new()));
        let (mark, owner) = (owner.mark(), owner.vault.clone());
        let (stopped, answered) = (Arc::clone(&stop), Arc::<Mutex<Option<Lsn>>>::default());
        let answers = Arc::clone(&answered);
        let (node, vault) = (home.node, open_node(home.node.get(), home.dir.path(), &home.ledger));
        let thread = thread::spawn(move || {
            let (vault, writers) = vault;
            let mut open: BTreeMap<SegmentId, ReplicaSegment> = BTreeMap::new();
            let mut done = BTreeMap::new();
            while stopped.get().is_none() {
                let Ok(first) = stream.recv_timeout(Duration::from_millis(5)) else {
                    continue;
                };
                // One sync covers all frames that came meanwhile.
                let mut written = BTreeSet::new();
                for message in std::iter::once(first).chain(stream.try_iter().take(50)) {
                    match message {
                        message if !takes(message.id()) => {}
                        Message::Begin(header) => {
                            let id = header.id;
                            // The owner cut the segment anew: an open copy goes on.
                            if let Entry::Vacant(place) = open.entry(id) {
                                let copy = place.insert(vault.copies().open(header).unwrap());
                                mark.peer_restarted(node, id.index, copy.last_ack().map(|ack| ack.last_lsn));
                            }
                        }
                        Message::Frame(frame) => {
                            open.get_mut(&frame.id).unwrap().append(frame.out()).unwrap();
                            written.insert(frame.id);
                        }
                        Message::Complete(id) => {
                            answer(node, open.get_mut(&id).unwrap(), &mark, &answers);
                            written.remove(&id);
                            let digest = open.remove(&id).unwrap().complete().unwrap();
                            if counts(id) {
                                owner.copy_completed(id, node, digest);
                            }
                            done.insert(id, digest);
                        }
                    }
                }
                for id in written {
                    answer(node, open.get_mut(&id).unwrap(), &mark, &answers);
                }
            }
            drop((open, owner));
            vault.close(writers);
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
    let ledger = Arc::new(FaultyLedger::default());
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

fn file_name(id: SegmentId) -> String {
    format!("segments/{:010}/{:04}/{:012}.seg", id.node, id.shard.get(), id.index)
}

fn same_digests(owner: &Owner, peer_dir: &Path, digests: &BTreeMap<SegmentId, [u8; 32]>) {
    let sealed = sealed(&owner.vault);
    assert!(sealed.len() > 1);
    for record in sealed {
        assert_eq!(digests.get(&record.id), Some(&record.digest), "{}", record.id);
        let path = peer_dir.join(file_name(record.id));
        let report = verify_segment(&path, record.id, Some(record.digest), &mut |_, _| {}).unwrap();
        assert!(report.ok, "{:?}", report.faults);
    }
}

/// Waits until the peers have completed as many segments as the owner has sealed.
fn wait_complete(owner: &Owner, peer_dir: &Path) {
    wait("the copies", || {
        sealed(&owner.vault)
            .iter()
            .all(|r| peer_dir.join(file_name(r.id)).exists())
    });
}

#[test]
fn acks_wait_for_the_peer_and_both_end_with_the_same_segments() {
    let mut owner = owner(set(&[2], 2), &options(1));
    let copy = PeerHome::new(2);
    let peer = Peer::start(&copy, &owner);
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
    // The peer comes late, and gets every message.
    let copy = PeerHome::new(2);
    let peer = Peer::start(&copy, &owner);
    wait_acked(&owner.writers[0], last);
    assert_eq!(payloads(&owner.vault, 0).len(), 200);
    peer.stop();
    // Then it dies.
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
        let copy = PeerHome::new(3);
        let peer = Peer::start(&copy, &owner);
        let last = owner.append(0, 50);
        owner.wait_durable(last);
        if acked {
            wait_acked(&owner.writers[0], last);
        } else {
            wait("the peer", || {
                owner.tap.frames().last().is_some_and(|b| b.last_lsn == last)
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
    let copy = PeerHome::new(2);
    let peer = Peer::start(&copy, &owner);
    let last = owner.append(0, 130);
    wait_acked(&owner.writers[0], last);
    peer.stop();
    let last = owner.append(130, 400);
    owner.wait_durable(last);
    let peer = Peer::start(&copy, &owner);
    wait_acked(&owner.writers[0], last);
    wait("sealing", || sealed(&owner.vault).len() >= 3);
    wait_complete(&owner, copy.path());
    same_digests(&owner, copy.path(), &peer.stop());
    owner.close();
}

/// The header and the frames of the owner's first segment.
fn some_frames() -> (SegmentHeader, Vec<Frame>) {
    let mut owner = owner(ReplicaSet::ALONE, &options(1));
    for n in 0..4 {
        let last = owner.append(n * 10, n * 10 + 10);
        wait("a block", || {
            owner.tap.frames().last().is_some_and(|b| b.last_lsn == last)
        });
    }
    let (header, frames) = (owner.tap.header(), owner.tap.frames());
    owner.close();
    (header, frames)
}

/// Takes frames, each with a sync of its own, and returns the answers.
fn take(copy: &mut ReplicaSegment, frames: &[Frame]) -> Vec<ReplicaAck> {
    let one = |frame: &Frame| {
        copy.append(frame.out()).unwrap();
        copy.sync().unwrap().unwrap()
    };
    frames.iter().map(one).collect()
}

/// The reason for which a frame is refused.
fn refused(copy: &mut ReplicaSegment, frame: &Frame) -> String {
    match copy.append(frame.out()) {
        Err(VaultError::FrameRefused { why, .. }) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The file of a copy that is not complete.
fn open_file(home: &PeerHome, header: &SegmentHeader) -> std::path::PathBuf {
    let SegmentId { node, shard, index } = header.id;
    let name = format!("segments/{node:010}/{:04}/{index:012}.open", shard.get());
    home.path().join(name)
}

#[test]
fn an_equal_resend_is_taken_and_another_frame_is_refused_and_kept_as_evidence() {
    let (header, frames) = some_frames();
    let (_, others) = some_frames();
    let home = PeerHome::new(2);
    let (vault, writers) = home.open();
    let mut copy = vault.copies().open(header.clone()).unwrap();
    let acks = take(&mut copy, &frames);
    take(&mut copy, &frames);
    assert_eq!(copy.last_ack(), acks.last().copied());
    drop(copy);
    let mut copy = vault.copies().open(header.clone()).unwrap();
    assert_eq!(copy.last_ack(), acks.last().copied(), "it goes on from what is there");
    take(&mut copy, &frames);
    // Frames of another boot, with another CRC, with other content under a known number, with a number too far, with a
    // chain that does not fit.
    let epoch = Epoch::new(9).unwrap();
    let of_another_boot = Frame {
        epoch,
        ..frames[0].clone()
    };
    assert!(refused(&mut copy, &of_another_boot).contains("another boot"));
    let with_another_crc = Frame {
        crc: 1,
        ..frames[0].clone()
    };
    assert!(refused(&mut copy, &with_another_crc).contains("CRC"));
    assert_eq!(vault.status().quarantined, 0);
    let mut other = frames[1].clone();
    other.bytes = others[0].bytes.clone();
    other.crc = crc32fast::hash(&other.bytes);
    assert!(refused(&mut copy, &other).contains("another frame with its number"));
    assert_eq!(
        vault.status().quarantined,
        1,
        "two frames under one number are evidence"
    );
    let too_far = Frame {
        frame_no: 99,
        ..frames[0].clone()
    };
    assert!(refused(&mut copy, &too_far).contains("does not follow"));
    let digest = copy.complete().unwrap();
    assert_eq!(digest, acks[acks.len() - 1].digest);
    // Its owner did not hear that it is complete, and sends it again.
    let mut copy = vault.copies().open(header).unwrap();
    take(&mut copy, &frames);
    assert_eq!(copy.complete().unwrap(), digest);
    vault.close(writers);
}

#[test]
fn one_sync_answers_for_all_that_was_written_and_nothing_is_answered_before_it() {
    let (header, frames) = some_frames();
    let home = PeerHome::new(2);
    let (vault, writers) = home.open();
    let mut copy = vault.copies().open(header).unwrap();
    for frame in &frames {
        copy.append(frame.out()).unwrap();
        assert_eq!(copy.last_ack(), None);
    }
    let ack = copy.sync().unwrap().unwrap();
    assert_eq!(ack.last_lsn, frames.last().unwrap().last_lsn);
    assert_eq!(ack.frame_no as usize + 1, frames.len());
    drop(copy);
    vault.close(writers);
}

#[test]
fn a_damaged_copy_keeps_what_is_before_the_damage_and_the_damage_as_evidence() {
    let (header, frames) = some_frames();
    let home = PeerHome::new(2);
    let (vault, writers) = home.open();
    let acks = take(&mut vault.copies().open(header.clone()).unwrap(), &frames);
    let path = open_file(&home, &header);
    let whole = std::fs::read(&path).unwrap();
    // The frame that a crash cut off was never answered for.
    std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let copy = vault.copies().open(header.clone()).unwrap();
    assert_eq!(copy.last_ack(), Some(acks[acks.len() - 2]));
    assert_eq!(vault.status().quarantined, 0);
    drop(copy);
    let mut bytes = whole.clone();
    let second = bytes.len() - frames[1..].iter().map(|b| b.bytes.len()).sum::<usize>();
    bytes[second + 150] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut copy = vault.copies().open(header).unwrap();
    assert_eq!(copy.last_ack(), Some(acks[0]));
    assert_eq!(vault.status().quarantined, 1);
    assert_eq!(
        vault.quarantined()[0].length,
        (whole.len() - second) as u64,
        "all from the damage on"
    );
    take(&mut copy, &frames);
    assert_eq!(copy.last_ack(), acks.last().copied());
    drop(copy);
    vault.close(writers);
}

#[test]
fn a_complete_copy_that_is_found_damaged_is_reported_as_such_until_all_of_it_is_here_again() {
    let (header, frames) = some_frames();
    let folder = tempfile::tempdir().unwrap();
    let copies = gophership_vault::CopyStore::in_folder(folder.path(), NodeId::new(2).unwrap()).unwrap();
    let path = folder.path().join(file_name(header.id));
    // Its header, an entry, and its footer, without which nobody knows where it ended.
    for (what, knows_end) in [("header", true), ("entry", true), ("footer", false)] {
        let mut copy = copies.open(header.clone()).unwrap();
        take(&mut copy, &frames);
        copy.complete().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = match what {
            "header" => 20,
            "entry" => bytes.len() / 3,
            _ => bytes.len() - 6,
        };
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let mut copy = copies.open(header.clone()).unwrap();
        assert!(!path.exists(), "{what}: it is begun anew");
        let is_damaged = || copies.report(header.id).unwrap().is_damaged;
        assert!(is_damaged(), "{what}: nothing is here");
        take(&mut copy, &frames[..1]);
        assert!(is_damaged(), "{what}: its start is here");
        take(&mut copy, &frames);
        assert_eq!(is_damaged(), !knows_end, "{what}: every frame is here");
        copy.complete().unwrap();
        assert!(!is_damaged(), "{what}: it is complete");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_copy_of_another_boot_is_not_written_over() {
    let (header, frames) = some_frames();
    let (other, _) = some_frames();
    let home = PeerHome::new(2);
    let (vault, writers) = home.open();
    take(&mut vault.copies().open(header.clone()).unwrap(), &frames[..1]);
    assert_eq!(header.id, other.id);
    assert!(matches!(
        vault.copies().open(other),
        Err(VaultError::FrameRefused { .. })
    ));
    assert!(vault.copies().open(header).unwrap().last_ack().is_some());
    vault.close(writers);
}

#[test]
fn a_fenced_copy_takes_nothing_more_and_obeys_no_older_recovery() {
    let (header, frames) = some_frames();
    let home = PeerHome::new(2);
    let (vault, writers) = home.open();
    let mut copy = vault.copies().open(header.clone()).unwrap();
    copy.append(frames[0].out()).unwrap();
    let report = copy.fence(2).unwrap();
    assert_eq!(
        report.synced.unwrap().last_lsn,
        frames[0].last_lsn,
        "what it reports is synced"
    );
    assert!(refused(&mut copy, &frames[1]).contains("fenced"));
    assert!(matches!(
        copy.fence(1),
        Err(VaultError::StaleRecovery { promised: 2, .. })
    ));
    drop(copy);
    // Over a restart, too.
    let mut copy = vault.copies().open(header.clone()).unwrap();
    assert!(refused(&mut copy, &frames[1]).contains("fenced"));
    assert_eq!(copy.fence(2).unwrap(), report, "the same recovery asks again");
    assert!(copy.fence(3).is_ok());
    // A segment that is not here is fenced before its stream comes.
    let unseen = SegmentHeader {
        id: SegmentId {
            index: header.id.index.checked_next().unwrap(),
            ..header.id
        },
        ..header
    };
    vault.copies().fence(unseen.id, 1).unwrap();
    let mut copy = vault.copies().open(unseen.clone()).unwrap();
    let first = Frame {
        id: unseen.id,
        ..frames[0].clone()
    };
    assert!(refused(&mut copy, &first).contains("fenced"));
    drop(copy);
    vault.close(writers);
}

#[test]
fn a_report_says_how_far_the_owner_had_synced_and_not_how_far_its_replica_did() {
    let mut owner = owner(set(&[2], 2), &options(1));
    let first = owner.append(0, 1);
    owner.wait_durable(first);
    let second = owner.append(1, 2);
    wait("its frame", || {
        owner.tap.frames().last().is_some_and(|f| f.last_lsn == second)
    });
    let home = PeerHome::new(2);
    let (vault, writers) = home.open();
    let mut copy = vault.copies().open(owner.tap.header()).unwrap();
    take(&mut copy, &owner.tap.frames());
    let report = copy.fence(1).unwrap();
    assert_eq!(report.synced.unwrap().last_lsn, second);
    // The frame of the second entry may have left before the sync of it, and not before that of the first.
    assert!(
        report.owner_synced == Some(first) || report.owner_synced == Some(second),
        "{report:?}"
    );
    drop(copy);
    vault.close(writers);
    owner.close();
}

#[test]
fn small_frames_become_full_blocks_and_large_ones_stay_as_they_came() {
    let (header, frames) = some_frames();
    assert!(frames.len() > 2);
    let home = PeerHome::new(2);
    let (vault, writers) = home.open();
    let mut copy = vault.copies().open(header.clone()).unwrap();
    let acks = take(&mut copy, &frames);
    let of_frames = std::fs::metadata(open_file(&home, &header)).unwrap().len();
    let digest = copy.complete().unwrap();
    assert_eq!(digest, acks[acks.len() - 1].digest);
    let path = open_file(&home, &header).with_extension("seg");
    let report = verify_segment(&path, header.id, Some(digest), &mut |_, _| {}).unwrap();
    assert!(report.ok && report.bytes < of_frames, "{of_frames} {report:?}");
    assert!(!open_file(&home, &header).exists());
    vault.close(writers);

    let large = VaultOptions {
        segment_size: 1 << 20,
        ..options(1)
    };
    let mut owner = owner(set(&[2], 2), &large);
    let home = PeerHome::new(2);
    let peer = Peer::start(&home, &owner);
    for n in 0..30 {
        append(&mut owner.writers[0], n, &payload(n, 100_000));
    }
    wait("sealing", || sealed(&owner.vault).len() >= 2);
    wait_complete(&owner, home.path());
    peer.stop();
    for record in sealed(&owner.vault) {
        let name = file_name(record.id);
        let here = std::fs::read(home.path().join(&name)).unwrap();
        assert!(
            here == std::fs::read(owner.dir.path().join(&name)).unwrap(),
            "{name} is the owner's file, byte for byte"
        );
        let frames = owner.tap.frames().into_iter().filter(|frame| frame.id == record.id);
        for frame in frames {
            let is_there = here.windows(frame.bytes.len()).any(|part| part == frame.bytes);
            assert!(is_there, "{name}: frame {} is a block", frame.frame_no);
        }
    }
    owner.close();
}

#[test]
fn a_fence_that_comes_between_ends_the_acknowledgements() {
    let mut owner = owner(set(&[2], 2), &options(1));
    let home = PeerHome::new(2);
    let (vault, writers) = home.open();
    let first = owner.append(0, 10);
    owner.wait_durable(first);
    wait("its frames", || {
        owner.tap.frames().last().is_some_and(|f| f.last_lsn == first)
    });
    let mut copy = vault.copies().open(owner.tap.header()).unwrap();
    let before = owner.tap.frames();
    let ack = *take(&mut copy, &before).last().unwrap();
    owner.mark().peer_synced(home.node, ack.last_lsn);
    assert_eq!(owner.mark().acked(), Some(first));
    copy.fence(1).unwrap();
    let second = owner.append(10, 20);
    owner.wait_durable(second);
    wait("its frames", || {
        owner.tap.frames().last().is_some_and(|f| f.last_lsn == second)
    });
    for frame in &owner.tap.frames()[before.len()..] {
        assert!(refused(&mut copy, frame).contains("fenced"));
    }
    assert_eq!(copy.sync().unwrap(), Some(ack), "its answer is what it was");
    assert_eq!(owner.mark().acked(), Some(first));
    drop(copy);
    vault.close(writers);
    owner.close();
}

#[test]
fn a_replica_that_comes_back_with_a_damaged_header_has_nothing_and_is_counted_for_nothing() {
    let mut owner = owner(set(&[2], 2), &options(1));
    let home = PeerHome::new(2);
    let (vault, writers) = home.open();
    let first = owner.append(0, 10);
    owner.wait_durable(first);
    wait("its frames", || {
        owner.tap.frames().last().is_some_and(|f| f.last_lsn == first)
    });
    let header = owner.tap.header();
    let frames = owner.tap.frames();
    let acks = take(&mut vault.copies().open(header.clone()).unwrap(), &frames);
    // It answers for more than the owner has synced yet, as frames may leave before that; then its disk loses the
    // start.
    let ahead = Lsn::from_u64(first.get() + 5).unwrap();
    owner.mark().peer_synced(home.node, ahead);
    assert_eq!(owner.mark().acked(), Some(first));
    let path = open_file(&home, &header);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut copy = vault.copies().open(header).unwrap();
    assert_eq!(copy.last_ack(), None);
    assert_eq!(vault.status().quarantined, 1, "what was there is kept");
    owner.mark().peer_restarted(home.node, first.index(), None);
    let second = owner.append(10, 15);
    owner.wait_durable(second);
    assert_eq!(second, ahead);
    assert_eq!(owner.mark().acked(), Some(first), "only one copy of what came since");
    // The peer gets every message again.
    wait("its frames", || {
        owner.tap.frames().last().is_some_and(|f| f.last_lsn == second)
    });
    let again = *take(&mut copy, &owner.tap.frames()).last().unwrap();
    assert_eq!(again.frame_no as usize + 1, owner.tap.frames().len());
    assert!(again.last_lsn > acks.last().unwrap().last_lsn);
    owner.mark().peer_synced(home.node, again.last_lsn);
    assert_eq!(owner.mark().acked(), Some(second));
    drop(copy);
    vault.close(writers);
    owner.close();
}

#[test]
fn the_set_changes_at_a_roll_and_a_peer_of_the_next_segment_does_not_acknowledge_this_one() {
    let placement = |id: SegmentId| set(&[2 + id.index.get() % 2], 2);
    let mut owner = owner_with(Box::new(placement), &options(1));
    let homes = [PeerHome::new(2), PeerHome::new(3)];
    // Node 2 is in the set of every second segment, and gets them all.
    let in_its_set = |id: SegmentId| id.index.get().is_multiple_of(2);
    let second = Peer::start_and_complete(&homes[0], &owner, |_| true, in_its_set);
    let last = owner.append(0, 300);
    assert!(last.index().get() > 3);
    owner.wait_durable(last);
    second.wait_answered(owner.tap.frames().last().unwrap().last_lsn);
    assert_eq!(owner.mark().acked(), None, "node 3 has nothing of the first");
    let third = Peer::start(&homes[1], &owner);
    wait_acked(&owner.writers[0], last);
    assert_eq!(payloads(&owner.vault, 0).len(), 300);
    second.stop();
    third.stop();
    owner.close();
}

#[test]
fn a_segment_that_is_sealed_with_a_holder_outside_its_set_is_acknowledged() {
    let mut owner = owner(set(&[3], 2), &options(1));
    let home = PeerHome::new(2);
    let substitute = Peer::start(&home, &owner);
    let last = owner.append(0, 300);
    owner.wait_durable(last);
    wait("seals", || sealed(&owner.vault).len() as u32 + 1 == last.index().get());
    wait("the acknowledgements", || {
        owner.mark().acked().map(Lsn::index) >= sealed(&owner.vault).last().map(|seal| seal.id.index)
    });
    // Of the open one the set has nothing.
    assert!(owner.mark().acked().map(Lsn::index) < Some(last.index()));
    substitute.stop();
    owner.close();
}

#[test]
fn a_peer_that_begins_a_segment_anew_is_no_holder_until_it_completes_it_again() {
    let mut owner = owner(set(&[2, 3], 2), &options(1));
    let last = owner.append(0, 10);
    owner.wait_durable(last);
    wait("its frames", || {
        owner.tap.frames().last().is_some_and(|f| f.last_lsn == last)
    });
    let home = PeerHome::new(2);
    let (vault, writers) = home.open();
    let header = owner.tap.header();
    let mut copy = vault.copies().open(header.clone()).unwrap();
    take(&mut copy, &owner.tap.frames());
    let digest = copy.complete().unwrap();
    let [lost, whole] = [2, 3].map(|n| NodeId::new(n).unwrap());
    // Its disk loses the copy after it said that it has it, and before the seal.
    owner.vault.copy_completed(header.id, lost, digest);
    owner.vault.copy_restarted(header.id, lost, None);
    owner.vault.copy_completed(header.id, whole, digest);
    owner.vault.seal_open(None);
    wait("the seal", || {
        owner.writers[0].must_tick();
        !sealed(&owner.vault).is_empty()
    });
    let holders = sealed(&owner.vault)[0].holders;
    assert_eq!(holders.iter().map(NodeId::get).collect::<Vec<_>>(), [1, 3]);
    vault.close(writers);
    owner.close();
}

#[test]
fn an_owner_without_traffic_takes_a_new_epoch_when_it_hears_that_a_recovery_has_its_segment() {
    let by_leader = VaultOptions {
        recovery: RecoveryBy::Leader,
        ..options(1)
    };
    let mut owner = owner(set(&[2], 2), &by_leader);
    let first = owner.append(0, 10);
    owner.wait_durable(first);
    wait("its frames", || {
        owner.tap.frames().last().is_some_and(|f| f.last_lsn == first)
    });
    let epoch = owner.vault.epoch();
    let (header, mark) = (owner.tap.header(), owner.mark());
    // A segment of another owner, and one that it does not write, are nothing to it.
    let other = SegmentId {
        node: NodeId::new(2).unwrap(),
        ..header.id
    };
    let unknown = SegmentId {
        index: SegmentIndex::new(900).unwrap(),
        ..header.id
    };
    owner.vault.fenced(other);
    owner.vault.fenced(unknown);
    owner.vault.fenced(header.id);
    wait("a new epoch", || owner.vault.epoch() > epoch);
    let renewed = owner.vault.epoch();
    assert_eq!(Some(renewed), epoch.checked_next(), "once");
    let waits = |vault: &Vault| vault.marks().iter().any(|(_, written, acked)| acked < written);
    assert!(waits(&owner.vault), "nothing was acknowledged");
    wait("the writer to go on", || {
        owner.writers[0].must_renew();
        mark.fenced().is_none()
    });
    assert!(!waits(&owner.vault), "what is left of the old epoch waits for nothing");
    // It comes again, for a segment of the epoch before.
    owner.vault.fenced(header.id);
    // More than was ready: the sealer, which heard of it before, made files meanwhile.
    let last = owner.append(10, 400);
    assert!(last.index().get() > first.index().get() + 4);
    assert_eq!(owner.vault.epoch(), renewed);
    owner.close();
}

#[test]
fn a_laggard_that_takes_the_next_segment_before_it_has_this_one_acknowledges_nothing() {
    let mut owner = owner(set(&[2, 3], 2), &options(1));
    let homes = [PeerHome::new(2), PeerHome::new(3)];
    let laggard = Peer::start_with(&homes[0], &owner, |id| id.index.get() > 1);
    let last = owner.append(0, 300);
    owner.wait_durable(last);
    wait("the last block", || {
        owner.tap.frames().last().is_some_and(|b| b.last_lsn == last)
    });
    laggard.wait_answered(last);
    assert_eq!(owner.mark().acked(), None);
    // The other has the first segment and nothing else: with both of them there are two copies of everything.
    let other = Peer::start_with(&homes[1], &owner, |id| id.index.get() == 1);
    wait_acked(&owner.writers[0], last);
    laggard.stop();
    other.stop();
    owner.close();
}

/// Takes the frames of a segment from its owner's disk until there is no further one, and gives their number.
fn catch_up(owner: &Owner, copy: &mut ReplicaSegment, id: SegmentId) -> u32 {
    let mut frames = owner.vault.frames(id);
    let has = copy.last_ack();
    let (mut next, mut after) = has.map_or((0, None), |ack| (ack.frame_no + 1, Some(ack.last_lsn.number())));
    while let Some(frame) = frames.frame(next, after).unwrap() {
        copy.append(frame.borrow()).unwrap();
        (next, after) = (next + 1, Some(frame.last_lsn.number()));
    }
    copy.sync().unwrap();
    next
}

#[test]
fn a_replica_that_is_behind_catches_up_from_its_owners_disk() {
    // Two copies are needed, so that the segment is not sealed before a peer has it.
    let mut owner = owner(set(&[2, 3], 2), &options(1));
    let (behind, quick) = (PeerHome::new(2), PeerHome::new(3));
    let (vault, writers) = behind.open();
    for n in 0..4 {
        let last = owner.append(n * 10, n * 10 + 10);
        wait("a frame", || {
            owner.tap.frames().last().is_some_and(|b| b.last_lsn == last)
        });
    }
    let header = owner.tap.header();
    let mut copy = vault.copies().open(header.clone()).unwrap();
    let small = catch_up(&owner, &mut copy, header.id);
    assert!(small >= 4, "it got the frames as they were cut");
    // The segment is sealed meanwhile: its file has full blocks, and the frames are gone.
    let peer = Peer::start(&quick, &owner);
    owner.append(40, 400);
    wait("sealing", || sealed(&owner.vault).iter().any(|s| s.id == header.id));
    let open = owner.dir.path().join(file_name(header.id).replace(".seg", ".open"));
    wait("the frames to go", || !open.exists());
    let after = catch_up(&owner, &mut copy, header.id);
    assert!(after > small, "it got the rest");
    let record = sealed(&owner.vault).into_iter().find(|s| s.id == header.id).unwrap();
    assert_eq!(copy.complete().unwrap(), record.digest);
    // A further one begins with the complete file.
    let mut late = peer_copy(&quick, &header);
    catch_up(&owner, &mut late, header.id);
    assert_eq!(late.complete().unwrap(), record.digest);
    peer.stop();
    vault.close(writers);
    owner.close();
}

/// A new copy of a segment, in a folder beside the peer's own.
fn peer_copy(home: &PeerHome, header: &SegmentHeader) -> ReplicaSegment {
    let folder = home.path().join("beside");
    std::fs::create_dir(&folder).unwrap();
    let copies = gophership_vault::CopyStore::in_folder(&folder, home.node).unwrap();
    copies.open(header.clone()).unwrap()
}

#[test]
fn a_frame_that_is_damaged_and_not_cut_off_may_have_been_answered_for_though_a_power_cut_took_the_mark() {
    let (header, frames) = some_frames();
    let folder = tempfile::tempdir().unwrap();
    let copies = gophership_vault::CopyStore::in_folder(folder.path(), NodeId::new(2).unwrap()).unwrap();
    let path = |end| folder.path().join(file_name(header.id).replace(".seg", end));
    let mut copy = copies.open(header.clone()).unwrap();
    take(&mut copy, &frames);
    drop(copy);
    std::fs::remove_file(path(".mark")).unwrap();
    let whole = std::fs::read(path(".open")).unwrap();
    let lengths: Vec<usize> = frames.iter().map(|frame| frame.bytes.len()).collect();
    let last = whole.len() - lengths[lengths.len() - 1];
    let first = whole.len() - lengths.iter().sum::<usize>();
    for (what, from) in [("last", last), ("first", first)] {
        for at in [0, 5, 20, 120] {
            let mut flipped = whole.clone();
            flipped[from + at] ^= 0x40;
            std::fs::write(path(".open"), flipped).unwrap();
            assert!(
                copies.report(header.id).unwrap().is_doubtful,
                "byte {at} of the {what} frame"
            );
        }
    }
    for len in [last, last + 1, last + 100, whole.len() - 1, whole.len()] {
        std::fs::write(path(".open"), &whole[..len]).unwrap();
        assert!(
            !copies.report(header.id).unwrap().is_doubtful,
            "{len} bytes of {}",
            whole.len()
        );
    }
}

#[test]
fn a_doubtful_copy_that_its_owner_opens_again_stays_doubtful_until_it_is_complete() {
    let (header, frames) = some_frames();
    let folder = tempfile::tempdir().unwrap();
    let copies = gophership_vault::CopyStore::in_folder(folder.path(), NodeId::new(2).unwrap()).unwrap();
    let path = |end| folder.path().join(file_name(header.id).replace(".seg", end));
    let is_doubtful = || copies.report(header.id).unwrap().is_doubtful;
    let mut copy = copies.open(header.clone()).unwrap();
    take(&mut copy, &frames);
    drop(copy);
    let whole = std::fs::read(path(".open")).unwrap();
    // A frame that a crash cut off was never answered for.
    std::fs::write(path(".open"), &whole[..whole.len() - 1]).unwrap();
    drop(copies.open(header.clone()).unwrap());
    assert!(!is_doubtful(), "a cut frame leaves no doubt");
    std::fs::remove_file(path(".mark")).unwrap();
    let mut flipped = whole.clone();
    let last = whole.len() - 1;
    flipped[last] ^= 0x40;
    std::fs::write(path(".open"), flipped).unwrap();
    let mut copy = copies.open(header.clone()).unwrap();
    assert!(is_doubtful(), "what was cut off may have been answered for");
    // The owner may cut the rest into other frames: no length says that all of it is here again.
    take(&mut copy, &frames[frames.len() - 1..]);
    assert_eq!(std::fs::read(path(".open")).unwrap(), whole);
    assert!(is_doubtful(), "nobody said that this is all");
    std::fs::remove_file(path(".open")).unwrap();
    assert!(is_doubtful(), "nor is a copy that is gone without doubt");
    std::fs::write(path(".open"), &whole).unwrap();
    copy.complete().unwrap();
    let report = copies.report(header.id).unwrap();
    assert!(!report.is_doubtful && !report.is_damaged);
    assert!(!path(".doubt").exists());
}

#[test]
fn a_damaged_copy_is_reported_as_such_with_all_that_is_good_of_it_and_stays_as_it_is() {
    let (header, frames) = some_frames();
    let folder = tempfile::tempdir().unwrap();
    let copies = gophership_vault::CopyStore::in_folder(folder.path(), NodeId::new(2).unwrap()).unwrap();
    let name = file_name(header.id);
    for complete in [false, true] {
        let mut copy = copies.open(header.clone()).unwrap();
        take(&mut copy, &frames);
        let path = folder.path().join(if complete {
            copy.complete().unwrap();
            name.clone()
        } else {
            drop(copy);
            name.replace(".seg", ".open")
        });
        let whole = copies.report(header.id).unwrap();
        assert!(!whole.is_damaged);
        assert_eq!(whole.last(), Some(frames.last().unwrap().last_lsn.number()));
        let bytes = std::fs::read(&path).unwrap();
        // Its header, and something in its last third.
        for (at, has_entries) in [(20, false), (bytes.len() * 2 / 3, true)] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&path, &damaged).unwrap();
            let report = copies.report(header.id).unwrap();
            assert!(report.is_damaged, "byte {at}, complete: {complete}");
            if !complete {
                assert_eq!(!report.entries.ranges().is_empty(), has_entries, "byte {at}");
            }
            assert_eq!(std::fs::read(&path).unwrap(), damaged, "a report changes nothing");
        }
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(copies.report(header.id).unwrap(), whole);
    }
}
