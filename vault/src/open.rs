//! Opening a vault: the existing files are announced, each shard gets a fresh WAL file, and the rest is recovered
//! behind ingest.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::copies::shared::CopyShared;
use crate::data_dir::{DataDir, Identity};
use crate::error::OpenError;
use crate::ids::{Epoch, NodeId, SegmentId, ShardId};
use crate::keep::ballast::{Ballast, available, start_bytes};
use crate::keep::housekeeper::Housekeeper;
use crate::keep::sealer::Sealer;
use crate::keep::to_unlink::ToUnlink;
use crate::keep::vault_clock::VaultClock;
use crate::ledger::{KnownSegment, Ledger};
use crate::limits::KEPT_ENTRIES_PERCENT;
use crate::options::{RecoveryBy, VaultOptions};
use crate::parts::KeepParts;
use crate::read::kept_entries::KeptEntries;
use crate::read::quarantine::Quarantine;
use crate::recover::{
    LeftWal, adopt_sealed, announce, compare_with_record, list_left, recover_all, recover_now, wait_for_leader,
};
use crate::seam::ShardSeam;
use crate::start::{RecoveryEnd, Start, check, spawn};
use crate::time::now_unix_nano;
use crate::tuned::Tuned;
use crate::vault::{Inner, Vault};
use crate::wal::file::{EpochNow, WalPlan};
use crate::wal::watermark::Watermark;
use crate::wal::writer::ShardWriter;

impl Vault {
    /// Opens the vault and starts its threads. Returns when every shard can take entries.
    ///
    /// # Errors
    ///
    /// A setting cannot work, a file cannot be made, or the ledger refuses.
    ///
    /// # Panics
    ///
    /// There is not one seam for each shard.
    pub fn open(
        data: DataDir,
        options: &VaultOptions,
        epoch: Epoch,
        ledger: Arc<dyn Ledger>,
        seams: Vec<ShardSeam>,
    ) -> Result<(Self, Vec<ShardWriter>), OpenError> {
        check(options)?;
        assert_eq!(seams.len(), usize::from(options.shards), "one seam per shard");
        let known = ledger.known();
        let parts = keep_parts(&data, options, epoch, ledger, &known)?;
        let left = list_left(&parts.data, parts.node, &known)?;
        announce(&parts, &left, &known);
        let is_short = available(&parts.data) < start_bytes(options.shards, options.segment_size);
        let left = match options.recovery {
            // Files that earlier boots left give up their space first.
            RecoveryBy::Itself if is_short => recover_now(&parts, left),
            RecoveryBy::Itself | RecoveryBy::Leader => left,
        };
        let (sealer, seal_requests) = channel();
        let mut start = Start {
            parts: &parts,
            sealer: &sealer,
            known: &known,
            left: &left,
            options,
            shards: Vec::new(),
            threads: Vec::new(),
        };
        let (mut writers, mut kept, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
        for (number, seam) in seams.into_iter().enumerate() {
            let (writer, shard, stats) = start.shard(ShardId::new(number as u16), seam)?;
            writers.push(writer);
            kept.push(shard);
            syncs.push(stats);
        }
        let (shards, threads) = start.done();
        let (housekeeper, end) = channel();
        let mut inner = Inner {
            data,
            parts: parts.clone(),
            shards,
            syncs,
            stopping: Arc::new(AtomicBool::new(false)),
            sealer,
            housekeeper: Mutex::new(Some(housekeeper)),
            threads: Mutex::new(threads),
        };
        let stopping = Arc::clone(&inner.stopping);
        inner.start_keeping(Sealer::new(parts, kept, seal_requests, stopping), end)?;
        inner.start_recovery(left, known)?;
        Ok((Self { inner: Arc::new(inner) }, writers))
    }
}

impl Inner {
    fn watermarks(&self) -> Vec<Arc<Watermark>> {
        self.shards.iter().map(|shard| Arc::clone(&shard.watermark)).collect()
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let thread = spawn(name, self.watermarks(), run)?;
        self.threads
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
        Ok(())
    }

    fn start_keeping(&mut self, sealer: Sealer, end: Receiver<Infallible>) -> Result<(), OpenError> {
        let housekeeper = Housekeeper {
            parts: self.parts.clone(),
            shards: self.shards.clone(),
            end,
        };
        self.spawn("sealer", move || sealer.run())?;
        self.spawn("housekeeper", move || housekeeper.run())
    }

