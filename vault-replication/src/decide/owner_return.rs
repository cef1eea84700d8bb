//! Decides whether the WAL file of an owner that is back stands for everything that was acknowledged of its segment.
//!
//! Nothing is acknowledged before its owner has synced it, so a WAL file that has everything its owner synced has
//! everything that was acknowledged. The synced position is on record on other nodes, too: the frames that replicas
//! hold carry it. A disk that was put back from an older copy lacks entries up to that position.

use gophership_vault::ids::EntryNumber;
use gophership_vault::ledger::OpenRecord;
use gophership_vault::{Durable, HeldReport};

/// True where the owner's report has every entry that its owner had synced, by its own marks and by what replicas
/// know: `recorded`, the union of the marks in their copies, and `last`, the last entry that one of them has. Otherwise
/// the owner counts as absent: what it has is kept, and replicas are needed.
///
/// Where a replica knows that all of the segment was synced, the owner must know where the segment ended: the file in
/// which it went on says so. One who does not have that file has an older disk.
pub fn suffices(open: &OpenRecord, owner: &HeldReport, recorded: Durable, last: Option<EntryNumber>) -> bool {
    let durable = owner.durable.and(&recorded);
    let of_all = durable.end.max(last).filter(|_| durable.all);
    let synced = durable.to.max(of_all);
    let knows_the_end = !recorded.all || owner.durable.end.is_some();
    owner.holder == open.id.node
        && owner.file_uuid == Some(open.file_uuid)
        && !owner.is_damaged
        && owner.unread.is_none()
        && knows_the_end
        && synced.is_none_or(|synced| owner.entries.has_all(EntryNumber::FIRST, synced))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{entries, number, opened, report};

    fn case_with_end(of: &HeldReport, end: u32) -> HeldReport {
        let mut report = of.clone();
        report.durable.end = EntryNumber::new(end);
        report
    }

    #[test]
    fn table() {
        let open = opened(1, &[2, 3]);
        let whole = report(1, &[1, 2, 3], 2);
        let case = |change: fn(&mut HeldReport)| {
            let mut report = whole.clone();
            change(&mut report);
            report
        };
        for (what, report, recorded, enough) in [
            ("it has all that it synced", case(|_| {}), 2, true),
            ("it has more than anybody knows of", case(|_| {}), 0, true),
            ("it had synced more than it has", case(|_| {}), 4, false),
            (
                "a number that was never synced is missing",
                case(|r| r.entries = entries(&[1, 2, 4])),
                2,
                true,
            ),
            (
                "a number that was synced is missing",
                case(|r| r.entries = entries(&[1, 3])),
                2,
                false,
            ),
            ("it is another file", case(|r| r.file_uuid = None), 2, false),
            ("something of it was damaged", case(|r| r.is_damaged = true), 2, false),
            (
                "a page cannot be read",
                case(|r| r.unread = EntryNumber::new(4)),
                2,
                false,
            ),
            (
                "its end is known and there",
                case(|r| (r.durable.all, r.durable.end) = (true, EntryNumber::new(3))),
                2,
                true,
            ),
            (
                "its end is known and gone",
                case(|r| (r.durable.all, r.durable.end) = (true, EntryNumber::new(4))),
                2,
                false,
            ),
            (
                "its end was written and perhaps not synced",
                case(|r| r.durable.end = EntryNumber::new(4)),
                2,
                true,
            ),
        ] {
            let recorded = Durable {
                to: EntryNumber::new(recorded),
                ..Durable::default()
            };
            assert_eq!(suffices(&open, &report, recorded, None), enough, "{what}");
        }
        let all = Durable {
            all: true,
            ..Durable::default()
        };
        let ends_at = |end| case_with_end(&whole, end);
        for (what, report, last, enough) in [
            ("all was synced, and it does not know the end", whole.clone(), 3, false),
            ("all was synced, and it has all", ends_at(3), 3, true),
            ("all was synced, and it lacks the end", ends_at(4), 3, false),
            ("all was synced, and a replica has more", ends_at(3), 4, false),
        ] {
            assert_eq!(suffices(&open, &report, all, EntryNumber::new(last)), enough, "{what}");
        }
        let of_replica = HeldReport {
            holder: open.replicas.peers().iter().next().unwrap(),
            ..whole
        };
        assert!(
            !suffices(&open, &of_replica, Durable::default(), None),
            "a replica's copy is no WAL file"
        );
        assert_eq!(number(3).get(), 3);
    }
}
