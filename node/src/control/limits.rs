//! Every bound of the control service, in one place.

use std::time::Duration;

/// Calls of one kind that read from disk at the same time; more wait for one to end.
pub(super) const BLOCKING_CALLS_MAX: usize = 4;
/// Verifications under way at the same time.
pub(super) const VERIFIES_MAX: usize = 4;
/// Segments in one answer to `ListSegments`.
pub(super) const SEGMENTS_PER_PAGE: usize = 1_000;
/// Jobs in one answer to `ListReplays`.
pub(super) const JOBS_LISTED_MAX: usize = 1_000;
/// Dead letters in one answer to `ListDeadLetters`.
pub(super) const LETTERS_LISTED_MAX: usize = 1_000;
/// How long the listener rests when the process has no descriptor for another connection.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often a watched replay is reported.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// At shutdown calls under way are given this long.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// How long an answer to `SealSegments` waits for the seals: each needs its cutter, two syncs and the catalogue.
pub(super) const SEAL_PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks.
pub(super) const SEAL_LOOK: Duration = Duration::from_millis(20);
