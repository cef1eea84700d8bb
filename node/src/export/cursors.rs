//! Keeps the cursors of all exporters on record, and says from them what no exporter needs any more.
//!
//! **Invariants.** I1: a segment is released only when the kept cursor of every exporter that is configured, or was and
//! is not forgotten, is past it and no dead letter needs it. I2: what an exporter had delivered when a segment was
//! dropped never counts as lost for it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gophership_catalogue::exporter::ExportCursor;
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command};
use gophership_vault::Readers;
use gophership_vault::ids::{Lsn, ShardId};
use gophership_vault::ledger::SealRecord;

use super::status::{Place, Status, add};

/// The cursors of a node's exporters.
pub struct Cursors {
    catalogue: Arc<dyn Catalogue>,
    /// Those that hold segments: the exporters of the configuration, started or not, and those that were taken out of
    /// it and are not forgotten yet.
    holders: Mutex<BTreeSet<String>>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    exporters: Vec<(String, Arc<Status>)>,
    /// What is kept, as far as is known here.
    kept: HashMap<(String, ShardId), Place>,
}

impl Cursors {
    /// The cursors of the exporters that are configured, none of which runs yet, and of those that are on record.
    pub fn new(catalogue: Arc<dyn Catalogue>, configured: Vec<String>) -> Arc<Self> {
        let mut holders: BTreeSet<String> = configured.into_iter().collect();
        catalogue.read(|state| holders.extend(state.exporters().map(|(name, _)| name.to_owned())));
        Arc::new(Self {
            catalogue,
            holders: Mutex::new(holders),
            running: Mutex::default(),
        })
    }

    /// Where they are on record.
    pub(super) fn catalogue(&self) -> &Arc<dyn Catalogue> {
        &self.catalogue
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holders(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on segments are held for an exporter of this name.
    pub(super) fn hold(&self, name: &str) {
        self.holders().insert(name.to_owned());
    }

    /// An exporter is forgotten: nothing is held for it.
    pub(super) fn let_go(&self, name: &str) {
        self.holders().remove(name);
    }

    /// An exporter does not run any more. What was kept of it last is what is on record.
    pub(super) fn remove(&self, name: &str) {
        self.running().exporters.retain(|(known, _)| known != name);
    }

    /// An exporter runs now.
    pub(super) fn add(&self, name: &str, status: &Arc<Status>) {
        self.running().exporters.push((name.to_owned(), Arc::clone(status)));
    }

    /// Keeps what has moved since the last time. It blocks.
    ///
    /// # Errors
    /// The catalogue's: what moved is kept the next time.
    pub(super) fn keep(&self) -> Result<(), CatalogueError> {
        let mut running = self.running();
        let mut cursors = Vec::new();
        for (name, status) in &running.exporters {
            for (shard, place) in status.places() {
                let Some(done) = place.done else { continue };
                // After a seek the same place must be kept once more.
                if running.kept.get(&(name.clone(), shard)) != Some(&place) {
                    cursors.push(ExportCursor {
                        exporter: name.clone(),
                        generation: place.generation,
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
            let place = Place {
                generation: cursor.generation,
                done: Some(cursor.done),
            };
            running.kept.insert((cursor.exporter, cursor.shard), place);
        }
        Ok(())
    }

    /// The last entry of a segment's shard that is on record as done for an exporter.
    fn kept(&self, name: &str, segment: &SealRecord) -> Option<Lsn> {
        let id = segment.id;
        self.catalogue.read(|state| state.cursor(name, id.node, id.shard))
    }
}

impl Readers for Cursors {
    fn are_done(&self, segment: &SealRecord) -> bool {
        let past = |name: &String| owed(segment, self.kept(name, segment)) == 0;
        self.holders().iter().all(past) && !self.catalogue.read(|state| state.is_held(segment.id))
    }

    fn are_none(&self) -> bool {
        self.holders().is_empty()
    }

    fn keep_positions(&self) {
        if let Err(error) = self.keep() {
            tracing::warn!(%error, "export.cursor.failed");
        }
    }

    fn lose(&self, segment: &SealRecord) -> u64 {
        let running = self.running();
        let status = |name: &String| running.exporters.iter().find(|(known, _)| known == name);
        let mut most = 0;
        for name in self.holders().iter() {
            let entries = owed(segment, self.kept(name, segment));
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

/// How many entries of a segment lie behind the last one that is done.
fn owed(segment: &SealRecord, done: Option<Lsn>) -> u64 {
    let stats = &segment.stats;
    let Some(last) = stats.last_lsn else { return 0 };
    match done {
        Some(done) if done >= last => 0,
        // Numbers of a segment follow each other, unless damage took some.
        Some(done) if done.index() == last.index() => {
            stats.entries.min(u64::from(last.number().get() - done.number().get()))
        }
        Some(_) | None => stats.entries,
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::NodeSet;
    use gophership_vault::ids::{Epoch, NodeId, SegmentId, SegmentIndex};
    use gophership_vault::ledger::SegmentStats;

    use super::*;

    #[test]
    fn what_is_owed_of_a_segment() {
        let lsn = |index: u64, number: u64| Lsn::from_u64(index << 32 | number);
        let segment = |entries, last_lsn| SealRecord {
            id: SegmentId {
                node: NodeId::FIRST,
                shard: ShardId::new(0),
                index: SegmentIndex::FIRST,
            },
            epoch: Epoch::FIRST,
            stats: SegmentStats {
                entries,
                last_lsn,
                ..SegmentStats::default()
            },
            digest: [0; 32],
            sealed_ns: 0,
            holders: NodeSet::of(NodeId::FIRST),
        };
        for (entries, last, done, expected) in [
            (9, lsn(2, 9), None, 9),
            (9, lsn(2, 9), lsn(1, 70), 9),
            (9, lsn(2, 9), lsn(2, 4), 5),
            (9, lsn(2, 9), lsn(2, 9), 0),
            (9, lsn(2, 9), lsn(3, 1), 0),
            (3, lsn(2, 9), lsn(2, 4), 3),
            (0, None, None, 0),
        ] {
            assert_eq!(owed(&segment(entries, last), done), expected, "{last:?} {done:?}");
        }
    }
}
