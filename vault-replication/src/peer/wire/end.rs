//! What a recovery decided of a segment, in parts: the head, then ranges; and the copy that is made of it.

use gophership_proto::peer::v1;
use gophership_proto::peer::v1::rebuild_part::Part;
use gophership_vault::ids::{EntryNumber, Lsn};
use gophership_vault::ledger::SegmentStats;
use gophership_vault::time::TimeRange;
use gophership_vault::{CompleteCopy, HeldRange, Hole, HoleReason, RecoveryNumber, SegmentEnd, SegmentHeader};

use super::{Wire, WireError, at_most, digest, digest_bytes, header, header_to_wire, node, range, required, value};
use crate::peer::limits::{END_PART_RANGES, END_RANGES_MAX};

/// The parts of a request to make a copy anew, in order.
pub(crate) fn end_to_wire(
    of: &SegmentHeader,
    number: RecoveryNumber,
    end: SegmentEnd,
) -> Wire<impl Iterator<Item = v1::RebuildPart> + Send + 'static> {
    let count = |what, of: usize| {
        at_most(what, of as u64, END_RANGES_MAX.into())?;
        Ok(of as u32)
    };
    let head = v1::RebuildHead {
        header: Some(header_to_wire(of)),
        number,
        keep: count("ranges to keep", end.keep.len())?,
        holes: count("holes", end.holes.len())?,
    };
    let mut next = (0, 0);
    let ranges = std::iter::from_fn(move || {
        let keep = &end.keep[next.0..end.keep.len().min(next.0 + END_PART_RANGES)];
        let holes = &end.holes[next.1..end.holes.len().min(next.1 + END_PART_RANGES)];
        next = (next.0 + keep.len(), next.1 + holes.len());
        (!keep.is_empty() || !holes.is_empty()).then(|| {
            Part::Ranges(v1::RebuildRanges {
                keep: keep.iter().map(kept_to_wire).collect(),
                holes: holes.iter().map(hole_to_wire).collect(),
            })
        })
    });
    let parts = std::iter::once(Part::Head(head)).chain(ranges);
    Ok(parts.map(|part| v1::RebuildPart { part: Some(part) }))
}

fn kept_to_wire(kept: &HeldRange) -> v1::HeldRange {
    v1::HeldRange {
        first: kept.first.get(),
        last: kept.last.get(),
        holder: kept.holder.get(),
        crc: kept.crc,
    }
}

fn hole_to_wire(hole: &Hole) -> v1::Hole {
    v1::Hole {
        first: hole.first.get(),
        last: hole.last.get(),
        lost: match hole.reason {
            HoleReason::Quarantined => true,
            HoleReason::UnsyncedTail => false,
        },
    }
}

/// A request to make a copy anew that is being read.
pub(crate) struct EndReader {
    header: SegmentHeader,
    number: RecoveryNumber,
    end: SegmentEnd,
    keep: u32,
    holes: u32,
}

impl EndReader {
    /// Begins with the first part.
    pub(crate) fn begin(first: v1::RebuildPart) -> Wire<Self> {
        let Part::Head(head) = required("a part of a segment's end", first.part)? else {
            return Err(WireError::Missing("the head of a segment's end"));
        };
        at_most("ranges to keep", head.keep.into(), END_RANGES_MAX.into())?;
        at_most("holes", head.holes.into(), END_RANGES_MAX.into())?;
        Ok(Self {
            header: header(head.header)?,
            number: head.number,
            end: SegmentEnd::default(),
            keep: head.keep,
            holes: head.holes,
        })
    }

