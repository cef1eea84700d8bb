//! Every bound of sensing that is not a setting, in one place: how often, and what is full.

use std::time::Duration;

/// A worker publishes, and the sensor decides, at least this often.
pub const SENSE_INTERVAL: Duration = Duration::from_millis(10);
/// How often the machine's own pressure is read: the kernel's averages move each 2 s.
pub const ENVIRONMENT_INTERVAL: Duration = Duration::from_secs(1);
/// An append that is not durable after this is as old as can be.
pub(super) const OLDEST_UNSYNCED_FULL: Duration = Duration::from_secs(1);
/// A worker that runs this late is as late as can be.
pub(super) const SCHEDULER_LAG_FULL: Duration = Duration::from_millis(100);
/// This much of the last ten seconds lost to waiting for memory is as much as can be, in percent.
pub(super) const PSI_MEMORY_FULL_PERCENT: f64 = 40.0;
/// The same for the disk. A node that syncs one group after the other waits for it most of the time, and is well.
pub(super) const PSI_IO_FULL_PERCENT: f64 = 100.0;
/// Bytes of a file of `/proc` or `/sys` that are read.
pub(super) const FILE_BYTES_MAX: u64 = 4096;

const _: () = assert!(SENSE_INTERVAL.as_nanos() < SCHEDULER_LAG_FULL.as_nanos());
const _: () = assert!(SENSE_INTERVAL.as_nanos() < ENVIRONMENT_INTERVAL.as_nanos());
