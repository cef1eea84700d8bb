//! Reads one log of a replay, on a thread that may wait: for the disk, and for the recovery of segments that earlier
//! boots left.
//!
//! **Invariants**:
//! - I1: entries come in Lsn order, and none beyond the end of the plan.
//! - I2: missing entries are reported, whether their bytes are found bad now or were when their segment was sealed.

use std::ops::ControlFlow;
use std::sync::Arc;

use gophership_vault::ids::{EntryNumber, Lsn, SegmentId, SegmentIndex};
use gophership_vault::time::TimeRange;
use gophership_vault::{ScanFault, SegmentState, StoredEntry, Vault};

use super::plan::{Dropped, Part};

/// A result of the reading.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// An entry that a node has.
    Entry(StoredEntry),
    /// An entry from the archive.
    Archived(StoredEntry),
    Fault(ScanFault),
    /// Segments that were dropped before the replay began, by the first of them.
    Dropped(SegmentId, Dropped),
}

impl Found {
    /// The last position that it can be about.
    pub(super) fn end(&self) -> Lsn {
        match self {
            Self::Entry(entry) | Self::Archived(entry) => entry.lsn,
            Self::Fault(ScanFault { segment, numbers, .. }) => match numbers {
                Some((_, last)) => Lsn::at(segment.index, *last),
                None => Lsn::last_of(segment.index),
            },
            Self::Dropped(_, dropped) => Lsn::last_of(dropped.last),
        }
    }
}

/// Reads `part` behind `done`, and hands every result to `each` until that breaks, or until `stop` says so during a
/// wait for a recovery. Planned segments that were trimmed are reported as missing.
pub(super) fn read(
    vault: &Vault,
    part: &Part,
    range: TimeRange,
    done: Option<Lsn>,
    stop: impl Fn() -> bool + Send + Sync + 'static,
    each: &mut dyn FnMut(Found) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let log = part.log(vault.identity().node_id);
    let each = &mut |found: Found| {
        if Some(found.end()) <= done {
            return ControlFlow::Continue(());
        }
        each(found)
    };
    if let Some(dropped) = part.dropped {
        each(Found::Dropped(log.segment(dropped.first), dropped))?;
    }
    let mut planned = planned(part, done).peekable();
    let mut trimmed_before = |index: Option<SegmentIndex>, each: &mut dyn FnMut(Found) -> ControlFlow<()>| {
        while let Some(passed) = planned.next_if(|planned| index.is_none_or(|index| *planned < index)) {
            if !vault.has_segment(log.segment(passed)) {
                each(Found::Fault(trimmed(log.segment(passed))))?;
            }
        }
        planned.next_if(|planned| index == Some(*planned));
        ControlFlow::Continue(())
    };
    let stop = Arc::new(stop);
    for (from, until) in ranges(part, log.node != vault.identity().node_id, done) {
        let stop = Arc::clone(&stop);
        for found in vault.cursor_of(log, from, range).stop_when(move || stop()) {
            let index = match &found {
                Ok(entry) if entry.lsn > until => break,
                Ok(entry) => entry.lsn.index(),
                Err(fault) if fault.segment.index > until.index() => break,
                Err(fault) => fault.segment.index,
            };
            trimmed_before(Some(index), each)?;
            each(found.map_or_else(Found::Fault, Found::Entry))?;
        }
    }
    trimmed_before(None, each)
}

/// The ranges of a log that are read, from (its beginning where `None`) and to: all of an own log up to the end of
/// the plan, and of another node's log the planned segments only, since other nodes read the rest. What lies before
/// `done` is left out.
fn ranges(part: &Part, is_foreign: bool, done: Option<Lsn>) -> Vec<(Option<Lsn>, Lsn)> {
    if !is_foreign {
        return vec![(done, part.until)];
    }
    let run = |(first, last): &(SegmentIndex, SegmentIndex)| {
        let from = Some(Lsn::at(*first, EntryNumber::FIRST)).max(done);
        (from, Lsn::last_of(*last))
    };
    let is_left = |(_, last): &(Option<Lsn>, Lsn)| done.is_none_or(|done| done < *last);
    part.held.iter().map(run).filter(is_left).collect()
}

/// A planned segment of another node's log of which no copy can be read here, and its state here.
pub(super) fn copy_not_here(vault: &Vault, part: &Part) -> Option<(SegmentId, Option<SegmentState>)> {
    let own = vault.identity().node_id;
    let log = part.log(own);
    if log.node == own {
        return None;
    }
    let segments = planned(part, None).map(|index| log.segment(index));
    let mut states = segments.map(|id| (id, vault.segment_state(id)));
    states.find(|(_, state)| !matches!(state, Some(SegmentState::Sealed(_))))
}

/// The segments that are still to be read.
pub(super) fn planned(part: &Part, done: Option<Lsn>) -> impl Iterator<Item = SegmentIndex> {
    let all = part.held.iter().flat_map(|(first, last)| {
        std::iter::successors(Some(*first), |index| index.checked_next()).take_while(|index| index <= last)
    });
    all.filter(move |index| done.is_none_or(|done| done.index() <= *index))
}

fn trimmed(segment: SegmentId) -> ScanFault {
    ScanFault {
        segment,
        numbers: None,
        what: "it was trimmed before it was read to its end, and may have held entries of this time".to_owned(),
        is_for_now: false,
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
