//! Every bound of the archiver, in one place.

use std::time::Duration;

/// Payload bytes at which a block of an object is cut. Larger blocks would be a little smaller in all, and a reader of
/// one entry would fetch more.
pub const BLOCK_BYTES: usize = 1024 * 1024;
/// Entries at which a block is cut, so that its headers stay below its payload.
pub const BLOCK_ENTRIES_MAX: usize = 16 * 1024;
/// The largest payload of an entry: the largest `ingest.max_message`.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 30;
/// Limit of members of one object.
pub const MEMBERS_MAX: usize = 4096;
/// Limit of blocks of one object.
pub const BLOCKS_MAX: usize = 65_536;
/// Limit of bytes of an object's index frame.
pub const INDEX_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes at the end of an object that its reader takes first: index and seek table of some 600 blocks.
pub const TAIL_BYTES: u64 = 64 * 1024;

/// Bytes of segment files below which an object waits longer for more: stores and their readers pay for each object.
pub const SMALL_OBJECT_BYTES: u64 = 1024 * 1024;
/// The time for which such a small one waits, from the seal of its oldest segment on.
pub const SMALL_DELAY: Duration = Duration::from_secs(3600);

/// Tries of one call to a store, before whoever called decides about a further one.
pub const STORE_TRIES: usize = 5;
/// The shortest and the longest pause between two tries.
pub const STORE_BACKOFF_MIN: Duration = Duration::from_millis(200);
/// See [`STORE_BACKOFF_MIN`].
pub const STORE_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// The time for a connection to a store.
pub const STORE_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time for a request, with all of the object: 64 MiB in five minutes are 220 KiB a second.
pub const STORE_REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// Calls to a folder that are under way at once, also those that hang: each has a thread.
pub const FOLDER_CALLS_MAX: usize = 16;
/// The time for a call to a folder that moves next to nothing.
pub const FOLDER_TIME: Duration = Duration::from_secs(60);
/// Bytes a second at which a folder must move an object, beyond [`FOLDER_TIME`].
pub const FOLDER_BYTES_PER_SECOND: u64 = 1024 * 1024;

/// The time for a call to a folder that moves at most `bytes`.
pub const fn folder_time(bytes: u64) -> Duration {
    FOLDER_TIME.saturating_add(Duration::from_secs(bytes / FOLDER_BYTES_PER_SECOND))
}

/// Limit of bytes of `store.json` and of the probe.
pub const STORE_JSON_BYTES_MAX: u64 = 4096;

/// Limit of bytes of a manifest.
pub const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Manifests that are fetched at once while a chain is read.
pub const MANIFESTS_AT_ONCE: usize = 4;
/// Objects whose index or length is asked for at once.
pub const LOOKS_AT_ONCE: usize = 16;
/// Bytes of an object that are read by one request, unless a block has more.
pub const READ_BYTES: u64 = 8 * 1024 * 1024;
/// Members and blocks in the indexes that a reader of a range keeps.
pub const INDEX_ROWS_KEPT: usize = 2 * BLOCKS_MAX;

/// Bytes that a block can decode to: all but the last entry are together smaller than a block.
pub(crate) const BLOCK_DECODED_MAX: usize = BLOCK_BYTES + PAYLOAD_BYTES_MAX;

/// Bytes that a block can have in an object: what does not compress grows by less than a hundredth, and its headers are
/// smaller than a block.
pub(crate) const BLOCK_STORED_MAX: u64 = (BLOCK_DECODED_MAX + BLOCK_DECODED_MAX / 100 + BLOCK_BYTES) as u64;

// Sizes in the seek table have 32 bits, also that of a frame which did not compress.
const _: () = assert!(BLOCK_DECODED_MAX < (u32::MAX / 2) as usize);
const _: () = assert!(BLOCKS_MAX * 80 < INDEX_BYTES_MAX);
