//! The notes beside a copy. The *mark* is the last entry that is known to have been synced: without it a frame that was
//! never synced cannot be told from one that was lost. The *doubt* says that something was cut off that could not be
//! read and was perhaps answered for.
//!
//! **Invariants**:
//! - I1: it is written after the sync, and not synced itself: what a power cut leaves is an older mark or none, so that
//!   it never says too much.
//! - I2: one that is damaged counts as none.
//! - I3: the mark of a complete copy that is found damaged is synced before that copy goes.
//! - I4: a doubt is synced before anything is cut off, and stays until the copy is complete or made anew.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::entry::u32_at;
use crate::error::VaultError;
use crate::file_io;
use crate::ids::{EntryNumber, Lsn, SegmentId};
use crate::segment::{open_path, segment_dir};

const MAGIC: [u8; 4] = *b"GSM1";
/// Magic, number of the entry, CRC32 of both.
const LEN: usize = 12;

pub(crate) fn mark_path(data: &Path, id: SegmentId) -> PathBuf {
    segment_dir(data, id).join(format!("{:012}.mark", id.index))
}

/// The file of the mark of a copy that is being written. It stays open: the mark is written anew with every sync.
pub(super) struct CopyMarkFile {
    id: SegmentId,
    path: PathBuf,
    copy: PathBuf,
    file: Option<File>,
    last: Option<EntryNumber>,
}

impl CopyMarkFile {
    /// The mark that is on the disk.
    pub(super) fn open(data: &Path, id: SegmentId) -> Self {
        let (path, last) = (mark_path(data, id), read_mark(data, id));
        Self {
            id,
            path,
            copy: open_path(data, id),
            file: None,
            last,
        }
    }

    /// Notes that everything up to an entry is synced, where that is more than before. A failure is told in the log and
    /// costs nothing but the note.
    pub(super) fn note(&mut self, last: EntryNumber) {
        // A copy whose files are removed leaves none behind.
        if self.last >= Some(last) || (self.file.is_none() && !self.copy.exists()) {
            return;
        }
        match self.write(last) {
            Ok(()) => self.last = Some(last),
            Err(error) => {
                tracing::warn!(segment = %self.id, path = %self.path.display(), %error, "copy.mark.not_written");
            }
        }
    }

    fn write(&mut self, last: EntryNumber) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut options = OpenOptions::new();
                none.insert(options.create(true).truncate(false).write(true).open(&self.path)?)
            }
        };
        file.write_all_at(&encode(last), 0)
    }
}

/// Notes that a copy was complete and has been lost: up to its last entry, or for good where that is not known. The
/// mark is synced when this returns.
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

pub(crate) fn doubt_path(data: &Path, id: SegmentId) -> PathBuf {
    segment_dir(data, id).join(format!("{:012}.doubt", id.index))
}

/// Notes that a part of a copy that is about to be cut off may have been answered for. The note is synced when this
/// returns.
///
/// # Errors
/// It cannot be written.
pub(super) fn write_doubt(data: &Path, id: SegmentId) -> Result<(), VaultError> {
    file_io::write_whole(&doubt_path(data, id), &[])
}

/// True where a part of a copy was cut off that may have been answered for.
///
/// # Errors
/// The folder cannot be looked at.
pub(super) fn has_doubt(data: &Path, id: SegmentId) -> Result<bool, VaultError> {
    let path = doubt_path(data, id);
    path.try_exists().map_err(VaultError::io("look at", &path))
}

/// Removes the notes beside a copy that is complete.
///
/// # Errors
/// They cannot be removed.
pub(super) fn remove_notes(data: &Path, id: SegmentId) -> Result<(), VaultError> {
    file_io::remove(&mark_path(data, id))?;
    file_io::remove(&doubt_path(data, id))
}

fn encode(last: EntryNumber) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&last.get().to_le_bytes());
    let crc = crc32fast::hash(&bytes[..8]);
    bytes[8..].copy_from_slice(&crc.to_le_bytes());
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
        let mut mark = CopyMarkFile::open(dir.path(), id);
        mark.note(last);
        assert_eq!(read_mark(dir.path(), id), None, "there is no copy");
        fs::write(open_path(dir.path(), id), []).unwrap();
        mark.note(EntryNumber::FIRST);
        mark.note(last);
        mark.note(EntryNumber::FIRST);
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
        write_doubt(dir.path(), id).unwrap();
        assert!(has_doubt(dir.path(), id).unwrap());
        remove_notes(dir.path(), id).unwrap();
        assert!(!path.exists() && !has_doubt(dir.path(), id).unwrap());
    }
}
