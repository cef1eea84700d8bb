//! Shows the archive.

use gophership_catalogue::archive::{ArchiveObject, LeaseNumber, ManifestHead, ObjectState};
use gophership_proto::control::v1;
use gophership_somatic::Job;
use gophership_vault::DiskTier;
use gophership_vault::ids::ClusterId;

use super::limits::ARCHIVE_LISTED_MAX;
use super::shown::segment_ref;
use crate::archive::{ArchiveView, key_of};
use crate::context::NodeContext;

/// The archive, as this node sees it.
pub(super) fn status(context: &NodeContext) -> v1::ArchiveStatus {
    let ArchiveView {
        url,
        store,
        fault,
        unreadable,
        unreadable_why,
        tally,
        under_way,
        objects,
        bytes,
        failures,
    } = context.archiver.view();
    let is_paused = under_way > 0 && context.vault.tier() < DiskTier::Evict;
    let waits_for = if is_paused {
        context.throttle.waits_for(Job::Archive)
    } else {
        None
    };
    let (fault, since_ns) = fault.unwrap_or_default();
    v1::ArchiveStatus {
        url: url.unwrap_or_default(),
        store_id: store.map(|id| id.to_string()).unwrap_or_default(),
        fault,
        fault_since_unix_nano: since_ns,
        waits_for: waits_for.unwrap_or_default(),
        unreadable_segments: unreadable,
        unreadable_why: unreadable_why.unwrap_or_default(),
        put_objects: objects,
        put_bytes: bytes,
        failures,
        debt_segments: tally.debt_segments,
        debt_entries: tally.debt_entries,
        debt_bytes: tally.debt_bytes,
        debt_oldest_unix_nano: tally.debt_oldest_ns.unwrap_or(0),
        listed_objects: tally.listed,
        listed_bytes: tally.listed_bytes,
        committed_objects: tally.committed,
        leased_objects: tally.leased,
        waiting_store_id: tally.elsewhere.map(|id| id.to_string()).unwrap_or_default(),
        manifest: tally.head.seq,
        manifest_blake3: match tally.head {
            ManifestHead { seq: 0, .. } => String::new(),
            ManifestHead { hash, .. } => hex(&hash),
        },
    }
}

/// The archive, where there is one.
pub(super) fn if_any(context: &NodeContext) -> Option<v1::ArchiveStatus> {
    Some(status(context)).filter(|archive| !archive.url.is_empty())
}

/// A page of the objects on record.
pub(super) fn list(context: &NodeContext, asked: &v1::ListArchiveRequest) -> v1::ListArchiveReply {
    let limit = match asked.limit as usize {
        0 => ARCHIVE_LISTED_MAX,
        limit => limit.min(ARCHIVE_LISTED_MAX),
    };
    let cluster = context.vault.identity().cluster_id;
    context.catalogue.read(|state| {
        let mut behind = state.archive_objects().filter(|(lease, _)| *lease > asked.after);
        let objects = behind.by_ref().take(limit).map(|of| shown(cluster, of)).collect();
        let more = behind.next().is_some();
        v1::ListArchiveReply { objects, more }
    })
}

fn shown(cluster: ClusterId, (lease, object): (LeaseNumber, &ArchiveObject)) -> v1::ArchiveObject {
    let (state, stored, manifest) = match object.state {
        ObjectState::Leased => ("leased", None, 0),
        ObjectState::Doomed => ("doomed", None, 0),
        ObjectState::Committed(stored) => ("committed", Some(stored), 0),
        ObjectState::Listed { stored, manifest } => ("listed", Some(stored), manifest),
    };
    v1::ArchiveObject {
        lease,
        key: key_of(cluster, lease, object, object.attempt),
        state: state.to_owned(),
        holder: object.holder.get(),
        store_id: object.store.to_string(),
        bytes: stored.map_or(0, |stored| stored.bytes),
        blake3: stored.map(|stored| hex(&stored.digest)).unwrap_or_default(),
        committed_unix_nano: stored.map_or(0, |stored| stored.at_ns),
        manifest,
        entries: object.entries,
        records: object.records,
        received_min_unix_nano: object.received.min,
        received_max_unix_nano: object.received.max,
        event_min_unix_nano: object.event.min,
        event_max_unix_nano: object.event.max,
        segments: object.members.iter().map(|id| segment_ref(*id)).collect(),
    }
}

fn hex(digest: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*digest).to_hex().to_string()
}
