//! The bounds of this crate.

/// Frames of one shard that may be on their way to a replica without an answer: 32 of at most 256 KiB of payload each
/// cover what a replica on a slow disk syncs at once.
pub const TAIL_FRAMES_MAX: usize = 32;

/// Sealed segments of one shard that a replica is still sent by its stream. One that is further behind gets the older
/// ones as a repair.
pub const TAIL_SEALED_MAX: usize = 16;

/// Copies that streams may have open at once on a node: each has a file open, and a few bytes for every frame.
pub const TAIL_COPIES_MAX: usize = 256;
