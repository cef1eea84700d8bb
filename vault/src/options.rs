//! The options of a vault.

use std::time::Duration;

use crate::keep::retention::{OnFull, Release};

/// The options of a vault.
#[derive(Clone, Debug)]
pub struct VaultOptions {
    /// Number of shards that take entries; those of earlier boots are read whatever this is.
    pub shards: u16,
    /// Bytes of a WAL file, and so of a segment before compression.
    pub segment_size: u64,
    /// Age at which a segment with entries is rolled.
    pub segment_age: Duration,
    /// Number of WAL files kept ready for each shard.
    pub spares: usize,
    /// Limit of the bytes that the vault takes on disk.
    pub disk_limit: u64,
    /// Time for which a released segment is kept.
    pub retention: Duration,
    /// The event that releases a segment.
    pub release: Release,
    /// The reaction to a disk that is full of segments which are not released.
    pub on_full: OnFull,
    /// The one who ends the segments that earlier epochs left.
    pub recovery: RecoveryBy,
}

/// The one who ends the segments that earlier epochs left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecoveryBy {
    /// The vault itself, by its own files: no other node has anything of them.
    Itself,
    /// The leader of its cluster, by the reports of all that hold something. The files stay as they are until the
    /// segment is on record as sealed.
    Leader,
}
