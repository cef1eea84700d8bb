//! The numbers of the stored form, and the beginnings of keys and values.

use crate::wire::Writer;

/// The version of rows, except those that follow.
pub const VERSION: u8 = 1;

/// The newest version of a node and of a setting: it contains the version used by compare-and-set.
pub(super) const VERSIONED: u8 = 2;

/// The newest version of the counters: 2 has that of settings, 3 also the latest generation of a forgotten exporter.
pub(super) const COUNTERS_VERSION: u8 = 3;

/// The version of a shard's row from the first segment that was dropped: it has one more field.
pub(super) const SHARD_VERSION: u8 = 2;

/// The newest version of a dead letter: 2 has its cause, 3 also the node that keeps a copy of its entry, 4 several.
pub(super) const DEAD_LETTER_VERSION: u8 = 4;

pub(super) const KIND_COUNTERS: u8 = 1;
pub(super) const KIND_NODE: u8 = 2;
pub(super) const KIND_SHARD: u8 = 3;
pub(super) const KIND_SEGMENT: u8 = 4;
pub(super) const KIND_JOB: u8 = 5;
pub(super) const KIND_SETTING: u8 = 6;
pub(super) const KIND_EXPORTER: u8 = 7;
pub(super) const KIND_CURSOR: u8 = 8;
pub(super) const KIND_DEAD_LETTER: u8 = 9;
pub(super) const KIND_CLOCK: u8 = 10;
pub(super) const KIND_DROPPED: u8 = 11;
pub(super) const KIND_CONFIGURED_SOMEWHERE: u8 = 12;
pub(super) const KIND_FACTS: u8 = 13;
pub(super) const KIND_LEFTOVERS: u8 = 14;
pub(super) const KIND_EXPORT_TAKEN: u8 = 15;
pub(super) const KIND_CONFIGURED: u8 = 16;
pub(super) const KIND_LOSS_ACCEPTED: u8 = 17;
pub(super) const KIND_COPY_LOSS_ACCEPTED: u8 = 18;
pub(super) const KIND_RESTORE: u8 = 19;
pub(super) const KIND_EVENT: u8 = 20;
pub(super) const KIND_EARLIER_LOSSES: u8 = 23;
pub(super) const KIND_ARCHIVE: u8 = 24;
pub(super) const KIND_ARCHIVE_OBJECT: u8 = 25;

pub(super) const HAS_EVENT: u8 = 0x02;

pub(super) fn key(kind: u8) -> Writer {
    Writer::default().u8(kind)
}

pub(super) fn value() -> Writer {
    Writer::default().u8(VERSION)
}
