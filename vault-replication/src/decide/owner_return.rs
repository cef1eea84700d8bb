//! Decides whether the WAL file of an owner that is back stands for everything that was acknowledged of its segment.
//!
//! Nothing is acknowledged before its owner has synced it, so a WAL file that has everything its owner synced has
//! everything that was acknowledged. The synced position is on record on other nodes, too: the frames that replicas
//! hold carry it. A disk that was put back from an older copy lacks entries up to that position.

use gophership_vault::HeldReport;
use gophership_vault::ids::EntryNumber;
use gophership_vault::ledger::OpenRecord;

/// True where the owner's report has every entry that its owner had synced, up to `recorded`: the highest entry that
/// any replica knows it to have synced. Otherwise the owner counts as absent: what it has is kept, and replicas are
/// needed.
pub fn suffices(open: &OpenRecord, owner: &HeldReport, recorded: Option<EntryNumber>) -> bool {
    let end = owner.durable.end.filter(|_| owner.durable.all);
    let synced = owner.durable.to.max(end).max(recorded);
    owner.holder == open.id.node
        && owner.file_uuid == Some(open.file_uuid)
        && !owner.is_damaged
        && owner.unread.is_none()
        && synced.is_none_or(|synced| owner.entries.has_all(EntryNumber::FIRST, synced))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{entries, number, opened, report};

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
            assert_eq!(suffices(&open, &report, EntryNumber::new(recorded)), enough, "{what}");
        }
        let of_replica = HeldReport {
            holder: open.replicas.peers().iter().next().unwrap(),
            ..whole
        };
        assert!(!suffices(&open, &of_replica, None), "a replica's copy is no WAL file");
        assert_eq!(number(3).get(), 3);
    }
}
