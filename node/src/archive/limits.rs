//! Every bound of the archiving node, in one place.

use std::time::Duration;

use gophership_archiver::limits::MANIFEST_BYTES_MAX;
use gophership_catalogue::limits::ARCHIVE_MEMBERS_MAX;

/// Interval at which the catalogue is looked at for what is due.
pub(super) const TURN: Duration = Duration::from_secs(2);
/// URLs whose store is kept on record; of more, the one that was opened longest ago is forgotten.
pub(super) const STORES_ON_RECORD: usize = 16;
/// Objects that are made at once. Each is in memory until it was read back.
pub(super) const OBJECTS_AT_ONCE: usize = 2;
/// Time for which a segment that could not be read is left alone: its copy may be mended meanwhile.
pub(super) const LEFT_ALONE: Duration = Duration::from_secs(600);
/// Times that the lease of a segment is lost, or refused, after which that is a fault.
pub(super) const LOST_MAX: u32 = 3;
/// Time after which doomed objects are looked for again.
pub(super) const DOOMED_INTERVAL: Duration = Duration::from_secs(3600);
/// Interval at which the store is asked for the marker of a later restore, also where nothing is put.
pub(super) const MARKER_INTERVAL: Duration = Duration::from_secs(60);
/// Time for which the archive fails before that is an event.
pub(super) const EVENT_AFTER: Duration = Duration::from_secs(60);
/// Indexes of objects that are kept for readers of the archive; each has at most some megabytes, and mostly kilobytes.
pub(super) const INDEXES_KEPT: usize = 4;
/// Interval at which a call to a store looks whether its caller still wants an answer.
pub(super) const READ_STOP_INTERVAL: Duration = Duration::from_millis(250);
/// Interval at which a job that pauses looks at the disk.
pub(super) const TIER_INTERVAL: Duration = Duration::from_secs(2);

/// The most segments in the objects of one manifest: each is at most 32 bytes of it, and a reader takes
/// [`MANIFEST_BYTES_MAX`].
pub(super) const MANIFEST_MEMBERS_MAX: usize = 1_000_000;

const _: () = assert!((MANIFEST_MEMBERS_MAX + ARCHIVE_MEMBERS_MAX) * 32 < MANIFEST_BYTES_MAX as usize / 4 * 3);
