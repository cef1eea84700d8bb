//! The state of a running node that its surfaces (admin, control, health) read.
//!
//! **Owns**: the phase and the stalled shard.
//!
//! **Not here**: the counts (`ingester`, the vault), and their display.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use gophership_catalogue::Catalogue;
use gophership_somatic::ZoneCell;
use gophership_vault::ids::ShardId;
use gophership_vault::time::now_unix_nano;
use gophership_vault::{DiskTier, Vault};
use tokio::sync::Notify;

use crate::archive::ArchiverSeen;
use crate::buffer::Budget;
use crate::cluster::Awaited;
use crate::context::{ClusterContext, IngestSnapshot, Latencies, ShardIngest};
use crate::export::Exporters;
use crate::ingester::{LATENCY_BUCKETS, Published, Refusal, Snapshot, latency_bucket_bound};
use crate::readiness::{NotReady, Phase, WORKER_SILENT, readiness};
use crate::settings::Settings;
use crate::stochastic::Environment;
use crate::tls::ServerTls;

const NO_SHARD: u32 = u32::MAX;

/// The parts that exist once the vault is open.
pub struct Running {
    /// The vault.
    pub vault: Vault,
    /// The catalogue.
    pub catalogue: Arc<dyn Catalogue>,
    /// The cluster that the node is a member of; `None` for a single node.
    pub cluster: Option<ClusterContext>,
    /// The memory budget.
    pub budget: Arc<Budget>,
    /// The exporters.
    pub exporters: Arc<Exporters>,
    /// How archiving fares.
    pub archiver: ArchiverSeen,
    /// The zone.
    pub zone: Arc<ZoneCell>,
    /// The machine's pressure as last read.
    pub environment: Arc<ArcSwap<Environment>>,
    /// Each worker's counters, in the order of its shards.
    pub workers: Vec<Arc<Published>>,
    /// The settings, and those of them that are not in force.
    pub settings: Arc<Settings>,
}

/// A node as its surfaces see it.
pub struct NodeState {
    /// `node.name`.
    pub name: String,
    /// Start of the process, nanoseconds since the Unix epoch.
    pub started_ns: u64,
    /// True where the node belongs to a cluster.
    pub in_cluster: bool,
    phase: AtomicU8,
    stalled: AtomicU32,
    leaving: Arc<AtomicBool>,
    /// Told when an operator has the node end.
    pub(crate) end: Arc<Notify>,
    awaited: OnceLock<Arc<Awaited>>,
    /// Requests that were refused before the workers began.
    pub(crate) refused_early: Arc<AtomicU64>,
    running: OnceLock<Running>,
    tls: OnceLock<Vec<Arc<ServerTls>>>,
}

impl NodeState {
    /// A node that is starting.
    pub fn new(name: String, in_cluster: bool) -> Arc<Self> {
        Arc::new(Self {
            name,
            started_ns: now_unix_nano(),
            in_cluster,
            phase: AtomicU8::new(Phase::Starting as u8),
            stalled: AtomicU32::new(NO_SHARD),
            leaving: Arc::default(),
            end: Arc::default(),
            awaited: OnceLock::new(),
            refused_early: Arc::default(),
            running: OnceLock::new(),
            tls: OnceLock::new(),
        })
    }

    /// The TLS of the listeners that have it.
    pub fn tls(&self) -> &[Arc<ServerTls>] {
        self.tls.get().map_or(&[], |tls| tls)
    }

    /// Sets the TLS of the listeners, once they are open.
    pub fn set_tls(&self, tls: Vec<Arc<ServerTls>>) {
        self.tls.get_or_init(|| tls);
    }

    /// Sets what the start waits for, on a node of a cluster.
    pub fn set_awaited(&self, awaited: Arc<Awaited>) {
        self.awaited.get_or_init(|| awaited);
    }

    /// What the start waits for, on a node of a cluster.
    pub(crate) fn awaited(&self) -> Option<&Awaited> {
        self.awaited.get().map(Arc::as_ref)
    }

    /// The parts of the node, once they exist.
    pub fn running(&self) -> Option<&Running> {
        self.running.get()
    }

    /// Sets the parts of the node.
    pub fn set_running(&self, running: Running) {
        self.running.get_or_init(|| running);
    }

