//! Keeps the cursors of all exporters on record, and derives from the record which segments no exporter needs any more.
//!
//! **Invariants**:
//! - I1: a segment is released only when the catalogue says so, and nothing is released while an exporter of the
//!   configuration is not on record yet.
//! - I2: an entry that an exporter had delivered when its segment was dropped never counts as lost for it.
//!
//! **Not here**: the exporters on record that hold a segment (`State::is_released`).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gophership_catalogue::exporter::ExportCursor;
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command};
use gophership_vault::Readers;
use gophership_vault::ids::ShardId;
use gophership_vault::ledger::SealRecord;

use super::status::{CursorPosition, Status, add};

/// The cursors of a node's exporters.
pub struct Cursors {
    catalogue: Arc<dyn Catalogue>,
    /// Exporters of the configuration that are not on record, or not for certain: every segment is held for them.
    unrecorded: Mutex<BTreeSet<String>>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    exporters: Vec<(String, Arc<Status>)>,
    /// The cursors that are on record, as far as is known here.
    kept: HashMap<(String, ShardId), CursorPosition>,
}

impl Cursors {
    /// The cursors of the configured exporters, none of which runs yet, and of those that are on record.
    pub fn new(catalogue: Arc<dyn Catalogue>, configured: Vec<String>) -> Arc<Self> {
        let unrecorded = catalogue.read(|state| {
            let is_new = |name: &String| state.exporter(name).is_none();
            configured.into_iter().filter(is_new).collect()
        });
        Arc::new(Self {
            catalogue,
            unrecorded: Mutex::new(unrecorded),
            running: Mutex::default(),
        })
    }

    /// The catalogue that keeps them.
    pub(super) fn catalogue(&self) -> &Arc<dyn Catalogue> {
        &self.catalogue
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unrecorded(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds every segment for an exporter that is about to be put on record.
    pub(super) fn hold(&self, name: &str) {
        self.unrecorded().insert(name.to_owned());
    }

    /// Holds segments for an exporter by its record from now on.
    pub(super) fn on_record(&self, name: &str) {
        self.unrecorded().remove(name);
    }

    /// Removes an exporter that no longer runs. The cursor that was committed last is the one on record.
    pub(super) fn remove(&self, name: &str) {
        self.running().exporters.retain(|(known, _)| known != name);
    }

    /// Adds an exporter that runs now.
    pub(super) fn add(&self, name: &str, status: &Arc<Status>) {
        self.running().exporters.push((name.to_owned(), Arc::clone(status)));
    }

    /// Commits the cursors that have moved since the last time. It blocks.
    ///
    /// # Errors
    ///
    /// The catalogue's error. The cursors that moved are committed the next time.
    pub(super) fn keep(&self) -> Result<(), CatalogueError> {
        let mut running = self.running();
        let mut cursors = Vec::new();
        for (name, status) in &running.exporters {
            for (shard, position) in status.positions() {
                let Some(done) = position.done else { continue };
                // After a seek the same position must be committed once more.
                if running.kept.get(&(name.clone(), shard)) != Some(&position) {
                    cursors.push(ExportCursor {
                        exporter: name.clone(),
                        generation: position.generation,
                        shard,
                        done,
                    });
                }
            }
        }
        if cursors.is_empty() {
            return Ok(());
        }
        self.catalogue.submit(
            Actor::Node,
            Command::CommitCursors {
                node: self.catalogue.identity().node_id,
                cursors: cursors.clone(),
            },
        )?;
        for cursor in cursors {
            let position = CursorPosition {
                generation: cursor.generation,
                done: Some(cursor.done),
            };
            running.kept.insert((cursor.exporter, cursor.shard), position);
        }
        Ok(())
    }
}

impl Readers for Cursors {
    fn are_done(&self, segment: &SealRecord) -> bool {
        // This is read first: every segment was held for an exporter until it came on record.
        let waits = !self.unrecorded().is_empty();
        self.catalogue.read(|state| state.is_released(segment)) && (!waits || segment.stats.entries == 0)
    }

    fn are_none(&self) -> bool {
        let waits = !self.unrecorded().is_empty();
        !waits && self.catalogue.read(|state| state.holders().next().is_none())
    }

    fn keep_positions(&self) {
        if let Err(error) = self.keep() {
            tracing::warn!(%error, "export.cursor.failed");
        }
    }

    fn lose(&self, segment: &SealRecord) -> u64 {
        let running = self.running();
        let status = |name: &String| running.exporters.iter().find(|(known, _)| known == name);
        let mut holders = self.unrecorded().clone();
        let owed = self.catalogue.read(|state| {
            holders.extend(state.holders().map(str::to_owned));
            let owed = |name: String| (state.owed(&name, segment), name);
            holders.into_iter().map(owed).collect::<Vec<_>>()
        });
        let mut most = 0;
        for (entries, name) in &owed {
            let entries = *entries;
            if entries == 0 {
                continue;
            }
            most = most.max(entries);
            if let Some((_, status)) = status(name) {
                add(&status.counts.dropped_entries, entries);
            }
            tracing::error!(exporter = name, segment = %segment.id, entries, "export.entries.dropped");
        }
        most
    }
}
