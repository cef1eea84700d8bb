//! A segment's header frame.

use super::frame::{self, Kind};
use crate::entry::{u16_at, u32_at, u64_at};
use crate::ids::{ClusterId, Epoch, FileUuid, NodeId, SegmentId, SegmentIndex, ShardId};
use crate::wal::header::{Tenant, WalHeader, decode_tenants, encode_tenants, tenant_count, uuid_at};

const FORMAT: u32 = 1;

/// The header of a segment file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// The segment.
    pub id: SegmentId,
    /// The boot that wrote it.
    pub epoch: Epoch,
    /// The WAL file it was cut from.
    pub file_uuid: FileUuid,
    /// The cluster it belongs to.
    pub cluster_id: ClusterId,
    /// Time at which its WAL file was prepared, nanoseconds since the Unix epoch.
    pub created_ns: u64,
    /// The tenants whose entries it may hold.
    pub tenants: Vec<Tenant>,
}

/// The fault of bytes that are no segment header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeaderFault {
    Damaged,
    Format(u32),
}

impl SegmentHeader {
    /// The header of the segment that is cut from the file with this WAL header.
    pub(crate) fn of_wal(wal: &WalHeader) -> Self {
        Self {
            id: wal.id,
            epoch: wal.epoch,
            file_uuid: wal.uuid,
            cluster_id: wal.cluster_id,
            created_ns: wal.created_ns,
            tenants: wal.tenants.clone(),
        }
    }

    /// The whole header frame, as it stands at the begin of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let at = frame::begin(&mut out, Kind::Header);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.id.node.get().to_le_bytes());
        out.extend_from_slice(&self.id.shard.get().to_le_bytes());
        out.extend_from_slice(&tenant_count(&self.tenants).to_le_bytes());
        out.extend_from_slice(&self.id.index.get().to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.epoch.get().to_le_bytes());
        out.extend_from_slice(self.file_uuid.0.as_bytes());
        out.extend_from_slice(self.cluster_id.0.as_bytes());
        out.extend_from_slice(&self.created_ns.to_le_bytes());
        out.extend_from_slice(&encode_tenants(&self.tenants));
        frame::finish(&mut out, at);
        out
    }

    /// Reads a whole header frame; `None` for any other bytes.
    pub fn of_frame(bytes: &[u8]) -> Option<Self> {
        let len = frame::content_len(bytes)?;
        let content = bytes
            .get(frame::FRAME_HEADER..)
            .filter(|content| content.len() == len)?;
        Self::decode(content).ok()
    }

    /// Reads a header frame's content.
    pub(crate) fn decode(content: &[u8]) -> Result<Self, HeaderFault> {
        let body = frame::open(content, Kind::Header).ok_or(HeaderFault::Damaged)?;
        if body.len() < 68 {
            return Err(HeaderFault::Damaged);
        }
        let format = u32_at(body, 0);
        if format != FORMAT {
            return Err(HeaderFault::Format(format));
        }
        Self::decode_fields(body).ok_or(HeaderFault::Damaged)
    }

    fn decode_fields(b: &[u8]) -> Option<Self> {
        Some(Self {
            id: SegmentId {
                node: NodeId::new(u32_at(b, 4))?,
                shard: ShardId::new(u16_at(b, 8)),
                index: SegmentIndex::new(u32_at(b, 12))?,
            },
            epoch: Epoch::new(u64_at(b, 20))?,
            file_uuid: FileUuid(uuid_at(b, 28)),
            cluster_id: ClusterId(uuid_at(b, 44)),
            created_ns: u64_at(b, 60),
            tenants: decode_tenants(&b[68..], u16_at(b, 10))?,
        })
    }
}
