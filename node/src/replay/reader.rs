//! Reads one shard of a replay, on a thread that may wait: for the disk, and for the recovery of segments that earlier boots left.
//!
//! **Invariants.** I1: entries come in Lsn order, and none past the end of the plan. I2: what is missing is said, whether its bytes are found bad now or were when its segment was sealed.

use std::ops::ControlFlow;

use gophership_vault::time::TimeRange;
use gophership_vault::{ScanFault, StoredEntry, Vault};

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
