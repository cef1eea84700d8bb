//! All exporters of a node: started, told what to do, shown, stopped.
//!
//! **Invariant.** I1: an exporter's record is in the catalogue before it sends anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use gophership_catalogue::catalogue::EXPORTERS_BEGIN_AT_OLDEST;
use gophership_catalogue::exporter::{EntryKey, Generation, LetterCause};
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command};
use gophership_proto::view::rfc3339;
use gophership_somatic::{Throttle, ZoneCell};
use gophership_vault::ids::{Lsn, ShardId};
use gophership_vault::ledger::SealRecord;
use gophership_vault::time::{TimeRange, now_unix_nano};
use gophership_vault::{Debt, SegmentState, Vault};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::cursors::Cursors;
use super::dead_letters::SendLetters;
use super::letter_store::LetterStore;
use super::limits::{CHANGE_LOOK, CHANGE_PATIENCE, COMMIT_INTERVAL, STOP_PATIENCE};
use super::orders::Orders;
use super::status::{ExporterView, Status, add};
use crate::buffer::Rings;
use crate::config::{Export, ExportKind, ExportTarget};
use crate::sink::{Readier, Sink};

/// What exporters are started with.
pub struct ExportParts {
    /// Which there are.
    pub configs: Vec<Export>,
    /// Where entries are.
    pub vault: Vault,
    /// What keeps their cursors. The vault releases by it.
    pub cursors: Arc<Cursors>,
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
    /// It is on record, and does not run.
    #[error(
        "exporter {0:?} is not configured, so it does nothing: put it into `export` again, or forget it (`gs-ctl exporter forget {0}`)"
    )]
    NotConfigured(String),
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
    /// What would be sought through is being recovered.
    #[error(
        "shard {shard} is being recovered after a restart, and its entries are not all there yet: say it again later, or see `gs-ctl segment list`"
    )]
    Recovering {
        /// The shard.
        shard: ShardId,
    },
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
    #[error("exporter {0:?} is configured: take it out of `export` and send the node SIGHUP, then forget it")]
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

impl fmt::Display for SeekTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Oldest => f.write_str("oldest"),
            Self::Received(at_ns) => f.write_str(&rfc3339(*at_ns)),
        }
    }
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

/// An exporter that was started.
pub(super) struct Running {
    pub(super) config: Export,
    pub(super) orders: watch::Sender<Orders>,
    pub(super) status: Arc<Status>,
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
}

/// See the module.
pub struct Exporters {
    pub(super) vault: Vault,
    pub(super) catalogue: Arc<dyn Catalogue>,
    pub(super) cursors: Arc<Cursors>,
    pub(super) letters: Arc<LetterStore>,
    pub(super) throttle: Throttle,
    pub(super) zone: Arc<ZoneCell>,
    /// What all of them may hold of memory, in bytes.
    pub(super) memory: u64,
    pub(super) max_message: usize,
    pub(super) shards: BTreeSet<ShardId>,
    /// What the workers hand over to.
    pub(super) rings: BTreeMap<ShardId, Rings>,
    /// What the configuration says. Held while it is taken into use.
    pub(super) configured: Mutex<Vec<Export>>,
    pub(super) running: Mutex<Vec<Arc<Running>>>,
    pub(super) stopped: AtomicBool,
}

impl fmt::Debug for Exporters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporters")
            .field("count", &self.running().len())
            .finish_non_exhaustive()
    }
}

