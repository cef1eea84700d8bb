//! Decides which holder of a segment is asked next, for a reader that passes over nothing that one of them may have.

use std::collections::BTreeMap;

use gophership_vault::ScanFault;
use gophership_vault::ids::{Lsn, NodeId};

/// What is to be expected of a holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holder {
    /// It can be asked.
    There,
    /// It may come back.
    Away,
    /// It was replaced.
    Replaced,
}

/// The next step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// This holder is read from.
    Ask(NodeId),
    /// All lack what comes next, and this one has the nearest entry behind it; the end of the segment where `None`.
    PassOver(NodeId, Option<Lsn>),
    /// Only these may have what comes next, and none of them is there and can read it now. None are left where it is
    /// empty.
    WaitFor(Vec<NodeId>),
}

/// What a holder of a segment lacks behind a position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lack {
    /// The first entry that it has behind what it lacks; `None` where there is none.
    pub(super) next: Option<Lsn>,
    /// Where it cannot read it for the moment only: the reason.
    pub(super) for_now: Option<String>,
}

/// The holders of a segment that lack what comes behind a position.
#[derive(Default)]
pub(super) struct Lacking {
    behind: Option<Lsn>,
    of_nodes: BTreeMap<NodeId, Lack>,
}

impl Lacking {
    /// Notes that a holder lacks what comes behind `done`.
    pub(super) fn insert(&mut self, done: Option<Lsn>, node: NodeId, lack: Lack) {
        self.forget_unless(done);
        self.of_nodes.insert(node, lack);
    }

