//! State that the threads of one shard share: the ingest worker that writes, the syncer, the cutter.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;

use crate::disk_tier::DiskTier;
use crate::ids::{Epoch, Lsn, SegmentIndex, ShardId};
use crate::wal::watermark::Watermark;

/// The state of one shard that more than one thread touches. The reflex path stores `written` and reads `tier` and the
/// watermark.
pub(crate) struct ShardShared {
    pub(crate) id: ShardId,
    /// The last entry appended, or 0.
    written: AtomicU64,
    /// Number of idle marks appended; they have no Lsn, and still need a sync.
    idle_marks: AtomicU64,
    pub(crate) watermark: Arc<Watermark>,
    tier: Arc<AtomicU8>,
    stopping: AtomicBool,
    /// Index of the first file of this boot.
    first: SegmentIndex,
    /// Index of the file that takes entries.
    current: AtomicU32,
    /// Files that the writer has left for a later one.
    left: AtomicU32,
    /// Those of them that the syncer has left too.
    synced: AtomicU32,
    /// How many the writer had left when it last left a fenced epoch.
    renewed: AtomicU32,
    /// Index of the file in which it went on after that.
    renewed_in: AtomicU32,
    /// The fenced epoch of which the writer has no spare any more, or 0.
    drained: AtomicU64,
    /// Index of the newest file that an operator wants sealed, or 0.
    seal_asked: AtomicU32,
    /// Bytes of the `.open` file.
    open_bytes: AtomicU64,
    /// The reason for which the cutter cannot write the `.open` file now.
    cut_fault: Mutex<Option<String>>,
    /// Replicas wait for every entry, so that an append wakes the cutter.
    has_replicas: AtomicBool,
    syncer: OnceLock<Thread>,
    cutter: OnceLock<Thread>,
}

impl ShardShared {
    pub(crate) fn new(id: ShardId, first: SegmentIndex, watermark: Arc<Watermark>, tier: Arc<AtomicU8>) -> Self {
        Self {
            id,
            first,
            written: AtomicU64::new(0),
            idle_marks: AtomicU64::new(0),
            watermark,
            tier,
            stopping: AtomicBool::new(false),
            current: AtomicU32::new(first.get()),
            left: AtomicU32::new(0),
            synced: AtomicU32::new(0),
            renewed: AtomicU32::new(0),
            renewed_in: AtomicU32::new(0),
            drained: AtomicU64::new(0),
            seal_asked: AtomicU32::new(0),
            open_bytes: AtomicU64::new(0),
            cut_fault: Mutex::new(None),
            has_replicas: AtomicBool::new(false),
            syncer: OnceLock::new(),
            cutter: OnceLock::new(),
        }
    }

    /// Index of the first file of this boot.
    pub(crate) fn first(&self) -> SegmentIndex {
        self.first
    }

    pub(crate) fn written(&self) -> Option<Lsn> {
        Lsn::from_u64(self.written.load(Ordering::Acquire))
    }

    /// The last entry appended, unless it is of a fenced epoch that the writer has left: it will never be acknowledged.
    pub(crate) fn written_of_epoch(&self) -> Option<Lsn> {
        let first = self.renewed_in.load(Ordering::Acquire);
        self.written().filter(|lsn| lsn.index().get() >= first)
    }

    /// Has every append wake the cutter from now on.
    pub(crate) fn set_has_replicas(&self) {
        self.has_replicas.store(true, Ordering::Relaxed);
    }

    /// Publishes an append and wakes the syncer, and the cutter where replicas wait for it.
    pub(crate) fn must_publish(&self, lsn: Lsn) {
        self.written.store(lsn.get(), Ordering::Release);
        self.must_wake_syncer();
        if self.has_replicas.load(Ordering::Relaxed) {
            self.must_wake_cutter();
        }
    }

