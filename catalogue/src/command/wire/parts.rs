//! Fields that several kinds of commands, or lists in them, share.

use gophership_vault::NodeSet;
use gophership_vault::ids::{Lsn, NodeId, ShardId};
use gophership_vault::ledger::{KeptClock, OpenRecord, SealRecord};

use crate::exporter::{DeadLetter, EntryId, ExportCursor, Generation, LetterCause};
use crate::job::{JobArchived, JobId, JobLoss, JobPosition, JobResult};
use crate::node::{Needed, NodeState};
use crate::row::export::{CAUSE_MALFORMED, CAUSE_REFUSED};
use crate::row::segment;
use crate::wire::{Reader, WireError, Writer};

/// The version of segment rows whose *open* and *seal* version 1 of a command uses.
const SEGMENT_LAYOUT: u8 = 2;

const RESULT_DONE: u8 = 1;
const RESULT_FAILED: u8 = 2;

pub(super) fn write_open(w: Writer, open: &OpenRecord) -> Writer {
    segment::write_open(w.segment(open.id), SEGMENT_LAYOUT, open)
}

pub(super) fn read_open(v: &mut Reader<'_>) -> Result<OpenRecord, WireError> {
    segment::read_open(v.segment()?, SEGMENT_LAYOUT, v)
}

pub(super) fn write_seal(w: Writer, seal: &SealRecord) -> Writer {
    segment::write_seal(w.segment(seal.id), SEGMENT_LAYOUT, seal)
}

pub(super) fn read_seal(v: &mut Reader<'_>) -> Result<SealRecord, WireError> {
    segment::read_seal(v.segment()?, SEGMENT_LAYOUT, v)
}

pub(super) fn read_state(v: &mut Reader<'_>) -> Result<NodeState, WireError> {
    let state = v.u8()?;
    NodeState::from_stored(state).ok_or_else(|| v.unknown("node state", state))
}

pub(super) fn write_needed(w: Writer, needed: &Needed) -> Writer {
    let w = w.u64(needed.unsealed).u64(needed.segments).u64(needed.letters);
    w.bytes(&needed.digest)
}

pub(super) fn read_needed(v: &mut Reader<'_>) -> Result<Needed, WireError> {
    Ok(Needed {
        unsealed: v.u64()?,
        segments: v.u64()?,
        letters: v.u64()?,
        digest: v.array()?,
    })
}

pub(super) fn read_mark(v: &mut Reader<'_>) -> Result<KeptClock, WireError> {
    Ok(KeptClock {
        now_ns: v.u64()?,
        credit_ns: v.u64()?,
    })
}

pub(super) fn read_job(v: &mut Reader<'_>) -> Result<JobId, WireError> {
    JobId::new(v.u64()?).ok_or_else(|| v.damaged("job 0"))
}

pub(super) fn write_position(w: Writer, (node, shard, at): &(NodeId, ShardId, JobPosition)) -> Writer {
    let w = w.u32(node.get()).u16(shard.get()).u64(at.done_lsn.get());
    w.u64(at.entries).u64(at.records).u64(at.bytes)
}

pub(super) fn read_position(v: &mut Reader<'_>) -> Result<(NodeId, ShardId, JobPosition), WireError> {
    let (node, shard) = (v.node()?, v.shard()?);
    let position = JobPosition {
        done_lsn: v.lsn()?,
        entries: v.u64()?,
        records: v.u64()?,
        bytes: v.u64()?,
        archived: JobArchived::default(),
        loss: JobLoss::default(),
    };
    Ok((node, shard, position))
}

pub(super) fn write_result(w: Writer, result: &JobResult) -> Writer {
    match result {
        JobResult::Done => w.u8(RESULT_DONE),
        JobResult::Failed(reason) => w.u8(RESULT_FAILED).text(reason),
    }
}

pub(super) fn read_result(v: &mut Reader<'_>) -> Result<JobResult, WireError> {
    match v.u8()? {
        RESULT_DONE => Ok(JobResult::Done),
        RESULT_FAILED => v.text().map(JobResult::Failed),
        found => Err(v.unknown("result", found)),
    }
}

pub(super) fn write_cursor(w: Writer, cursor: &ExportCursor) -> Writer {
    let w = w.text(&cursor.exporter).u64(cursor.generation.get());
    w.u16(cursor.shard.get()).u64(cursor.done.get())
}

pub(super) fn read_cursor(v: &mut Reader<'_>) -> Result<ExportCursor, WireError> {
    Ok(ExportCursor {
        exporter: v.text()?,
        generation: Generation::new(v.u64()?).ok_or_else(|| v.damaged("generation 0"))?,
        shard: v.shard()?,
        done: v.lsn()?,
    })
}

pub(super) fn write_target(w: Writer, (shard, done): &(ShardId, Option<Lsn>)) -> Writer {
    w.u16(shard.get()).u64(done.map_or(0, Lsn::get))
}

pub(super) fn read_target(v: &mut Reader<'_>) -> Result<(ShardId, Option<Lsn>), WireError> {
    Ok((v.shard()?, v.lsn_or_none()?))
}

pub(super) fn write_entry(w: Writer, (node, shard, lsn): &EntryId) -> Writer {
    w.u32(node.get()).u16(shard.get()).u64(lsn.get())
}

pub(super) fn read_entry(v: &mut Reader<'_>) -> Result<EntryId, WireError> {
    Ok((v.node()?, v.shard()?, v.lsn()?))
}

pub(super) fn write_letter(w: Writer, letter: &DeadLetter) -> Writer {
    let cause = match letter.cause {
        LetterCause::Refused => CAUSE_REFUSED,
        LetterCause::Malformed => CAUSE_MALFORMED,
    };
    let w = write_entry(w.text(&letter.exporter), &letter.entry()).u8(cause);
    let w = w.u32(letter.records).u64(letter.at_ns).text(&letter.answer);
    assert!(letter.copies.len() <= 1, "a new letter has one copy at most");
    w.option(letter.copies.iter().next(), |w, node| w.u32(node.get()))
}

pub(super) fn read_letter(v: &mut Reader<'_>) -> Result<DeadLetter, WireError> {
    Ok(DeadLetter {
        exporter: v.text()?,
        node: v.node()?,
        shard: v.shard()?,
        lsn: v.lsn()?,
        cause: match v.u8()? {
            CAUSE_REFUSED => LetterCause::Refused,
            CAUSE_MALFORMED => LetterCause::Malformed,
            found => return Err(v.unknown("cause", found)),
        },
        records: v.u32()?,
        at_ns: v.u64()?,
        answer: v.text()?,
        copies: v.option(Reader::node)?.map_or(NodeSet::EMPTY, NodeSet::of),
    })
}
