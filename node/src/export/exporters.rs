//! All exporters of a node: started, controlled, shown, stopped.
//!
//! **Invariants**:
//! - I1: an exporter's record is in the catalogue before it sends anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use gophership_catalogue::catalogue::EXPORTERS_BEGIN_AT_OLDEST;
use gophership_catalogue::exporter::{Generation, LetterCause};
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command};
use gophership_somatic::{Throttle, ZoneCell};
use gophership_vault::Vault;
use gophership_vault::ids::{LogId, Lsn, ShardId};
use gophership_vault::time::now_unix_nano;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::begin::begin;
use super::configure::configure;
use super::control::Control;
use super::cursors::Cursors;
use super::error::{ExportError, Forgotten};
use super::letter_store::LetterStore;
use super::limits::{CHANGE_INTERVAL, CHANGE_PATIENCE, COMMIT_INTERVAL, STOP_PATIENCE};
use super::lost_nodes::{Lost, LostNodes, LostRun};
use super::status::{ExporterView, Status};
use super::told_debts::{ToldDebts, untold};
use crate::archive::ArchiveReader;
use crate::buffer::{Budget, Rings};
use crate::config::{Export, ExportKind, ExportTarget};
use crate::replay::LostLogs;
use crate::sink::Sink;

/// The inputs of the exporters.
pub struct ExportParts {
    /// The exporters of the configuration.
    pub configs: Vec<Export>,
    /// The vault that holds the entries.
    pub vault: Vault,
    /// The keeper of their cursors, by which the vault releases segments.
    pub cursors: Arc<Cursors>,
    /// The throttle of their work.
    pub throttle: Throttle,
    /// The zone, for the live ring.
    pub zone: Arc<ZoneCell>,
    /// Limit of memory of all exporters together, in bytes.
    pub memory: u64,
    /// Limit of bytes in a message.
    pub max_message: usize,
    /// The other nodes, for whose lost ones it exports; `None` on a single node.
    pub lost: Option<LostNodes>,
    /// The reader of the archive; `None` in tests that have none.
    pub archive: Option<Arc<ArchiveReader>>,
}

/// The names of exporters that are to run and cannot, each with the reason.
pub type Refused = BTreeMap<String, String>;

/// An exporter that was started, for this node's logs or for those of a lost one.
pub(super) struct Running {
    pub(super) config: Export,
    pub(super) control: watch::Sender<Control>,
    pub(super) status: Arc<Status>,
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
    /// The lost node whose logs it exports; `None` for this node's own.
    pub(super) lost: Option<LostRun>,
    /// Of one for this node's own logs in a cluster: the readings from other nodes for it, and the memory of what is
    /// sent of lost nodes' logs. The exports of all lost nodes share them; each ends, so that another one has its turn.
    pub(super) for_lost: Option<(LostLogs, Arc<Budget>)>,
}

/// All exporters of a node (see the module).
pub struct Exporters {
    pub(super) vault: Vault,
    pub(super) catalogue: Arc<dyn Catalogue>,
    pub(super) cursors: Arc<Cursors>,
    pub(super) letters: Arc<LetterStore>,
    pub(super) throttle: Throttle,
    pub(super) zone: Arc<ZoneCell>,
    /// Limit of memory of all exporters together, in bytes.
    pub(super) memory: u64,
    pub(super) max_message: usize,
    pub(super) shards: BTreeSet<ShardId>,
    /// The live rings of each shard's worker.
    pub(super) rings: BTreeMap<ShardId, Rings>,
    /// What the configuration says, with which a new one is compared. Held while that is taken into use.
    pub(super) configured: Mutex<Vec<Export>>,
    pub(super) running: Mutex<Vec<Arc<Running>>>,
    /// Those that are to run and cannot.
    pub(super) refused: Mutex<Refused>,
    pub(super) stopped: AtomicBool,
    pub(super) lost: Option<Lost>,
    pub(super) archive: Option<Arc<ArchiveReader>>,
    /// The logs of all who hold them and of the archive; `None` on a single node without one.
    pub(super) logs: Option<LostLogs>,
}

/// The present ends of this node's logs.
fn ends(vault: &Vault, shards: &BTreeSet<ShardId>) -> Vec<(ShardId, Option<Lsn>)> {
    shards.iter().map(|shard| (*shard, vault.readable(*shard))).collect()
}

