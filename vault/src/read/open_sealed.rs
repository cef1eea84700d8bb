//! Opens the file of a sealed segment.
//!
//! **Invariants**:
//! - I1: a copy of another node's segment is opened only where the digest in its footer is the one of the seal: its
//!   frames came over a network, or a recovery made them. What this node cut itself was sealed with its own digest.

use std::path::Path;

use crate::error::VaultError;
use crate::ids::NodeId;
use crate::ledger::SealRecord;
use crate::segment::reader::SegmentReader;
use crate::segment::segment_path;

/// The file of a sealed segment, as the vault of `node` has it in `data`.
///
/// # Errors
///
/// The file cannot be opened; it is a copy, and not what was sealed.
pub(crate) fn open_sealed(data: &Path, node: NodeId, seal: &SealRecord) -> Result<SegmentReader, VaultError> {
    let path = segment_path(data, seal.id);
    let reader = SegmentReader::open(&path, seal.id, false)?;
    if seal.id.node == node || reader.footer().is_some_and(|footer| footer.digest == seal.digest) {
        return Ok(reader);
    }
    Err(VaultError::Damaged {
        path,
        offset: 0,
        what: "this copy has not the digest that the segment was sealed with, or its footer is damaged",
    })
}
