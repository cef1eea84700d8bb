//! Reads one shard of a replay, on a thread that may wait: for the disk, and for the recovery of segments that earlier
//! boots left.
//!
//! **Invariants**:
//! - I1: entries come in Lsn order, and none beyond the end of the plan.
//! - I2: missing entries are reported, whether their bytes are found bad now or were when their segment was sealed.

use std::ops::ControlFlow;

use gophership_vault::ids::{Lsn, SegmentId, SegmentIndex, ShardId};
use gophership_vault::time::TimeRange;
use gophership_vault::{ScanFault, StoredEntry, Vault};

use super::plan::{Dropped, Part};

/// A result of the reading.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Found {
    Entry(StoredEntry),
    Fault(ScanFault),
    /// A segment that was dropped before the replay began.
    Dropped(SegmentId, Dropped),
}

/// Reads `part`, and hands every result to `each` until that breaks, or until `stop` says so during a wait for a
/// recovery. Segments behind `done` that were trimmed are reported as missing.
pub(super) fn read(
    vault: &Vault,
    part: &Part,
    range: TimeRange,
    done: Option<Lsn>,
    stop: impl Fn() -> bool + Send + Sync + 'static,
    each: &mut dyn FnMut(Found) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if let Some(dropped) = part.dropped {
        each(Found::Dropped(segment_of(vault, part.shard, dropped.first), dropped))?;
    }
    let mut planned = planned(part, done).peekable();
    let mut trimmed_before = |index: Option<SegmentIndex>, each: &mut dyn FnMut(Found) -> ControlFlow<()>| {
        while let Some(passed) = planned.next_if(|planned| index.is_none_or(|index| *planned < index)) {
            if !vault.holds(part.shard, passed) {
                each(Found::Fault(trimmed(vault, part.shard, passed)))?;
            }
        }
        planned.next_if(|planned| index == Some(*planned));
        ControlFlow::Continue(())
    };
    for found in vault.cursor(part.shard, None, range).stop_when(stop) {
        let index = match &found {
            Ok(entry) if entry.lsn > part.until => break,
            Ok(entry) => entry.lsn.index(),
            Err(fault) if fault.segment.index > part.until.index() => break,
            Err(fault) => fault.segment.index,
        };
        trimmed_before(Some(index), each)?;
        each(found.map_or_else(Found::Fault, Found::Entry))?;
    }
    trimmed_before(None, each)
}

/// The segments that are still to be read.
fn planned(part: &Part, done: Option<Lsn>) -> impl Iterator<Item = SegmentIndex> {
    let all = part.held.iter().flat_map(|(first, last)| {
        std::iter::successors(Some(*first), |index| index.checked_next()).take_while(|index| index <= last)
    });
    all.filter(move |index| done.is_none_or(|done| done.index() <= *index))
}

fn trimmed(vault: &Vault, shard: ShardId, index: SegmentIndex) -> ScanFault {
    ScanFault {
        segment: segment_of(vault, shard, index),
        numbers: None,
        what: "it was trimmed before it was read to its end, and may have held entries of this time".to_owned(),
    }
}

fn segment_of(vault: &Vault, shard: ShardId, index: SegmentIndex) -> SegmentId {
    SegmentId {
        node: vault.identity().node_id,
        shard,
        index,
    }
}

/// A fault in words.
pub(super) fn describe(fault: &ScanFault) -> String {
    match fault.numbers {
        Some((first, last)) if first == last => format!("segment {}, entry {first}: {}", fault.segment, fault.what),
        Some((first, last)) => format!("segment {}, entries {first} to {last}: {}", fault.segment, fault.what),
        None => format!("segment {}: {}", fault.segment, fault.what),
    }
}

/// A dropped run of segments in words.
pub(super) fn describe_dropped(first: SegmentId, dropped: &Dropped) -> String {
    let Dropped { last, entries, .. } = dropped;
    let which = if first.index == *last {
        format!("segment {first}")
    } else {
        format!("segments {first} to {last}, where they are not there any more")
    };
    format!(
        "{which}: dropped unsent to make room (vault.on_full: drop_oldest), {entries} entries of this time or others"
    )
}

/// Number of entries that a fault costs, where that is known.
pub(super) fn entries_lost(fault: &ScanFault) -> u64 {
    fault
        .numbers
        .map_or(0, |(first, last)| u64::from(last.get() - first.get()) + 1)
}
