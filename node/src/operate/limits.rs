//! Every bound of an operator's verbs, in one place.

use std::time::Duration;

use gophership_vault_replication::peer::limits::{HOLDINGS_MAX, OPERATE_CALLS_MAX};

/// Limit of calls of one kind that read from disk at the same time; further ones wait.
pub(super) const BLOCKING_CALLS_MAX: usize = 4;
/// Limit of verifications under way at the same time.
pub(crate) const VERIFIES_MAX: usize = 4;
/// Limit of segments in one answer.
pub(super) const SEGMENTS_PER_PAGE: usize = HOLDINGS_MAX;
/// Time for which an answer waits for those of other nodes.
pub(super) const PEER_PATIENCE: Duration = Duration::from_secs(1);
/// Limit of questions to other nodes at the same time, of one surface; further ones wait. A node takes more of each
/// peer.
pub(super) const PEERS_ASKED_MAX: usize = 4;
/// Time for which it waits for another node to read a segment's file.
pub(super) const PEER_DESCRIBE_PATIENCE: Duration = Duration::from_secs(30);
/// Limit of bad copies that a node's report names.
pub(super) const BAD_COPIES_TOLD_MAX: usize = 1_000;
/// Limit of replay jobs in one answer.
pub(super) const JOBS_LISTED_MAX: usize = 1_000;
/// Limit of dead letters in one answer.
pub(super) const LETTERS_LISTED_MAX: usize = 1_000;
/// Limit of objects of the archive in one answer: one may have thousands of segments.
pub(super) const ARCHIVE_LISTED_MAX: usize = 100;
/// Limit of events in one answer.
pub(super) const EVENTS_LISTED_MAX: usize = 1_000;
/// Interval at which a watched replay is reported.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Time for which sealing waits for the seals: each needs its cutter, two syncs and the catalogue.
pub(super) const SEAL_PATIENCE: Duration = Duration::from_secs(30);
/// Interval of the checks in that wait.
pub(super) const SEAL_INTERVAL: Duration = Duration::from_millis(20);

/// The admin port and the control service.
const SURFACES: usize = 2;
const _: () = assert!(SURFACES * PEERS_ASKED_MAX + VERIFIES_MAX <= OPERATE_CALLS_MAX);

/// The longest pause of archiving.
pub(super) const ARCHIVE_PAUSE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
