//! Makes the final file of a segment that was sent to replicas: small frames become full blocks.
//!
//! **Invariants**:
//! - I1: the frames stay until the merged file is complete, synced, and has their digest.

use std::path::Path;

use super::block::BlockBuilder;
use super::header::SegmentHeader;
use super::reader::SegmentReader;
use super::writer::{FinishedSegment, SegmentWriter};
use crate::error::VaultError;
use crate::file_io;

/// Cuts the entries of the frames in `from` into full blocks, in a new file `to`.
///
/// # Errors
///
/// A file operation failed, or a frame is not as it was written.
pub(crate) fn merge(from: &Path, to: &Path, header: &SegmentHeader) -> Result<FinishedSegment, VaultError> {
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
