//! A ledger that can fail, and helpers for the tests of the vault.
#![allow(dead_code)] // each test binary uses a part of it

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gophership_catalogue::{Actor, Catalogue, Command, MemoryCatalogue, Reply, State};
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{ClusterId, Epoch, FileUuid, Lsn, NodeId, SegmentId, SegmentIndex, ShardId, TenantId};
use gophership_vault::ledger::{KeptClock, KnownSegment, Ledger, LedgerError, OpenRecord, SealRecord, TrimReason};
use gophership_vault::time::TimeRange;
use gophership_vault::{
    CompleteCopy, DataDir, Disposition, Identity, NodeSet, ReplicaSet, ScanFault, SegmentState, ShardSeam, ShardWriter,
    StoredEntry, Vault, VaultOptions,
};
use uuid::Uuid;

/// The ledger's reaction to commands.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Mood {
    /// It executes commands.
    #[default]
    Willing,
    /// It refuses commands, and nothing is changed.
    Refusing,
    /// It executes commands, and its answers are lost.
    Unheard,
    /// It accepts nothing until the process is started again.
    Dead,
}

impl Mood {
    fn changes_nothing(self) -> bool {
        matches!(self, Self::Refusing | Self::Dead)
    }

    fn answer(self, command: &'static str, id: Option<SegmentId>) -> Result<(), LedgerError> {
        match self {
            Self::Willing => Ok(()),
            Self::Refusing | Self::Unheard | Self::Dead => Err(LedgerError {
                command,
                id,
                why: format!("the test says: {self:?}"),
                disposition: if self == Self::Dead {
                    Disposition::Fatal
                } else {
                    Disposition::Retry
                },
            }),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Faults {
    mood: Mood,
    held: Option<SegmentId>,
    seals_left: Option<u32>,
    /// How it answers where a new epoch is asked for.
    epochs: Mood,
    epochs_asked: u32,
    /// It passes on what the catalogue refuses for good: a leader has ended what the vault still has open.
    is_led: bool,
}

impl Faults {
    /// Counts a seal, and refuses it where the test allows no more.
    fn take_seal(&mut self, sealed: Option<SegmentId>) -> Result<(), LedgerError> {
        match &mut self.seals_left {
            Some(0) if sealed.is_some() => return Mood::Refusing.answer("seal", sealed),
            Some(left) if sealed.is_some() => *left -= 1,
            Some(_) | None => {}
        }
        Ok(())
    }
}

/// A catalogue in memory that outlives the vaults that use it, with the faults that a test sets before it is asked.
pub(crate) struct FaultyLedger {
    catalogue: Arc<dyn Catalogue>,
    ledger: Arc<dyn Ledger>,
    faults: Mutex<Faults>,
    rolls: Mutex<Vec<(Option<SegmentId>, SegmentId)>>,
    /// How often it was asked for all records.
    reads: AtomicU64,
}

impl Default for FaultyLedger {
    fn default() -> Self {
        let identity = Identity {
            cluster_id: ClusterId(Uuid::nil()),
            node_id: NodeId::FIRST,
            storage_uuid: Uuid::nil(),
        };
        let ledger = Self::over(MemoryCatalogue::new(identity));
        // The nodes that the tests' replica sets name.
        for n in 2..=4 {
            ledger.submit(Command::RegisterNode {
                storage_uuid: storage(n),
                at_ns: 1,
            });
        }
        ledger
    }
}

fn storage(node: u32) -> Uuid {
    Uuid::from_u128(node.into())
}

impl FaultyLedger {
    fn over(catalogue: MemoryCatalogue) -> Self {
        let catalogue: Arc<dyn Catalogue> = Arc::new(catalogue);
        let ledger = catalogue.ledger();
        Self {
            catalogue,
            ledger,
            faults: Mutex::default(),
            rolls: Mutex::default(),
            reads: AtomicU64::new(0),
        }
    }

    /// The ledger of another node of the cluster, in which node 1 has sealed these segments, with copies on both nodes.
    pub(crate) fn of_node(node: NodeId, sealed: &[SealRecord]) -> Arc<Self> {
        let first = Self::default();
        let epoch = first.next_epoch();
        for record in sealed {
            let open = OpenRecord {
                id: record.id,
                epoch,
                file_uuid: FileUuid(Uuid::from_bytes([9; 16])),
                replicas: ReplicaSet::new(NodeSet::of(node), 2).unwrap(),
            };
            first.roll(None, &open).unwrap();
            let holders = NodeSet::from_nodes([NodeId::FIRST, node]).unwrap();
            first.seal_segment(&SealRecord { holders, ..*record }).unwrap();
        }
        let state = first.catalogue.read(State::clone);
        let identity = Identity {
            node_id: node,
            storage_uuid: storage(node.get()),
            ..first.catalogue.identity()
        };
        Arc::new(Self::over(MemoryCatalogue::with_state(identity, state)))
    }

    /// The same ledger, in which node 1 has opened one more segment, with node 2 as its replica.
    pub(crate) fn open_of_first(ledger: &Arc<Self>, id: SegmentId) -> Arc<Self> {
        let copy = ledger.copy();
        let epoch = copy.read(|state| state.node(id.node).and_then(|node| node.epoch()).unwrap());
        let open = OpenRecord {
            id,
            epoch,
            file_uuid: FileUuid(Uuid::from_bytes([9; 16])),
            replicas: ReplicaSet::new(NodeSet::of(NodeId::new(2).unwrap()), 2).unwrap(),
        };
        copy.submit(Command::Roll {
            seal: None,
            open,
            at_ns: 5,
        });
        copy
    }

    /// Submits a command as another node of the cluster does.
    pub(crate) fn submit(&self, command: Command) {
        self.catalogue.submit(Actor::Node, command).unwrap();
    }

    pub(crate) fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        self.catalogue.read(f)
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.faults.lock().unwrap().mood = mood;
    }

    /// From now on it answers so where a new epoch is asked for.
    pub(crate) fn grant_epochs(&self, mood: Mood) {
        self.faults.lock().unwrap().epochs = mood;
    }

    /// Begins a recovery of a segment, as the leader of a cluster does.
    pub(crate) fn begin_recovery(&self, id: SegmentId) -> u64 {
        self.faults.lock().unwrap().is_led = true;
        let begin = Command::BeginRecovery {
            id,
            request: Uuid::new_v4(),
            at_ns: 1,
        };
        match self.catalogue.submit(Actor::Node, begin).unwrap() {
            Reply::Recovering(number) => number,
            other => panic!("{other:?}"),
        }
    }

    /// Seals a segment by a recovery, with a copy on these nodes.
    pub(crate) fn seal_recovered(&self, id: SegmentId, number: u64, copy: &CompleteCopy, holders: &[u32]) {
        let epoch = self.catalogue.read(|state| state.segment(id).unwrap().epoch().unwrap());
        let holders = holders.iter().map(|n| NodeId::new(*n).unwrap());
        let seal = SealRecord {
            id,
            epoch,
            stats: copy.stats,
            digest: copy.digest,
            sealed_ns: gophership_vault::time::now_unix_nano(),
            holders: NodeSet::from_nodes(holders).unwrap(),
        };
        let command = Command::SealRecovered { seal, number };
        self.catalogue.submit(Actor::Node, command).unwrap();
    }

    /// How often it was asked for all records.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// How often a new epoch was asked for.
    pub(crate) fn epochs_asked(&self) -> u32 {
        self.faults.lock().unwrap().epochs_asked
    }

    /// Another ledger with the same records.
    pub(crate) fn copy(&self) -> Arc<Self> {
        let state = self.catalogue.read(State::clone);
        let copy = Self::over(MemoryCatalogue::with_state(self.catalogue.identity(), state));
        *copy.faults.lock().unwrap() = *self.faults.lock().unwrap();
        Arc::new(copy)
    }

    /// Its record of segment `index` of shard 0.
    pub(crate) fn records_of(&self, index: SegmentIndex) -> Option<KnownSegment> {
        self.known().into_iter().find(|k| k.id().index == index)
    }

    /// Makes it refuse to release this segment from now on.
    pub(crate) fn hold(&self, id: SegmentId) {
        self.faults.lock().unwrap().held = Some(id);
    }

    /// Accepts this many more seals, and then refuses them until told otherwise.
    pub(crate) fn seal_only(&self, seals: Option<u32>) {
        self.faults.lock().unwrap().seals_left = seals;
    }

    /// Every roll that was submitted: the segment that it sealed, and the one that it opened.
    pub(crate) fn rolls(&self) -> Vec<(Option<SegmentId>, SegmentId)> {
        self.rolls.lock().unwrap().clone()
    }

    pub(crate) fn next_epoch(&self) -> Epoch {
        self.catalogue.node_up(Uuid::new_v4(), None).unwrap()
    }

    /// Grants epochs until this one is granted.
    pub(crate) fn grant_up_to(&self, epoch: Epoch) {
        while self.catalogue.newest_epoch() < Some(epoch) {
            self.next_epoch();
        }
    }

    /// Takes the record of the open segment `index` of shard 0 from `other`.
    pub(crate) fn take_open(&self, other: &Self, index: SegmentIndex) {
        let Some(KnownSegment::Open(open)) = other.records_of(index) else {
            panic!("segment {index} is not open there");
        };
        self.grant_up_to(open.epoch);
        self.ledger.roll(None, &open).unwrap();
    }

    /// Submits a command to the catalogue, unless the test says that it does not answer. The vault never submits a
    /// command that it refuses.
    fn ask(
        &self,
        command: &'static str,
        id: Option<SegmentId>,
        ask: impl FnOnce(&dyn Ledger) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let mood = self.faults.lock().unwrap().mood;
        if !mood.changes_nothing() {
            match ask(self.ledger.as_ref()) {
                Err(fenced) if fenced.disposition == Disposition::Fenced => return Err(fenced),
                Err(refused) if self.faults.lock().unwrap().is_led => return Err(refused),
                other => other.expect("the vault asks for what is allowed"),
            }
        }
        mood.answer(command, id)
    }
}

impl Ledger for FaultyLedger {
    fn known(&self) -> Vec<KnownSegment> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.ledger.known()
    }

    fn next_index(&self, shard: ShardId) -> SegmentIndex {
        self.ledger.next_index(shard)
    }

    fn roll(&self, seal: Option<&SealRecord>, open: &OpenRecord) -> Result<(), LedgerError> {
        self.faults.lock().unwrap().take_seal(seal.map(|seal| seal.id))?;
        self.rolls.lock().unwrap().push((seal.map(|seal| seal.id), open.id));
        self.ask("roll", Some(open.id), |ledger| ledger.roll(seal, open))
    }

    fn seal_segment(&self, seal: &SealRecord) -> Result<(), LedgerError> {
        self.faults.lock().unwrap().take_seal(Some(seal.id))?;
        self.ask("seal", Some(seal.id), |ledger| ledger.seal_segment(seal))
    }

    fn holds_copy(&self, id: SegmentId, digest: [u8; 32]) -> Result<(), LedgerError> {
        self.ask("replica added", Some(id), |ledger| ledger.holds_copy(id, digest))
    }

    fn trim_segment(&self, id: SegmentId, why: TrimReason) -> Result<(), LedgerError> {
        if self.faults.lock().unwrap().held == Some(id) {
            return Mood::Refusing.answer("trim", Some(id));
        }
        self.ask("trim", Some(id), |ledger| ledger.trim_segment(id, why))
    }

    fn unlinked(&self, segments: &[SegmentId]) -> Result<(), LedgerError> {
        self.ask("unlinked", segments.first().copied(), |ledger| {
            ledger.unlinked(segments)
        })
    }

    fn new_epoch(&self, seen: Epoch) -> Result<Epoch, LedgerError> {
        let mut faults = self.faults.lock().unwrap();
        faults.epochs_asked += 1;
        if !faults.epochs.changes_nothing() {
            let granted = self.ledger.new_epoch(seen);
            return faults.epochs.answer("node up", None).and(granted);
        }
        faults.epochs.answer("node up", None).map(|()| seen)
    }

    fn segment_lost(&self, id: SegmentId) -> Result<(), LedgerError> {
        self.ledger.segment_lost(id)
    }

    fn clock(&self) -> Option<KeptClock> {
        self.ledger.clock()
    }

    fn keep_clock(&self, mark: KeptClock) -> Result<(), LedgerError> {
        self.ledger.keep_clock(mark)
    }
}

pub(crate) fn options(shards: u16) -> VaultOptions {
    VaultOptions {
        shards,
        segment_size: 64 * 1024,
        segment_age: Duration::from_secs(3600),
        spares: 2,
        disk_limit: 1 << 40,
        retention: Duration::from_secs(3600),
        release: gophership_vault::Release::AtRetention,
        on_full: gophership_vault::OnFull::Refuse,
        recovery: gophership_vault::RecoveryBy::Itself,
    }
}

/// Copies a data directory.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn open(path: &Path, ledger: &Arc<FaultyLedger>, options: &VaultOptions) -> (Vault, Vec<ShardWriter>) {
    let data = DataDir::open(path, true).unwrap();
    let seams = (0..options.shards).map(|_| ShardSeam::alone(Box::new(|| {}))).collect();
    Vault::open(
        data,
        options,
        ledger.next_epoch(),
        Arc::clone(ledger) as Arc<dyn Ledger>,
        seams,
    )
    .unwrap()
}

