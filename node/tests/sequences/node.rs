//! A node without its ports: a real vault, catalogue and exporter over a data folder, started and ended as `gophership
//! run` does it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use gophership::config::{Environment, Export, load_text};
use gophership::export::{Cursors, ExportParts, Exporters, LaneState};
use gophership::machine::Machine;
use gophership_catalogue::{Actor, Catalogue, Command, LocalCatalogue};
use gophership_somatic::{Throttle, ZoneCell};
use gophership_vault::ids::{Epoch, Lsn, SegmentId, SegmentIndex, ShardId};
use gophership_vault::ledger::{KeptClock, KnownSegment, Ledger, LedgerError, OpenRecord, SealRecord, TrimReason};
use gophership_vault::{
    BlockSink, DataDir, OnFull, Release, SegmentHeader, ShardSeam, ShardWriter, TailFrame, Vault, VaultOptions,
};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use uuid::Uuid;

use crate::gate;
use crate::model::{Checked, EXPORTER};

/// Time after which a test gives up waiting.
pub(crate) const HANG: Duration = Duration::from_secs(120);
/// Time for which a released segment is kept, and age at which an entry expires.
pub(crate) const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// Waits until `done` holds.
pub(crate) fn wait(what: &str, mut done: impl FnMut() -> bool) -> Checked {
    let until = Instant::now() + HANG;
    while !done() {
        if Instant::now() > until {
            return Err(format!("waited too long for {what}"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The settings of a start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) small_blocks: bool,
    pub(crate) rolls_by_age: bool,
    pub(crate) retention: Duration,
    pub(crate) disk_limit: u64,
    pub(crate) on_full: OnFull,
}

/// Vault and catalogue, open.
pub(crate) struct Store {
    pub(crate) vault: Vault,
    pub(crate) writer: ShardWriter,
    pub(crate) catalogue: Arc<dyn Catalogue>,
    cursors: Arc<Cursors>,
}

/// A node that runs.
pub(crate) struct Node {
    pub(crate) store: Store,
    pub(crate) exporters: Arc<Exporters>,
}

/// Segments whose drop was put on record.
static DROPPED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Segments whose trim was put on record since they were released.
static RELEASED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn released_now() -> MutexGuard<'static, BTreeSet<u32>> {
    RELEASED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Segments whose trim was put on record since they were released, in this world.
pub(crate) fn trimmed() -> BTreeSet<u32> {
    released_now().clone()
}

fn dropped_now() -> MutexGuard<'static, BTreeSet<u32>> {
    DROPPED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Segments whose drop was put on record in this world.
pub(crate) fn dropped() -> BTreeSet<u32> {
    dropped_now().clone()
}

/// Begins a world in which nothing was trimmed or dropped.
pub(crate) fn forget_trims() {
    dropped_now().clear();
    released_now().clear();
}

/// The catalogue as the vault's ledger, with the gate before and after each command.
struct Gated(Arc<dyn Ledger>);

impl Gated {
    fn submit(&self, submit: impl FnOnce(&dyn Ledger) -> Result<(), LedgerError>) -> Result<(), LedgerError> {
        gate::pass("ledger.asked");
        let answer = submit(self.0.as_ref());
        gate::pass("ledger.done");
        answer
    }
}

impl Ledger for Gated {
    fn known(&self) -> Vec<KnownSegment> {
        self.0.known()
    }

    fn next_index(&self, shard: ShardId) -> SegmentIndex {
        self.0.next_index(shard)
    }

    fn roll(&self, seal: Option<&SealRecord>, open: &OpenRecord) -> Result<(), LedgerError> {
        self.submit(|ledger| ledger.roll(seal, open))
    }

    fn seal_segment(&self, seal: &SealRecord) -> Result<(), LedgerError> {
        self.submit(|ledger| ledger.seal_segment(seal))
    }

    fn trim_segment(&self, id: SegmentId, why: TrimReason) -> Result<(), LedgerError> {
        match why {
            TrimReason::Dropped => drop(dropped_now().insert(id.index.get())),
            TrimReason::Retention => drop(released_now().insert(id.index.get())),
            TrimReason::Empty => {}
        }
        self.submit(|ledger| ledger.trim_segment(id, why))
    }

    fn holds_copy(&self, id: SegmentId, digest: [u8; 32]) -> Result<(), LedgerError> {
        self.submit(|ledger| ledger.holds_copy(id, digest))
    }

    fn unlinked(&self, segments: &[SegmentId]) -> Result<(), LedgerError> {
        self.submit(|ledger| ledger.unlinked(segments))
    }

    fn new_epoch(&self, seen: Epoch) -> Result<Epoch, LedgerError> {
        self.0.new_epoch(seen)
    }

    fn segment_lost(&self, id: SegmentId) -> Result<(), LedgerError> {
        self.submit(|ledger| ledger.segment_lost(id))
    }

    fn clock(&self) -> Option<KeptClock> {
        self.0.clock()
    }

    fn keep_clock(&self, mark: KeptClock) -> Result<(), LedgerError> {
        self.submit(|ledger| ledger.keep_clock(mark))
    }
}

/// A block sink that discards every block: with it the cutter writes blocks at once.
struct Nowhere;

impl BlockSink for Nowhere {
    fn wants_frame(&self) -> bool {
        true
    }

    fn begin(&mut self, _: &SegmentHeader) {}
    fn frame(&mut self, _: TailFrame<'_>) {}
    fn complete(&mut self, _: SegmentId, _: Option<Lsn>, _: [u8; 32]) {}
}

impl Store {
    /// Opens vault and catalogue. Parts of this pass the gate, so it must not be called where the gate may be frozen
    /// and no other thread would open it.
    pub(crate) fn open(path: &Path, settings: Settings) -> Checked<Self> {
        let data = DataDir::open(path, true).map_err(|e| e.to_string())?;
        let catalogue =
            LocalCatalogue::open(&path.join("catalogue.redb"), data.identity()).map_err(|e| e.to_string())?;
        let catalogue: Arc<dyn Catalogue> = Arc::new(catalogue);
        let highest = data.highest_epoch().map_err(|e| e.to_string())?;
        let epoch = catalogue.node_up(Uuid::new_v4(), highest).map_err(|e| e.to_string())?;
        let names = vec![EXPORTER.to_owned()];
        let node = Some(data.identity().node_id);
        let configured = catalogue.submit(Actor::Node, Command::ConfigureExporters { node, names });
        configured.map_err(|e| e.to_string())?;
        let cursors = Cursors::new(Arc::clone(&catalogue));
        let options = VaultOptions {
            shards: 1,
            segment_size: 64 * 1024,
            segment_age: if settings.rolls_by_age {
                Duration::ZERO
            } else {
                RETENTION
            },
            spares: 1,
            disk_limit: settings.disk_limit,
            retention: settings.retention,
            release: Release::By(Arc::clone(&cursors) as _),
            on_full: settings.on_full,
            recovery: gophership_vault::RecoveryBy::Itself,
        };
        let seam = ShardSeam {
            sink: settings.small_blocks.then(|| Box::new(Nowhere) as Box<dyn BlockSink>),
            ..ShardSeam::alone(Box::new(|| {}))
        };
        let ledger: Arc<dyn Ledger> = Arc::new(Gated(catalogue.ledger()));
        let opened = Vault::open(data, &options, epoch, ledger, vec![seam]);
        let (vault, mut writers) = opened.map_err(|e| e.to_string())?;
        Ok(Self {
            vault,
            writer: writers.remove(0),
            catalogue,
            cursors,
        })
    }

    pub(crate) fn is_recovered(&self) -> bool {
        self.vault.status().recovering_segments == 0
    }

    /// Ends the node, cleanly or by dropping it, and waits until nothing holds its files.
    pub(crate) fn end(self, clean: bool) -> Checked {
        let Self {
            vault,
            writer,
            catalogue,
            cursors,
        } = self;
        drop(cursors);
        if clean {
            vault.close(vec![writer]);
        } else {
            drop(vault);
            drop(writer);
        }
        wait("the catalogue to be let go", || Arc::strong_count(&catalogue) == 1)
    }
}

/// The exporter's configuration.
pub(crate) fn exporter(sink: std::net::SocketAddr, expires: bool) -> Vec<Export> {
    let machine = Machine {
        cores: 2,
        memory: 8 << 30,
    };
    let expire = if expires { ", expire: 24h" } else { "" };
    let text = format!(
        "export:\n  - {{ name: {EXPORTER}, otlp_http: {{ endpoint: \"http://{sink}\", compression: none }}, \
         start: oldest, batch_bytes: 16KiB{expire} }}\n"
    );
    load_text(&text, &Environment::default(), &machine)
        .expect("the configuration of the exporter is right")
        .export
}

impl Node {
    pub(crate) fn start(store: Store, configs: Vec<Export>) -> Checked<Self> {
        let zone = Arc::new(ZoneCell::new(Instant::now()));
        let exporters = Exporters::start(ExportParts {
            configs,
            vault: store.vault.clone(),
            cursors: Arc::clone(&store.cursors),
            throttle: Throttle::new(Arc::clone(&zone)),
            zone,
            memory: 64 << 20,
            archive: None,
            max_message: 1 << 20,
            lost: None,
        });
        let exporters = exporters.map_err(|e| e.to_string())?;
        Ok(Self { store, exporters })
    }

    /// The last entry that the exporter is done with.
    pub(crate) fn done(&self) -> Checked<Option<Lsn>> {
        let view = self.exporters.view(EXPORTER).map_err(|e| e.to_string())?;
        Ok(view.positions.first().and_then(|(_, done)| *done))
    }

    /// Pauses or resumes the exporter.
    pub(crate) fn pause(&self, paused: bool) -> Checked {
        self.exporters
            .set_paused(EXPORTER, paused, "a test")
            .map_err(|e| e.to_string())?;
        wait("the exporter to obey", || {
            let view = self.exporters.view(EXPORTER);
            view.is_ok_and(|view| (view.state == LaneState::Paused) == paused)
        })
    }

    /// Commits the exporter's cursor.
    pub(crate) fn keep_cursor(&self, runtime: &Runtime) {
        let (_stop, stopped) = watch::channel(true);
        runtime.block_on(Arc::clone(&self.exporters).keep_cursors(stopped));
    }

    /// Ends the exporter; a clean end commits its cursor.
    pub(crate) fn end_export(self, keep: Option<&Runtime>) -> Store {
        self.exporters.stop();
        if let Some(runtime) = keep {
            self.keep_cursor(runtime);
        }
        self.store
    }
}

/// The catalogue's file as a crash at this instant would leave it, and every other file of the data folder.
pub(crate) fn photograph(data: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut last = read_all(data);
    loop {
        // Two reads with the same result saw one instant.
        let again = read_all(data);
        if again == last {
            return again;
        }
        last = again;
    }
}

/// Every file below a folder, by its path in it. Files that vanish meanwhile are left out.
fn read_all(data: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for path in files_below(data) {
        if let Ok(bytes) = fs::read(&path) {
            files.push((path.strip_prefix(data).expect("it is below it").to_owned(), bytes));
        }
    }
    files
}

/// Every file below a folder, in order.
pub(crate) fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            Ok(_) | Err(_) => {}
        }
    }
    files.sort();
    files
}
