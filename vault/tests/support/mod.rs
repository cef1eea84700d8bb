//! A ledger in memory and small helpers for the tests of the vault.
#![allow(dead_code)] // each test binary uses a part of it

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{Epoch, Lsn, SegmentId, SegmentIndex, ShardId, TenantId};
use gophership_vault::ledger::{ClockMark, KnownSegment, Ledger, LedgerError, OpenRecord, SealRecord, TrimReason};
use gophership_vault::time::TimeRange;
use gophership_vault::{
    DataDir, Disposition, ScanFault, SegmentState, ShardSeam, ShardWriter, StoredEntry, Vault, VaultOptions,
};

#[derive(Clone, Default)]
struct Records {
    segments: BTreeMap<SegmentId, KnownSegment>,
    next: BTreeMap<ShardId, u32>,
    epoch: u64,
    mood: Mood,
    held: Option<SegmentId>,
    seals_left: Option<u32>,
    clock: Option<ClockMark>,
    rolls: Vec<(Option<SegmentId>, SegmentId)>,
}

/// How a ledger answers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Mood {
    /// It does what it is asked.
    #[default]
    Willing,
    /// It refuses, and nothing is changed.
    Refusing,
    /// It does what it is asked, and its answer is lost.
    Unheard,
    /// It takes nothing until the process is started again.
    Dead,
}

impl Mood {
    fn changes_nothing(self) -> bool {
        matches!(self, Self::Refusing | Self::Dead)
    }