pub(crate) fn meta(at: u64) -> EntryMeta {
    EntryMeta {
        received_ns: at,
        min_event_ns: at,
        max_event_ns: at,
        record_count: 1,
        tenant: TenantId::DEFAULT,
        encoding: Encoding::Identity,
        state: EntryState::PLAIN,
    }
}

/// Appends an entry, and waits for a file where the next one is not ready.
pub(crate) fn append(writer: &mut ShardWriter, at: u64, payload: &[u8]) -> Lsn {
    append_as(writer, &meta(at), payload)
}

pub(crate) fn append_as(writer: &mut ShardWriter, meta: &EntryMeta, payload: &[u8]) -> Lsn {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        match writer.must_append(meta, payload.len(), std::iter::once(payload)) {
            Ok(lsn) => return lsn,
            Err(error) => {
                assert!(Instant::now() < deadline, "never appended: {error}");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

pub(crate) fn wait_acked(writer: &ShardWriter, lsn: Lsn) {
    wait(&format!("ack of {lsn}"), || writer.watermark().acked() >= Some(lsn));
}

pub(crate) fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Everything that a shard holds, and the missing ranges.
pub(crate) fn read(vault: &Vault, shard: u16) -> (Vec<StoredEntry>, Vec<ScanFault>) {
    let mut entries = Vec::new();
    let mut faults = Vec::new();
    for found in vault.cursor(ShardId::new(shard), None, TimeRange::ALL) {
        match found {
            Ok(entry) => entries.push(entry),
            Err(fault) => faults.push(fault),
        }
    }
    (entries, faults)
}

pub(crate) fn payloads(vault: &Vault, shard: u16) -> Vec<Vec<u8>> {
    let (entries, faults) = read(vault, shard);
    assert_eq!(faults, [], "nothing may be missing");
    entries.into_iter().map(|e| e.payload).collect()
}

pub(crate) fn wait_recovered(vault: &Vault) {
    wait("recovery", || vault.status().recovering_segments == 0);
}

pub(crate) fn sealed(vault: &Vault) -> Vec<SealRecord> {
    vault
        .segments()
        .into_iter()
        .filter_map(|(_, s)| if let SegmentState::Sealed(r) = s { Some(r) } else { None })
        .collect()
}

/// Payloads that can be told apart, of `len` bytes each.
pub(crate) fn payload(n: u64, len: usize) -> Vec<u8> {
    let mut out = format!("entry {n} ").into_bytes();
    let word = blake3::hash(&n.to_le_bytes());
    while out.len() < len {
        let at = out.len() % 32;
        out.push(word.as_bytes()[at] & 0x3f);
    }
    out.truncate(len.max(8));
    out
}

/// The vault of a node that joined node 1's cluster.
pub(crate) fn open_node(node: u32, dir: &Path, ledger: &Arc<FaultyLedger>) -> (Vault, Vec<ShardWriter>) {
    let cluster = ClusterId(Uuid::from_bytes([5; 16]));
    let data = DataDir::open_or_join(dir, true, |_| Ok((cluster, NodeId::new(node).unwrap()))).unwrap();
    let seams = vec![ShardSeam::alone(Box::new(|| {}))];
    let epoch = ledger.next_epoch();
    Vault::open(data, &options(1), epoch, Arc::clone(ledger) as Arc<dyn Ledger>, seams).unwrap()
}
