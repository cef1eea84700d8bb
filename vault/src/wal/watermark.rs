//! The ack watermark of a shard: the Lsn up to which entries may be acknowledged.
//!
//! **Invariants.** I1: it never goes back. I2: it is never past [`commit_point`] of what the node itself and its peers have synced. I3: once failed,
//! it stands.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ids::{Lsn, lsn_or_zero};
use crate::wal::commit_point::commit_point;

/// Called whenever a shard's watermark moved or the shard failed. Must be quick and must not block.
pub type Notify = Box<dyn Fn() + Send + Sync>;

/// A shard's marks. One atomic is all that the ingest worker reads.
pub struct Watermark {
    acked: AtomicU64,
    own: AtomicU64,
    peers: Vec<AtomicU64>,
    copies: usize,
    failure: OnceLock<String>,
    notify: Notify,
}

impl Watermark {
    /// A watermark over the node itself and `peers` others, of which `copies` in all must have synced an entry.
    pub(crate) fn new(peers: usize, copies: usize, notify: Notify) -> Self {
        Self {
            acked: AtomicU64::new(0),
            own: AtomicU64::new(0),
            peers: (0..peers).map(|_| AtomicU64::new(0)).collect(),
            copies,
            failure: OnceLock::new(),
            notify,
        }
    }

    /// Everything up to here may be acknowledged.
    pub fn acked(&self) -> Option<Lsn> {
        Lsn::from_u64(self.acked.load(Ordering::Acquire))
    }

    /// Everything up to here is synced on this node.
    pub fn durable(&self) -> Option<Lsn> {
        Lsn::from_u64(self.own.load(Ordering::Acquire))
    }

    /// Whether a sync failed. Nothing past [`Self::acked`] will ever be acknowledged.
    pub fn failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// What failed.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    pub(crate) fn own_synced(&self, lsn: Lsn) {
        self.own.fetch_max(lsn.get(), Ordering::AcqRel);
        self.advance();
    }

    /// Notes that peer number `peer` (in the order of the segment's replicas) has synced everything up to `lsn`.
    pub fn peer_synced(&self, peer: usize, lsn: Lsn) {
        if let Some(mark) = self.peers.get(peer) {
            mark.fetch_max(lsn.get(), Ordering::AcqRel);
            self.advance();
        }
    }

    pub(crate) fn fail(&self, why: String) {
        if self.failure.set(why).is_ok() {
            (self.notify)();
        }
    }

    fn advance(&self) {
        if self.failed() {
            return;
        }
        let mark = |a: &AtomicU64| Lsn::from_u64(a.load(Ordering::Acquire));
        let point = commit_point(mark(&self.own), self.peers.iter().map(mark), self.copies);
        let before = self.acked.fetch_max(lsn_or_zero(point), Ordering::AcqRel);
        if lsn_or_zero(point) > before {
            (self.notify)();
        }
    }
}
