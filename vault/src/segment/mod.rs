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

use crate::ids::SegmentId;

/// The folder of a shard's segments.
pub(crate) fn segment_dir(data: &Path, id: SegmentId) -> PathBuf {
    data.join("segments")
        .join(format!("{:010}", id.node))
        .join(format!("{:04}", id.shard.get()))
}

/// A sealed segment's file.
pub(crate) fn segment_path(data: &Path, id: SegmentId) -> PathBuf {
    segment_dir(data, id).join(format!("{:012}.seg", id.index))
}

/// The file of a segment that is still being cut.
pub(crate) fn open_path(data: &Path, id: SegmentId) -> PathBuf {
    segment_dir(data, id).join(format!("{:012}.open", id.index))
}
