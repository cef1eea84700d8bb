//! Writes the file of a segment as a recovery decided it.
//!
//! **Invariants**:
//! - I1: the file has every entry that is to be kept, as its holder reported it, and no other.
//! - I2: no more than a block of entries is held in memory.
//!
//! **Not here**: the sources of the entries; the file's final name.

use std::path::Path;

use crate::entry::{SegmentEntryHeader, u32_at};
use crate::error::VaultError;
use crate::file_io;
use crate::ids::SegmentId;
use crate::read::stored_entry::StoredEntry;
use crate::recover::{HeldRange, RangeCrc, SegmentEnd};
use crate::segment::block::BlockBuilder;
use crate::segment::header::SegmentHeader;
use crate::segment::writer::{FinishedSegment, SegmentWriter};

/// A function that takes an entry.
pub type TakeEntry<'a> = &'a mut dyn FnMut(StoredEntry) -> Result<(), VaultError>;

/// A function that gives the entries of a range to another function, in order.
pub(crate) type GiveRange<'a> = &'a mut dyn FnMut(&HeldRange, TakeEntry<'_>) -> Result<(), VaultError>;

/// Writes the file `to`, complete and synced, from the entries that `give` gives of each range of `end`.
///
/// # Errors
/// An entry is missing or not as it was reported; a file operation failed; those of `give`.
pub(crate) fn write_decided(
    to: &Path,
    header: SegmentHeader,
    end: &SegmentEnd,
    give: GiveRange<'_>,
) -> Result<FinishedSegment, VaultError> {
    file_io::remove(to)?;
    let id = header.id;
    let mut file = SegmentWriter::create(to, header)?;
    let mut builder = BlockBuilder::new();
    for range in &end.keep {
        let mut next = Some(range.first);
        let mut crc = RangeCrc::default();
        give(range, &mut |entry| {
            let number = entry.lsn.number();
            if Some(number) != next || number > range.last {
                return Err(not_as_reported(id, range));
            }
            next = number.checked_next();
            crc.add(u32_at(
                &SegmentEntryHeader::encode(entry.lsn, &entry.meta, &entry.payload),
                0,
            ));
            builder.add(entry.lsn, &entry.meta, &entry.payload);
            if builder.is_full()
                && let Some(block) = builder.cut(None)
            {
                file.append(&block)?;
            }
            Ok(())
        })?;
        if next != range.last.checked_next() || crc.get() != range.crc {
            return Err(not_as_reported(id, range));
        }
    }
    if let Some(block) = builder.cut(None) {
        file.append(&block)?;
    }
    file.finish(end.holes.clone())
}

fn not_as_reported(id: SegmentId, range: &HeldRange) -> VaultError {
    let HeldRange {
        first, last, holder, ..
    } = range;
    VaultError::Unreadable {
        id,
        why: format!("the entries {first} to {last} of node {holder} are not those that it reported"),
    }
}