    /// The nodes that lack what comes behind `done`, for a person.
    pub(super) fn nodes(&self, done: Option<Lsn>) -> String {
        let nodes = self.of_nodes.keys().filter(|_| self.behind == done);
        nodes.map(NodeId::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Forgets what holders lack, so that after a wait all are asked again: a copy may be mended meanwhile. Returns the
    /// reasons of those that lack it for the moment only.
    pub(super) fn take_for_now(&mut self) -> Vec<String> {
        let taken = std::mem::take(&mut self.of_nodes).into_iter();
        taken
            .filter_map(|(node, lack)| Some(format!("node {node}: {}", lack.for_now?)))
            .collect()
    }

    fn forget_unless(&mut self, done: Option<Lsn>) {
        if self.behind != done {
            (self.behind, self.of_nodes) = (done, BTreeMap::new());
        }
    }

    /// The next step behind `done`. The holders that are there take turns by `attempt`.
    pub(super) fn turn(&mut self, done: Option<Lsn>, holders: &[(NodeId, Holder)], attempt: usize) -> Turn {
        self.forget_unless(done);
        let unasked = |state| {
            let of_state = holders.iter().filter(move |(_, holder)| *holder == state);
            let nodes = of_state.map(|(node, _)| *node);
            nodes
                .filter(|node| !self.of_nodes.contains_key(node))
                .collect::<Vec<_>>()
        };
        let (there, mut away) = (unasked(Holder::There), unasked(Holder::Away));
        if !there.is_empty() {
            return Turn::Ask(there[attempt % there.len()]);
        }
        let asked = holders.iter().filter(|(_, holder)| *holder == Holder::There);
        let asked: Vec<(NodeId, &Lack)> = asked
            .filter_map(|(node, _)| Some((*node, self.of_nodes.get(node)?)))
            .collect();
        away.extend(
            asked
                .iter()
                .filter(|(_, lack)| lack.for_now.is_some())
                .map(|(node, _)| *node),
        );
        let nexts = asked.iter().map(|(node, lack)| (*node, lack.next));
        let nearest = nexts.min_by_key(|(_, next)| (next.is_none(), *next));
        // One that is away by now, and would have more than those that are there.
        let end = nearest.and_then(|(_, next)| next);
        let has_more = |lack: &Lack| {
            lack.for_now.is_some()
                || lack
                    .next
                    .is_some_and(|next| nearest.is_none() || end.is_none_or(|end| next < end))
        };
        let left = holders.iter().filter(|(_, holder)| *holder == Holder::Away);
        away.extend(
            left.filter(|(node, _)| self.of_nodes.get(node).is_some_and(has_more))
                .map(|(node, _)| *node),
        );
        match nearest {
            Some((node, next)) if away.is_empty() => Turn::PassOver(node, next),
            Some(_) | None => Turn::WaitFor(away),
        }
    }
}

/// A holder that a segment is read from.
pub(super) struct Asked {
    pub(super) node: NodeId,
    /// What it has found damaged behind the last entry that was handed on.
    pub(super) faults: Vec<ScanFault>,
    /// The entry before which what it lacks may be passed over; the end of the segment where `Some(None)`.
    pub(super) passes_to: Option<Option<Lsn>>,
    /// What it lacks before an entry that it has, which ended the reading.
    pub(super) lack: Option<Lack>,
    /// The reason for which it cannot be read at all now.
    pub(super) unreadable: Option<String>,
}

impl Asked {
    pub(super) fn new(node: NodeId, passes_to: Option<Option<Lsn>>) -> Self {
        Self {
            node,
            faults: Vec::new(),
            passes_to,
            lack: None,
            unreadable: None,
        }
    }

    /// Takes the faults that concern entries behind `done` and before `next`.
    pub(super) fn take_before(&mut self, done: Option<Lsn>, next: Lsn) -> Vec<ScanFault> {
        let after = done
            .filter(|done| done.index() == next.index())
            .map_or(0, |done| done.number().get());
        let concerns = |fault: &mut ScanFault| {
            fault
                .numbers
                .is_some_and(|(first, last)| last.get() > after && first < next.number())
        };
        self.faults.extract_if(.., concerns).collect()
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{EntryNumber, SegmentIndex};

    use super::Holder::{Away, Replaced, There};
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

    fn lack(next: Option<u32>) -> Lack {
        let next = next.map(at);
        Lack { next, for_now: None }
    }

    #[test]
    fn what_a_disk_does_not_give_for_the_moment_is_waited_for_and_asked_for_again() {
        let for_now = |next: Option<u32>| Lack {
            for_now: Some("it failed".to_owned()),
            ..lack(next)
        };
        let wait = |nodes: &[u32]| Turn::WaitFor(nodes.iter().map(|n| node(*n)).collect());
        for (what, other, first, second, expected) in [
            (
                "the other may have it",
                There,
                for_now(Some(9)),
                None,
                Turn::Ask(node(2)),
            ),
            (
                "the other lacks it for good",
                There,
                for_now(Some(9)),
                Some(lack(Some(7))),
                wait(&[1]),
            ),
            (
                "both may have it later",
                There,
                for_now(None),
                Some(for_now(Some(7))),
                wait(&[1, 2]),
            ),
            ("the other is away", Away, for_now(None), None, wait(&[2, 1])),
            ("the other is gone", Replaced, for_now(None), None, wait(&[1])),
        ] {
            let mut known = Lacking::default();
            known.insert(None, node(1), first);
            if let Some(second) = second {
                known.insert(None, node(2), second);
            }
            let holders = [(node(1), There), (node(2), other)];
            assert_eq!(known.turn(None, &holders, 0), expected, "{what}");
            assert_eq!(known.take_for_now()[0], "node 1: it failed", "{what}");
            assert_eq!(known.turn(None, &holders, 0), Turn::Ask(node(1)), "{what}");
        }
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
                &[(1, There), (2, Replaced)],
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
                wait(&[1]),
            ),
            (
                "and would have nothing more",
                &[(1, Away), (2, There)],
                &[(1, Some(9)), (2, Some(9))],
                pass(2, Some(at(9))),
            ),
            (
                "who ended before is away by now",
                &[(1, Away), (2, There)],
                &[(1, None), (2, None)],
                pass(2, None),
            ),
            ("nobody is there", &[(1, Away), (2, Away)], &[], wait(&[1, 2])),
            ("nobody is left", &[(1, Replaced)], &[], wait(&[])),
        ] {
            let mut known = Lacking::default();
            for (n, next) in lacking {
                known.insert(Some(at(3)), node(*n), lack(*next));
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
        known.insert(None, node(1), lack(Some(5)));
        known.insert(None, node(2), lack(Some(6)));
        assert_eq!(known.turn(None, &holders, 0), Turn::PassOver(node(1), Some(at(5))));
        assert_eq!(known.turn(Some(at(5)), &holders, 0), Turn::Ask(node(1)));
    }
}
