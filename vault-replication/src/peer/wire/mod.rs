//! Our values as messages of the peers' port, and back.
//!
//! - here: what all of them share: numbers, segments, headers, digests. `tail`: the tail stream. `report`: what is
//!   held of a segment. `end`: what a recovery decided, and the copy made of it. `entries`: fetched entries.
//!
//! **Invariants**:
//! - I1: what is read is a value that its type allows, or an error; nothing that a peer sends makes a constructor of
//!   ours panic.
//! - I2: every list has its bound.
//! - I3: a value that is written and read is the same.
//!
//! **Not here**: who sent it, and what it may say (`identity.rs`, the services).

pub mod end;
pub mod entries;
pub mod report;
pub mod tail;

use bytes::Bytes;
use gophership_proto::peer::v1;
use gophership_vault::ids::{
    ClusterId, EntryNumber, Epoch, FileUuid, NodeId, SegmentId, SegmentIndex, ShardId, TenantId,
};
use gophership_vault::limits::{TENANT_NAME_MAX, TENANTS_MAX};
use gophership_vault::{SegmentHeader, Tenant};
use thiserror::Error;
use uuid::Uuid;

/// The reason for which a message of a peer is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum WireError {
    /// A part that each such message has is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value is none of its kind.
    #[error("{what} cannot be {found}")]
    Value {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// A list or a text is longer than any is.
    #[error("{what}: {found} is above the limit of {limit}")]
    TooLarge {
        /// The field.
        what: &'static str,
        /// Its length.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Parts do not follow each other, or are not as many as were announced.
    #[error("{0} are not in order or not complete")]
    Disorder(&'static str),
    /// It speaks of something else than was asked for, or than its sender may speak of.
    #[error("{0} is another one")]
    Other(&'static str),
}

pub(crate) type Wire<T> = Result<T, WireError>;

/// The message that each such message has.
pub(crate) fn required<T>(what: &'static str, message: Option<T>) -> Wire<T> {
    message.ok_or(WireError::Missing(what))
}

fn value(what: &'static str, found: impl Into<u64>) -> WireError {
    let found = found.into();
    WireError::Value { what, found }
}

pub(crate) fn at_most(what: &'static str, found: u64, limit: u64) -> Wire<()> {
    if found <= limit {
        Ok(())
    } else {
        Err(WireError::TooLarge { what, found, limit })
    }
}

pub(crate) fn number(what: &'static str, of: u32) -> Wire<EntryNumber> {
    EntryNumber::new(of).ok_or_else(|| value(what, of))
}

pub(crate) fn node(what: &'static str, of: u32) -> Wire<NodeId> {
    NodeId::new(of).ok_or_else(|| value(what, of))
}

pub(crate) fn epoch(of: u64) -> Wire<Epoch> {
    Epoch::new(of).ok_or_else(|| value("an epoch", of))
}

pub(crate) fn number_or_zero(number: Option<EntryNumber>) -> u32 {
    number.map_or(0, EntryNumber::get)
}

pub(crate) fn uuid(what: &'static str, of: &[u8]) -> Wire<Uuid> {
    Uuid::from_slice(of).map_err(|_| value(what, of.len() as u64))
}

pub(crate) fn uuid_bytes(uuid: Uuid) -> Bytes {
    Bytes::copy_from_slice(uuid.as_bytes())
}

pub(crate) fn digest(of: &[u8]) -> Wire<[u8; 32]> {
    of.try_into()
        .map_err(|_| value("the length of a digest", of.len() as u64))
}

pub(crate) fn digest_bytes(digest: [u8; 32]) -> Bytes {
    Bytes::copy_from_slice(&digest)
}

/// A range of numbers.
pub(crate) fn range(what: &'static str, first: u32, last: u32) -> Wire<(EntryNumber, EntryNumber)> {
    let (first, last) = (number(what, first)?, number(what, last)?);
    if first <= last {
        Ok((first, last))
    } else {
        Err(WireError::Disorder(what))
    }
}

pub(crate) fn segment_to_wire(id: SegmentId) -> v1::SegmentId {
    v1::SegmentId {
        node: id.node.get(),
        shard: id.shard.get().into(),
        index: id.index.get(),
    }
}

pub(crate) fn segment(of: Option<v1::SegmentId>) -> Wire<SegmentId> {
    let of = required("a segment", of)?;
    Ok(SegmentId {
        node: node("a segment's node", of.node)?,
        shard: ShardId::new(u16::try_from(of.shard).map_err(|_| value("a shard", of.shard))?),
        index: SegmentIndex::new(of.index).ok_or_else(|| value("a segment's index", of.index))?,
    })
}

pub(crate) fn header_to_wire(header: &SegmentHeader) -> v1::SegmentHeader {
    let tenant = |tenant: &Tenant| v1::Tenant {
        id: tenant.id.get(),
        name: tenant.name.clone(),
    };
    v1::SegmentHeader {
        segment: Some(segment_to_wire(header.id)),
        epoch: header.epoch.get(),
        file_uuid: uuid_bytes(header.file_uuid.0),
        cluster_id: uuid_bytes(header.cluster_id.0),
        created_ns: header.created_ns,
        tenants: header.tenants.iter().map(tenant).collect(),
    }
}

pub(crate) fn header(of: Option<v1::SegmentHeader>) -> Wire<SegmentHeader> {
    let of = required("a segment's header", of)?;
    if of.tenants.is_empty() {
        return Err(WireError::Missing("a tenant"));
    }
    at_most("tenants", of.tenants.len() as u64, TENANTS_MAX as u64)?;
    let tenant = |tenant: v1::Tenant| {
        at_most("a tenant's name", tenant.name.len() as u64, TENANT_NAME_MAX as u64)?;
        Ok(Tenant {
            id: TenantId::new(tenant.id),
            name: tenant.name,
        })
    };
    Ok(SegmentHeader {
        id: segment(of.segment)?,
        epoch: epoch(of.epoch)?,
        file_uuid: FileUuid(uuid("a WAL file's id", &of.file_uuid)?),
        cluster_id: ClusterId(uuid("a cluster's id", &of.cluster_id)?),
        created_ns: of.created_ns,
        tenants: of.tenants.into_iter().map(tenant).collect::<Wire<_>>()?,
    })
}

#[cfg(test)]
mod tests;
