//! The verdict on a node: a pure comparison of the batches sent with those it returned.

use std::collections::HashMap;

use super::load::{Hash, Sent};
use super::replayed::Replayed;

/// The result of a comparison. All counts are of batches, unless they say records.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Verdict {
    pub(crate) acked: u64,
    pub(crate) acked_records: u64,
    /// Batches that were acknowledged and not returned.
    pub(crate) missing: u64,
    /// Batches that were returned and never sent.
    pub(crate) phantoms: u64,
    /// Batches that were returned more than once.
    pub(crate) duplicates: u64,
    /// Batches that were sent and never acknowledged, stored or not.
    pub(crate) unknown: u64,
    pub(crate) unknown_stored: u64,
    pub(crate) replayed: u64,
    pub(crate) replayed_records: u64,
}

/// Compares. A batch counts as returned when its bytes have the same hash and its record count is right.
pub(crate) fn compare(sent: &HashMap<Hash, Sent>, replayed: &[Replayed]) -> Verdict {
    let mut times: HashMap<Hash, u64> = HashMap::new();
    let mut verdict = Verdict::default();
    for entry in replayed {
        verdict.replayed += 1;
        verdict.replayed_records += entry.records;
        if sent.get(&entry.hash).is_none_or(|s| s.records != entry.records) {
            verdict.phantoms += 1;
            continue;
        }
        let times = times.entry(entry.hash).or_default();
        *times += 1;
        verdict.duplicates += u64::from(*times > 1);
    }
    for (hash, sent) in sent {
        let stored = times.contains_key(hash);
        if sent.acked {
            verdict.acked += 1;
            verdict.acked_records += sent.records;
            verdict.missing += u64::from(!stored);
        } else {
            verdict.unknown += 1;
            verdict.unknown_stored += u64::from(stored);
        }
    }
    verdict
}

/// Removes one acknowledged entry, as a loss would.
pub(crate) fn hide_one_acked(replayed: &mut Vec<Replayed>, sent: &HashMap<Hash, Sent>) {
    if let Some(at) = replayed.iter().position(|e| sent.get(&e.hash).is_some_and(|s| s.acked)) {
        replayed.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(all: &[(u8, bool)]) -> HashMap<Hash, Sent> {
        all.iter()
            .map(|(n, acked)| {
                (
                    [*n; 32],
                    Sent {
                        acked: *acked,
                        records: 2,
                    },
                )
            })
            .collect()
    }

    fn replayed(all: &[u8]) -> Vec<Replayed> {
        all.iter()
            .map(|n| Replayed {
                hash: [*n; 32],
                records: 2,
                bytes: 1,
            })
            .collect()
    }

    #[test]
    fn what_is_acked_must_be_there_and_what_is_unknown_may_be() {
        let v = compare(
            &sent(&[(1, true), (2, true), (3, false), (4, false)]),
            &replayed(&[1, 2, 3]),
        );
        assert_eq!(
            (v.acked, v.missing, v.phantoms, v.unknown, v.unknown_stored),
            (2, 0, 0, 2, 1)
        );
    }

    #[test]
    fn losses_phantoms_and_duplicates_are_seen() {
        let v = compare(&sent(&[(1, true), (2, true)]), &replayed(&[1, 1, 9]));
        assert_eq!((v.missing, v.phantoms, v.duplicates), (1, 1, 1));
    }

    #[test]
    fn a_wrong_record_count_is_no_match() {
        let mut entries = replayed(&[1]);
        entries[0].records = 1;
        let v = compare(&sent(&[(1, true)]), &entries);
        assert_eq!((v.missing, v.phantoms), (1, 1));
    }

    #[test]
    fn hiding_one_makes_a_loss() {
        let all = sent(&[(1, true), (2, false)]);
        let mut entries = replayed(&[2, 1]);
        hide_one_acked(&mut entries, &all);
        assert_eq!(compare(&all, &entries).missing, 1);
    }
}
