//! Every bound of sensing that is not a setting, in one place: intervals, and the values at which a reading is full.

use std::time::Duration;

/// The longest time between two publications of a worker, and between two decisions of the sensor.
pub const SENSE_INTERVAL: Duration = Duration::from_millis(10);
/// Interval at which the machine's own pressure is read: the kernel's averages move each 2 s.
pub const ENVIRONMENT_INTERVAL: Duration = Duration::from_secs(1);
/// Age of an append that is not durable at which the reading is 1.0.
pub(super) const OLDEST_UNSYNCED_FULL: Duration = Duration::from_secs(1);
/// Lag of a worker at which the reading is 1.0.
pub(super) const SCHEDULER_LAG_FULL: Duration = Duration::from_millis(100);
/// Share of the last ten seconds lost to waiting for memory at which the reading is 1.0, in percent.
pub(super) const PSI_MEMORY_FULL_PERCENT: f64 = 40.0;
/// Share of the last ten seconds lost to waiting for the disk at which the reading is 1.0, in percent. A node that
/// syncs one group after the other waits for the disk most of the time, and is well.
pub(super) const PSI_IO_FULL_PERCENT: f64 = 100.0;
/// Bytes of a file of `/proc` or `/sys` that are read.
pub(super) const FILE_BYTES_MAX: u64 = 4096;

const _: () = assert!(SENSE_INTERVAL.as_nanos() < SCHEDULER_LAG_FULL.as_nanos());
const _: () = assert!(SENSE_INTERVAL.as_nanos() < ENVIRONMENT_INTERVAL.as_nanos());
