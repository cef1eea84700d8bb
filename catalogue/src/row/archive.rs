//! The rows of the archive.

use gophership_vault::time::TimeRange;

use super::format::value;
use crate::archive::{ArchiveCounters, ArchiveObject, ManifestHead, ObjectState, Stored};
use crate::wire::{Reader, WireError, Writer};

const LEASED: u8 = 1;
const DOOMED: u8 = 2;
const COMMITTED: u8 = 3;
const LISTED: u8 = 4;

pub(crate) fn write_counters(counters: &ArchiveCounters) -> Writer {
    let w = value().u64(counters.lease).u64(counters.head.seq);
    w.bytes(&counters.head.hash).uuid(counters.head.store)
}

pub(crate) fn read_counters(v: &mut Reader<'_>) -> Result<ArchiveCounters, WireError> {
    Ok(ArchiveCounters {
        lease: v.u64()?,
        head: ManifestHead {
            seq: v.u64()?,
            hash: v.array()?,
            store: v.uuid()?,
        },
    })
}

pub(crate) fn write_object(object: &ArchiveObject) -> Writer {
    write_object_fields(value(), object)
}

pub(crate) fn write_object_fields(w: Writer, object: &ArchiveObject) -> Writer {
    let w = w.uuid(object.store).u32(object.attempt).u32(object.holder.get());
    let w = w.u64(object.epoch.get()).u64(object.entries).u64(object.records);
    let w = write_range(write_range(w, object.received), object.event);
    let w = w.list(&object.members, |w, id| w.segment(*id));
    match &object.state {
        ObjectState::Leased => w.u8(LEASED),
        ObjectState::Doomed => w.u8(DOOMED),
        ObjectState::Committed(stored) => write_stored(w.u8(COMMITTED), stored),
        ObjectState::Listed { stored, manifest } => write_stored(w.u8(LISTED), stored).u64(*manifest),
    }
}

pub(crate) fn read_object(v: &mut Reader<'_>) -> Result<ArchiveObject, WireError> {
    Ok(ArchiveObject {
        store: v.uuid()?,
        attempt: v.u32()?,
        holder: v.node()?,
        epoch: v.epoch()?,
        entries: v.u64()?,
        records: v.u64()?,
        received: read_range(v)?,
        event: read_range(v)?,
        members: v.list(Reader::segment)?,
        state: match v.u8()? {
            LEASED => ObjectState::Leased,
            DOOMED => ObjectState::Doomed,
            COMMITTED => ObjectState::Committed(read_stored(v)?),
            LISTED => ObjectState::Listed {
                stored: read_stored(v)?,
                manifest: v.u64()?,
            },
            found => return Err(v.unknown("object state", found)),
        },
    })
}

fn write_range(w: Writer, range: TimeRange) -> Writer {
    w.u64(range.min).u64(range.max)
}

fn read_range(v: &mut Reader<'_>) -> Result<TimeRange, WireError> {
    Ok(TimeRange {
        min: v.u64()?,
        max: v.u64()?,
    })
}

pub(crate) fn write_stored(w: Writer, stored: &Stored) -> Writer {
    w.u64(stored.bytes).bytes(&stored.digest).u64(stored.at_ns)
}

pub(crate) fn read_stored(v: &mut Reader<'_>) -> Result<Stored, WireError> {
    Ok(Stored {
        bytes: v.u64()?,
        digest: v.array()?,
        at_ns: v.u64()?,
    })
}
