//! Makes the files and streams of this node follow the catalogue: copies of sealed segments are shown, those of trimmed
//! ones removed, and streams learn of seals.
//!
//! **Owns**: a thread.
//!
//! **Invariants**:
//! - I1: every change of a record is followed, or tried again.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gophership_catalogue::Catalogue;
use gophership_catalogue::segment::SegmentRecord;
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::SealRecord;
use gophership_vault::{Disposition, SegmentState, Vault};
use gophership_vault_replication::consensus::RaftCatalogue;
use gophership_vault_replication::tail::streams::TailStreams;

/// Longest wait for a change. What could not be done is tried again after it.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// A thread that follows the catalogue.
pub(super) struct Follower {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Follower {
    pub(super) fn start(catalogue: Arc<RaftCatalogue>, vault: Vault, streams: Arc<TailStreams>) -> io::Result<Self> {
        let stop: Arc<AtomicBool> = Arc::default();
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("follow".to_owned()).spawn(move || {
            let mut left = BTreeSet::new();
            while !stopped.load(Ordering::Acquire) {
                let touched = catalogue.follow(LOOK_INTERVAL);
                let mut all = left;
                catalogue.view(&mut |state| all.extend(touched.segments(state)));
                left = all
                    .into_iter()
                    .filter(|id| !follow(&catalogue, &vault, &streams, *id))
                    .collect();
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends. It blocks for a moment.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        if self.thread.join().is_err() {
            tracing::error!("cluster.follow.panicked");
        }
    }
}

/// The action that a segment's record asks of this node.
#[derive(PartialEq, Eq, Debug)]
enum Due {
    Nothing,
    /// An own segment is sealed.
    Sealed(SealRecord),
    /// A copy can be shown.
    Copy(SealRecord),
    /// A copy can go.
    Trimmed,
    /// An own segment is trimmed: nobody is sent it any more.
    OwnTrimmed,
}

/// Follows one record. False where it must be tried again.
fn follow(catalogue: &RaftCatalogue, vault: &Vault, streams: &TailStreams, id: SegmentId) -> bool {
    let own = vault.identity().node_id;
    let mut due = Due::Nothing;
    catalogue.view(&mut |state| {
        due = state
            .segment(id)
            .map_or(Due::Nothing, |record| due_of(&record, own, || state.holding(id)));
    });
    match due {
        Due::Nothing => {}
        Due::Sealed(seal) => streams.sealed(seal.id, seal.holders),
        Due::Copy(seal) => match vault.segment_state(id) {
            Some(SegmentState::Sealed(_)) => {}
            Some(SegmentState::Open | SegmentState::Recovering | SegmentState::Unreadable(_) | SegmentState::Lost)
            | None => match vault.copy_sealed(&seal) {
                Ok(()) => {}
                Err(error) => return error.disposition() != Disposition::Overloaded,
            },
        },
        Due::Trimmed => vault.trimmed([id]),
        Due::OwnTrimmed => streams.trimmed(id),
    }
    true
}

/// Decides what is due. `holding` gives the nodes that may have bytes of the segment.
fn due_of(record: &SegmentRecord, own: NodeId, holding: impl FnOnce() -> BTreeSet<NodeId>) -> Due {
    let is_own = record.id().node == own;
    match record {
        SegmentRecord::Sealed(seal) if is_own => Due::Sealed(*seal),
        SegmentRecord::Sealed(seal) if seal.holders.contains(own) => Due::Copy(*seal),
        SegmentRecord::Trimmed { .. } if is_own => Due::OwnTrimmed,
        SegmentRecord::Trimmed { id, .. } => {
            let left = holding();
            // The owner confirms first: until then it may still send.
            if left.contains(&own) && !left.contains(&id.node) {
                Due::Trimmed
            } else {
                Due::Nothing
            }
        }
        SegmentRecord::Open { .. }
        | SegmentRecord::Recovering { .. }
        | SegmentRecord::Sealed(_)
        | SegmentRecord::Lost { .. } => Due::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::NodeSet;
    use gophership_vault::ids::{Epoch, SegmentIndex, ShardId};
    use gophership_vault::ledger::{SegmentStats, TrimReason};

    use super::*;

    fn node(n: u32) -> NodeId {
        NodeId::new(n).expect("numbers begin with 1")
    }

    fn id() -> SegmentId {
        SegmentId {
            node: node(1),
            shard: ShardId::new(0),
            index: SegmentIndex::FIRST,
        }
    }

    #[test]
    fn a_copy_is_shown_by_its_holders_and_goes_after_its_owner_has_confirmed() {
        let seal = SealRecord {
            id: id(),
            epoch: Epoch::new(1).expect("epochs begin with 1"),
            stats: SegmentStats::default(),
            digest: [0; 32],
            sealed_ns: 1,
            holders: NodeSet::from_nodes([node(1), node(2)]).expect("a set has room for two"),
        };
        let sealed = SegmentRecord::Sealed(seal);
        let due = |record: &SegmentRecord, own, left: &[u32]| {
            due_of(record, node(own), || left.iter().map(|n| node(*n)).collect())
        };
        assert_eq!(due(&sealed, 1, &[]), Due::Sealed(seal));
        assert_eq!(due(&sealed, 2, &[]), Due::Copy(seal));
        assert_eq!(due(&sealed, 3, &[]), Due::Nothing, "it is no holder");
        let trimmed = SegmentRecord::Trimmed {
            id: id(),
            why: TrimReason::Retention,
        };
        assert_eq!(due(&trimmed, 1, &[1, 2]), Due::OwnTrimmed);
        assert_eq!(due(&trimmed, 2, &[1, 2]), Due::Nothing, "its owner may still send");
        assert_eq!(due(&trimmed, 2, &[2]), Due::Trimmed);
        assert_eq!(due(&trimmed, 3, &[2]), Due::Nothing);
    }
}
