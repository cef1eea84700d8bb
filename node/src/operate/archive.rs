//! Shows the archive, and pauses archiving.

use std::time::Duration;

use gophership_catalogue::archive::{ArchiveObject, LeaseNumber, ManifestHead, ObjectState};
use gophership_proto::control::v1;
use gophership_somatic::Job;
use gophership_vault::DiskTier;
use gophership_vault::ids::ClusterId;

use super::error::OperateError;
use super::limits::{ARCHIVE_LISTED_MAX, ARCHIVE_PAUSE_MAX};
use super::shown::segment_ref;
use crate::archive::pause::{self, pause};
use crate::archive::{ArchiveView, key_of};
use crate::config::{show_duration, show_size};
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
        is_paused: _,
        waiting,
        objects,
        bytes,
        failures,
    } = context.archiver.view();
    let paused = context.catalogue.read(|state| pause(state, context.vault.clock_ns()));
    let is_owed = under_way > 0 || tally.debt_segments > 0;
    let waits_for = match &paused {
        Some(by) => Some(format!(
            "{} paused it for all nodes: it goes on by itself then, or with gs-ctl archive resume",
            by.by
        )),
        None if is_owed && url.is_some() => waits_for(context, waiting),
        None => None,
    };
    let (fault, since_ns) = fault.unwrap_or_default();
    v1::ArchiveStatus {
        url: url.unwrap_or_default(),
        store_id: store.map(|id| id.to_string()).unwrap_or_default(),
        fault,
        fault_since_unix_nano: since_ns,
        waits_for: waits_for.unwrap_or_default(),
        paused_until_unix_nano: paused.map_or(0, |pause| pause.until_ns),
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

/// What archiving at this node waits for, and what ends that, in words.
fn waits_for(context: &NodeContext, waiting: u64) -> Option<String> {
    let by_zone = match context.vault.tier() {
        DiskTier::Normal => context.throttle.waits_for(Job::Archive),
        // Then archiving makes room, in any zone.
        DiskTier::Evict | DiskTier::Refuse | DiskTier::RefuseReplicas => None,
    };
    if let Some(zone) = by_zone {
        return Some(format!("{zone}, and in any zone once 80 % of the disk are in use"));
    }
    let settings = context.settings.archive();
    (waiting > 0).then(|| {
        format!(
            "{waiting} segments wait for more, to be one object with them: until they have archive.object_size ({}), or \
             are archive.max_delay ({}) old; with less than 1MiB, for an hour",
            show_size(settings.object_size),
            show_duration(settings.max_delay)
        )
    })
}

/// Pauses archiving on all nodes. It blocks.
pub(super) fn begin_pause(context: &NodeContext, seconds: u64, by: &str) -> Result<v1::ArchiveStatus, OperateError> {
    if !(1..=ARCHIVE_PAUSE_MAX.as_secs()).contains(&seconds) {
        return Err(OperateError::BadPause {
            limit: ARCHIVE_PAUSE_MAX,
        });
    }
    let (catalogue, length) = (context.catalogue.as_ref(), Duration::from_secs(seconds));
    pause::begin(catalogue, context.vault.clock_ns(), length, by)?;
    tracing::warn!(seconds, by, "archive.paused");
    Ok(status(context))
}

/// Ends a pause, if there is one. It blocks.
pub(super) fn end_pause(context: &NodeContext, by: &str) -> Result<v1::ArchiveStatus, OperateError> {
    pause::end(context.catalogue.as_ref(), by)?;
    tracing::warn!(by, "archive.resumed");
    Ok(status(context))
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
