//! A ledger that forgets at the end of the process, and a vault over it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{Epoch, SegmentId, SegmentIndex, ShardId, TenantId};
use gophership_vault::ledger::{ClockMark, KnownSegment, Ledger, LedgerError, OpenRecord, SealRecord, TrimReason};
use gophership_vault::{DataDir, ShardSeam, ShardWriter, Vault, VaultOptions};

/// See the module.
#[derive(Default)]
pub(crate) struct MemoryLedger(Mutex<BTreeMap<SegmentId, KnownSegment>>);

impl MemoryLedger {
    fn put(&self, segment: KnownSegment) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(segment.id(), segment);
    }
}

impl Ledger for MemoryLedger {
    fn known(&self) -> Vec<KnownSegment> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .copied()
            .collect()
    }

    fn next_index(&self, shard: ShardId) -> SegmentIndex {
        let last = self
            .known()
            .iter()
            .map(KnownSegment::id)
            .filter(|id| id.shard == shard)
            .map(|id| id.index)
            .max();
        last.map_or(SegmentIndex::FIRST, |i| {
            i.checked_next().expect("a bench does not make 2^32 segments")
        })
    }

    fn roll(&self, seal: Option<&SealRecord>, open: &OpenRecord) -> Result<(), LedgerError> {
        if let Some(seal) = seal {
            self.seal_segment(seal)?;
        }
        self.put(KnownSegment::Open(*open));
        Ok(())
    }

    fn seal_segment(&self, seal: &SealRecord) -> Result<(), LedgerError> {
        self.put(KnownSegment::Sealed(*seal));
        Ok(())
    }

    fn trim_segment(&self, id: SegmentId, _: TrimReason) -> Result<(), LedgerError> {
        self.put(KnownSegment::Trimmed(id));
        Ok(())
    }

    fn unlinked(&self, segments: &[SegmentId]) -> Result<(), LedgerError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|id, _| !segments.contains(id));
        Ok(())
    }

    fn mark_lost(&self, id: SegmentId) -> Result<(), LedgerError> {
        self.put(KnownSegment::Lost(id));
        Ok(())
    }

    fn clock(&self) -> Option<ClockMark> {
        None
    }

    fn keep_clock(&self, _: ClockMark) -> Result<(), LedgerError> {
        Ok(())
    }
}

/// Opens a vault with the daemon's defaults.
pub(crate) fn open(
    dir: &Path,
    shards: u16,
    ledger: &Arc<MemoryLedger>,
    epoch: u64,
) -> anyhow::Result<(Vault, Vec<ShardWriter>)> {
    let options = VaultOptions {
        shards,
        segment_size: 64 << 20,
        segment_age: Duration::from_secs(300),
        spares: 4,
        disk_limit: 1 << 40,
        retention: Duration::from_secs(86_400),
        release: gophership_vault::Release::AtRetention,
        on_full: gophership_vault::OnFull::Refuse,
    };
    let seams = (0..shards).map(|_| ShardSeam::alone(Box::new(|| {}))).collect();
    let epoch = Epoch::new(epoch).expect("epochs begin at 1");
    let opened = Vault::open(
        DataDir::open(dir, true)?,
        &options,
        epoch,
        Arc::clone(ledger) as Arc<dyn Ledger>,
        seams,
    )?;
    // The spares are written at the start; measure when the disk is quiet again.
    let files = u64::from(shards) * (options.spares as u64 + 1);
    while opened.0.status().wal_files.0 < files {
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(300));
    Ok(opened)
}

/// A description for a payload of `records` records.
pub(crate) fn meta(records: u32) -> EntryMeta {
    EntryMeta {
        received_ns: 1,
        min_event_ns: 1,
        max_event_ns: 1,
        record_count: records,
        tenant: TenantId::DEFAULT,
        encoding: Encoding::Identity,
        state: EntryState::PLAIN,
    }
}

/// Bytes that look like logs: they compress about three to one.
pub(crate) fn loglike(len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 128);
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    while out.len() < len {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        out.extend_from_slice(b"GET /api/v1/orders/");
        out.extend_from_slice(format!("{:08x}", seed >> 32).as_bytes());
        out.extend_from_slice(b" HTTP/1.1 200 user-agent=Mozilla/5.0 trace=");
        out.extend_from_slice(format!("{seed:016x}").as_bytes());
        out.extend_from_slice(b" duration_ms=");
        out.extend_from_slice(format!("{}\n", seed >> 56).as_bytes());
    }
    out.truncate(len);
    out
}
