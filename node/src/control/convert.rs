//! Between the vault's words and the service's.

use gophership_catalogue::CatalogueError;
use gophership_proto::control::v1;
use gophership_vault::ids::{Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::time::TimeRange;
use gophership_vault::{Disposition, VaultError};
use tonic::Status;

pub(crate) fn lsn(lsn: Lsn) -> v1::Lsn {
    v1::Lsn {
        segment_index: lsn.index().get(),
        number: lsn.number().get(),
    }
}

pub(super) fn segment_ref(id: SegmentId) -> v1::SegmentRef {
    v1::SegmentRef {
        node: id.node.get(),
        shard: id.shard.get().into(),
        index: id.index.get(),
    }
}

/// The segment that a client names.
pub(super) fn segment_id(name: v1::SegmentRef) -> Result<SegmentId, Status> {
    let node = NodeId::new(name.node).ok_or_else(|| Status::invalid_argument("nodes are numbered from 1"))?;
    let shard = shard_id(name.shard)?;
    let index =
        SegmentIndex::new(name.index).ok_or_else(|| Status::invalid_argument("segments are numbered from 1"))?;
    Ok(SegmentId { node, shard, index })
}

pub(super) fn shard_id(shard: u32) -> Result<ShardId, Status> {
    let shard = u16::try_from(shard)
        .map_err(|_| Status::invalid_argument(format!("there is no shard {shard}: 65535 is the last")))?;
    Ok(ShardId::new(shard))
}

pub(super) fn time_range(range: TimeRange) -> v1::TimeRange {
    v1::TimeRange {
        first_unix_nano: range.min,
        last_unix_nano: range.max,
    }
}

pub(super) fn vault_status(error: &VaultError) -> Status {
    let what = error.to_string();
    match error {
        VaultError::NoSuchSegment(_) => return Status::not_found(what),
        VaultError::NotSealed(_) | VaultError::NotUnreadable(_) => return Status::failed_precondition(what),
        VaultError::Io { .. }
        | VaultError::FolderSync { .. }
        | VaultError::Damaged { .. }
        | VaultError::Unreadable { .. }
        | VaultError::Format { .. }
        | VaultError::OfAnotherKind { .. }
        | VaultError::BlockRefused { .. }
        | VaultError::Ledger(_) => {}
    }
    of_disposition(error.disposition(), what)
}

pub(super) fn catalogue_status(error: &CatalogueError) -> Status {
    match error.disposition() {
        // The state of the catalogue is against it, and not the words of the request.
        Disposition::Invalid => Status::failed_precondition(error.to_string()),
        other => of_disposition(other, error.to_string()),
    }
}

fn of_disposition(disposition: Disposition, what: String) -> Status {
    match disposition {
        Disposition::Retry => Status::unavailable(what),
        Disposition::Overloaded => Status::resource_exhausted(what),
        Disposition::Invalid => Status::invalid_argument(what),
        Disposition::Fenced => Status::failed_precondition(what),
        Disposition::Corrupt => Status::data_loss(what),
        Disposition::Fatal => Status::internal(what),
    }
}
