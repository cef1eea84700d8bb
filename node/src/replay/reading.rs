//! What the reading of one log is asked for.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use gophership_vault::ids::Lsn;
use gophership_vault::time::TimeRange;

use super::plan::Part;

/// The reading of one log.
pub(super) struct Reading<'a> {
    pub(super) part: &'a Part,
    pub(super) range: TimeRange,
    /// The last entry that is done with.
    pub(super) done: Option<Lsn>,
    /// Says that nobody wants anything more.
    pub(super) stop: Arc<dyn Fn() -> bool + Send + Sync>,
    /// The patience of the replay; without a limit where `None`.
    pub(super) patience: Option<&'a Patience>,
    /// True for a reader that never comes back for what it was told is missing.
    pub(super) for_good: bool,
    /// Is called with what the reading waits for, from time to time while it does.
    pub(super) waits: &'a dyn Fn(&str),
}

/// The waits of a replay for logs of other nodes.
pub(super) struct Patience {
    /// The longest wait without a find.
    pub(super) limit: Duration,
    /// True once one was in vain: nobody is waited for any more who is not there, since the rest would be missing as
    /// well after as long a wait for each.
    pub(super) vain: Cell<bool>,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            vain: Cell::new(false),
        }
    }
}
