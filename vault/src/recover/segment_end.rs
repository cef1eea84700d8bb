//! The end of a segment by the reports of the nodes that hold something of it. Pure functions.
//!
//! **Invariants**:
//! - I1: an entry that any report has is kept.
//! - I2: two different entries of one number decide nothing.
//! - I3: every number up to the end is kept, or in one hole.
//!
//! **Not here**: the choice of the reports that are needed (the recovery's leader knows the segment's replica set);
//! damage in a WAL file (`decide`).

use super::decide::check_whole;
use super::held::{Conflict, HeldRange, HeldReport, SegmentEnd};
use super::marks::Durable;
use super::union::{Difference, Kept, unite};
use super::unsynced_tail::judge_missing;
use crate::ids::{EntryNumber, NodeId};
use crate::segment::footer::Hole;

/// Finds the end of a segment: the union of the reports. An entry that several have is taken from the first of them. Of
/// the numbers that no node has, those that the owner had synced are lost, and the others were never acknowledged.
///
/// # Errors
///
/// Two reports have different entries of one number.
///
/// # Panics
///
/// The reports are of different WAL files.
pub fn segment_end(reports: &[HeldReport]) -> Result<SegmentEnd, Conflict> {
    let mut files = reports.iter().filter_map(|report| report.file_uuid);
    let first = files.next();
    assert!(
        files.all(|file| Some(file) == first),
        "reports of different WAL files are never united"
    );
    let kept = unite(reports.iter().map(|report| (report.holder, &report.entries)));
    let kept = kept.map_err(|Difference { number, between }| Conflict {
        number,
        holders: between,
    })?;
    let durable = reports.iter().fold(Durable::default(), |all, r| all.and(&r.durable));
    let unread = reports.iter().filter_map(|report| report.unread).max();
    let present: Vec<_> = kept.iter().map(|kept| (kept.first, kept.last)).collect();
    let holes = judge_missing(&present, durable, unread);
    check_whole(&present, &holes);
    let crc_of = |kept: &Kept<NodeId>| {
        let mut of_holder = reports.iter().filter(|report| report.holder == kept.from);
        let crc = of_holder.find_map(|report| report.entries.crc(kept.first, kept.last));
        crc.expect("what is kept of a holder is in its report")
    };
    let keep = kept.into_iter().map(|kept| HeldRange {
        first: kept.first,
        last: kept.last,
        holder: kept.from,
        crc: crc_of(&kept),
    });
    Ok(SegmentEnd {
        keep: keep.collect(),
        holes,
    })
}

/// The part of an end up to the number `last`.
pub(super) fn cut_off(held: &HeldReport, end: SegmentEnd, last: EntryNumber) -> SegmentEnd {
    let mut cut = SegmentEnd::default();
    for mut range in end.keep.into_iter().filter(|range| range.first <= last) {
        if range.last > last {
            range.last = last;
            range.crc = held
                .entries
                .crc(range.first, last)
                .expect("it is a part of a reported range");
        }
        cut.keep.push(range);
    }
    let holes = end.holes.into_iter().filter(|hole| hole.first <= last);
    cut.holes = holes
        .map(|hole| Hole {
            last: hole.last.min(last),
            ..hole
        })
        .collect();
    cut
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::FileUuid;
    use crate::segment::footer::HoleReason;

    fn number(n: u32) -> EntryNumber {
        EntryNumber::new(n).unwrap()
    }

    fn report(node: u32, entries: &[(u32, u32)], synced: u32) -> HeldReport {
        HeldReport {
            file_uuid: Some(FileUuid(Uuid::from_u128(1))),
            entries: entries.iter().map(|(n, crc)| (number(*n), *crc)).collect(),
            durable: Durable {
                to: EntryNumber::new(synced),
                ..Durable::default()
            },
            ..HeldReport::nothing(NodeId::new(node).unwrap())
        }
    }

    /// The kept ranges with their holders, and the holes.
    type Plain = (Vec<(u32, u32, u32)>, Vec<(u32, u32, HoleReason)>);

    fn plain(end: &SegmentEnd) -> Plain {
        let keep = end.keep.iter().map(|k| (k.first.get(), k.last.get(), k.holder.get()));
        let holes = end.holes.iter().map(|h| (h.first.get(), h.last.get(), h.reason));
        (keep.collect(), holes.collect())
    }

    #[test]
    fn i1_i3_the_end_is_the_union_and_what_is_missing_is_lost_where_it_was_synced() {
        use HoleReason::{Quarantined as Lost, UnsyncedTail as Void};
        let reports = [
            report(1, &[(1, 10), (4, 40)], 1),
            report(2, &[(1, 10), (2, 20)], 2),
            HeldReport::nothing(NodeId::new(3).unwrap()),
        ];
        let end = segment_end(&reports).unwrap();
        assert_eq!(plain(&end), (vec![(1, 1, 1), (2, 2, 2), (4, 4, 1)], vec![(3, 3, Void)]));
        let crc = |of: u32| crc32fast::hash(&of.to_le_bytes());
        let crcs: Vec<u32> = end.keep.iter().map(|kept| kept.crc).collect();
        assert_eq!(crcs, [crc(10), crc(20), crc(40)], "as the chosen holder reported them");
        let end = segment_end(&[report(2, &[(1, 10)], 1), report(3, &[(3, 30)], 4)]).unwrap();
        assert_eq!(
            plain(&end),
            (vec![(1, 1, 2), (3, 3, 3)], vec![(2, 2, Lost), (4, 4, Lost)])
        );
        assert!(segment_end(&[report(2, &[], 0)]).unwrap().is_empty());
        assert!(segment_end(&[]).unwrap().is_empty());
    }

    #[test]
    fn i2_two_entries_of_one_number_decide_nothing() {
        let reports = [report(1, &[(1, 10), (2, 20)], 1), report(3, &[(1, 10), (2, 21)], 1)];
        let conflict = segment_end(&reports).unwrap_err();
        assert_eq!(conflict.to_string(), "nodes 1 and 3 hold different entries of number 2");
    }

    #[test]
    #[should_panic(expected = "reports of different WAL files are never united")]
    fn a_report_of_another_file_is_a_bug_of_the_caller() {
        let mut other = report(2, &[(1, 10)], 1);
        other.file_uuid = Some(FileUuid(Uuid::from_u128(9)));
        let _ = segment_end(&[report(1, &[(1, 10)], 1), other]);
    }
}
