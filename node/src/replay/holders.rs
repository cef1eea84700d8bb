//! Decides which holder of a segment is asked next, for a reader that passes over nothing that one of them may have.

use std::collections::BTreeMap;

use gophership_vault::ids::{Lsn, NodeId};

/// What is to be expected of a holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holder {
    /// It can be asked.
    There,
    /// It may come back.
    Away,
    /// It is gone for good.
    Gone,
}

/// The next step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// This holder is read from.
    Ask(NodeId),
    /// All lack what comes next, and this one has the nearest entry behind it; the end of the segment where `None`.
    PassOver(NodeId, Option<Lsn>),
    /// Only these may have what comes next, and none of them is there. None are left where it is empty.
    WaitFor(Vec<NodeId>),
}

/// The holders of a segment that lack what comes behind a position.
#[derive(Default)]
pub(super) struct Lacking {
    behind: Option<Lsn>,
    /// Each with the first entry that it has behind what it lacks.
    next: BTreeMap<NodeId, Option<Lsn>>,
}

impl Lacking {
    /// Notes that a holder lacks what comes behind `done`.
    pub(super) fn insert(&mut self, done: Option<Lsn>, node: NodeId, next: Option<Lsn>) {
        self.forget_unless(done);
        self.next.insert(node, next);
    }

    fn forget_unless(&mut self, done: Option<Lsn>) {
        if self.behind != done {
            (self.behind, self.next) = (done, BTreeMap::new());
        }
    }

    /// The next step behind `done`. The holders that are there take turns by `attempt`.
    pub(super) fn turn(&mut self, done: Option<Lsn>, holders: &[(NodeId, Holder)], attempt: usize) -> Turn {
        self.forget_unless(done);
        let unasked = |state| {
            let of_state = holders.iter().filter(move |(_, holder)| *holder == state);
            let nodes = of_state.map(|(node, _)| *node);
            nodes.filter(|node| !self.next.contains_key(node)).collect::<Vec<_>>()
        };
        let (there, away) = (unasked(Holder::There), unasked(Holder::Away));
        if !there.is_empty() {
            return Turn::Ask(there[attempt % there.len()]);
        }
        let asked = holders.iter().filter(|(_, holder)| *holder == Holder::There);
        let asked = asked.filter_map(|(node, _)| Some((*node, *self.next.get(node)?)));
        match asked.min_by_key(|(_, next)| (next.is_none(), *next)) {
            Some((node, next)) if away.is_empty() => Turn::PassOver(node, next),
            Some(_) | None => Turn::WaitFor(away),
        }
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{EntryNumber, SegmentIndex};

    use super::Holder::{Away, Gone, There};
    use super::*;

    fn node(n: u32) -> NodeId {
        NodeId::new(n).expect("numbers begin with 1")
    }

    fn at(number: u32) -> Lsn {
        Lsn::at(
            SegmentIndex::FIRST,
            EntryNumber::new(number).expect("numbers begin with 1"),
        )
    }

    #[test]
    fn nothing_is_passed_over_that_a_holder_may_have() {
        let pass = |n, to| Turn::PassOver(node(n), to);
        let wait = |nodes: &[u32]| Turn::WaitFor(nodes.iter().map(|n| node(*n)).collect());
        for (what, holders, lacking, expected) in [
            (
                "the first is asked",
                &[(1, There), (2, There)][..],
                &[][..],
                Turn::Ask(node(1)),
            ),
            ("one that is there", &[(1, Away), (2, There)], &[], Turn::Ask(node(2))),
            (
                "the other may have it",
                &[(1, There), (2, There)],
                &[(1, Some(9))],
                Turn::Ask(node(2)),
            ),
            (
                "the other is away",
                &[(1, There), (2, Away)],
                &[(1, Some(9))],
                wait(&[2]),
            ),
            (
                "the other is gone",
                &[(1, There), (2, Gone)],
                &[(1, Some(9))],
                pass(1, Some(at(9))),
            ),
            (
                "the nearest entry",
                &[(1, There), (2, There)],
                &[(1, Some(9)), (2, Some(7))],
                pass(2, Some(at(7))),
            ),
            (
                "an entry before the end",
                &[(1, There), (2, There)],
                &[(1, None), (2, Some(7))],
                pass(2, Some(at(7))),
            ),
            (
                "all end",
                &[(1, There), (2, There)],
                &[(1, None), (2, None)],
                pass(1, None),
            ),
            (
                "who was asked is away by now",
                &[(1, Away), (2, There)],
                &[(1, Some(7)), (2, Some(9))],
                pass(2, Some(at(9))),
            ),
            ("nobody is there", &[(1, Away), (2, Away)], &[], wait(&[1, 2])),
            ("nobody is left", &[(1, Gone)], &[], wait(&[])),
        ] {
            let mut known = Lacking::default();
            for (n, next) in lacking {
                known.insert(Some(at(3)), node(*n), next.map(at));
            }
            let holders: Vec<_> = holders.iter().map(|(n, holder)| (node(*n), *holder)).collect();
            assert_eq!(known.turn(Some(at(3)), &holders, 0), expected, "{what}");
        }
    }

    #[test]
    fn holders_take_turns_and_what_they_lacked_is_forgotten_further_on() {
        let holders = [(node(1), There), (node(2), There)];
        let mut known = Lacking::default();
        assert_eq!(known.turn(None, &holders, 1), Turn::Ask(node(2)));
        known.insert(None, node(1), Some(at(5)));
        known.insert(None, node(2), Some(at(6)));
        assert_eq!(known.turn(None, &holders, 0), Turn::PassOver(node(1), Some(at(5))));
        assert_eq!(known.turn(Some(at(5)), &holders, 0), Turn::Ask(node(1)));
    }
}
