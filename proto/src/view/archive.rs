//! The archive: how it fares, and its objects.

use schemars::JsonSchema;
use serde::Serialize;

use super::{segment_name, some_text, some_time};
use crate::control::v1;

/// The archive: how archiving fares at the node that answers, and what of the cluster is in it.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct ArchiveStatusView {
    /// The URL of the store; null where nothing is archived.
    pub url: Option<String>,
    /// The id of the store; null before this node has opened it.
    pub store_id: Option<String>,
    /// What fails at this node; it is tried again.
    pub fault: Option<String>,
    /// Time since which it does.
    pub fault_since_unix_nano: Option<u64>,
    /// What it waits for at this node, and what ends that.
    pub waits_for: Option<String>,
    /// Time at which the pause ends that an operator asked for.
    pub paused_until_unix_nano: Option<u64>,
    /// Segments of which this node could make no object, since it cannot read them; they are tried again.
    pub unreadable_segments: u64,
    /// Why it could not read the last of them.
    pub unreadable_why: Option<String>,
    /// Objects that this node has put since its start.
    pub put_objects: u64,
    /// Their bytes.
    pub put_bytes: u64,
    /// Calls of this node that failed since its start.
    pub failures: u64,
    /// Sealed segments of the cluster that are not archived yet. They are not removed until they are.
    pub debt_segments: u64,
    /// Entries in them.
    pub debt_entries: u64,
    /// Bytes of their files.
    pub debt_bytes: u64,
    /// Time at which the oldest of them was sealed.
    pub debt_oldest_unix_nano: Option<u64>,
    /// Objects that manifests list: what is archived.
    pub listed_objects: u64,
    /// Their bytes.
    pub listed_bytes: u64,
    /// Objects that are in the store, and in no manifest yet.
    pub committed_objects: u64,
    /// Objects that are being made.
    pub leased_objects: u64,
    /// The newest manifest.
    pub manifest: Option<u64>,
    /// BLAKE3 over it.
    pub manifest_blake3: Option<String>,
    /// The id of the store of a committed object that waits for a manifest and is in another store than that of now.
    pub waiting_store_id: Option<String>,
}

/// Objects of the archive, by lease.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct ArchiveList {
    /// The objects.
    pub objects: Vec<ArchiveObjectView>,
}

/// An object of the archive.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct ArchiveObjectView {
    /// The lease that it came from.
    pub lease: u64,
    /// Its name, below the prefix of the store.
    pub key: String,
    /// `leased`, `committed`, `listed` or `doomed`.
    pub state: String,
    /// The node that makes it, or made it.
    pub holder: u32,
    /// The id of the store that it is in, or is to be in.
    pub store_id: String,
    /// Its bytes; null before it is committed, as are the next two.
    pub bytes: Option<u64>,
    /// BLAKE3 over them.
    pub blake3: Option<String>,
    /// Time at which it was committed.
    pub committed_unix_nano: Option<u64>,
    /// The manifest that lists it.
    pub manifest: Option<u64>,
    /// Entries in it.
    pub entries: u64,
    /// Records in it; deferred entries count none.
    pub records: u64,
    /// Time at which its first entry was received.
    pub received_min_unix_nano: u64,
    /// Time at which its last entry was received.
    pub received_max_unix_nano: u64,
    /// The earliest time of an event in it.
    pub event_min_unix_nano: u64,
    /// The latest time of an event in it.
    pub event_max_unix_nano: u64,
    /// The segments in it, node, shard and index, in its order.
    pub segments: Vec<String>,
}

impl From<v1::ArchiveStatus> for ArchiveStatusView {
    fn from(status: v1::ArchiveStatus) -> Self {
        Self {
            url: some_text(status.url),
            store_id: some_text(status.store_id),
            fault: some_text(status.fault),
            fault_since_unix_nano: some_time(status.fault_since_unix_nano),
            waits_for: some_text(status.waits_for),
            paused_until_unix_nano: some_time(status.paused_until_unix_nano),
            unreadable_segments: status.unreadable_segments,
            unreadable_why: some_text(status.unreadable_why),
            put_objects: status.put_objects,
            put_bytes: status.put_bytes,
            failures: status.failures,
            debt_segments: status.debt_segments,
            debt_entries: status.debt_entries,
            debt_bytes: status.debt_bytes,
            debt_oldest_unix_nano: some_time(status.debt_oldest_unix_nano),
            listed_objects: status.listed_objects,
            listed_bytes: status.listed_bytes,
            committed_objects: status.committed_objects,
            leased_objects: status.leased_objects,
            manifest: Some(status.manifest).filter(|seq| *seq > 0),
            manifest_blake3: some_text(status.manifest_blake3),
            waiting_store_id: some_text(status.waiting_store_id),
        }
    }
}

impl From<v1::ArchiveObject> for ArchiveObjectView {
    fn from(object: v1::ArchiveObject) -> Self {
        Self {
            lease: object.lease,
            key: object.key,
            state: object.state,
            holder: object.holder,
            store_id: object.store_id,
            bytes: Some(object.bytes).filter(|bytes| *bytes > 0),
            blake3: some_text(object.blake3),
            committed_unix_nano: some_time(object.committed_unix_nano),
            manifest: Some(object.manifest).filter(|seq| *seq > 0),
            entries: object.entries,
            records: object.records,
            received_min_unix_nano: object.received_min_unix_nano,
            received_max_unix_nano: object.received_max_unix_nano,
            event_min_unix_nano: object.event_min_unix_nano,
            event_max_unix_nano: object.event_max_unix_nano,
            segments: object.segments.into_iter().map(segment_name).collect(),
        }
    }
}
