//! Executes the plan for a segment whose WAL file an earlier boot left here: damaged bytes go to quarantine, and the
//! segment is cut and sealed, or ends as empty. Nothing is decided here.
//!
//! **Invariants**:
//! - I1: damaged bytes are in quarantine before their file goes.
//! - I2: a sealed segment ends where the plan says.
//! - I3: each step may be repeated after an interruption.

use std::sync::atomic::Ordering;

use crate::error::VaultError;
use crate::file_io::{self, DiskReader};
use crate::ids::Lsn;
use crate::keep::sealed_file::{log_sealed, put_in_place};
use crate::ledger::{KnownSegment, SealRecord, TrimReason};
use crate::parts::KeepParts;
use crate::read::quarantine::Quarantined;
use crate::read::slot::Slot;
use crate::replicas::NodeSet;
use crate::segment::writer::FinishedSegment;
use crate::segment::{open_path, segment_path};
use crate::wal::scan::scan;

use super::cuts::{read_rescued, two_reads_differ};
use super::decide::Plan;
use super::evidence::{DamagedRange, Verdict};
use super::left::LeftWal;
use super::recut::cut_again;
use super::report::{SegmentReport, WalReport};

/// Executes `plan` for the segment of `report`, which is of this node's own disk.
///
/// # Errors
///
/// A file operation or the ledger failed, the files are not as they were reported, or the segment is on no record. The
/// WAL file is as it was.
pub(super) fn execute(
    parts: &KeepParts,
    left: &LeftWal,
    report: &SegmentReport,
    plan: &Plan,
) -> Result<(), VaultError> {
    let wal = report.wal.as_ref().expect("the file that was left was scanned");
    assert!(
        plan.keep.iter().all(|kept| kept.from.holder == parts.node),
        "what another node holds is copied here before"
    );
    let mut reader = DiskReader::direct(&left.path)?;
    let rescued = read_rescued(&parts.data, report, plan)?;
    quarantine_damage(parts, left, &mut reader, plan)?;
    if left.known.is_none() && !plan.is_empty() {
        return Err(VaultError::Damaged {
            path: left.path.clone(),
            offset: 0,
            what: "it holds entries, and its segment is not on record: take it in with `gophership catalogue rebuild`",
        });
    }
    if plan.is_empty() && !matches!(left.known, Some(KnownSegment::Sealed(_))) {
        return end_empty(parts, left, wal);
    }
    let segment = cut_again(parts, &mut reader, wal, &rescued, plan.holes.clone())?;
    assert_eq!(
        segment.stats.last_lsn.map(Lsn::number),
        plan.keep.last().map(|kept| kept.last),
        "the segment ends where it was decided"
    );
    // Until the new segment is complete the cuts hold entries that a later attempt rescues again.
    set_aside(parts, report, plan)?;
    seal(parts, left, &segment)
}

/// Moves cuts into quarantine of which the disk may be able to read more at another time.
fn set_aside(parts: &KeepParts, report: &SegmentReport, plan: &Plan) -> Result<(), VaultError> {
    let is_set_aside = |file| plan.set_aside.iter().any(|source| source.file == file);
    for cut in report.cuts.iter().filter(|cut| is_set_aside(cut.file)) {
        let path = cut.file.path(&parts.data, report.id);
        let why = "the disk did not give all of its pages, and the WAL file has lost entries".to_owned();
        let reason = Quarantined::new(&path, 0, cut.len, report.id, None, why);
        parts.quarantine.keep_file(reason)?;
    }
    Ok(())
}

/// Quarantines the damaged bytes of the WAL file, and logs those that were never synced.
pub(super) fn quarantine_damage(
    parts: &KeepParts,
    left: &LeftWal,
    reader: &mut DiskReader,
    plan: &Plan,
) -> Result<(), VaultError> {
    for range in &plan.damage {
        match range.verdict {
            Verdict::Corrupt(why) => keep_bytes(parts, left, reader, range, why)?,
            Verdict::Void => {
                let (first, last) = range.numbers.map(|(first, last)| (first.get(), last.get())).unzip();
                tracing::info!(
                    segment = %left.id, offset = range.offset, bytes = range.len, first, last,
                    "wal.scan.void"
                );
            }
        }
    }
    Ok(())
}

fn keep_bytes(
    parts: &KeepParts,
    left: &LeftWal,
    reader: &mut DiskReader,
    range: &DamagedRange,
    why: &str,
) -> Result<(), VaultError> {
    let bytes = reader.get_readable(range.offset, range.len);
    let reason = Quarantined::new(
        &left.path,
        range.offset,
        range.len,
        left.id,
        range.numbers,
        why.to_owned(),
    );
    parts.quarantine.keep("wal", &bytes, reason)
}

/// Ends a segment that never held an entry. Its file was read twice before this is called done, since one read may be
/// wrong.
fn end_empty(parts: &KeepParts, left: &LeftWal, wal: &WalReport) -> Result<(), VaultError> {
    let mut reader = DiskReader::direct(&left.path)?;
    if scan(&mut reader, &wal.header, &mut |_, _| Ok(()))? != wal.scan {
        return Err(two_reads_differ(left.id));
    }
    if matches!(left.known, Some(KnownSegment::Open(_))) {
        parts.ledger.trim_segment(left.id, TrimReason::Empty)?;
        parts.to_unlink.add(left.id);
    }
    parts.holdings.remove(left.id);
    Ok(())
}

/// Puts a segment in place and on record as complete.
fn seal(parts: &KeepParts, left: &LeftWal, segment: &FinishedSegment) -> Result<(), VaultError> {
    if let Some(KnownSegment::Sealed(before)) = left.known {
        // The segment file is gone, and the WAL file was still there.
        if before.digest != segment.digest {
            let what = "its segment file is gone, and what it holds is not what was sealed";
            return Err(VaultError::Damaged {
                path: left.path.clone(),
                offset: 0,
                what,
            });
        }
        file_io::rename(&segment.path, &segment_path(&parts.data, left.id))?;
        parts.holdings.set(left.id, Slot::Sealed(before));
        return Ok(());
    }
    let record = SealRecord {
        id: left.id,
        epoch: segment.header.epoch,
        stats: segment.stats,
        digest: segment.digest,
        sealed_ns: parts.clock.now_ns(),
        holders: NodeSet::of(parts.node),
    };
    put_in_place(parts, &segment.path, left.id)?;
    parts.ledger.seal_segment(&record)?;
    log_sealed(&record);
    file_io::remove(&open_path(&parts.data, left.id))?;
    parts.holdings.set(left.id, Slot::Sealed(record));
    parts.counts.sealed.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

#[cfg(test)]
mod tests;
