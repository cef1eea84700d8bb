//! Up to where entries count as durable: a pure function over what each holder has synced.

use crate::ids::Lsn;

/// The highest Lsn that the owner and enough peers have synced for `copies` copies in all, the owner's included. `copies` of 1 is a single node.
///
/// The owner must always be among them, since only its own log orders the shard.
pub fn commit_point(own: Option<Lsn>, peers: impl IntoIterator<Item = Option<Lsn>>, copies: usize) -> Option<Lsn> {
    let own = own?;
    let Some(needed) = copies.saturating_sub(1).checked_sub(1) else {
        return Some(own);
    };
    let mut marks: Vec<Lsn> = peers.into_iter().flatten().collect();
    marks.sort_unstable_by(|a, b| b.cmp(a));
    marks.get(needed).map(|peer| own.min(*peer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EntryNumber, SegmentIndex};

    fn at(n: u32) -> Option<Lsn> {
        EntryNumber::new(n).map(|n| Lsn::at(SegmentIndex::FIRST, n))
    }

    #[test]
    fn table() {
        // (own, peers, copies, expected); 0 stands for "nothing yet"
        let rows: &[(u32, &[u32], usize, u32)] = &[
            (0, &[], 1, 0),
            (5, &[], 1, 5),
            (5, &[9, 9], 1, 5),
            (5, &[], 2, 0),
            (5, &[0], 2, 0),
            (5, &[3], 2, 3),
            (5, &[9], 2, 5),
            (0, &[9, 9], 2, 0),
            (5, &[0, 4], 2, 4),
            (5, &[4, 0], 2, 4),
            (5, &[4, 2], 2, 4),
            (5, &[4, 2], 3, 2),
            (5, &[4], 3, 0),
            (5, &[7, 6], 3, 5),
        ];
        for (own, peers, copies, expected) in rows {
            let got = commit_point(at(*own), peers.iter().map(|p| at(*p)), *copies);
            assert_eq!(got, at(*expected), "own {own} peers {peers:?} copies {copies}");
        }
    }
}
