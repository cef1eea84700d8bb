//! Names and bytes of objects.

use gophership_archiver::store::object_key;
use gophership_catalogue::archive::{ArchiveObject, LeaseNumber};
use gophership_vault::ids::{ClusterId, SegmentId};
use uuid::Uuid;

pub(crate) const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0xC1));

/// The name of an object on record.
pub(crate) fn key_of(lease: LeaseNumber, object: &ArchiveObject) -> String {
    let first = object.members[0];
    object_key(
        CLUSTER,
        first.node,
        first.index,
        lease,
        object.attempt,
        object.received.min,
    )
}

/// The bytes that a version writes for these segments.
pub(crate) fn content(version: u64, members: &[SegmentId]) -> Vec<u8> {
    format!("{version} {members:?}").into_bytes()
}

/// True where these bytes are an object of these segments, of whatever version.
pub(crate) fn content_is_of(bytes: &[u8], members: &[SegmentId]) -> bool {
    (0..2).any(|version| content(version, members) == bytes)
}
