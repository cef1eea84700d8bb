//! The rows of exporters: their keys begin with a name, which a zero byte ends.

use std::collections::BTreeSet;

use gophership_vault::NodeSet;
use gophership_vault::ids::{Lsn, NodeId, ShardId};

use super::format::{
    DEAD_LETTER_VERSION, KIND_CONFIGURED_SOMEWHERE, KIND_CURSOR, KIND_DEAD_LETTER, KIND_EXPORT_TAKEN, KIND_EXPORTER,
    key, value,
};
use super::segment::{read_nodes, write_nodes};
use crate::exporter::{DeadLetter, EntryId, ExporterRecord, Generation, LetterCause, Seek};
use crate::job::Takeover;
use crate::state::Change;
use crate::wire::{Reader, WireError, Writer};

/// The version that has a cause, and no node that keeps a copy.
const DEAD_LETTER_CAUSE_VERSION: u8 = 2;
/// The version that names one node that keeps a copy.
const DEAD_LETTER_COPY_VERSION: u8 = 3;

pub(crate) const CAUSE_REFUSED: u8 = 0;
pub(crate) const CAUSE_MALFORMED: u8 = 1;

fn named(kind: u8, exporter: &str) -> Writer {
    key(kind).bytes(exporter.as_bytes()).u8(0)
}

pub(super) fn exporter_key(name: &str) -> Writer {
    named(KIND_EXPORTER, name)
}

pub(super) fn configured_somewhere_key(name: &str) -> Writer {
    named(KIND_CONFIGURED_SOMEWHERE, name)
}

pub(super) fn write_configured(names: &BTreeSet<String>) -> Writer {
    names.iter().fold(value().count(names.len()), |w, name| w.text(name))
}

pub(super) fn read_configured(v: &mut Reader<'_>) -> Result<BTreeSet<String>, WireError> {
    let names = v.list(Reader::text)?;
    if !names.is_sorted_by(|a, b| a < b) {
        return Err(v.damaged("names out of order"));
    }
    Ok(names.into_iter().collect())
}

pub(super) fn cursor_key(exporter: &str, (node, shard): (NodeId, ShardId)) -> Writer {
    named(KIND_CURSOR, exporter).u32_be(node.get()).u16_be(shard.get())
}

pub(super) fn taken_key(exporter: &str, owner: NodeId) -> Writer {
    named(KIND_EXPORT_TAKEN, exporter).u32_be(owner.get())
}

pub(super) fn dead_letter_key(exporter: &str, (node, shard, lsn): EntryId) -> Writer {
    named(KIND_DEAD_LETTER, exporter)
        .u32_be(node.get())
        .u16_be(shard.get())
        .u64_be(lsn.get())
}

pub(super) fn write_exporter(e: &ExporterRecord) -> Writer {
    value()
        .u8(u8::from(e.paused))
        .u64(e.generation.get())
        .u64(e.since_ns)
        .u32(e.last_seek.map_or(0, |s| s.node.get()))
        .u64(e.last_seek.map_or(0, |s| s.at_ns))
}

pub(crate) fn read_generation(v: &mut Reader<'_>) -> Result<Generation, WireError> {
    Generation::new(v.u64()?).ok_or_else(|| v.damaged("generation 0"))
}

pub(super) fn read_exporter(k: &mut Reader<'_>, v: &mut Reader<'_>) -> Result<Change, WireError> {
    let paused = match v.u8()? {
        0 => false,
        1 => true,
        found => return Err(v.unknown("exporter state", found)),
    };
    let generation = read_generation(v)?;
    let since_ns = v.u64()?;
    let (node, at_ns) = (NodeId::new(v.u32()?), v.u64()?);
    let record = ExporterRecord {
        paused,
        generation,
        since_ns,
        last_seek: node.map(|node| Seek { node, at_ns }),
    };
    Ok(Change::Exporter(k.name()?, record))
}

pub(super) fn write_cursor(done: Lsn) -> Writer {
    value().u64(done.get())
}

pub(super) fn read_cursor(k: &mut Reader<'_>, v: &mut Reader<'_>) -> Result<Change, WireError> {
    Ok(Change::Cursor(
        k.name()?,
        (k.node_be()?, k.shard_be()?),
        v.lsn_or_none()?.ok_or_else(|| v.damaged("no position"))?,
    ))
}

pub(super) fn read_taken(k: &mut Reader<'_>, v: &mut Reader<'_>) -> Result<Change, WireError> {
    let (name, owner) = (k.name()?, k.node_be()?);
    let (node, term) = (v.node()?, v.u64()?);
    Ok(Change::ExportTaken(name, owner, Takeover { node, term }))
}

pub(super) fn write_dead_letter(letter: &DeadLetter) -> Writer {
    let fields = |w: Writer| w.u32(letter.records).u64(letter.at_ns).text(&letter.answer);
    let cause = match letter.cause {
        LetterCause::Refused => CAUSE_REFUSED,
        LetterCause::Malformed => CAUSE_MALFORMED,
    };
    let of_version = |version| fields(Writer::default().u8(version)).u8(cause);
    let mut copies = letter.copies.iter();
    match (copies.next(), copies.next(), letter.cause) {
        (Some(_), Some(_), _) => write_nodes(of_version(DEAD_LETTER_VERSION), letter.copies),
        (Some(node), None, _) => of_version(DEAD_LETTER_COPY_VERSION).u32(node.get()),
        (None, _, LetterCause::Malformed) => of_version(DEAD_LETTER_CAUSE_VERSION),
        (None, _, LetterCause::Refused) => fields(value()),
    }
}

pub(super) fn read_dead_letter(version: u8, k: &mut Reader<'_>, v: &mut Reader<'_>) -> Result<Change, WireError> {
    let mut letter = DeadLetter {
        exporter: k.name()?,
        node: k.node_be()?,
        shard: k.shard_be()?,
        lsn: Lsn::from_u64(k.u64_be()?).ok_or_else(|| k.damaged("half an Lsn"))?,
        cause: LetterCause::Refused,
        records: v.u32()?,
        at_ns: v.u64()?,
        answer: v.text()?,
        copies: NodeSet::EMPTY,
    };
    if version >= DEAD_LETTER_CAUSE_VERSION {
        letter.cause = match v.u8()? {
            CAUSE_REFUSED if version >= DEAD_LETTER_COPY_VERSION => LetterCause::Refused,
            CAUSE_MALFORMED => LetterCause::Malformed,
            found => return Err(v.unknown("cause", found)),
        };
    }
    letter.copies = match version {
        DEAD_LETTER_VERSION => read_nodes(v)?,
        DEAD_LETTER_COPY_VERSION => NodeSet::of(v.node()?),
        _ => NodeSet::EMPTY,
    };
    Ok(Change::DeadLetter(letter))
}
