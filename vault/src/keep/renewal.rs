//! The state of a vault between a fenced epoch and the next.
//!
//! **Not here**: the renewal itself (`crate::renew`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use crate::ids::SegmentId;
use crate::start::join;

/// The state of a vault between a fenced epoch and the next.
pub(crate) struct Renewal {
    /// The epoch is fenced, and a new one is not granted yet.
    pub(crate) wanted: bool,
    /// Segments of fenced epochs that are not with a recovery yet.
    pub(crate) left: BTreeSet<SegmentId>,
    pub(crate) recoveries: Vec<JoinHandle<()>>,
    /// Ends the recoveries.
    pub(crate) stopping: Arc<AtomicBool>,
}

impl Renewal {
    pub(super) fn new(stopping: Arc<AtomicBool>) -> Self {
        Self {
            wanted: false,
            left: BTreeSet::new(),
            recoveries: Vec::new(),
            stopping,
        }
    }

    /// Says that the epoch is fenced, and a new one is not granted yet.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Says that there is more to do than to wait for a recovery.
    pub(super) fn is_under_way(&self) -> bool {
        self.wanted || !self.left.is_empty()
    }

    /// Waits for the recoveries, which were told to end.
    pub(super) fn join(self) {
        join(self.recoveries.into_iter());
    }
}
