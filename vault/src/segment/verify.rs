//! Verification of a whole segment file: every frame, every CRC, and the digest.

use std::path::Path;

use super::reader::{SegmentFault, SegmentReader};
use crate::error::VaultError;
use crate::ids::SegmentId;

/// The result of a verification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyReport {
    /// Bytes of the file.
    pub bytes: u64,
    /// Entries that are whole.
    pub entries: u64,
    /// The digest over them.
    pub digest: [u8; 32],
    /// True where the file holds exactly the entries that were sealed.
    pub ok: bool,
    /// True where the disk could not read all of its pages.
    pub misses_pages: bool,
    /// Faults, in the order of the file.
    pub faults: Vec<SegmentFault>,
}

/// Reads the file of segment `id` from the disk (not the page cache) and checks all of it, against `expected` too where
/// that is known. `progress` is called with bytes done and bytes in all.
///
/// # Errors
///
/// The file cannot be opened. Damage is no error: it is in the report.
pub fn verify_segment(
    path: &Path,
    id: SegmentId,
    expected: Option<[u8; 32]>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, VaultError> {
    let mut segment = SegmentReader::open(path, id, true)?;
    tracing::debug!(segment = %id, is_direct = segment.is_direct(), "segment.verify.begin");
    let total = segment.len();
    let mut faults = segment.faults().to_vec();
    let mut digest = blake3::Hasher::new();
    let mut entries = 0;
    for i in 0..segment.blocks().len() {
        let row = segment.blocks()[i];
        match segment.block(i) {
            Ok(block) => {
                for e in 0..block.len() {
                    digest.update(block.raw_header(e));
                    digest.update(block.payload(e));
                }
                entries += block.len() as u64;
                if block.frame.block_no as usize != i
                    || (faults.is_empty() && block.frame.chained != *digest.finalize().as_bytes())
                {
                    faults.push(SegmentFault {
                        offset: row.offset,
                        len: row.stored_bytes,
                        what: "the chained digest or the block number does not fit what is before it".to_owned(),
                        numbers: None,
                    });
                }
            }
            Err(fault) => faults.push(fault),
        }
        progress(row.offset + row.stored_bytes, total);
    }
    let digest = *digest.finalize().as_bytes();
    let known = expected.or(segment.footer().map(|f| f.digest));
    if faults.is_empty() && known.is_some_and(|known| known != digest) {
        faults.push(SegmentFault {
            offset: 0,
            len: total,
            what: "the digest is not the one it was sealed with".to_owned(),
            numbers: None,
        });
    }
    faults.sort_by_key(|f| f.offset);
    progress(total, total);
    Ok(VerifyReport {
        bytes: total,
        entries,
        digest,
        ok: faults.is_empty(),
        misses_pages: segment.met_bad_pages(),
        faults,
    })
}
