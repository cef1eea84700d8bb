//! The final file of a copy: its small frames become full blocks, as the segment's owner cuts them.
//!
//! **Invariants**:
//! - I1: the frames stay until the merged file is complete, synced, and has their digest.

use std::path::Path;

use crate::error::VaultError;
use crate::file_io;
use crate::segment::block::BlockBuilder;
use crate::segment::header::SegmentHeader;
use crate::segment::reader::SegmentReader;
use crate::segment::writer::{FinishedSegment, SegmentWriter};

/// Cuts the entries of the frames in `from` into full blocks, in a new file `to`.
///
/// # Errors
///
/// A file operation failed, or a frame is not as it was written.
pub(super) fn merge(from: &Path, to: &Path, header: &SegmentHeader) -> Result<FinishedSegment, VaultError> {
    file_io::remove(to)?;
    let mut frames = SegmentReader::open(from, header.id, false)?;
    let mut merged = SegmentWriter::create(to, header.clone())?;
    let mut builder = BlockBuilder::new();
    for i in 0..frames.blocks().len() {
        let frame = frames.block(i).map_err(|fault| VaultError::Damaged {
            path: from.to_path_buf(),
            offset: fault.offset,
            what: "a frame of a copy is not what was written",
        })?;
        for entry in 0..frame.len() {
            let header = frame.header(entry);
            builder.add(header.lsn, &header.meta, frame.payload(entry));
            if builder.is_full()
                && let Some(block) = builder.cut(None)
            {
                merged.append(&block)?;
            }
        }
    }
    if let Some(block) = builder.cut(None) {
        merged.append(&block)?;
    }
    merged.finish(Vec::new())
}
