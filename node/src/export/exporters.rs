//! All exporters of a node: started, told what to do, shown, stopped.
//!
//! **Invariants.** I1: an exporter's record is in the catalogue before it sends anything. I2: a segment is released only when every configured exporter's kept cursor is past it and no dead letter
//! lies in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use gophership_catalogue::exporter::{EntryKey, Generation, LetterCause};
use gophership_catalogue::local::EXPORTERS_BEGIN_AT_OLDEST;
use gophership_catalogue::{CatalogueError, Command, LocalCatalogue, Refusal};
use gophership_vault::ids::{Lsn, ShardId};
use gophership_vault::ledger::SealRecord;
use gophership_vault::time::{TimeRange, now_unix_nano};
use gophership_vault::{Debt, Released, SegmentState, Vault};
use thiserror::Error;
use tokio::sync::watch;

use super::cursors::Keeper;
use super::dead_letters::SendLetters;
use super::exporter::{self, ExporterSetup};
use super::limits::{CHANGE_LOOK, CHANGE_PATIENCE, COMMIT_INTERVAL, STOP_PATIENCE};
use super::orders::Orders;
use super::status::{ExporterView, Place, Status, add};
use crate::buffer::{Budget, LiveRing};
use crate::config::{Export, ExportKind, ExportStart, ExportTarget};
use crate::sink::{Readier, Sink, read_again};
use crate::somatic::{Throttle, ZoneCell};

/// What exporters are started with.
pub struct ExportParts {
    /// Which there are.
    pub configs: Vec<Export>,
    /// Where entries are.
    pub vault: Vault,
    /// Where cursors and dead letters are kept.
    pub catalogue: Arc<LocalCatalogue>,
    /// What paces them.
    pub throttle: Throttle,
    /// The zone, for the live ring.
    pub zone: Arc<ZoneCell>,
    /// What all of them may hold of memory, in bytes.
    pub memory: u64,
    /// Bytes of the largest message.
    pub max_message: usize,
}

/// What went wrong with an exporter.
#[derive(Debug, Error)]
pub enum ExportError {
    /// There is no such exporter.
    #[error("there is no exporter {0:?}; `gs-ctl exporter list` shows them")]
    Unknown(String),
    /// Its sink cannot be made of its settings.
    #[error("exporter {name:?}: {why}")]
    Sink {
        /// Which.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Its thread cannot be started.
    #[error("exporter {name:?} cannot start: {source}")]
    Thread {
        /// Which.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A seek to a time that is not yet.
    #[error("a cursor cannot go to a time to come: `now` is behind everything that is acknowledged")]
    TimeToCome,
    /// A seek would pass entries over.
    #[error(
        "exporter {name:?} would never send {entries} entries ({bytes} bytes) that it owes: if they may be lost for it, say --accept-loss"
    )]
    SeekLoses {
        /// Which.
        name: String,
        /// What it owes of what would be passed over.
        entries: u64,
        /// Payload bytes of it.
        bytes: u64,
    },
    /// One that is configured cannot be forgotten.
    #[error("exporter {0:?} is configured: take it out of `export` and start the node again, then forget it")]
    Configured(String),
    /// Forgetting it would lose something.
    #[error(
        "exporter {name:?} owes {} entries ({} bytes) and has {} dead letters: if they may be lost for it, say --accept-loss",
        lost.debt_entries, lost.debt_bytes, lost.dead_letters
    )]
    ForgetLoses {
        /// Which.
        name: String,
        /// What would be lost.
        lost: Forgotten,
    },
    /// The catalogue did not take it.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A dead letter that was named is none.
    #[error("entry {2} of {0}/{1} is no dead letter of this exporter", entry.0, entry.1, entry.2)]
    NoSuchLetter {
        /// Which entry.
        entry: EntryKey,
    },
}

/// Where a seek goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeekTo {
    /// Behind everything that is acknowledged now.
    Now,
    /// To the oldest entry.
    Oldest,
    /// In each shard to the first entry received then or later, nanoseconds since the Unix epoch.
    Received(u64),
}

/// What was forgotten with an exporter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Forgotten {
    /// Entries that it owed.
    pub debt_entries: u64,
    /// Payload bytes of them.
    pub debt_bytes: u64,
    /// Dead letters that it had.
    pub dead_letters: u64,
}

