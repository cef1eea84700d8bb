//! Reads this node's files for replays that its peers run.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use gophership_catalogue::Catalogue;
use gophership_vault::ids::SegmentId;
use gophership_vault::time::TimeRange;
use gophership_vault::{ScanFault, SegmentState, Vault};
use gophership_vault_replication::peer::{ReplayFound, ReplayHandler, ReplayReading};
use serde::{Deserialize, Serialize};

use super::plan::{self, Dropped, Part};
use super::reader::{self, Found};

/// What is missing, on its way to a peer.
#[derive(Serialize, Deserialize)]
enum Missing {
    Fault(ScanFault),
    Dropped(SegmentId, Dropped),
}

impl Missing {
    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and a text have a form in JSON")
    }
}

/// What a peer found missing.
///
/// # Errors
/// A peer of another version sent it.
pub(super) fn missing_from(bytes: &[u8]) -> Result<Found, serde_json::Error> {
    Ok(match serde_json::from_slice(bytes)? {
        Missing::Fault(fault) => Found::Fault(fault),
        Missing::Dropped(first, dropped) => Found::Dropped(first, dropped),
    })
}

/// Reads for peers, once there is a vault.
#[derive(Default)]
pub(crate) struct ForPeers(OnceLock<(Vault, Arc<dyn Catalogue>)>);

impl ForPeers {
    /// Begins to read.
    pub(crate) fn begin(&self, vault: Vault, catalogue: Arc<dyn Catalogue>) {
        self.0.get_or_init(|| (vault, catalogue));
    }

    fn parts(&self) -> Result<&(Vault, Arc<dyn Catalogue>), String> {
        self.0.get().ok_or_else(|| "the node is starting".to_owned())
    }
}

impl ReplayHandler for ForPeers {
    fn plan(&self, time: TimeRange) -> Result<Vec<Vec<u8>>, String> {
        let (vault, catalogue) = self.parts()?;
        let parts = plan::own_parts(vault, &**catalogue, time);
        let parts = parts.iter().map(serde_json::to_vec);
        parts.collect::<Result<_, _>>().map_err(|e| e.to_string())
    }

    fn read(&self, reading: ReplayReading<'_>, take: &mut dyn FnMut(ReplayFound) -> bool) -> Result<(), String> {
        let ReplayReading {
            part,
            time,
            done,
            wanted,
        } = reading;
        let (vault, _) = self.parts()?;
        let part: Part = serde_json::from_slice(part).map_err(|e| format!("another version made the plan: {e}"))?;
        // One entry: it may be that of a dead letter, whose segment is gone.
        if let Some(node) = part.owner
            && done == part.until.before()
            && let Ok(Some(kept)) = vault.kept_entry(node, part.shard, part.until)
        {
            take(ReplayFound::Entry(kept));
            return Ok(());
        }
        match reader::copy_not_here(vault, &part) {
            Some((segment, Some(SegmentState::Unreadable(what)))) => {
                let (numbers, is_for_now) = (None, true);
                let fault = ScanFault {
                    segment,
                    numbers,
                    what,
                    is_for_now,
                };
                take(ReplayFound::Missing(Missing::Fault(fault).to_bytes()));
                return Ok(());
            }
            Some((segment, _)) => return Err(format!("its copy of segment {segment} cannot be read yet")),
            None => {}
        }
        let _ended_early = reader::read(vault, &part, time, done, move || !wanted(), &mut |found| {
            let found = match found {
                Found::Entry(entry) | Found::Archived(entry) => ReplayFound::Entry(entry),
                Found::Fault(fault) => ReplayFound::Missing(Missing::Fault(fault).to_bytes()),
                Found::Dropped(first, dropped) => ReplayFound::Missing(Missing::Dropped(first, dropped).to_bytes()),
            };
            if take(found) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{EntryNumber, Lsn, NodeId, SegmentIndex, ShardId};

    use super::*;
    use crate::control::testkit::{TestNode, payload};
    use crate::replay::source::part_of;

    #[test]
    fn the_entry_of_a_dead_letter_is_given_without_its_segment_and_nothing_else_of_that() {
        let dir = tempfile::tempdir().unwrap();
        let mut node = TestNode::open(dir.path(), 1);
        let lsn = node.append(0, 1, &payload(1, 100));
        let own = node.vault.identity().node_id;
        let shard = ShardId::new(0);
        let entry = crate::sink::read_entry(&node.vault, (own, shard, lsn))
            .unwrap()
            .unwrap();
        // As if another node had written it, of which there is no segment here.
        let other = NodeId::new(2).unwrap();
        let entry = gophership_vault::StoredEntry { node: other, ..entry };
        assert!(node.vault.keep_entry(&entry).unwrap());
        let for_peers = ForPeers::default();
        for_peers.begin(node.vault.clone(), Arc::clone(&node.catalogue));
        let id = SegmentId {
            node: other,
            shard,
            index: SegmentIndex::FIRST,
        };
        let read = |until: Lsn| {
            let part = Part { until, ..part_of(id) };
            let reading = ReplayReading {
                part: &serde_json::to_vec(&part).unwrap(),
                time: TimeRange::ALL,
                done: until.before(),
                wanted: Arc::new(|| true),
            };
            let mut found = Vec::new();
            for_peers
                .read(reading, &mut |some| {
                    found.push(some);
                    true
                })
                .map(|()| found)
        };
        assert_eq!(read(lsn), Ok(vec![ReplayFound::Entry(entry)]));
        let next = Lsn::at(id.index, EntryNumber::new(2).unwrap());
        assert!(read(next).is_err());
    }
}