impl fmt::Debug for Exporters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporters")
            .field("count", &self.running().len())
            .finish_non_exhaustive()
    }
}

impl Exporters {
    /// Starts all exporters. It blocks.
    ///
    /// # Errors
    ///
    /// On a single node that of the first whose sink or thread cannot be made.
    pub fn start(parts: ExportParts) -> Result<Arc<Self>, ExportError> {
        let catalogue = Arc::clone(parts.cursors.catalogue());
        let shards: BTreeSet<ShardId> = parts
            .vault
            .shards()
            .into_iter()
            .chain(parts.vault.marks().into_iter().map(|(shard, _, _)| shard))
            .collect();
        let peers = parts.lost.as_ref().map(|nodes| &*nodes.peers);
        let ends = || ends(&parts.vault, &shards);
        begin(catalogue.as_ref(), peers, ends, &parts.configs)?;
        configure(catalogue.as_ref(), parts.vault.identity().node_id, &parts.configs)?;
        let (vault, archive) = (&parts.vault, parts.archive.as_ref());
        let lost = parts
            .lost
            .map(|nodes| Lost::new(nodes, |peers| LostLogs::new(vault, &catalogue, &peers, archive)));
        let single = || archive.map(|archive| LostLogs::single(vault, &catalogue, archive));
        let logs = lost.as_ref().map(|lost| lost.logs.clone()).or_else(single);
        let exporters = Self {
            letters: LetterStore::new(
                parts.vault.clone(),
                Arc::clone(&catalogue),
                logs.clone(),
                lost.is_some(),
            ),
            lost,
            logs,
            vault: parts.vault,
            catalogue,
            cursors: parts.cursors,
            archive: parts.archive,
            throttle: parts.throttle,
            zone: parts.zone,
            memory: parts.memory,
            max_message: parts.max_message,
            rings: shards.iter().map(|shard| (*shard, Rings::default())).collect(),
            shards,
            configured: Mutex::new(parts.configs.clone()),
            running: Mutex::default(),
            refused: Mutex::default(),
            stopped: AtomicBool::new(false),
        };
        for config in &parts.configs {
            let Err(error) = exporters.start_one(config, parts.configs.len()) else {
                continue;
            };
            // A member goes on without it: what is the cluster's keeps no node from starting.
            if exporters.lost.is_none() && !matches!(error, ExportError::NoRoom { .. }) {
                return Err(error);
            }
            exporters.cannot_start(&config.name, &error);
        }
        let catalogue = &exporters.catalogue;
        if catalogue.read(|state| state.setting(EXPORTERS_BEGIN_AT_OLDEST).is_some()) {
            // All that are configured are on record now; a later one begins where its settings say.
            catalogue.submit(
                Actor::Node,
                Command::SetConfig {
                    key: EXPORTERS_BEGIN_AT_OLDEST.to_owned(),
                    value: None,
                    at_ns: now_unix_nano(),
                    seen: None,
                },
            )?;
        }
        exporters.name_those_not_configured();
        exporters.name_those_paused();
        Ok(Arc::new(exporters))
    }

    /// Puts those of these exporters that are new on record.
    ///
    /// # Errors
    /// The catalogue's.
    pub(super) fn begin(&self, configs: &[Export]) -> Result<(), CatalogueError> {
        let peers = self.lost.as_ref().map(Lost::peers);
        begin(
            self.catalogue.as_ref(),
            peers,
            || ends(&self.vault, &self.shards),
            configs,
        )
    }

    /// The reader of the archive.
    pub(crate) fn archive(&self) -> Option<&Arc<ArchiveReader>> {
        self.archive.as_ref()
    }

    /// The live rings that the worker of `shard` hands over to.
    #[must_use]
    pub fn rings(&self, shard: ShardId) -> Rings {
        self.rings.get(&shard).cloned().unwrap_or_default()
    }