struct Running {
    config: Export,
    orders: watch::Sender<Orders>,
    status: Arc<Status>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// See the module.
pub struct Exporters {
    vault: Vault,
    catalogue: Arc<LocalCatalogue>,
    throttle: Throttle,
    max_message: usize,
    /// Names in the configuration.
    configured: Vec<String>,
    running: Vec<Running>,
}

impl std::fmt::Debug for Exporters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporters")
            .field("count", &self.running.len())
            .finish_non_exhaustive()
    }
}

impl Exporters {
    /// Starts all of them. It blocks.
    ///
    /// # Errors
    /// The first that cannot be started.
    pub fn start(parts: ExportParts) -> Result<Arc<Self>, ExportError> {
        let mut running = Vec::new();
        let shards: BTreeSet<ShardId> = parts
            .vault
            .shards()
            .into_iter()
            .chain(parts.vault.marks().into_iter().map(|(shard, _, _)| shard))
            .collect();
        let share = parts.memory / parts.configs.len().max(1) as u64;
        for config in &parts.configs {
            let name = &config.name;
            let orders = match register(&parts, config, &shards) {
                Err(ExportError::Catalogue(CatalogueError::Refused(Refusal::TooManyExporters { limit }))) => {
                    // Segments are held for it all the same: it is configured and has no cursor.
                    tracing::error!(
                        exporter = name,
                        limit,
                        "export.exporter.no_room: it is not started; forget one that is not configured any more (gs-ctl exporter forget NAME), then start the node again"
                    );
                    continue;
                }
                registered => registered?,
            };
            let node = parts.vault.identity().node_id;
            let place = |shard: &ShardId| {
                let done = parts.catalogue.read(|state| state.cursor(name, node, *shard));
                let generation = orders.generation;
                (*shard, Place { generation, done })
            };
            let rings = shards
                .iter()
                .map(|shard| (*shard, Arc::new(LiveRing::default())))
                .collect();
            let status = Status::new(rings, shards.iter().map(place).collect::<BTreeMap<_, _>>());
            // Its lanes make their own; this one tells whether it can be made.
            open_sink(config)?;
            let (orders, heard) = watch::channel(orders);
            let need = config.memory(parts.max_message as u64);
            let setup = ExporterSetup {
                config: config.clone(),
                vault: parts.vault.clone(),
                catalogue: Arc::clone(&parts.catalogue),
                status: Arc::clone(&status),
                throttle: parts.throttle.clone(),
                zone: Arc::clone(&parts.zone),
                budget: Budget::new(share.max(need), 1),
                max_message: parts.max_message,
                orders: heard,
            };
            let thread = exporter::start(setup).map_err(|source| ExportError::Thread {
                name: name.clone(),
                source,
            })?;
            running.push(Running {
                config: config.clone(),
                orders,
                status,
                thread: Mutex::new(Some(thread)),
            });
        }
        if parts
            .catalogue
            .read(|state| state.setting(EXPORTERS_BEGIN_AT_OLDEST).is_some())
        {
            // All that are configured are on record now; a later one begins where its settings say.
            parts.catalogue.submit(Command::SetConfig {
                key: EXPORTERS_BEGIN_AT_OLDEST.to_owned(),
                value: None,
                at_ns: now_unix_nano(),
            })?;
        }
        Ok(Arc::new(Self {
            vault: parts.vault,
            catalogue: parts.catalogue,
            throttle: parts.throttle,
            max_message: parts.max_message,
            configured: parts.configs.into_iter().map(|config| config.name).collect(),
            running,
        }))
    }

    /// The live rings that the worker of `shard` hands over to.
    #[must_use]
    pub fn rings(&self, shard: ShardId) -> Vec<Arc<LiveRing>> {
        let rings = self.running.iter().filter_map(|r| r.status.rings.get(&shard));
        rings.map(Arc::clone).collect()
    }

    /// How full the fullest live ring is.
    #[must_use]
    pub fn ring_fill(&self) -> Option<f64> {
        let rings = self.running.iter().flat_map(|r| r.status.rings.values());
        rings.map(|ring| ring.fill()).reduce(f64::max)
    }

