//! The segment file: a valid `.lz4` file whose metadata stands in skippable frames. Layout in `docs/formats.md`.
//!
//! - `cutter`: the thread that makes a segment of a WAL file while that is being written; `seal_queue`: what it and
//!   others tell the sealer.
//! - `block`: some 256 KiB of entries, compressed by `lz4`; `frame`: the skippable frames around them.
//! - `header`, `footer`: what the file says of itself and of its blocks.
//! - `merge`: frames of a tail stream, which may be small, become full blocks.
//! - `writer`, `reader`: a file as it is written and read. `verify`: a check of the whole file.

pub(crate) mod block;
pub(crate) mod cutter;
pub(crate) mod footer;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod lz4;
pub(crate) mod merge;
pub(crate) mod reader;
pub(crate) mod seal_queue;
pub(crate) mod verify;
pub(crate) mod writer;

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::error::VaultError;
use crate::file_io;
use crate::ids::SegmentId;

/// The folder of a shard's segments.
pub(crate) fn segment_dir(data: &Path, id: SegmentId) -> PathBuf {
    data.join("segments")
        .join(format!("{:010}", id.node))
        .join(format!("{:04}", id.shard.get()))
}

/// Makes the folder of a shard's segments, below the folder of all segments. That one was made with the data folder,
/// and is never made anew: where it is gone, or another is mounted in its place, nothing is put there.
///
/// # Errors
/// The folder of all segments is not the one of this data folder; or the system's.
pub(crate) fn make_segment_dir(dir: &Path) -> Result<(), VaultError> {
    let segments = file_io::parent(file_io::parent(dir));
    check_is_own(segments)?;
    file_io::create_dir(dir)
}

/// Checks that the folder of all segments bears the same storage_uuid as the folder of the WAL beside it.
///
/// # Errors
/// It does not, or is not there; or the system's.
pub(crate) fn check_is_own(segments: &Path) -> Result<(), VaultError> {
    let stamp = |folder: &Path| fs::read_to_string(folder.join("storage_uuid"));
    let expected = stamp(&file_io::parent(segments).join("wal"));
    match (expected, stamp(segments)) {
        (Ok(expected), Ok(found)) if expected.trim() != found.trim() => {
            let other = io::Error::other("it is not this node's: its storage_uuid is another than that of wal/");
            Err(VaultError::io("use", segments)(other))
        }
        (Ok(_), Err(error)) => Err(VaultError::io("read the storage_uuid of", segments)(error)),
        // Without a data folder around it nothing says what it should be.
        (Ok(_) | Err(_), Ok(_)) | (Err(_), Err(_)) => Ok(()),
    }
}

/// A sealed segment's file.
pub(crate) fn segment_path(data: &Path, id: SegmentId) -> PathBuf {
    segment_dir(data, id).join(format!("{:012}.seg", id.index))
}

/// The file of a segment that is still being cut.
pub(crate) fn open_path(data: &Path, id: SegmentId) -> PathBuf {
    segment_dir(data, id).join(format!("{:012}.open", id.index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir::DataDir;

    #[test]
    fn the_folder_of_all_segments_is_never_made_anew_nor_another_one_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path(), true).unwrap());
        let (segments, log) = (dir.path().join("segments"), dir.path().join("segments/0000000001/0000"));
        let away = dir.path().join("away");
        fs::rename(&segments, &away).unwrap();
        make_segment_dir(&log).unwrap_err();
        assert!(!segments.exists());
        // An empty folder, as of a file system that is not mounted, and that of another node.
        fs::create_dir(&segments).unwrap();
        make_segment_dir(&log).unwrap_err();
        fs::write(segments.join("storage_uuid"), "another").unwrap();
        make_segment_dir(&log).unwrap_err();
        assert!(!log.exists());
        fs::copy(dir.path().join("wal/storage_uuid"), segments.join("storage_uuid")).unwrap();
        make_segment_dir(&log).unwrap();
        assert!(log.is_dir());
    }
}
