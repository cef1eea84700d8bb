//! Every bound of the archiver, in one place.

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

/// Bytes that a block can decode to: all but the last entry are together smaller than a block.
pub(crate) const BLOCK_DECODED_MAX: usize = BLOCK_BYTES + PAYLOAD_BYTES_MAX;

/// Bytes that a block can have in an object: what does not compress grows by less than a hundredth, and its headers are
/// smaller than a block.
pub(crate) const BLOCK_STORED_MAX: u64 = (BLOCK_DECODED_MAX + BLOCK_DECODED_MAX / 100 + BLOCK_BYTES) as u64;

// Sizes in the seek table have 32 bits, also that of a frame which did not compress.
const _: () = assert!(BLOCK_DECODED_MAX < (u32::MAX / 2) as usize);
const _: () = assert!(BLOCKS_MAX * 80 < INDEX_BYTES_MAX);