impl Exporters {
    /// Starts all of them. It blocks.
    ///
    /// # Errors
    /// The first that cannot be started.
    pub fn start(parts: ExportParts) -> Result<Arc<Self>, ExportError> {
        let catalogue = Arc::clone(parts.cursors.catalogue());
        let shards: BTreeSet<ShardId> = parts
            .vault
            .shards()
            .into_iter()
            .chain(parts.vault.marks().into_iter().map(|(shard, _, _)| shard))
            .collect();
        let exporters = Self {
            letters: LetterStore::new(parts.vault.clone(), Arc::clone(&catalogue)),
            vault: parts.vault,
            catalogue,
            cursors: parts.cursors,
            throttle: parts.throttle,
            zone: parts.zone,
            memory: parts.memory,
            max_message: parts.max_message,
            rings: shards.iter().map(|shard| (*shard, Rings::default())).collect(),
            shards,
            configured: Mutex::new(parts.configs.clone()),
            running: Mutex::default(),
            stopped: AtomicBool::new(false),
        };
        for config in &parts.configs {
            exporters.start_one(config, parts.configs.len())?;
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
        exporters.name_those_not_configured(&parts.configs);
        exporters.name_those_paused();
        Ok(Arc::new(exporters))
    }

    /// The live rings that the worker of `shard` hands over to.
    #[must_use]
    pub fn rings(&self, shard: ShardId) -> Rings {
        self.rings.get(&shard).cloned().unwrap_or_default()
    }

    /// Those that were started.
    pub(super) fn running(&self) -> Vec<Arc<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How full the fullest live ring is.
    #[must_use]
    pub fn ring_fill(&self) -> Option<f64> {
        let rings = self.rings.values().map(Rings::must_load);
        rings
            .flat_map(|rings| rings.iter().map(|ring| ring.fill()).reduce(f64::max))
            .reduce(f64::max)
    }

    /// Keeps the cursors until `stop` says so, and then a last time.
    pub async fn keep_cursors(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let stopping = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                () = tokio::time::sleep(COMMIT_INTERVAL) => false,
            };
            let cursors = Arc::clone(&self.cursors);
            // A panic in it shows in the log, and the next turn tries again.
            if let Ok(Err(error)) = spawn_blocking(move || cursors.keep()).await {
                tracing::warn!(%error, "export.cursor.failed");
            }
            if stopping {
                return;
            }
        }
    }

    /// Ends all of them: requests in flight get their answer, or are sent again at the next start. It blocks, for a bounded time.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let running = self.running();
        for r in &running {
            r.orders.send_modify(|orders| orders.stop = true);
        }
        let until = std::time::Instant::now() + STOP_PATIENCE;
        for r in &running {
            r.join(Some(until));
        }
    }

    /// All of them, by name, those that are on record and do not run too.
    #[must_use]
    pub fn views(&self) -> Vec<ExporterView> {
        let mut views: Vec<_> = self.running().iter().map(|r| self.view_of(r)).collect();
        views.extend(self.not_running().iter().filter_map(|name| self.view_of_record(name)));
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none of this name.
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

    fn find(&self, name: &str) -> Result<Arc<Running>, ExportError> {
        let found = self.running().into_iter().find(|r| r.config.name == name);
        found.ok_or_else(|| {
            let known = self.catalogue.read(|state| state.exporter(name).is_some());
            let name = name.to_owned();
            if known {
                ExportError::NotConfigured(name)
            } else {
                ExportError::Unknown(name)
            }
        })
    }

    /// Pauses an exporter, or lets it go on; that ends any wait of it, too. It blocks.
    ///
    /// # Errors
    /// There is none of this name, or the catalogue does not take it.
    pub fn set_paused(&self, name: &str, paused: bool, by: &str) -> Result<(), ExportError> {
        let r = self.find(name)?;
        self.catalogue.submit(
            Actor::operator(by),
            Command::SetExporter {
                exporter: name.to_owned(),
                paused,
                at_ns: now_unix_nano(),
            },
        )?;
        r.orders.send_modify(|orders| {
            orders.paused = paused;
            orders.nudge += 1;
        });
        tracing::info!(exporter = name, paused, by, "export.pause.set");
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
    pub fn seek(&self, name: &str, to: SeekTo, accept_loss: bool, by: &str) -> Result<u64, ExportError> {
        let r = self.find(name)?;
        if let SeekTo::Received(at_ns) = to
            && at_ns > now_unix_nano()
        {
            return Err(ExportError::TimeToCome);
        }
        let mut lost = Debt::default();
        let mut shards = Vec::new();
        for (shard, place) in r.status.places() {
            if matches!(to, SeekTo::Received(_)) && self.vault.is_recovering(shard) {
                return Err(ExportError::Recovering { shard });
            }
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
        self.catalogue.submit(
            Actor::operator(by),
            Command::SeekExporter {
                exporter: name.to_owned(),
                node: self.vault.identity().node_id,
                shards,
                at_ns: now_unix_nano(),
            },
        )?;
        add(&r.status.counts.given_up_entries, lost.entries);
        if lost.entries > 0 {
            tracing::warn!(
                exporter = name,
                %to,
                count = lost.entries,
                bytes = lost.bytes,
                by,
                "export.seek.gave_up"
            );
        } else {
            tracing::info!(exporter = name, %to, by, "export.seek.done");
        }
        let generation = generation_of(self.catalogue.as_ref(), name);
        r.orders
            .send_modify(|orders| orders.generation = orders.generation.max(generation));
        Ok(lost.entries)
    }

    /// Removes the record of an exporter that is not configured: its cursors and dead letters. It blocks.
    ///
    /// # Errors
    /// It is configured, none had this name, it owes entries or has dead letters and `accept_loss` is not set, or the catalogue does not take it.
    pub fn forget(&self, name: &str, accept_loss: bool, by: &str) -> Result<Forgotten, ExportError> {
        let configured = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        if configured.iter().any(|configured| configured.name == name) {
            return Err(ExportError::Configured(name.to_owned()));
        }
        let letters = self
            .catalogue
            .read(|state| state.exporter(name).map(|_| state.dead_letter_count(name)));
        let debt = self.recorded_debt(name);
        let lost = Forgotten {
            debt_entries: debt.entries,
            debt_bytes: debt.bytes,
            dead_letters: letters.ok_or_else(|| ExportError::Unknown(name.to_owned()))? as u64,
        };
        if lost.debt_entries + lost.dead_letters > 0 && !accept_loss {
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
            letters: Arc::clone(&self.letters),
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
        let stored = self.letters.read(entry).await.ok_or_else(gone)?;
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
    pub fn drop_letters(&self, name: &str, letters: Vec<EntryKey>, by: &str) -> Result<u64, ExportError> {
        let count = letters.len() as u64;
        self.letters.remove(name, letters, Actor::operator(by))?;
        // One whose letters were at their bound has room again.
        if let Ok(r) = self.find(name) {
            r.orders.send_modify(|orders| orders.nudge += 1);
        }
        Ok(count)
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

/// The last entry of a shard that was received before `at_ns`.
fn last_before(vault: &Vault, shard: ShardId, at_ns: u64) -> Option<Lsn> {
    let before = |record: &SealRecord| record.stats.received.is_none_or(|r| r.max < at_ns);
    // Everything up to the last segment that is wholly before it is passed over unread.
    let segments = vault.own_segments();
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
