//! Reads one shard of a replay, on a thread that may wait: for the disk, and for the recovery of segments that earlier boots left.
//!
//! **Invariants.** I1: entries come in Lsn order, and none past the end of the plan. I2: what is missing is said, whether its bytes are found bad now or were when its segment was sealed.

use std::ops::ControlFlow;

use gophership_vault::ids::SegmentId;
use gophership_vault::time::TimeRange;
use gophership_vault::{HoleReason, ScanFault, SegmentState, StoredEntry, Vault};

use super::plan::Part;

/// What a reading comes across.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Found {
    Entry(StoredEntry),
    Fault(ScanFault),
}

/// Reads `part`, and hands everything it finds to `each` until that breaks.
pub(super) fn read(
    vault: &Vault,
    part: Part,
    range: TimeRange,
    each: &mut dyn FnMut(Found) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for found in vault.cursor(part.shard, None, range) {
        match found {
            Ok(entry) if entry.lsn > part.until => break,
            Ok(entry) => each(Found::Entry(entry))?,
            Err(fault) if fault.segment.index > part.until.index() => break,
            Err(fault) => each(Found::Fault(fault))?,
        }
    }
    for (id, state) in vault.segments() {
        if let SegmentState::Sealed(record) = state
            && id.shard == part.shard
            && id.index <= part.until.index()
            && record.stats.event.is_none_or(|event| event.overlaps(range))
        {
            holes(vault, id, part, each)?;
        }
    }
    ControlFlow::Continue(())
}

/// The numbers of a segment that were acknowledged and lost before it was sealed.
fn holes(vault: &Vault, id: SegmentId, part: Part, each: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<()> {
    // One that was trimmed meanwhile has none; one that cannot be opened was reported by the cursor.
    let Ok(detail) = vault.describe(id) else {
        return ControlFlow::Continue(());
    };
    for hole in detail.holes {
        let in_range = id.index < part.until.index() || hole.first <= part.until.number();
        if hole.reason == HoleReason::Quarantined && in_range {
            let what = "found bad before the segment was sealed; the bytes are in quarantine".to_owned();
            each(Found::Fault(ScanFault {
                segment: id,
                numbers: Some((hole.first, hole.last)),
                what,
            }))?;
        }
    }
    ControlFlow::Continue(())
}

/// A fault, for people.
pub(super) fn describe(fault: &ScanFault) -> String {
    match fault.numbers {
        Some((first, last)) if first == last => format!("segment {}, entry {first}: {}", fault.segment, fault.what),
        Some((first, last)) => format!("segment {}, entries {first} to {last}: {}", fault.segment, fault.what),
        None => format!("segment {}: {}", fault.segment, fault.what),
    }
}

/// How many entries a fault costs, where that is known.
pub(super) fn entries_lost(fault: &ScanFault) -> u64 {
    fault
        .numbers
        .map_or(0, |(first, last)| u64::from(last.get() - first.get()) + 1)
}
