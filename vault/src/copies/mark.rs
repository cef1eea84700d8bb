//! The last entry of a copy that is known to have been synced: without it a frame that was never synced cannot be told
//! from one that was lost.
//!
//! **Invariants**:
//! - I1: it is written after the sync, and not synced itself: what a power cut leaves is an older mark or none, so that
//!   it never says too much.
//! - I2: one that is damaged counts as none.
//! - I3: the mark of a complete copy that is found damaged is synced before that copy goes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::entry::u32_at;
use crate::error::VaultError;
use crate::file_io;
use crate::ids::{EntryNumber, Lsn, SegmentId};
use crate::segment::segment_dir;

const MAGIC: [u8; 4] = *b"GSM1";
/// Magic, number of the entry, CRC32 of both.
const LEN: usize = 12;

pub(crate) fn mark_path(data: &Path, id: SegmentId) -> PathBuf {
    segment_dir(data, id).join(format!("{:012}.mark", id.index))
}

/// Notes that everything up to an entry is synced. A failure is told in the log and costs nothing but the note.
pub(super) fn write_mark(data: &Path, id: SegmentId, last: EntryNumber) {
    let path = mark_path(data, id);
    if let Err(error) = fs::write(&path, encode(last)) {
        tracing::warn!(segment = %id, path = %path.display(), %error, "copy.mark.not_written");
    }
}

/// Notes that a copy was complete and has been lost: up to its last entry, or for good where that is not known. The mark
/// is synced when this returns.
///
/// # Errors
/// It cannot be written.
pub(super) fn write_lost(data: &Path, id: SegmentId, last: Option<EntryNumber>) -> Result<(), VaultError> {
    let last = last.unwrap_or(Lsn::LAST.number());
    file_io::write_whole(&mark_path(data, id), &encode(last))
}

/// The last entry that was noted; `None` where there is no mark.
pub(super) fn read_mark(data: &Path, id: SegmentId) -> Option<EntryNumber> {
    let bytes = fs::read(mark_path(data, id)).ok()?;
    let last = EntryNumber::new(u32_at(bytes.get(..LEN)?, 4))?;
    (bytes == encode(last)).then_some(last)
}

/// Removes the mark of a copy that is complete.
///
/// # Errors
/// It cannot be removed.
pub(super) fn remove_mark(data: &Path, id: SegmentId) -> Result<(), VaultError> {
    file_io::remove(&mark_path(data, id))
}

fn encode(last: EntryNumber) -> Vec<u8> {
    let mut bytes = [MAGIC, last.get().to_le_bytes()].concat();
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_io;
    use crate::ids::{NodeId, SegmentIndex, ShardId};

    #[test]
    fn i2_a_mark_is_read_as_it_was_written_and_a_damaged_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let id = SegmentId {
            node: NodeId::new(3).unwrap(),
            shard: ShardId::new(2),
            index: SegmentIndex::FIRST,
        };
        let last = EntryNumber::new(0x0102).unwrap();
        file_io::create_dir(&segment_dir(dir.path(), id)).unwrap();
        assert_eq!(read_mark(dir.path(), id), None);
        write_mark(dir.path(), id, last);
        assert_eq!(read_mark(dir.path(), id), Some(last));
        let path = mark_path(dir.path(), id);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes[..8], [0x47, 0x53, 0x4d, 0x31, 2, 1, 0, 0]);
        for at in 0..LEN {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert_eq!(read_mark(dir.path(), id), None, "byte {at}");
            fs::write(&path, &bytes[..at]).unwrap();
            assert_eq!(read_mark(dir.path(), id), None, "{at} bytes");
        }
        remove_mark(dir.path(), id).unwrap();
        assert!(!path.exists());
    }
}
