//! The restore of an archive: pages of objects that an operator's tool has read and checked, and the end of a run.
//!
//! **Invariants**:
//! - I1: what is no object is refused before anything is submitted.
//! - I2: a restore that begins is answered once the store is open where this cluster archives. If that is the store of
//!   the archive, its marker is there: the cluster before does nothing more, and what is read from now on stays.

use gophership_catalogue::archive::{ArchiveObject, ManifestHead, ObjectState, Stored};
use gophership_catalogue::limits::RESTORE_PAGE_OBJECTS_MAX;
use gophership_catalogue::refusal::RestoreRefusal;
use gophership_catalogue::restore::{RestoreEnd, RestoreRecord, RestoreState, RestoredObject};
use gophership_catalogue::{Actor, CatalogueError, Command};
use gophership_proto::control::v1;
use gophership_vault::ids::{ClusterId, Epoch, SegmentId};
use gophership_vault::time::{TimeRange, now_unix_nano};
use gophership_vault_replication::join::Restoring;
use uuid::Uuid;

use super::error::OperateError;
use super::shown::segment_id;
use crate::context::NodeContext;

/// Takes in what is asked, and says how far the restore is.
pub(super) fn restore(
    context: &NodeContext,
    asked: v1::RestoreRequest,
    by: &str,
) -> Result<v1::RestoreReply, OperateError> {
    let catalogue = &context.catalogue;
    let read = || catalogue.read_latest(|state| state.restore().cloned());
    let known = read()?.ok_or(CatalogueError::Refused(RestoreRefusal::None.into()))?;
    if known.state == RestoreState::Running && asked.objects.is_empty() && asked.end.is_none() {
        has_its_store(context)?;
    }
    let submit = |command| catalogue.submit(Actor::operator(by), command);
    if !asked.objects.is_empty() {
        let (id, objects) = (id_of(&asked)?, taken_in(&asked.objects, &known)?);
        let end = None;
        submit(Command::RestorePage { id, objects, end })?;
    }
    if let Some(end) = &asked.end {
        let (id, end) = (id_of(&asked)?, Some(end_of(end, &known)?));
        let objects = Vec::new();
        submit(Command::RestorePage { id, objects, end })?;
    }
    let now = read()?.unwrap_or(known);
    Ok(shown(context.vault.identity().cluster_id, &now))
}

/// Refuses for now where the store is not open yet to which this cluster archives, if it archives at all.
fn has_its_store(context: &NodeContext) -> Result<(), OperateError> {
    let view = context.archiver.view();
    if view.store.is_some() || context.settings.archive().url.is_none() {
        return Ok(());
    }
    let why = view
        .fault
        .map_or_else(|| "it is being opened".to_owned(), |(fault, _)| fault);
    Err(OperateError::ArchiveNotOpen { why })
}

/// The restore with which the cluster began, if it began with one.
pub(super) fn if_any(context: &NodeContext) -> Option<v1::RestoreReply> {
    let cluster = context.vault.identity().cluster_id;
    let known = context.catalogue.read(|state| state.restore().cloned());
    known.map(|record| shown(cluster, &record))
}

fn id_of(asked: &v1::RestoreRequest) -> Result<Uuid, OperateError> {
    let id = asked.restore_id.parse();
    id.map_err(|_| OperateError::BadRestore("the id of the restore is no UUID"))
}

fn taken_in(objects: &[v1::RestoredObject], known: &RestoreRecord) -> Result<Vec<RestoredObject>, OperateError> {
    if objects.len() > RESTORE_PAGE_OBJECTS_MAX {
        return Err(OperateError::BadRestore("a page has too many objects"));
    }
    objects.iter().map(|object| taken(object, known)).collect()
}

fn taken(of: &v1::RestoredObject, known: &RestoreRecord) -> Result<RestoredObject, OperateError> {
    let members: Option<Vec<SegmentId>> = of.segments.iter().map(|id| segment_id(*id)).collect();
    let members = members.filter(|members| !members.is_empty());
    let members = members.ok_or(OperateError::BadRestore("an object has no segments, or what is none"))?;
    let stored = Stored {
        bytes: of.object_bytes,
        digest: digest(&of.digest)?,
        // When it was committed is not known: it is not older than the restore, for whatever goes by age.
        at_ns: known.began_ns,
    };
    let object = ArchiveObject {
        store: known.origin.store,
        entries: of.entries,
        records: of.records,
        received: range(of.min_received_unix_nano, of.max_received_unix_nano),
        event: range(of.min_event_unix_nano, of.max_event_unix_nano),
        attempt: of.attempt,
        // Whoever made it is gone; only a lease is gone on with by its holder.
        holder: members[0].node,
        epoch: Epoch::FIRST,
        state: match of.manifest {
            0 => ObjectState::Committed(stored),
            manifest => ObjectState::Listed { stored, manifest },
        },
        members,
    };
    Ok(RestoredObject {
        lease: of.lease,
        object,
    })
}

fn end_of(of: &v1::RestoreEnd, known: &RestoreRecord) -> Result<RestoreEnd, OperateError> {
    let head = match of.manifest {
        0 => ManifestHead::default(),
        seq => ManifestHead {
            store: known.origin.store,
            seq,
            hash: digest(&of.manifest_hash)?,
        },
    };
    Ok(RestoreEnd {
        head,
        lease: of.lease,
        missing: of.missing,
        names: of.names.clone(),
        accept_loss: of.accept_loss,
        at_ns: now_unix_nano(),
    })
}

fn digest(bytes: &[u8]) -> Result<[u8; 32], OperateError> {
    let digest = bytes.try_into();
    digest.map_err(|_| OperateError::BadRestore("a digest has not 32 bytes"))
}

fn range(min: u64, max: u64) -> TimeRange {
    TimeRange { min, max }
}

fn shown(cluster: ClusterId, record: &RestoreRecord) -> v1::RestoreReply {
    let origin = Restoring {
        cluster,
        origin: record.origin.clone(),
    };
    v1::RestoreReply {
        origin: Some(origin.write()),
        state: record.state.name().to_owned(),
        began_unix_nano: record.began_ns,
        ended_unix_nano: record.ended_ns,
        objects: record.objects,
        segments: record.segments,
        missing: record.missing,
        names: record.names.clone(),
    }
}
