//! How a vault is kept.

use std::time::Duration;

use crate::keep::retention::{OnFull, Release};

/// How a vault is kept.
#[derive(Clone, Debug)]
pub struct VaultOptions {
    /// Shards that take entries; those of earlier boots are read whatever this is.
    pub shards: u16,
    /// Bytes of a WAL file, and so of a segment before compression.
    pub segment_size: u64,
    /// A segment with entries is rolled when it is this old.
    pub segment_age: Duration,
    /// WAL files kept ready for each shard.
    pub spares: usize,
    /// Bytes that the vault may take on disk.
    pub disk_limit: u64,
    /// How long a released segment is kept.
    pub retention: Duration,
    /// What releases a segment.
    pub release: Release,
    /// What happens when the disk is full of what is not released.
    pub on_full: OnFull,
}
