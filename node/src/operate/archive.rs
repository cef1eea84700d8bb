//! Shows the archive, and pauses archiving.

use std::time::Duration;

use gophership_catalogue::State;
use gophership_catalogue::archive::{ArchiveObject, LeaseNumber, ManifestHead, ObjectState};
use gophership_proto::control::v1;
use gophership_somatic::Job;
use gophership_vault::ids::SegmentId;
use gophership_vault::{DiskTier, VaultError};

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
        paused_until_unix_nano: paused.map_or(0, |pause| context.vault.as_wall_ns(pause.until_ns)),
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
    let running = |state: &State| {
        state
            .restore()
            .filter(|_| state.is_being_restored())
            .map(|of| of.origin.url.clone())
    };
    if let Some(url) = context.catalogue.read(running) {
        return Some(format!(
            "the archive {url} is being taken in, and nothing is archived before that has ended: where no gs-ctl does \
             it any more, run gs-ctl cluster provision --restore-from {url} again"
        ));
    }
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

/// The error of a verb that no node could do on a segment; where the archive has that, it says so.
pub(super) fn or_archived(context: &NodeContext, id: SegmentId, error: OperateError) -> OperateError {
    let cluster = context.vault.identity().cluster_id;
    let key = context.catalogue.read(|state| {
        let (lease, object) = state.archive_of(id).filter(|_| state.is_archived(id))?;
        Some(key_of(cluster, lease, object, object.attempt))
    });
    let Some(key) = key else { return error };
    let archived = format!("the archive has it, in {key}: gs-ctl replay start reads it there");
    match error {
        OperateError::Vault(VaultError::NoSuchSegment(_)) => OperateError::NoHolder {
            segment: id,
            why: vec![archived],
        },
        OperateError::NoHolder { segment, mut why } => {
            why.push(archived);
            OperateError::NoHolder { segment, why }
        }
        other => other,
    }
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
    context.catalogue.read(|state| {
        let mut behind = state.archive_objects().filter(|(lease, _)| *lease > asked.after);
        let objects = behind.by_ref().take(limit).map(|of| shown(context, of)).collect();
        let more = behind.next().is_some();
        v1::ListArchiveReply { objects, more }
    })
}

fn shown(context: &NodeContext, (lease, object): (LeaseNumber, &ArchiveObject)) -> v1::ArchiveObject {
    let (state, stored, manifest) = match object.state {
        ObjectState::Leased => ("leased", None, 0),
        ObjectState::Doomed => ("doomed", None, 0),
        ObjectState::Committed(stored) => ("committed", Some(stored), 0),
        ObjectState::Listed { stored, manifest } => ("listed", Some(stored), manifest),
    };
    v1::ArchiveObject {
        lease,
        key: key_of(context.vault.identity().cluster_id, lease, object, object.attempt),
        state: state.to_owned(),
        holder: object.holder.get(),
        store_id: object.store.to_string(),
        bytes: stored.map_or(0, |stored| stored.bytes),
        blake3: stored.map(|stored| hex(&stored.digest)).unwrap_or_default(),
        committed_unix_nano: stored.map_or(0, |stored| context.vault.as_wall_ns(stored.at_ns)),
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

#[cfg(test)]
mod tests {
    use gophership_catalogue::Actor;
    use gophership_catalogue::testkit::{begin_restore, restore_end, restore_page, restored};
    use gophership_proto::control::v1::SegmentRef;
    use gophership_vault::ledger::KeptClock;
    use gophership_vault::time::now_unix_nano;
    use tonic::Code;
    use uuid::Uuid;

    use super::*;
    use crate::control::testkit::TestNode;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_end_of_a_pause_is_shown_on_the_wall_clock() {
        let dir = tempfile::tempdir().unwrap();
        let node = TestNode::open_after(dir.path(), |catalogue| {
            catalogue.node_up(Uuid::new_v4(), None).unwrap();
            // As after ten hours off, of which the clock makes up nothing.
            let now_ns = now_unix_nano() - 10 * 3_600_000_000_000;
            catalogue
                .ledger()
                .keep_clock(KeptClock { now_ns, credit_ns: 0 })
                .unwrap();
        });
        let context = node.context(&[], Vec::new());
        let seen = begin_pause(&context, 3600, "jo").unwrap();
        assert!(seen.paused_until_unix_nano > now_unix_nano(), "{seen:?}");
        drop(context);
        node.close();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn while_a_restore_runs_archiving_waits_for_it_and_what_it_has_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let page = restore_page(&[restored(2, 2, &[1])]);
        let node = TestNode::open_beside(dir.path(), &[begin_restore(), page]);
        let context = node.context(&[], Vec::new());
        let why = waits_for(&context, 7).unwrap();
        assert!(why.contains("--restore-from s3://logs again"), "{why}");
        node.catalogue
            .submit(Actor::operator("jo"), restore_end(1, false))
            .unwrap();
        let why = waits_for(&context, 7).unwrap();
        assert!(why.contains("7 segments wait"), "{why}");
        drop(context);

        // What only the archive has is shown by no node.
        let mut control = node.serve(&[]).await;
        let id = |index| SegmentRef {
            node: 2,
            shard: 0,
            index,
        };
        for (index, is_archived) in [(1, true), (2, false)] {
            let described = control.client.describe_segment(id(index)).await.unwrap_err();
            let mut verify = control.client.verify_segment(id(index)).await.unwrap().into_inner();
            let verified = verify.message().await.unwrap_err();
            for error in [described, verified] {
                assert_eq!(error.code(), Code::NotFound, "{error}");
                let is_named = error.message().contains("the archive has it, in v1/logs/");
                assert_eq!(is_named, is_archived, "{error}");
            }
        }
        control.stop().await;
        node.close();
    }
}