    /// Takes the next part.
    pub(crate) fn add(&mut self, part: v1::RebuildPart) -> Wire<()> {
        let Part::Ranges(ranges) = required("a part of a segment's end", part.part)? else {
            return Err(WireError::Disorder("the parts of a segment's end"));
        };
        let announced = |all: u32, had: usize| u64::from(all) - had as u64;
        at_most(
            "ranges to keep",
            ranges.keep.len() as u64,
            announced(self.keep, self.end.keep.len()),
        )?;
        at_most(
            "holes",
            ranges.holes.len() as u64,
            announced(self.holes, self.end.holes.len()),
        )?;
        for kept in ranges.keep {
            let (first, last) = range("a range to keep", kept.first, kept.last)?;
            let holder = node("the holder of a range", kept.holder)?;
            follows(self.end.keep.last().map(|kept| kept.last), first)?;
            self.end.keep.push(HeldRange {
                first,
                last,
                holder,
                crc: kept.crc,
            });
        }
        for hole in ranges.holes {
            let (first, last) = range("a hole", hole.first, hole.last)?;
            follows(self.end.holes.last().map(|hole| hole.last), first)?;
            let reason = match hole.lost {
                true => HoleReason::Quarantined,
                false => HoleReason::UnsyncedTail,
            };
            self.end.holes.push(Hole { first, last, reason });
        }
        Ok(())
    }

    /// The request, when all of it came: every number up to the end is kept, or in one hole.
    pub(crate) fn end(self) -> Wire<(SegmentHeader, RecoveryNumber, SegmentEnd)> {
        let disorder = Err(WireError::Disorder("the ranges of a segment's end"));
        if self.end.keep.len() != self.keep as usize || self.end.holes.len() != self.holes as usize {
            return disorder;
        }
        let mut keep = self.end.keep.iter().map(|kept| (kept.first, kept.last)).peekable();
        let mut holes = self.end.holes.iter().map(|hole| (hole.first, hole.last)).peekable();
        let mut next = Some(EntryNumber::FIRST);
        while keep.peek().is_some() || holes.peek().is_some() {
            let found = keep
                .next_if(|(first, _)| Some(*first) == next)
                .or_else(|| holes.next_if(|(first, _)| Some(*first) == next));
            let Some((_, last)) = found else { return disorder };
            next = last.checked_next();
        }
        Ok((self.header, self.number, self.end))
    }
}

/// Says that a range follows those before it.
fn follows(before: Option<EntryNumber>, first: EntryNumber) -> Wire<()> {
    if before < Some(first) {
        Ok(())
    } else {
        Err(WireError::Disorder("the ranges of a segment's end"))
    }
}

pub(crate) fn copy_to_wire(copy: &CompleteCopy) -> v1::CompleteCopy {
    let lsn = |lsn: Option<Lsn>| lsn.map_or(0, Lsn::get);
    let times = |range: Option<TimeRange>| range.map(|TimeRange { min, max }| v1::TimeRange { min, max });
    let stats = &copy.stats;
    v1::CompleteCopy {
        stats: Some(v1::SegmentStats {
            entries: stats.entries,
            records: stats.records,
            set_apart: stats.set_apart,
            deferred: stats.deferred,
            payload_bytes: stats.payload_bytes,
            stored_bytes: stats.stored_bytes,
            first_lsn: lsn(stats.first_lsn),
            last_lsn: lsn(stats.last_lsn),
            received: times(stats.received),
            event: times(stats.event),
        }),
        digest: digest_bytes(copy.digest),
    }
}

pub(crate) fn copy_from_wire(of: v1::CompleteCopy) -> Wire<CompleteCopy> {
    let stats = required("what a copy holds", of.stats)?;
    let lsn = |of: u64| match of {
        0 => Ok(None),
        of => Lsn::from_u64(of).map(Some).ok_or_else(|| value("a position", of)),
    };
    let times = |range: Option<v1::TimeRange>| match range {
        Some(v1::TimeRange { min, max }) if min > max => Err(WireError::Disorder("times")),
        range => Ok(range.map(|v1::TimeRange { min, max }| TimeRange { min, max })),
    };
    Ok(CompleteCopy {
        stats: SegmentStats {
            entries: stats.entries,
            records: stats.records,
            set_apart: stats.set_apart,
            deferred: stats.deferred,
            payload_bytes: stats.payload_bytes,
            stored_bytes: stats.stored_bytes,
            first_lsn: lsn(stats.first_lsn)?,
            last_lsn: lsn(stats.last_lsn)?,
            received: times(stats.received)?,
            event: times(stats.event)?,
        },
        digest: digest(&of.digest)?,
    })
}
