//! Every bound of export that is not a setting, in one place.

use std::time::Duration;

/// Interval at which a node reads all its copies of dead letters' entries.
pub(super) const LETTERS_LOOK_INTERVAL: Duration = Duration::from_secs(3600);
/// Time in which a node makes copies of dead letters' entries before it does what else is due.
pub(super) const LETTERS_TURN: Duration = Duration::from_secs(1);

use crate::limits::LIVE_RING_SLOTS;

/// Interval at which a node's cursors are committed: after a crash at most the entries sent in this time are sent
/// again.
pub(super) const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// Failures in a row, in sending dead letters again, after which the sink is left alone.
pub(super) const FAILURES_MAX: u32 = 5;
/// Interval at which a paused exporter determines the age of its debt.
pub(super) const PAUSED_INTERVAL: Duration = Duration::from_secs(1);
/// Time for which an answer to pause, resume or seek waits for the change: a request in flight ends first.
pub(super) const CHANGE_PATIENCE: Duration = Duration::from_secs(10);
/// Interval of the checks in that wait.
pub(super) const CHANGE_INTERVAL: Duration = Duration::from_millis(5);
/// Interval at which an exporter whose dead letters are at their bound checks for room.
pub(super) const FULL_PAUSE: Duration = Duration::from_secs(5);
/// Longest time for which a lane waits for the live ring before it reads the watermark itself.
pub(super) const IDLE_WAIT: Duration = Duration::from_millis(500);
/// Number of entries left to read below which a lane goes on to the live ring.
pub(super) const LIVE_GAP: u32 = LIVE_RING_SLOTS as u32 / 8;
/// Pause of a lane that finds nothing new while its ring is closed by the zone.
pub(super) const CLOSED_WAIT: Duration = Duration::from_millis(20);
/// Pause of a lane that waits for room in the memory budget before it asks again.
pub(super) const BUDGET_PAUSE: Duration = Duration::from_millis(20);
/// Interval at which a batch that waits for its sink is checked for expiry.
pub(super) const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);
/// Pause of a lane whose sender panicked, or whose sink cannot be made.
pub(super) const LANE_PAUSE: Duration = Duration::from_secs(5);
/// Number of lost nodes among whose exports the memory for these is shared without much of it lying idle.
pub(super) const LOST_RUNS_EXPECTED: usize = 16;
/// Limit of entries in a batch.
pub(super) const BATCH_ENTRIES_MAX: usize = 4096;
/// Nice value of an exporter's thread, which lowers its priority below that of threads before the ack.
pub(super) const NICE: i32 = 5;
/// Time for which the end of a node waits for requests in flight.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(5);
