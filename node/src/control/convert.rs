//! Conversion from requests to the verbs' values, and from a verb's error to a status.

use gophership_catalogue::exporter::EntryId;
use gophership_catalogue::job::JobId;
use gophership_proto::control::v1;
use gophership_somatic::Zone;
use gophership_vault::ids::{Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

use crate::export::SeekTo;
use crate::operate::{Kind, OperateError};

impl From<OperateError> for Status {
    fn from(error: OperateError) -> Self {
        let what = error.to_string();
        match error.kind() {
            Kind::Invalid => Self::invalid_argument(what),
            Kind::NotFound => Self::not_found(what),
            Kind::Precondition => Self::failed_precondition(what),
            Kind::Unavailable => Self::unavailable(what),
            Kind::Overloaded => Self::resource_exhausted(what),
            Kind::Damaged => Self::data_loss(what),
            Kind::Internal => Self::internal(what),
        }
    }
}

/// The user at the other end of the Unix socket.
pub(super) fn who<T>(request: &Request<T>) -> String {
    let peer = request
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred);
    peer.map_or_else(|| "unknown".to_owned(), |peer| format!("uid {}", peer.uid()))
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

/// The replay job that a client names.
pub(super) fn job_id(name: v1::ReplayJobRef) -> Result<JobId, Status> {
    let number = name.id.parse().ok().and_then(JobId::new);
    number.ok_or_else(|| Status::not_found(format!("there is no replay job {:?}: jobs have numbers", name.id)))
}

/// The entry that a client names.
pub(super) fn entry_id(named: &v1::DeadLetterRef) -> Result<EntryId, Status> {
    let key = || {
        let lsn = named.lsn?;
        let lsn = Lsn::from_u64(u64::from(lsn.segment_index) << 32 | u64::from(lsn.number))?;
        let shard = ShardId::new(u16::try_from(named.shard).ok()?);
        Some((NodeId::new(named.node)?, shard, lsn))
    };
    key().ok_or_else(|| {
        Status::invalid_argument("a dead letter is named by node, shard, segment and number, all of them")
    })
}

/// The destination that a client names for a cursor.
pub(super) fn seek_to(to: Option<v1::seek_exporter_request::To>) -> Result<SeekTo, Status> {
    use v1::seek_exporter_request::To;
    match to {
        Some(To::Now(true)) => Ok(SeekTo::Now),
        Some(To::Oldest(true)) => Ok(SeekTo::Oldest),
        Some(To::TimeUnixNano(at)) => Ok(SeekTo::Received(at)),
        Some(To::Now(false) | To::Oldest(false)) | None => {
            Err(Status::invalid_argument("where to is missing: now, oldest or a time"))
        }
    }
}

/// The zone that a client forces.
pub(super) fn zone(zone: v1::Zone) -> Result<Zone, Status> {
    match zone {
        v1::Zone::Green => Ok(Zone::Green),
        v1::Zone::Yellow => Ok(Zone::Yellow),
        v1::Zone::Red => Ok(Zone::Red),
        v1::Zone::Unspecified => Err(Status::invalid_argument("a zone is missing: green, yellow or red")),
    }
}