    /// Sets the node's phase.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// True while the node leaves its cluster, and takes no logs.
    pub fn leaving(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.leaving)
    }

    /// Sets whether the node leaves its cluster, by its record.
    pub fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Ordering::Relaxed);
    }

    /// Sets the shard that has stalled, if any.
    pub fn set_stalled(&self, shard: Option<ShardId>) {
        self.stalled
            .store(shard.map_or(NO_SHARD, |s| u32::from(s.get())), Ordering::Relaxed);
    }

    /// Checks that the node is ready.
    ///
    /// # Errors
    ///
    /// The reason for which it is not.
    pub fn ready(&self) -> Result<(), NotReady> {
        let phase = Phase::from_u8(self.phase.load(Ordering::Acquire));
        let Some(running) = self.running() else {
            let waits = self.awaited().and_then(Awaited::in_words);
            return match waits {
                Some(what) => Err(NotReady::Waiting(what)),
                None => readiness(phase, None, None, None, None, false),
            };
        };
        let stalled = u16::try_from(self.stalled.load(Ordering::Relaxed))
            .ok()
            .map(ShardId::new);
        if let Some(why) = running.cluster.as_ref().and_then(|cluster| cluster.quorum.gone()) {
            return Err(NotReady::Gone(why.to_owned()));
        }
        let full = (running.vault.tier() >= DiskTier::Refuse).then(|| running.vault.status().disk);
        readiness(
            phase,
            running.vault.failure(),
            full,
            running.cluster.as_ref().and_then(|cluster| cluster.quorum.leaderless()),
            stalled,
            self.in_cluster,
        )
        .map_err(|why| match why {
            NotReady::TooFewCopies(shard, _) => NotReady::TooFewCopies(shard, running.vault.cut_fault(shard)),
            other => other,
        })?;
        if self.leaving.load(Ordering::Relaxed) {
            return Err(NotReady::Leaving);
        }
        Ok(())
    }

    /// The state of ingest.
    pub fn ingest(&self) -> IngestSnapshot {
        let ready = self.ready().map_err(|why| why.to_string());
        let Some(running) = self.running() else {
            return IngestSnapshot {
                shards: Vec::new(),
                refused: Vec::new(),
                budget_bytes: 0,
                held_bytes: 0,
                acks: Latencies::default(),
                appends: Latencies::default(),
                ready,
            };
        };
        let workers: Vec<Snapshot> = running.workers.iter().map(|w| w.snapshot()).collect();
        let shard = |(number, w): (usize, &Snapshot)| ShardIngest {
            shard: ShardId::new(number as u16),
            records: w.records,
            entries: w.entries,
            bytes: w.bytes,
            deferred: w.deferred,
        };
        IngestSnapshot {
            shards: workers.iter().enumerate().map(shard).collect(),
            refused: self.refused(&workers),
            budget_bytes: running.budget.limit(),
            held_bytes: running.budget.held(),
            acks: latencies(&workers, |w| (&w.acks, w.ack_time)),
            appends: latencies(&workers, |w| (&w.appends, w.append_time)),
            ready,
        }
    }

    /// Requests refused, by reason, by all workers and before they began.
    pub fn refused(&self, workers: &[Snapshot]) -> Vec<(&'static str, u64)> {
        let count = |(n, reason): (usize, &Refusal)| match reason {
            Refusal::Starting => (reason.label(), self.refused_early.load(Ordering::Relaxed)),
            reason => (reason.label(), workers.iter().map(|w| w.refused[n]).sum()),
        };
        Refusal::ALL.iter().enumerate().map(count).collect()
    }

    /// Checks that every worker still runs.
    ///
    /// # Errors
    ///
    /// The number of a worker that does not.
    pub fn live(&self) -> Result<(), usize> {
        let workers = self.running().map_or(&[][..], |r| &r.workers);
        match workers.iter().position(|w| w.snapshot().idle_for >= WORKER_SILENT) {
            Some(silent) => Err(silent),
            None => Ok(()),
        }
    }
}

/// All workers' latencies in one histogram.
fn latencies(workers: &[Snapshot], of: impl Fn(&Snapshot) -> (&[u64], Duration)) -> Latencies {
    let mut all = Latencies::default();
    for bucket in 0..LATENCY_BUCKETS {
        all.count += workers.iter().map(|w| of(w).0[bucket]).sum::<u64>();
        if let Some(bound) = latency_bucket_bound(bucket) {
            all.buckets.push((bound.as_secs_f64(), all.count));
        }
    }
    all.sum = workers.iter().map(|w| of(w).1.as_secs_f64()).sum();
    all
}
