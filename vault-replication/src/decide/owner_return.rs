//! Decides whether the WAL file of an owner that is back stands for everything that was acknowledged of its segment.
//!
//! Nothing is acknowledged before its owner has synced it, so a WAL file that reaches as far as its owner synced says
//! where everything ends that was acknowledged. The synced position is on record on other nodes, too: the frames that
//! replicas hold carry it. A disk that was put back from an older backup does not reach that position. What is damaged
//! before it may come from replicas.

use gophership_vault::ids::EntryNumber;
use gophership_vault::ledger::OpenRecord;
use gophership_vault::{Durable, HeldReport};

/// True where the owner's report reaches as far as its owner had synced, by its own marks and by what replicas know:
/// `recorded`, the union of the marks in their copies, and `last`, the last entry that one of them has; and where every
/// entry up to there is reported, by the owner or a replica: `has_all_to` says so. Otherwise the owner counts as
/// absent: what it has is kept, and replicas are needed.
///
/// Where a replica knows that all of the segment was synced, the owner must know where the segment ended: the file in
/// which it went on says so. One who does not have that file has an older disk.
pub fn suffices(
    open: &OpenRecord,
    owner: &HeldReport,
    recorded: Durable,
    last: Option<EntryNumber>,
    has_all_to: impl Fn(EntryNumber) -> bool,
) -> bool {
    let durable = owner.durable.and(&recorded);
    let of_all = durable.end.max(last).filter(|_| durable.all);
    let synced = durable.to.max(of_all);
    let knows_the_end = !recorded.all || owner.durable.end.is_some();
    owner.holder == open.id.node
        && owner.file_uuid == Some(open.file_uuid)
        && !owner.is_damaged
        && owner.unread.is_none()
        && knows_the_end
        && synced.is_none_or(|synced| owner.last() >= Some(synced) && has_all_to(synced))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{entries, number, opened, report};

    /// Decides where replicas have the entries `held`, too.
    fn decide(
        open: &OpenRecord,
        owner: &HeldReport,
        recorded: Durable,
        last: Option<EntryNumber>,
        held: &[u32],
    ) -> bool {
        let has_all_to = |to: EntryNumber| {
            let has = |n| {
                let one = number(n);
                owner.entries.has_all(one, one) || held.contains(&n)
            };
            (1..=to.get()).all(has)
        };
        suffices(open, owner, recorded, last, has_all_to)
    }

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
            assert_eq!(decide(&open, &report, recorded, None, &[]), enough, "{what}");
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
            assert_eq!(
                decide(&open, &report, all, EntryNumber::new(last), &[]),
                enough,
                "{what}"
            );
        }
        let of_replica = HeldReport {
            holder: open.replicas.peers().iter().next().unwrap(),
            ..whole
        };
        assert!(
            !decide(&open, &of_replica, Durable::default(), None, &[]),
            "a replica's copy is no WAL file"
        );
    }

    #[test]
    fn what_the_owner_has_lost_before_its_end_may_come_from_replicas_and_its_end_may_not() {
        let open = opened(1, &[2, 3]);
        for (what, owner, held, enough) in [
            ("a replica has what is missing", &[1, 3][..], &[2][..], true),
            ("nobody has it", &[1, 4], &[2], false),
            ("an older backup, and a replica has the rest", &[1, 2], &[3, 4], false),
            ("nothing is left of it", &[], &[1, 2, 3], false),
        ] {
            let report = report(1, owner, 3);
            assert_eq!(decide(&open, &report, Durable::default(), None, held), enough, "{what}");
        }
    }
}
