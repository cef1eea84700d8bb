//! The row of a restore, and its fields in commands.

use super::format::value;
use crate::archive::{LeaseNumber, ManifestHead};
use crate::restore::{RestoreEnd, RestoreOrigin, RestoreRecord, RestoreState, RestoredObject};
use crate::row::archive::{read_object, write_object_fields};
use crate::wire::{Reader, WireError, Writer};

pub(crate) fn write_restore(record: &RestoreRecord) -> Writer {
    let w = write_origin(value(), &record.origin).u8(record.state as u8);
    let w = w.u64(record.began_ns).u64(record.ended_ns);
    let w = w.u64(record.objects).u64(record.segments).u64(record.missing);
    w.list(&record.names, |w, name| w.text(name))
}

pub(crate) fn read_restore(v: &mut Reader<'_>) -> Result<RestoreRecord, WireError> {
    Ok(RestoreRecord {
        origin: read_origin(v)?,
        state: {
            let state = v.u8()?;
            RestoreState::from_stored(state).ok_or_else(|| v.unknown("state of a restore", state))?
        },
        began_ns: v.u64()?,
        ended_ns: v.u64()?,
        objects: v.u64()?,
        segments: v.u64()?,
        missing: v.u64()?,
        names: v.list(Reader::text)?,
    })
}

pub(crate) fn write_origin(w: Writer, origin: &RestoreOrigin) -> Writer {
    let w = w.uuid(origin.id).uuid(origin.store).u32(origin.first_node.get());
    w.u32(origin.generation).text(&origin.url)
}

pub(crate) fn read_origin(v: &mut Reader<'_>) -> Result<RestoreOrigin, WireError> {
    Ok(RestoreOrigin {
        id: v.uuid()?,
        store: v.uuid()?,
        first_node: v.node()?,
        generation: v.u32()?,
        url: v.text()?,
    })
}

pub(crate) fn write_restored(w: Writer, of: &RestoredObject) -> Writer {
    write_object_fields(w.u64(of.lease), &of.object)
}

pub(crate) fn read_restored(v: &mut Reader<'_>) -> Result<RestoredObject, WireError> {
    let lease: LeaseNumber = v.u64()?;
    let object = read_object(v)?;
    Ok(RestoredObject { lease, object })
}

pub(crate) fn write_end(w: Writer, end: &RestoreEnd) -> Writer {
    let w = w.u64(end.head.seq).bytes(&end.head.hash).uuid(end.head.store);
    let w = w.u64(end.lease).u64(end.missing);
    let w = w.list(&end.names, |w, name| w.text(name));
    w.u8(u8::from(end.accept_loss)).u64(end.at_ns)
}

pub(crate) fn read_end(v: &mut Reader<'_>) -> Result<RestoreEnd, WireError> {
    let (seq, hash, store) = (v.u64()?, v.array()?, v.uuid()?);
    Ok(RestoreEnd {
        head: ManifestHead { store, seq, hash },
        lease: v.u64()?,
        missing: v.u64()?,
        names: v.list(Reader::text)?,
        accept_loss: v.bool("acceptance of a loss")?,
        at_ns: v.u64()?,
    })
}
