//! Entries that a node gives another one, in parts.

use gophership_proto::peer::v1;
use gophership_vault::StoredEntry;
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{EntryNumber, Lsn, SegmentId, TenantId};

use super::{Wire, WireError, at_most, number, value};
use crate::peer::limits::FETCH_PART_ENTRIES;

pub(crate) fn entry_to_wire(entry: StoredEntry) -> v1::Entry {
    v1::Entry {
        number: entry.lsn.number().get(),
        received_ns: entry.meta.received_ns,
        min_event_ns: entry.meta.min_event_ns,
        max_event_ns: entry.meta.max_event_ns,
        record_count: entry.meta.record_count,
        tenant: entry.meta.tenant.get(),
        encoding: (entry.meta.encoding as u8).into(),
        state: entry.meta.state.bits().into(),
        payload: entry.payload.into(),
    }
}

/// An entry of a segment.
pub(crate) fn entry_from_wire(id: SegmentId, entry: v1::Entry) -> Wire<StoredEntry> {
    let of = number("an entry's number", entry.number)?;
    Ok(StoredEntry {
        node: id.node,
        shard: id.shard,
        lsn: Lsn::at(id.index, of),
        meta: meta(&entry)?,
        payload: entry.payload.into(),
    })
}

/// Entries that are being read: those of a range, each once, in order.
pub(crate) struct EntryReader {
    id: SegmentId,
    /// The entry that must be next; `None` after the last there can be.
    next: Option<EntryNumber>,
    last: EntryNumber,
}

impl EntryReader {
    /// Reads the entries `first..=last` of a segment.
    pub(crate) fn new(id: SegmentId, first: EntryNumber, last: EntryNumber) -> Self {
        let next = Some(first);
        Self { id, next, last }
    }

    /// Takes the next part.
    pub(crate) fn add(&mut self, part: v1::FetchPart) -> Wire<Vec<StoredEntry>> {
        at_most(
            "entries of a part",
            part.entries.len() as u64,
            FETCH_PART_ENTRIES as u64,
        )?;
        part.entries.into_iter().map(|entry| self.entry(entry)).collect()
    }

    fn entry(&mut self, entry: v1::Entry) -> Wire<StoredEntry> {
        let of = number("an entry's number", entry.number)?;
        if Some(of) != self.next || of > self.last {
            return Err(WireError::Disorder("entries"));
        }
        self.next = of.checked_next();
        entry_from_wire(self.id, entry)
    }

    /// Checks that all of them came.
    pub(crate) fn end(self) -> Wire<()> {
        if self.next == self.last.checked_next() {
            Ok(())
        } else {
            Err(WireError::Disorder("entries"))
        }
    }
}

fn meta(entry: &v1::Entry) -> Wire<EntryMeta> {
    let encoding = u8::try_from(entry.encoding).ok().and_then(Encoding::from_u8);
    let encoding = encoding.ok_or_else(|| value("an encoding", entry.encoding))?;
    let state = u8::try_from(entry.state).ok().and_then(EntryState::from_bits);
    let state = state.ok_or_else(|| value("an entry's state", entry.state))?;
    if encoding != Encoding::Identity && !state.contains(EntryState::DEFERRED) {
        return Err(value("the encoding of an entry that was inflated", entry.encoding));
    }
    Ok(EntryMeta {
        received_ns: entry.received_ns,
        min_event_ns: entry.min_event_ns,
        max_event_ns: entry.max_event_ns,
        record_count: entry.record_count,
        tenant: TenantId::new(entry.tenant),
        encoding,
        state,
    })
}
