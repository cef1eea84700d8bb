//! Every bound of an operator's verbs, in one place.

use std::time::Duration;

/// Calls of one kind that read from disk at the same time; more wait for one to end.
pub(super) const BLOCKING_CALLS_MAX: usize = 4;
/// Verifications under way at the same time.
pub(crate) const VERIFIES_MAX: usize = 4;
/// Segments in one answer.
pub(super) const SEGMENTS_PER_PAGE: usize = 1_000;
/// Replay jobs in one answer.
pub(super) const JOBS_LISTED_MAX: usize = 1_000;
/// Dead letters in one answer.
pub(super) const LETTERS_LISTED_MAX: usize = 1_000;
/// How often a watched replay is reported.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// How long sealing waits for the seals: each needs its cutter, two syncs and the catalogue.
pub(super) const SEAL_PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks.
pub(super) const SEAL_LOOK: Duration = Duration::from_millis(20);
