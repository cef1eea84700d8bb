//! Keeps the cursors of all exporters on record, and asks there what no exporter needs any more.
//!
//! **Invariants.** I1: a segment is released only when the catalogue says so, and no pause of archiving keeps it. I2:
//! what an exporter had delivered when a segment was dropped never counts as lost for it.
//! **Not here**: which exporters hold a segment (`State::is_released`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gophership_catalogue::exporter::ExportCursor;
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command};
use gophership_vault::Readers;
use gophership_vault::ids::{LogId, Lsn, ShardId};
use gophership_vault::ledger::SealRecord;

use super::status::{CursorPosition, Status, add};
use crate::archive::pause::keeps;

/// The cursors of a node's exporters.
pub struct Cursors {
    catalogue: Arc<dyn Catalogue>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    exporters: Vec<(String, Arc<Status>)>,
    /// The cursors that are on record, as far as is known here.
    kept: HashMap<(String, ShardId), CursorPosition>,
}

impl Cursors {
    /// The cursors of the exporters of a catalogue, none of which runs yet.
    pub fn new(catalogue: Arc<dyn Catalogue>) -> Arc<Self> {
        Arc::new(Self {
            catalogue,
            running: Mutex::default(),
        })
    }

    /// The catalogue that keeps them.
    pub(crate) fn catalogue(&self) -> &Arc<dyn Catalogue> {
        &self.catalogue
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An exporter does not run any more. One of its name that comes later may be another, with no cursor on record.
    pub(super) fn remove(&self, name: &str) {
        let mut running = self.running();
        running.exporters.retain(|(known, _)| known != name);
        running.kept.retain(|(known, _), _| known != name);
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
        let own = self.catalogue.identity().node_id;
        self.catalogue.read(|state| {
            // The clock on record is a little behind: a pause ends that much later.
            let now_ns = state.clock(own).map_or(0, |clock| clock.now_ns);
            state.is_released(segment) && !keeps(state, segment, now_ns)
        })
    }

    fn are_done_up_to(&self, log: LogId) -> Option<Lsn> {
        self.catalogue.read(|state| state.done_up_to(log.node, log.shard))
    }

    fn are_none(&self) -> bool {
        self.catalogue
            .read(|state| state.holders().next().is_none() && !state.has_archive())
    }

    fn keep_positions(&self) {
        if let Err(error) = self.keep() {
            tracing::warn!(%error, "export.cursor.failed");
        }
    }

    fn lose(&self, segment: &SealRecord) -> u64 {
        let running = self.running();
        let status = |name: &String| running.exporters.iter().find(|(known, _)| known == name);
        let (owed, owes_archive) = self.catalogue.read(|state| {
            let owed = |name: &str| (state.needs(name, segment), name.to_owned());
            (
                state.holders().map(owed).collect::<Vec<_>>(),
                state.owes_archive(segment),
            )
        });
        let mut most = 0;
        if owes_archive {
            most = segment.stats.entries;
            tracing::error!(segment = %segment.id, entries = most, "archive.entries.dropped");
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gophership_catalogue::setting::ARCHIVE_URL;
    use gophership_catalogue::testkit::{accepted_loss, open, register, seal_record, segment, up};
    use gophership_catalogue::{MemoryCatalogue, State};
    use gophership_vault::Identity;
    use gophership_vault::ids::{ClusterId, NodeId};
    use gophership_vault::ledger::KeptClock;
    use uuid::Uuid;

    use super::*;
    use crate::archive::pause::{begin, end};

    #[test]
    fn i1_what_can_be_read_of_an_accepted_loss_goes_unarchived_but_not_while_archiving_is_paused() {
        let identity = Identity {
            cluster_id: ClusterId(Uuid::from_u128(1)),
            node_id: NodeId::FIRST,
            storage_uuid: Uuid::from_u128(2),
        };
        let catalogue: Arc<dyn Catalogue> = Arc::new(MemoryCatalogue::with_state(identity, State::default()));
        let (id, now_ns) = (segment(1, 0, 1), 1_700_000_000_000_000_000);
        let seal = seal_record(id, 1, 2);
        let clock = |now_ns| Command::KeepClock {
            node: NodeId::FIRST,
            mark: KeptClock { now_ns, credit_ns: 0 },
        };
        let archive = Command::SetConfig {
            key: ARCHIVE_URL.to_owned(),
            value: Some("s3://logs".to_owned()),
            seen: None,
            at_ns: 1,
        };
        for command in [
            register(1),
            up(1, 1),
            archive,
            open(id, 1),
            Command::Seal { seal },
            clock(now_ns),
        ] {
            catalogue.submit(Actor::Node, command).unwrap();
        }
        let cursors = Cursors::new(Arc::clone(&catalogue));
        assert!(!cursors.are_done(&seal), "it is not archived");
        let accept = Command::AcceptCopyLoss {
            id,
            loss: accepted_loss("jo", 1, 1),
            asked: None,
        };
        catalogue.submit(Actor::operator("jo"), accept).unwrap();
        assert!(cursors.are_done(&seal));
        let minute = Duration::from_secs(60);
        begin(catalogue.as_ref(), now_ns, minute, "jo").unwrap();
        assert!(!cursors.are_done(&seal), "paused");
        catalogue.submit(Actor::Node, clock(now_ns + 60_000_000_000)).unwrap();
        assert!(cursors.are_done(&seal), "the pause has ended by itself");
        begin(catalogue.as_ref(), now_ns, 2 * minute, "jo").unwrap();
        assert!(!cursors.are_done(&seal));
        end(catalogue.as_ref(), "jo").unwrap();
        assert!(cursors.are_done(&seal), "an operator has ended it");
    }
}
