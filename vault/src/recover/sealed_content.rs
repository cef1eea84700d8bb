//! The content with which a segment was sealed, as one of its holders reports it, and the file that gives way to it.

use std::io;
use std::path::Path;
use std::slice;

use super::held::{HeldReport, SegmentEnd};
use super::marks::Durable;
use super::segment_end::{cut_off, segment_end};
use crate::error::VaultError;
use crate::ids::{ClusterId, NodeId, SegmentId};
use crate::ledger::SealRecord;
use crate::read::quarantine::{Quarantine, Quarantined};
use crate::segment::header::SegmentHeader;
use crate::wal::header::Tenant;

/// The entries with which a segment was sealed, as one of its holders reports them, and the header of a file of them.
///
/// # Errors
/// The holder does not have what was sealed.
pub(crate) fn sealed_content(
    seal: &SealRecord,
    mut report: HeldReport,
    cluster_id: ClusterId,
) -> Result<(SegmentHeader, SegmentEnd), VaultError> {
    let (id, holder) = (seal.id, report.holder);
    let last = seal.stats.last_lsn.ok_or_else(|| differs(id, holder))?.number();
    report.durable = Durable {
        to: Some(last),
        ..Durable::default()
    };
    let end = segment_end(slice::from_ref(&report)).map_err(|_| differs(id, holder))?;
    let end = cut_off(&report, end, last);
    let header = SegmentHeader {
        id,
        epoch: seal.epoch,
        file_uuid: report.file_uuid.ok_or_else(|| differs(id, holder))?,
        cluster_id,
        created_ns: 0,
        tenants: vec![Tenant::default_tenant()],
    };
    Ok((header, end))
}

pub(crate) fn differs(id: SegmentId, holder: NodeId) -> VaultError {
    VaultError::Unreadable {
        id,
        why: format!("node {holder} does not have what was sealed"),
    }
}

/// Keeps the file that one from `holder` is about to replace, where there is one.
pub(crate) fn keep_replaced(
    quarantine: &Quarantine,
    path: &Path,
    id: SegmentId,
    holder: NodeId,
) -> Result<(), VaultError> {
    let len = match path.metadata() {
        Ok(file) => file.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(VaultError::io("look at", path)(error)),
    };
    let why = format!("it was replaced by what node {holder} has");
    quarantine.keep_replaced(Quarantined::new(path, 0, len, id, None, why))
}
