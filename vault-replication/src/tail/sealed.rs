//! A ledger through which the tail streams learn which segments are sealed, and who holds them.
//!
//! **Not here**: what a ledger does (that of the catalogue, below this one).

use std::sync::Arc;

use gophership_vault::ids::{Epoch, SegmentId, SegmentIndex, ShardId};
use gophership_vault::ledger::{KeptClock, KnownSegment, Ledger, LedgerError, OpenRecord, SealRecord, TrimReason};

use super::streams::TailStreams;

/// A ledger that tells the streams of each seal once it is on record.
pub struct SealsToStreams {
    ledger: Arc<dyn Ledger>,
    streams: Arc<TailStreams>,
}

impl SealsToStreams {
    /// The ledger of the vault whose segments these streams send.
    pub fn new(ledger: Arc<dyn Ledger>, streams: Arc<TailStreams>) -> Self {
        Self { ledger, streams }
    }
}

impl Ledger for SealsToStreams {
    fn known(&self) -> Vec<KnownSegment> {
        self.ledger.known()
    }

    fn next_index(&self, shard: ShardId) -> SegmentIndex {
        self.ledger.next_index(shard)
    }

    fn roll(&self, seal: Option<&SealRecord>, open: &OpenRecord) -> Result<(), LedgerError> {
        self.ledger.roll(seal, open)?;
        if let Some(seal) = seal {
            self.streams.sealed(seal.id, seal.holders);
        }
        Ok(())
    }

    fn seal_segment(&self, seal: &SealRecord) -> Result<(), LedgerError> {
        self.ledger.seal_segment(seal)?;
        self.streams.sealed(seal.id, seal.holders);
        Ok(())
    }

    fn trim_segment(&self, id: SegmentId, why: TrimReason) -> Result<(), LedgerError> {
        self.ledger.trim_segment(id, why)
    }

    fn unlinked(&self, segments: &[SegmentId]) -> Result<(), LedgerError> {
        self.ledger.unlinked(segments)
    }

    fn new_epoch(&self, seen: Epoch) -> Result<Epoch, LedgerError> {
        self.ledger.new_epoch(seen)
    }

    fn segment_lost(&self, id: SegmentId) -> Result<(), LedgerError> {
        self.ledger.segment_lost(id)
    }

    fn holds_copy(&self, id: SegmentId, digest: [u8; 32]) -> Result<(), LedgerError> {
        self.ledger.holds_copy(id, digest)
    }

    fn clock(&self) -> Option<KeptClock> {
        self.ledger.clock()
    }

    fn keep_clock(&self, mark: KeptClock) -> Result<(), LedgerError> {
        self.ledger.keep_clock(mark)
    }
}
