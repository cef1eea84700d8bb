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

/// What is to be done about a segment here.
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
            .map_or(Due::Nothing, |record| due_of(record, own, || state.left_on(id)));
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

fn due_of(record: &SegmentRecord, own: NodeId, left_on: impl FnOnce() -> BTreeSet<NodeId>) -> Due {
    let is_own = record.id().node == own;
    match record {
        SegmentRecord::Sealed(seal) if is_own => Due::Sealed(*seal),
        SegmentRecord::Sealed(seal) if seal.holders.contains(own) => Due::Copy(*seal),
        SegmentRecord::Trimmed { .. } if is_own => Due::OwnTrimmed,
        SegmentRecord::Trimmed { id, .. } => {
            let left = left_on();
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