    /// Keeps the cursors until `stop` says so, and then a last time.
    pub async fn keep_cursors(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let exporters = self
            .running
            .iter()
            .map(|r| (r.config.name.clone(), Arc::clone(&r.status)));
        let mut keeper = Keeper::new(
            self.vault.identity().node_id,
            Arc::clone(&self.catalogue),
            exporters.collect(),
        );
        loop {
            let stopping = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                () = tokio::time::sleep(COMMIT_INTERVAL) => false,
            };
            if let Err(error) = keeper.keep().await {
                tracing::warn!(%error, "export.cursor.failed");
            }
            if stopping {
                return;
            }
        }
    }

    /// Ends all of them: requests in flight get their answer, or are sent again at the next start. It blocks, for a bounded time.
    pub fn stop(&self) {
        for r in &self.running {
            r.orders.send_modify(|orders| orders.stop = true);
        }
        let until = std::time::Instant::now() + STOP_PATIENCE;
        for r in &self.running {
            let thread = r.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(thread) = thread else { continue };
            while !thread.is_finished() && std::time::Instant::now() < until {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            if thread.is_finished() && thread.join().is_err() {
                tracing::error!(exporter = r.config.name, "export.thread.panicked");
            }
        }
    }

    /// All of them, by name.
    #[must_use]
    pub fn views(&self) -> Vec<ExporterView> {
        let mut views: Vec<_> = self.running.iter().map(|r| self.view_of(r)).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn view(&self, name: &str) -> Result<ExporterView, ExportError> {
        self.find(name).map(|r| self.view_of(r))
    }

    fn view_of(&self, r: &Running) -> ExporterView {
        let target = &r.config.target;
        let mut view = r.status.view();
        for (shard, done) in &view.positions {
            let debt = self.vault.debt(*shard, *done);
            view.debt_entries += debt.entries;
            view.debt_bytes += debt.bytes;
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

    fn find(&self, name: &str) -> Result<&Running, ExportError> {
        let found = self.running.iter().find(|r| r.config.name == name);
        found.ok_or_else(|| ExportError::Unknown(name.to_owned()))
    }

    /// Pauses an exporter, or lets it go on; that ends any wait of it, too. It blocks.
    ///
    /// # Errors
    /// There is none of this name, or the catalogue does not take it.
    pub fn set_paused(&self, name: &str, paused: bool) -> Result<(), ExportError> {
        let r = self.find(name)?;
        self.catalogue.submit(Command::SetExporter {
            exporter: name.to_owned(),
            paused,
            at_ns: now_unix_nano(),
        })?;
        r.orders.send_modify(|orders| {
            orders.paused = paused;
            orders.nudge += 1;
        });
        tracing::info!(exporter = name, paused, "export.pause.set");
        Ok(())
    }

    /// Waits until an exporter does what it was told last, or `CHANGE_PATIENCE` is over.
    pub async fn obeyed(&self, name: &str) {
        let Ok(r) = self.find(name) else { return };
        let until = tokio::time::Instant::now() + CHANGE_PATIENCE;
        let orders = *r.orders.borrow();
        while !r.status.obeys(orders.paused, orders.generation) && tokio::time::Instant::now() < until {
            tokio::time::sleep(CHANGE_LOOK).await;
        }
    }

    /// Moves an exporter's cursors. It blocks, and for [`SeekTo::Received`] reads. Gives how many entries are passed over unsent.
    ///
    /// # Errors
    /// There is none of this name, the time is to come, entries would be passed over and `accept_loss` is not set, or the catalogue does not take it.
    pub fn seek(&self, name: &str, to: SeekTo, accept_loss: bool) -> Result<u64, ExportError> {
        let r = self.find(name)?;
        if let SeekTo::Received(at_ns) = to
            && at_ns > now_unix_nano()
        {
            return Err(ExportError::TimeToCome);
        }
        let mut lost = Debt::default();
        let mut shards = Vec::new();
        for (shard, place) in r.status.places() {
            let done = match to {
                SeekTo::Now => self.vault.readable(shard),
                SeekTo::Oldest => None,
                SeekTo::Received(at_ns) => last_before(&self.vault, shard, at_ns),
            };
            if done > place.done {
                let (before, after) = (self.vault.debt(shard, place.done), self.vault.debt(shard, done));
                lost.entries += before.entries.saturating_sub(after.entries);
                lost.bytes += before.bytes.saturating_sub(after.bytes);
            }
            shards.push((shard, done));
        }
        if lost.entries > 0 && !accept_loss {
            return Err(ExportError::SeekLoses {
                name: name.to_owned(),
                entries: lost.entries,
                bytes: lost.bytes,
            });
        }
        self.catalogue.submit(Command::SeekExporter {
            exporter: name.to_owned(),
            node: self.vault.identity().node_id,
            shards,
            at_ns: now_unix_nano(),
        })?;
        add(&r.status.counts.given_up_entries, lost.entries);
        if lost.entries > 0 {
            tracing::warn!(
                exporter = name,
                ?to,
                count = lost.entries,
                bytes = lost.bytes,
                "export.seek.gave_up"
            );
        } else {
            tracing::info!(exporter = name, ?to, "export.seek.done");
        }
        let generation = generation_of(&self.catalogue, name);
        r.orders
            .send_modify(|orders| orders.generation = orders.generation.max(generation));
        Ok(lost.entries)
    }

    /// Removes the record of an exporter that is not configured: its cursors and dead letters. It blocks.
    ///
    /// # Errors
    /// It is configured, none had this name, it owes entries or has dead letters and `accept_loss` is not set, or the catalogue does not take it.
    pub fn forget(&self, name: &str, accept_loss: bool) -> Result<Forgotten, ExportError> {
        if self.configured.iter().any(|configured| configured == name) {
            return Err(ExportError::Configured(name.to_owned()));
        }
        let node = self.vault.identity().node_id;
        let shards = self.vault.shards();
        let mut lost = Forgotten::default();
        let known = self.catalogue.read(|state| {
            lost.dead_letters = state.dead_letter_count(name) as u64;
            // One that is done with nothing has no cursor, and owes everything.
            let cursor = |shard| (shard, state.cursor(name, node, shard));
            state
                .exporter(name)
                .map(|_| shards.into_iter().map(cursor).collect::<Vec<_>>())
        });
        let cursors = known.ok_or_else(|| ExportError::Unknown(name.to_owned()))?;
        for (shard, done) in cursors {
            let debt = self.vault.debt(shard, done);
            lost.debt_entries += debt.entries;
            lost.debt_bytes += debt.bytes;
        }
        if lost.debt_entries + lost.dead_letters > 0 && !accept_loss {
            return Err(ExportError::ForgetLoses {
                name: name.to_owned(),
                lost,
            });
        }
        self.catalogue.submit(Command::ForgetExporter {
            exporter: name.to_owned(),
        })?;
        tracing::warn!(
            exporter = name,
            count = lost.debt_entries,
            bytes = lost.debt_bytes,
            dead_letters = lost.dead_letters,
            "export.exporter.forgotten"
        );
        Ok(lost)
    }

    /// Where an exporter sends.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn target(&self, name: &str) -> Result<ExportTarget, ExportError> {
        self.find(name).map(|r| r.config.target.clone())
    }

    /// Whether an exporter may send to the node itself.
    #[must_use]
    pub fn is_into_self(&self, name: &str) -> bool {
        self.find(name).is_ok_and(|r| r.config.into_self)
    }

    /// What sends the dead letters of an exporter once more.
    ///
    /// # Errors
    /// There is none of this name, or its sink cannot be made.
    pub fn send_letters(&self, name: &str) -> Result<SendLetters, ExportError> {
        let r = self.find(name)?;
        Ok(SendLetters {
            vault: self.vault.clone(),
            catalogue: Arc::clone(&self.catalogue),
            throttle: self.throttle.clone(),
            sink: open_sink(&r.config)?,
            exporter: name.to_owned(),
            max_message: self.max_message,
        })
    }

    /// The dead letters of an exporter that are meant: those named, or all.
    ///
    /// # Errors
    /// One that is named is none, or no exporter ever had this name.
    pub fn letters(&self, name: &str, named: Vec<EntryKey>) -> Result<Vec<EntryKey>, ExportError> {
        self.catalogue.read(|state| {
            // One that is not configured any more may still have some.
            if state.exporter(name).is_none() {
                return Err(ExportError::Unknown(name.to_owned()));
            }
            if named.is_empty() {
                let all = state.dead_letters(Some(name), None, usize::MAX);
                return Ok(all.map(gophership_catalogue::exporter::DeadLetter::entry).collect());
            }
            let missing = named.iter().find(|entry| state.dead_letter(name, **entry).is_none());
            match missing {
                Some(entry) => Err(ExportError::NoSuchLetter { entry: *entry }),
                None => Ok(named),
            }
        })
    }

    /// What is in the entry of a dead letter: its payload fit to be sent, or as it was received and why it is not.
    ///
    /// # Errors
    /// There is no such letter, or its entry cannot be read here.
    pub async fn letter_payload(&self, name: &str, entry: EntryKey) -> Result<(Bytes, Option<String>), ExportError> {
        let gone = || ExportError::NoSuchLetter { entry };
        self.letters(name, vec![entry])?;
        let stored = read_again(&self.vault, entry).await.ok_or_else(gone)?;
        let (node, shard, lsn) = entry;
        tracing::info!(exporter = name, entry = %format_args!("{node}/{shard}/{lsn}"), "dead_letter.shown");
        let received = Bytes::copy_from_slice(&stored.payload);
        Ok(match Readier::default().item(stored, self.max_message) {
            Ok(item) => (item.payload, None),
            Err(why) => (received, Some(why)),
        })
    }

    /// Gives dead letters up. It blocks.
    ///
    /// # Errors
    /// The catalogue does not take it.
    pub fn drop_letters(&self, name: &str, letters: Vec<EntryKey>) -> Result<u64, ExportError> {
        let count = letters.len() as u64;
        self.catalogue.submit(Command::DropDeadLetters {
            exporter: name.to_owned(),
            letters,
        })?;
        // One whose letters were at their bound has room again.
        if let Ok(r) = self.find(name) {
            r.orders.send_modify(|orders| orders.nudge += 1);
        }
        Ok(count)
    }
}

/// What releases a segment, for the exporters of these names: their cursors as kept, and dead letters.
pub fn released(catalogue: &Arc<LocalCatalogue>, names: Vec<String>) -> Released {
    let catalogue = Arc::clone(catalogue);
    Arc::new(move |segment: &SealRecord| {
        let id = segment.id;
        catalogue.read(|state| {
            let past = |name: &String| segment.stats.last_lsn <= state.cursor(name, id.node, id.shard);
            (segment.stats.entries == 0 || names.iter().all(past)) && !state.is_held(id)
        })
    })
}

/// Puts an exporter on record; one that is new begins where its settings say.
fn register(parts: &ExportParts, config: &Export, shards: &BTreeSet<ShardId>) -> Result<Orders, ExportError> {
    let name = &config.name;
    let known = parts.catalogue.read(|state| state.exporter(name).copied());
    if known.is_none() {
        let begins = if parts
            .catalogue
            .read(|state| state.setting(EXPORTERS_BEGIN_AT_OLDEST).is_some())
        {
            // The catalogue was made anew: nobody knows how far the exporter was.
            ExportStart::Oldest
        } else {
            config.start
        };
        let (exporter, at_ns) = (name.clone(), now_unix_nano());
        parts.catalogue.submit(match begins {
            ExportStart::Oldest => Command::SetExporter {
                exporter,
                paused: false,
                at_ns,
            },
            ExportStart::Now => Command::SeekExporter {
                exporter,
                node: parts.vault.identity().node_id,
                shards: shards
                    .iter()
                    .map(|shard| (*shard, parts.vault.readable(*shard)))
                    .collect(),
                at_ns,
            },
        })?;
    }
    Ok(Orders {
        paused: known.is_some_and(|k| k.paused),
        generation: generation_of(&parts.catalogue, name),
        nudge: 0,
        stop: false,
    })
}

fn generation_of(catalogue: &LocalCatalogue, name: &str) -> Generation {
    catalogue.read(|state| state.exporter(name).map_or(Generation::FIRST, |e| e.generation))
}

fn open_sink(config: &Export) -> Result<Sink, ExportError> {
    Sink::new(&config.target).map_err(|error| ExportError::Sink {
        name: config.name.clone(),
        why: error.to_string(),
    })
}

/// The last entry of a shard that was received before `at_ns`.
fn last_before(vault: &Vault, shard: ShardId, at_ns: u64) -> Option<Lsn> {
    let before = |record: &SealRecord| record.stats.received.is_none_or(|r| r.max < at_ns);
    // Everything up to the last segment that is wholly before it is passed over unread.
    let segments = vault.segments();
    let passed = segments
        .iter()
        .filter(|(id, _)| id.shard == shard)
        .map_while(|(_, state)| match state {
            SegmentState::Sealed(record) if before(record) => Some(record.stats.last_lsn),
            SegmentState::Lost => Some(None),
            SegmentState::Sealed(_) | SegmentState::Open | SegmentState::Recovering | SegmentState::Unreadable(_) => {
                None
            }
        })
        .flatten()
        .last();
    let found = vault.cursor(shard, passed, TimeRange::ALL).filter_map(Result::ok);
    found
        .take_while(|entry| entry.meta.received_ns < at_ns)
        .map(|entry| entry.lsn)
        .last()
        .or(passed)
}