    /// The exporters that were started.
    pub(super) fn running(&self) -> Vec<Arc<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The exporters that are to run and cannot, each with the reason.
    #[must_use]
    pub fn refused(&self) -> Refused {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The fill of the fullest live ring.
    #[must_use]
    pub fn ring_fill(&self) -> Option<f64> {
        let rings = self.rings.values().map(Rings::must_load);
        rings
            .flat_map(|rings| rings.iter().map(|ring| ring.fill()).reduce(f64::max))
            .reduce(f64::max)
    }

    /// Commits the cursors and follows the record until `stop` turns true, and then a last time.
    pub async fn keep_cursors(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let stopping = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                () = tokio::time::sleep(COMMIT_INTERVAL) => false,
            };
            let exporters = Arc::clone(&self);
            let keep = move || {
                if stopping {
                    exporters.commit_taken();
                } else {
                    exporters.pay_for_the_lost();
                }
                exporters.follow();
                if let Err(error) = exporters.follow_letters() {
                    tracing::warn!(%error, "dead_letter.copies.not_followed");
                }
                exporters.cursors.keep()
            };
            // A panic in it shows in the log, and the next turn tries again.
            if let Ok(Err(error)) = spawn_blocking(keep).await {
                tracing::warn!(%error, "export.cursor.failed");
            }
            if stopping {
                return;
            }
        }
    }

    fn follow_letters(&self) -> Result<(), CatalogueError> {
        let is_dead = |node| self.lost.as_ref().is_some_and(|lost| lost.is_dead(node));
        self.letters.follow(&is_dead)
    }

    /// Takes what is on record of the exporters, which an operator may have set at another node: a pause, and the
    /// generation, without which cursors are not committed.
    fn follow(&self) {
        for r in &self.running() {
            let name = &r.config.name;
            let mut changed = None;
            // What is read under this lock is not older than what an instruction at this node has set.
            r.control.send_if_modified(|control| {
                let Some(record) = self.catalogue.read(|state| state.exporter(name).copied()) else {
                    return false;
                };
                let is_new = control.paused != record.paused || control.generation < record.generation;
                if is_new {
                    control.paused = record.paused;
                    control.generation = control.generation.max(record.generation);
                    control.nudge += 1;
                    changed = Some(record);
                }
                is_new
            });
            if let Some(record) = changed {
                tracing::info!(exporter = name, paused = record.paused, "export.record.followed");
            }
        }
    }

    /// Ends all exporters: requests in flight get their answer, or are sent again at the next start. It blocks, for a
    /// bounded time.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let running = self.running();
        for r in &running {
            r.control.send_modify(|control| control.stop = true);
        }
        let until = std::time::Instant::now() + STOP_PATIENCE;
        for r in &running {
            r.join(Some(until));
        }
    }

    /// All exporters, by name, including those that are on record and do not run.
    #[must_use]
    pub fn views(&self) -> Vec<ExporterView> {
        let running = self.running();
        let own = running.iter().filter(|r| r.lost.is_none());
        let mut views: Vec<_> = own.map(|r| self.view_of(r)).collect();
        views.extend(self.not_running().iter().filter_map(|name| self.view_of_record(name)));
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// One exporter.
    ///
    /// # Errors
    ///
    /// No exporter has this name.
    pub fn view(&self, name: &str) -> Result<ExporterView, ExportError> {
        match self.find(name) {
            Ok(r) => Ok(self.view_of(&r)),
            Err(unknown) => self.view_of_record(name).ok_or(unknown),
        }
    }

    fn view_of(&self, r: &Running) -> ExporterView {
        let target = &r.config.target;
        let mut view = r.status.view();
        for (shard, done) in &view.positions {
            let debt = self.vault.debt(*shard, *done);
            let (entries, bytes) = self.archived_behind(*shard, *done);
            view.debt_entries += debt.entries + entries;
            view.debt_bytes += debt.bytes + bytes;
        }
        if view.debt_entries == 0 {
            view.oldest_ns = 0;
        }
        view.dead_letters = self
            .catalogue
            .read(|s| s.dead_letter_count_of(&r.config.name, LetterCause::Refused)) as u64;
        view.name.clone_from(&r.config.name);
        view.kind = match target.kind {
            ExportKind::Grpc => "otlp_grpc",
            ExportKind::Http => "otlp_http",
        };
        view.endpoint = target.endpoint.to_string();
        view.compression = target.compression.name();
        view
    }

    /// What only the archive has of an own log behind `done`: entries and bytes, estimated.
    pub(super) fn archived_behind(&self, shard: ShardId, done: Option<Lsn>) -> (u64, u64) {
        let node = self.vault.identity().node_id;
        self.catalogue
            .read(|state| state.archived_behind(LogId { node, shard }, done))
    }

    pub(super) fn find(&self, name: &str) -> Result<Arc<Running>, ExportError> {
        let mut own = self.running().into_iter().filter(|r| r.lost.is_none());
        let found = own.find(|r| r.config.name == name);
        found.ok_or_else(|| {
            let known = self.catalogue.read(|state| state.exporter(name).is_some());
            let refused = self.refused().get(name).cloned();
            let name = name.to_owned();
            if let Some(why) = refused {
                ExportError::Refused { name, why }
            } else if known {
                ExportError::NotConfigured(name)
            } else {
                ExportError::Unknown(name)
            }
        })
    }

    /// Pauses or resumes an exporter; resuming also ends any wait of it. It blocks.
    ///
    /// # Errors
    ///
    /// No exporter has this name, or the catalogue refused the command.
    pub fn set_paused(&self, name: &str, paused: bool, by: &str) -> Result<(), ExportError> {
        self.find(name)?;
        self.catalogue.submit(
            Actor::operator(by),
            Command::SetExporter {
                exporter: name.to_owned(),
                paused,
                at_ns: now_unix_nano(),
            },
        )?;
        for r in self.running().iter().filter(|r| r.config.name == name) {
            r.control.send_modify(|control| {
                control.paused = paused;
                control.nudge += 1;
            });
        }
        tracing::info!(exporter = name, paused, by, "export.pause.set");
        Ok(())
    }

    /// Waits until an exporter follows its last instruction, or `CHANGE_PATIENCE` is over.
    pub async fn obeyed(&self, name: &str) {
        let Ok(r) = self.find(name) else { return };
        let until = tokio::time::Instant::now() + CHANGE_PATIENCE;
        let control = *r.control.borrow();
        while !r.status.obeys(control.paused, control.generation) && tokio::time::Instant::now() < until {
            tokio::time::sleep(CHANGE_INTERVAL).await;
        }
    }

    /// Removes the record of an exporter that is not configured: its cursors and dead letters. It blocks. `told` is
    /// what other nodes say that they owe it.
    ///
    /// # Errors
    /// None had this name; without `accept_loss`, it is owed entries, or a node does not say what it owes, or it has
    /// dead letters; or the catalogue does not take it, as where it is configured.
    pub fn forget(&self, name: &str, accept_loss: bool, told: &ToldDebts, by: &str) -> Result<Forgotten, ExportError> {
        let own = self.vault.identity().node_id;
        let (configured, known, letters, untold) = self.catalogue.read(|state| {
            let known = state.exporter(name).is_some();
            let letters = state.dead_letter_count(name) as u64;
            (state.is_configured(name), known, letters, untold(state, own, told))
        });
        if !known && !configured {
            return Err(ExportError::Unknown(name.to_owned()));
        }
        if !untold.is_empty() && !accept_loss && !configured {
            let name = name.to_owned();
            return Err(ExportError::DebtUnknown { name, nodes: untold });
        }
        let (debt, of_others) = (self.recorded_debt(name), self.owed_by_others(name, told));
        let lost = Forgotten {
            debt_entries: debt.entries + of_others.entries,
            debt_bytes: debt.bytes + of_others.bytes,
            dead_letters: letters,
        };
        // Of one that is configured nothing is lost: the catalogue refuses that.
        if lost.debt_entries + lost.dead_letters > 0 && !accept_loss && !configured {
            return Err(ExportError::ForgetLoses {
                name: name.to_owned(),
                lost,
            });
        }
        self.letters.forget(name, Actor::operator(by))?;
        tracing::warn!(
            exporter = name,
            count = lost.debt_entries,
            bytes = lost.debt_bytes,
            dead_letters = lost.dead_letters,
            by,
            "export.exporter.forgotten"
        );
        Ok(lost)
    }

    /// The sink of an exporter.
    ///
    /// # Errors
    ///
    /// No exporter has this name.
    pub fn target(&self, name: &str) -> Result<ExportTarget, ExportError> {
        self.find(name).map(|r| r.config.target.clone())
    }

    /// True where an exporter may send to the node itself.
    #[must_use]
    pub fn is_into_self(&self, name: &str) -> bool {
        self.find(name).is_ok_and(|r| r.config.into_self)
    }
}

pub(super) fn generation_of(catalogue: &dyn Catalogue, name: &str) -> Generation {
    catalogue.read(|state| state.exporter(name).map_or(Generation::FIRST, |e| e.generation))
}

pub(super) fn open_sink(config: &Export) -> Result<Sink, ExportError> {
    Sink::new(&config.target).map_err(|error| ExportError::Sink {
        name: config.name.clone(),
        why: error.to_string(),
    })
}