    fn answer(self, command: &'static str, id: SegmentId) -> Result<(), LedgerError> {
        match self {
            Self::Willing => Ok(()),
            Self::Refusing | Self::Unheard | Self::Dead => Err(LedgerError {
                command,
                id: Some(id),
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

/// Outlives the vaults that use it, as the catalogue does.
#[derive(Default)]
pub(crate) struct MemoryLedger(Mutex<Records>);

impl MemoryLedger {
    pub(crate) fn be(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    /// Another ledger with the same records.
    pub(crate) fn copy(&self) -> Arc<Self> {
        Arc::new(Self(Mutex::new(self.0.lock().unwrap().clone())))
    }

    /// Its record of segment `index` of shard 0.
    pub(crate) fn records_of(&self, index: SegmentIndex) -> Option<KnownSegment> {
        self.known().into_iter().find(|k| k.id().index == index)
    }

    /// From now on it does not let go of this one.
    pub(crate) fn hold(&self, id: SegmentId) {
        self.0.lock().unwrap().held = Some(id);
    }

    /// Takes so many more seals, and then refuses them until it is told otherwise.
    pub(crate) fn seal_only(&self, seals: Option<u32>) {
        self.0.lock().unwrap().seals_left = seals;
    }

    /// Takes a record as it is.
    pub(crate) fn put(&self, segment: KnownSegment) {
        self.0.lock().unwrap().segments.insert(segment.id(), segment);
    }

    /// Every roll that it was asked for: the segment that it sealed, and the one that it opened.
    pub(crate) fn rolls(&self) -> Vec<(Option<SegmentId>, SegmentId)> {
        self.0.lock().unwrap().rolls.clone()
    }

    pub(crate) fn next_epoch(&self) -> Epoch {
        let mut r = self.0.lock().unwrap();
        r.epoch += 1;
        Epoch::new(r.epoch).unwrap()
    }
}

impl MemoryLedger {
    /// Takes over from `other` that segment `index` of shard 0 is open.
    pub(crate) fn take_open(&self, other: &Self, index: SegmentIndex) {
        let theirs = other.0.lock().unwrap().clone();
        let found = theirs
            .segments
            .values()
            .find(|s| s.id().index == index)
            .copied()
            .unwrap();
        let mut ours = self.0.lock().unwrap();
        ours.segments.insert(found.id(), found);
        ours.next.insert(found.id().shard, index.get());
        ours.epoch = theirs.epoch;
    }
}

impl Ledger for MemoryLedger {
    fn known(&self) -> Vec<KnownSegment> {
        self.0.lock().unwrap().segments.values().copied().collect()
    }

    fn next_index(&self, shard: ShardId) -> SegmentIndex {
        SegmentIndex::new(self.0.lock().unwrap().next.get(&shard).map_or(1, |i| i + 1)).unwrap()
    }

    fn roll(&self, seal: Option<&SealRecord>, open: &OpenRecord) -> Result<(), LedgerError> {
        if let Some(seal) = seal {
            self.seal_segment(seal)?;
        }
        let mut r = self.0.lock().unwrap();
        r.rolls.push((seal.map(|seal| seal.id), open.id));
        if r.mood.changes_nothing() || r.segments.get(&open.id) == Some(&KnownSegment::Open(*open)) {
            return r.mood.answer("open", open.id);
        }
        let next = r.next.entry(open.id.shard).or_default();
        assert!(open.id.index.get() > *next, "an index is never used twice");
        *next = open.id.index.get();
        r.segments.insert(open.id, KnownSegment::Open(*open));
        r.mood.answer("open", open.id)
    }

    fn seal_segment(&self, seal: &SealRecord) -> Result<(), LedgerError> {
        let mut r = self.0.lock().unwrap();
        if r.mood.changes_nothing() {
            return r.mood.answer("seal", seal.id);
        }
        match &mut r.seals_left {
            Some(0) => return Mood::Refusing.answer("seal", seal.id),
            Some(left) => *left -= 1,
            None => {}
        }
        match r.segments.get(&seal.id) {
            Some(KnownSegment::Open(_)) => {}
            Some(KnownSegment::Sealed(before)) => {
                assert_eq!(before.digest, seal.digest, "a sealed segment never changes")
            }
            Some(KnownSegment::Trimmed(_) | KnownSegment::Lost(_)) => panic!("sealed after its end"),
            None => panic!("sealed without being opened"),
        }
        r.segments.insert(seal.id, KnownSegment::Sealed(*seal));
        r.mood.answer("seal", seal.id)
    }

    fn trim_segment(&self, id: SegmentId, _: TrimReason) -> Result<(), LedgerError> {
        let mut r = self.0.lock().unwrap();
        if r.held == Some(id) {
            return Mood::Refusing.answer("trim", id);
        }
        if !r.mood.changes_nothing() {
            r.segments.insert(id, KnownSegment::Trimmed(id));
        }
        r.mood.answer("trim", id)
    }

    fn unlinked(&self, segments: &[SegmentId]) -> Result<(), LedgerError> {
        let mut r = self.0.lock().unwrap();
        for id in segments {
            if r.mood.changes_nothing() {
                return r.mood.answer("unlinked", *id);
            }
            let was = r.segments.remove(id);
            assert!(
                matches!(was, Some(KnownSegment::Trimmed(_)) | None),
                "only what is trimmed goes"
            );
        }
        Ok(())
    }

    fn mark_lost(&self, id: SegmentId) -> Result<(), LedgerError> {
        self.0.lock().unwrap().segments.insert(id, KnownSegment::Lost(id));
        Ok(())
    }

    fn clock(&self) -> Option<ClockMark> {
        self.0.lock().unwrap().clock
    }

    fn keep_clock(&self, mark: ClockMark) -> Result<(), LedgerError> {
        self.0.lock().unwrap().clock = Some(mark);
        Ok(())
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

pub(crate) fn open(path: &Path, ledger: &Arc<MemoryLedger>, options: &VaultOptions) -> (Vault, Vec<ShardWriter>) {
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

/// Appends, waiting for a file where the next one is not ready.
pub(crate) fn append(writer: &mut ShardWriter, at: u64, payload: &[u8]) -> Lsn {
    append_as(writer, &meta(at), payload)
}

pub(crate) fn append_as(writer: &mut ShardWriter, meta: &EntryMeta, payload: &[u8]) -> Lsn {
    let deadline = Instant::now() + Duration::from_secs(60);
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
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Everything a shard holds, and what is missing.
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