    /// The position up to which the shard may be read: the ack watermark; before the first ack, the end of the files of
    /// earlier boots.
    pub(crate) fn readable(&self) -> Option<Lsn> {
        self.watermark.acked().or_else(|| Lsn::before_segment(self.first))
    }

    pub(crate) fn idle_marks(&self) -> u64 {
        self.idle_marks.load(Ordering::Acquire)
    }

    pub(crate) fn idle_mark_written(&self) {
        self.idle_marks.fetch_add(1, Ordering::Release);
        self.must_wake_syncer();
    }

    /// The file that takes entries.
    pub(crate) fn current(&self) -> SegmentIndex {
        SegmentIndex::new(self.current.load(Ordering::Acquire)).unwrap_or(self.first)
    }

    /// Notes that the writer has left a file for this one.
    pub(crate) fn set_current(&self, index: SegmentIndex) {
        self.current.store(index.get(), Ordering::Release);
        self.left.fetch_add(1, Ordering::Release);
    }

    /// Files that the writer has left for a later one.
    pub(crate) fn left_files(&self) -> u32 {
        self.left.load(Ordering::Acquire)
    }

    /// Notes that the syncer has left a file.
    pub(crate) fn file_synced(&self) {
        self.synced.fetch_add(1, Ordering::Release);
    }

    /// Files that the syncer has left.
    pub(crate) fn synced_files(&self) -> u32 {
        self.synced.load(Ordering::Acquire)
    }

    /// Notes that the writer has no spare of a fenced epoch any more.
    pub(crate) fn drained(&self, fenced: Epoch) {
        self.drained.store(fenced.get(), Ordering::Release);
    }

    /// Says that the writer has no spare of a fenced epoch any more.
    pub(crate) fn is_drained(&self, fenced: Epoch) -> bool {
        self.drained.load(Ordering::Acquire) == fenced.get()
    }

    /// Notes that the writer has left the last file of a fenced epoch.
    pub(crate) fn renewed(&self, fenced: Epoch) {
        self.renewed.store(self.left_files(), Ordering::Release);
        self.renewed_in.store(self.current().get(), Ordering::Release);
        self.watermark.renewed(fenced);
    }

    /// True where the writer has left the fenced epoch, and a thread that has left `left_files` files has left it too.
    pub(crate) fn is_past_fence(&self, left_files: u32) -> bool {
        self.watermark.fenced().is_none() && left_files >= self.renewed.load(Ordering::Acquire)
    }

    /// Makes the writer roll this file at its next tick, if it is still the one that takes entries.
    pub(crate) fn ask_for_seal(&self, index: SegmentIndex) {
        self.seal_asked.fetch_max(index.get(), Ordering::Release);
    }

    pub(crate) fn is_seal_asked(&self, index: SegmentIndex) -> bool {
        self.seal_asked.load(Ordering::Acquire) == index.get()
    }

    pub(crate) fn open_bytes(&self) -> u64 {
        self.open_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_open_bytes(&self, bytes: u64) {
        self.open_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The reason for which the segment of this shard cannot be written now.
    pub(crate) fn cut_fault(&self) -> Option<String> {
        self.cut_fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_cut_fault(&self, fault: Option<String>) {
        *self.cut_fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    pub(crate) fn tier(&self) -> DiskTier {
        DiskTier::from_u8(self.tier.load(Ordering::Relaxed))
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.must_wake_syncer();
        self.must_wake_cutter();
    }

    pub(crate) fn set_syncer(&self, thread: Thread) {
        self.syncer.get_or_init(|| thread);
    }

    pub(crate) fn set_cutter(&self, thread: Thread) {
        self.cutter.get_or_init(|| thread);
    }

    fn must_wake_syncer(&self) {
        if let Some(thread) = self.syncer.get() {
            thread.unpark();
        }
    }

    pub(crate) fn must_wake_cutter(&self) {
        if let Some(thread) = self.cutter.get() {
            thread.unpark();
        }
    }
}
