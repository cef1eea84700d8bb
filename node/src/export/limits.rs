//! Every bound of export that is not a setting, in one place.

use std::time::Duration;

use crate::limits::LIVE_RING_PLACES;

/// How often a node's cursors are kept: what is sent again after a crash is at most what was sent in this time.
pub(super) const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// Dead letters in a row that a sink fails at, sent once more, before it is left alone.
pub(super) const FAILURES_MAX: u32 = 5;
/// How often a paused exporter looks how old what it owes is.
pub(super) const PAUSED_LOOK: Duration = Duration::from_secs(1);
/// How long an answer to pause, resume or seek waits for the change: a request in flight ends first.
pub(super) const CHANGE_PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks.
pub(super) const CHANGE_LOOK: Duration = Duration::from_millis(5);
/// How often an exporter whose dead letters are at their bound looks whether there is room.
pub(super) const FULL_PAUSE: Duration = Duration::from_secs(5);
/// How long a lane waits for the live ring, at most, before it looks at the watermark itself.
pub(super) const IDLE_LOOK: Duration = Duration::from_millis(500);
/// A lane that has fewer entries than this left to read goes on to the live ring.
pub(super) const LIVE_GAP: u32 = LIVE_RING_PLACES as u32 / 8;
/// How long a lane waits that finds nothing new while its ring is closed by the zone.
pub(super) const CLOSED_LOOK: Duration = Duration::from_millis(20);
/// How long a lane waits for room in the memory budget before it asks again.
pub(super) const BUDGET_PAUSE: Duration = Duration::from_millis(20);
/// A batch that waits for its sink is looked at this often: whether it has expired.
pub(super) const EXPIRE_LOOK: Duration = Duration::from_secs(1);
/// How long a lane whose sender panicked, or whose sink cannot be made, rests before it goes on.
pub(super) const LANE_PAUSE: Duration = Duration::from_secs(5);
/// Entries of one batch.
pub(super) const BATCH_ENTRIES_MAX: usize = 4096;
/// How much lower an exporter's thread ranks than those before the ack.
pub(super) const NICE: i32 = 5;
/// How long the end of a node waits for requests in flight.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(5);