    fn start_recovery(&mut self, left: Vec<LeftWal>, known: Vec<KnownSegment>) -> Result<(), OpenError> {
        let (parts, stop) = (self.parts.clone(), Arc::clone(&self.stopping));
        self.spawn("recovery", move || {
            let end = RecoveryEnd(Arc::clone(&parts.holdings));
            let stopping = || stop.load(Ordering::Acquire);
            match parts.recovery {
                RecoveryBy::Itself => recover_all(&parts, left, &stopping, || {
                    adopt_sealed(&parts, &known);
                    compare_with_record(&parts);
                    drop(end);
                }),
                RecoveryBy::Leader => {
                    // What is on no record was never opened: no other node has anything of it.
                    let (recorded, unrecorded) = left.into_iter().partition(|wal: &LeftWal| wal.known.is_some());
                    drop(recover_now(&parts, unrecorded));
                    wait_for_leader(&parts, recorded, &known, &stopping, || compare_with_record(&parts));
                    drop(end);
                }
            }
        })
    }
}

/// The state that the threads of `keep` share, for a vault with these options.
fn keep_parts(
    data: &DataDir,
    options: &VaultOptions,
    epoch: Epoch,
    ledger: Arc<dyn Ledger>,
    known: &[KnownSegment],
) -> Result<KeepParts, OpenError> {
    let Identity {
        cluster_id, node_id, ..
    } = data.identity();
    let path = data.path().to_path_buf();
    let kept_bytes = options.disk_limit / 100 * KEPT_ENTRIES_PERCENT;
    let copies = CopyShared {
        to_unlink: Arc::new(ToUnlink::of(node_id, trimmed(known))),
        ..CopyShared::default()
    };
    Ok(KeepParts {
        node: node_id,
        plan: WalPlan {
            cluster_id,
            epoch: Arc::new(EpochNow::new(epoch)),
            size: options.segment_size,
        },
        spares_wanted: options.spares,
        disk_limit: options.disk_limit,
        tuned: Arc::new(Tuned::new(options)),
        release: options.release.clone(),
        recovery: options.recovery,
        ballast: Arc::new(Ballast::of(&path, options.shards, options.segment_size)),
        holdings: Arc::default(),
        quarantine: Arc::new(Quarantine::open(&path)?),
        kept_entries: Arc::new(KeptEntries::open(&path, cluster_id, epoch, kept_bytes)?),
        counts: Arc::default(),
        tier: Arc::clone(&copies.tier),
        clock: start_clock(&*ledger, last_seal(node_id, known), options.retention),
        ledger,
        recovery_is_short: Arc::default(),
        to_unlink: Arc::clone(&copies.to_unlink),
        own: Arc::default(),
        copies,
        data: path,
    })
}

/// Starts the vault's clock. The credit that this uses is spent on record before anything goes by the clock; where that
/// cannot be recorded, none is used.
fn start_clock(ledger: &dyn Ledger, last_seal: Option<u64>, retention: Duration) -> VaultClock {
    let started = |wall_ns| VaultClock::start(wall_ns, ledger.clock(), last_seal, retention);
    let clock = started(now_unix_nano());
    match ledger.keep_clock(clock.reading()) {
        Ok(()) => clock,
        Err(error) => {
            tracing::warn!(%error, "vault.clock.not_kept");
            started(0)
        }
    }
}

/// Time at which the last own segment was sealed that is still held. Others were sealed by the clocks of other nodes.
fn last_seal(node: NodeId, known: &[KnownSegment]) -> Option<u64> {
    let sealed = known.iter().filter_map(|segment| match segment {
        KnownSegment::Sealed(record) => Some(record.sealed_ns).filter(|_| record.id.node == node),
        KnownSegment::Open(_) | KnownSegment::Trimmed(_) | KnownSegment::Lost(_) => None,
    });
    sealed.max()
}

/// The segments whose trim is on record and not confirmed yet.
fn trimmed(known: &[KnownSegment]) -> impl Iterator<Item = SegmentId> {
    known.iter().filter_map(|segment| match segment {
        KnownSegment::Trimmed(id) => Some(*id),
        KnownSegment::Open(_) | KnownSegment::Sealed(_) | KnownSegment::Lost(_) => None,
    })
}
